# SPDX-License-Identifier: Apache-2.0
"""kmodlock and kimglock: modules that a thread of the kernel asks for, files of tracefs that ask for nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from bpflock.locks.model import Profile

from .conftest import CONTAINER, Attacker, Locks
from .redteam import RedTeam

_SOCKETS = Path(__file__).parent / "sockets.py"
_MODULES = Path("/proc/modules")
_TRACING = Path("/sys/kernel/tracing")


def _unload() -> None:
    """What was loaded of the algorithm, and what was put together of it."""
    for _ in range(3):
        names = [line.split()[0] for line in _MODULES.read_text(encoding="ascii").splitlines() if "camellia" in line]
        for name in names:
            subprocess.run(["modprobe", "-r", name], check=False, capture_output=True)
    assert "camellia" not in _MODULES.read_text(encoding="ascii")


@pytest.mark.redteam("K8", "module of an algorithm within another one")
def test_algorithms(redteam: RedTeam, locks: Locks, attacker: Attacker) -> None:
    for module in ("af_alg", "algif_skcipher", "xts"):
        subprocess.run(["modprobe", module], check=True)
    command = f"{CONTAINER}{sys.executable} -S -E {_SOCKETS} algorithm"
    locks.unload_all()
    without = attacker.run(command)
    _unload()
    locks.load("kmodlock", Profile.BASELINE)
    locks.events()
    within = attacker.run(command)
    event = redteam.stopped(
        without=without.status,
        within=within.status,
        events=[event for event in locks.events() if event.comm == b"cryptomgr_probe"],
        hook="kernel_module_request",
        operation="autoloading module",
    )
    assert event.filename == b"crypto-camellia"
    # It is the host's after a request of the host.
    attempt = attacker.run(f"{sys.executable} -S -E {_SOCKETS} algorithm")
    assert attempt.worked, attempt
    _unload()


@pytest.mark.redteam("K14", "file of tracefs that does not ask")
@pytest.mark.parametrize("name", ["enabled_functions", "events/sched/sched_switch/format"])
def test_tracefs(redteam: RedTeam, locks: Locks, attacker: Attacker, name: str) -> None:
    if not (_TRACING / "events").exists():
        subprocess.run(["mount", "-t", "tracefs", "none", _TRACING], check=True)
    command = f"head -c 1 {_TRACING / name} >/dev/null"
    locks.unload_all()
    without = attacker.run(f"{CONTAINER}sh -c '{command}'")
    locks.load("kimglock", Profile.BASELINE)
    assert attacker.run(command).worked
    locks.events()
    within = attacker.run(f"{CONTAINER}sh -c '{command}'")
    redteam.stopped(
        without=without.status,
        within=within.status,
        events=locks.events(),
        hook="file_open",
        operation="use of tracefs",
    )
