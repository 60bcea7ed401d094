# SPDX-License-Identifier: Apache-2.0
"""`bpflock status`"""

from datetime import datetime
from typing import TYPE_CHECKING

import click

from bpflock.cli.command import Command, app
from bpflock.cli.lock import open_enforcer
from bpflock.cli.output import echo, one_line, print_json, table
from bpflock.cli.policy import show_profiles, show_uncovered
from bpflock.errors import BpflockError
from bpflock.locks.model import Profile

if TYPE_CHECKING:
    from bpflock.daemon.report import Report
    from bpflock.locks.enforce import LockStatus

_COLOURS = {Profile.BASELINE: "green", Profile.RESTRICTED: "green", Profile.ALLOW: "yellow"}


@click.command(
    cls=Command,
    has_json=True,
    examples=[
        ("bpflock status", "what is enforced, since when, why, and what did it do?"),
        ("bpflock status --json | jq '.locks[] | {name, profile}'", "for a program"),
    ],
)
def status() -> None:
    """Show what is enforced, where each value came from, and what was allowed and denied."""
    from bpflock.daemon.report import read_report, status_document

    with open_enforcer() as enforcer:
        found = read_report(enforcer)
    if app().json:
        print_json(status_document(found))  # the daemon's API answers with the same
    else:
        _show_all(found)
    if found.broken:
        names = ", ".join(broken.name for broken in found.broken)
        hint = "'bpflock lock NAME' or SIGHUP to 'bpflock run' loads a lock again; 'bpflock unlock NAME' ends it"
        raise BpflockError(f"the pins are damaged of: {names}", hint=hint)


def _show_all(found: "Report") -> None:
    if not found.locks and not found.profiles and not found.broken:
        echo("nothing is enforced")
    for number, lock in enumerate(found.locks):
        if number:
            echo()
        _show(lock)
    for number, broken in enumerate(found.broken):
        if number or found.locks:
            echo()
        word = click.style("BROKEN", fg="red")
        echo(f"{click.style(broken.name, bold=True)}: {word}: {one_line(broken.problem)}")
    if found.profiles:
        if found.locks or found.broken:
            echo()
        echo(f"{click.style('policies', bold=True)}: programs that are confined")
        show_profiles(list(found.profiles), indent=2)
        show_uncovered(found.uncovered, indent=2)


def _show(status: "LockStatus") -> None:
    profile = status.settings.profile
    since = datetime.fromtimestamp(status.since).isoformat(" ", "seconds")
    rows = [("profile", click.style(profile.value, fg=_COLOURS.get(profile)), _origin(status, "profile"))]
    settings = status.settings
    sessions = (str(settings.session),) if settings.session else ()
    lists = (
        *(("block", settings.block), ("allow", settings.allow), ("allow-session", sessions)),
        *settings.parameters,
    )
    for part, words in lists:
        if words:
            rows.append((part, one_line(", ".join(words)), _origin(status, part)))
    rows.append(("hooks", ", ".join(status.hooks) or "none", ""))
    rows.append(("since", since, ""))
    echo(f"{click.style(status.lock.name, bold=True)}: {status.lock.summary}")
    for key, value, origin in rows:
        echo(f"  {key:<8} {value}" + (click.style(f"  ({origin})", dim=True) if origin else ""))
    counters = [
        [c.operation, str(c.allowed), str(c.denied), str(c.limited), str(c.dropped)]
        for c in status.counters
        if c.allowed or c.denied or c.limited or c.dropped
    ]
    if counters:
        header = ["operation", "allowed", "denied", "limited", "dropped"]
        for line in table([header, *counters], indent=2, right=range(1, 5)):
            echo(line)
    else:
        echo("  nothing was attempted yet")
    if status.missed:
        missed = click.style("missed", fg="yellow")
        echo(f"  {missed}   {status.missed}  (it was interrupted by what it would have traced)")


def _origin(status: "LockStatus", part: str) -> str:
    return one_line(status.origins.get(part, ""))
