# SPDX-License-Identifier: Apache-2.0
"""Who is the host: its own sandboxes and services are, while they are set up; what runs in them is not, nor is a
container, however it was made."""

import sys
from pathlib import Path

import pytest

from bpflock.locks.model import Profile

from .conftest import ATTACK, CONTAINER, Attacker, Attempt, Locks
from .redteam import RedTeam

_SANDBOXES = Path(__file__).parent / "sandboxes.py"
_CONTAINERS = ("unshare -f -p ", "unshare -n ", CONTAINER, "unshare -f -p -n -m -i -u -C ")
_GROUPS = Path("/sys/fs/cgroup")


def _make(attacker: Attacker, *ways: str, where: str = "") -> Attempt:
    """Each way makes its namespaces, then is executed what makes the next."""
    return attacker.run(f"{where}{sys.executable} -S -E {_SANDBOXES} {' '.join(ways)}")


def _stopped(redteam: RedTeam, locks: Locks, attacker: Attacker, ways: tuple[str, ...], hook: str, op: str) -> None:
    """The last of the ways is: it works without the lock."""
    locks.unload_all()
    without = _make(attacker, *ways)
    locks.load("nslock", Profile.BASELINE)
    locks.events()
    within = _make(attacker, *ways)
    event = redteam.stopped(
        without=without.status, within=within.status, events=locks.events(), hook=hook, operation=op
    )
    assert event.reason == "denied (baseline)"


@pytest.mark.redteam("C2", "sandbox of a user: what runs in it")
def test_bubblewrap(redteam: RedTeam, locks: Locks, attacker: Attacker) -> None:
    """Its second user namespace is the host's; what it runs makes no third."""
    locks.load("nslock", Profile.BASELINE)
    attempt = _make(attacker, "bubblewrap")
    assert attempt.worked, attempt
    _stopped(redteam, locks, attacker, ("bubblewrap", "user"), "userns_create", "user namespace")


@pytest.mark.redteam("C2", "sandbox of a user: taken over by what runs in it")
def test_taken_over(redteam: RedTeam, locks: Locks, attacker: Attacker) -> None:
    _stopped(redteam, locks, attacker, ("taken_over",), "userns_create", "user namespace")


def test_chromium(locks: Locks, attacker: Attacker) -> None:
    """It has no mount namespace: no container is like that."""
    locks.load("nslock", Profile.BASELINE)
    for way in ("user", "pid"):
        attempt = _make(attacker, "chromium", way)
        assert attempt.worked, (way, attempt)


@pytest.mark.redteam("C3", "network namespace of the host's: what runs in it")
def test_netns_exec(redteam: RedTeam, locks: Locks, attacker: Attacker) -> None:
    locks.load("nslock", Profile.BASELINE)
    for way in ("netns", "service"):
        attempt = _make(attacker, way)
        assert attempt.worked, (way, attempt)
    _stopped(redteam, locks, attacker, ("netns", "user"), "userns_create", "user namespace")


@pytest.mark.redteam("C3", "container that makes more namespaces")
@pytest.mark.parametrize("where", _CONTAINERS)
def test_a_container_is_outside(redteam: RedTeam, locks: Locks, attacker: Attacker, where: str) -> None:
    """Also one with a part of a container's namespaces, and by the ways in which the host's programs may."""
    ways = ("bubblewrap", "chromium", "netns", "service", "user", "uts")
    locks.unload_all()
    without = max(_make(attacker, way, where=where).status for way in ways)
    locks.load("nslock", Profile.BASELINE)
    locks.events()
    within = [_make(attacker, way, where=where).status for way in ways]
    assert set(within) == {1}, dict(zip(ways, within, strict=True))
    redteam.stopped(without=without, within=1, events=locks.events(), hook="userns_create", operation="user namespace")


@pytest.mark.redteam("C3", "container in the cgroup of a service, or beside those")
def test_services_of_the_host(redteam: RedTeam, locks: Locks, attacker: Attacker) -> None:
    """What systemd runs in a network namespace is the host's for every lock; a container in or below its cgroup not."""
    services = [
        _GROUPS / "system.slice" / "systemd-a-rather-long-name-of-a-unit-which-goes-on-and-on-to-its-end.service",
        _GROUPS / "system.slice" / "system-getty.slice" / "getty@tty1.service",
    ]
    others = [
        (services[0] / "libpod-payload.service", "unshare -n "),
        (_GROUPS / "system.slice" / "docker-1.scope", "unshare -n "),
        (_GROUPS / "machine.slice" / "x.service", "unshare -n "),
        (services[0], "unshare -n -C "),
        (services[0], "unshare -n -f -p "),
        (services[0], "unshare -f -p "),
    ]
    made = [*services, *(place for place, _ in others)]
    for place in made:
        place.mkdir(parents=True, exist_ok=True)
    try:
        bare = f"{ATTACK} cgroup {services[0]} -- {others[3][1]}{ATTACK} dev_mem"
        without = attacker.run(bare)
        locks.load("kimglock", Profile.BASELINE)
        for place in services:
            attempt = attacker.run(f"{ATTACK} cgroup {place} -- unshare -n -m {ATTACK} dev_mem")
            assert attempt.worked, (place, attempt)
        locks.events()
        for place, where in others:
            within = attacker.run(f"{ATTACK} cgroup {place} -- {where}{ATTACK} dev_mem")
            assert within.denied, (place, where, within)
        redteam.stopped(
            without=without.status,
            within=within.status,
            events=locks.events(),
            hook="locked_down",
            operation="/dev/mem,kmem,port",
        )
    finally:
        for place in sorted({*made, *(p.parent for p in made)} - {_GROUPS}, key=lambda p: -len(p.parts)):
            place.rmdir()
