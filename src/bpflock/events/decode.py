# SPDX-License-Identifier: Apache-2.0
"""From the bytes of the ring buffer to events, in bulk."""

import operator
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bpflock.errors import BpflockError
from bpflock.events.model import Ending, Event, Execution
from bpflock.kernel.btf import ObjectTypes, StructLayout
from bpflock.locks import LOCKS

GUARD = "guard"
GUARD_OPERATION = "ftrace_enabled"
GUARD_TEXT = "kernel.ftrace_enabled"
POLICY = "policy"
EXECSNOOP = "execsnoop"
EXIT = "exit"

# Of struct bpflock_event (bpf/bpflock.h), in the order in which decode() unpacks them.
# fmt: off
_FIELDS = (
    "size", "path_len", "time", "cgroup", "tgid", "pid", "ppid", "uid",
    "lock", "type", "op", "reason", "retval", "repeats", "comm", "pcomm",
)
# fmt: on


@dataclass(frozen=True, slots=True)
class _Kind:
    """What the numbers of a record mean."""

    bpfprog: str
    event: str
    op: str
    operation: str
    reason: str
    denied: bool


@dataclass(frozen=True)
class Vocabulary:
    """The names of the numbers in records. A number that has none, from another version, is `unknown(N)`."""

    locks: Mapping[int, str]
    types: Mapping[int, str]
    reasons: Mapping[int, str]
    operations: Mapping[str, Mapping[int, str]]  # lock -> number -> canonical name

    @classmethod
    def load(cls, operations: Mapping[str, Mapping[int, str]]) -> "Vocabulary":
        """From the BTF of the compiled objects, and the numbers that each lock's operations have."""
        types = ObjectTypes.load()
        return cls(
            locks=_names(types.enum("bpflock_lock"), "LOCK_"),
            types=_names(types.enum("bpflock_event_type"), "EVENT_"),
            reasons=_names(types.enum("bpflock_reason"), "REASON_"),
            operations=operations,
        )

    def kind(self, lock: int, event_type: int, op: int, reason: int, retval: int) -> _Kind:
        bpfprog = self.locks.get(lock, f"unknown({lock})")
        name = self.operations.get(bpfprog, {}).get(op, f"unknown({op})")
        text = operation_text(bpfprog, name)
        if bpfprog == GUARD:
            name, text = GUARD_OPERATION, GUARD_TEXT
        why = self.reasons.get(reason)
        return _Kind(
            bpfprog=bpfprog,
            event=self.types.get(event_type, f"unknown({event_type})"),
            op=name,
            operation=text,
            reason=f"unknown({reason})" if why is None else reason_text(why),
            denied=retval < 0 if why is None else why.startswith("denied"),
        )


def _names(enumerators: Mapping[str, int], prefix: str) -> dict[int, str]:
    return {number: name.removeprefix(prefix).lower() for name, number in enumerators.items()}


def operation_text(lock: str, name: str) -> str:
    """What events show as the operation: for most, the kernel's own words."""
    operation = LOCKS[lock].names().get(name) if lock in LOCKS else None
    return operation.text or name if operation else name


def reason_text(name: str) -> str:
    """`denied_cgroup_baseline` -> `denied (cgroup baseline)`, `baseline` -> `baseline`, `traced` -> nothing."""
    if name == "traced":
        return ""
    head, _, rest = name.partition("_")
    return f"{head} ({rest.replace('_', ' ')})" if rest else head


