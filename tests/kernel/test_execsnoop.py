# SPDX-License-Identifier: Apache-2.0
"""execsnoop: every exec is told, with the name that was asked for, whatever its length and its bytes."""

import os
import shutil
from pathlib import Path

import pytest

from bpflock.locks.model import Profile

from .conftest import Locks

TRUE = "/bin/true"


def _execute(directory: Path, argument: bytes) -> None:
    """Execute a relative name in a child."""
    child = os.fork()
    if not child:
        try:
            os.chdir(directory)
            os.execv(argument, [argument])
        finally:
            os._exit(127)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize(
    "name",
    [
        b"./loader",
        b"./" + b"n" * 255,
        b"./" + b"/".join([b"d" * 200] * 4) + b"/" + b"n" * 250,
        b'./a\nb "c" \x1b[31m\xff=d',
        b"./" + b"/".join([b"d" * 250] * 16)[:4090],
    ],
    ids=["short", "255", "over a thousand", "odd bytes", "4092"],
)
def test_names(locks: Locks, tmp_path: Path, name: bytes) -> None:
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        # Longer than PATH_MAX from the root: made one step at a time.
        *directories, file = os.fsdecode(name[2:]).split("/")
        for part in directories:
            Path(part).mkdir()
            os.chdir(part)
        shutil.copy(TRUE, file)
    finally:
        os.chdir(here)
    locks.load("execsnoop", Profile.ALL)
    locks.events()
    _execute(tmp_path, name)
    events = [event for event in locks.events() if event.event == "syscall_execve"]
    assert [event.filename for event in events] == [name]
    assert (events[0].retval, events[0].denied, events[0].repeats) == (0, False, 0)


def test_execveat_and_counts(locks: Locks) -> None:
    locks.load("execsnoop", Profile.ALL)
    locks.events()
    for _ in range(3):
        fd = os.open(TRUE, os.O_RDONLY)
        child = os.fork()
        if not child:
            try:
                os.execve(fd, ["true"], {})
            finally:
                os._exit(127)
        os.waitpid(child, 0)
        os.close(fd)
    events = [event for event in locks.events() if event.event == "syscall_execveat"]
    assert len(events) == 3
    assert locks.counters("execsnoop")["execveat"].allowed == 3


def test_none_is_not_attached(locks: Locks) -> None:
    locks.load("execsnoop", Profile.ALL)
    locks.load("execsnoop", Profile.NONE)
    assert not [status for status in locks.enforcer.status() if status.lock.name == "execsnoop"]
