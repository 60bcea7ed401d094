# SPDX-License-Identifier: Apache-2.0
"""The language: what each form means, and one clear error for each mistake."""

import ipaddress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bpflock.errors import UsageError
from bpflock.policy.bpfbox.diagnostics import PolicyError
from bpflock.policy.bpfbox.load import load, parse
from bpflock.policy.bpfbox.lower import ABSTRACTIONS
from bpflock.policy.bpfbox.names import FATAL
from bpflock.policy.bpfbox.show import show
from bpflock.policy.model import (
    CapabilityObject,
    Effect,
    FileAccess,
    FileObject,
    Function,
    NetAccess,
    NetObject,
    Object,
    Operation,
    OperationObject,
    Origin,
    PolicySet,
    ProcObject,
    Profile,
    PtraceAccess,
    PtraceObject,
    Rule,
    SignalObject,
    Target,
    Who,
)
from tests.unit.policy.bpfbox.bad import BAD, P

A = FileAccess
_HEADER = '#![profile "/usr/bin/x"] '
_WRITE = A.WRITE | A.APPEND | A.CREATE


def rules(text: str) -> tuple[Rule, ...]:
    (profile,) = parse(_HEADER + text)
    return profile.rules


def net(access: NetAccess, family: int | None = 2, **more: Any) -> NetObject:
    return replace(NetObject(access, family), **more)


OBJECTS: list[tuple[str, list[Object]]] = [
    ('fs("/a", read)', [FileObject("/a", A.READ)]),
    ('fs("/a", write)', [FileObject("/a", _WRITE)]),
    ('fs("/a", append)', [FileObject("/a", A.APPEND | A.CREATE)]),
    ('fs("/a/**", any)', [FileObject("/a/**", A(1023))]),
    (
        'fs("/a"|"/b", read|exec|getattr|setattr|rm|link|ioctl|create);',
        [
            FileObject(p, A.READ | A.EXEC | A.GETATTR | A.SETATTR | A.RM | A.LINK | A.IOCTL | A.CREATE)
            for p in ("/a", "/b")
        ],
    ),
    ('fs("/tmp/*", any, own)', [FileObject("/tmp/*", A(1023), own=True)]),
    ('#[own] fs("/tmp/*", READ)', [FileObject("/tmp/*", A.READ, own=True)]),
    (
        'proc("/bin/*"|self|child|parent|any, read)',
        [
            ProcObject(Target(Who.EXE, "/bin/*"), A.READ),
            *(ProcObject(Target(w), A.READ) for w in (Who.SELF, Who.CHILD, Who.PARENT, Who.ANY)),
        ],
    ),
    ("net(inet, connect)", [net(NetAccess.CONNECT)]),
    ("net(any, any)", [net(NetAccess(255), None)]),
    ("net(unix|AF_INET6, stream|dgram, create)", [net(NetAccess.CREATE, f, type=t) for f in (1, 10) for t in (1, 2)]),
    (
        'net(inet, connect|send, to="10.0.0.0/8:443")',
        [net(NetAccess.CONNECT | NetAccess.SEND, network=ipaddress.ip_network("10.0.0.0/8"), ports=(443, 443))],
    ),
    (
        'net(inet6, stream, bind, at="[::1]:1024-65535")',
        [net(NetAccess.BIND, 10, type=1, network=ipaddress.ip_network("::1"), ports=(1024, 65535))],
    ),
    (
        'net(any, connect, to="[2001:db8::]/32:443")',
        [net(NetAccess.CONNECT, None, network=ipaddress.ip_network("2001:db8::/32"), ports=(443, 443))],
    ),
    ('net(any, connect, to="2001:db8::")', [net(NetAccess.CONNECT, None, network=ipaddress.ip_network("2001:db8::"))]),
    ('net(inet, bind|listen, at=":80")', [net(NetAccess.BIND | NetAccess.LISTEN, ports=(80, 80))]),
    ("net(inet, connect, port=80|443)", [net(NetAccess.CONNECT, ports=(p, p)) for p in (80, 443)]),
    ("net(inet, create, type=dgram, protocol=udp)", [net(NetAccess.CREATE, type=2, protocol=17)]),
    ("signal(child, sigterm|KILL|SIGHUP|10)", [SignalObject(Target(Who.CHILD), frozenset({15, 9, 1, 10}))]),
    ('signal("/a", check)', [SignalObject(Target(Who.EXE, "/a"), frozenset({0}))]),
    ("signal(any, fatal)", [SignalObject(Target(Who.ANY), FATAL)]),
    ("signal(any, any)", [SignalObject(Target(Who.ANY), frozenset(range(68)))]),
    ("signal(child, limits|priority|memory)", [SignalObject(Target(Who.CHILD), frozenset({65, 66, 67}))]),
    ("ptrace(any, read|attach|traced)", [PtraceObject(Target(Who.ANY), PtraceAccess(7))]),
    ('ptrace("/a", any)', [PtraceObject(Target(Who.EXE, "/a"), PtraceAccess(7))]),
    ("capability(chown|CAP_SYS_ADMIN|checkpoint_restore)", [CapabilityObject(frozenset({0, 21, 40}))]),
    ("operation(mount|bpf)", [OperationObject(Operation.MOUNT | Operation.BPF)]),
    ("operation(any)", [OperationObject(Operation(511))]),
]


