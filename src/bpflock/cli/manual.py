# SPDX-License-Identifier: Apache-2.0
"""Manual pages, from the commands themselves: `python -m bpflock.cli.manual DIR` writes them (`make man`).

One page for bpflock and one for each of its commands; the subcommands of a group are on the group's page.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click

from bpflock import __version__
from bpflock.cli.main import EXAMPLES, SUMMARIES, cli
from bpflock.config.options import OPTIONS, Reach

SECTION = 8

_EXIT_STATUS = (
    ("0", "It is done; for bpflock check: nothing is missing."),
    ("1", "It failed; the message says why."),
    ("2", "Wrong usage or configuration: nothing was changed."),
    ("3", "The machine lacks something: see bpflock check."),
    ("4", "No permission."),
    ("130", "Interrupted."),
)
_FILES = (
    ("/etc/bpflock/bpflock.yaml", "Options and their values."),
    ("/etc/bpflock/bpflock.d/", "A file for each option, its content the value."),
    ("/etc/bpflock/bpf.d/*.yaml", "Programs and their arguments, as the Go implementation of bpflock has them."),
    ("/run/bpflock/bpflock.sock", "The local API of the daemon."),
    ("/sys/fs/bpf/bpflock/", "What the kernel enforces. Removing a directory ends its lock."),
)


def pages() -> Iterator[tuple[str, str]]:
    """Name of the file and text of each page."""
    root = cli.make_context("bpflock", [], resilient_parsing=True)
    yield f"bpflock.{SECTION}", _roff("bpflock", cli.get_short_help_str(200), _main(root))
    for name, summary in SUMMARIES.items():
        command = cli.get_command(root, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=root)
        yield f"bpflock-{name}.{SECTION}", _roff(f"bpflock-{name}", summary, _command(context))


def _main(context: click.Context) -> Iterator[str]:
    yield _synopsis(context)
    yield _heading("DESCRIPTION")
    yield _paragraphs(cli.help or "")
    yield _heading("COMMANDS")
    for name, summary in SUMMARIES.items():
        yield f".TP\n.BR bpflock\\-{_escape(name)} ({SECTION})\n{_text(summary)}\n"
    yield from _options(context)
    yield _heading("ENVIRONMENT")
    yield _definitions(
        (option.variable, f"See {option.flag} in bpflock-run({SECTION}).")
        for option in OPTIONS.values()
        if option.reach is not Reach.WITHOUT_EFFECT
    )
    yield _heading("FILES")
    yield _definitions(_FILES)
    yield _heading("EXIT STATUS")
    yield _definitions(_EXIT_STATUS)
    yield _examples(EXAMPLES)


def _command(context: click.Context) -> Iterator[str]:
    command = context.command
    subcommands = command.commands if isinstance(command, click.Group) else {}
    inner = [click.Context(found, info_name=name, parent=context) for name, found in subcommands.items()]
    yield _synopsis(*(inner or [context]))
    yield _heading("DESCRIPTION")
    yield _paragraphs(command.help or "")
    for found in inner:
        yield f'.SS "{_escape(found.command_path)}"\n'
        yield _paragraphs(found.command.help or "")
    for found in inner or [context]:
        yield from _options(found, title=found.command_path if inner else "")
    yield _examples([example for found in inner or [context] for example in getattr(found.command, "examples", ())])
    yield _heading("SEE ALSO")
    yield f".BR bpflock ({SECTION})\n"


def _roff(name: str, summary: str, parts: Iterable[str]) -> str:
    title = f'.TH {_escape(name.upper())} {SECTION} "" "bpflock {__version__}" "System administration"\n'
    head = f'.\\" SPDX-License-Identifier: Apache-2.0\n{title}.SH NAME\n{_escape(name)} \\- {_escape(summary)}\n'
    # Neither hyphenated nor justified: most words are names.
    return head + ".nh\n.ad l\n" + "".join(parts)


def _synopsis(*contexts: click.Context) -> str:
    lines = []
    for context in contexts:
        pieces = " ".join(context.command.collect_usage_pieces(context))
        lines.append(f".B {_escape(context.command_path)}\n{_escape(pieces)}\n")
    return _heading("SYNOPSIS") + ".br\n".join(lines)


def _options(context: click.Context, title: str = "") -> Iterator[str]:
    sections: dict[str, list[tuple[str, str]]] = {}
    for param in context.command.get_params(context):
        record = param.get_help_record(context)
        if record is not None and isinstance(param, click.Option):
            sections.setdefault(getattr(param, "section", "Options"), []).append(record)
    yield _heading(f"OPTIONS OF {title}" if title else "OPTIONS")
    for name, records in sections.items():
        if len(sections) > 1:
            yield f'.SS "{_escape(name)}"\n'
        yield _definitions(records)


def _examples(examples: Sequence[tuple[str, str]]) -> str:
    if not examples:
        return ""
    texts = "".join(f".PP\n{_text(meaning)}\n.PP\n.RS 4\n.nf\n{_text(line)}\n.fi\n.RE\n" for line, meaning in examples)
    return _heading("EXAMPLES") + texts


def _heading(text: str) -> str:
    return f'.SH "{_escape(text)}"\n'


def _definitions(records: Iterable[tuple[str, str]]) -> str:
    return "".join(f".TP\n.B {_escape(term)}\n{_text(meaning)}\n" for term, meaning in records)


def _paragraphs(text: str) -> str:
    """A command's help, in which a paragraph that begins with a backspace keeps its lines."""
    done = []
    for paragraph in text.strip().split("\n\n"):
        if paragraph.startswith("\b"):
            lines = "\n".join(_text(line) for line in paragraph.removeprefix("\b").strip("\n").splitlines())
            done.append(f".PP\n.nf\n{lines}\n.fi\n")
        else:
            done.append(f".PP\n{_text(' '.join(paragraph.split()))}\n")
    return "".join(done)


def _escape(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")


def _text(text: str) -> str:
    """A line of text: one that begins with a dot or a quote would be a request."""
    return "\\&" + _escape(text)


def main() -> int:
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in pages():
        (directory / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
