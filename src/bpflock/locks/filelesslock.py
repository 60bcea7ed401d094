# SPDX-License-Identifier: Apache-2.0
"""filelesslock: executing what lies in memory only. See bpf/filelesslock.bpf.c."""

from bpflock.locks.model import Level, Lock, Operation, Profile, Settings

FILELESSLOCK = Lock(
    name="filelesslock",
    summary="executing what lies in memory only",
    operations=(
        Operation("memfd", "execute a memfd, or map it as a library is mapped", "memfd"),
        Operation("shm", "execute or map a file of /dev/shm", "shm"),
        Operation("tmpfile", "execute or map a file that never had a name (O_TMPFILE)", "tmpfile"),
        Operation("unlinked", "execute or map a file whose last name is gone", "unlinked"),
        Operation(
            "anon_map",
            "make anonymous memory executable; denied only where it is blocked by name, JITs need it",
            "anon_map",
        ),
        Operation(
            "memfd_shared",
            "map a memfd or SysV shared memory executable and shared, as compilers do that map it twice",
            "shared memfd",
        ),
    ),
    levels={
        Level.PRIVILEGED: Settings(Profile.ALLOW),
        # A shared mapping gives code that is written at run time no more than anonymous memory does: .NET needs it.
        Level.BASELINE: Settings(Profile.BASELINE, allow=("memfd_shared",)),
        # Not restricted: runc and crun may execute a sealed copy of themselves from a memfd, and a daemon whose package
        # was upgraded goes on with deleted files.
        Level.RESTRICTED: Settings(Profile.BASELINE),
    },
    groups={"@memory": ("memfd", "memfd_shared", "shm", "tmpfile", "unlinked")},
)
