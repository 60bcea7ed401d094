# SPDX-License-Identifier: Apache-2.0
"""The tables of a policy set, read step by step as bpf/policy.h says, without a look at the policies.

Tables that lead out of themselves raise Damaged.
"""

import ipaddress
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bpflock.policy import automaton, tables
from bpflock.policy.evaluate import (
    Access,
    CapabilityRequest,
    Decision,
    FileRequest,
    NetRequest,
    OperationRequest,
    Peer,
    ProcRequest,
    PtraceRequest,
    Reason,
    Request,
    SignalRequest,
)
from bpflock.policy.model import FileAccess, Who
from bpflock.policy.rename import CONTENT, RenameRequest
from bpflock.policy.tables import Kind, Tables

_WORD = struct.Struct("<I")


class Damaged(ValueError):
    """Nothing that the compiler writes."""


def _read(layout: struct.Struct, table: bytes, offset: int) -> tuple[Any, ...]:
    if not 0 <= offset <= len(table) - layout.size:
        raise Damaged(f"byte {offset} of a table of {len(table)}")
    return layout.unpack_from(table, offset)


@dataclass(frozen=True)
class Verdict:
    """`allow`, `audit`, `taint`: which bits of the access the rules allow, audit, and taint on."""

    allow: int
    audit: int
    taint: int


