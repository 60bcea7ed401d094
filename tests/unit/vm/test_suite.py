# SPDX-License-Identifier: Apache-2.0
"""The runner's verdict: it passes only if every suite did, and a suite only if its report says so, too."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from vm import guest, kernels, suite
from vm.errors import GuestDied

GOOD = '<testsuite tests="8" failures="0" errors="0" skipped="1"/>'
Ends = int | Exception


class Guests:
    """Stands in for QEMU: how the guest of each kernel ends, and the report that pytest leaves there."""

    def __init__(self) -> None:
        self.ends: Mapping[str, Ends] = {}
        self.reports: Mapping[str, str] = {}

    def run(self, kernel: kernels.Kernel, job: guest.Job, **_: object) -> guest.Result:
        end = self.ends.get(kernel.name, 0)
        assert job.share is not None
        if text := self.reports.get(kernel.name, GOOD):
            (job.share / "junit.xml").write_text(text)
        if isinstance(end, Exception):
            raise end
        return guest.Result(end, 1.0, 2.0)


@pytest.fixture
def guests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Guests:
    found = Guests()
    (tmp_path / "tests/kernel").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vm.kernels.fetch", lambda name: kernels.Kernel(name, tmp_path / f"{name}.0"))
    monkeypatch.setattr("vm.guest.run", found.run)
    return found


def _main(*names: str) -> int:
    return suite.main([word for name in names for word in ("--kernel", name)] + ["--", "-x"])


def test_all_passed(guests: Guests, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main("6.1", "newest") == 0
    assert capsys.readouterr().err.count("ok      7 passed, 1 skipped (2 s)") == 2


@pytest.mark.parametrize("bad", ["6.1", "newest"])
@pytest.mark.parametrize(
    ("end", "report", "says"),
    [
        (1, '<testsuite tests="8" failures="1" errors="0" skipped="0"/>', "7 passed, 1 failed"),
        (2, "", "pytest left no report (exit status 2)"),
        (5, '<testsuite tests="0" failures="0" errors="0" skipped="0"/>', "no tests"),
        # What pytest's exit status hides: it has no report, or one that says otherwise.
        (0, "", "pytest left no report (exit status 0)"),
        (0, "<testsuite", "pytest left no report (exit status 0)"),
        (0, '<testsuite tests="8" failures="0" errors="1" skipped="0"/>', "7 passed, 1 errors"),
        (0, '<testsuite tests="8" failures="1" errors="0" skipped="0"/>', "7 passed, 1 failed"),
        (GuestDied("the guest stopped"), GOOD, "the guest stopped"),
    ],
    ids=["failed", "interrupted", "nothing collected", "no report", "half a report", "error", "failure", "died"],
)
def test_one_of_two_did_not(
    guests: Guests, capsys: pytest.CaptureFixture[str], bad: str, end: Ends, report: str, says: str
) -> None:
    """Whichever of them: that the other passed does not count."""
    guests.ends, guests.reports = {bad: end}, {bad: report}
    assert _main("6.1", "newest") == 1
    (told,) = (line for line in capsys.readouterr().err.splitlines() if "FAILED" in line)
    assert bad in told and says in told


def test_tests_that_are_not_there(guests: Guests, capsys: pytest.CaptureFixture[str]) -> None:
    Path("tests/kernel").rmdir()
    assert _main("6.1") == 1
    assert "there is no directory tests/kernel" in capsys.readouterr().err


def test_an_interrupt_is_no_success(guests: Guests, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> guest.Result:
        raise KeyboardInterrupt

    monkeypatch.setattr("vm.guest.run", interrupted)
    assert _main("6.1") == 130
