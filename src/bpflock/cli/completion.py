# SPDX-License-Identifier: Apache-2.0
"""`bpflock completion`"""

import click
from click.shell_completion import BashComplete, ShellComplete, add_completion_class, get_completion_class

from bpflock.cli.command import Command
from bpflock.cli.output import echo
from bpflock.errors import UsageError, nearest

_SHELLS = ("bash", "zsh", "fish")


@add_completion_class
class _Bash(BashComplete):
    """Like click's, but knows that bash makes three words of `--flag=value`."""

    def get_completion_args(self) -> tuple[list[str], str]:
        args, incomplete = super().get_completion_args()
        before = ["", *args]
        return [word for last, word in zip(before, args, strict=False) if word != "=" or last[:2] != "--"], incomplete


@click.command(
    cls=Command,
    examples=[
        ("bpflock completion bash > /etc/bash_completion.d/bpflock", "for bash, in new shells"),
        ("bpflock completion zsh > /usr/local/share/zsh/site-functions/_bpflock", "for zsh"),
        ("bpflock completion fish > /etc/fish/completions/bpflock.fish", "for fish"),
    ],
)
@click.argument("shell", shell_complete=lambda _ctx, _param, word: [s for s in _SHELLS if s.startswith(word)])
def completion(shell: str) -> None:
    """Print the script that makes SHELL (bash, zsh, fish) complete commands, locks, profiles and operations."""
    if shell not in _SHELLS:
        raise UsageError(f"there is no completion for '{shell}'", hint=nearest(shell, _SHELLS))
    from bpflock.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None
    # Not kind.source(): that of bash first runs a bash, which need not be on this machine.
    echo(ShellComplete.source(kind(cli, {}, "bpflock", "_BPFLOCK_COMPLETE")))
