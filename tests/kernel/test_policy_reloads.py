# SPDX-License-Identifier: Apache-2.0
"""A policy is loaded again and again while confined processes use files: what it denies is never allowed, what it
allows never denied. Most loads switch the tables; one replaces the programs, too, those of another version, which kept
other labels."""

import contextlib
import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpflock.confine.engine import Engine
from bpflock.errors import BpflockError
from bpflock.kernel import pins
from bpflock.kernel.bpf import Map
from bpflock.policy.bpfbox.load import parse
from bpflock.policy.model import PolicySet

from .conftest import ATTACK, Locks
from .holder import Holder
from .running import start

_RELOADS = 300
_OF_PROGRAMS = 150  # this load replaces the programs
_HERE = Path("/tmp/policy-reloads")
_PROGRAM = _HERE / "attack"
_ALLOWED, _DENIED = _HERE / "open/file", _HERE / "closed/file"
_STOP = _HERE / "stop"


_POLICIES = 6
_ATTEMPTS = 100  # at least, also where a fork takes longer than a reload


@functools.cache
def _policy(number: int) -> PolicySet:
    """Each allows the one file and denies the other, by other patterns: labels and states have other numbers."""
    others = "\n".join(f'fs("{_HERE}/other-{other}/**", read|write)' for other in range(number * 3))
    before = f'#![profile "{_HERE}/another"]\nfs("/**", read|write|exec)\n' if number % 2 else ""
    pattern = (f"{_HERE}/open/**", f"{_HERE}/o*/f?le", str(_ALLOWED))[number % 3]
    return PolicySet(
        parse(f'{before}#![profile "{_PROGRAM}"]\nfs("{pattern}", read)\ncapability(sys_resource)\n{others}')
    )


@pytest.fixture
def engine(all_locks: Locks) -> Iterator[Engine]:
    shutil.rmtree(_HERE, ignore_errors=True)
    for file in (_ALLOWED, _DENIED):
        file.parent.mkdir(parents=True)
        file.write_text("content")
    shutil.copy(ATTACK, _PROGRAM)
    found = Engine(all_locks.enforcer)
    yield found
    found.unload()


def _put_other_map(pin: str) -> None:
    """As another version may have pinned it: the map of another layout that is at hand."""
    base = pins.directory(pins.POLICY)
    with Map.open(base / "marked") as other:
        (base / pin).unlink()
        other.pin(base / pin)


class Confined:
    """Use files without a pause, until told to stop. At the lowest priority: reloads wait a lot on a single CPU."""

    _ALL = (
        ("read_file", _ALLOWED),
        ("read_file", _DENIED),
        ("read_in_child", _DENIED),
    )

    def __enter__(self) -> "Confined":
        self._running = {
            (attack, file): start(["nice", "-n19", _PROGRAM, "until", _STOP, attack, file])
            for attack, file in self._ALL
        }
        return self

    def __exit__(self, *_: object) -> None:
        _STOP.touch()
        for process in self._running.values():
            process.kill()
            process.wait()

    def stop(self) -> dict[tuple[str, Path], int]:
        """How many attempts there were, all of them decided rightly."""
        _STOP.touch()
        return {key: self._count(process, key[1]) for key, process in self._running.items()}

    def _count(self, process: "subprocess.Popen[str]", file: Path) -> int:
        output, _ = process.communicate(timeout=120)
        match = re.fullmatch(r"attempts=(\d+) denied=(\d+) ok=(\d+)\n", output)
        assert match, output
        attempts, denied, worked = map(int, match.groups())
        assert (denied, worked) == ((0, attempts) if file == _ALLOWED else (attempts, 0)), (file, output)
        return attempts


def test_three_hundred_reloads(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (_ALLOWED, _DENIED):
        for attack in ("read_file", "read_in_child"):
            assert subprocess.run([_PROGRAM, attack, file], check=False).returncode == 0, "without a policy"
    with contextlib.ExitStack() as stack:
        # From before the first policy: it stays denied.
        holder = stack.enter_context(Holder(_PROGRAM, (os.O_RDONLY, _DENIED), (os.O_RDONLY, _ALLOWED)))
        engine.load(_policy(0))
        confined = stack.enter_context(Confined())
        for number in range(1, _RELOADS + 1):
            with monkeypatch.context() as patch:
                if number == _OF_PROGRAMS:
                    patch.setattr(Engine, "_is_loaded", lambda *_: False)
                    _put_other_map("labels")
                engine.load(_policy(number % _POLICIES))
            if number in (1, _OF_PROGRAMS, _RELOADS):
                assert not holder.can(0, "read")
                assert holder.can(1, "read")
        attempts = confined.stop()
    state = engine.state()
    assert state
    assert state.generation == _RELOADS + 1
    with capsys.disabled():
        told = ", ".join(f"{attack} {file.parent.name}: {count}" for (attack, file), count in attempts.items())
        sys.stdout.write(f"\n{_RELOADS} reloads, attempts: {told}\n")
    assert min(attempts.values()) > _ATTEMPTS


def test_tasks_of_another_version_stay_confined(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its record of them, no task would be confined any more: then what is in force stays."""
    engine.load(_policy(0))
    _put_other_map("tasks")
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "_is_loaded", lambda *_: False)
        with pytest.raises(BpflockError, match="the pinned map tasks has another layout") as raised:
            engine.load(_policy(1))
    assert "policy unload --all" in str(raised.value.hint)
    for file, status in ((_ALLOWED, 0), (_DENIED, 1)):
        assert subprocess.run([_PROGRAM, "read_file", file], check=False).returncode == status
