# SPDX-License-Identifier: Apache-2.0
"""What a lock is: its profiles, its operations, and how a user's words become both."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bpflock.errors import UsageError, nearest

if TYPE_CHECKING:
    from bpflock.kernel.bpf import Map


class Profile(enum.StrEnum):
    """How strict a lock is, or what a tracer traces. The values are those of `enum bpflock_profile`, in lower case."""

    NONE = "none"
    ALLOW = "allow"
    BASELINE = "baseline"
    RESTRICTED = "restricted"
    ALL = "all"
    FILTER = "filter"

    @property
    def symbol(self) -> str:
        """The enumerator in bpf/bpflock.h."""
        return f"PROFILE_{self.name}"


LOCK_PROFILES: Mapping[str, Profile] = {
    "allow": Profile.ALLOW,
    "none": Profile.ALLOW,
    "privileged": Profile.ALLOW,
    "baseline": Profile.BASELINE,
    "restricted": Profile.RESTRICTED,
}
# Of a lock that is loaded only where it is asked for, because looking on would cost every machine something.
REQUESTED_PROFILES: Mapping[str, Profile] = {**LOCK_PROFILES, "none": Profile.NONE}
TRACER_PROFILES: Mapping[str, Profile] = {
    "none": Profile.NONE,
    "all": Profile.ALL,
    "filter": Profile.FILTER,
}


class Level(enum.StrEnum):
    """How strict a whole machine is, named as the security levels of Kubernetes pods: docs/levels.md."""

    PRIVILEGED = "privileged"
    BASELINE = "baseline"
    RESTRICTED = "restricted"


@dataclass(frozen=True)
class Operation:
    """One thing that a lock decides on; its number is that of the enumerator LOCK_NAME in bpf/bpflock.h.

    `text` is what events show as the operation. `requires`: operations without which it cannot happen; allowing it
    allows them too.
    """

    name: str
    summary: str
    text: str = ""
    aliases: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()


_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")


def parse_switch(word: str) -> bool:
    """True or false. Raises UsageError."""
    value = word.strip().lower()
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise UsageError(f"'{word}' is neither yes nor no", hint=f"valid: {', '.join(_TRUE + _FALSE)}")


class Form(enum.Enum):
    """What the value of a parameter is."""

    PATH = enum.auto()
    PATHS = enum.auto()  # separated by commas
    NUMBER = enum.auto()  # from 0 to the parameter's limit
    SWITCH = enum.auto()  # kept as "yes" or "no"


@dataclass(frozen=True)
class Parameter:
    """A setting that only one lock has.

    `name` is the last part of its option: `except` of `--rootfslock-except`. `metavar`: what a value is called.
    """

    name: str
    summary: str
    default: tuple[str, ...] = ()
    form: Form = Form.PATH
    metavar: str = "PATH"
    limit: int = 0

    def parse(self, word: str) -> tuple[str, ...]:
        """The value in its canonical form; paths as they are written. Raises UsageError."""
        if self.form is Form.SWITCH:
            return ("yes" if parse_switch(word) else "no",)
        if self.form is Form.NUMBER:
            return (str(self._number(word.strip())),)
        found = [part.strip() for part in word.split(",")] if self.form is Form.PATHS else [word.strip()]
        paths = tuple(dict.fromkeys(path for path in found if path))
        for path in paths:
            if not path.startswith("/") or "\0" in path:
                raise UsageError(f"'{path}' is not an absolute path", hint="it begins with '/'")
        return paths

    def _number(self, word: str) -> int:
        # isdecimal() alone takes digits of other scripts, too, and int() refuses very long ones.
        if not (word.isascii() and word.isdecimal()):
            raise UsageError(f"'{word}' is not a number", hint=f"valid: 0 to {self.limit}")
        if len(word) > 9 or int(word) > self.limit:
            raise UsageError(f"'{word}' is out of range", hint=f"valid: 0 to {self.limit}")
        return int(word)


class Sessions(enum.StrEnum):
    """Which sessions of systemd-logind. The values are those of `enum bpflock_session_kind`, in lower case."""

    ACTIVE = "active"  # logged in at a seat of this machine, and in the foreground there
    LOCAL = "local"  # logged in at a seat, also behind another one

    @property
    def symbol(self) -> str:
        """The enumerator in bpf/bpflock.h."""
        return f"SESSION_{self.name}"


@dataclass(frozen=True)
class SessionGrant:
    """What tasks of sessions are granted under baseline and restricted. Canonical names, sorted; empty: everything."""

    sessions: Sessions
    operations: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.sessions}:{','.join(self.operations)}" if self.operations else self.sessions.value


@dataclass(frozen=True)
class Settings:
    """What a lock is to do: canonical operation names, groups expanded, sorted, without repeats.

    `parameters` has those of the lock's own parameters that differ from their default, in their order.
    """

    profile: Profile
    block: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    parameters: tuple[tuple[str, tuple[str, ...]], ...] = ()
    session: SessionGrant | None = None


# Of a lock whose operations nobody needs once a machine is up: under restricted, they are denied to the host, too.
LOCK_LEVELS: Mapping[Level, Settings] = {
    Level.PRIVILEGED: Settings(Profile.ALLOW),
    Level.BASELINE: Settings(Profile.BASELINE),
    Level.RESTRICTED: Settings(Profile.RESTRICTED),
}


@dataclass(frozen=True)
class Lock:
    """A lock or tracer. `name` is the BPF object's stem and what events carry as bpfprog.

    `selector`: of a lock whose lists take objects besides operations; gives the canonical form of a word that names
    one, None for a word of another form, and raises UsageError for a bad one.
    `for_sessions`: whether it can grant operations to sessions: it decides on tasks.
    `levels`: what it is under each level; a test sees to it that none is missing and none is laxer than the one before.
    """

    name: str
    summary: str
    operations: tuple[Operation, ...]
    levels: Mapping[Level, Settings]
    profiles: Mapping[str, Profile] = field(default_factory=lambda: LOCK_PROFILES)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parameters: tuple[Parameter, ...] = ()
    # What the parameters come to on this machine: fields of `struct NAME_target` in the BPF object.
    resolve: Callable[[Mapping[str, tuple[str, ...]]], Mapping[str, int | bytes]] | None = None
    # Shows the attached programs what no constant can tell them; it finds in this map what they have kept of it. The
    # programs change that later, and count it in the last word: then what is pinned is not what would be loaded.
    show: Callable[[Mapping[str, tuple[str, ...]], Map], None] | None = None
    # The hooks that these parameters make needless: nothing is attached to them.
    needless: Callable[[Mapping[str, tuple[str, ...]]], tuple[str, ...]] = lambda _: ()
    selector: Callable[[str], str | None] | None = None
    for_sessions: bool = True

    @property
    def symbol(self) -> str:
        """The enumerator in bpf/bpflock.h."""
        return f"LOCK_{self.name.upper()}"

    @property
    def is_tracer(self) -> bool:
        return self.profiles is TRACER_PROFILES

    @property
    def default(self) -> Profile:
        """What it is if nothing of it is configured."""
        return Profile.ALLOW if self.profiles is LOCK_PROFILES else Profile.NONE

    def names(self) -> dict[str, Operation]:
        """Operations by name and alias."""
        return {name: op for op in self.operations for name in (op.name, *op.aliases)}

    def parse_profile(self, word: str) -> Profile:
        """The profile that a user's word names. Raises UsageError with the nearest one."""
        profile = self.profiles.get(word.strip().lower())
        if profile is None:
            raise UsageError(f"{self.name} has no profile '{word}'", hint=nearest(word, self.profiles))
        return profile

    def parse_operations(self, words: str | Iterable[str]) -> tuple[str, ...]:
        """Canonical names from a comma-separated list or several, groups expanded. Raises UsageError."""
        known = self.names()
        found: list[str] = []
        parts = words.split(",") if isinstance(words, str) else [p for word in words for p in word.split(",")]
        for part in parts:
            word = part.strip().lower()
            if not word:
                continue
            if word.startswith("@"):
                if word not in self.groups:
                    raise UsageError(
                        f"{self.name} has no operation group '{part.strip()}'", hint=nearest(word, self.groups)
                    )
                found.extend(self.groups[word])
            elif word in known:
                found.append(known[word].name)
            elif self.selector and (selected := self.selector(part.strip())):
                found.append(selected)
            else:
                raise UsageError(
                    f"{self.name} has no operation '{part.strip()}'", hint=nearest(word, [*known, *self.groups])
                )
        return tuple(sorted(set(found)))

    def parameter_names(self) -> tuple[str, ...]:
        return tuple(parameter.name for parameter in self.parameters)

    def parameter_values(self, settings: Settings) -> dict[str, tuple[str, ...]]:
        """All of the lock's own parameters, by name."""
        return {parameter.name: parameter.default for parameter in self.parameters} | dict(settings.parameters)

    def parse_sessions(self, word: str) -> SessionGrant | None:
        """`active`, `local`, or one of them with operations: `active:hibernation,kexec`; nothing: none.

        Raises UsageError.
        """
        kind, colon, operations = word.strip().partition(":")
        if not kind and not colon:
            return None
        try:
            sessions = Sessions(kind.strip().lower())
        except ValueError:
            raise UsageError(
                f"'{kind}' says not which sessions: expected active or local", hint=nearest(kind, Sessions)
            ) from None
        named = self.parse_operations(operations)
        if colon and not named:
            raise UsageError(f"no operations follow '{kind}:'", hint=f"without the colon it is all: {kind}")
        return SessionGrant(sessions, () if len(named) == len(self.operations) else named)

    def value_of(self, settings: Settings, part: str) -> Profile | str | tuple[str, ...]:
        """What an option of the lock (config/options.py) is set to."""
        values: dict[str, Profile | str | tuple[str, ...]] = {
            "profile": settings.profile,
            "block": settings.block,
            "allow": settings.allow,
            "allow-session": str(settings.session or ""),
        }
        return values[part] if part in values else self.parameter_values(settings)[part]

    def settings(
        self,
        profile: Profile,
        block: Iterable[str] = (),
        allow: Iterable[str] = (),
        parameters: Mapping[str, tuple[str, ...]] | None = None,
        session: str = "",
    ) -> Settings:
        """Checked settings. Raises UsageError if an operation is granted and blocked, or a tracer is given lists."""
        blocked, allowed = self.parse_operations(block), self.parse_operations(allow)
        if self.is_tracer and (blocked or allowed):
            raise UsageError(f"{self.name} traces only: it has no block or allow list")
        both = sorted(set(blocked) & set(allowed))
        if both:
            raise UsageError(
                f"{self.name}: {', '.join(both)} is in both the block and the allow list",
                hint="take it out of one of them",
            )
        granted = self.parse_sessions(session)
        for name in granted.operations if granted else ():
            if name in blocked:
                raise UsageError(
                    f"{self.name}: {name} is blocked for everyone, and granted to sessions",
                    hint="take it out of one of them",
                )
        given = parameters or {}
        own = tuple((p.name, given[p.name]) for p in self.parameters if given.get(p.name, ()) not in ((), p.default))
        return Settings(profile, blocked, allowed, own, granted)
