# SPDX-License-Identifier: Apache-2.0
"""Fan-out of entries to whoever reads them, each from a bounded queue of its own.

Publishing never waits. A reader that does not keep up loses what comes while its queue is full, and is told how much,
at the place where it is missing.
"""

import threading
from collections import deque
from collections.abc import Sequence

from bpflock.events.model import Entry, Event, Filter, Lost

# Bytes of memory, roughly, that one queue and the store of recent entries may hold.
QUEUE_LIMIT = 2 * 1024 * 1024
RECENT_LIMIT = 1024 * 1024
_ENTRY_WEIGHT = 800


def _weigh(entry: Entry) -> int:
    weight = _ENTRY_WEIGHT
    if isinstance(entry, Event):
        weight += len(entry.filename or b"")
        if entry.execution:
            # An object of 33 bytes for each of them.
            weight += sum(map(len, entry.execution.args)) + 40 * len(entry.execution.args) + 500
    return weight


class Subscription:
    """One reader's queue. Thread-safe: the stream puts, the reader's thread gets."""

    def __init__(self, wanted: Filter | None = None, limit: int = QUEUE_LIMIT) -> None:
        self._wanted = wanted
        self._limit = limit
        self._batches: deque[Sequence[Entry]] = deque()
        self._weight = 0
        self._undelivered = 0  # before what is queued
        self._lost = 0  # after it
        self._closed = False
        self._changed = threading.Condition()

    @property
    def closed(self) -> bool:
        return self._closed

    def put(self, entries: Sequence[Entry]) -> None:
        """Queue the entries, or count them as lost if there is no room."""
        if self._wanted is not None:
            entries = [entry for entry in entries if self._wanted(entry)]
        if not entries:
            return
        weight = sum(map(_weigh, entries))
        with self._changed:
            if self._closed:
                return
            # After a loss nothing is queued before the reader has emptied its queue: the loss has one place.
            if self._batches and (self._lost or self._weight + weight > self._limit):
                self._lost += len(entries)
                return
            self._batches.append(entries)
            self._weight += weight
            self._changed.notify()

    def lose(self, entries: Sequence[Entry]) -> None:
        """Count entries that the reader took, but could not deliver."""
        with self._changed:
            self._undelivered += sum(entry.lines if isinstance(entry, Lost) else 1 for entry in entries)

    def get(self, timeout: float | None = None) -> list[Entry]:
        """All that waits, with a `Lost` where something is missing. Empty: the time is over, or it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._batches or self._closed, timeout)
            if not self._batches and not self._closed:
                return []
            before = [Lost(self._undelivered)] if self._undelivered else []
            after = [Lost(self._lost)] if self._lost else []
            entries = [*before, *(entry for batch in self._batches for entry in batch), *after]
            self._batches.clear()
            self._weight = self._undelivered = self._lost = 0
            return entries

    def close(self) -> None:
        """Nothing more is queued; what is, can still be got."""
        with self._changed:
            self._closed = True
            self._changed.notify()


class Stream:
    """Where entries are published, and the most recent ones kept."""

    def __init__(self, recent_limit: int = RECENT_LIMIT) -> None:
        self._lock = threading.Lock()
        self._subscriptions: list[Subscription] = []
        self._recent: deque[Entry] = deque()
        self._recent_room = recent_limit

    def publish(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        with self._lock:
            self._recent.extend(entries)
            self._recent_room -= sum(map(_weigh, entries))
            while self._recent_room < 0:
                self._recent_room += _weigh(self._recent.popleft())
            for subscription in self._subscriptions:
                subscription.put(entries)

    def subscribe(self, wanted: Filter | None = None, *, recent: int = 0, limit: int = QUEUE_LIMIT) -> Subscription:
        """A new reader. It first gets up to `recent` of the entries before, without a gap to those that follow."""
        subscription = Subscription(wanted, limit)
        with self._lock:
            if recent:
                subscription.put(self._last(recent, wanted))
            self._subscriptions.append(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        subscription.close()
        with self._lock:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)

    def recent(self, count: int, wanted: Filter | None = None) -> list[Entry]:
        """Up to `count` of the last entries, the oldest first."""
        with self._lock:
            return self._last(count, wanted)

    def _last(self, count: int, wanted: Filter | None) -> list[Entry]:
        entries = list(self._recent) if wanted is None else [entry for entry in self._recent if wanted(entry)]
        return entries[-count:] if count > 0 else []
