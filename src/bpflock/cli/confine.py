# SPDX-License-Identifier: Apache-2.0
"""`bpflock confine`"""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import click

from bpflock.cli.command import Command
from bpflock.cli.policy import policies, refused
from bpflock.errors import UsageError, nearest

_SIGNALLED = 128


@click.command(
    cls=Command,
    context_settings={"allow_interspersed_args": False},
    examples=[("bpflock confine report.bpfbox -- /usr/local/bin/report --all", "what may it do under this policy?")],
)
@click.argument("policy", type=click.Path(path_type=Path))
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def confine(policy: Path, command: tuple[str, ...]) -> int:
    """Run COMMAND under the policy in the file POLICY, and unload the policy when it has ended.

    The policy is loaded along with what is in force. As long as it is, it holds for whoever runs its executables.
    Exit status: that of the command; 128 and the signal's number if a signal ended it.
    """
    from bpflock.policy.bpfbox.load import load
    from bpflock.policy.evaluate import profile_of

    # What follows POLICY is left as it is, the dashes between too.
    command = command[1:] if command[0] == "--" else command
    if not command:
        raise UsageError("no command", hint="bpflock confine POLICY -- COMMAND")
    found = shutil.which(command[0])
    if found is None:
        raise UsageError(f"no such command: {command[0]}")
    executable = os.path.realpath(found)
    with refused():
        wanted = load([policy])
    if profile_of(wanted, os.fsencode(executable)) is None:
        known = [profile.executable for profile in wanted.profiles]
        raise UsageError(f"{policy}: no profile is for {executable}", hint=nearest(executable, known))
    with policies() as inside:
        inside.add(wanted)
        # The command gets what the terminal sends, too: it decides about its end.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with subprocess.Popen(
                command, executable=found, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
            ) as process:
                status = process.wait()
        except OSError as error:
            raise UsageError(f"{found}: {error.strerror}") from None
        finally:
            signal.signal(signal.SIGINT, before)
            inside.unload([profile.executable for profile in wanted.profiles])
    return _SIGNALLED - status if status < 0 else status
