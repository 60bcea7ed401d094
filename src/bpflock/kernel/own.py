# SPDX-License-Identifier: Apache-2.0
"""The door that lets bpflock's own tasks use bpf(2) under every lock. See bpf/guard.bpf.c."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from bpflock.kernel._libbpf import lib
from bpflock.kernel.btf import ObjectTypes
from bpflock.kernel.host import syscall

_PRCTL_BPFLOCK = 0x62706C6B  # bpf/bpflock.h
_WORDS = 3


def new_key() -> bytes:
    """A key for the guard's constant of that name: three words of 64 bits."""
    return os.urandom(8 * _WORDS)


def entrance(key: bytes, lock: str | None = None) -> list[int]:
    """The five arguments of prctl(2) that let a task in: as bpflock's own, or as the canary of a lock (LOCK_NAME)."""
    words = [int.from_bytes(key[i : i + 8], "little", signed=True) for i in range(0, 8 * _WORDS, 8)]
    modes = ObjectTypes.load().enum("bpflock_enter")
    mode = modes["ENTER_CANARY"] + ObjectTypes.load().enum("bpflock_lock")[lock] if lock else modes["ENTER_OWN"]
    return [_PRCTL_BPFLOCK, *words, mode]


def _enter(key: bytes, lock: str | None = None) -> bool:
    return syscall(lib.SYS_prctl, *entrance(key, lock)) == -errno.EALREADY


def read_key(path: Path) -> bytes | None:
    """The key of a loaded guard, from the link that lies beside its pins; None if there is none."""
    try:
        return bytes.fromhex(str(path.readlink()))
    except (OSError, ValueError):
        return None


def write_key(path: Path, key: bytes) -> None:
    path.symlink_to(key.hex())


def enter(key: bytes) -> bool:
    """Make the calling thread one of bpflock's own; False if the guard does not answer to the key."""
    return _enter(key)


@contextlib.contextmanager
def as_canary(key: bytes, lock: str) -> Iterator[None]:
    """The calling thread is the lock's canary, which all its hooks deny, and is bpflock's own again afterwards."""
    try:
        _enter(key, lock)
        yield
    finally:
        _enter(key)
