# SPDX-License-Identifier: Apache-2.0
"""The one kind of error that a user sees: what is wrong, and what to do about it."""

from collections.abc import Iterable


class BpflockError(Exception):
    """A failure that is explained to the user on one line, with an optional hint; never a traceback.

    `status` is the exit status of the command that it ends: 1 a failure, 2 wrong usage or configuration,
    3 the machine lacks something (see `bpflock check`), 4 no permission.
    """

    def __init__(self, message: str, *, hint: str | None = None, status: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.status = status


class UsageError(BpflockError):
    """Wrong input: an option, a value, a file. Nothing was changed."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint, status=2)


class UnsupportedError(BpflockError):
    """The machine lacks something that the request needs."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint, status=3)


class PermissionsError(BpflockError):
    """The caller may not do this."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint, status=4)


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the nearest valid choice, or all of them if none is near and they are few."""
    import difflib  # takes its time, and most commands are right

    choices = list(known)
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    if len(choices) <= 12:
        return f"valid: {', '.join(choices)}"
    return f"valid: {', '.join(choices[:12])}, … ({len(choices)} in all)"
