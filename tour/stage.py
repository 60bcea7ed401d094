# SPDX-License-Identifier: Apache-2.0
"""What the scenes are played with: attackers and the daemon."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tour.scenes import CONTAINER, SETTINGS, Scene

ROOT = Path(__file__).resolve().parent.parent
PLACE = Path("/tmp/tour")  # on tmpfs in the guest
_BPFLOCK = Path(sys.executable).with_name("bpflock")
_ATTACK_TIMEOUT = 60.0  # seconds
_START_TIMEOUT = 120.0
_EVENT_TIMEOUT = 15.0


class TourError(Exception):
    """The tour cannot go on."""


@dataclass(frozen=True)
class Seen:
    """What an attacker saw."""

    status: int
    line: str

    @property
    def worked(self) -> bool:
        return self.status == 0

    @property
    def denied(self) -> bool:
        return self.status != 0 and ("Operation not permitted" in self.line or self.line.startswith("denied: "))

    @property
    def refused(self) -> bool:
        """This kernel allows it to nobody, with or without bpflock."""
        return self.status != 0 and "the kernel itself refuses" in self.line

    @property
    def word(self) -> str:
        if self.worked:
            return "worked"
        return "denied" if self.denied else "refused" if self.refused else "failed"


def prepare() -> None:
    """Put what attackers bring along into PLACE, and load the driver whose device one of them opens."""
    PLACE.mkdir()
    shutil.copy(ROOT / "build" / "attack", PLACE)
    release = os.uname().release
    subprocess.run(
        ["sh", ROOT / "attacks" / "modules.sh", release, f"/lib/modules/{release}", PLACE],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def attack(scene: Scene) -> Seen:
    """Perform it, as root; leave nothing of it behind."""
    words = [*(CONTAINER if scene.outside else ()), "sh", "-c", scene.command]
    environment = os.environ | {"PATH": f"{PLACE}:{os.environ['PATH']}"}
    try:
        done = subprocess.run(
            words,
            cwd=PLACE,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_ATTACK_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Seen(124, f"failed: it did not end within {_ATTACK_TIMEOUT:.0f} s")
    lines = [line for line in done.stdout.decode(errors="replace").splitlines() if line.strip()]
    if scene.command.startswith("insmod") and done.returncode == 0:
        tainted = Path("/sys/module/dummy/taint").read_text().strip()
        subprocess.run(["rmmod", "dummy"], check=True)
        lines.append(f"(no output; the module 'dummy' is in the kernel, taint {tainted})")
    # What came last: an attack that denies or works says so there.
    return Seen(done.returncode, " ".join(lines[-1].split()) if lines else "(no output)")


class Daemon:
    """`bpflock run`, its log in a file."""

    def __init__(self) -> None:
        self.log = PLACE / "bpflock.log"
        self.command = ["bpflock", "run", *SETTINGS]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, progress: Callable[[str], None]) -> None:
        """Start it, and wait until all is enforced. Each line of its log goes to `progress`."""
        begin = self.size()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [_BPFLOCK, *self.command[1:]], cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        end = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < end:
            lines, begin = self._lines(begin)
            for line in lines:
                if "subsys=daemon" in line or "bpflock: " in line:
                    progress(line)
            if any('msg="enforcing ' in line for line in lines):
                return
            if self._process.poll() is not None:
                raise TourError(f"bpflock run ended with exit status {self._process.returncode}")
            time.sleep(0.1)
        raise TourError(f"bpflock run did not enforce everything within {_START_TIMEOUT:.0f} s")

    def size(self) -> int:
        """How far the log has come."""
        return self.log.stat().st_size if self.log.exists() else 0

    def _lines(self, begin: int) -> tuple[list[str], int]:
        """Whole lines from `begin` on, and where they end."""
        with self.log.open("rb") as log:
            log.seek(begin)
            data = log.read()
        data = data[: data.rfind(b"\n") + 1]
        return data.decode(errors="replace").splitlines(), begin + len(data)

    def event(self, begin: int, words: Sequence[str]) -> str | None:
        """The first line from `begin` on that has all the words; None if none comes in time."""
        end = time.monotonic() + _EVENT_TIMEOUT
        while True:
            found = next((line for line in self._lines(begin)[0] if all(word in line for word in words)), None)
            if found or time.monotonic() > end:
                return found
            time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    def everything(self) -> Iterator[str]:
        if self.log.exists():
            yield from self._lines(0)[0]
