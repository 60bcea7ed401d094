# SPDX-License-Identifier: Apache-2.0
"""A lock is replaced without a moment in which it is not: an attacker who never stops trying never gets through."""

import itertools
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpflock.locks.enforce import Outcome
from bpflock.locks.model import Profile

from .conftest import ATTACK, CONTAINER, Locks
from .running import Daemon, start
from .tools import Cli

_IN_PROCESS = {"bpfrestrict": 200, "kimglock": 80}
_COMMANDS = 10
_SIGNALS = 10  # of two locks each
_STOP = Path("/tmp/stop-attacking")
_CONFIGURATION = Path("/tmp/reload-configuration")
# Each denies both attacks outside the host.
_SETTINGS = ("baseline", "restricted")


@pytest.fixture(autouse=True)
def nothing_before(all_locks: Locks) -> Iterator[None]:
    all_locks.unload_all()
    yield
    all_locks.unload_all()


class Attackers:
    """Try without a pause, until told to stop. At a lower priority: reloads wait a lot, also on a single CPU."""

    _ATTACKS = ("dev_mem", "map_create")

    def __enter__(self) -> "Attackers":
        _STOP.unlink(missing_ok=True)
        self._running = {
            attack: start(["nice", "-n10", *CONTAINER.split(), ATTACK, "until", _STOP, attack])
            for attack in self._ATTACKS
        }
        return self

    def __exit__(self, *_: object) -> None:
        _STOP.touch()
        for process in self._running.values():
            process.kill()
            process.wait()

    def stop(self) -> dict[str, int]:
        """How many attempts each made, all of them denied."""
        _STOP.touch()
        return {attack: self._count(process) for attack, process in self._running.items()}

    def _count(self, process: "subprocess.Popen[str]") -> int:
        output, _ = process.communicate(timeout=60)
        match = re.fullmatch(r"attempts=(\d+) denied=(\d+) ok=(\d+)\n", output)
        assert match, output
        attempts, denied, ok = map(int, match.groups())
        assert ok == 0, output
        assert denied == attempts, output
        return attempts


def test_three_hundred_reloads(locks: Locks, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    """By the library, by commands, by a daemon's SIGHUP. The counters, which go on, know of every attempt."""
    for lock in _IN_PROCESS:
        locks.load(lock, Profile.BASELINE)
    settings = itertools.cycle(_SETTINGS[::-1])
    with Attackers() as attackers:
        reloads = 0
        for lock, count in _IN_PROCESS.items():
            for _ in range(count):
                locks.load(lock, Profile(next(settings)), block=("kexec",) if lock == "kimglock" else ())
                reloads += 1
        for number in range(_COMMANDS):
            lock = ("bpfrestrict", "kimglock")[number % 2]
            block = f"--block={('map_create', 'dev_mem')[number % 2]}"
            profile = f"--profile={_SETTINGS[number // 2 % 2]}"
            told = cli("lock", lock, profile, block, "--json").check().json
            assert told["outcome"] == Outcome.REPLACED.value
            reloads += 1
        reloads += _by_signals()
        attempts = attackers.stop()
    with capsys.disabled():
        sys.stdout.write(f"\n{reloads} reloads, attempts: {attempts}\n")
    assert reloads >= 300
    assert min(attempts.values()) > 1000
    assert locks.counters("kimglock")["dev_mem"].denied == attempts["dev_mem"]
    assert locks.counters("bpfrestrict")["map_create"].denied == attempts["map_create"]
    for name, operation in (("kimglock", "dev_mem"), ("bpfrestrict", "map_create")):
        assert locks.counters(name)[operation].allowed == 0


def _by_signals() -> int:
    """Each SIGHUP replaces both locks."""
    _CONFIGURATION.mkdir(mode=0o755, exist_ok=True)
    file = _CONFIGURATION / "bpflock.yaml"

    def configure(profile: str) -> None:
        file.write_text("".join(f"{lock}-profile: {profile}\n" for lock in _IN_PROCESS))

    configure(_SETTINGS[0])
    with Daemon(f"--config-dir={_CONFIGURATION}") as daemon:
        for number in range(_SIGNALS):
            configure(_SETTINGS[(number + 1) % 2])
            daemon.send(signal.SIGHUP)
            daemon.wait_for("the configuration was reloaded", count=number + 1)
        replaced = len(daemon.lines("replaced"))
    assert replaced >= 2 * _SIGNALS
    return replaced
