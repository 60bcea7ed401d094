# SPDX-License-Identifier: Apache-2.0
"""`bpflock version`"""

import click

from bpflock import __version__
from bpflock.cli.command import Command, app
from bpflock.cli.output import echo, print_json


@click.command(cls=Command, has_json=True, examples=[("bpflock version --json", "for a program")])
def version() -> None:
    """Print the version."""
    if app().json:
        print_json({"version": __version__})
    else:
        echo(f"bpflock {__version__}")
