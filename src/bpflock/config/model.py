# SPDX-License-Identifier: Apache-2.0
"""What the configuration comes to: typed values, each with where it came from."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bpflock.locks.model import Level, Settings

# What bpf/common.bpf.h says, too.
DEFAULT_EVENT_BUFFER = "1M"

# The origin of a value that nobody set.
DEFAULT = "default"


class LogFormat(enum.StrEnum):
    """How events are written to standard output."""

    AUTO = "auto"
    LOGFMT = "logfmt"
    JSON = "json"
    TEXT = "text"


@dataclass(frozen=True)
class LockConfig:
    """One lock or tracer.

    `origins` has the keys "profile", "block", "allow" and so on; a value is for people, such as `command line`,
    `environment BPFLOCK_KIMGLOCK_PROFILE`, `/etc/bpflock/bpflock.yaml:3`, `level baseline (command line)` or `default`.
    """

    settings: Settings
    origins: Mapping[str, str]
    # Whether anybody set anything of it, or a level.
    configured: bool


@dataclass(frozen=True)
class Config:
    """The effective configuration."""

    level: Level | None
    debug: bool
    remove_bpf_programs: bool
    policy_allow_missing: bool
    log_format: LogFormat
    event_buffer: int  # bytes, a power of two
    state_dir: Path
    runtime_dir: Path
    config_dir: Path
    # All locks and tracers, by name, in the order in which they are enforced.
    locks: Mapping[str, LockConfig]
    # Where each of the general options came from, by the option's name.
    origins: Mapping[str, str] = field(default_factory=dict)
    # What the user should know, though nothing is wrong.
    notes: tuple[str, ...] = ()
    # The command line that it was loaded with: load(config.flags) loads it anew.
    flags: Mapping[str, str] = field(default_factory=dict, repr=False)
