# SPDX-License-Identifier: Apache-2.0
"""What the commands print: results on standard output, everything else on standard error."""

import os
import sys
from collections.abc import Sequence

import click

# Longer than any message of ours: what is longer quotes a value that is no sensible one.
_LONGEST = 600


def one_line(text: str) -> str:
    """Text that is safe on a terminal: whatever cannot be printed is escaped, line breaks too, and it has an end."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text[: _LONGEST + 1])
    return safe if len(safe) <= _LONGEST else safe[:_LONGEST] + "…"


def echo(text: str = "", *, err: bool = False) -> None:
    """Print; styles are dropped where there is no terminal, or NO_COLOR is set (https://no-color.org)."""
    click.echo(text, err=err, color=False if os.environ.get("NO_COLOR") else None)


def report(message: str, hint: str | None = None) -> None:
    """Say what is wrong, and what to do about it."""
    echo(f"bpflock: {click.style('error', fg='red', bold=True)}: {one_line(message)}", err=True)
    if hint:
        echo(f"{click.style('hint', fg='cyan')}: {one_line(hint)}", err=True)


def note(message: str) -> None:
    """Say what the user should know, though nothing is wrong."""
    echo(f"bpflock: {click.style('note', fg='yellow')}: {one_line(message)}", err=True)


def progress(message: str) -> None:
    """Say what is going on, to a person who waits for it."""
    if sys.stderr.isatty():
        echo(click.style(one_line(message), dim=True), err=True)


def print_json(value: object) -> None:
    """Print a result for programs."""
    import json  # not for people, and it takes its time to import

    echo(json.dumps(value, indent=2 if sys.stdout.isatty() else None))


def table(rows: Sequence[Sequence[str]], *, indent: int = 0, right: Sequence[int] = ()) -> list[str]:
    """Lines with aligned columns; those in `right` are aligned to the right."""
    if not rows:
        return []
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if n in right else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(" " * indent + "  ".join(cells).rstrip())
    return lines
