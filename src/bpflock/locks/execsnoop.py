# SPDX-License-Identifier: Apache-2.0
"""execsnoop: tracing program execution. See bpf/execsnoop.bpf.c."""

from collections.abc import Mapping

from bpflock.locks.model import TRACER_PROFILES, Form, Level, Lock, Operation, Parameter, Profile, Settings


def _resolve(values: Mapping[str, tuple[str, ...]]) -> Mapping[str, int]:
    return {"args": int(values["args"][0])}


def _needless(values: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    return ("tp_btf/sched_process_exit",) if values["exit"] == ("no",) else ()


EXECSNOOP = Lock(
    name="execsnoop",
    summary="tracing program execution",
    operations=(
        Operation("execve", "execute a program", "execve"),
        Operation("execveat", "execute a program relative to a descriptor", "execveat"),
        Operation("exit", "the end of a process whose exec was told", "exit"),
    ),
    levels={
        Level.PRIVILEGED: Settings(Profile.NONE),
        Level.BASELINE: Settings(Profile.NONE),
        Level.RESTRICTED: Settings(Profile.ALL),  # whoever locks a machine that far wants to know what runs on it
    },
    profiles=TRACER_PROFILES,
    parameters=(
        Parameter(
            "args", "how many bytes of a program's arguments to tell; 0: none", ("1024",), Form.NUMBER, "BYTES", 4096
        ),
        Parameter("exit", "tell how each of them ended, too", ("yes",), Form.SWITCH, "yes|no"),
    ),
    resolve=_resolve,
    needless=_needless,
)
