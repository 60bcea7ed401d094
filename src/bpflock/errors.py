# SPDX-License-Identifier: Apache-2.0
"""The one kind of error that a user sees: what is wrong, and what to do about it."""

from collections.abc import Iterable

_SHORTEST = 3  # letters of a word that may be a slip of the pen for another


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


class BusyError(BpflockError):
    """Another process holds what the request needs, for longer than we wait."""


_LONGEST = 300  # characters of a foreign error's text


def explained(error: Exception) -> BpflockError:
    """Any exception as one that is explained to the user. It is for boundaries, which nothing else passes."""
    if isinstance(error, BpflockError):
        return error
    if isinstance(error, OSError) and error.strerror:
        return BpflockError(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    return BpflockError(f"internal error: {type(error).__name__}: {str(error)[:_LONGEST]}")


def close_match(word: str, known: Iterable[str]) -> str:
    """The valid choice that a word is a slip of the pen for, or nothing. It begins with the same letter, and differs by
    one letter, of long words by more: what was not meant must not be proposed."""
    if len(word) < _SHORTEST:
        return ""
    most = max(1, len(word) // 4)
    near = ((_distance(word, choice, most), choice) for choice in known if choice[:1] == word[:1])
    distance, found = min(near, key=lambda pair: pair[0], default=(most + 1, ""))
    return found if distance <= most else ""


def _distance(one: str, other: str, most: int) -> int:
    """How many letters are missing, superfluous, wrong or exchanged with their neighbour; above `most`, any number
    above it."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        above, row = row, [i]
        for j, b in enumerate(other, 1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and b == one[i - 2]:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
        before = above
    return row[-1]


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the nearest valid choice, or all of them if none is near and they are few."""
    import difflib  # takes its time, and most commands are right

    choices = list(known)
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    return _valid(choices)


def nearest_right(word: str, known: Iterable[str]) -> str:
    """As nearest(), of words that grant something: names a choice only if it was most likely meant."""
    choices = list(known)
    close = close_match(word, choices)
    return f"did you mean '{close}'?" if close else _valid(choices)


def _valid(choices: list[str]) -> str:
    if len(choices) <= 12:
        return f"valid: {', '.join(choices)}"
    return f"valid: {', '.join(choices[:12])}, … ({len(choices)} in all)"
