# SPDX-License-Identifier: Apache-2.0
"""Whoever holds a file lock is named, and nobody waits for it without an end."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpflock.errors import BusyError
from bpflock.kernel import holder, pins
from bpflock.kernel.holder import holder_of
from vm import cache
from vm.errors import VmError

_HOLD = """
import fcntl, os, sys, time
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(fd, fcntl.LOCK_EX)
os.set_inheritable(fd, True)
if sys.argv[2] == "child" and (child := os.fork()):
    print(child, flush=True)
    os._exit(0)
if sys.argv[2] != "child":
    print(os.getpid(), flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def held(path: Path, how: str = "self") -> Iterator[int]:
    """The pid of who holds it. `child`: who took it has ended, and its child has the descriptor."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, path, how], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        if how == "child":
            process.wait()
        try:
            yield pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    def end(_number: int, _frame: object) -> None:
        raise AssertionError("it waits for ever")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pins, "ROOT", tmp_path / "root")
    monkeypatch.setattr(pins, "prepare", lambda: (tmp_path / "root").mkdir(exist_ok=True))
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.mark.parametrize("how", ["self", "child"])
def test_named(root: Path, how: str) -> None:
    with held(root, how) as pid:
        began = time.monotonic()
        with pytest.raises(BusyError) as caught, pins.exclusive(pins.Wait(0.1)):
            pass
        assert time.monotonic() - began < 30
    assert caught.value.message.startswith(f"process {pid} ({sys.executable} -c ")
    assert f"holds the lock of {root}, and did not let go within 0 s" in caught.value.message
    with pins.exclusive(pins.Wait(0.1)):
        pass


def test_who_waits_is_told_and_may_give_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins, "_TELL_SECONDS", 0.05)
    told: list[str] = []
    with held(root) as pid, pytest.raises(BusyError), pins.exclusive(pins.Wait(600, told.append, lambda: bool(told))):
        pass
    assert len(told) == 1
    assert told[0].startswith(f"waiting for process {pid} (")


def test_one_that_is_free_is_taken_even_by_who_gives_up(root: Path) -> None:
    with pins.exclusive(pins.Wait(0, None, lambda: True)):
        pass


def test_who_cannot_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holder, "_PROC", tmp_path)
    fd = os.open(tmp_path, os.O_RDONLY)
    assert holder_of(fd) == "a process that cannot be seen from here"
    os.close(fd)


def test_one_who_only_waits_is_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = tmp_path.stat()
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for pid in ("6", "7", "8"):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "stat").write_text(f"{pid} (a) b) {'Z' if pid == '6' else 'S'} 1")
    (tmp_path / "8" / "cmdline").write_bytes(b"x\0\x1b[31m\0")
    (tmp_path / "locks").write_text(
        f"1: POSIX  ADVISORY  WRITE 7 {place} 0 EOF\n2: -> FLOCK  ADVISORY  WRITE 7 {place} 0 EOF\n"
        f"2: FLOCK  ADVISORY  WRITE 7 {place}0 0 EOF\n3: FLOCK  ADVISORY  WRITE 6 {place} 0 EOF\n"
        f"3: FLOCK  ADVISORY  WRITE 8 {place} 0 EOF\n"
    )
    monkeypatch.setattr(holder, "_PROC", tmp_path)
    fd = os.open(tmp_path, os.O_RDONLY)
    assert holder_of(fd) == "process 8 (x ?[31m)"
    os.close(fd)


def test_the_cache_of_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_WAIT", 0.3)
    with cache.locked(tmp_path):
        other = (tmp_path / "lock").open("w")
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(VmError, match="another process holds"), cache.locked(tmp_path):
            pass
    with cache.locked(tmp_path):
        pass
