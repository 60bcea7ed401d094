# SPDX-License-Identifier: Apache-2.0
"""Exceptions for cgroups: the profile of the nearest ancestor in bpflock_cgroupmap decides in place of the lock's."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpflock.locks.model import Profile

from .conftest import ATTACK, CONTAINER, HOST, Attacker, Locks
from .tools import Cli, pinned

_MOUNT = Path("/sys/fs/cgroup")
_numbers = itertools.count()


@pytest.fixture
def parent() -> Iterator[Path]:
    """A new cgroup with a child called `child`."""
    path = _MOUNT / f"test{next(_numbers)}"
    (path / "child").mkdir(parents=True)
    yield path
    if path.exists():
        _remove(path)


def _remove(path: Path) -> None:
    for child in path.iterdir():
        if child.is_dir():
            _remove(child)
    path.rmdir()


@pytest.fixture(autouse=True)
def no_exceptions(cli: Cli) -> Iterator[None]:
    yield
    for entry in cli("cgroup", "list", "--json").check().json["cgroups"]:
        cli("cgroup", "unset", str(entry["id"])).check()


class Scene:
    """Attacks from a cgroup."""

    def __init__(self, attacker: Attacker, locks: Locks, lock: str = "kimglock", attack: str = "dev_mem") -> None:
        self._attacker, self._locks, self._lock, self._attack = attacker, locks, lock, attack

    def expect(self, cgroup: Path, where: str, reason: str) -> None:
        self._locks.events()
        attempt = self._attacker.run(f"{ATTACK} cgroup {cgroup} -- {where}{ATTACK} {self._attack}")
        found = [event for event in self._locks.events() if event.bpfprog == self._lock]
        assert {event.reason for event in found} == {reason}, f"{attempt}\n{found}"
        assert attempt.status == int(reason.startswith("denied")), attempt
        assert {event.cgroupid for event in found} == {cgroup.stat().st_ino}


@pytest.fixture
def scene(attacker: Attacker, locks: Locks) -> Scene:
    return Scene(attacker, locks)


def test_allow_exempts_the_cgroup_and_its_children(parent: Path, scene: Scene, locks: Locks, cli: Cli) -> None:
    locks.load("kimglock", Profile.BASELINE)
    scene.expect(parent / "child", CONTAINER, "denied (baseline)")
    assert f"{parent.stat().st_ino}: allow" in cli("cgroup", "set", str(parent), "allow").check().out
    scene.expect(parent, CONTAINER, "allow (cgroup)")
    scene.expect(parent / "child", CONTAINER, "allow (cgroup)")
    other = parent.with_name("other")
    other.mkdir()
    scene.expect(other, CONTAINER, "denied (baseline)")
    other.rmdir()


def test_restricted_denies_though_the_lock_allows(parent: Path, scene: Scene, locks: Locks, cli: Cli) -> None:
    locks.load("kimglock", Profile.ALLOW)
    cli("cgroup", "set", parent.name, "restricted").check()
    for cgroup, where in itertools.product((parent, parent / "child"), (HOST, CONTAINER)):
        scene.expect(cgroup, where, "denied (cgroup restricted)")


def test_baseline(parent: Path, scene: Scene, locks: Locks, cli: Cli) -> None:
    """Under a lock that allows all, and under one that denies all: the entry decides."""
    cli("cgroup", "set", parent.name, "baseline").check()
    for profile in (Profile.ALLOW, Profile.RESTRICTED):
        locks.load("kimglock", profile)
        scene.expect(parent, HOST, "baseline")
        scene.expect(parent, CONTAINER, "denied (cgroup baseline)")
    locks.load("kimglock", Profile.BASELINE, allow=("dev_mem",))
    scene.expect(parent, CONTAINER, "baseline (allowed)")


def test_allow_under_restricted(parent: Path, scene: Scene, locks: Locks, cli: Cli) -> None:
    locks.load("kimglock", Profile.RESTRICTED)
    cli("cgroup", "set", parent.name, "allow").check()
    scene.expect(parent, CONTAINER, "allow (cgroup)")


@pytest.mark.parametrize("profile", [Profile.ALLOW, Profile.BASELINE, Profile.RESTRICTED])
def test_what_is_blocked_by_name_stays_so(parent: Path, scene: Scene, locks: Locks, cli: Cli, profile: Profile) -> None:
    """Denied to everyone; a stricter profile must not grant it."""
    locks.load("kimglock", profile, block=("dev_mem",))
    cli("cgroup", "set", parent.name, "allow").check()
    scene.expect(parent, HOST, "denied (blocked)")


@pytest.mark.parametrize(
    ("above", "below", "reason"),
    [("restricted", "allow", "allow (cgroup)"), ("allow", "restricted", "denied (cgroup restricted)")],
)
def test_the_nearest_wins(
    parent: Path, scene: Scene, locks: Locks, cli: Cli, above: str, below: str, reason: str
) -> None:
    locks.load("kimglock", Profile.BASELINE)
    grandchild = parent / "child" / "grandchild"
    grandchild.mkdir()
    cli("cgroup", "set", str(parent), above).check()
    cli("cgroup", "set", str(parent / "child"), below).check()
    scene.expect(parent / "child", CONTAINER, reason)
    scene.expect(grandchild, CONTAINER, reason)


def test_every_lock_and_command_obeys(parent: Path, attacker: Attacker, locks: Locks, cli: Cli) -> None:
    """The locks that no other test here loads."""
    cli("cgroup", "set", str(parent), "restricted").check()
    cases = {"kmodlock": "unsafe_module_parameters", "bpfrestrict": "map_create", "filelesslock": "memfd_exec"}
    for lock, attack in cases.items():
        locks.load(lock, Profile.ALLOW)
        Scene(attacker, locks, lock, attack).expect(parent, HOST, "denied (cgroup restricted)")
        locks.unload(lock)


def test_a_process_that_repeats_itself(parent: Path, attacker: Attacker, locks: Locks, cli: Cli) -> None:
    """What is decided in a short way, as it was just before, ends with an exception, and starts again without it."""
    locks.load("kimglock", Profile.BASELINE)
    again = "for i in 1 2 3; do true </dev/mem || exit_status=1; done; (exit ${exit_status:-0})"
    assert attacker.run(f"echo $$ >{parent}/cgroup.procs").worked
    try:
        assert attacker.run(again).worked
        cli("cgroup", "set", parent.name, "restricted").check()
        assert not attacker.run("true </dev/mem").worked
        cli("cgroup", "unset", parent.name).check()
        before = locks.counters("kimglock")["dev_mem"].allowed
        assert attacker.run(again).worked
        assert locks.counters("kimglock")["dev_mem"].allowed == before + 3
    finally:
        attacker.run(f"echo $$ >{_MOUNT}/cgroup.procs")


def test_unset_ends_it(parent: Path, scene: Scene, locks: Locks, cli: Cli) -> None:
    locks.load("kimglock", Profile.BASELINE)
    cli("cgroup", "set", str(parent), "allow").check()
    scene.expect(parent, CONTAINER, "allow (cgroup)")
    assert "no profile any more" in cli("cgroup", "unset", str(parent)).check().out
    scene.expect(parent, CONTAINER, "denied (baseline)")
    assert "had no profile" in cli("cgroup", "unset", str(parent)).check().out
    assert cli("cgroup", "list", "--json").check().json == {"cgroups": []}


def test_survives_a_reload_and_an_unlock(parent: Path, scene: Scene, locks: Locks, cli: Cli) -> None:
    locks.load("kimglock", Profile.BASELINE)
    cli("cgroup", "set", str(parent), "allow").check()
    locks.load("kimglock", Profile.BASELINE, block=("kexec",))
    scene.expect(parent, CONTAINER, "allow (cgroup)")
    locks.unload("kimglock")
    locks.load("kimglock", Profile.BASELINE)
    scene.expect(parent, CONTAINER, "allow (cgroup)")


def test_list(parent: Path, locks: Locks, cli: Cli) -> None:
    """Also of a cgroup that has gone; the last one that is unset without a lock leaves nothing."""
    child = (parent / "child").stat().st_ino
    cli("cgroup", "set", str(parent), "restricted").check()
    cli("cgroup", "set", f"{parent.name}/child", "allow").check()
    above = {"id": parent.stat().st_ino, "path": str(parent), "profile": "restricted"}
    below = {"id": child, "path": str(parent / "child"), "profile": "allow"}
    assert cli("cgroup", "list", "--json").check().json["cgroups"] == [above, below]
    (parent / "child").rmdir()
    gone = below | {"path": None}
    assert cli("cgroup", "list", "--json").check().json["cgroups"] == [gone, above]
    row = next(line for line in cli("cgroup", "list").check().out.splitlines() if str(child) in line)
    assert row.split() == [str(child), "allow", "(gone)"]
    cli("cgroup", "unset", str(child)).check()
    cli("cgroup", "unset", str(parent)).check()
    assert pinned() == []


@pytest.mark.parametrize("path", ["no-such-cgroup", "/sys/fs/cgroup/no-such-cgroup", "/tmp", "/sys/fs/cgroup/../.."])
def test_no_cgroup(path: str, cli: Cli) -> None:
    cli("cgroup", "set", path, "allow").failed(2, path.rpartition("/")[2])
    assert pinned() == []


def test_wrong_profile(parent: Path, cli: Cli) -> None:
    cli("cgroup", "set", str(parent), "lax").failed(2, "there is no profile 'lax'")
    assert pinned() == []


def test_too_deep_is_denied(scene: Scene, locks: Locks, cli: Cli, parent: Path) -> None:
    """128 levels are searched; a task below them is denied, unless nothing is set at all."""
    deep = parent.joinpath(*["d"] * 128)  # its depth is 129: 130 cgroups with itself and the root
    deep.mkdir(parents=True)
    locks.load("kimglock", Profile.ALLOW)
    scene.expect(deep, HOST, "allow (privileged)")
    cli("cgroup", "set", str(parent / "child"), "allow").check()
    scene.expect(deep, HOST, "denied (cgroup restricted)")
    scene.expect(deep.parents[3], HOST, "allow (privileged)")
    cli("cgroup", "set", str(deep.parents[3]), "allow").check()
    scene.expect(deep, HOST, "allow (cgroup)")
