# SPDX-License-Identifier: Apache-2.0
"""Where kernels are kept, and how two processes share that place."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vm.errors import VmError, say


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
            say("another process is fetching; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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
