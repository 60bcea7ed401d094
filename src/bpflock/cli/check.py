# SPDX-License-Identifier: Apache-2.0
"""`bpflock check`"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from bpflock.cli.command import Command, app
from bpflock.cli.output import echo, one_line, print_json

if TYPE_CHECKING:
    from bpflock.kernel.probe import Finding

_LACKING = 3


@click.command(
    cls=Command,
    has_json=True,
    examples=[
        ("bpflock check", "what does this machine lack, and what to do about it?"),
        ("bpflock check --json", "for a program"),
    ],
)
def check() -> int:
    """Tell what this machine lacks to run bpflock, before anything is loaded.

    The exit status is 0 if all that is required is there, else 3.
    """
    from bpflock.kernel import probe

    findings = probe.check()
    missing = [finding for finding in findings if finding.required and not finding.ok]
    if app().json:
        print_json(
            {
                "ok": not missing,
                "findings": [
                    {
                        "name": finding.name,
                        "ok": finding.ok,
                        "required": finding.required,
                        "detail": finding.detail,
                        "hint": finding.hint,
                    }
                    for finding in findings
                ],
            }
        )
    else:
        _show(findings)
        if missing:
            echo(f"This machine lacks {len(missing)} of what bpflock requires.")
        else:
            echo("This machine has all that bpflock requires.")
    return _LACKING if missing else 0


def _show(findings: Iterable["Finding"]) -> None:
    findings = list(findings)
    width = max((len(finding.name) for finding in findings), default=0)
    for finding in findings:
        word, colour = (
            ("ok", "green") if finding.ok else ("MISSING", "red") if finding.required else ("absent", "yellow")
        )
        echo(f"{click.style(f'{word:<7}', fg=colour)}  {finding.name:<{width}}  {one_line(finding.detail)}".rstrip())
        if finding.hint and not finding.ok:
            echo(f"         {click.style('hint', fg='cyan')}: {one_line(finding.hint)}")
