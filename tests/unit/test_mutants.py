# SPDX-License-Identifier: Apache-2.0
"""The list of `make mutants` fits the sources and the tests; its runner tells what survives."""

import re
import shutil
from pathlib import Path

import pytest

from tests.mutants import __main__ as runner
from tests.mutants import tool
from tests.mutants.changes import Change, ChangeError, load
from tests.mutants.checkout import ROOT

CHANGES = load()


def test_there_are_enough() -> None:
    assert len({change.id for change in CHANGES}) == len(CHANGES)
    assert sum(change.file.startswith("bpf/") for change in CHANGES) >= 25
    assert sum(not change.kernel for change in CHANGES) >= 20
    assert {f"T{number}" for number in range(1, 16)} <= {change.id for change in CHANGES}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.id)
def test_each_can_be_made(change: Change, tmp_path: Path) -> None:
    path, text = change.find(ROOT)
    assert text.replace(change.old, change.new) != text
    if path.suffix == ".py":
        compile(text.replace(change.old, change.new), str(path), "exec")


@pytest.mark.parametrize("change", [c for c in CHANGES if c.test], ids=lambda change: change.id)
def test_each_names_a_test_that_is_there(change: Change) -> None:
    file, _, name = change.test.partition("::")
    assert (ROOT / file).is_file()
    assert not name or f"def {name}(" in (ROOT / file).read_text()


@pytest.mark.parametrize("change", [c for c in CHANGES if c.kernel], ids=lambda change: change.id)
def test_each_word_is_of_a_kernel_test(change: Change) -> None:
    """What selects nothing would be taken for a test that passes."""
    text = "\n".join(f"{path.stem}\n{path.read_text()}" for path in (ROOT / "tests" / "kernel").glob("*.py"))
    text += "\n".join(path.read_text() for path in (ROOT / "attacks").glob("*.c"))
    words = [word for word in re.findall(r"\w+", change.kernel) if word not in ("and", "or", "not")]
    assert [word for word in words if word.lower() not in text.lower()] == []


def test_a_change_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n")
    for old in ("x = 1", "y"):
        with pytest.raises(ChangeError, match="does not have it once"):
            Change("a", "", "a.py", old, "", test="t").apply(tmp_path)
    assert Change("a", "", "*.py", "x = 1\nx", "x = 2\nx", test="t").apply(tmp_path) == (
        tmp_path / "a.py",
        "x = 1\nx = 1\n",
    )
    assert (tmp_path / "a.py").read_text() == "x = 2\nx = 1\n"


@pytest.mark.parametrize(
    ("status", "verdict"), [(0, "SURVIVED"), (1, "caught"), (2, "BROKEN"), (4, "BROKEN"), (5, "BROKEN"), (-9, "BROKEN")]
)
def test_only_a_test_that_fails_catches(status: int, verdict: str) -> None:
    """Not one that is not there, or a file that cannot be read."""
    assert runner._judge(CHANGES[0], status, "t", 0.0).verdict == verdict


def _outcomes(*verdicts: str) -> list[runner.Outcome]:
    return [runner.Outcome(str(number), "what", verdict, "t", 1.0) for number, verdict in enumerate(verdicts)]


def test_the_exit_status() -> None:
    assert runner._summary(_outcomes("caught", "caught"), []) == 0
    assert runner._summary(_outcomes("caught", "SURVIVED"), []) == 1
    assert runner._summary(_outcomes("caught", "BROKEN"), []) == 1
    assert runner._summary([], _outcomes(*["caught"] * 17, *["SURVIVED"] * 3, *["BROKEN"] * 50)) == 0
    assert runner._summary([], _outcomes(*["caught"] * 16, *["SURVIVED"] * 4)) == 1


def test_the_tool_makes_programs_that_differ(tmp_path: Path) -> None:
    mutants = tool.choose(ROOT, 3, 1)
    assert len(mutants) >= 3 * len(tool.MODULES) - 3
    assert mutants == tool.choose(ROOT, 3, 1) != tool.choose(ROOT, 3, 2)
    for mutant in mutants:
        compile(mutant.new, mutant.file, "exec")
        assert mutant.new != mutant.old
        (tmp_path / mutant.file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / mutant.file, tmp_path / mutant.file)
        mutant.apply(tmp_path)
        assert (tmp_path / mutant.file).read_text() == mutant.new


def test_the_tool_knows_tests_that_are_there() -> None:
    for file, tests in tool.MODULES.items():
        assert all((ROOT / name).exists() for name in (file, *tests.split()))
