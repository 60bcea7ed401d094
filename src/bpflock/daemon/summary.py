# SPDX-License-Identifier: Apache-2.0
"""From the exact counters of the kernel to summaries of what was not sent as an event of its own."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bpflock.events.decode import operation_text
from bpflock.events.model import Summary
from bpflock.locks.enforce import LockStatus


@dataclass(frozen=True)
class _Unsent:
    limited: int
    dropped: int


def _read(statuses: Iterable[LockStatus]) -> Iterator[tuple[str, str, _Unsent]]:
    for status in statuses:
        for counter in status.counters:
            yield status.lock.name, counter.operation, _Unsent(counter.limited, counter.dropped)


class Summaries:
    """Remembers the counts told last. Counters that run backwards belong to a lock that was loaded anew: from zero."""

    def __init__(self, statuses: Iterable[LockStatus]) -> None:
        self._told = {(lock, operation): unsent for lock, operation, unsent in _read(statuses)}

    def since_last(self, statuses: Iterable[LockStatus]) -> list[Summary]:
        found = []
        now = {}
        for lock, operation, unsent in _read(statuses):
            now[lock, operation] = unsent
            told = self._told.get((lock, operation), _Unsent(0, 0))
            if unsent.limited < told.limited or unsent.dropped < told.dropped:
                told = _Unsent(0, 0)
            limited, dropped = unsent.limited - told.limited, unsent.dropped - told.dropped
            if limited or dropped:
                found.append(Summary(lock, operation, operation_text(lock, operation), limited, dropped))
        self._told = now
        return found
