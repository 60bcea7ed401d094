# SPDX-License-Identifier: Apache-2.0
"""Ways to executable memory: python memory.py WAY. The exit status: 0 it worked, 1 it was denied, 2 else."""

import ctypes
import errno
import mmap
import os
import sys
from collections.abc import Callable

_SIZE = mmap.PAGESIZE
_R, _W, _X = mmap.PROT_READ, mmap.PROT_WRITE, mmap.PROT_EXEC
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_LIBC.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def _denied(what: str) -> None:
    number = ctypes.get_errno()
    os.write(1, f"{what}: {os.strerror(number)}\n".encode())
    os._exit(1 if number in (errno.EPERM, errno.EACCES) else 2)


def _map(fd: int, prot: int, flags: int) -> int:
    address: int | None = _LIBC.mmap(None, _SIZE, prot, flags, fd, 0)
    if address is None or address == 2**64 - 1:
        _denied("mmap")
        raise AssertionError
    return address


def _protect(address: int, prot: int) -> None:
    if _LIBC.mprotect(address, _SIZE, prot):
        _denied("mprotect")


def _file() -> int:
    """Of a file system that is not in memory only, and with a name."""
    return os.open(sys.executable, os.O_RDONLY)


def _memfd(content: bytes = b"") -> int:
    fd = os.memfd_create("memory", 0)
    os.write(fd, content)
    os.ftruncate(fd, max(_SIZE, len(content)))
    return fd


def shared_anonymous() -> None:
    """As PHP's just-in-time compiler does."""
    _protect(_map(-1, _R | _W, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS), _R | _X)


def twice() -> None:
    """As .NET's."""
    fd = _memfd()
    _map(fd, _R | _W, mmap.MAP_SHARED)
    _map(fd, _R | _X, mmap.MAP_SHARED)


def loaded() -> None:
    """As a loader does, a memfd."""
    _map(_memfd(), _R | _X, mmap.MAP_PRIVATE)


def private_file() -> None:
    _map(_file(), _R | _W | _X, mmap.MAP_PRIVATE)


def private_zero() -> None:
    _map(os.open("/dev/zero", os.O_RDWR), _R | _W | _X, mmap.MAP_PRIVATE)


def shared_zero() -> None:
    _map(os.open("/dev/zero", os.O_RDWR), _R | _W | _X, mmap.MAP_SHARED)


def zero_later() -> None:
    _protect(_map(os.open("/dev/zero", os.O_RDWR), _R | _W, mmap.MAP_SHARED), _R | _X)


def unwritten() -> None:
    """Nothing was written to it yet."""
    _protect(_map(_file(), _R, mmap.MAP_PRIVATE), _R | _W | _X)


def foreign() -> None:
    """A program of another kind, in a memfd: whatever is registered for it is executed in its place."""
    fd = _memfd(b"\x7fELFzz" + bytes(64))
    try:
        os.execv(f"/proc/self/fd/{fd}", ["foreign"])
    except OSError as error:
        os._exit(1 if error.errno in (errno.EPERM, errno.EACCES) else 2)


_WAYS: dict[str, Callable[[], None]] = {
    way.__name__: way
    for way in (
        shared_anonymous,
        twice,
        loaded,
        private_file,
        private_zero,
        shared_zero,
        zero_later,
        unwritten,
        foreign,
    )
}

if __name__ == "__main__":
    _WAYS[sys.argv[1]]()
    os._exit(0)
