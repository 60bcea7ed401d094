# SPDX-License-Identifier: Apache-2.0
"""A suite that passed is skipped only while all that it depends on is the same."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from vm import guest, kernels, passed, suite

NAME = "6.1"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("src/bpflock/kernel/x.so", "build/attack", "vm/qemu.py", "docs/a.md", "tests/unit/t.py", "old.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    (tmp_path / ".gitignore").write_text("build/\n*.so\n*.pyc\n")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "add", "."], check=True)
    return tmp_path


@pytest.mark.parametrize(
    "name", ["vm/qemu.py", "src/bpflock/kernel/x.so", "build/attack", "tests/kernel/test_new.py", ".gitignore"]
)
def test_a_file_that_matters_changes_the_key(checkout: Path, name: str) -> None:
    before = passed.key(checkout, "6.1.0")
    (checkout / name).parent.mkdir(parents=True, exist_ok=True)
    (checkout / name).write_text("2")
    assert before is not None
    assert passed.key(checkout, "6.1.0") not in (None, before)


@pytest.mark.parametrize("name", ["docs/a.md", "tests/unit/t.py", "README.md", "build/reports/6.1.xml", "x.pyc"])
def test_what_no_guest_reads_does_not(checkout: Path, name: str) -> None:
    before = passed.key(checkout, "6.1.0")
    (checkout / name).parent.mkdir(parents=True, exist_ok=True)
    (checkout / name).write_text("2")
    assert passed.key(checkout, "6.1.0") == before


def test_removal_mode_and_links_change_the_key(checkout: Path) -> None:
    keys = [passed.key(checkout)]
    (checkout / "vm/qemu.py").chmod(0o755)
    keys.append(passed.key(checkout))
    (checkout / "old.py").unlink()
    keys.append(passed.key(checkout))
    (checkout / "old.py").symlink_to("vm/qemu.py")
    keys.append(passed.key(checkout))
    assert None not in keys
    assert len(set(keys)) == len(keys)


def test_the_kernel_and_the_machine_change_the_key(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = passed.key(checkout, "6.1.0")
    assert passed.key(checkout, "7.3.4") != before
    monkeypatch.setattr("vm.qemu.has_kvm", lambda: True)
    with_kvm = passed.key(checkout, "6.1.0")
    monkeypatch.setattr("vm.qemu.has_kvm", lambda: False)
    assert passed.key(checkout, "6.1.0") != with_kvm


def test_outside_a_git_checkout_nothing_is_remembered(tmp_path: Path) -> None:
    assert passed.key(tmp_path) is None
    assert passed.recall(tmp_path, NAME, None) is None


def test_kept_recalled_forgotten(tmp_path: Path) -> None:
    passed.keep(tmp_path, NAME, "k", "8 passed")
    found = passed.recall(tmp_path, NAME, "k")
    assert found is not None
    assert found.summary == "8 passed"
    assert passed.recall(tmp_path, NAME, "other") is None
    assert passed.recall(tmp_path, "newest", "k") is None
    passed.forget(tmp_path, NAME)
    assert passed.recall(tmp_path, NAME, "k") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"key": "k"}', '{"key": "k", "at": "x", "summary": 1}'])
def test_a_damaged_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / f"{NAME}.json").write_text(text)
    assert passed.recall(tmp_path, NAME, "k") is None


class Guests:
    """Stands in for QEMU: how often a guest was booted; it passes, fails, or changes the checkout meanwhile."""

    def __init__(self) -> None:
        self.boots = 0
        self.status = 0
        self.meanwhile: Callable[[], object] = lambda: None

    def run(self, _kernel: kernels.Kernel, job: guest.Job, **_: object) -> guest.Result:
        self.boots += 1
        self.meanwhile()
        assert job.share is not None
        (job.share / "junit.xml").write_text('<testsuite tests="8" failures="0" errors="0" skipped="0"/>')
        return guest.Result(self.status, 1.0, 1.0)


@pytest.fixture
def guests(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Guests:
    found = Guests()
    (checkout / "tests/kernel").mkdir()
    monkeypatch.chdir(checkout)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr("vm.kernels.fetch", lambda name: kernels.Kernel(name, checkout / "6.1.0-1-amd64"))
    monkeypatch.setattr("vm.guest.run", found.run)
    return found


def test_a_suite_that_passed_is_not_run_again(guests: Guests, capsys: pytest.CaptureFixture[str]) -> None:
    assert suite.main(["--kernel", NAME]) == 0
    assert suite.main(["--kernel", NAME]) == 0
    assert guests.boots == 1
    shown = capsys.readouterr()
    assert "unchanged since it passed at " in shown.out
    assert "make test FORCE=1" in shown.out
    assert "8 passed" in shown.err


def test_force_ci_arguments_and_changes_run_it(guests: Guests, monkeypatch: pytest.MonkeyPatch) -> None:
    assert suite.main(["--kernel", NAME]) == 0
    assert suite.main(["--kernel", NAME, "--force"]) == 0
    assert suite.main(["--kernel", NAME, "--", "-k", "x"]) == 0
    assert suite.main(["--kernel", NAME, "--smp", "4"]) == 0
    assert guests.boots == 4
    Path("vm/qemu.py").write_text("2")
    assert suite.main(["--kernel", NAME]) == 0
    assert guests.boots == 5
    monkeypatch.setenv("CI", "true")
    assert suite.main(["--kernel", NAME]) == 0
    assert guests.boots == 6


def test_only_a_full_pass_is_kept(guests: Guests) -> None:
    assert suite.main(["--kernel", NAME, "--", "-k", "x"]) == 0
    assert not passed.PASSED.exists()
    assert suite.main(["--kernel", NAME]) == 0
    guests.status = 1
    assert suite.main(["--kernel", NAME, "--force"]) == 1
    assert not list(passed.PASSED.iterdir())


def test_a_change_while_it_runs_keeps_nothing(guests: Guests) -> None:
    guests.meanwhile = lambda: Path("vm/qemu.py").write_text("changed meanwhile")
    assert suite.main(["--kernel", NAME]) == 0
    assert not passed.PASSED.exists()
    assert suite.main(["--kernel", NAME]) == 0
    assert guests.boots == 2
