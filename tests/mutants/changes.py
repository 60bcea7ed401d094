# SPDX-License-Identifier: Apache-2.0
"""The hand-kept list of changes, changes.toml: each breaks something, and a named test must fail."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).with_name("changes.toml")


class ChangeError(Exception):
    """The list does not fit the sources any more."""


@dataclass(frozen=True)
class Change:
    """`test`: a test of tests/unit; `kernel`: an expression for -k in tests/kernel. One of the two."""

    id: str
    what: str
    file: str
    old: str
    new: str
    test: str = ""
    kernel: str = ""

    def apply(self, root: Path) -> tuple[Path, str]:
        """Change the file below `root`; which one, and what it was."""
        path, text = self.find(root)
        path.write_text(text.replace(self.old, self.new))
        return path, text

    def find(self, root: Path) -> tuple[Path, str]:
        """The file, and its text. Raises ChangeError unless the old text stands in one place."""
        found = [(path, text) for path in sorted(root.glob(self.file)) if self.old in (text := path.read_text())]
        if len(found) != 1 or found[0][1].count(self.old) != 1:
            raise ChangeError(f"{self.id}: {self.file} does not have it once: {self.old.strip()}")
        return found[0]


def load(path: Path = LIST) -> list[Change]:
    """All of them. Raises ChangeError for one that is not well formed."""
    found = [Change(**fields) for fields in tomllib.loads(path.read_text())["change"]]
    for change in found:
        if bool(change.test) == bool(change.kernel) or change.old == change.new:
            raise ChangeError(f"{change.id}: one of test and kernel is needed, and a difference")
    return found
