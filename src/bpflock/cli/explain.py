# SPDX-License-Identifier: Apache-2.0
"""`bpflock explain`"""

import sys
from pathlib import Path

import click

from bpflock.cli.command import Command
from bpflock.cli.options import PLACES, config_flags, load_config
from bpflock.cli.output import echo, one_line
from bpflock.cli.policy import policies, refused
from bpflock.errors import BpflockError, UsageError


@click.command(
    cls=Command,
    examples=[
        ("bpflock explain --last", "why was that denied?"),
        ("bpflock events --denied --format=logfmt | tail -1 | bpflock explain -", "an event from elsewhere"),
    ],
)
@click.argument("event", required=False)
@click.option("--last", is_flag=True, help="the last denial that the running daemon knows of")
@click.option(
    "--policy",
    "files",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="the policy, or a directory of policies  [/etc/bpflock/policy.d]",
)
@config_flags("runtime-dir", *PLACES)
def explain(event: str | None, last: bool, files: tuple[Path, ...], **flags: str | None) -> None:
    """Explain a decision of a policy: which rule made it, and which would change it.

    EVENT is one line of 'bpflock events', as logfmt or JSON; '-' reads it from standard input.
    """
    from bpflock.confine.resolve import links_resolved
    from bpflock.policy.bpfbox.load import DIRECTORY, load
    from bpflock.policy.explain import explain, parse_event

    if last == (event is not None):
        raise UsageError("give an event, or --last", hint="see 'bpflock explain --help'")
    config = load_config(flags)
    if event is None:
        event = _last(config.runtime_dir)
    elif event == "-":
        event = sys.stdin.readline()
    keys = parse_event(event)
    if keys.get("profile", "").isdigit():
        keys["profile"] = _profile(int(keys["profile"]))
    with refused():
        text = explain(keys, links_resolved(load(files or [DIRECTORY])))
        for line in text.splitlines():
            echo(one_line(line))


def _profile(number: int) -> str:
    """The executable of a profile that an event names by its number."""
    from bpflock.events.escape import escape

    with policies() as inside:
        state = inside.engine.state()
    for executable, known in state.numbering.profiles.items() if state else ():
        if known == number:
            return escape(executable.encode())
    raise BpflockError(f"no profile in force has the number {number}", hint="is its policy still loaded?")


def _last(runtime_dir: Path) -> str:
    from bpflock.daemon.client import ask

    with ask(runtime_dir, "/v1/events?follow=0&format=json&denied=1") as answer:
        if answer is None:
            raise BpflockError("no daemon runs: it keeps the events", hint="give the event itself")
        lines = [line for line in answer.text().splitlines() if '"profile":' in line]
    if not lines:
        raise BpflockError("the daemon knows of no denial by a policy")
    return lines[-1]
