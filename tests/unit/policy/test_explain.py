# SPDX-License-Identifier: Apache-2.0
"""Explanations of events, which are text that a process has a part in."""

from pathlib import Path

import pytest

from bpflock.errors import UsageError
from bpflock.policy.bpfbox.load import parse
from bpflock.policy.explain import explain, parse_event
from bpflock.policy.model import PolicySet

_POLICY = PolicySet(
    parse(
        """#![profile "/usr/bin/x"]
fs("/etc/passwd", read)
#[func "check"] fs("/etc/shadow", read)
fs("/tmp/**", any, own)
#[audit] fs("/etc/passwd", read)
#![profile "/usr/bin/t"]
#[taint] fs("/in/*", read)
""",
        "p.bpfbox",
    )
)


def event(operation: str, path: str, reason: str = "denied (policy)", profile: str = "/usr/bin/x") -> str:
    return (
        f'time="2026-01-01T00:00:00+01:00" level=info msg="event=lsm_file_open operation={operation} tgid=7 pid=7 '
        f'ppid=1 uid=0 cgroupid=1 comm=x pcomm=sh filename={path} profile={profile} retval=-1 reason={reason}" '
        "bpfprog=policy subsys=bpf"
    )


def test_both_forms_of_an_event() -> None:
    keys = parse_event(event("read", "/etc/a%20b"))
    assert (keys["filename"], keys["reason"], keys["bpfprog"]) == ("/etc/a%20b", "denied (policy)", "policy")
    assert parse_event('{"event":"lsm_file_open","pid":7,"reason":"denied (policy)"}')["pid"] == "7"
    for bad in ("", "{", "[]", "hello", "{}"):
        with pytest.raises(UsageError):
            parse_event(bad)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (event("write", "/etc/passwd"), ["no rule allowed it", "it lacks write", 'fs("/etc/passwd", write)']),
        (event("read", "/etc/shadow"), ["p.bpfbox:3:17", "only inside check()", 'fs("/etc/shadow", read)']),
        (event("read", "/tmp/f"), ["only for files that the program created", 'fs("/tmp/f", read)']),
        (
            event("read|write", "/srv/a%20%22b%2A"),
            ["read|write", 'fs("/srv/a \\"b\\*", read|write)', "replace"],
        ),
        (event("read", "/etc/passwd"), ["this policy allows it: p.bpfbox:2:1"]),
        (event("read", "/etc/passwd", "audit (policy)"), ["audit (policy)", "by: p.bpfbox:5:10"]),
        (event("read", "/in/a", "taint (policy)", "/usr/bin/t"), ["by: p.bpfbox:7:10"]),
        (event("exec", "/bin/sh"), ["run it under this profile"]),
    ],
)
def test_explanations(line: str, expected: list[str]) -> None:
    text = explain(parse_event(line), _POLICY)
    assert "x (pid 7) wanted: " in text
    for part in expected:
        assert part in text


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            "operation=connect kind=net family=inet type=stream protocol=tcp address=10.0.0.1 port=443",
            ["net inet stream connect 10.0.0.1:443", 'net(inet, stream, connect, to="10.0.0.1/32", port=443)'],
        ),
        (
            "operation=send kind=net family=inet6 type=dgram protocol=udp address=::1 port=53",
            ["[::1]:53", 'would allow it: net(inet6, dgram, send, to="::1/128", port=53)', "with any data"],
        ),
        (
            "operation=create kind=net family=netlink type=raw protocol=15",
            ["net(netlink, raw, create)", "every socket"],
        ),
        (
            "operation=sigterm kind=signal peer=9 who=child filename=/a",
            ["signal(child, sigterm)", "near: p.bpfbox:3:1"],
        ),
        ("operation=check kind=signal peer=9 filename=/a%20b", ['signal("/a b", check)', "(process 9)"]),
        ("operation=limits kind=signal peer=9 filename=/a", ['signal("/a", limits)', "do it at any time"]),
        ("operation=40 kind=signal peer=9", ["signal(any, 40)"]),
        ("operation=attach kind=ptrace peer=9 filename=/x", ['ptrace("/x", attach)', "act as it"]),
        ("operation=traced kind=ptrace peer=9 who=parent", ["ptrace(parent, traced)"]),
        ("operation=write kind=proc", ["would allow it: proc(any, write)"]),
        (
            "operation=read kind=proc peer=9 who=self filename=/proc/9/maps",
            ["proc(self, read)", 'fs("/proc/9/maps", read)'],
        ),
        ("operation=sys_admin kind=capability", ["capability(sys_admin)"]),
        ("operation=mount kind=operation", ["only inside setup()", "operation(mount)"]),
        ("operation=bpf kind=operation", ["this policy allows it: p.bpfbox:5:1"]),
        ("operation=a kind=net family=b", ["decided: denied (policy)"]),
    ],
)
def test_anything_but_files(keys: str, expected: list[str]) -> None:
    policy = PolicySet(
        parse(
            """#![profile "/usr/bin/x"]
#[func "setup"] operation(mount)
signal(child, check)
net(unix, any)
operation(bpf)
""",
            "p.bpfbox",
        )
    )
    line = f'msg="event=lsm_x {keys} pid=7 comm=x profile=/usr/bin/x retval=-1 reason=denied (policy)" bpfprog=policy'
    text = explain(parse_event(line), policy)
    for part in expected:
        assert part in text, text


