# SPDX-License-Identifier: Apache-2.0
"""execsnoop: tracing program execution. See bpf/execsnoop.bpf.c."""

from bpflock.locks.model import TRACER_PROFILES, Level, Lock, Operation, Profile, Settings

EXECSNOOP = Lock(
    name="execsnoop",
    summary="tracing program execution",
    operations=(
        Operation("execve", "execute a program", "execve"),
        Operation("execveat", "execute a program relative to a descriptor", "execveat"),
    ),
    levels={
        Level.PRIVILEGED: Settings(Profile.NONE),
        Level.BASELINE: Settings(Profile.NONE),
        Level.RESTRICTED: Settings(Profile.ALL),  # whoever locks a machine that far wants to know what runs on it
    },
    profiles=TRACER_PROFILES,
)
