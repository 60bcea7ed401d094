# SPDX-License-Identifier: Apache-2.0
"""rootfslock: changing the root file system. See bpf/rootfslock.bpf.c."""

from collections.abc import Mapping

from bpflock.locks.model import REQUESTED_PROFILES, Form, Level, Lock, Operation, Parameter, Profile, Settings


def _resolve(values: Mapping[str, tuple[str, ...]]) -> Mapping[str, int | bytes]:
    from bpflock.locks.rootfs import resolve  # only who loads the lock needs it

    return resolve(values["path"][0], values["except"])


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
)
