# SPDX-License-Identifier: Apache-2.0
"""Where kernels are kept, and how two processes share that place."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vm.errors import VmError, say

_WAIT = 1800.0  # seconds: a kernel and its packages over a slow line


def directory() -> Path:
    """`$BPFLOCK_CACHE`, else `$XDG_CACHE_HOME/bpflock`, else `~/.cache/bpflock`."""
    if explicit := os.environ.get("BPFLOCK_CACHE"):
        return Path(explicit).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "bpflock"


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the cache's lock: only one process fetches at a time, others wait for its result."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / "lock").open("w")
    except OSError as error:
        raise VmError(
            f"cannot write the cache {root}: {error.strerror}",
            hint="set BPFLOCK_CACHE to a directory that you can write",
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is fetching; waiting for it up to {_WAIT / 60:.0f} minutes")
            _wait(lock.fileno(), root / "lock")
        yield


def _wait(fd: int, path: Path) -> None:
    end = time.monotonic() + _WAIT
    while True:
        time.sleep(0.2)
        with suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        if time.monotonic() > end:
            raise VmError(
                f"another process holds {path} for more than {_WAIT / 60:.0f} minutes",
                hint=f"who it is: fuser -v {path}",
            )


@contextmanager
def staging(root: Path) -> Iterator[Path]:
    """A temporary directory on the cache's file system, so that a finished tree can be renamed."""
    # Call it with the lock held: whatever lies there already was left by a process that died.
    for stale in root.glob("staging-*"):
        shutil.rmtree(stale, ignore_errors=True)
    path = Path(tempfile.mkdtemp(prefix="staging-", dir=root))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
