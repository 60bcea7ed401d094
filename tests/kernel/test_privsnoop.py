# SPDX-License-Identifier: Apache-2.0
"""privsnoop: privileged operations are told with how they ended, and counted exactly."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpflock.events.model import Event
from bpflock.locks.model import Profile
from bpflock.workloads.cgroup import set_profile, unset_profile

from .conftest import ATTACK, Attacker, Locks
from .tools import NOBODY

_PTRACE_ATTACH, _PTRACE_SEIZE = 16, 0x4206
_YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")

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


@pytest.fixture
def target() -> Iterator[int]:
    """A process of nobody's, which waits."""
    child = subprocess.Popen(["sleep", "1000"], user=NOBODY, group=NOBODY)
    yield child.pid
    child.kill()
    child.wait()


def _in_child(act: str, target: int, uid: int) -> int:
    """Do that to the target in a child with this user; its errno, 0 if it worked. The child is no task of bpflock's."""
    child = os.fork()
    if not child:
        try:
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os._exit(_act(act, target))
        finally:
            os._exit(255)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _act(act: str, target: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(8)
    if act in ("attach", "seize"):
        request = _PTRACE_ATTACH if act == "attach" else _PTRACE_SEIZE
        result = libc.ptrace(request, target, None, None)
    elif act == "mem":
        # The check is made at open; the kernel looks up the address later.
        try:
            os.close(os.open(f"/proc/{target}/mem", os.O_RDWR))
        except OSError as error:
            return error.errno or 255
        return 0
    else:
        address = int(Path(f"/proc/{target}/maps").read_text().split("-")[0], 16) if not os.getuid() else 4096
        vectors = ((ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8), (ctypes.c_size_t * 2)(address, 8))
        result = libc.process_vm_readv(target, vectors[0], 1, vectors[1], 1, 0)
    return ctypes.get_errno() if result < 0 else 0


@pytest.mark.parametrize("act", ["attach", "seize", "mem", "readv"])
def test_ptrace(locks: Locks, target: int, act: str) -> None:
    """Root may; who has the same user as the target may not where Yama forbids it, and is told as denied."""
    scope = _YAMA.read_text()
    locks.load("privsnoop", Profile.ALL)
    try:
        _YAMA.write_text("1")
        for uid, denied in ((0, False), (NOBODY, True)):
            locks.events()
            assert (_in_child(act, target, uid) != 0) == denied
            found = [event for event in _of(locks.events(), "ptrace") if event.comm != b"bpflock-canary"]
            assert found, (act, uid)
            assert {event.event for event in found} == {"security_ptrace_access_check"}
            assert {event.reason for event in found} == {"denied (kernel)" if denied else "permitted"}
            assert {event.retval for event in found} == {-1 if denied else 0}
            assert {event.uid for event in found} == {uid}
            os.kill(target, signal.SIGCONT)
    finally:
        _YAMA.write_text(scope)


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """One that has a profile, with a child, which has none of its own."""
    path = Path("/sys/fs/cgroup/watched")
    (path / "below").mkdir(parents=True)
    set_profile(str(path), Profile.ALLOW)
    yield path
    unset_profile(str(path))
    (path / "below").rmdir()
    path.rmdir()


def test_filter_traces_only_cgroups_in_the_map(locks: Locks, attacker: Attacker, cgroup: Path) -> None:
    locks.load("privsnoop", Profile.FILTER)
    locks.events()
    assert attacker.attack("unshare_uts").worked
    assert not _of(locks.events(), "namespace")
    assert not locks.counters("privsnoop")
    for place in (cgroup, cgroup / "below"):
        number = place.stat().st_ino
        assert attacker.run(f"{ATTACK} cgroup {place} -- {ATTACK} unshare_uts").worked
        assert attacker.run(f"{ATTACK} cgroup {place} -- setpriv --reuid={NOBODY} {ATTACK} unshare_uts").denied
        events = locks.events()
        for operation in ("namespace", "cap_sys_admin"):
            assert {event.reason for event in _of(events, operation)} == {"permitted", "denied (kernel)"}
        assert {event.cgroupid for event in events if event.bpfprog == "privsnoop"} == {number}
    counters = locks.counters("privsnoop")
    assert (counters["namespace"].allowed, counters["namespace"].denied) == (2, 2)


def test_none_is_not_attached(locks: Locks) -> None:
    locks.load("privsnoop", Profile.ALL)
    locks.load("privsnoop", Profile.NONE)
    assert not [status for status in locks.enforcer.status() if status.lock.name == "privsnoop"]
    assert not Path("/sys/fs/bpf/bpflock/privsnoop").exists()
