# SPDX-License-Identifier: Apache-2.0
"""The tables in docs/ that the code determines: `python -m tests.unit.docs.tables` writes them, a test compares."""

import itertools
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from bpflock.config.options import OPTIONS, Kind, Option, Reach
from bpflock.locks import LOCKS
from bpflock.locks.model import Level, Lock, Settings
from tests.kernel import hooks as policy_hooks
from tests.kernel import ways as policy_ways

DOCS = Path(__file__).resolve().parents[3] / "docs"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _code(words: Sequence[str]) -> str:
    return " ".join(f"`{word}`" for word in words)


def _values(option: Option) -> str:
    if option.kind is Kind.SWITCH:
        return "yes or no"
    if option.kind is Kind.OPERATIONS and option.lock:
        return f"[operations](#lists-of-operations) of {option.lock.name}"
    if option.part == "allow-session":
        return f"{_code(option.choices)}, or with [operations](#lists-of-operations): `active:LIST`"
    return _code(option.choices) if option.choices else option.metavar


def _argument(option: Option) -> str:
    if option.lock is None:
        return "-"
    arguments = [f"--{option.part}"] + ([option.flag] if option.lock.is_tracer else [])
    return _code(arguments)


def options() -> str:
    """Every option that has an effect, in all its forms."""
    rows = [
        (
            f"`{option.name}`" if option.reach is Reach.EVERYWHERE else "-",
            f"`{option.flag}`",
            f"`{option.variable}`",
            _argument(option),
            _values(option),
            f"`{option.default}`" if option.default else "-",
            option.summary,
        )
        for option in OPTIONS.values()
        if option.reach is not Reach.WITHOUT_EFFECT
    ]
    return _table(
        ("file in bpflock.d, key in bpflock.yaml", "command line", "environment", "bpf.d", "value", "default", "what"),
        rows,
    )


def ignored() -> str:
    """The options that are accepted for the sake of old files."""
    return _code([name for name, option in OPTIONS.items() if option.reach is Reach.WITHOUT_EFFECT]) + "\n"


def operations(lock: Lock) -> str:
    """What a lock decides on."""
    rows = [
        (
            _code((operation.name, *operation.aliases)),
            operation.summary,
            f"`{operation.text or operation.name}`",
            _code(operation.requires) or "-",
        )
        for operation in lock.operations
    ]
    return _table(("operation", "what it stops", "in events", "allowed along with it"), rows)


def groups(lock: Lock) -> str:
    """The groups that stand for several operations."""
    everything = {operation.name for operation in lock.operations}
    rows = [
        (f"`{name}`", "all operations" if set(members) == everything else _code(members))
        for name, members in lock.groups.items()
    ]
    return _table(("group", "operations"), rows)


def levels() -> str:
    """What each lock is under each level."""

    def cell(settings: Settings) -> str:
        parts = [f"`{settings.profile}`"]
        for name, words in (("block", settings.block), ("allow", settings.allow)):
            if words:
                parts.append(f"{name} {_code(words)}")
        return ", ".join(parts)

    rows = [(f"[{name}]({name}.md)", *(cell(lock.levels[level]) for level in Level)) for name, lock in LOCKS.items()]
    return _table(("", *(f"`{level}`" for level in Level)), rows)


def hooks() -> str:
    """The hooks that the policy engine uses."""
    return "\n".join(textwrap.wrap(_code(sorted(policy_hooks.used())), 100, break_on_hyphens=False)) + "\n"


def unused_hooks() -> str:
    """The others, by reason."""
    return _table(("why not", "hooks"), [(each.why, _code(each.hooks)) for each in policy_hooks.EXCUSES])


def ways() -> str:
    """The ways into the kernel."""
    return _table(("way", "what it is"), [(f"`{name}`", what) for name, what in policy_ways.WAYS.items()])


def _spans(access: policy_ways.Access) -> tuple[str, str]:
    """Which ways are tried, and why not the others."""
    absent: dict[str, list[str]] = {}
    for way in policy_ways.WAYS:
        if reason := access.reason(way):
            absent.setdefault(reason, []).append(way)
    calls = [way for way in policy_ways.WAYS if not way.startswith("ring")]
    tried = [way for way in policy_ways.WAYS if not access.reason(way)]
    first = [
        f"`{way}` since Linux {'.'.join(map(str, kernel))}"
        for way in ("ring", "ring_fixed")
        if (kernel := access.first_kernel(way)) != (0, 0)
    ]
    since = f"; {first[0]}" if first else ""
    if tried == calls:
        return "all of system calls", next(iter(absent))
    if not absent:
        return f"all{since}", "-"
    return f"all but {_code([*itertools.chain(*absent.values())])}{since}", "; ".join(absent)


def accesses() -> str:
    """Each access of the model by each way."""
    rows = [(f"`{each.name}`", f"`{each.right}`", *_spans(each)) for each in policy_ways.ACCESSES]
    return _table(("access", "right", "ways that are tried", "why not by others"), rows)


def pages() -> Iterator[tuple[Path, str, str]]:
    """Page, name of the table in it, its text."""
    yield DOCS / "configuration.md", "options", options()
    yield DOCS / "configuration.md", "ignored", ignored()
    yield DOCS / "levels.md", "levels", levels()
    yield DOCS / "policy-coverage.md", "hooks", hooks()
    yield DOCS / "policy-coverage.md", "unused hooks", unused_hooks()
    yield DOCS / "policy-coverage.md", "ways", ways()
    yield DOCS / "policy-coverage.md", "accesses", accesses()
    for lock in LOCKS.values():
        if lock.is_tracer:
            continue
        yield DOCS / f"{lock.name}.md", "operations", operations(lock)
        yield DOCS / f"{lock.name}.md", "groups", groups(lock)


def place(text: str, name: str, table: str) -> str:
    """The page's text with the table between its two markers. Raises ValueError if they are not there."""
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->\n"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"there are no markers for the table '{name}'")
    return f"{before}{begin}{table}{end}{after}"


def main() -> int:
    for path, name, table in pages():
        path.write_text(place(path.read_text(), name, table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
