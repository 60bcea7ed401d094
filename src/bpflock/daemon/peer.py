# SPDX-License-Identifier: Apache-2.0
"""The local socket: where it is, and who is at its other end."""

import contextlib
import os
import socket
import stat
import struct
from pathlib import Path

from bpflock.errors import BpflockError, PermissionsError

SOCKET_FILE = "bpflock.sock"
_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid
_BACKLOG = 16


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end, when it connected or began to listen."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(found)
    return int(uid)


def trusted(uid: int) -> bool:
    """Root, or the user that we are."""
    return uid in (0, os.geteuid())


def listen(directory: Path) -> socket.socket:
    """Listen in a directory that is ours alone (see instance.py); a socket left by a daemon before is replaced."""
    path, fresh = directory / SOCKET_FILE, directory / f"{SOCKET_FILE}.new"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise BpflockError(f"{path} is in the way", hint=f"remove it: rm -r {path}")
        fresh.unlink(missing_ok=True)
        before = os.umask(0o177)  # 0600 from the first moment on
        try:
            listener.bind(str(fresh))
        finally:
            os.umask(before)
        listener.listen(_BACKLOG)
        # Clients find the old socket or the new one, never none.
        fresh.rename(path)
    except OSError as error:
        listener.close()
        raise BpflockError(f"cannot listen on {path}: {error.strerror or error}") from error
    except BpflockError:
        listener.close()
        raise
    return listener


def connect(directory: Path, timeout: float = 10.0) -> socket.socket | None:
    """A connection to the daemon; None if none runs. PermissionsError: it is not for us, or not to be trusted."""
    path = directory / SOCKET_FILE
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    connection.settimeout(timeout)
    try:
        connection.connect(str(path))
        uid = peer_uid(connection)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        connection.close()
        return None
    except PermissionError as error:
        connection.close()
        raise PermissionsError(f"{path}: {error.strerror}", hint="run it with sudo") from error
    except OSError as error:
        connection.close()
        raise BpflockError(f"cannot connect to {path}: {error.strerror or error}") from error
    if not trusted(uid):
        connection.close()
        raise PermissionsError(f"user {uid} listens on {path}: this is not the daemon", hint=f"see: ls -l {path}")
    return connection
