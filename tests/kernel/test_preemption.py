# SPDX-License-Identifier: Apache-2.0
"""Before Linux 6.2, a kernel that takes the CPU from a task anywhere loses confined tasks: it gets no policy."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpflock.confine.engine import Engine
from bpflock.errors import UnsupportedError
from bpflock.kernel import host, preemption
from bpflock.locks.model import Profile
from bpflock.policy.bpfbox.load import parse
from bpflock.policy.model import PolicySet

from .conftest import ATTACK, Locks
from .tools import Cli

_HERE = Path("/tmp/preemption")
_PROGRAM, _DENIED, _STOP = _HERE / "attack", _HERE / "closed", _HERE / "stop"
_POLICY = f'#![profile "{_PROGRAM}"]\nfs("{_HERE}/open", read)\nfs("{_STOP}", read|getattr)\n'
_ATTACKERS = 4
_COUNTS = re.compile(r"attempts=(\d+) denied=(\d+) ok=(\d+)\n")
_PATIENCE = 60.0
# The version that mended it came with this.
_mended = "cgrp_storage_get" in Path("/proc/kallsyms").read_text()


class Switch:
    """The kernel's own, in debugfs."""

    def __init__(self) -> None:
        self._root = host.mount_detached("debugfs")

    def set(self, mode: str) -> None:
        switch = os.open("sched/preempt", os.O_WRONLY, dir_fd=self._root)
        try:
            os.write(switch, mode.encode())
        finally:
            os.close(switch)

    def get(self) -> str:
        switch = os.open("sched/preempt", os.O_RDONLY, dir_fd=self._root)
        with os.fdopen(switch, encoding="ascii") as stream:
            match = re.search(r"\((\w+)\)", stream.read())
        assert match
        return match[1]

    def close(self) -> None:
        os.close(self._root)


@pytest.fixture
def switch() -> Iterator[Switch]:
    found = Switch()
    before = found.get()
    yield found
    found.set(before)
    found.close()


@pytest.fixture
def engine(all_locks: Locks) -> Iterator[Engine]:
    shutil.rmtree(_HERE, ignore_errors=True)
    _HERE.mkdir()
    shutil.copy(ATTACK, _PROGRAM)
    _DENIED.write_text("content")
    found = Engine(all_locks.enforcer)
    yield found
    found.unload()


def _policy() -> PolicySet:
    return PolicySet(parse(_POLICY))


def _attack(until: float, *attack: str | Path) -> tuple[int, int]:
    """How often some processes tried that share a CPU, and how often it worked."""
    cpu = min(os.sched_getaffinity(0))
    command = ["taskset", "-c", str(cpu), *map(str, (_PROGRAM, "until", _STOP, *attack))]
    _STOP.unlink(missing_ok=True)
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(_ATTACKERS)]
    time.sleep(until)
    _STOP.touch()
    ended = [(process.communicate(timeout=120)[0], process.returncode) for process in running]
    # An exec of which the kernel left out the policy's first hook is killed by its last one.
    counts = [_COUNTS.fullmatch(output) for output, status in ended if output or status != -signal.SIGKILL]
    assert counts, ended
    assert all(counts), ended
    assert min(int(each[1]) for each in counts if each) > 0
    return sum(int(each[1]) for each in counts if each), sum(int(each[3]) for each in counts if each)


def _came_through(until: float) -> int:
    """How many forbidden opens of some confined processes came through."""
    return _attack(until, "read_file", _DENIED)[1]


def test_forbidden_opens_come_through_only_where_policies_are_refused(engine: Engine, switch: Switch) -> None:
    """The policy is there before the kernel becomes preemptible: so it cannot be refused."""
    engine.load(_policy())
    switch.set("full")
    if _mended:
        preemption.require()
        assert _came_through(10) == 0
        return
    with pytest.raises(UnsupportedError):
        preemption.require()
    end = time.monotonic() + _PATIENCE
    while not _came_through(5):
        assert time.monotonic() < end, "this kernel loses no task: it need not be refused"


@pytest.mark.skipif(_mended, reason="this kernel keeps tasks confined")
def test_policies_are_refused(engine: Engine, switch: Switch, cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "attack.bpfbox"
    file.write_text(_POLICY)
    switch.set("full")
    cli("policy", "load", str(file)).failed(
        3, "this kernel is preemptible (preempt=full)", "hint: boot with preempt=voluntary"
    )
    assert engine.state() is None
    cli("lock", "kimglock", "--profile=baseline").check()
    cli("unlock", "--all").check()
    (found,) = (each for each in cli("check", "--json").check().json["findings"] if each["name"] == "preemption")
    assert not found["ok"]
    assert found["hint"] == preemption.HINT
    switch.set("voluntary")
    cli("policy", "load", str(file)).check()
    # What is in force goes, whatever the kernel has become.
    switch.set("full")
    cli("policy", "unload", "--all").check()
    assert engine.state() is None


def test_what_a_tracer_misses_is_told(engine: Engine, locks: Locks, switch: Switch) -> None:
    """Locks miss nothing; a tracer does, where one process interrupts it in another."""
    locks.load("privsnoop", Profile.ALL)
    locks.load("bpfrestrict", Profile.ALLOW)
    switch.set("full")
    attempts, missed, end = 0, 0, time.monotonic() + _PATIENCE
    while not missed:
        assert time.monotonic() < end, "this kernel leaves nothing out"
        attempts += _attack(5, "map_create")[0]
        status = {each.lock.name: each for each in locks.enforcer.status()}
        missed = status["privsnoop"].missed
    assert not status["bpfrestrict"].missed
    assert locks.counters("bpfrestrict")["map_create"].allowed == attempts
    assert attempts - missed <= locks.counters("privsnoop")["bpf"].allowed
