# SPDX-License-Identifier: Apache-2.0
"""Reading configuration files, which may be anything: a directory, a pipe, huge, unreadable, writable by anyone."""

import os
import stat
from pathlib import Path

from bpflock.errors import BpflockError, PermissionsError, UsageError

# Far above any sensible configuration, and still parsed in seconds.
_LARGEST = 64 * 1024

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_text(path: Path) -> str | None:
    """The text of a regular file, None if there is none. Raises BpflockError that names the file."""
    if not exists(path):
        return None
    try:
        # Before open(): that of a pipe waits for a writer, and that of a device may do anything.
        _check_regular(path, path.stat())
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            _check_regular(path, status)
            _check_writers(path, status)
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise _unreadable(path, error) from None
    if len(data) > _LARGEST:
        raise UsageError(f"{path}: is larger than {_LARGEST // 1024} KiB", hint="is this a configuration file?")
    return _decode(path, data)


def list_directory(path: Path) -> list[Path]:
    """The entries of a directory, sorted, hidden ones left out; empty if there is no such directory.

    Hidden entries are not configuration: a mounted ConfigMap keeps its versions in `..data`.
    """
    try:
        if not is_directory(path):
            return []
        return sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise _unreadable(path, error) from None


def is_directory(path: Path) -> bool:
    """Whether there is such a directory. Raises BpflockError if it is something else, or anyone may add files to it.

    Those on a read-only mount are fine: a ConfigMap is mounted so, with mode 0777.
    """
    if not exists(path):
        return False
    if not path.is_dir():
        raise UsageError(f"{path}: is not a directory")
    if not os.statvfs(path).f_flag & os.ST_RDONLY:
        _check_writers(path, path.stat())
    return True


def exists(path: Path) -> bool:
    """Whether there is such a file or directory. Raises BpflockError if that cannot be known."""
    try:
        path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise UsageError(f"{path}: is a link to nothing") from None
        return False
    except OSError as error:
        raise _unreadable(path, error) from None
    return True


def _check_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise UsageError(f"{path}: is {kind}, expected a file")


def _check_writers(path: Path, status: os.stat_result) -> None:
    # Only where it matters: root would act upon what anyone wrote.
    if os.geteuid() == 0 and status.st_mode & stat.S_IWOTH:
        raise UsageError(f"{path}: anyone may write to it, so it is not trusted", hint=f"chmod o-w {path}")


def _unreadable(path: Path, error: OSError) -> BpflockError:
    if isinstance(error, PermissionError):
        return PermissionsError(f"{path}: no permission to read it", hint="run it as root")
    return UsageError(f"{path}: cannot be read: {error.strerror}")


def _decode(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: is not UTF-8 text (byte 0x{data[error.start]:02x})") from None
