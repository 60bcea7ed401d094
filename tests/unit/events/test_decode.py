# SPDX-License-Identifier: Apache-2.0
import random
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from bpflock.errors import BpflockError
from bpflock.events.decode import Decoder, Vocabulary, reason_text
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
