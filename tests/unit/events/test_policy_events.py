# SPDX-License-Identifier: Apache-2.0
"""What the policy engine tells of sockets, processes, capabilities: numbers in a record, words in an event."""

import json
from collections.abc import Callable

import pytest

from bpflock.events.decode import Decoder, Vocabulary
from bpflock.events.render import json_line, logfmt, plain
from bpflock.kernel.btf import Field, StructLayout
from bpflock.policy.tables import Kind

_FIELDS = (
    *(("generation", 0, 4), ("profile", 4, 4), ("label", 8, 4), ("access", 12, 4), ("peer", 24, 4)),
    *(("family", 28, 2), ("port", 30, 2), ("kind", 48, 1), ("who", 49, 1), ("type", 50, 2), ("protocol", 52, 4)),
)
_DETAIL = StructLayout(
    "policy_detail",
    56,
    tuple(
        sorted(
            (*(Field(*field, "uint") for field in _FIELDS), Field("addr", 32, 16, "chars")),
            key=lambda field: field.offset,
        )
    ),
)


@pytest.mark.parametrize(
    ("detail", "operation", "about"),
    [
        ({"access": 3}, "read|write", {}),
        ({"access": 1 << 30}, "unknown(1073741824)", {}),
        (
            {"kind": Kind.NET, "access": 16, "family": 2, "type": 1, "protocol": 6, "port": 443, "addr": b"\x0a\0\0\1"},
            "connect",
            {"kind": "net", "family": "inet", "type": "stream", "protocol": "tcp", "address": "10.0.0.1", "port": 443},
        ),
        (
            {"kind": Kind.NET, "access": 48, "family": 10, "type": 2, "protocol": 17, "addr": bytes(15) + b"\1"},
            "connect|send",
            {"kind": "net", "family": "inet6", "type": "dgram", "protocol": "udp", "address": "::1", "port": 0},
        ),
        (
            {"kind": Kind.NET, "access": 1, "family": 16, "type": 3, "protocol": 9},
            "create",
            {"kind": "net", "family": "netlink", "type": "raw", "protocol": 9},
        ),
        (
            {"kind": Kind.NET, "access": 64, "family": 250, "type": 77},
            "recv",
            {"kind": "net", "family": "250", "type": "77", "protocol": 0},
        ),
        (
            {"kind": Kind.SIGNAL, "access": 15, "peer": 7, "who": 0b1001},
            "sigterm",
            {"kind": "signal", "peer": 7, "who": "child"},
        ),
        ({"kind": Kind.SIGNAL, "access": 0, "peer": 7, "who": 1}, "check", {"kind": "signal", "peer": 7}),
        ({"kind": Kind.SIGNAL, "access": 65, "peer": 7, "who": 1}, "limits", {"kind": "signal", "peer": 7}),
        (
            {"kind": Kind.NET, "access": 32, "family": 2, "type": 3, "protocol": 255},
            "send",
            {"kind": "net", "family": "inet", "type": "raw", "protocol": "raw"},
        ),
        ({"kind": Kind.SIGNAL, "access": 29, "who": 1}, "sigio", {"kind": "signal"}),
        (
            {"kind": Kind.PTRACE, "access": 4, "peer": 7, "who": 0b111},
            "traced",
            {"kind": "ptrace", "peer": 7, "who": "self|parent"},
        ),
        ({"kind": Kind.PROC, "access": 1, "peer": 7, "who": 1}, "read", {"kind": "proc", "peer": 7}),
        ({"kind": Kind.CAPABILITY, "access": 21}, "sys_admin", {"kind": "capability"}),
        ({"kind": Kind.CAPABILITY, "access": 63}, "63", {"kind": "capability"}),
        ({"kind": Kind.OPERATION, "access": 1}, "mount", {"kind": "operation"}),
    ],
)
def test_words(
    detail: dict[str, int | bytes],
    operation: str,
    about: dict[str, str | int],
    layout: StructLayout,
    record: Callable[..., bytes],
) -> None:
    vocabulary = Vocabulary({12: "policy"}, {1: "lsm_x"}, {32: "denied_policy"}, {})
    decoder = Decoder(layout, vocabulary, _DETAIL, profiles=lambda: {5: "/usr/bin/x"})
    body = _DETAIL.pack(profile=5, **detail)
    (event,) = decoder.decode(record(lock=12, type=1, reason=32, retval=-1, path=body, path_len=0))
    assert event.policy is not None
    assert (event.operation, dict(event.policy.about)) == (operation, about)
    document = json.loads(json_line(event))
    assert {key: document[key] for key in about} == about
    words = "".join(f" {key}={value}" for key, value in about.items())
    assert f" operation={operation} " in logfmt(event) and f" profile=/usr/bin/x{words} retval=-1" in logfmt(event)
    assert " ".join([*(str(value) for value in about.values()), operation]) in plain(event)
