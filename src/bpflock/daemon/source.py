# SPDX-License-Identifier: Apache-2.0
"""Events from the pinned ring buffer, which may be removed with the last lock and come back with the next."""

from collections.abc import Iterator, Mapping

from bpflock.errors import BpflockError
from bpflock.events.decode import Decoder
from bpflock.events.model import Event
from bpflock.kernel import pins
from bpflock.kernel.ring import Ring
from bpflock.locks import LOCKS
from bpflock.locks.enforce import Enforcer, operation_names

# Drained at once before anything else gets its turn: 16 x 256 KiB.
_BATCHES = 16


def _profiles() -> Mapping[int, str]:
    from bpflock.confine.engine import profile_names  # takes its time, and most machines have no policies

    return profile_names()


class EventSource:
    """Reads events, in the thread that may use bpf(2). There must be only one reader: it takes what it reads."""

    def __init__(self, enforcer: Enforcer) -> None:
        self._enforcer = enforcer
        self._decoder = Decoder.load({name: operation_names(lock) for name, lock in LOCKS.items()}, _profiles)
        self._pin = pins.shared("bpflock_events")
        self._inode: int | None = None
        self._ring: Ring | None = None

    @property
    def malformed(self) -> int:
        """Batches of records that could not be read to their end."""
        return self._decoder.malformed

    def fileno(self) -> int | None:
        """Readable when the ring buffer is filled by a quarter. None while there is none."""
        return self._ring.fileno() if self._ring else None

    def read(self) -> Iterator[list[Event]]:
        """What waits, in batches; first what is left in a ring buffer that was replaced."""
        yield from self._drain()
        try:
            inode = self._pin.stat().st_ino
        except OSError:
            inode = None
        if inode == self._inode:
            return
        self.close()
        if inode is not None:
            try:
                self._ring = self._enforcer.ring()
            except BpflockError:
                return  # removed a moment ago
            self._inode = inode
            yield from self._drain()

    def _drain(self) -> Iterator[list[Event]]:
        for _ in range(_BATCHES):
            if self._ring is None:
                return
            records = self._ring.drain(0)
            if not records:
                return
            yield self._decoder.decode(records)

    def close(self) -> None:
        if self._ring is not None:
            self._ring.close()
        self._ring, self._inode = None, None
