# SPDX-License-Identifier: Apache-2.0
"""privsnoop: privileged operations are told with how they ended, and counted exactly."""

import subprocess
from pathlib import Path

import pytest

from bpflock.events.model import Event
from bpflock.locks.model import Profile

from .conftest import ATTACK, Attacker, Locks

# As root and as nobody: a command, what it shows as, and whether it is denied.
_CASES = [
    ("mount -t tmpfs none /mnt", "mount", False),
    ("umount /mnt", "umount", False),
    (f"{ATTACK} unshare_uts", "namespace", False),
    (f"{ATTACK} clone_net", "namespace", False),
    (f"{ATTACK} unshare_user", "namespace", False),
    (f"{ATTACK} map_create", "bpf", False),
    (f"{ATTACK} insmod_memory /dev/null", "cap_sys_module", False),
    ("chroot / /bin/true", "cap_sys_chroot", False),
    ("date -s @1800000000", "settime", False),
    ("setpriv --reuid=65534 --regid=65534 --clear-groups /bin/true", "setuid", False),
    ("setpriv --reuid=65534 --regid=65534 --clear-groups /bin/true", "setgid", False),
    ("setpriv --reuid=65534 chroot / /bin/true", "cap_sys_chroot", True),
    ("setpriv --reuid=65534 date -s @1800000000", "cap_sys_time", True),
]


def _of(events: list[Event], operation: str) -> list[Event]:
    return [event for event in events if event.bpfprog == "privsnoop" and event.op == operation]


@pytest.fixture(autouse=True, scope="module")
def nothing_before(all_locks: Locks) -> None:
    all_locks.unload_all()


def test_each_is_told_with_its_result(locks: Locks, attacker: Attacker) -> None:
    locks.load("privsnoop", Profile.ALL)
    for command, operation, denied in _CASES:
        locks.events()
        attempt = attacker.run(command)
        found = [event for event in _of(locks.events(), operation) if event.denied == denied]
        assert found, (command, operation, attempt)
        assert {event.reason for event in found} == {"denied (kernel)" if denied else "permitted"}
        assert all((event.retval < 0) == denied for event in found)


def test_what_a_lock_denies_is_told_as_denied(locks: Locks, attacker: Attacker) -> None:
    locks.load("privsnoop", Profile.ALL)
    locks.load("nslock", Profile.ALLOW, block=("uts",))
    locks.events()
    assert attacker.attack("unshare_uts").denied
    events = locks.events()
    assert [(event.reason, event.retval) for event in _of(events, "namespace")] == [("denied (kernel)", -1)]
    assert any(event.denied for event in _of(events, "cap_sys_admin"))


def test_repeats_are_limited_and_counted(locks: Locks) -> None:
    locks.load("privsnoop", Profile.ALL)
    locks.events()
    before = locks.counters("privsnoop").get("bpf")
    subprocess.run([ATTACK, "loop", "500", "map_create"], check=True, capture_output=True)
    sent = [event for event in _of(locks.events(), "bpf") if event.comm == b"attack"]
    counter = locks.counters("privsnoop")["bpf"]
    assert counter.allowed - (before.allowed if before else 0) >= 500
    assert 1 <= len(sent) <= 20
    assert counter.limited >= 500 - len(sent) * 20
    assert not counter.denied


def test_filter_traces_only_cgroups_in_the_map(locks: Locks, attacker: Attacker) -> None:
    locks.load("privsnoop", Profile.FILTER)
    locks.events()
    assert attacker.attack("unshare_uts").worked
    assert not _of(locks.events(), "namespace")


def test_none_is_not_attached(locks: Locks) -> None:
    locks.load("privsnoop", Profile.ALL)
    locks.load("privsnoop", Profile.NONE)
    assert not [status for status in locks.enforcer.status() if status.lock.name == "privsnoop"]
    assert not Path("/sys/fs/bpf/bpflock/privsnoop").exists()
