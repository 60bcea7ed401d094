# SPDX-License-Identifier: Apache-2.0
"""How the tour looks: at most 100 columns, colours only where the output ends on a terminal."""

import os
import sys
import textwrap
from collections.abc import Sequence

WIDTH = min(100, max(60, int(os.environ.get("COLUMNS") or 100)))
# The harness that runs us in a guest tells what our output ends up on.
_COLOUR = not os.environ.get("NO_COLOR") and (sys.stdout.isatty() or bool(os.environ.get("FORCE_COLOR")))
_CODES = {"bold": "1", "dim": "2", "red": "1;31", "green": "32", "yellow": "33", "cyan": "36"}
_LABEL = 13


def paint(text: str, colour: str) -> str:
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if _COLOUR and colour else text


def say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def heading(text: str) -> None:
    say()
    say(paint(text, "bold"))


def prose(text: str, indent: int = 0) -> None:
    for line in textwrap.wrap(text, WIDTH - indent):
        say(" " * indent + line)


def printable(text: str) -> str:
    return "".join(c if c.isprintable() else "." for c in text)


def labelled(label: str, text: str, colour: str = "") -> None:
    """Text in a column of its own, beside a label."""
    lines = textwrap.wrap(printable(text), WIDTH - _LABEL, break_on_hyphens=False) or [""]
    for number, line in enumerate(lines):
        head = label if number == 0 else ""
        say(f"{paint(head, 'dim')}{' ' * (_LABEL - len(head))}{paint(line, colour)}")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], colours: Sequence[str]) -> None:
    """Rows in aligned columns, the last one in the row's colour."""
    widths = [max(len(row[n]) for row in (header, *rows)) for n in range(len(header))]

    def cells(row: Sequence[str]) -> list[str]:
        return [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]

    say(paint(" | ".join(cells(header)).rstrip(), "bold"))
    say("-+-".join("-" * width for width in widths))
    for row, colour in zip(rows, colours, strict=True):
        *most, last = cells(row)
        say(" | ".join([*most, paint(last.rstrip(), colour)]))
