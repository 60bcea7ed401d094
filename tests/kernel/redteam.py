# SPDX-License-Identifier: Apache-2.0
"""What a row of the red team shows: an attack works without bpflock, fails with it, and the event names the reason.

A kernel test with the marker `redteam(ID, TEXT)` is a row of `make redteam`; it calls `RedTeam.stopped()` at least
once, or skips with the kernel's own reason if tests/redteam_table.py says that this kernel cannot do it.
"""

import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pytest

from bpflock.events.model import Event
from bpflock.events.render import logfmt

WORKED, DENIED = 0, 1  # exit statuses of an attack


def name_rows(tests: Iterable[pytest.Item]) -> None:
    """Which row a test is, also one that fails or is skipped: in the report, for the table."""
    for test in tests:
        if marker := test.get_closest_marker("redteam"):
            identifier, attack = marker.args
            test.user_properties += [("redteam", identifier), ("attack", attack)]


def _ended(status: int, expected: int) -> str:
    if status == WORKED:
        return "works"
    if status != expected:
        return f"status {status}"
    return f"killed ({signal.Signals(-status).name})" if status < 0 else "denied"


@dataclass(frozen=True)
class RedTeam:
    """`record`: keeps a property of the row, for the table."""

    record: Callable[[str, object], None]

    def stopped(
        self, *, without: int, within: int, events: Sequence[Event], hook: str, operation: str, expected: int = DENIED
    ) -> Event:
        """Assert a row: the exit status of the attack without bpflock, and with it; a denial by `hook` (without its
        type: `file_open`) of `operation` is among the events. `expected`: the status of what is stopped in another way
        than by an error, such as -SIGKILL. Returns that event."""
        self.record("without", _ended(without, DENIED))
        self.record("within", _ended(within, expected))
        shown = "\n".join(map(logfmt, events)) or "no events"
        assert without == WORKED, f"it does not work without bpflock: {without}"
        assert within == expected, f"it ended with {within}, not {expected}; {shown}"
        found = [
            event
            for event in events
            if event.denied and event.event in (hook, f"lsm_{hook}") and event.operation == operation
        ]
        assert found, f"no denial of {operation} by {hook}; {shown}"
        self.record("hook", hook)
        self.record("operation", operation)
        self.record("reason", found[0].reason)
        return found[0]
