# SPDX-License-Identifier: Apache-2.0
import random
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from bpflock.errors import BpflockError
from bpflock.events.decode import Decoder, ExecutionLayout, Vocabulary, reason_text
from bpflock.events.model import Ending, Execution
from bpflock.kernel.btf import StructLayout

Record = Callable[..., bytes]


@pytest.fixture
def decoder(layout: StructLayout, vocabulary: Vocabulary) -> Decoder:
    return Decoder(layout, vocabulary)


def test_names_and_numbers_of_a_denial(decoder: Decoder, record: Record) -> None:
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    data = record(time=now, tgid=10, pid=11, ppid=9, uid=4294967295, cgroup=2**63, lock=1, type=1, op=1, reason=16)
    [event] = decoder.decode(data + record(retval=-1)[:0])
    assert abs(event.time - time.time()) < 1
    assert (event.bpfprog, event.event, event.op) == ("kimglock", "lsm_locked_down", "dev_mem")
    assert (event.operation, event.reason, event.denied) == ("/dev/mem,kmem,port", "denied (baseline)", True)
    assert (event.tgid, event.pid, event.ppid, event.uid, event.cgroupid) == (10, 11, 9, 4294967295, 2**63)
    assert (event.comm, event.pcomm, event.filename) == (b"cat", b"sh", None)


def test_retval_is_signed_and_comm_ends_at_the_first_nul(decoder: Decoder, record: Record) -> None:
    [event] = decoder.decode(record(retval=-1, comm=b"a\0secret", pcomm=b"x" * 16, repeats=7))
    assert (event.retval, event.comm, event.pcomm, event.repeats) == (-1, b"a", b"x" * 16, 7)


def test_records_of_all_sizes_back_to_back(decoder: Decoder, record: Record) -> None:
    data = b"".join(
        (
            record(pid=1, lock=5, type=11, reason=6, path=b"./loader", room=256),
            record(pid=2),
            record(pid=3, path=b"/" + b"d" * 4000, room=4096),
            record(pid=4, path=b"", room=256),
        )
    )
    events = decoder.decode(memoryview(data))
    assert [event.pid for event in events] == [1, 2, 3, 4]
    assert [event.filename for event in events] == [b"./loader", None, b"/" + b"d" * 4000, None]
    assert events[0].reason == "" and not events[0].denied
    assert decoder.malformed == 0


@pytest.fixture
def tracer(layout: StructLayout, vocabulary: Vocabulary, execution_layout: ExecutionLayout) -> Decoder:
    return Decoder(layout, vocabulary, execution=execution_layout)


@pytest.fixture
def execution(layout: StructLayout, execution_layout: ExecutionLayout, record: Record) -> Record:
    """A record of execsnoop: these fields of its detail, then the path, then the arguments."""

    def build(path: bytes = b"", args: bytes = b"", op: int = 0, **values: int | bytes) -> bytes:
        place = layout.size + execution_layout.detail.size + 64
        known = {"args_len": len(args), "args_offset": place, "args_total": len(args), **values}
        body = execution_layout.detail.pack(**known) + path.ljust(64, b"\xa5") + args.ljust(256, b"\xa5")
        return record(path=body, path_len=len(path), lock=5, type=11, reason=6, op=op)

    return build


def _parent(pid: int, comm: bytes) -> bytes:
    return comm.ljust(16, b"\0") + pid.to_bytes(4, "little")


def test_arguments_and_parents(tracer: Decoder, execution: Record, record: Record) -> None:
    chain = _parent(9, b"sh\0garbage") + _parent(1, b"init")
    whole = execution(b"./loader", b"loader\0-x\0\0", parents=2, parent=chain)
    cut = execution(b"./loader", b"loader\0--long=1", args_total=5000, parents=1, higher=1, parent=chain)
    nothing = execution(b"./loader", args_total=7)
    first, second, third, other = tracer.decode(memoryview(whole + cut + nothing + record(pid=4)))
    assert [event.filename for event in (first, second, third)] == [b"./loader"] * 3
    assert first.execution == Execution((b"loader", b"-x", b""), 0, ((9, b"sh"), (1, b"init")), False)
    assert second.execution == Execution((b"loader", b"--long=1"), 4985, ((9, b"sh"),), True)
    assert third.execution == Execution((), 7, (), False)
    assert (other.pid, other.execution, other.ending) == (4, None, None)
    assert tracer.malformed == 0


@pytest.mark.parametrize(
    ("status", "ending"),
    [
        (0, Ending(0, None, 1.5)),
        (3 << 8, Ending(3, None, 1.5)),
        (9, Ending(None, 9, 1.5)),
        (0x8B, Ending(None, 11, 1.5)),
    ],
)
def test_how_it_ended(tracer: Decoder, execution: Record, status: int, ending: Ending) -> None:
    [event] = tracer.decode(execution(op=2, status=status, duration=1_500_000_000))
    assert (event.ending, event.execution, event.filename, event.reason) == (ending, None, None, "")


