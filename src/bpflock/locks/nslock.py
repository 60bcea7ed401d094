# SPDX-License-Identifier: Apache-2.0
"""nslock: creating and entering namespaces. See bpf/nslock.bpf.c."""

from bpflock.locks.model import Level, Lock, Operation, Profile, Settings

_TYPES = {
    "user": "create a user namespace; takes no right at all, and gives all within it",
    "pid": "create a pid namespace",
    "net": "create a network namespace",
    "mnt": "create a mount namespace",
    "uts": "create a UTS namespace (host name)",
    "ipc": "create an IPC namespace",
    "cgroup": "create a cgroup namespace",
    "time": "create a time namespace",
}
# crun and runc create it from within the container they are making.
_CONTAINERS = Settings(Profile.BASELINE, allow=("cgroup",))

NSLOCK = Lock(
    name="nslock",
    summary="creating and entering namespaces",
    operations=(
        *(Operation(name, summary, f"{name} namespace") for name, summary in _TYPES.items()),
        Operation("setns", "enter a namespace of any type that is not blocked by name", "entering namespace"),
    ),
    levels={
        Level.PRIVILEGED: Settings(Profile.ALLOW),
        Level.BASELINE: _CONTAINERS,
        Level.RESTRICTED: _CONTAINERS,  # the host needs namespaces to run services and containers
    },
    groups={"@namespaces": (*_TYPES, "setns")},
)
