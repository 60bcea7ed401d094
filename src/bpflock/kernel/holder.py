# SPDX-License-Identifier: Apache-2.0
"""Who holds a file lock of flock(2), for the message to those who wait for it."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_LONGEST = 80  # characters of a command line


def holder_of(fd: int) -> str:
    """`process 123 (bpflock policy load x)`: who holds a lock on the file that a descriptor is open on, by /proc/locks.

    That names who took it. If that process is gone, its descriptor lives on in others: those are looked for.
    """
    status = os.fstat(fd)
    pid = next(filter(_lives, _takers(status)), None) or _keeper(status)
    if pid is None:
        return "a process that cannot be seen from here"
    command = _command(pid)
    return f"process {pid} ({command})" if command else f"process {pid}"


def _takers(status: os.stat_result) -> Iterator[int]:
    """By lines such as `1: FLOCK  ADVISORY  WRITE 708 00:13:1 0 EOF`."""
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with contextlib.suppress(OSError):
        for line in (_PROC / "locks").read_text().splitlines():
            words = line.split()
            # A line with `->` is of one who waits.
            if len(words) > 5 and words[1] == "FLOCK" and words[5] == device and words[4].isdecimal():
                yield int(words[4])


def _lives(pid: int) -> bool:
    """One that has ended, and is not waited for yet, holds nothing any more."""
    with contextlib.suppress(OSError):
        return (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] not in ("Z", "X")
    return False


def _keeper(status: os.stat_result) -> int | None:
    """A process with a descriptor that holds a lock of that file."""
    for process in _PROC.iterdir():
        if not process.name.isdecimal() or process.name == str(os.getpid()):
            continue
        with contextlib.suppress(OSError):
            for entry in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if os.path.samestat(entry.stat(), status):
                        told = (process / "fdinfo" / entry.name).read_text()
                        if any(line.startswith("lock:") and " FLOCK " in line for line in told.splitlines()):
                            return int(process.name)
    return None


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        line = (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        text = line or (_PROC / str(pid) / "comm").read_text(errors="replace").strip()
        return "".join(c if c.isprintable() else "?" for c in text[:_LONGEST])
    return ""
