# SPDX-License-Identifier: Apache-2.0
"""rootfslock: changing the root file system. See bpf/rootfslock.bpf.c."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bpflock.locks.model import REQUESTED_PROFILES, Form, Level, Lock, Operation, Parameter, Profile, Settings

if TYPE_CHECKING:
    from bpflock.kernel.bpf import Map


def _resolve(values: Mapping[str, tuple[str, ...]]) -> Mapping[str, int | bytes]:
    from bpflock.locks.rootfs import resolve  # only who loads the lock needs it

    return resolve(values["path"][0], values["except"])


def _show(values: Mapping[str, tuple[str, ...]], kept: Map) -> None:
    from bpflock.locks.rootfs import show

    show(values["path"][0], kept)


def _needless(values: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Without block devices beneath it, there is none to open or to command."""
    return () if _resolve(values)["raws"] else ("cgroup/dev", "lsm/uring_cmd")


ROOTFSLOCK = Lock(
    name="rootfslock",
    summary="changing the root file system",
    operations=(
        Operation("write", "change a file, a directory or the block devices beneath", "file system write"),
        Operation("remount", "change the options of the file system, or make a mount of it writable", "remount"),
        Operation("mount", "mount over a file or directory", "mount over"),
    ),
    levels={
        # What a machine writes to its root file system, and containers to their layers there, no level can know.
        Level.PRIVILEGED: Settings(Profile.NONE),
        Level.BASELINE: Settings(Profile.NONE),
        Level.RESTRICTED: Settings(Profile.NONE),
    },
    profiles=REQUESTED_PROFILES,
    groups={"@rootfs": ("write", "remount", "mount")},
    parameters=(
        Parameter("path", "the file system that this path is on", ("/",)),
        Parameter(
            "except", "files and directories of it that stay writable, with all below", form=Form.PATHS, metavar="PATHS"
        ),
    ),
    resolve=_resolve,
    needless=_needless,
    show=_show,
)
