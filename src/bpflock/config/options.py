# SPDX-License-Identifier: Apache-2.0
"""Every option of bpflock, once. All sources of configuration and the command line are generated from here."""

import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bpflock.config.model import DEFAULT_EVENT_BUFFER, LogFormat
from bpflock.errors import UsageError, nearest
from bpflock.locks import LOCKS
from bpflock.locks.model import Form, Level, Lock, Parameter, Sessions, parse_switch

ENVIRONMENT_PREFIX = "BPFLOCK_"

_UNITS = {"": 1, "k": 1024, "m": 1024 * 1024}
# A ring buffer is whole pages, and a machine has pages of up to 64 KiB.
_SMALLEST_BUFFER = 64 * 1024
_LARGEST_BUFFER = 256 * 1024 * 1024


class Kind(enum.Enum):
    """How the value of an option is written."""

    SWITCH = enum.auto()
    CHOICE = enum.auto()
    OPERATIONS = enum.auto()  # separated by commas, or a YAML list
    PATHS = enum.auto()  # the same
    TEXT = enum.auto()


class Reach(enum.Enum):
    """Where an option may be set."""

    EVERYWHERE = enum.auto()
    # It says which files to read: it cannot be in one of them.
    NOT_IN_FILES = enum.auto()
    # Of the Go implementation: taken everywhere, so that its files work, and without effect.
    WITHOUT_EFFECT = enum.auto()


@dataclass(frozen=True)
class Option:
    """An option, named as on the command line without the dashes.

    `check` raises UsageError for a word that is not a value. `part` is what of `lock` it sets: "profile", "block",
    "allow", "allow-session" or one of the lock's own parameters.
    """

    name: str
    summary: str
    check: Callable[[str], object]
    kind: Kind = Kind.TEXT
    default: str = ""
    metavar: str = "TEXT"
    choices: tuple[str, ...] = ()
    reach: Reach = Reach.EVERYWHERE
    lock: Lock | None = None
    part: str = ""

    @property
    def flag(self) -> str:
        return f"--{self.name}"

    @property
    def expected(self) -> str:
        """What a value is, for errors."""
        match self.kind:
            case Kind.SWITCH:
                return "yes or no"
            case Kind.CHOICE:
                return f"one of {', '.join(self.choices)}"
            case Kind.OPERATIONS:
                return "operations, separated by commas"
            case Kind.PATHS:
                return "absolute paths, separated by commas"
            case Kind.TEXT:
                return "text"

    @property
    def variable(self) -> str:
        """The environment variable."""
        return ENVIRONMENT_PREFIX + self.name.upper().replace("-", "_")


def parse_buffer(word: str) -> int:
    """A ring buffer's size in bytes, from digits and a unit of `K` or `M`. Raises UsageError."""
    value = word.strip().lower()
    digits = value.rstrip("km")
    unit = _UNITS.get(value[len(digits) :])
    # isdecimal() alone takes digits of other scripts, too, and int() refuses very long ones.
    if unit is None or not (digits.isascii() and digits.isdecimal()) or len(digits) > 12:
        raise UsageError(f"'{word}' is not a size in bytes", hint="for example: 512K, 1M or 1048576")
    size = int(digits) * unit
    if not _SMALLEST_BUFFER <= size <= _LARGEST_BUFFER:
        raise UsageError(f"'{word}' is out of range", hint="valid: powers of two from 64K to 256M")
    if size & (size - 1):
        below = 1 << (size.bit_length() - 1)
        raise UsageError(f"'{word}' is not a power of two", hint=f"the nearest are {below} and {below * 2} bytes")
    return size


def parse_log_format(word: str) -> LogFormat:
    """The log format of that name. Raises UsageError."""
    try:
        return LogFormat(word.strip().lower())
    except ValueError:
        raise UsageError(f"there is no log format '{word}'", hint=nearest(word, LogFormat)) from None


def parse_level(word: str) -> Level | None:
    """The level of that name, None for an empty word. Raises UsageError."""
    value = word.strip().lower()
    if not value:
        return None
    try:
        return Level(value)
    except ValueError:
        raise UsageError(f"there is no level '{word}'", hint=nearest(value, Level)) from None


def parse_directory(word: str) -> Path:
    """An absolute directory, which need not exist. Raises UsageError."""
    path = Path(word.strip())
    if not path.is_absolute() or "\0" in word:
        raise UsageError(f"'{word}' is not an absolute path", hint="it begins with '/'")
    return path


def tracer_option(lock: Lock) -> str:
    """The name of a tracer's option: `exec-snoop` for execsnoop."""
    return f"{lock.name.removesuffix('snoop')}-snoop"


