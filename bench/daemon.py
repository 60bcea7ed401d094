# SPDX-License-Identifier: Apache-2.0
"""How long the daemon takes until its locks are enforced, and the memory that it then has."""

import contextlib
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import build
from bpflock.errors import BpflockError

_ROUNDS = 3
# Notes when the interpreter is up, then does what the installed program does.
_START = """\
import sys, time
up = time.process_time_ns()
from bpflock.cli.main import main
open(sys.argv.pop(1), "w").write(str(up))
sys.exit(main())
"""


MAX_INSTRUCTIONS = 2_000_000_000
MAX_RESIDENT = 40_000  # kB

# What to start it with: all that it does without settings, or everything.
_OPTIONS = {
    "as it is": [],
    "all locks": [f"--{name}-profile=baseline" for name in build.LOCK_NAMES],
}


@dataclass(frozen=True)
class Start:
    """Of one start: the daemon's own instructions, in user space and in the kernel, from when Python is up to when it
    says that it is ready; its memory then, in kB."""

    instructions: int
    resident: int

    @property
    def met(self) -> bool:
        return self.instructions < MAX_INSTRUCTIONS and self.resident < MAX_RESIDENT


def measure(progress: Callable[[str], None]) -> dict[str, Start]:
    """The shortest of some starts, and the most memory, for each set of options.

    CPU time, not the clock's: while a processor that counts instructions waits for the host's files, its clock
    runs from timer to timer.
    """
    found = {}
    for name, options in _OPTIONS.items():
        progress(f"the daemon's start, {name}")
        with tempfile.TemporaryDirectory() as directory:
            starts = [_start(Path(directory), options) for _ in range(_ROUNDS)]
        found[name] = Start(min(each.instructions for each in starts), max(each.resident for each in starts))
    return found


def as_text(found: Mapping[str, Start]) -> str:
    lines = [f"Linux {platform.release()}: the daemon, with execsnoop: million instructions from start to enforced, kB"]
    lines += [
        f"{'ok' if each.met else 'MISSED':8}{name:12}{each.instructions // 1_000_000:>8}{each.resident:>8}"
        for name, each in found.items()
    ]
    return "\n".join([*lines, f"{'limit':20}{MAX_INSTRUCTIONS // 1_000_000:>8}{MAX_RESIDENT:>8}"])


def as_json(found: Mapping[str, Start]) -> dict[str, Any]:
    return {
        "kernel": platform.release(),
        "starts": {name: {**asdict(each), "met": each.met} for name, each in found.items()},
    }


def _start(directory: Path, options: Sequence[str]) -> Start:
    address, up = directory / "notify", directory / "up"
    command = [sys.executable, "-c", _START, str(up), "run", "--exec-snoop=all", "--remove-bpf-programs", *options]
    environment = os.environ | {"NOTIFY_SOCKET": str(address), "BPFLOCK_CONFIG_DIR": str(directory)}
    with contextlib.ExitStack() as stack:
        stack.callback(address.unlink, missing_ok=True)
        notify = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        notify.bind(str(address))
        with (directory / "output").open("w+") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
            try:
                ready = _wait_for_ready(notify, process)
                spent, resident = (_spent(process.pid), _resident(process.pid)) if ready else (0, 0)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait()
            if not ready:
                output.seek(0)
                raise BpflockError(f"the daemon did not start: {output.read()}")
    return Start(spent - int(up.read_text()), resident)


def _wait_for_ready(notify: socket.socket, process: "subprocess.Popen[bytes]") -> bool:
    """False if it ended before."""
    notify.settimeout(1)
    while True:
        try:
            if b"READY=1" in notify.recv(4096):
                return True
        except TimeoutError:
            if process.poll() is not None:
                return False


def _spent(pid: int) -> int:
    """CPU time of all its threads, in ns."""
    return sum(int(file.read_text().split()[0]) for file in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def _resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
