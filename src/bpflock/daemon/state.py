# SPDX-License-Identifier: Apache-2.0
"""What the API's threads may know: how the daemon is, and answers that only the main thread can give."""

import queue
import threading
import time
from collections.abc import Callable, Mapping

from bpflock.errors import BpflockError, explained

# The main loop turns several times a second; a canary or a reload on a slow machine takes a while.
_STALLED = 30.0

_Answer = Mapping[str, object] | BpflockError


class Health:
    """Problems by what they are about. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._problems: dict[str, str] = {"start": "the locks are not all enforced yet"}
        self._alive = time.monotonic()

    def beat(self) -> None:
        """The main loop turns."""
        self._alive = time.monotonic()

    def report(self, about: str, problem: str | None) -> bool:
        """Record a problem, or that there is none (None). Whether that is news."""
        with self._lock:
            before = self._problems.pop(about, None)
            if problem is not None:
                self._problems[about] = problem
            return before != problem

    def has(self, about: str) -> bool:
        """Whether there is a problem about it."""
        with self._lock:
            return about in self._problems

    def problems(self) -> list[str]:
        """Empty if all is enforced and every canary was denied."""
        with self._lock:
            found = list(self._problems.values())
        silent = time.monotonic() - self._alive
        return [*found, f"the main loop has not turned for {silent:.0f} s"] if silent > _STALLED else found


class Questions:
    """Lets other threads ask for the status, which only the main thread may read from the kernel."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._waiting: queue.SimpleQueue[queue.SimpleQueue[_Answer]] = queue.SimpleQueue()

    def ask(self, timeout: float) -> Mapping[str, object]:
        """From another thread. Raises BpflockError if it cannot be read, or not in time."""
        answers: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
        self._waiting.put(answers)
        self._wake()
        try:
            answer = answers.get(timeout=timeout)
        except queue.Empty:
            raise BpflockError("the daemon did not answer in time") from None
        if isinstance(answer, BpflockError):
            raise answer
        return answer

    def answer(self, read: Callable[[], Mapping[str, object]]) -> None:
        """From the main thread: answer all who wait, with one reading."""
        waiting = []
        while not self._waiting.empty():
            waiting.append(self._waiting.get())
        if not waiting:
            return
        result: _Answer
        try:
            result = read()
        except Exception as error:
            result = explained(error)
        for answers in waiting:
            answers.put(result)
