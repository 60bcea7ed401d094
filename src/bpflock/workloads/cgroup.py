# SPDX-License-Identifier: Apache-2.0
"""Profiles of cgroups: exceptions from every lock's own profile, in the pinned map bpflock_cgroupmap.

A task's nearest ancestor cgroup in the map wins. Cgroups are known by their id in the unified hierarchy (v2), the
inode number of their directory: a cgroup that is made again under the same path is another one.
"""

import contextlib
import errno
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bpflock.errors import BpflockError, UsageError
from bpflock.kernel import host, pins
from bpflock.kernel.bpf import Map
from bpflock.kernel.btf import ObjectTypes
from bpflock.locks.enforce import Enforcer
from bpflock.locks.model import Profile

MOUNTS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
_CGROUP_PROFILES = (Profile.ALLOW, Profile.BASELINE, Profile.RESTRICTED)
_NO_NAMESPACE = 1  # bpf/bpflock.h: NO_NAMESPACE


@dataclass(frozen=True)
class CgroupEntry:
    """An exception. `path` is None if no cgroup has the id any more."""

    id: int
    path: str | None
    profile: Profile


def mount() -> Path:
    """Where the unified hierarchy is mounted. Raises BpflockError."""
    for path in MOUNTS:
        if (path / "cgroup.controllers").exists():
            return path
    raise BpflockError(
        "the unified cgroup hierarchy is not mounted", hint="mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified"
    )


def cgroup_id(path_or_id: str) -> int:
    """The id of a cgroup: a number, a directory below the cgroup mount, or a path relative to it."""
    if path_or_id.isdecimal():
        return int(path_or_id)
    top = mount()
    path = Path(path_or_id)
    if top not in (path, *path.parents):
        path = top / path_or_id.lstrip("/")
    try:
        if not (path / "cgroup.procs").exists():
            raise UsageError(f"{path} is not a cgroup", hint=f"give a directory below {top}")
        return path.stat().st_ino
    except OSError as error:
        raise UsageError(f"cannot read the cgroup {path}: {os.strerror(error.errno or errno.EIO)}") from error


def _paths() -> dict[int, str]:
    """All cgroups: path by id."""
    try:
        top = mount()
    except BpflockError:
        return {}
    return {Path(path).stat().st_ino: path for path, _, _ in os.walk(top)}


@contextlib.contextmanager
def _exceptions(enforcer: Enforcer) -> Iterator[Map]:
    with enforcer.exclusive(), Map.open(pins.shared("bpflock_cgroupmap")) as exceptions:
        yield exceptions


def _tell_hooks(exceptions: Map) -> None:
    """Hooks search the map only while its number of entries is not 0."""
    layout = ObjectTypes.load().struct("bpflock_shared")
    with Map.open(pins.shared("bpflock_shared")) as shared:
        values = layout.unpack(shared.values())
        values["cgroups"] = sum(1 for _ in exceptions)
        plain = not values["cgroups"] and not values["canary"]
        values["plain_nsproxy"] = values["init_nsproxy"] if plain else _NO_NAMESPACE
        values["plain_net"] = values["init_net"] if plain else _NO_NAMESPACE
        shared.update(struct.pack("=I", 0), layout.pack(**values))


def set_profile(path_or_id: str, profile: Profile) -> int:
    """Give the tasks of a cgroup and of those below it a profile of their own. Gives the cgroup's id."""
    if profile not in _CGROUP_PROFILES:
        raise UsageError(f"a cgroup cannot have the profile '{profile}'", hint="valid: allow, baseline, restricted")
    number = ObjectTypes.load().enum("bpflock_profile")[profile.symbol]
    identifier = cgroup_id(path_or_id)
    enforcer = Enforcer()
    enforcer.ensure_base()
    with _exceptions(enforcer) as exceptions:
        exceptions.update(struct.pack("=Q", identifier), struct.pack("=I", number))
        _tell_hooks(exceptions)
    return identifier


def unset_profile(path_or_id: str) -> bool:
    """Take a cgroup's exception away. False if it had none."""
    identifier = cgroup_id(path_or_id)
    host.require_root()
    if not pins.shared("bpflock_cgroupmap").exists():
        return False
    enforcer = Enforcer()
    with _exceptions(enforcer) as exceptions:
        removed = exceptions.delete(struct.pack("=Q", identifier))
        _tell_hooks(exceptions)
    enforcer.remove_unused()
    return removed


def list_profiles() -> list[CgroupEntry]:
    """All exceptions, by path."""
    host.require_root()
    if not pins.shared("bpflock_cgroupmap").exists():
        return []
    names = {number: name for name, number in ObjectTypes.load().enum("bpflock_profile").items()}
    paths = _paths()
    entries = []
    with _exceptions(Enforcer()) as exceptions:
        for key in exceptions:
            value = exceptions.lookup(key)
            if value is None:
                continue
            identifier = struct.unpack("=Q", key)[0]
            name = names.get(struct.unpack("=I", value)[0], "PROFILE_RESTRICTED").removeprefix("PROFILE_").lower()
            entries.append(CgroupEntry(identifier, paths.get(identifier), Profile(name)))
    return sorted(entries, key=lambda entry: (entry.path or "", entry.id))
