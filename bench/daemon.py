# SPDX-License-Identifier: Apache-2.0
"""How long the daemon takes until all locks are enforced, and the memory that it then has."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class Start:
    """Of one start: the daemon's own instructions, in user space and in the kernel, from when Python is up to when it
    says that it is ready; its memory then, in kB."""

    instructions: int
    resident: int


def measure(progress: Callable[[str], None]) -> Start:
    """The shortest of some starts, and the most memory.

    CPU time, not the clock's: while a processor that counts instructions waits for the host's files, its clock
    runs from timer to timer.
    """
    progress("the daemon's start")
    with tempfile.TemporaryDirectory() as name:
        starts = [_start(Path(name)) for _ in range(_ROUNDS)]
    return Start(min(each.instructions for each in starts), max(each.resident for each in starts))


def _start(directory: Path) -> Start:
    address, up = directory / "notify", directory / "up"
    command = [sys.executable, "-c", _START, str(up), "run", "--exec-snoop=all", "--remove-bpf-programs"]
    command += [f"--{name}-profile=baseline" for name in build.LOCK_NAMES]
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
