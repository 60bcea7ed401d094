# SPDX-License-Identifier: Apache-2.0
"""What records of the policy engine tell beside the event: which access, to what, and who decided."""

import enum
import ipaddress
import socket
from collections.abc import Iterator, Mapping
from typing import Any

from bpflock.events.model import PolicyDetail
from bpflock.kernel.btf import StructLayout
from bpflock.policy.bpfbox import names
from bpflock.policy.model import FileAccess, NetAccess, Operation, PtraceAccess
from bpflock.policy.tables import WHO, Kind

_MASKS: dict[int, type[enum.IntFlag]] = {
    0: FileAccess,
    Kind.PROC: FileAccess,
    Kind.NET: NetAccess,
    Kind.PTRACE: PtraceAccess,
    Kind.OPERATION: Operation,
}
_NUMBERS = {
    Kind.SIGNAL: names.SIGNAL_NAMES,
    Kind.CAPABILITY: {number: name for name, number in names.CAPABILITIES.items()},
}
_INTERNET = {int(socket.AF_INET): 4, int(socket.AF_INET6): 16}  # bytes of an address
_SHARED_MEMORY = 1 << 16  # OPERATION_SHARED_MEMORY: of no rule
_ADDRESSED = NetAccess.CONNECT | NetAccess.SEND | NetAccess.BIND | NetAccess.LISTEN


def _access_names(access: int, kind: int) -> tuple[str, ...]:
    """Accesses to files, or to what struct policy_detail calls a kind, as policies write them; at least one."""
    if kind in _NUMBERS:
        return (_NUMBERS[Kind(kind)].get(access, str(access)),)
    if kind == Kind.OPERATION and access == _SHARED_MEMORY:
        return ("shared_memory",)
    known = tuple(one.name.lower() for one in _MASKS.get(kind, FileAccess) if one & access and one.name)
    return known or (f"unknown({access})",)


def _about(found: Mapping[str, Any]) -> Iterator[tuple[str, str | int]]:
    """What struct policy_detail tells beside the access, if it was not about a file alone."""
    kind = found["kind"]
    if kind not in Kind.__members__.values():
        return
    yield "kind", Kind(kind).name.lower()
    if kind == Kind.NET:
        family = found["family"]
        yield "family", _name(names.FAMILIES, family)
        yield "type", _name(names.TYPES, found["type"])
        yield "protocol", _name(names.PROTOCOLS, found["protocol"]) if family in _INTERNET else found["protocol"]
        # A raw socket sends to no address: see bpf/policy_objects.bpf.h.
        raw = found["type"] == socket.SOCK_RAW and found["access"] & NetAccess.SEND
        if family in _INTERNET and found["access"] & _ADDRESSED and not raw:
            yield "address", str(ipaddress.ip_address(found["addr"][: _INTERNET[family]]))
            yield "port", found["port"]
    elif kind in (Kind.SIGNAL, Kind.PTRACE, Kind.PROC):
        if found["peer"]:
            yield "peer", found["peer"]
        relations = [who.value for who, number in WHO.items() if number and found["who"] >> number & 1]
        if relations:
            yield "who", "|".join(relations)


def _name(known: Mapping[str, int], number: int) -> str:
    return next((name for name, value in known.items() if value == number), str(number))


def read_detail(layout: StructLayout, data: memoryview | bytes, profiles: Mapping[int, str]) -> PolicyDetail:
    """From struct policy_detail; `profiles`: executables by number."""
    found = layout.unpack(bytes(data))
    number = found["profile"]
    return PolicyDetail(
        generation=found["generation"],
        number=number,
        profile=profiles.get(number, str(number)),
        label=found["label"],
        accesses=_access_names(found["access"], found["kind"]),
        about=tuple(_about(found)),
    )
