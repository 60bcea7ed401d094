# SPDX-License-Identifier: Apache-2.0
"""privsnoop: tracing privileged operations. See bpf/privsnoop.bpf.c."""

from bpflock.locks.model import TRACER_PROFILES, Level, Lock, Operation, Profile, Settings

# include/uapi/linux/capability.h, in the order of their numbers.
_CAPABILITIES = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
]

PRIVSNOOP = Lock(
    name="privsnoop",
    summary="tracing privileged operations",
    operations=(
        *(Operation(f"cap_{name}", f"use CAP_{name.upper()}") for name in _CAPABILITIES),
        Operation("mount", "mount, move a mount, or change one"),
        Operation("umount", "unmount"),
        Operation("ptrace", "trace another process, or read and write its memory"),
        Operation("setuid", "change a user id of the process"),
        Operation("setgid", "change a group id of the process"),
        Operation("module", "load a module"),
        Operation("bpf", "call bpf(2)"),
        Operation("namespace", "make a namespace"),
        Operation("settime", "set the clock"),
    ),
    levels={level: Settings(Profile.NONE) for level in Level},  # it tells far too much to be always on
    profiles=TRACER_PROFILES,
)
