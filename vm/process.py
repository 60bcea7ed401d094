# SPDX-License-Identifier: Apache-2.0
"""The one place that runs host programs and waits for them."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from vm.errors import VmError

MISSING_HINT = "scripts/setup vm"

# A step may take this long, in seconds, before it has to report.
QUIET = 2.0


def run(
    args: Sequence[str | os.PathLike[str]],
    *,
    what: str,
    hint: str = "",
    stdin: bytes | None = None,
    cwd: Path | None = None,
    tick: Callable[[], None] | None = None,
) -> bytes:
    """Run a program to its end and return its stdout.

    `what` names the step for the error message. `tick` is called every two seconds while the
    program runs, for progress. Raises VmError when the program is missing or fails.
    """
    argv = [os.fspath(arg) for arg in args]
    with ExitStack() as stack:
        # Files, not pipes: neither a long output nor a long input can then block the program.
        source, out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(3))
        source.write(stdin or b"")
        source.seek(0)
        try:
            proc = subprocess.Popen(argv, stdin=source, stdout=out, stderr=err, cwd=cwd, env=_environment())
        except FileNotFoundError:
            raise VmError(f"'{argv[0]}' is not installed", hint=MISSING_HINT) from None
        _wait(proc, tick)
        err.seek(0)
        out.seek(0)
        if proc.returncode != 0:
            tail = err.read().decode(errors="replace").strip().splitlines()[-8:]
            raise VmError(
                f"{what} failed ({argv[0]} exited with {proc.returncode})",
                hint=hint,
                details="\n".join(tail),
            )
        return out.read()


def _environment() -> dict[str, str]:
    # /sbin has depmod and modprobe, and is not in an ordinary user's PATH.
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return {**os.environ, "LC_ALL": "C.UTF-8", "PATH": path}


def _wait(proc: subprocess.Popen[bytes], tick: Callable[[], None] | None) -> None:
    try:
        while True:
            try:
                proc.wait(timeout=QUIET)
                return
            except subprocess.TimeoutExpired:
                if tick is not None:
                    tick()
    except BaseException:
        proc.kill()
        proc.wait()
        raise


class Ticker:
    """A progress callback that speaks at most every `interval` seconds."""

    def __init__(self, speak: Callable[[float], None], interval: float = 5.0) -> None:
        self._speak = speak
        self._interval = interval
        self._start = self._last = time.monotonic()

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self._last >= self._interval:
            self._last = now
            self._speak(now - self._start)
