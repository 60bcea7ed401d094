# SPDX-License-Identifier: Apache-2.0
"""`bpflock events`"""

import click

from bpflock.cli import complete
from bpflock.cli.command import Command, app
from bpflock.cli.options import PLACES, config_flags, load_config
from bpflock.errors import UsageError
from bpflock.events.render import Format
from bpflock.locks import find_lock

_GUARD = "guard"


@click.command(
    cls=Command,
    has_json=True,
    examples=[
        ("bpflock events", "what happened recently?"),
        ("bpflock events -f --denied", "whatever is denied from now on"),
        ("bpflock events -f --lock=execsnoop --json | jq .filename", "for a program"),
    ],
)
@click.option("-f", "--follow", is_flag=True, help="go on with the events that come")
@click.option("--format", "form", type=click.Choice([form.value for form in Format]), help="how they are written")
@click.option("--lock", metavar="NAME", default="", shell_complete=complete.locks, help="only those of one lock")
@click.option("--denied", is_flag=True, help="only denials")
@config_flags("runtime-dir", *PLACES)
def events(follow: bool, form: str | None, lock: str, denied: bool, **flags: str | None) -> int:
    """Show events: those that the daemon keeps, or without a daemon those that wait in the kernel.

    The latter are shown once: the kernel forgets what was read.

    On a terminal they are written for people, elsewhere as logfmt.
    """
    if app().json and form not in (None, Format.JSON.value):
        raise UsageError(f"--json and --format={form} contradict each other", hint="give one of them")
    if lock and lock != _GUARD:
        find_lock(lock)
    config = load_config(flags)
    chosen = Format.JSON if app().json else Format(form) if form else None

    from bpflock.daemon.show import Show

    return Show(config.runtime_dir, chosen, lock=lock, denied=denied).run(follow=follow)
