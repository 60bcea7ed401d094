# SPDX-License-Identifier: Apache-2.0
"""`bpflock confine`"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bpflock.cli.command import Command
from bpflock.cli.output import note
from bpflock.cli.policy import ALLOW_MISSING, policies, refused
from bpflock.errors import UsageError, nearest

if TYPE_CHECKING:
    from bpflock.confine.policies import Policies

_SIGNALLED = 128
_PATIENCE = 2.0  # seconds that may pass without a word
_LOOK_AGAIN = 0.05  # seconds, and longer each time
_SELDOM = 1.0
_NAMED = 4  # how many of a list are named


@click.command(
    cls=Command,
    context_settings={"allow_interspersed_args": False},
    examples=[("bpflock confine report.bpfbox -- /usr/local/bin/report --all", "what may it do under this policy?")],
)
@ALLOW_MISSING
@click.argument("policy", type=click.Path(path_type=Path))
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def confine(policy: Path, command: tuple[str, ...], allow_missing: bool) -> int:
    """Run COMMAND under the policy in the file POLICY, and unload the policy when nothing runs under it any more.

    The policy is loaded along with what is in force. As long as it is, it applies to any task that runs its
    executables. If COMMAND ends before processes that it started, the policy stays in force until they end, too; Ctrl-C
    ends the wait, and leaves the policy in force.
    Exit status: that of the command; 128 and the signal's number if a signal ended it.
    """
    from bpflock.confine.resolve import links_resolved
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
    if profile_of(links_resolved(wanted), os.fsencode(executable)) is None:
        known = [profile.executable for profile in wanted.profiles]
        raise UsageError(f"{policy}: no profile is for {executable}", hint=nearest(executable, known))
    with policies(allow_missing=allow_missing) as inside:
        with refused():
            names = [loaded.profile.executable for loaded in inside.add(wanted)]
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
            if _wait_for_others(inside, names):
                inside.unload(names)
    return _SIGNALLED - status if status < 0 else status


def _wait_for_others(inside: "Policies", names: list[str]) -> bool:
    """Wait until no process runs under these profiles. False if the user does not want to."""
    begin, pause, told = time.monotonic(), _LOOK_AGAIN, False
    left: list[int] = []
    try:
        # Twice: a process that is made while we look, by one that ends before we come to it, is seen the second time.
        while (left := inside.processes(names)) or (left := inside.processes(names)):
            if not told and time.monotonic() - begin > _PATIENCE and sys.stderr.isatty():
                note(f"waiting for {_processes(left)}; Ctrl-C leaves the policy in force")
                told = True
            time.sleep(pause)
            pause = min(2 * pause, _SELDOM)
    except KeyboardInterrupt:
        note(f"the policy stays in force for {_processes(left)}; to end it: bpflock policy unload {' '.join(names)}")
        return False
    return True


def _processes(pids: list[int]) -> str:
    shown = ", ".join(map(str, pids[:_NAMED])) + (" …" if len(pids) > _NAMED else "")
    return f"{len(pids)} background process{'es' if len(pids) != 1 else ''}, PID {shown}"