def test_impossible_numbers_of_a_detail_read_nothing_else(tracer: Decoder, execution: Record) -> None:
    huge = 2**32 - 1
    strange = execution(b"x", b"secret", args_len=huge, args_offset=huge, args_total=3, parents=huge)
    [event, after] = tracer.decode(strange + execution(b"y", b"next\0"))
    assert event.execution and (event.execution.args, event.execution.cut) == ((), 3)
    assert len(event.execution.parents) == 2
    assert after.execution and after.execution.args == (b"next",)


def test_a_record_too_short_for_its_detail_is_counted(tracer: Decoder, record: Record) -> None:
    assert tracer.decode(record(lock=5, type=11, reason=6, path=b"./loader", room=40)) == []
    assert tracer.malformed == 1


def test_guard_is_named_by_its_sysctl(decoder: Decoder, record: Record) -> None:
    [event] = decoder.decode(record(lock=0, type=13, reason=21, retval=-1))
    assert (event.bpfprog, event.event) == ("guard", "cgroup_sysctl")
    assert (event.operation, event.reason, event.denied) == ("kernel.ftrace_enabled", "denied (guard)", True)


def test_numbers_of_another_version_are_told_as_such(decoder: Decoder, record: Record) -> None:
    [denied, allowed] = decoder.decode(
        record(lock=99, type=98, op=97, reason=96, retval=-1) + record(lock=99, type=98, op=97, reason=96, retval=0)
    )
    assert (denied.bpfprog, denied.event, denied.op) == ("unknown(99)", "unknown(98)", "unknown(97)")
    assert denied.reason == "unknown(96)"
    assert denied.denied and not allowed.denied


@pytest.mark.parametrize("size", [0, 1, 8, 2**32 - 1])
def test_an_impossible_size_ends_the_batch_and_is_counted(decoder: Decoder, record: Record, size: int) -> None:
    events = decoder.decode(record(pid=1) + record(pid=2, size=size) + record(pid=3))
    assert [event.pid for event in events] == [1]
    assert decoder.malformed == 1


def test_a_path_length_beyond_the_record_is_clamped(decoder: Decoder, record: Record) -> None:
    first = record(pid=1, path=b"/bin/ls", room=256, path_len=100000)
    events = decoder.decode(first + record(pid=2))
    assert [event.pid for event in events] == [1, 2]
    assert (
        events[0].filename is not None and events[0].filename.startswith(b"/bin/ls") and len(events[0].filename) == 256
    )


def test_random_bytes_never_raise(decoder: Decoder, record: Record) -> None:
    chance = random.Random(1)
    for _ in range(300):
        data = bytearray(record(path=b"/x", room=16) * 3)
        for _ in range(chance.randrange(1, 40)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        decoder.decode(bytes(data[: chance.randrange(len(data))]))


def test_a_layout_without_a_needed_field_is_refused(layout: StructLayout, vocabulary: Vocabulary) -> None:
    fields = tuple(field for field in layout.fields if field.name != "repeats")
    with pytest.raises(BpflockError, match="has no repeats"):
        Decoder(replace(layout, fields=fields), vocabulary)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("allow_privileged", "allow (privileged)"),
        ("allow_cgroup", "allow (cgroup)"),
        ("allow_bpflock", "allow (bpflock)"),
        ("baseline", "baseline"),
        ("baseline_allowed", "baseline (allowed)"),
        ("traced", ""),
        ("denied_baseline", "denied (baseline)"),
        ("denied_cgroup_restricted", "denied (cgroup restricted)"),
        ("denied_guard", "denied (guard)"),
    ],
)
def test_reasons(name: str, text: str) -> None:
    assert reason_text(name) == text


def test_vocabulary_of_the_compiled_objects() -> None:
    kind = Vocabulary.load({"kmodlock": {0: "load_module"}}).kind(2, 3, 0, 18, -1)
    assert (kind.bpfprog, kind.event, kind.operation) == ("kmodlock", "lsm_kernel_read_file", "loading module")
    assert (kind.reason, kind.denied) == ("denied (blocked)", True)


def test_the_file_and_the_path_that_was_called(layout: StructLayout, vocabulary: Vocabulary, record: Record) -> None:
    """Two names, and what the kernel calls a file that lies in memory."""
    operations = {"filelesslock": {0: "memfd", 1: "shm"}}
    decoder = Decoder(layout, replace(vocabulary, locks={3: "filelesslock"}, operations=operations))

    def names(op: int, path: bytes) -> tuple[bytes | None, bytes | None]:
        [event] = decoder.decode(record(lock=3, type=1, reason=16, op=op, path=path, room=256))
        return event.filename, event.called

    assert names(0, b"/memfd:a (deleted) (deleted)\0/proc/self/fd/3") == (b"memfd:a (deleted)", b"/proc/self/fd/3")
    assert names(0, b"/SYSV00000000 (deleted)\0x") == (b"SYSV00000000", b"x")
    assert names(0, b"memfd:mapped") == (b"memfd:mapped", None)
    assert names(1, b"/dev/shm/a (deleted)\0./a") == (b"/dev/shm/a (deleted)", b"./a")
    assert names(1, b"/dev/shm/a") == (b"/dev/shm/a", None)