def lock_options(lock: Lock) -> Iterator[Option]:
    """The options of one lock or tracer."""
    choices = tuple(lock.profiles)
    if lock.is_tracer:
        yield Option(
            tracer_option(lock),
            f"what to trace of {lock.summary.removeprefix('tracing ')}",
            lock.parse_profile,
            Kind.CHOICE,
            lock.default,
            "|".join(choices),
            choices,
            lock=lock,
            part="profile",
        )
        yield from (_own(lock, tracer_option(lock), parameter) for parameter in lock.parameters)
        return
    yield Option(
        f"{lock.name}-profile",
        f"{lock.summary}: allow, baseline or restricted",
        lock.parse_profile,
        Kind.CHOICE,
        lock.default,
        "PROFILE",
        choices,
        lock=lock,
        part="profile",
    )
    operations = tuple(op.name for op in lock.operations) + tuple(lock.groups)
    for part, summary in (
        ("block", "operations denied to everyone"),
        ("allow", "operations that baseline grants outside the host too"),
    ):
        yield Option(
            f"{lock.name}-{part}",
            summary,
            lock.parse_operations,
            Kind.OPERATIONS,
            metavar="LIST",
            choices=operations,
            lock=lock,
            part=part,
        )
    if lock.for_sessions:
        yield Option(
            f"{lock.name}-allow-session",
            "sessions whose tasks are granted it under baseline and restricted, by the daemon; and which operations",
            lock.parse_sessions,
            metavar="active|local[:LIST]",
            choices=tuple(Sessions),
            lock=lock,
            part="allow-session",
        )
    yield from (_own(lock, lock.name, parameter) for parameter in lock.parameters)


def _own(lock: Lock, prefix: str, parameter: Parameter) -> Option:
    """The option of a lock's own parameter."""
    return Option(
        f"{prefix}-{parameter.name}",
        parameter.summary,
        parameter.parse,
        {Form.PATHS: Kind.PATHS, Form.SWITCH: Kind.SWITCH}.get(parameter.form, Kind.TEXT),
        ",".join(parameter.default),
        parameter.metavar,
        lock=lock,
        part=parameter.name,
    )


def _anything(word: str) -> str:
    return word


def _switch(name: str, summary: str, reach: Reach = Reach.EVERYWHERE) -> Option:
    check = parse_switch if reach is not Reach.WITHOUT_EFFECT else _anything
    return Option(name, summary, check, Kind.SWITCH, "no", "yes|no", reach=reach)


_GENERAL = (
    Option(
        "level",
        "what every lock is to be whose profile nothing sets",
        parse_level,
        Kind.CHOICE,
        metavar="|".join(Level),
        choices=tuple(Level),
    ),
    _switch("debug", "log what bpflock does, step by step"),
    _switch("remove-bpf-programs", "end all protections when the daemon stops"),
    _switch("policy-allow-missing", "load policies too whose executable is not on this machine"),
    Option(
        "log-format",
        "how events are written; auto: text on a terminal, else logfmt",
        parse_log_format,
        Kind.CHOICE,
        LogFormat.AUTO,
        "|".join(LogFormat),
        tuple(LogFormat),
    ),
    Option(
        "event-buffer", "size of the ring buffer of events", parse_buffer, default=DEFAULT_EVENT_BUFFER, metavar="SIZE"
    ),
    Option("state-dir", "lasting state", parse_directory, default="/var/lib/bpflock", metavar="DIR"),
    Option("lib-dir", "another name of --state-dir", parse_directory, metavar="DIR"),
    Option("runtime-dir", "runtime state and the socket", parse_directory, default="/run/bpflock", metavar="DIR"),
    Option(
        "config-dir",
        "directory of bpflock.yaml, bpflock.d and bpf.d",
        _anything,
        default="/etc/bpflock",
        metavar="DIR",
        reach=Reach.NOT_IN_FILES,
    ),
    Option("config", "the file to read as bpflock.yaml", _anything, metavar="FILE", reach=Reach.NOT_IN_FILES),
    Option("bpf-config-dir", "the directory to read as bpf.d", _anything, metavar="DIR", reach=Reach.NOT_IN_FILES),
    _switch("enable-ipv4", "without effect", Reach.WITHOUT_EFFECT),
    _switch("enable-ipv6", "without effect", Reach.WITHOUT_EFFECT),
    Option("agent-health-port", "without effect", _anything, metavar="PORT", reach=Reach.WITHOUT_EFFECT),
    Option("gops-port", "without effect", _anything, metavar="PORT", reach=Reach.WITHOUT_EFFECT),
)

# By name, in the order in which they are shown.
OPTIONS: Mapping[str, Option] = {
    option.name: option for option in (*(o for lock in LOCKS.values() for o in lock_options(lock)), *_GENERAL)
}


def canonical(name: str) -> str:
    """The name of an option from one spelled with underscores."""
    return name.replace("_", "-")


def find_option(name: str) -> Option:
    """The option of that name, `-` or `_`. Raises UsageError with the nearest one."""
    option = OPTIONS.get(canonical(name))
    if option is None:
        known = [o.name for o in OPTIONS.values() if o.reach is not Reach.WITHOUT_EFFECT]
        raise UsageError(f"there is no option '{name}'", hint=nearest(canonical(name), known))
    return option
