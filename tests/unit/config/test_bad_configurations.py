# SPDX-License-Identifier: Apache-2.0
"""Every bad configuration gets one clear error that names where, through the real command line, and changes nothing."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpflock.cli.main import main
from bpflock.config import load
from bpflock.errors import BpflockError
from tests.unit.config.bad import CASES, Bad

_NOBODY = 65534
_SECONDS = 20
_IDS = [case.name for case in CASES]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that other users may enter; pytest's own may not be."""
    with tempfile.TemporaryDirectory(prefix="bpflock-bad-") as name:
        Path(name).chmod(0o755)
        (Path(name) / "etc").mkdir(mode=0o755)
        yield Path(name)


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """A pipe that is opened waits forever."""
    signal.alarm(_SECONDS)
    yield
    signal.alarm(0)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("BPFLOCK_"):
            monkeypatch.delenv(name)


def _prepare(case: Bad, place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if os.geteuid() and case.as_root:
        pytest.skip("only root refuses it")
    directory = place / "etc"
    case.lay_out(directory)
    for name, value in case.environment(directory).items():
        monkeypatch.setenv(name, value)
    # Where a command that went on would write.
    monkeypatch.setenv("BPFLOCK_RUNTIME_DIR", str(place / "run"))
    return directory


def _snapshot(place: Path) -> list[tuple[str, int, int, float]]:
    found = []
    for path in place.rglob("*"):
        status = path.lstat()
        found.append((str(path), status.st_mode, status.st_size, status.st_mtime))
    return sorted(found)


def _assert_one_clear_error(case: Bad, directory: Path, status: int, out: str, err: str) -> None:
    lines = err.splitlines()
    errors = [line for line in lines if line.startswith("bpflock: error: ")]
    assert len(errors) == 1, err
    assert len([line for line in lines if line.startswith("hint: ")]) <= 1, err
    assert all(line.startswith(("bpflock: error: ", "hint: ", "bpflock: note: ")) for line in lines), err
    assert "Traceback" not in out + err
    assert not out
    assert err.replace("\n", "").isprintable()
    assert all(len(line) < 800 for line in lines)
    for fragment in case.fragments(directory):
        assert fragment in err
    assert status == case.status, err


def test_there_are_enough_cases_and_their_names_differ() -> None:
    assert len(CASES) >= 60
    assert len(set(_IDS)) == len(CASES)


@pytest.mark.parametrize("command", ["config show", "run"])
@pytest.mark.parametrize("case", CASES, ids=_IDS)
def test_command_line(
    case: Bad, command: str, place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if command == "run":
        daemon = pytest.importorskip("bpflock.daemon.main")
        pytest.importorskip("bpflock.cli.run")
        monkeypatch.setattr(daemon, "run", lambda *args, **kwargs: pytest.fail("the daemon was started"))
    directory = _prepare(case, place, monkeypatch)
    before = _snapshot(place)
    if case.as_nobody and os.geteuid() == 0:
        os.seteuid(_NOBODY)
    try:
        status = main([*command.split(), *case.arguments(directory)])
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
    captured = capfd.readouterr()
    _assert_one_clear_error(case, directory, status, captured.out, captured.err)
    assert _snapshot(place) == before


@pytest.mark.parametrize(
    "name", ["pipe in its place", "object tag", "command line: not UTF-8", "command line: misspelt", "alias bomb"]
)
def test_process(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost between the process and main()."""
    case = next(case for case in CASES if case.name == name)
    directory = _prepare(case, place, monkeypatch)
    result = subprocess.run(
        [sys.executable, "-m", "bpflock.cli.main", "config", "show", *case.arguments(directory)],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    _assert_one_clear_error(case, directory, result.returncode, result.stdout, result.stderr)


@pytest.mark.parametrize("case", [case for case in CASES if not case.argv and not case.as_nobody], ids=lambda c: c.name)
def test_load(case: Bad, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library refuses it as the commands do: the daemon reloads with it."""
    directory = _prepare(case, place, monkeypatch)
    with pytest.raises(BpflockError) as caught:
        load({"config-dir": str(directory)})
    assert caught.value.status == case.status
    assert "Error" not in caught.value.message
