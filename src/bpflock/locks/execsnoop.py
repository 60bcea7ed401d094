# SPDX-License-Identifier: Apache-2.0
"""execsnoop: tracing program execution. See bpf/execsnoop.bpf.c, which fixes the numbers."""

from bpflock.locks.model import TRACER_PROFILES, Lock, Operation

EXECSNOOP = Lock(
    name="execsnoop",
    summary="tracing program execution",
    operations=(
        Operation("execve", 0, "execute a program", "execve"),
        Operation("execveat", 1, "execute a program relative to a descriptor", "execveat"),
    ),
    profiles=TRACER_PROFILES,
)
