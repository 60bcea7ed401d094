# SPDX-License-Identifier: Apache-2.0
"""Records made by hand: no kernel and no compiled object is needed."""

import struct
from collections.abc import Callable

import pytest

from bpflock.events.decode import ExecutionLayout, Vocabulary
from bpflock.events.model import Event
from bpflock.kernel.btf import Field, StructLayout

# Another order than the real one, with holes: the decoder must go by the layout alone.
_MEMBERS = (
    ("time", 8, "uint"),
    ("size", 4, "uint"),
    ("future", 4, "uint"),
    ("cgroup", 8, "uint"),
    ("retval", 4, "int"),
    ("path_len", 4, "uint"),
    ("tgid", 4, "uint"),
    ("pid", 4, "uint"),
    ("ppid", 4, "uint"),
    ("uid", 4, "uint"),
    ("comm", 16, "chars"),
    ("lock", 4, "uint"),
    ("type", 4, "uint"),
    ("reason", 4, "uint"),
    ("op", 4, "uint"),
    ("pcomm", 16, "chars"),
    ("repeats", 4, "uint"),
)


def _layout() -> StructLayout:
    fields, offset = [], 8
    for name, size, kind in _MEMBERS:
        offset = (offset + min(size, 8) - 1) // min(size, 8) * min(size, 8)
        fields.append(Field(name, offset, size, kind))
        offset += size
    return StructLayout("bpflock_event", (offset + 15) // 8 * 8, tuple(fields))


@pytest.fixture
def layout() -> StructLayout:
    return _layout()


@pytest.fixture
def execution_layout() -> ExecutionLayout:
    detail = (
        *(("status", 0, 4, "uint"), ("args_len", 4, 4, "uint"), ("args_offset", 12, 4, "uint")),
        *(("args_total", 16, 4, "uint"), ("parents", 20, 4, "uint"), ("higher", 24, 4, "uint")),
        *(("parent", 28, 40, "chars"), ("duration", 72, 8, "uint")),
    )
    parent = (("comm", 0, 16, "chars"), ("pid", 16, 4, "uint"))
    return ExecutionLayout(
        StructLayout("execsnoop_detail", 80, tuple(Field(*field) for field in detail)),
        StructLayout("execsnoop_parent", 20, tuple(Field(*field) for field in parent)),
    )


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary(
        locks={0: "guard", 1: "kimglock", 2: "kmodlock", 5: "execsnoop"},
        types={1: "lsm_locked_down", 3: "lsm_kernel_read_file", 11: "syscall_execve", 13: "cgroup_sysctl"},
        reasons={1: "allow_privileged", 4: "baseline", 6: "traced", 16: "denied_baseline", 21: "denied_guard"},
        operations={"kimglock": {1: "dev_mem"}, "kmodlock": {0: "load_module"}, "execsnoop": {0: "execve", 2: "exit"}},
    )


Record = Callable[..., bytes]


@pytest.fixture
def record(layout: StructLayout) -> Record:
    """A record with these fields set, `path` behind them, and `room` bytes reserved for the path."""

    def build(*, path: bytes = b"", room: int = 0, **values: int | bytes) -> bytes:
        defaults = {"size": layout.size + max(room, len(path)), "path_len": len(path)}
        known = {"time": 0, "comm": b"cat", "pcomm": b"sh", **defaults, **values}
        body = bytearray(b"\xa5" * layout.size)
        for field in layout.fields:
            value = known.get(field.name, 0)
            if isinstance(value, bytes):
                body[field.offset : field.offset + field.size] = value.ljust(field.size, b"\0")
            else:
                code = {4: "I", 8: "Q"}[field.size]
                struct.pack_into(code.lower() if field.kind == "int" else code, body, field.offset, value)
        # What lies behind the path in a reserved record is garbage.
        return bytes(body) + path.ljust(room, b"\xa5")

    return build


@pytest.fixture
def denial() -> Event:
    return Event(
        time=1644213442.5,
        bpfprog="kimglock",
        event="lsm_locked_down",
        op="dev_mem",
        operation="/dev/mem,kmem,port",
        reason="denied (baseline)",
        denied=True,
        tgid=52428,
        pid=52428,
        ppid=52288,
        uid=0,
        cgroupid=7014,
        comm=b"head",
        pcomm=b"bash",
        filename=None,
        retval=-1,
        repeats=0,
    )


@pytest.fixture
def execution() -> Event:
    return Event(
        time=1644213442.25,
        bpfprog="execsnoop",
        event="syscall_execve",
        op="execve",
        operation="execve",
        reason="",
        denied=False,
        tgid=1833,
        pid=1833,
        ppid=1671,
        uid=1000,
        cgroupid=8821,
        comm=b"loader",
        pcomm=b"bash",
        filename=b"./loader",
        retval=0,
        repeats=0,
    )