@pytest.mark.parametrize(("text", "objects"), OBJECTS, ids=[text for text, _ in OBJECTS])
def test_objects(text: str, objects: list[Object]) -> None:
    assert [rule.object for rule in rules(text)] == objects
    assert all(rule.effect == Effect.ALLOW for rule in rules(text))


EFFECTS = [
    ("", Effect.ALLOW),
    ("#[allow]", Effect.ALLOW),
    ("#[audit]", Effect.AUDIT),
    ("#[allow] #[audit]", Effect.ALLOW | Effect.AUDIT),
    ("#[taint]", Effect.TAINT),
    ("#[own]", Effect.ALLOW),
    ("#[transition]", Effect.ALLOW | Effect.TRANSITION),
    ("#[untaint] #[audit]", Effect.ALLOW | Effect.UNTAINT | Effect.AUDIT),
    ('#[func "f"]', Effect.ALLOW),
]


@pytest.mark.parametrize(("directives", "effect"), EFFECTS)
def test_effects(directives: str, effect: Effect) -> None:
    assert [rule.effect for rule in rules(f'{directives} fs("/a", exec)')] == [effect]
    assert [rule.effect for rule in rules(f'{directives} {{ {{ fs("/a", exec) }} }}')] == [effect]


def test_functions_nest_and_end_with_their_block() -> None:
    text = """
    #[func "f"] {
        #[func "g" ("libg.so.1")] fs("/a", read)
        #[kfunc "h"] { fs("/b", read) }
        fs("/c", read)
    }
    fs("/d", read)"""
    f, g, h = Function("f"), Function("g", "libg.so.1"), Function("h", kernel=True)
    assert [rule.functions for rule in rules(text)] == [(f, g), (f, h), (f,), ()]


def test_profiles_and_origins() -> None:
    text = '#!/usr/bin/bpflock\n#![profile "/a"]\n  fs("/x", read)\n'
    text += '#![profile "/b/*" complain]\n#![profile "/c"]\n#![complain]'
    one, two, three = parse(text, "p.bpfbox")
    assert (one.executable, one.complain, one.origin) == ("/a", False, Origin("p.bpfbox", 2, 4))
    assert one.rules[0].origin == Origin("p.bpfbox", 3, 3)
    assert (two.complain, three.complain) == (True, True)


def test_comments_hide_nothing_else() -> None:
    text = '// fs("/1", read)\n# fs("/2", read)\n/* fs("/3", read)\n * */ fs("/4//#/*", read) # end\nfs("/5", read)'
    with pytest.raises(PolicyError, match="'//' is in no path"):
        rules(text)
    found = rules(text.replace("/4//#/*", "/4/#/*"))
    assert [rule.object.pattern for rule in found if isinstance(rule.object, FileObject)] == ["/4/#/*", "/5"]


def test_login_program_of_the_documentation() -> None:
    text = Path(__file__).parents[4] / "examples/policy.d/login.bpfbox"
    (profile,) = load([text]).profiles
    reading = [r for r in profile.rules if r.functions == (Function("check_password"),)]
    assert FileObject("/etc/shadow", A.READ) in [rule.object for rule in reading]
    assert not any(r.object == FileObject("/etc/shadow", A.READ) and not r.functions for r in profile.rules)


