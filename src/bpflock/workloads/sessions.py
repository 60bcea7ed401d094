# SPDX-License-Identifier: Apache-2.0
"""The sessions that locks grant something, in the pinned map bpflock_sessions.

An entry is valid for LEASE seconds and has to be renewed: what a daemon that was killed has left there ends by itself.
Apart from the exceptions of cgroups (bpflock_cgroupmap), which are the administrator's, and decide first.
"""

import struct
import time
from collections.abc import Iterable, Mapping

from bpflock.kernel import pins
from bpflock.kernel.bpf import Map
from bpflock.kernel.btf import ObjectTypes
from bpflock.locks.enforce import Enforcer
from bpflock.locks.model import Sessions

LEASE = 6.0  # seconds
ANY = 2**64 - 1  # bpf/bpflock.h: SESSION_ANY

_NS = 1_000_000_000


def write(enforcer: Enforcer, sessions: Mapping[int, Iterable[Sessions]]) -> None:
    """Let these be all there are, by the ids of their cgroups, for the next LEASE seconds. Raises BpflockError."""
    if not pins.shared("bpflock_sessions").exists():
        return  # no lock is loaded
    wanted = {identifier: set(kinds) for identifier, kinds in sessions.items()}
    if wanted:
        wanted[ANY] = set().union(*wanted.values())
    layout = ObjectTypes.load().struct("bpflock_session")
    numbers = ObjectTypes.load().enum("bpflock_session_kind")
    until = time.clock_gettime_ns(time.CLOCK_MONOTONIC) + int(LEASE * _NS)
    with enforcer.exclusive(), Map.open(pins.shared("bpflock_sessions")) as entries:
        for key in list(entries):
            if struct.unpack("=Q", key)[0] not in wanted:
                entries.delete(key)
        for identifier, kinds in wanted.items():
            value = layout.pack(until=until, kinds=sum(numbers[kind.symbol] for kind in kinds))
            entries.update(struct.pack("=Q", identifier), value)
