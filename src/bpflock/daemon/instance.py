# SPDX-License-Identifier: Apache-2.0
"""The runtime directory, and the lock file in it by which there is only one daemon."""

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from bpflock.errors import BpflockError, PermissionsError

LOCK_FILE = "daemon.lock"

# struct flock: l_type, l_whence, l_start, l_len, l_pid. The kernel gives the pid of who holds a lock.
_FLOCK = struct.Struct("hhqqi0q")


def prepare(directory: Path) -> None:
    """Make the runtime directory; what is there must be ours, and nobody else may put files into it."""
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        found = directory.stat()
    except PermissionError as error:
        raise PermissionsError(f"cannot make {directory}: {error.strerror}", hint="run it with sudo") from error
    except OSError as error:
        raise BpflockError(f"cannot make {directory}: {error.strerror}") from error
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise BpflockError(
            f"{directory} is not ours, or others may write to it",
            hint=f"chown {os.geteuid()} {directory}; chmod 0755 {directory}",
        )


@contextlib.contextmanager
def only_daemon(directory: Path) -> Iterator[None]:
    """Be the only daemon with this runtime directory. Raises BpflockError that names the other one."""
    prepare(directory)
    # A record lock: unlike that of flock(2), it tells who holds it, and no child inherits it.
    fd = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = _holder(fd)
            raise BpflockError(
                f"another bpflock daemon runs already{f', process {pid}' if pid else ''}",
                hint="'bpflock status' asks it; SIGHUP makes it read its configuration again",
            ) from None
        yield
    finally:
        os.close(fd)


def daemon_pid(directory: Path) -> int | None:
    """The process that runs the daemon, if one does and we may ask."""
    try:
        fd = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        return _holder(fd)
    finally:
        os.close(fd)


def _holder(fd: int) -> int | None:
    answer = fcntl.fcntl(fd, fcntl.F_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    kind, _, _, _, pid = _FLOCK.unpack(answer)
    return pid if kind != fcntl.F_UNLCK else None
