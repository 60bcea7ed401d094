# SPDX-License-Identifier: Apache-2.0
"""Accesses as words."""

import ipaddress

import pytest

from bpflock.errors import UsageError
from bpflock.policy.bpfbox.access import parse_access
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
from bpflock.policy.model import FileAccess, NetAccess, Operation, PtraceAccess, Who
from bpflock.policy.rename import RenameRequest

_CHILD = Peer(b"", frozenset({Who.CHILD}))


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("fs /etc/passwd read", FileRequest(b"/etc/passwd", FileAccess.READ)),
        ("fs /a write|create own", FileRequest(b"/a", FileAccess.WRITE | FileAccess.CREATE, own=True)),
        ("rename /a /b", RenameRequest(b"/a", b"/b")),
        ("rename /a /b own", RenameRequest(b"/a", b"/b", own=True)),
        ("rename /a /b directory", RenameRequest(b"/a", b"/b", directory=True)),
        ("proc /bin/x read", ProcRequest(Peer(b"/bin/x"), FileAccess.READ)),
        ("signal child sigterm", SignalRequest(_CHILD, 15)),
        ("signal child kill", SignalRequest(_CHILD, 9)),
        ("signal child check", SignalRequest(_CHILD, 0)),
        ("signal child priority", SignalRequest(_CHILD, 66)),
        ("ptrace child attach", PtraceRequest(_CHILD, PtraceAccess.ATTACH)),
        ("capability cap_setuid", CapabilityRequest(7)),
        ("operation mount", OperationRequest(Operation.MOUNT)),
        ("net unix stream create", NetRequest(NetAccess.CREATE, 1, 1, 0)),
        (
            "net inet6 stream tcp connect [2001:db8::1]:443",
            NetRequest(NetAccess.CONNECT, 10, 1, 6, ipaddress.ip_address("2001:db8::1"), 443),
        ),
    ],
)
def test_accesses(text: str, request_: Request | RenameRequest) -> None:
    assert parse_access(text) == request_


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "no kind of access", "fs"),
        ("fss /a read", "no kind of access is called 'fss'", "'fs'"),
        ("fs /a", "not the words", "fs PATH ACCESS"),
        ("fs a read", "not the words", "fs PATH ACCESS"),
        ("rename /a", "not the words", "rename OLD NEW"),
        ("rename /a /b c", "not the words", "rename OLD NEW"),
        ("fs /a raed", "no access is called 'raed'", "'read'"),
        ("signal childs 9", "is no process", "self"),
        ("signal child 65", "no signal has the number 65", "1 to 64"),
        ("signal child sigkil", "no signal", "'sigkill'"),
        ("net inet stream connect 10.0.0.1", "no address with a port", "10.0.0.1:443"),
        ("net inet stream connect x:1", "is no address", "10.0.0.1:443"),
        ("net inte stream connect", "no address family", "'inet'"),
        ("capability setuidd", "no capability", "'setuid'"),
        ("operation", "not the words", "operation NAME"),
    ],
)
def test_no_accesses(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_access(text)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")
