# SPDX-License-Identifier: Apache-2.0
"""The locks and tracers, one module each."""

from collections.abc import Mapping

from bpflock.errors import UsageError, nearest
from bpflock.locks.bpfrestrict import BPFRESTRICT
from bpflock.locks.execsnoop import EXECSNOOP
from bpflock.locks.filelesslock import FILELESSLOCK
from bpflock.locks.kimglock import KIMGLOCK
from bpflock.locks.kmodlock import KMODLOCK
from bpflock.locks.model import Lock
from bpflock.locks.netlock import NETLOCK
from bpflock.locks.nslock import NSLOCK
from bpflock.locks.privsnoop import PRIVSNOOP
from bpflock.locks.rootfslock import ROOTFSLOCK
from bpflock.locks.sysfslock import SYSFSLOCK
from bpflock.locks.usblock import USBLOCK

__all__ = ["LOCKS", "Lock", "find_lock"]

# In the order in which they are enforced and shown. usblock may have to load usbcore, so it precedes kmodlock.
LOCKS: Mapping[str, Lock] = {
    lock.name: lock
    for lock in (
        KIMGLOCK,
        USBLOCK,
        KMODLOCK,
        BPFRESTRICT,
        FILELESSLOCK,
        NSLOCK,
        NETLOCK,
        ROOTFSLOCK,
        SYSFSLOCK,
        EXECSNOOP,
        PRIVSNOOP,
    )
}


def find_lock(name: str) -> Lock:
    """The lock of that name. Raises UsageError with the nearest one."""
    if name not in LOCKS:
        raise UsageError(f"there is no lock '{name}'", hint=nearest(name, LOCKS))
    return LOCKS[name]
