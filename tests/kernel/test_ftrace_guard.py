# SPDX-License-Identifier: Apache-2.0
"""kernel.ftrace_enabled=0 switches BPF LSM programs off on older kernels: nobody may, while bpflock has anything on."""

import itertools
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bpflock.kernel import pins
from bpflock.locks.model import Profile

from .conftest import ATTACK, CONTAINER, HOST, RELEASE, Attacker, Locks
from .running import start
from .tools import Cli, pinned

_SWITCH = Path("/proc/sys/kernel/ftrace_enabled")
_REFUSES = "the kernel itself refuses"  # with another error than a denial
_GO = Path("/tmp/write-now")
_CGROUP = Path("/sys/fs/cgroup/guarded")


@pytest.fixture(autouse=True)
def nothing_before(all_locks: Locks) -> Iterator[None]:
    all_locks.unload_all()
    yield
    all_locks.unload_all()
    assert _SWITCH.read_text() == "1\n"


def _tracer(locks: Locks, cli: Cli) -> None:
    locks.load("execsnoop", Profile.ALL)


def _lock(locks: Locks, cli: Cli) -> None:
    """One that allows everything."""
    locks.load("filelesslock", Profile.ALLOW)


def _cgroup(locks: Locks, cli: Cli) -> None:
    """No lock, but an exception for the next one."""
    _CGROUP.mkdir(exist_ok=True)
    cli("cgroup", "set", str(_CGROUP), "restricted").check()


@pytest.mark.parametrize("anything", [_tracer, _lock, _cgroup], ids=["tracer", "lock", "cgroup"])
def test_denied_whatever_is_on(
    anything: Callable[[Locks, Cli], None], attacker: Attacker, locks: Locks, cli: Cli
) -> None:
    """On the host and in namespaces; by its path, by another mount of procfs, by one that is mounted nowhere."""
    anything(locks, cli)
    locks.events()
    attacks = ("ftrace_sysctl", "ftrace_second_procfs", "ftrace_detached_procfs")
    for attack, where in itertools.product(attacks, (HOST, CONTAINER)):
        attempt = attacker.attack(attack, where)
        assert attempt.denied, f"{where}{attack}: {attempt}"
        (event,) = (event for event in locks.events() if event.bpfprog == "guard")
        assert (event.event, event.operation, event.retval) == ("cgroup_sysctl", "kernel.ftrace_enabled", -1)
        assert event.reason == "denied (guard)"
    assert locks.enforcer.guard_denials() == 6
    assert _SWITCH.read_text() == "1\n"
    if anything is _cgroup:
        cli("cgroup", "unset", str(_CGROUP)).check()
        _CGROUP.rmdir()


@pytest.mark.parametrize("where", [HOST, CONTAINER], ids=["host", "container"])
def test_a_descriptor_from_before(where: str, locks: Locks) -> None:
    _GO.unlink(missing_ok=True)
    with start([*where.split(), ATTACK, "ftrace_old_fd", _GO]) as old:
        assert old.stdout is not None
        assert old.stdout.readline() == "ready\n"
        locks.load("filelesslock", Profile.ALLOW)
        _GO.touch()
        assert old.stdout.read().startswith("denied: write(a descriptor opened before"), where
    assert old.returncode == 1


def test_nothing_else_is_denied(attacker: Attacker, locks: Locks) -> None:
    locks.load("kimglock", Profile.RESTRICTED)
    for name in ("kernel/printk_delay", "kernel/panic", "net/ipv4/ip_forward", "vm/swappiness"):
        path = Path("/proc/sys") / name
        before = path.read_text().strip()
        attempt = attacker.run(f"echo 3 >{path} && grep -qx 3 {path}; s=$?; echo {before} >{path}; [ $s = 0 ]")
        assert attempt.worked, f"{name}: {attempt}"
    assert attacker.run(f"grep -qx 1 {_SWITCH}").worked


def test_free_again_after_the_last_lock(attacker: Attacker, locks: Locks) -> None:
    locks.load("kimglock", Profile.ALLOW)
    locks.load("filelesslock", Profile.ALLOW)
    locks.unload("kimglock")
    assert attacker.attack("ftrace_sysctl").denied
    locks.unload("filelesslock")
    attempt = attacker.attack("ftrace_sysctl")
    assert attempt.worked or _REFUSES in attempt.output


def test_what_the_switch_does_without_the_guard(attacker: Attacker, locks: Locks) -> None:
    """Why there is a guard: the kernel either refuses by itself, or no BPF LSM program runs any more."""
    locks.load("kimglock", Profile.BASELINE)
    assert attacker.attack("dev_mem", CONTAINER).denied
    subprocess.run(["rm", "-r", pins.directory(pins.GUARD)], check=True)
    deadline = time.monotonic() + 10
    while (attempt := attacker.run(f"{ATTACK} --keep ftrace_sysctl")).denied:
        assert time.monotonic() < deadline, attempt  # the kernel detaches it when it has time
    if RELEASE.startswith("6.1."):
        assert attempt.worked, attempt
    try:
        if attempt.worked:
            assert _SWITCH.read_text() == "0\n"
            assert attacker.attack("dev_mem", CONTAINER).worked
        else:
            assert _REFUSES in attempt.output
    finally:
        _SWITCH.write_text("1\n")
    assert attacker.attack("dev_mem", CONTAINER).denied


def test_nothing_is_locked_while_it_is_off(cli: Cli) -> None:
    """A lock would have no effect: check, lock and run say so, and what to do."""
    try:
        _SWITCH.write_text("0\n")
    except OSError as error:
        pytest.skip(f"the kernel itself refuses to switch it off: {error.strerror}")
    try:
        checked = cli("check")
        assert checked.status == 3
        lines = checked.out.splitlines()
        (place,) = (
            number for number, line in enumerate(lines) if "kernel.ftrace_enabled" in line and "MISSING" in line
        )
        assert "no BPF LSM program runs" in lines[place]
        assert lines[place + 1].split() == ["hint:", "sysctl", "kernel.ftrace_enabled=1"]
        for command in (
            ("lock", "kimglock", "--profile=baseline"),
            ("run", "--kimglock-profile=baseline"),
            ("cgroup", "set", "/sys/fs/cgroup", "allow"),
        ):
            cli(*command).failed(3, "kernel.ftrace_enabled is 0", "hint: sysctl kernel.ftrace_enabled=1")
            assert pinned() == []
    finally:
        _SWITCH.write_text("1\n")
    cli("check").check()