@dataclass(frozen=True)
class Interpreter:
    tables: Tables

    def _word(self, cell: int, index: int = 0) -> int:
        offset = cell * tables.CELL.size + index * _WORD.size
        value: int = _read(_WORD, self.tables.rights, offset)[0]
        return value

    @property
    def header(self) -> tuple[int, ...]:
        return _read(tables.HEADER, self.tables.rights, 0)

    def label(self, path: bytes) -> int:
        try:
            return automaton.run(self.tables.automaton, path)
        except struct.error as error:
            raise Damaged(str(error)) from None

    def profile(self, number: int) -> tuple[int, ...]:
        """flags, used, first, count"""
        return _read(tables.PROFILE, self.tables.rights, (self.header[1] + number) * tables.CELL.size)

    def profile_of(self, executable: bytes) -> int:
        return self._word(self.header[2], self.label(executable))

    def rights(self, row: int, label: int) -> tuple[int, ...]:
        """allow, audit, taint, contexts"""
        _, _, _, pages, per_row, _, labels, rows = self.header
        if row >= rows or label >= labels:
            raise Damaged(f"row {row} of {rows}, label {label} of {labels}")
        page = self._word(pages, row * per_row + label // tables.PAGE_CELLS)
        return _read(tables.RIGHTS, self.tables.rights, (page + label % tables.PAGE_CELLS) * tables.CELL.size)

    def file(self, profile: int, path: bytes, functions: frozenset[int] = frozenset()) -> Verdict:
        """All rights of a profile on a path, and the flags of exec in `taint`."""
        allow, audit, taint, contexts = self.rights(profile, self.label(path))
        first = self.header[5] + (contexts & 0xFFFFFF)
        for index in range(first, first + (contexts >> 24)):
            one, two, more, also = _read(tables.CONTEXT, self.tables.rights, index * tables.CELL.size)
            if functions.issuperset({one, two} - {0}):
                allow |= more
                audit |= also
        flags = tables.EXEC_TRANSITION | tables.EXEC_UNTAINT
        return Verdict(allow, audit & ~flags, taint | audit & flags)

    def gained(self, profile: int, request: RenameRequest, own_executable: bool) -> int:
        """The rights on content that a file has by its new name only; EXEC also for one that leads elsewhere."""
        exec_changes = tables.EXEC_TRANSITION | tables.EXEC_UNTAINT
        allowed, old_audit, old_taint, old_contexts = self.rights(profile, self.label(request.old))
        allows, audit, taint, contexts = self.rights(profile, self.label(request.new))
        if contexts != old_contexts:
            first = self.header[5] + (contexts & 0xFFFFFF)
            for index in range(first, first + (contexts >> 24)):
                _, _, more, also = tables.CONTEXT.unpack_from(self.tables.rights, index * tables.CELL.size)
                allows |= more
                audit |= also
        if request.own:
            allowed |= allowed >> tables.FILE_OWN_SHIFT
            allows |= allows >> tables.FILE_OWN_SHIFT
        if own_executable:
            allowed |= FileAccess.READ | FileAccess.EXEC | FileAccess.GETATTR
        found = allows & ~allowed & CONTENT & 0xFFFF
        before, changes = (old_audit | old_taint) & exec_changes, (audit | taint) & exec_changes
        leads = changes & tables.EXEC_TRANSITION and self.profile_of(request.old) != self.profile_of(request.new)
        return found | (FileAccess.EXEC if changes & ~before or leads else 0)

    def decide(self, profile: int, request: Request, functions: frozenset[int] = frozenset()) -> Verdict:
        """What of a request is allowed, audited, taints."""
        asked = _asked(request)
        if isinstance(request, FileRequest):
            found = self.file(profile, request.path, functions)
            allow = found.allow | (found.allow >> tables.FILE_OWN_SHIFT if request.own else 0)
            return Verdict(asked & allow, asked & found.audit, asked & found.taint)
        masks = {tables.EFFECT_ALLOW: 0, tables.EFFECT_AUDIT: 0, tables.EFFECT_TAINT: 0}
        for effect, matched in self._objects(profile, request, functions):
            for bit in masks:
                masks[bit] |= matched if effect & bit else 0
        return Verdict(*(asked & mask for mask in masks.values()))

    def decision(self, profile: int, access: Access, functions: frozenset[int] = frozenset()) -> Decision:
        """The decision on an access of a subject under a profile; without the rule."""
        subject, request = access.subject, access.request
        flags = self.profile(profile)[0]
        found = self.decide(profile, request, functions)
        if flags & tables.PROFILE_TAINTS and not subject.tainted:
            taints = bool(found.taint)
            return Decision(True, Reason.TAINTING if taints else Reason.UNTAINTED, taints=taints)
        missing = _asked(request) & ~found.allow
        if missing:
            complains = bool(flags & tables.PROFILE_COMPLAINS)
            return Decision(complains, Reason.COMPLAINED if complains else Reason.DENIED, missing=missing)
        return Decision(True, Reason.ALLOWED, audited=bool(found.audit))

    def _objects(self, profile: int, request: Request, functions: frozenset[int]) -> Iterator[tuple[int, int]]:
        _, _, first, count = self.profile(profile)
        for index in range(first, first + count):
            found = _read(tables.OBJECT, self.tables.objects, index * tables.OBJECT.size)
            kind, who, effect, prefix, family, type_, protocol, port_first, port_last, mask = found[:10]
            one, two, target, addressed, extra, _, address = found[10:]
            if kind != _KINDS[type(request)] or not functions.issuperset({one, two} - {0}):
                continue
            match request:
                case NetRequest():
                    if family not in (tables.ANY_FAMILY, request.family) or type_ not in (0, request.type):
                        continue
                    if protocol not in (tables.ANY_PROTOCOL, request.protocol):
                        continue
                    if addressed and (request.address is None or request.port is None):
                        continue
                    if addressed and not port_first <= (request.port or 0) <= port_last:
                        continue
                    if prefix and not _in_network(request.address, address, prefix):
                        continue
                    yield effect, mask
                case SignalRequest(peer=peer, signal=signal):
                    beside = tables.SIGNAL_EXTRA.get(signal)
                    named = extra & beside if beside else mask >> (signal - 1) & 1
                    if named and self._is_target(who, target, peer):
                        yield effect, 1
                case PtraceRequest(peer=peer) | ProcRequest(peer=peer):
                    if self._is_target(who, target, peer):
                        yield effect, mask
                case CapabilityRequest(capability=capability):
                    yield effect, mask >> capability & 1
                case OperationRequest(operation=operation):
                    yield effect, int(bool(mask & operation))

    def _is_target(self, who: int, row: int, peer: Peer) -> bool:
        if who == tables.WHO[Who.EXE]:
            return bool(self.rights(row, self.label(peer.executable))[0])
        return who == tables.WHO[Who.ANY] or who in {tables.WHO[relation] for relation in peer.relations}


_KINDS = {
    NetRequest: Kind.NET,
    SignalRequest: Kind.SIGNAL,
    PtraceRequest: Kind.PTRACE,
    ProcRequest: Kind.PROC,
    CapabilityRequest: Kind.CAPABILITY,
    OperationRequest: Kind.OPERATION,
}


def _asked(request: Request) -> int:
    if isinstance(request, FileRequest | ProcRequest | NetRequest | PtraceRequest):
        return int(request.access)
    return 1


def _in_network(address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, network: bytes, prefix: int) -> bool:
    if address is None:
        return False
    size = len(address.packed) * 8
    if prefix > size:
        return False
    both = int.from_bytes(address.packed) ^ int.from_bytes(network[: len(address.packed)])
    return both >> (size - prefix) == 0
