# SPDX-License-Identifier: Apache-2.0
"""execsnoop: tracing program execution. See bpf/execsnoop.bpf.c."""

from bpflock.locks.model import TRACER_PROFILES, Lock, Operation

EXECSNOOP = Lock(
    name="execsnoop",
    summary="tracing program execution",
    operations=(
        Operation("execve", "execute a program", "execve"),
        Operation("execveat", "execute a program relative to a descriptor", "execveat"),
    ),
    profiles=TRACER_PROFILES,
)
