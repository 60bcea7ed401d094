# SPDX-License-Identifier: Apache-2.0
"""The examples of patterns in the documentation are true."""

import re
from pathlib import Path

from bpflock.policy.pattern import MAX_ALTERNATIVES, matches

PAGE = Path(__file__).resolve().parents[3] / "docs" / "policy-engine.md"


def test_examples_of_patterns() -> None:
    text = PAGE.read_text()
    rows = re.findall(r"^\| `(.+?)` \| (`.+`) \| (`.+`) \|$", text, re.MULTILINE)
    assert len(rows) == text.count("\n| `")
    assert len(rows) > 10
    for pattern, yes, no in rows:
        for path in re.findall("`(.+?)`", yes):
            assert matches(pattern, path.encode()), (pattern, path)
        for path in re.findall("`(.+?)`", no):
            assert not matches(pattern, path.encode()), (pattern, path)
    assert f"at most {MAX_ALTERNATIVES:,} patterns" in text
