# SPDX-License-Identifier: Apache-2.0
"""A running `bpflock run`: the installed program itself, in the background."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

RUNTIME = Path("/run/bpflock")
_NOTIFY = Path("/run/test-notify")
_OUTPUT = Path("/tmp/daemon-output")
_UP = Path("/tmp/daemon-up")
# Notes when the interpreter is up, then does what the installed program does.
_START = (
    "import time; up = time.clock_gettime_ns(time.CLOCK_MONOTONIC)\n"
    "import sys; from bpflock.cli.main import main\n"
    f"open('{_UP}', 'w').write(str(up))\n"
    "sys.exit(main())"
)
_PATIENCE = 240.0


class Daemon:
    """Started and ready when the block begins; asked to stop when it ends, unless it has ended before."""

    def __init__(self, *args: str) -> None:
        self._args = args
        self.ready_after = 0.0  # seconds from when Python was up to when all was enforced
        self.status: int | None = None
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        _NOTIFY.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, _OUTPUT.open("wb") as output:
            notify.bind(str(_NOTIFY))
            notify.settimeout(_PATIENCE)
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, "run", *self._args],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"NOTIFY_SOCKET": str(_NOTIFY), "BPFLOCK_CONFIG_DIR": "/tmp/no-configuration"},
            )
            Path("/tmp/no-configuration").mkdir(exist_ok=True, mode=0o755)
            try:
                while b"READY=1" not in notify.recv(4096):
                    pass
            except TimeoutError:
                self._process.kill()
                raise AssertionError("the daemon did not become ready: " + self.output()) from None
            ready = time.monotonic()
        self.ready_after = ready - int(_UP.read_text()) / 1e9
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.status is None:
            self.end(signal.SIGTERM)

    @property
    def pid(self) -> int:
        return self._process.pid

    def output(self) -> str:
        return _OUTPUT.read_text(errors="surrogateescape")

    def lines(self, *words: str) -> list[str]:
        """Lines of the output that contain all the words."""
        return [line for line in self.output().splitlines() if all(word in line for word in words)]

    def wait_for(self, *words: str, count: int = 1) -> list[str]:
        """Wait for as many lines that contain all the words."""
        wait(lambda: len(self.lines(*words)) >= count, lambda: f"no line with {words} in:\n{self.output()}")
        return self.lines(*words)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self, number: signal.Signals) -> int:
        """Its exit status after the signal."""
        self._process.send_signal(number)
        try:
            self.status = self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise AssertionError(f"{number.name} did not end the daemon: {self.output()}") from None
        assert "Traceback" not in self.output(), self.output()
        return self.status

    def resident(self) -> int:
        """Its memory, in kB."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("no VmRSS")


def wait(condition: Callable[[], bool], explain: Callable[[], str], seconds: float = _PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, explain()
        time.sleep(0.05)


def start(command: Sequence[str | Path]) -> "subprocess.Popen[str]":
    """A command in the background, with its output in a pipe."""
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