def boot_offset() -> float:
    """Seconds from CLOCK_BOOTTIME, in which the kernel stamps records, to the time of day."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


class Decoder:
    """Decodes whole records. `malformed` counts the batches whose rest could not be read; never expected.

    `profiles` gives the executables of the policy engine's profiles by number, as many as are known.
    """

    def __init__(
        self,
        layout: StructLayout,
        vocabulary: Vocabulary,
        detail: StructLayout | None = None,
        execution: "ExecutionLayout | None" = None,
        profiles: Callable[[], Mapping[int, str]] = dict,
    ) -> None:
        self.malformed = 0
        self._profiles = profiles
        self._detail = detail
        self._execution = execution
        numbers = {name: number for number, name in vocabulary.locks.items()}
        self._policy = numbers.get(POLICY, -1) if detail else -1
        self._execsnoop = numbers.get(EXECSNOOP, -1) if execution else -1
        self._compiled = layout.compile()
        self._pick = _picker(layout)
        self._vocabulary = vocabulary
        self._kinds: dict[tuple[int, int, int, int], _Kind] = {}

    @classmethod
    def load(
        cls, operations: Mapping[str, Mapping[int, str]], profiles: Callable[[], Mapping[int, str]] = dict
    ) -> "Decoder":
        """For the records of the installed BPF objects."""
        detail = ObjectTypes.load(POLICY).struct("policy_detail")
        event = ObjectTypes.load().struct("bpflock_event")
        return cls(event, Vocabulary.load(operations), detail, ExecutionLayout.load(), profiles)

    def decode(self, data: memoryview | bytes) -> list[Event]:
        """Events of whole records back to back; what follows a record that cannot be is dropped, and counted."""
        unpack, pick, kinds = self._compiled.unpack_from, self._pick, self._kinds
        header = self._compiled.size
        end = len(data)
        # Measured again for each batch: the time of day can be set.
        start = boot_offset()
        profiles: Mapping[int, str] | None = None
        events: list[Event] = []
        append = events.append
        offset = 0
        while offset + header <= end:
            # fmt: off
            (size, path_length, stamp, cgroup, tgid, pid, ppid, uid,
             lock, event_type, op, reason, retval, repeats, comm, pcomm) = pick(unpack(data, offset))
            # fmt: on
            following = offset + size
            if size < header or following > end:
                break
            kind = kinds.get((lock, event_type, op, reason))
            if kind is None:
                kind = self._kind(lock, event_type, op, reason, retval)
            path = called = policy = execution = ending = None
            start_of_path = offset + header
            if lock == self._execsnoop:
                assert self._execution is not None
                start_of_path += self._execution.detail.size
                if start_of_path > following:
                    break
                execution, ending = self._execution.read(data[offset:following], header, exited=kind.op == EXIT)
            elif lock == self._policy:
                assert self._detail is not None
                start_of_path += self._detail.size
                if start_of_path > following:
                    break
                profiles = self._profiles() if profiles is None else profiles
                # Here, because it takes its time to import, and most machines have no policies.
                from bpflock.events.policies import read_detail

                policy = read_detail(self._detail, data[offset + header : start_of_path], profiles)
                kind = replace(kind, operation="|".join(policy.accesses), op=policy.accesses[0])
            if path_length:
                path = bytes(data[start_of_path : min(start_of_path + path_length, following)])
                if b"\0" in path:
                    path, _, called = path.partition(b"\0")
                if kind.op == "memfd":
                    path = _memory_name(path)
            # fmt: off
            append(Event(
                stamp * 1e-9 + start, kind.bpfprog, kind.event, kind.op, kind.operation, kind.reason, kind.denied,
                tgid, pid, ppid, uid, cgroup, comm.partition(b"\0")[0], pcomm.partition(b"\0")[0],
                path, retval, repeats, policy, execution, ending, called,
            ))
            # fmt: on
            offset = following
        if offset != end:
            self.malformed += 1
        return events

    def _kind(self, lock: int, event_type: int, op: int, reason: int, retval: int) -> _Kind:
        kind = self._vocabulary.kind(lock, event_type, op, reason, retval)
        # Numbers that nobody knows could come in any quantity, and their denial depends on retval.
        if "unknown(" not in kind.bpfprog + kind.event + kind.op + kind.reason:
            self._kinds[lock, event_type, op, reason] = kind
        return kind


@dataclass(frozen=True)
class ExecutionLayout:
    """What follows the header in records of execsnoop, struct execsnoop_detail, and what its array consists of."""

    detail: StructLayout
    parent: StructLayout

    @classmethod
    def load(cls) -> "ExecutionLayout":
        types = ObjectTypes.load(EXECSNOOP)
        return cls(types.struct("execsnoop_detail"), types.struct("execsnoop_parent"))

    def read(self, record: memoryview | bytes, header: int, *, exited: bool) -> tuple[Execution | None, Ending | None]:
        """One of the two, from a whole record. Whatever its numbers are, nothing behind the record is read."""
        found = self.detail.unpack(bytes(record[header : header + self.detail.size]))
        if exited:
            status = found["status"]
            signal = status & 0x7F
            return None, Ending(None if signal else status >> 8 & 0xFF, signal or None, found["duration"] * 1e-9)
        told, total, place = found["args_len"], found["args_total"], found["args_offset"]
        text = bytes(record[place : place + told])
        args = tuple(text.removesuffix(b"\0").split(b"\0")) if text else ()
        parents = [self.parent.unpack(each) for each in _pieces(found["parent"], self.parent.size)][: found["parents"]]
        chain = tuple((each["pid"], each["comm"].partition(b"\0")[0]) for each in parents)
        return Execution(args, max(total - len(text), 0), chain, bool(found["higher"])), None


def _memory_name(path: bytes) -> bytes:
    """`memfd:NAME` of the path that the kernel makes up for a file in memory: `/memfd:NAME (deleted)`."""
    return path.removeprefix(b"/").removesuffix(b" (deleted)")


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data) - size + 1, size)]


def _picker(layout: StructLayout) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    places = {field.name: place for place, field in enumerate(layout.fields)}
    missing = [name for name in _FIELDS if name not in places]
    if missing:
        raise BpflockError(
            f"struct {layout.name} of the BPF objects has no {', '.join(missing)}", hint="rebuild bpflock"
        )
    return operator.itemgetter(*(places[name] for name in _FIELDS))
