# SPDX-License-Identifier: Apache-2.0
"""The command line without a kernel: what it would ask of the enforcer is recorded."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

from bpflock.cli.main import main
from bpflock.errors import BpflockError
from bpflock.locks.enforce import Broken, LockStatus, Outcome, Survey
from bpflock.locks.model import Lock, Settings


@dataclass
class FakeEnforcer:
    """Remembers what it was asked for, and answers with what the test put in."""

    applied: list[tuple[str, Settings, dict[str, str]]] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    loaded: set[str] = field(default_factory=set)
    statuses: list[LockStatus] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    outcome: Outcome = Outcome.LOADED
    error: BaseException | None = None
    event_buffer: int = 0

    def __call__(
        self, progress: Callable[[str], None] | None = None, event_buffer: int = 0, waiting: object = None
    ) -> Self:
        self.event_buffer = event_buffer
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def apply(self, lock: Lock, settings: Settings, origins: Mapping[str, str]) -> Outcome:
        if self.error:
            raise self.error
        self.applied.append((lock.name, settings, dict(origins)))
        return self.outcome

    def remove(self, lock: Lock) -> bool:
        self.removed.append(lock.name)
        return lock.name in self.loaded

    def status(self) -> list[LockStatus]:
        if self.error:
            raise self.error
        return self.statuses

    def survey(self) -> Survey:
        return Survey(tuple(self.status()), tuple(self.broken))


@pytest.fixture
def enforcer(monkeypatch: pytest.MonkeyPatch) -> FakeEnforcer:
    fake = FakeEnforcer()
    monkeypatch.setattr("bpflock.locks.enforce.Enforcer", fake)
    return fake


@dataclass
class Result:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty configuration directory, which commands take instead of /etc/bpflock."""
    for name in list(os.environ):
        if name.startswith("BPFLOCK_"):
            monkeypatch.delenv(name)
    path = tmp_path / "etc"
    path.mkdir(mode=0o755)
    monkeypatch.setenv("BPFLOCK_CONFIG_DIR", str(path))
    return path


@pytest.fixture
def bpflock(etc: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run a command line."""

    def run(*args: str) -> Result:
        status = main(args)
        captured = capfd.readouterr()
        return Result(status, captured.out, captured.err)

    return run


@pytest.fixture
def failure() -> BpflockError:
    return BpflockError("it does not work", hint="do something", status=3)
