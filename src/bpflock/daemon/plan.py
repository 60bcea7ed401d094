# SPDX-License-Identifier: Apache-2.0
"""What a configuration asks to be done with each lock, given what the kernel enforces already."""

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from bpflock.config.model import DEFAULT, Config, LockConfig
from bpflock.locks import LOCKS
from bpflock.locks.model import Lock, Profile, Settings

_COMMAND_LINE = "command line"


class Action(enum.Enum):
    APPLY = enum.auto()
    KEEP = enum.auto()  # enforced already, and not ours to change


@dataclass(frozen=True)
class Step:
    lock: Lock
    action: Action
    settings: Settings
    origins: Mapping[str, str]


@dataclass(frozen=True)
class Pinned:
    """What the kernel enforces of a lock."""

    settings: Settings
    origins: Mapping[str, str]


def at_start(config: Config, pinned: Mapping[str, Pinned]) -> list[Step]:
    """For each lock what to do when the daemon starts.

    A lock that nothing configures gets its default profile, with one exception: if `bpflock lock` put it on by hand, it
    stays. A daemon that starts must not weaken what somebody asked for, `bpflock unlock` does.
    """
    return [
        Step(LOCKS[name], Action.KEEP, pinned[name].settings, pinned[name].origins)
        if not wanted.configured and name in pinned and _by_hand(pinned[name])
        else _apply(name, wanted)
        for name, wanted in config.locks.items()
        if not _nothing_to_do(wanted, name in pinned)
    ]


def at_reload(config: Config, before: Config, loaded: Collection[str]) -> list[Step]:
    """For each lock what to do when the configuration was read again; those it no longer mentions go to the default."""
    return [
        _apply(name, wanted)
        for name, wanted in config.locks.items()
        if (wanted.configured or before.locks[name].configured) and not _nothing_to_do(wanted, name in loaded)
    ]


def _apply(name: str, wanted: LockConfig) -> Step:
    return Step(LOCKS[name], Action.APPLY, wanted.settings, wanted.origins)


def _nothing_to_do(wanted: LockConfig, loaded: bool) -> bool:
    """A tracer that is to trace nothing, and does not."""
    return wanted.settings.profile is Profile.NONE and not loaded


def _by_hand(pinned: Pinned) -> bool:
    origins = {origin for origin in pinned.origins.values() if origin != DEFAULT}
    return bool(origins) and all(origin.startswith(_COMMAND_LINE) for origin in origins)


def describe(settings: Settings, origins: Mapping[str, str]) -> str:
    """`profile=baseline block=kexec,msr (profile: /etc/bpflock/bpflock.yaml:3; block: command line)`."""
    parts = {"profile": settings.profile.value, "block": ",".join(settings.block), "allow": ",".join(settings.allow)}
    parts["allow-session"] = str(settings.session or "")
    parts |= {name: ",".join(values) for name, values in settings.parameters}
    given = {name: value for name, value in parts.items() if value}
    sources = "; ".join(f"{name}: {origins[name]}" for name in given if name in origins)
    return " ".join(f"{name}={value}" for name, value in given.items()) + (f" ({sources})" if sources else "")
