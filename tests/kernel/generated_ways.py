# SPDX-License-Identifier: Apache-2.0
"""Ways in which the prober does the same thing: by which task, by what calls (attacks/prober_ways.c)."""

import errno
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

from .conftest import ATTACK
from .prober import Prober

_TASKS = ("", "", "thread", "memory")
_CALLS = ("", "", "ring", "worker", "int80")
_RINGS = ("ring", "worker")
_OPENS = ("read", "write", "append", "read+write", "read+append", "append+truncate", "create+read", "create+write")
_NAMES = ("stat", "unlink", "rmdir", "mkdir", "symlink", "link", "rename")
_ATTRIBUTES = ("truncate", "chmod", "chown", "mknod")
_SOCKETS = ("create", "bind", "listen", "accept", "connect", "send", "recv", "shutdown")
_BY_RING = {*_OPENS, *_NAMES, *(f"net {what}" for what in _SOCKETS)}
_KNOWN = {
    "ring": _BY_RING,
    "worker": _BY_RING,
    "int80": {*_BY_RING, *_ATTRIBUTES, "signal"},
}
_SECONDS = "BPFLOCK_FUZZ_SECONDS"
_SEED = "BPFLOCK_FUZZ_SEED"


@dataclass(frozen=True)
class Ways:
    """Of this kernel. `known`: what can be done by which calls."""

    known: dict[str, set[str]]

    @classmethod
    def find(cls) -> "Ways":
        """By trying, unconfined. Linux 6.1 has no bind and listen by io_uring; 32-bit calls may be switched off."""
        known: dict[str, set[str]] = {}
        with Prober(ATTACK, "probe") as prober:
            for calls, whats in _KNOWN.items():
                known[calls] = {what for what in whats if _exists(prober, calls, what)}
        return cls(known)

    def without_rings(self) -> "Ways":
        """All others."""
        return Ways({**self.known, **{calls: set() for calls in _RINGS}})

    def choose(self, source: random.Random, what: str, *, memory: bool = True) -> tuple[str, ...]:
        """Up to one task and one kind of calls. `what`: as the prober knows it, `net WHAT` for sockets.

        Not a child that has the memory and uses an io_uring: the ring's worker is a thread of it, which taints at once.
        """
        calls = source.choice([calls for calls in _CALLS if not calls or what in self.known[calls]])
        task = source.choice(_TASKS if memory and calls not in _RINGS else _TASKS[:-1])
        return tuple(way for way in (task, calls) if way)

    def all(self) -> set[str]:
        """The names of those that there are."""
        return {way for way in _TASKS if way} | {calls for calls, whats in self.known.items() if whats}


def _exists(prober: Prober, calls: str, what: str) -> bool:
    nowhere = b"/nowhere/at/all".hex()
    kind, _, access = what.partition(" ")
    if kind == "net":
        return prober.attempt("net", access, 2, 1, 6, "127.0.0.1", 0, ways=(calls,)) != errno.ENOSYS
    if kind == "signal":
        return prober.attempt("signal", 0, 0, ways=(calls,)) != errno.ENOSYS
    return prober.attempt(what, nowhere, nowhere, ways=(calls,)) != errno.ENOSYS


def seeds(count: int) -> Iterator[int]:
    """So many, from 0; with `make fuzz`, from the one that it names until its time is over."""
    if _SECONDS not in os.environ:
        yield from range(count)
        return
    until, seed = time.monotonic() + int(os.environ[_SECONDS]), int(os.environ[_SEED])
    while time.monotonic() < until:
        yield seed
        seed += 1


def fuzzing() -> bool:
    """Whether the time decides how much there is to do."""
    return _SECONDS in os.environ