@pytest.mark.parametrize(("text", "at", "message", "hint"), BAD, ids=range(len(BAD)))
def test_bad_policies(text: str, at: tuple[int, int], message: str, hint: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse(text, "bad.bpfbox")
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.origin.line, diagnostic.origin.column) == at, diagnostic.render()
    assert message in diagnostic.message
    assert hint in diagnostic.hint and bool(hint) == bool(diagnostic.hint)
    shown = diagnostic.render().splitlines()
    assert shown[0].startswith(f"bad.bpfbox:{at[0]}:{at[1]}: error: ")
    if diagnostic.line:
        assert shown[2].index("^") == 4 + at[1] - 1


def test_there_are_enough_bad_policies() -> None:
    assert len(BAD) >= 80


def test_all_errors_of_all_files_are_told(tmp_path: Path) -> None:
    one, two = tmp_path / "one.bpfbox", tmp_path / "two.bpfbox"
    one.write_text(P + 'fs("/a", raed)\n#[allow] {\n  capability(x)\n  fs("b", read)\n}\n')
    two.write_text("fs(")
    with pytest.raises(PolicyError) as caught:
        load([tmp_path])
    found = [(Path(d.origin.file).name, d.origin.line) for d in caught.value.diagnostics]
    assert found == [("one.bpfbox", 2), ("one.bpfbox", 4), ("one.bpfbox", 5), ("two.bpfbox", 1)]


def test_not_text_and_no_file(tmp_path: Path) -> None:
    path = tmp_path / "p.bpfbox"
    path.write_bytes(P.encode() + b'fs("/\xff", read)')
    with pytest.raises(PolicyError, match=r"p\.bpfbox:2:6: not UTF-8"):
        load([path])
    with pytest.raises(UsageError, match="No such file"):
        load([tmp_path / "none"])
    path.unlink()
    with pytest.raises(UsageError, match="no policies"):
        load([tmp_path])


def test_one_profile_for_one_executable_in_all_files(tmp_path: Path) -> None:
    (tmp_path / "a.bpfbox").write_text(P)
    (tmp_path / "b.bpfbox").write_text(P)
    with pytest.raises(PolicyError, match=r"b\.bpfbox:1:4: a second profile .*a\.bpfbox:1:4"):
        load([tmp_path])


def test_includes(tmp_path: Path) -> None:
    policy = tmp_path / "p.bpfbox"
    policy.write_text(P + '#![include "more/r"]\n#![include "more/r"]\nfs("/z", read)')
    (tmp_path / "more").mkdir()
    included = tmp_path / "more/r"
    included.write_text('fs("/a", read)\n#![use base]\n')
    (profile,) = load([policy]).profiles
    assert profile.rules[0].origin == Origin(str(included), 1, 1)
    assert profile.rules[1].origin.file == "<base>"
    assert profile.rules[-1].object == FileObject("/z", A.READ)
    assert sum(rule.object == FileObject("/a", A.READ) for rule in profile.rules) == 1
    for bad, message in (
        ('#![include "../p.bpfbox"]', "includes itself"),
        ('#![include "r"]', "includes itself"),
        ('#![profile "/y"]', "included file"),
        ('#![include "none"]', "No such file"),
        ('fs("/a", raed)', "no access"),
    ):
        included.write_text(bad)
        with pytest.raises(PolicyError, match=message) as caught:
            load([policy])
        assert {d.origin.file for d in caught.value.diagnostics} == {str(included)}


def _without_origins(profiles: tuple[Profile, ...]) -> list[tuple[object, ...]]:
    return [(p.executable, p.complain, [(r.object, r.effect, r.functions) for r in p.rules]) for p in profiles]


@pytest.mark.parametrize("name", sorted(path.stem for path in ABSTRACTIONS.glob("*.bpfbox")))
def test_built_in_rules(name: str) -> None:
    profiles = parse(f"{_HEADER} #![use {name}]")
    assert len(profiles[0].rules) > 2
    assert _without_origins(parse(show(PolicySet(profiles)))) == _without_origins(profiles)


def test_shown_text_means_the_same() -> None:
    text = P + "\n".join(text for text, _ in OBJECTS)
    text += "\n" + "\n".join(f'{directives} fs("/a", exec)' for directives, _ in EFFECTS)
    text += '\n#[func "a\\"b" ("lib")] #[kfunc "k"] fs("/q\\"\\*{a,b}[x]", read)'
    profiles = parse(text)
    for origins in (False, True):
        assert _without_origins(parse(show(PolicySet(profiles), origins=origins))) == _without_origins(profiles)
