# SPDX-License-Identifier: Apache-2.0
"""Each bad configuration of tests/unit gets one clear error through the command line, and changes nothing."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import bpflock.cli.lock
import bpflock.cli.run
import bpflock.daemon.main  # noqa: F401 (what another user than root may not be able to read)
from bpflock.cli.main import main
from bpflock.locks.model import Profile
from tests.unit.config.bad import CASES, Bad

from .conftest import CONTAINER, Attacker, Locks
from .tools import NOBODY, all_links, pinned

_SECONDS = 60  # a daemon that starts goes on for ever


@pytest.fixture(scope="module", autouse=True)
def locked(all_locks: Locks) -> Iterator[dict[str, dict[str, int]]]:
    all_locks.unload_all()
    all_locks.load("kimglock", Profile.BASELINE)
    all_locks.load("kmodlock", Profile.RESTRICTED)
    yield all_links()
    all_locks.unload_all()


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that other users may enter."""
    path = Path("/tmp/bad-configuration")
    path.mkdir(mode=0o755)
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_run(
    case: Bad,
    place: Path,
    locked: dict[str, dict[str, int]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    case.lay_out(place)
    for name, value in case.environment(place).items():
        monkeypatch.setenv(name, value)
    _expect_refusal(case, ["run", *case.arguments(place)], place, capfd)
    assert all_links() == locked


@pytest.mark.parametrize("case", [case for case in CASES if not case.argv][::6], ids=lambda case: case.name)
def test_lock(
    case: Bad,
    place: Path,
    locked: dict[str, dict[str, int]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The same configuration is refused for one lock alone, even if that lock is not what is wrong."""
    case.lay_out(place)
    for name, value in case.environment(place).items():
        monkeypatch.setenv(name, value)
    _expect_refusal(case, ["lock", "kimglock", "--profile=allow", *case.arguments(place)], place, capfd)
    assert all_links() == locked


def _expect_refusal(case: Bad, args: list[str], place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = pinned()
    signal.alarm(_SECONDS)
    if case.as_nobody:
        os.seteuid(NOBODY)
    try:
        status = main(args)
    finally:
        os.seteuid(0)
        signal.alarm(0)
    out, err = capfd.readouterr()
    assert status == case.status, err
    assert sum(line.startswith("bpflock: error: ") for line in err.splitlines()) == 1, err
    assert all(line.startswith(("bpflock: error: ", "bpflock: note: ", "hint: ")) for line in err.splitlines()), err
    for fragment in case.fragments(place):
        assert fragment in err
    assert not out
    assert pinned() == before


def test_there_are_enough() -> None:
    assert len(CASES) >= 50


def test_the_locks_are_still_in_force(attacker: Attacker) -> None:
    assert attacker.attack("dev_mem", CONTAINER).denied
    assert attacker.attack("unsafe_module_parameters").denied