def test_a_rename_that_gives_rights() -> None:
    text = explain(parse_event(event("link", "/etc/passwd").replace("lsm_file_open", "lsm_path_rename")), _POLICY)
    assert 'would allow it: fs("/etc/passwd", link)' in text
    assert "why: a rename takes link on both names" in text
    text = explain(parse_event(event("rm", "/etc/passwd").replace("lsm_file_open", "lsm_path_rename")), _POLICY)
    assert "why:" not in text


@pytest.mark.parametrize(
    ("operation", "path", "near"),
    [
        ("read|write", "/etc/passwd", "it lacks write"),
        ("getattr|write", "/etc/passwd", "it lacks write"),
        ("read|exec", "/etc/shadow", "it lacks exec"),
    ],
)
def test_a_rule_for_a_part_of_the_access_does_not_allow_it(operation: str, path: str, near: str) -> None:
    text = explain(parse_event(event(operation, path)), _POLICY)
    assert "this policy allows it" not in text
    assert "no rule allowed it" in text
    assert near in text


def test_only_the_rules_that_are_about_the_access_are_named() -> None:
    policy = PolicySet(
        parse(
            '#![profile "/usr/bin/x"]\n#[audit] fs("/a", read)\n#[audit] fs("/a", write)\nfs("/a", write)\n', "q.bpfbox"
        )
    )
    text = explain(parse_event(event("read", "/a", "audit (policy)")), policy)
    assert [line for line in text.splitlines() if line.startswith("by: ")] == [
        'by: q.bpfbox:2:10: #[audit] fs("/a", read)'
    ]


def test_consequences_are_those_of_the_right() -> None:
    """Adding to a file is not replacing it."""
    text = explain(parse_event(event("append", "/srv/log")), _POLICY)
    assert "add to it" in text and "replace its content" not in text
    assert "replace its content" in explain(parse_event(event("write", "/srv/log")), _POLICY)
    assert "add to it" not in explain(parse_event(event("read", "/srv/log")), _POLICY)


def test_a_part_of_the_access_that_the_rule_has_is_allowed() -> None:
    """What a rule gives includes looking at the file."""
    assert "this policy allows it: p.bpfbox:2:1" in explain(parse_event(event("read|getattr", "/etc/passwd")), _POLICY)


def test_the_suggestion_allows_it() -> None:
    text = explain(parse_event(event("read|append", "/srv/[a]{b}%22%5C")), _POLICY)
    (line,) = [line for line in text.splitlines() if line.startswith("would allow it: ")]
    again = PolicySet(parse('#![profile "/usr/bin/x"]\n' + line.removeprefix("would allow it: ")))
    assert "this policy allows it" in explain(parse_event(event("read|append", "/srv/[a]{b}%22%5C")), again)


def test_other_names_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    assert f"other names, which this rule does not allow: {tmp_path}/b" in explain(
        parse_event(event("read", f"{tmp_path}/a")), _POLICY
    )


def test_events_of_others_are_refused() -> None:
    with pytest.raises(UsageError, match="but of kimglock"):
        explain({"event": "lsm_locked_down", "bpfprog": "kimglock"}, _POLICY)
    with pytest.raises(UsageError, match="has no profile /usr/bin/y"):
        explain(parse_event(event("read", "/a", profile="/usr/bin/y")), _POLICY)
