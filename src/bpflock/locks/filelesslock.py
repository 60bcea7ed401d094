# SPDX-License-Identifier: Apache-2.0
"""filelesslock: executing what lies in memory only. See bpf/filelesslock.bpf.c."""

from bpflock.locks.model import Level, Lock, Operation, Profile, Settings

FILELESSLOCK = Lock(
    name="filelesslock",
    summary="executing what lies in memory only",
    operations=(
        Operation("memfd", "execute or map a memfd or SysV shared memory", "memfd"),
        Operation("shm", "execute or map a file of /dev/shm", "shm"),
        Operation("tmpfile", "execute or map a file that never had a name (O_TMPFILE)", "tmpfile"),
        Operation("unlinked", "execute or map a file whose last name is gone", "unlinked"),
        Operation(
            "anon_map",
            "make anonymous memory executable; denied only where it is blocked by name, JITs need it",
            "anon_map",
        ),
    ),
    levels={
        Level.PRIVILEGED: Settings(Profile.ALLOW),
        Level.BASELINE: Settings(Profile.BASELINE),
        # Not restricted: runc and crun may execute a sealed copy of themselves from a memfd, and a daemon whose package
        # was upgraded goes on with deleted files.
        Level.RESTRICTED: Settings(Profile.BASELINE),
    },
    groups={"@memory": ("memfd", "shm", "tmpfile", "unlinked")},
)
