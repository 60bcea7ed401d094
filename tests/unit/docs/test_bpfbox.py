# SPDX-License-Identifier: Apache-2.0
"""docs/bpfbox.md and examples/policy.d are policies that are accepted, and name everything that there is."""

import re
from pathlib import Path

import pytest

from bpflock.policy.bpfbox import names
from bpflock.policy.bpfbox.load import load, parse
from bpflock.policy.bpfbox.lower import ABSTRACTIONS
from bpflock.policy.lint import Severity, lint

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "bpfbox.md").read_text()
BLOCKS = re.findall(r"^```bpfbox\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
EXAMPLES = sorted((ROOT / "examples" / "policy.d").glob("*.bpfbox"))


def test_there_are_examples() -> None:
    assert len(BLOCKS) >= 4
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_each_policy_on_the_page_is_accepted(block: str) -> None:
    assert all(profile.rules for profile in parse(block))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_is_accepted_and_compiles(path: Path) -> None:
    assert not [f for f in lint(load([path]), here=False) if f.severity is Severity.ERROR]


def test_the_page_names_every_word() -> None:
    words = [*names.FILE, *names.NET, *names.PTRACE, *names.OPERATION, *names.WHO, *names.SIGNAL_GROUPS]
    words += [path.stem for path in ABSTRACTIONS.glob("*.bpfbox")]
    assert [word for word in words if f"`{word}`" not in TEXT] == []
    for form in (*names.DIRECTIVES, *names.HEADERS):
        assert re.search(rf"#!?\[{form}\b", TEXT), form
    for rule in names.RULES:
        assert f"`{rule}(" in TEXT
