# SPDX-License-Identifier: Apache-2.0
"""Commands and their output as the documentation shows them.

A block is indented or fenced. `# COMMAND` is a command of a root shell, what follows up to an empty line its output;
`[...]` stands for lines that are left out.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


@dataclass(frozen=True)
class Sample:
    page: Path
    command: str
    output: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page.name}: {self.command[:60]}"


def samples(page: Path) -> Iterator[Sample]:
    """In their order on the page."""
    command, output = "", list[str]()
    fenced = False
    for line in [*page.read_text().splitlines(), ""]:
        if line.startswith("```"):
            fenced = not fenced
            line = ""
        elif not fenced:
            line = line[4:] if line.startswith("    ") else ""
        match = re.match(r"# (.+)", line)
        if command and (match or not line):
            yield Sample(page, command, tuple(output))
            command = ""
        if match:
            command, output = match[1], []
        elif line:
            output.append(line)


def differs(shown: tuple[str, ...], printed: list[str]) -> str:
    """The first line that is shown and was not printed there; nothing if all is as it should be."""
    place, anywhere = 0, False
    for line in shown:
        if line == "[...]":
            anywhere = True
            continue
        rest = [re.sub(" {2,}", "  ", found.rstrip()) for found in printed[place:]]
        wanted = re.sub(" {2,}", "  ", line.rstrip())
        if wanted not in rest[: None if anywhere else 1]:
            return f"shown: {line!r}, printed: {rest[:1]}"
        place += rest.index(wanted) + 1
        anywhere = False
    return "" if anywhere or place == len(printed) else f"printed, and not shown: {printed[place]!r}"
