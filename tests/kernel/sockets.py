# SPDX-License-Identifier: Apache-2.0
"""Uses of sockets: python sockets.py WAY. The exit status: 0 it worked, 1 it was denied, 2 else."""

import errno
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

_SYSCTL = Path("/proc/sys/net/ipv4")
_MODULES = Path("/proc/modules")
_NETLINK_AUDIT = 9
_PORT = 53
_ALGORITHM = "camellia"


def _chosen() -> None:
    """The kernel shall choose a privileged port: needs a network namespace of its own."""
    (_SYSCTL / "ip_unprivileged_port_start").write_text("0", encoding="ascii")
    (_SYSCTL / "ip_local_port_range").write_text(f"{_PORT} {_PORT}", encoding="ascii")


def _check(sock: socket.socket) -> None:
    os._exit(0 if sock.getsockname()[1] == _PORT else 2)


def bind_chosen() -> None:
    _chosen()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("0.0.0.0", 0))
    _check(sock)


def listen_chosen() -> None:
    _chosen()
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.listen()
    _check(sock)


def listen_any() -> None:
    socket.socket(socket.AF_INET, socket.SOCK_STREAM).listen()


def audit() -> None:
    """1 also for what libaudit takes for a kernel without audit."""
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_AUDIT)
    except OSError as error:
        os._exit(1 if error.errno == errno.EPROTONOSUPPORT else 2)


def algorithm() -> None:
    """A module is loaded for a part of it."""
    sock = socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)
    try:
        sock.bind(("skcipher", f"xts({_ALGORITHM})"))
    except FileNotFoundError:
        os._exit(2 if _ALGORITHM in _MODULES.read_text(encoding="ascii") else 1)


_WAYS: dict[str, Callable[[], None]] = {
    way.__name__: way for way in (bind_chosen, listen_chosen, listen_any, audit, algorithm)
}

if __name__ == "__main__":
    try:
        _WAYS[sys.argv[1]]()
    except PermissionError as found:
        os.write(1, f"{found}\n".encode())
        os._exit(1)
    except OSError as found:
        os.write(1, f"{found}\n".encode())
        os._exit(2)
    os._exit(0)
