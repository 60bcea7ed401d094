# SPDX-License-Identifier: Apache-2.0
"""What can be told about: an event of the kernel, a summary of what was not sent one by one, a message of bpflock."""

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass, field


class Level(enum.StrEnum):
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class PolicyDetail:
    """What the policy engine decided on: which profile (its executable, or its number where that is not known) under
    which policy set asked for what. `accesses` are those that were denied, audited or tainted, as policies write them.
    """

    generation: int
    number: int
    profile: str
    label: int
    accesses: tuple[str, ...]
    # What it was about if not a file: keys and values of the event, in their order. See docs/events.md.
    about: tuple[tuple[str, str | int], ...] = ()


@dataclass(frozen=True, slots=True)
class Execution:
    """What execsnoop tells of a program that started, besides its name. All bytes are a process's own.

    `args`: as far as they are told; `cut`: bytes of arguments that are missing, in the last one of these and after it.
    `parents`: pid and name of its parent, the parent's parent and so on; `higher`: the last of them has a parent, too.
    """

    args: tuple[bytes, ...]
    cut: int
    parents: tuple[tuple[int, bytes], ...]
    higher: bool


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended: its exit status, or the signal that killed it; and after how many seconds."""

    status: int | None
    signal: int | None
    duration: float


@dataclass(slots=True)
class Event:
    """One decision of a lock or policy, or one exec that a tracer saw.

    comm, pcomm, filename and called are bytes that a process chose: only the renderers, which escape them, may show
    them.
    """

    time: float  # seconds since the epoch
    bpfprog: str  # the lock's name
    event: str  # lsm_locked_down, syscall_execve, ...
    op: str  # the operation's canonical name
    operation: str  # the operation as the kernel calls it
    reason: str  # empty for what is only traced
    denied: bool
    tgid: int
    pid: int
    ppid: int
    uid: int  # in the initial user namespace
    cgroupid: int
    comm: bytes
    pcomm: bytes
    filename: bytes | None
    retval: int
    repeats: int  # events of this kind suppressed since the one before
    policy: PolicyDetail | None = None
    execution: Execution | None = None
    ending: Ending | None = None
    called: bytes | None = None  # the path that a program was executed by, where filename is that of the file itself


@dataclass(slots=True)
class Summary:
    """What was counted, but not sent one by one, since the summary before."""

    bpfprog: str
    op: str
    operation: str
    limited: int  # the same subject repeated itself
    dropped: int  # the ring buffer was full
    time: float = field(default_factory=time.time)


@dataclass(slots=True)
class Lost:
    """Entries that this reader did not get, because it did not keep up."""

    lines: int
    time: float = field(default_factory=time.time)


@dataclass(slots=True)
class Notice:
    """A message of bpflock itself. `text` is trusted: who writes it escapes what a process or a file chose."""

    text: str
    level: Level = Level.INFO
    bpfprog: str = ""  # the lock it is about, if it is about one
    time: float = field(default_factory=time.time)


Entry = Event | Summary | Lost | Notice
Filter = Callable[[Entry], bool]


def only(*, lock: str = "", denied: bool = False) -> Filter | None:
    """A filter for one lock's entries, for denials, for both, or none. What was lost is always told."""
    if not lock and not denied:
        return None

    def wanted(entry: Entry) -> bool:
        if isinstance(entry, Lost):
            return True
        if lock and entry.bpfprog != lock:
            return False
        return not denied or (isinstance(entry, Event) and entry.denied)

    return wanted
