# SPDX-License-Identifier: Apache-2.0
"""The table of the red team notices a row that fails, that shows nothing, that is skipped, that is gone."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
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


# What is broken of _GOOD: before, after; then the row, its verdict and what is said of it.
_BROKEN = {
    "good": ("", "", "R01", "ok", "denied (policy)"),
    "worked": ("within=1", "within=0", "R01", "FAILED", "it ended with 0"),
    "never works": ("without=0", "without=2", "R01", "FAILED", "does not work without"),
    "event": ('operation="read"', 'operation="write"', "R01", "FAILED", "no denial of write"),
    "gone": ("def test_link", "def no_link", "R01", "MISSING", "no test is about it"),
    "another reason": ("since Linux 6.9", "why not", "R11", "impossible", "why not"),
    "skipped": ('"pwritev2"', '"another"', "R11", "FAILED", "skipped: since"),
    "shows nothing": ('pytest.skip("since Linux 6.9")', "pass", "R11", "FAILED", "shows no denial"),
    "not required": ('"R02", "killed"', '"R03", "killed"', "R03", "FAILED", "nobody would miss it"),
    "error": ("def test_link(redteam", "def test_link(none", "R01", "FAILED", "failed on setup"),
    "another test": ("def test_no_row", "@pytest.mark.xfail\ndef test_no_row", "R01", "ok", "denied"),
    "xfail": (
        "def test_link(redteam, events):",
        "@pytest.mark.xfail\ndef test_link():\n    assert False\ndef rest(redteam, events):",
        "R01",
        "FAILED",
        "skipped",
    ),
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a report for each of _BROKEN: of one run of pytest, which takes a while to start."""
    directory = tmp_path_factory.mktemp("rows")
    (directory / "conftest.py").write_text(_CONFTEST)
    for name, (before, after, *_) in _BROKEN.items():
        assert before in _GOOD
        (directory / f"test_{name.replace(' ', '_')}.py").write_text(_GOOD.replace(before, after, 1))
    report = directory / "junit.xml"
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", "--rootdir", directory, directory],
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        check=False,
        capture_output=True,
    )
    cases = list(ET.parse(report).getroot().iter("testcase"))
    for name in _BROKEN:
        suite = ET.Element("testsuite")
        suite.extend(case for case in cases if case.get("classname") == f"test_{name.replace(' ', '_')}")
        (directory / name).mkdir()
        ET.ElementTree(suite).write(directory / name / "6.1.xml")
    return directory


Table = Callable[[str], tuple[int, list[dict[str, str]], str]]


@pytest.fixture
def table(reports: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Table:
    """Of one of _BROKEN: exit status, rows, text."""
    monkeypatch.setattr(redteam_table, "REQUIRED", {"R01": "link", "R02": "killed", "R11": "append"})

    def run(name: str) -> tuple[int, list[dict[str, str]], str]:
        status = redteam_table.main(["--kernel", "6.1", "--json"], reports / name)
        rows = json.loads(capsys.readouterr().out)
        assert redteam_table.main(["--kernel", "6.1"], reports / name) == status
        return status, rows, capsys.readouterr().out

    return run


def test_good(table: Table) -> None:
    status, rows, text = table("good")
    assert status == 0, text
    assert [(r["id"], r["without"], r["within"], r["hook"], r["reason"], r["verdict"]) for r in rows] == [
        ("R01", "works", "denied", "file_open", "denied (policy)", "ok"),
        ("R02", "works", "killed (SIGKILL)", "file_open", "denied (policy)", "ok"),
        ("R11", "", "", "", "since Linux 6.9", "impossible"),
    ]
    assert text.splitlines()[-1] == "2 rows ok, 1 impossible, 0 bad"


@pytest.mark.parametrize("name", _BROKEN)
def test_broken(name: str, table: Table) -> None:
    *_, identifier, verdict, said = _BROKEN[name]
    status, rows, text = table(name)
    (found,) = (row for row in rows if row["id"] == identifier)
    assert (found["verdict"], status) == (verdict, 0 if verdict in ("ok", "impossible") else 1), text
    assert said in found["reason"], text
    assert not status or f"{verdict}: {identifier} " in text


def test_no_report(tmp_path: Path) -> None:
    assert redteam_table.main(["--kernel", "6.1"], tmp_path) == 1


_COLLECT = """
import json, sys, pytest

class Rows:
    def pytest_collection_finish(self, session):
        markers = [item.get_closest_marker("redteam") for item in session.items]
        json.dump([marker.args for marker in markers if marker], open(sys.argv[1], "w"))

pytest.main(["--collect-only", "-qq", "tests/kernel"], plugins=[Rows()])
"""


def test_required_are_those_that_are_marked(tmp_path: Path) -> None:
    """Else `make redteam` would fail for one that is missing, or not miss one that is gone."""
    subprocess.run(
        [sys.executable, "-c", _COLLECT, tmp_path / "rows"],
        cwd=ROOT,
        env={"BPFLOCK_VM": "1", "PATH": ""},
        check=True,
        capture_output=True,
    )
    marked = json.loads((tmp_path / "rows").read_text())
    assert {identifier for identifier, _ in marked} == set(redteam_table.REQUIRED)
    assert [row for row in redteam_table.IMPOSSIBLE if list(row) not in marked] == []


def test_what_a_row_shows_is_kept_when_it_fails() -> None:
    kept: dict[str, object] = {}
    with pytest.raises(AssertionError):
        RedTeam(kept.__setitem__).stopped(without=0, within=0, events=[], hook="file_open", operation="read")
    assert kept == {"without": "works", "within": "works"}
