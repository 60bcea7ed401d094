# SPDX-License-Identifier: Apache-2.0
"""The ring buffer's reader."""

from bpflock.errors import BpflockError
from bpflock.kernel._libbpf import ffi, lib
from bpflock.kernel.bpf import Map, kernel_error

_BATCH = 256 * 1024  # bytes drained at once


class Ring:
    """The only reader of a ring buffer: its position is shared by whoever opens it."""

    def __init__(self, events: Map) -> None:
        """The map may be closed afterwards."""
        self._ring = lib.bl_ring_new(events.fd)
        if self._ring == ffi.NULL:
            raise BpflockError("cannot open the ring buffer of events")
        self._buffer = ffi.new("char[]", _BATCH)

    def drain(self, timeout_ms: int) -> memoryview:
        """Whole records back to back, as many as there are or fit; empty if none came within the time.

        Records are written without wake-ups: within the time, only a ring filled by a quarter is noticed at once.
        The memory is reused by the next call.
        """
        used = lib.bl_ring_drain(self._ring, self._buffer, _BATCH, timeout_ms)
        if used < 0:
            raise kernel_error("cannot read the ring buffer of events", used)
        return memoryview(ffi.buffer(self._buffer, used))

    def fileno(self) -> int:
        """Readable when the ring is filled by a quarter; for select and poll."""
        return int(lib.bl_ring_fd(self._ring))

    def close(self) -> None:
        if self._ring != ffi.NULL:
            lib.bl_ring_free(self._ring)
            self._ring = ffi.NULL
