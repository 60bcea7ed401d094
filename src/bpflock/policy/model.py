# SPDX-License-Identifier: Apache-2.0
"""The one form of a policy: every language compiles to it, and only it reaches the kernel.

A profile says what the programs whose executable matches its pattern may do. Its rules only ever allow, audit or
taint: what no rule allows is denied to a profile that is enforced (see evaluate.py for the order).
"""

import enum
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field

MAX_FUNCTIONS = 2  # of one rule


@dataclass(frozen=True, order=True)
class Origin:
    """Where a rule stands: file name, line and column, both from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class FileAccess(enum.IntFlag):
    """What is done to a file. Numbers as in enum policy_file_access of bpf/policy.h.

    CREATE makes the name (open, mknod, mkdir, symlink, the new name of a link or rename), RM takes it away (unlink,
    rmdir, the old name of a rename, a name that a rename replaces), LINK gives the file another name. EXEC is also
    what an executable mapping needs.
    """

    READ = 1
    WRITE = 2
    APPEND = 4
    EXEC = 8
    SETATTR = 16
    GETATTR = 32
    RM = 64
    LINK = 128
    IOCTL = 256
    CREATE = 512


class NetAccess(enum.IntFlag):
    """What is done with a socket. Numbers as in enum policy_net_access of bpf/policy.h."""

    CREATE = 1
    BIND = 2
    LISTEN = 4
    ACCEPT = 8
    CONNECT = 16
    SEND = 32
    RECV = 64
    SHUTDOWN = 128


class PtraceAccess(enum.IntFlag):
    """As the kernel's PTRACE_MODE_READ and PTRACE_MODE_ATTACH; TRACED is being traced by the target."""

    READ = 1
    ATTACH = 2
    TRACED = 4


class Operation(enum.IntFlag):
    """Privileged operations without an object of their own: denied unless a rule names them."""

    MOUNT = 1
    BPF = 2
    NAMESPACE = 4
    USERFAULTFD = 8
    IO_URING = 16
    PERF = 32
    KEYRING = 64
    IPC = 128
    ANON_EXEC = 256  # anonymous memory made executable: JIT compilers need it


CHECK = 0  # kill(pid, 0)
LAST_SIGNAL = 64
LIMITS = 65  # resource limits of another process
PRIORITY = 66  # its nice value, scheduler, CPUs, I/O priority
MEMORY = 67  # where its pages lie
SIGNALS = frozenset(range(MEMORY + 1))


class Who(enum.Enum):
    """Another process, told by what it is to the subject."""

    EXE = "exe"  # by its executable: Target.pattern
    SELF = "self"  # the same process, or another process of the same profile instance (same executable)
    PARENT = "parent"
    CHILD = "child"
    ANY = "any"


@dataclass(frozen=True)
class Target:
    who: Who
    pattern: str = ""  # a path pattern, for Who.EXE


@dataclass(frozen=True)
class FileObject:
    """Files whose path the pattern matches (globs: `*`, `**`, `?`, `[...]`, `{a,b}`; see pattern.py).

    `own`: only files that the running program created, in any of its processes.
    """

    pattern: str
    access: FileAccess
    own: bool = False


@dataclass(frozen=True)
class ProcObject:
    """Files of a process below procfs."""

    target: Target
    access: FileAccess


@dataclass(frozen=True)
class NetObject:
    """Sockets, by what they are: the protocol of a TCP socket is TCP, whatever socket(2) was given. `None` is any.

    Addresses and ports are those of the peer for connect and send, the own ones for bind and listen; rules that name
    them never match other accesses."""

    access: NetAccess
    family: int | None  # AF_*
    type: int | None = None  # SOCK_*
    protocol: int | None = None
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None
    ports: tuple[int, int] | None = None  # first and last


@dataclass(frozen=True)
class SignalObject:
    """Signals by number 1-64; 0 stands for the check of kill(pid, 0). What else a process does to another has numbers
    behind those: LIMITS, PRIORITY, MEMORY."""

    target: Target
    signals: frozenset[int]


@dataclass(frozen=True)
class PtraceObject:
    target: Target
    access: PtraceAccess


@dataclass(frozen=True)
class CapabilityObject:
    """Capabilities by number (CAP_*)."""

    capabilities: frozenset[int]


@dataclass(frozen=True)
class OperationObject:
    operations: Operation


Object = FileObject | ProcObject | NetObject | SignalObject | PtraceObject | CapabilityObject | OperationObject


@dataclass(frozen=True)
class Function:
    """A function of user space, by its symbol or `file+offset`, in the profile's executable or a library; or of the
    kernel."""

    name: str
    library: str = ""
    kernel: bool = False


class Effect(enum.Flag):
    """What a rule that matches does. TRANSITION and UNTAINT belong to rules that allow EXEC: the program runs under a
    profile of its own, or untainted."""

    ALLOW = enum.auto()
    AUDIT = enum.auto()
    TAINT = enum.auto()
    TRANSITION = enum.auto()
    UNTAINT = enum.auto()


@dataclass(frozen=True)
class Rule:
    """`functions`: the rule counts only while the thread is in all of them."""

    object: Object
    effect: Effect
    origin: Origin
    functions: tuple[Function, ...] = ()


@dataclass(frozen=True)
class Profile:
    """`executable` is a path pattern. `complain`: what would be denied is told, and allowed."""

    executable: str
    rules: tuple[Rule, ...]
    origin: Origin
    complain: bool = False

    @property
    def taints(self) -> bool:
        """Whether it has taint rules: then it is not enforced until one of them matches."""
        return any(Effect.TAINT in rule.effect for rule in self.rules)


@dataclass(frozen=True)
class PolicySet:
    """All profiles that are in force together. At most one of them may match an executable; an exact path goes before
    patterns."""

    profiles: tuple[Profile, ...] = field(default=())

    def patterns(self) -> Iterable[str]:
        """All path patterns, of executables, files and targets."""
        for profile in self.profiles:
            yield profile.executable
            for rule in profile.rules:
                match rule.object:
                    case FileObject(pattern=pattern):
                        yield pattern
                    case ProcObject(target=target) | SignalObject(target=target) | PtraceObject(target=target):
                        if target.who is Who.EXE:
                            yield target.pattern
                    case _:
                        pass
