# SPDX-License-Identifier: Apache-2.0
"""No input may take for ever: bounds that do not depend on how busy the machine is."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

_CPU_SECONDS = 60.0


class TooLong(BaseException):
    """Not an Exception: nothing that is tested may catch it."""


@contextlib.contextmanager
def cpu_time(seconds: float = _CPU_SECONDS) -> Iterator[None]:
    """Bounds the processor time, also within one regular expression."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise TooLong(f"more than {seconds} s of processor time")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@contextlib.contextmanager
def calls(most: int) -> Iterator[None]:
    """Bounds the number of function calls."""
    left = most

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal left
        left -= event in ("call", "c_call")
        if left < 0:
            sys.setprofile(None)
            raise TooLong(f"more than {most} calls")

    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(None)
