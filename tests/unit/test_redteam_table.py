# SPDX-License-Identifier: Apache-2.0
"""The table of the red team notices a row that fails, that shows nothing, that is skipped, that is gone."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bpflock.events.model import Event
from tests import redteam_table
from tests.kernel.redteam import RedTeam

ROOT = Path(__file__).resolve().parents[2]
_CONFTEST = """
import pytest
from tests.kernel.redteam import RedTeam, name_rows
from tests.unit.test_redteam_table import denial

@pytest.fixture
def redteam(record_property):
    return RedTeam(record_property)

@pytest.fixture
def events():
    return [denial()]

def pytest_configure(config):
    config.addinivalue_line("markers", "redteam(id, text): a row")

def pytest_collection_modifyitems(items):
    name_rows(items)
"""
_GOOD = """
import pytest

@pytest.mark.redteam("R01", "symbolic link")
def test_link(redteam, events):
    redteam.stopped(without=0, within=1, events=events, hook="file_open", operation="read")

@pytest.mark.parametrize("name", [pytest.param("killed", marks=pytest.mark.redteam("R02", "killed"))])
def test_killed(name, redteam, events):
    redteam.stopped(without=0, within=-9, events=events, hook="file_open", operation="read", expected=-9)

@pytest.mark.redteam("R11", "pwritev2")
def test_skipped():
    pytest.skip("since Linux 6.9")

def test_no_row():
    pass
"""


def denial() -> Event:
    return Event(
        time=1644213442.5,
        bpfprog="policy",
        event="lsm_file_open",
        op="read",
        operation="read",
        reason="denied (policy)",
        denied=True,
        tgid=2,
        pid=2,
        ppid=1,
        uid=0,
        cgroupid=1,
        comm=b"attack",
        pcomm=b"sh",
        filename=b"/secret",
        retval=-1,
        repeats=0,
    )


Report = Callable[[str], tuple[int, list[dict[str, str]], str]]


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Report:
    """Tests in, exit status and rows and text out."""
    monkeypatch.setattr(redteam_table, "REQUIRED", {"R01": "link", "R02": "killed", "R11": "append"})

    def run(tests: str) -> tuple[int, list[dict[str, str]], str]:
        (tmp_path / "conftest.py").write_text(_CONFTEST)
        (tmp_path / "test_rows.py").write_text(tests)
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", f"--junit-xml={tmp_path}/6.1.xml", "--rootdir", tmp_path, tmp_path],
            env={"PYTHONPATH": str(ROOT), "PATH": ""},
            check=False,
            capture_output=True,
        )
        status = redteam_table.main(["--kernel", "6.1", "--json"], tmp_path)
        rows = json.loads(capsys.readouterr().out)
        assert redteam_table.main(["--kernel", "6.1"], tmp_path) == status
        return status, rows, capsys.readouterr().out

    return run


def test_good(report: Report) -> None:
    status, rows, text = report(_GOOD)
    assert status == 0, text
    assert [(r["id"], r["without"], r["within"], r["hook"], r["reason"], r["verdict"]) for r in rows] == [
        ("R01", "works", "denied", "file_open", "denied (policy)", "ok"),
        ("R02", "works", "killed (SIGKILL)", "file_open", "denied (policy)", "ok"),
        ("R11", "", "", "", "since Linux 6.9", "impossible"),
    ]
    assert text.splitlines()[-1] == "2 rows ok, 1 impossible, 0 bad"


@pytest.mark.parametrize(
    ("before", "after", "identifier", "verdict", "reason"),
    [
        pytest.param("within=1", "within=0", "R01", "FAILED", "it ended with 0", id="worked"),
        pytest.param("without=0", "without=2", "R01", "FAILED", "does not work without", id="never-works"),
        pytest.param('operation="read"', 'operation="write"', "R01", "FAILED", "no denial of write", id="event"),
        pytest.param("def test_link", "def no_link", "R01", "MISSING", "no test is about it", id="gone"),
        pytest.param("since Linux 6.9", "why not", "R11", "impossible", "why not", id="reason"),
        pytest.param('"pwritev2"', '"another"', "R11", "FAILED", "skipped: since", id="skipped"),
        pytest.param('pytest.skip("since Linux 6.9")', "pass", "R11", "FAILED", "shows no denial", id="shows-nothing"),
        pytest.param('"R02", "killed"', '"R03", "killed"', "R03", "FAILED", "nobody would miss it", id="not-required"),
        pytest.param("def test_link(redteam", "def test_link(none", "R01", "FAILED", "failed on setup", id="error"),
        pytest.param("def test_no_row", "@pytest.mark.xfail\ndef test_no_row", "R01", "ok", "denied", id="others"),
        pytest.param(
            "def test_link(redteam, events):",
            "@pytest.mark.xfail\ndef test_link():\n    assert False\ndef rest(redteam, events):",
            "R01",
            "FAILED",
            "skipped",
            id="xfail",
        ),
    ],
)
def test_broken(before: str, after: str, identifier: str, verdict: str, reason: str, report: Report) -> None:
    assert before in _GOOD
    status, rows, text = report(_GOOD.replace(before, after, 1))
    found = [row for row in rows if row["id"] == identifier]
    assert [row["verdict"] for row in found] == [verdict], text
    assert reason in found[0]["reason"] or reason in text, text
    assert status == (0 if verdict in ("ok", "impossible") else 1)
    if status:
        assert f"{verdict}: {identifier} " in text


def test_no_report(tmp_path: Path) -> None:
    assert redteam_table.main(["--kernel", "6.1"], tmp_path) == 1


def test_required_are_those_that_are_marked() -> None:
    """Else `make redteam` would fail for one that is missing, or not miss one that is gone."""
    marked: set[str] = set()
    for path in (ROOT / "tests/kernel").glob("test_*.py"):
        marked |= set(re.findall(r'redteam\(\s*"(\w+)"', path.read_text()))
        marked |= set(re.findall(r'^ +f?"(R\d\d) ', path.read_text(), re.MULTILINE))
    assert marked == set(redteam_table.REQUIRED)


def test_what_a_row_shows_is_kept_when_it_fails() -> None:
    kept: dict[str, object] = {}
    with pytest.raises(AssertionError):
        RedTeam(kept.__setitem__).stopped(without=0, within=0, events=[], hook="file_open", operation="read")
    assert kept == {"without": "works", "within": "works"}
