# SPDX-License-Identifier: Apache-2.0
"""sysfslock: changing the machine through sysfs. See bpf/sysfslock.bpf.c."""

from bpflock.locks.model import Level, Lock, Operation, Profile, Settings

SYSFSLOCK = Lock(
    name="sysfslock",
    summary="changing the machine through sysfs",
    operations=(
        Operation("write", "write an attribute of sysfs, map it writable, or change its mode or owner", "sysfs write"),
        Operation(
            "read",
            "read an attribute of sysfs; denied only where it is blocked by name, most programs need it",
            "sysfs read",
        ),
    ),
    levels={
        Level.PRIVILEGED: Settings(Profile.ALLOW),
        Level.BASELINE: Settings(Profile.BASELINE),
        # Not restricted: udev and what manages power, disks and networks on the host write to sysfs all the time.
        Level.RESTRICTED: Settings(Profile.BASELINE),
    },
    groups={"@sysfs": ("write", "read")},
)
