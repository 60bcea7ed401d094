# SPDX-License-Identifier: Apache-2.0
"""`bpflock run`"""

import click

from bpflock.cli.command import Command
from bpflock.cli.options import config_flags, load_config


@click.command(
    cls=Command,
    examples=[
        ("bpflock run", "enforce what /etc/bpflock says, and report events"),
        ("bpflock run --level=baseline", "all locks as the level says, but those that are configured by themselves"),
        ("bpflock run --kimglock-profile=baseline --exec-snoop=all", "with these settings before those of the files"),
        ("bpflock run --log-format=json >>/var/log/bpflock.json", "events for a program"),
    ],
)
@config_flags()
def run(**flags: str | None) -> int:
    """Enforce the configuration and report events on standard output, until stopped.

    SIGHUP makes it read the configuration again. When it ends, even by SIGKILL, the kernel goes on enforcing, unless
    --remove-bpf-programs is set and it could still do that.
    """
    config = load_config(flags)

    from bpflock.daemon.main import run as run_daemon

    return run_daemon(config)
