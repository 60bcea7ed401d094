# SPDX-License-Identifier: Apache-2.0
"""What the harness raises, and how it talks to the person in front of it."""

from __future__ import annotations

import sys


class VmError(Exception):
    """The harness itself failed (never: the command in the guest failed).

    `hint` says what to do about it; `details` is output of a program, shown below the message.
    """

    def __init__(self, message: str, *, hint: str = "", details: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        self.details = details

    def render(self) -> str:
        lines = [f"vm: error: {self}"]
        lines += [f"  | {line}" for line in self.details.splitlines()]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class BootError(VmError):
    """The guest never reached the command."""


class GuestDied(VmError):
    """The guest stopped (a kernel panic, a reboot) before the command had ended."""


class GuestTimeout(VmError):
    """The command was still running when its time was up."""


def say(message: str) -> None:
    """Tell progress. On stderr: stdout belongs to the command in the guest."""
    sys.stderr.write(f"vm: {message}\n")
    sys.stderr.flush()
