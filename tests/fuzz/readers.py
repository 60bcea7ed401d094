# SPDX-License-Identifier: Apache-2.0
"""What reads bytes that could be damaged: the policy engine's state and numbering, its tables, the records of events.

Each either understands them or raises the error that it says it raises.
"""

import functools
import random
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace

from bpflock.confine.engine import State
from bpflock.confine.functions import Probe
from bpflock.events.decode import Decoder
from bpflock.events.render import json_line, logfmt, plain
from bpflock.kernel.btf import ObjectTypes, StructLayout
from bpflock.locks import LOCKS
from bpflock.locks.enforce import operation_names
from bpflock.policy.evaluate import profile_of
from bpflock.policy.model import Function
from bpflock.policy.tables import Kind, Numbering, Tables, compile_policy
from tests.policy.generate import Case, Generator
from tests.policy.interpret import Damaged, Interpreter

Target = Callable[[bytes], None]


def numbering(data: bytes) -> None:
    """Numbers of profiles and functions."""
    try:
        found = Numbering.from_json(data.decode(errors="replace"))
    except ValueError:
        return
    assert Numbering.from_json(found.to_json()) == found


def state(data: bytes) -> None:
    """What is pinned in the kernel."""
    try:
        found = State.from_bytes(data)
    except ValueError:
        return
    content = found.to_bytes()
    assert State.from_bytes(content).to_bytes() == content


def state_text(data: bytes) -> None:
    """The same, with a length that is right, so that more of it is looked at."""
    state(struct.pack("=Q", len(data)) + data)


def events(data: bytes) -> None:
    """Records of the ring buffer, in the layout of the compiled objects."""
    decoder = _decoder()
    before = decoder.malformed
    found = decoder.decode(data)
    assert len(found) * _event_layout().size <= len(data)
    assert decoder.malformed - before <= 1
    for event in found:
        for line in (json_line(event), logfmt(event), plain(event)):
            assert all(char.isprintable() for char in line), ascii(line)


def tables(data: bytes) -> None:
    """Tables of which some bytes are others, read as the kernel reads them."""
    case, good = _case()
    read = Interpreter(_damaged(good, data))
    numbers = {profile.executable: number for number, profile in good.profiles.items()}
    for access in case.accesses:
        assert access.subject.profile is not None
        number = numbers[access.subject.profile.executable]
        try:
            read.profile_of(access.subject.executable)
            read.decision(number, access)
        except Damaged:
            continue


def seeds() -> Mapping[str, list[bytes]]:
    """What is right, to begin with, for each of TARGETS."""
    numbers = Numbering({"/usr/bin/x": 1, "/é": 7}, {Function("f"): 1, Function("g", "libx.so", True): 3})
    right = State(3, numbers, "source", ("lsm/file_open",), (Probe(1, 2, "f", "/x", 4, "5"),), {1: "0a"})
    text = right.to_bytes()
    (length,) = struct.unpack_from("=Q", text)
    return {
        "numbering": [numbers.to_json().encode(), b'{"profiles": {"/x": 1e999}, "functions": []}', b"[" * 3000],
        "state": [text[: 8 + length]],
        "state_text": [text[8 : 8 + length]],
        "events": [b"".join(_records())],
        "tables": [bytes((table, *struct.pack("<I", at), 0xFF)) for table in range(3) for at in (0, 40, 1000)],
    }


TARGETS: Mapping[str, Target] = {
    "numbering": numbering,
    "state": state,
    "state_text": state_text,
    "events": events,
    "tables": tables,
}


def mutated(data: bytes, source: random.Random) -> bytes:
    """With a few bytes that are others, more or less."""
    found = bytearray(data)
    for _ in range(source.randint(1, 8)):
        at = source.randrange(len(found) + 1)
        match source.randrange(5):
            case 0:
                found[at : at + 1] = bytes([source.randrange(256)])
            case 1:
                found[at : at + source.choice((1, 4, 40))] = b""
            case 2:
                found[at:at] = found[at : at + source.choice((1, 8, 200))]
            case 3:
                number = source.choice((0, 1, 0xFF, 0x7FFFFFFF, 0xFFFFFFFF, len(found)))
                found[at : at + 4] = struct.pack("<I", number)
            case _:
                found[at : at + 1] = bytes([found[at] ^ 1 << source.randrange(8)]) if at < len(found) else b"\0"
    return bytes(found)


@functools.cache
def _decoder() -> Decoder:
    return Decoder.load(
        {name: operation_names(lock) for name, lock in LOCKS.items()}, lambda: {1: "/usr/bin/x\x1b[31m"}
    )


@functools.cache
def _event_layout() -> StructLayout:
    return ObjectTypes.load().struct("bpflock_event")


def _records() -> list[bytes]:
    """One of each kind of policy event, and one of a lock."""
    layout, detail = _event_layout(), ObjectTypes.load("policy").struct("policy_detail")
    policy = ObjectTypes.load().enum("bpflock_lock")["LOCK_POLICY"]
    found = []
    for kind in (0, *Kind):
        path = b"/etc/x\n\xff"
        told = detail.pack(profile=1, access=1, kind=kind, family=2, addr=b"\x7f\0\0\1", who=3, peer=1)
        head = layout.pack(
            size=layout.size + detail.size + len(path), path_len=len(path), lock=policy, type=1, reason=1, comm=b"x\x1b"
        )
        found.append(head + told + path)
    found.append(layout.pack(size=layout.size, lock=1, type=1, reason=1))
    return found


@functools.cache
def _case() -> tuple[Case, Tables]:
    (case,) = Generator(1).cases(policies=1, accesses=40)
    numbers = Numbering()
    numbers.extend(case.policy)
    assert profile_of(case.policy, case.accesses[0].subject.executable)
    return case, compile_policy(case.policy, numbers, 1)


def _damaged(good: Tables, data: bytes) -> Tables:
    """`data`: six bytes for each byte that is another: which table, where, and what."""
    parts = [bytearray(good.automaton), bytearray(good.rights), bytearray(good.objects)]
    for start in range(0, len(data) - 5, 6):
        table, at, byte = struct.unpack_from("<BIB", data, start)
        part = parts[table % len(parts)]
        if part:
            part[at % len(part)] = byte
    automaton, rights, objects = map(bytes, parts)
    return replace(good, automaton=automaton, rights=rights, objects=objects)
