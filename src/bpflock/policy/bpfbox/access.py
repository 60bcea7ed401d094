# SPDX-License-Identifier: Apache-2.0
"""Accesses as words, for `bpflock policy test`: `fs /etc/passwd read`, `net inet stream connect 10.0.0.1:443`."""

import ipaddress
import os
from collections.abc import Mapping
from typing import TypeVar

from bpflock.errors import UsageError, nearest_right
from bpflock.policy.bpfbox import names
from bpflock.policy.evaluate import (
    CapabilityRequest,
    FileRequest,
    NetRequest,
    OperationRequest,
    Peer,
    ProcRequest,
    PtraceRequest,
    Request,
    SignalRequest,
)
from bpflock.policy.model import LAST_SIGNAL, FileAccess, NetAccess, Operation, PtraceAccess, Who
from bpflock.policy.rename import RenameRequest

_FORMS = {
    "fs": "fs PATH ACCESS [own]",
    "rename": "rename OLD NEW [own|directory]",
    "proc": "proc EXECUTABLE|self|parent|child ACCESS",
    "net": "net FAMILY TYPE [PROTOCOL] ACCESS [ADDRESS:PORT]",
    "signal": "signal EXECUTABLE|self|parent|child SIGNAL",
    "ptrace": "ptrace EXECUTABLE|self|parent|child ACCESS",
    "capability": "capability NAME",
    "operation": "operation NAME",
}
_FILE = {access.name.lower(): access for access in FileAccess if access.name}
_NET = {access.name.lower(): access for access in NetAccess if access.name}
_PTRACE = {access.name.lower(): access for access in PtraceAccess if access.name}
_OPERATION = {access.name.lower(): access for access in Operation if access.name}

_DEFAULT_PROTOCOLS = {"stream": names.PROTOCOLS["tcp"], "dgram": names.PROTOCOLS["udp"], "seqpacket": 132}

_Value = TypeVar("_Value")
_Mask = TypeVar("_Mask", FileAccess, NetAccess, PtraceAccess)


def parse_access(text: str) -> Request | RenameRequest:
    """One access. Accesses of files may be several at once: `read|write`. Raises UsageError."""
    kind, *words = text.split() or [""]
    if kind not in _FORMS:
        raise UsageError(f"access '{text}': no kind of access is called '{kind}'", hint=nearest_right(kind, _FORMS))
    try:
        return _request(kind, words)
    except _WordError as error:
        raise UsageError(f"access '{text}': {error}", hint=error.hint) from None
    except ValueError:
        raise UsageError(f"access '{text}': not the words of one", hint=_FORMS[kind]) from None


class _WordError(Exception):
    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def _known(word: str, known: Mapping[str, _Value], what: str, prefix: str = "") -> _Value:
    name = word.lower()
    found = known.get(name, known.get(prefix + name if prefix == "sig" else name.removeprefix(prefix)))
    if found is None:
        raise _WordError(f"no {what} is called '{word}'", nearest_right(name, known))
    return found


def _mask(word: str, known: Mapping[str, _Mask], none: _Mask) -> _Mask:
    for part in word.split("|"):
        none |= _known(part, known, "access")
    return none


def _peer(word: str) -> Peer:
    if word.startswith("/"):
        return Peer(os.fsencode(word))
    if word not in ("self", "parent", "child"):
        raise _WordError(f"'{word}' is no process", "self, parent, child, or the path of its executable")
    return Peer(b"", frozenset({Who(word)}))


def _request(kind: str, words: list[str]) -> Request | RenameRequest:
    """Raises ValueError if the number of words is wrong."""
    match kind:
        case "fs":
            path, access, *own = words
            if own not in ([], ["own"]) or not path.startswith("/"):
                raise ValueError
            return FileRequest(os.fsencode(path), _mask(access, _FILE, FileAccess(0)), bool(own))
        case "rename":
            old, new, *what = words
            if what not in ([], ["own"], ["directory"]) or not old.startswith("/") or not new.startswith("/"):
                raise ValueError
            return RenameRequest(os.fsencode(old), os.fsencode(new), what == ["own"], what == ["directory"])
        case "proc":
            target, access = words
            return ProcRequest(_peer(target), _mask(access, _FILE, FileAccess(0)))
        case "net":
            return _net(words)
        case "signal":
            target, word = words
            if word.isdigit():
                number = int(word)
            else:
                number = _known(word, names.SIGNALS | names.BESIDE_SIGNALS, "signal", "sig")
            if word.isdigit() and not 1 <= number <= LAST_SIGNAL:
                raise _WordError(f"no signal has the number {word}", "1 to 64; check is kill(pid, 0)")
            return SignalRequest(_peer(target), number)
        case "ptrace":
            target, access = words
            return PtraceRequest(_peer(target), _mask(access, _PTRACE, PtraceAccess(0)))
        case "capability":
            (word,) = words
            return CapabilityRequest(_known(word, names.CAPABILITIES, "capability", "cap_"))
        case _:
            (word,) = words
            return OperationRequest(_known(word, _OPERATION, "operation"))


def _net(words: list[str]) -> NetRequest:
    family, kind, *rest = words
    # What the kernel takes where socket(2) is given none.
    protocol = _DEFAULT_PROTOCOLS.get(kind.lower().removeprefix("sock_"), 0) if "inet" in family.lower() else 0
    if rest and rest[0] in names.PROTOCOLS:
        protocol = names.PROTOCOLS[rest.pop(0)]
    access, *endpoint = rest
    address, port = None, None
    if endpoint:
        (text,) = endpoint
        host, colon, number = text.rpartition(":")
        if not colon or not number.isdigit() or int(number) > 65535:
            raise _WordError(f"'{text}' is no address with a port", "10.0.0.1:443 or [2001:db8::1]:443")
        try:
            address, port = ipaddress.ip_address(host.strip("[]")), int(number)
        except ValueError:
            raise _WordError(f"'{host}' is no address", "10.0.0.1:443 or [2001:db8::1]:443") from None
    return NetRequest(
        _mask(access, _NET, NetAccess(0)),
        _known(family, names.FAMILIES, "address family", "af_"),
        _known(kind, names.TYPES, "type of socket", "sock_"),
        protocol,
        address,
        port,
    )
