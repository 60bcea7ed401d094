# SPDX-License-Identifier: Apache-2.0
"""What wakes the main loop: signals, and other threads."""

import contextlib
import os
import signal
from types import FrameType, TracebackType
from typing import Self


class Signals:
    """SIGTERM and SIGINT ask for a stop, SIGHUP for a reload; each makes the descriptor readable."""

    def __init__(self) -> None:
        self.stop = False
        self.reload = False
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before = {
            number: signal.signal(number, self._handle) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        }
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self.reload = True
        else:
            self.stop = True

    def fileno(self) -> int:
        return self._reader

    def wake(self) -> None:
        """From any thread."""
        with contextlib.suppress(BlockingIOError):  # full: it is awake
            os.write(self._writer, b"\0")

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._reader, 4096):
                pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        # The pipe stays open: another thread may still wake us.
