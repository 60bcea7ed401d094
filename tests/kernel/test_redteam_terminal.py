# SPDX-License-Identifier: Apache-2.0
"""Signals that the kernel sends to the foreground of a terminal, as a confined program has told it to."""

import fcntl
import os
import pty
import shutil
import signal
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpflock.confine.engine import Engine
from bpflock.policy.bpfbox.load import parse
from bpflock.policy.model import PolicySet

from .conftest import ATTACK, Locks
from .redteam import RedTeam

HERE = Path("/tmp/policy-terminal")
FREE, BOUND = HERE / "free", HERE / "bound"
_TIOCGPTN = 0x80045430  # the number of a terminal


@pytest.fixture(scope="module")
def engine(kept_engine: Engine) -> Iterator[Engine]:
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir()
    for program in (FREE, BOUND):
        shutil.copy(ATTACK, program)
    kept_engine.load(
        PolicySet(
            parse(
                f'#![profile "{BOUND}"]\nfs("/dev/**", read|write)\ncapability(sys_resource)\n'
                "signal(self|child|parent, any)"
            )
        )
    )
    yield kept_engine
    kept_engine.load(PolicySet())


def _attack(program: Path, number: str) -> int:
    """The status; 0 if the foreground process of another terminal was killed."""
    victim, master = pty.fork()
    if not victim:
        os.execv(FREE, [str(FREE), "sleeper"])
    try:
        assert os.read(master, 5) == b"ready"
        (terminal,) = struct.unpack("=I", fcntl.ioctl(master, _TIOCGPTN, bytes(4)))
        command: list[str | Path] = [program, "terminal_signal", f"/dev/pts/{terminal} {number}".strip()]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as attacker:
            assert attacker.stdout
            if attacker.stdout.readline() == "ready\n":
                os.write(master, b"x\n")
                _, status = os.waitpid(victim, 0)
                victim = 0
                assert os.WTERMSIG(status) == int(number or signal.SIGIO)
            attacker.communicate("\n")
        return attacker.returncode
    finally:
        if victim:
            os.kill(victim, signal.SIGKILL)
            os.waitpid(victim, 0)
        os.close(master)


@pytest.mark.parametrize(
    ("number", "operation"),
    [
        pytest.param("", "sigio", marks=pytest.mark.redteam("R21", "foreground of a terminal")),
        pytest.param("15", "sigterm", marks=pytest.mark.redteam("R21", "foreground of a terminal, another signal")),
    ],
)
def test_foreground(number: str, operation: str, engine: Engine, all_locks: Locks, redteam: RedTeam) -> None:
    without = _attack(FREE, number)
    all_locks.events()
    within = _attack(BOUND, number)
    redteam.stopped(without=without, within=within, events=all_locks.events(), hook="file_fcntl", operation=operation)
