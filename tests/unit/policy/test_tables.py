# SPDX-License-Identifier: Apache-2.0
"""The compiled tables: their layout is that of bpf/policy.h, and what cannot be enforced is refused."""

import enum
import ipaddress
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from bench.patterns import policies
from bpflock.kernel._libbpf import ffi, lib
from bpflock.kernel.btf import Types
from bpflock.policy import model, tables
from bpflock.policy import pattern as patterns
from bpflock.policy.automaton import AutomatonError
from bpflock.policy.bpfbox import names
from bpflock.policy.evaluate import Access, FileRequest, Subject, evaluate
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
from bpflock.policy.tables import CompileError, Kind, Numbering, Tables, compile_policy
from tests.policy.interpret import Interpreter

BPF = Path(__file__).resolve().parents[3] / "bpf"
READ, WRITE, EXEC, GETATTR = FileAccess.READ, FileAccess.WRITE, FileAccess.EXEC, FileAccess.GETATTR
ALLOW, AUDIT, TAINT = Effect.ALLOW, Effect.AUDIT, Effect.TAINT

ENUMS: dict[str, tuple[str, type[enum.IntFlag] | type[enum.IntEnum]]] = {
    "policy_file_access": ("FILE_", model.FileAccess),
    "policy_net_access": ("NET_", model.NetAccess),
    "policy_ptrace_access": ("PTRACE_", model.PtraceAccess),
    "policy_operation": ("OPERATION_", model.Operation),
    "policy_kind": ("KIND_", Kind),
}
STRUCTS = {
    "policy_header": tables.HEADER,
    "policy_profile": tables.PROFILE,
    "policy_rights": tables.RIGHTS,
    "policy_context": tables.CONTEXT,
    "policy_object": tables.OBJECT,
}
DEFINES = {
    "BLOCK_STATES": tables.BLOCK_STATES,
    "BLOCK_RIGHTS": tables.BLOCK_RIGHTS,
    "PAGE_CELLS": tables.PAGE_CELLS,
    "EXEC_TRANSITION": tables.EXEC_TRANSITION,
    "EXEC_UNTAINT": tables.EXEC_UNTAINT,
    "ANY_FAMILY": tables.ANY_FAMILY,
    "ANY_PROTOCOL": tables.ANY_PROTOCOL,
}


def test_blocks() -> None:
    """All cells that a state of a block may look at are in it, and what is beyond the end is zero."""
    assert tables.in_blocks(b"abcdefghi", 4, 6) == b"abcdefefghi\0i\0\0\0\0\0"
    assert tables.AUTOMATON_BLOCK.size == 4 * (tables.BLOCK_STATES + 256)
    assert tables.RIGHTS_BLOCK.size == tables.BLOCK_RIGHTS * tables.RIGHTS.size


@pytest.fixture(scope="module")
def abi(tmp_path_factory: pytest.TempPathFactory) -> Types:
    """The types of bpf/policy.h as the compiler sees them."""
    scratch = tmp_path_factory.mktemp("abi")
    header = (BPF / "policy.h").read_text()
    used = [f"enum {name} e{n};" for n, name in enumerate([*ENUMS, "policy_who", "policy_effect"])]
    used += [
        "enum policy_profile_flags flags;",
        "enum policy_signal_extra extra;",
        *(f"struct {name} s{n};" for n, name in enumerate(STRUCTS)),
    ]
    used += [f'_Static_assert({name} == {value}U, "{name}");' for name, value in DEFINES.items()]
    source = scratch / "abi.c"
    source.write_text(f'#include "{BPF / "vmlinux.h"}"\n{header}\n' + "\n".join(used))
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "bpfel-freestanding-none", "-O2", "-g", "-c"]
    subprocess.run([*command, str(source), "-o", str(scratch / "abi.o")], check=True, cwd=scratch)
    return Types(lib.btf__parse(str(scratch / "abi.o").encode(), ffi.NULL))


def test_numbers_are_those_of_the_header(abi: Types) -> None:
    for name, (prefix, numbers) in ENUMS.items():
        expected = {prefix + str(member.name): int(member) for member in numbers}
        if name == "policy_file_access":
            expected["FILE_OWN_SHIFT"] = tables.FILE_OWN_SHIFT
        assert abi.enum(name) == expected
    assert abi.enum("policy_who") == {f"WHO_{who.name}": number for who, number in tables.WHO.items()}
    assert abi.enum("policy_effect") == {f"EFFECT_{flag.name}": number for flag, number in tables.EFFECTS.items()}
    assert abi.enum("policy_signal_extra") == {
        f"SIGNAL_{name.upper()}": tables.SIGNAL_EXTRA[number] for name, number in names.BESIDE_SIGNALS.items()
    }
    assert abi.enum("policy_profile_flags") == {
        "PROFILE_TAINTS": tables.PROFILE_TAINTS,
        "PROFILE_COMPLAINS": tables.PROFILE_COMPLAINS,
        "PROFILE_CHANGED": tables.PROFILE_CHANGED,
    }


@pytest.mark.parametrize("name", STRUCTS)
def test_structures_are_those_of_the_header(abi: Types, name: str) -> None:
    layout, packed = abi.struct(name), STRUCTS[name]
    assert layout.size == packed.size
    assert name == "policy_object" or layout.size % tables.CELL.size == 0
    # Each member where struct puts it: a value of its own in every byte must come out the same.
    data = bytes(range(1, layout.size + 1))
    flat = [layout.unpack(data)[field.name] for field in layout.fields]
    words: list[object] = []
    for field, value in zip(layout.fields, flat, strict=True):
        is_words = field.kind == "chars" and field.name == "functions"
        words += struct.unpack(f"<{field.size // 4}I", value) if is_words else [value]
    assert tuple(words) == packed.unpack(data)


LINE = iter(range(1, 100_000))


def _rule(of: Object, effect: Effect = ALLOW, *functions: Function) -> Rule:
    return Rule(of, effect, Origin("test", next(LINE), 1), functions)


def _profile(executable: str, *rules: Rule, complain: bool = False) -> Profile:
    return Profile(executable, rules, Origin("test", next(LINE), 1), complain)


def _compile(*profiles: Profile, numbering: Numbering | None = None) -> Tables:
    policy = PolicySet(profiles)
    numbering = numbering or Numbering()
    numbering.extend(policy)
    return compile_policy(policy, numbering, 7)


def test_header_and_profiles() -> None:
    compiled = _compile(
        _profile("/bin/a", _rule(FileObject("/etc/**", READ)), _rule(OperationObject(Operation.BPF))),
        _profile("/bin/b", _rule(FileObject("/tmp/*", WRITE), TAINT), complain=True),
    )
    read = Interpreter(compiled)
    assert read.header[0] == 7
    assert read.profile(0) == (0, 0, 0, 0)
    assert read.profile(1) == (0, 1, 0, 1)
    assert read.profile(2) == (tables.PROFILE_TAINTS | tables.PROFILE_COMPLAINS, 1, 1, 0)
    assert [read.profile_of(path) for path in (b"/bin/a", b"/bin/b", b"/bin/c", b"/etc/x")] == [1, 2, 0, 0]
    assert read.rights(0, read.label(b"/etc/x")) == (0, 0, 0, 0)


def test_rights_of_files() -> None:
    check = Function("check")
    compiled = _compile(
        _profile(
            "/bin/a",
            _rule(FileObject("/etc/**", READ)),
            _rule(FileObject("/etc/shadow", WRITE), ALLOW | AUDIT, check),
            _rule(FileObject("/etc/shadow", READ), AUDIT),
            _rule(FileObject("/tmp/**", WRITE, own=True)),
            _rule(FileObject("/bin/x", EXEC), ALLOW | Effect.TRANSITION),
            _rule(FileObject("/bin/y", EXEC), ALLOW | Effect.UNTAINT, check),
            _rule(FileObject("/secret", READ), TAINT),
        )
    )
    read = Interpreter(compiled)
    within = frozenset({1})
    assert read.file(1, b"/etc/passwd").allow == READ | GETATTR
    assert read.file(1, b"/etc").allow == 0
    assert read.file(1, b"/etc/shadow").allow == READ | GETATTR
    assert read.file(1, b"/etc/shadow").audit == READ
    assert read.file(1, b"/etc/shadow", within).allow == READ | WRITE | GETATTR
    assert read.file(1, b"/etc/shadow", within).audit == READ | WRITE
    assert read.file(1, b"/tmp/x").allow == (WRITE | GETATTR) << tables.FILE_OWN_SHIFT
    assert read.file(1, b"/bin/x").taint == tables.EXEC_TRANSITION
    assert read.file(1, b"/bin/y").taint == 0
    assert read.file(1, b"/bin/y", within).taint == tables.EXEC_UNTAINT
    assert read.file(1, b"/secret").taint == READ
    assert read.file(1, b"/secret").allow == 0


def test_objects() -> None:
    compiled = _compile(
        _profile(
            "/bin/a",
            _rule(NetObject(NetAccess.CONNECT, None, network=ipaddress.ip_network("10.0.0.0/8"), ports=(80, 90))),
            _rule(SignalObject(Target(Who.CHILD), frozenset({0, 9, 64, 66})), AUDIT),
            _rule(PtraceObject(Target(Who.EXE, "/bin/*"), PtraceAccess.READ)),
            _rule(ProcObject(Target(Who.SELF), READ), ALLOW | AUDIT),
            _rule(CapabilityObject(frozenset({0, 40})), TAINT),
        )
    )
    objects = list(tables.OBJECT.iter_unpack(compiled.objects))
    anywhere = 2  # the first row after those of profiles
    assert objects[0] == (
        *(Kind.NET, 0, 1, 8, socket.AF_INET, 0, tables.ANY_PROTOCOL, 80, 90, NetAccess.CONNECT),
        *(0, 0, 0, 1, 0, 0, bytes([10, *[0] * 15])),
    )
    assert objects[1][:3] == (Kind.SIGNAL, 3, 2) and objects[1][9] == 1 << 8 | 1 << 63 and objects[1][14] == 1 | 4
    assert objects[2][:3] == (Kind.PTRACE, 4, 1) and objects[2][12] == anywhere
    assert [(found[2], found[9]) for found in objects[3:5]] == [(1, READ | GETATTR), (2, READ)]
    assert objects[5][:3] == (Kind.CAPABILITY, 0, 4) and objects[5][9] == 1 | 1 << 40
    read = Interpreter(compiled)
    assert read.rights(anywhere, read.label(b"/bin/zsh")) == (1, 0, 0, 0)
    assert read.rights(anywhere, read.label(b"/sbin/zsh")) == (0, 0, 0, 0)
    assert len(compiled.object_rules) == len(objects)
    assert compiled.object_rules[3] is compiled.object_rules[4]


def test_an_exact_path_goes_before_patterns() -> None:
    read = Interpreter(_compile(_profile("/bin/*"), _profile("/bin/{a,b}"), _profile("/opt/*/bin/*")))
    assert [read.profile_of(path) for path in (b"/bin/a", b"/bin/b", b"/bin/c", b"/opt/x/bin/y")] == [2, 2, 1, 3]


@pytest.mark.parametrize(
    ("one", "other"), [("/bin/*", "/bin/a*"), ("/bin/a", "/bin/{a,b}"), ("/bin/a", "/bin/a"), ("/**/x", "/bin/?")]
)
def test_two_profiles_for_one_executable_are_refused(one: str, other: str) -> None:
    first, second = _profile(one), _profile(other)
    with pytest.raises(CompileError) as raised:
        _compile(second, first)
    assert str(first.origin) in raised.value.message and str(second.origin) in raised.value.message


def test_numbers_stay() -> None:
    numbering = Numbering()
    _compile(
        _profile("/bin/a"),
        _profile("/bin/b", _rule(OperationObject(Operation.IPC), ALLOW, Function("f"))),
        numbering=numbering,
    )
    numbering = Numbering.from_json(numbering.to_json())
    again = _compile(
        _profile("/bin/c"),
        _profile("/bin/b", _rule(OperationObject(Operation.IPC), ALLOW, Function("g", "l.so"))),
        numbering=numbering,
    )
    assert numbering.profiles == {"/bin/a": 1, "/bin/b": 2, "/bin/c": 3}
    assert numbering.functions == {Function("f"): 1, Function("g", "l.so"): 2}
    read = Interpreter(again)
    assert [read.profile(number)[1] for number in range(4)] == [0, 0, 1, 1]
    assert read.profile_of(b"/bin/a") == 0


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"profiles": {"/a": 0}, "functions": []}',
                                  '{"profiles": {"/a": 1, "/b": 1}, "functions": []}',
                                  '{"profiles": {}, "functions": [["a"]]}'])  # fmt: skip
def test_a_broken_numbering_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Numbering.from_json(text)


F = [Function(name) for name in "abc"]
REFUSED = {
    "three functions": (_rule(FileObject("/a", READ), ALLOW, *F), "3 functions"),
    "taint in a function": (_rule(FileObject("/a", READ), TAINT, F[0]), "cannot depend on functions"),
    "own audited": (_rule(FileObject("/a", READ, own=True), ALLOW | AUDIT), "only be allowed"),
    "transition without exec": (_rule(FileObject("/a", READ), ALLOW | Effect.TRANSITION), "allow exec"),
    "untaint without allow": (_rule(FileObject("/a", EXEC), AUDIT | Effect.UNTAINT), "allow exec"),
    "no access": (_rule(FileObject("/a", FileAccess(0))), "names no access"),
    "no effect": (_rule(FileObject("/a", READ), Effect(0)), "does nothing"),
    "bad pattern": (_rule(FileObject("/a[", READ)), "not closed"),
    "bad target": (_rule(SignalObject(Target(Who.EXE, "a"), frozenset({9}))), "must begin with '/'"),
    "signal 68": (_rule(SignalObject(Target(Who.ANY), frozenset({68}))), "0 (the check) to 67"),
    "capability 64": (_rule(CapabilityObject(frozenset({64}))), "0 to 63"),
    "family and network": (
        _rule(NetObject(NetAccess.CONNECT, socket.AF_INET6, network=ipaddress.ip_network("10.0.0.0/8"))),
        "no network of family",
    ),
    "ports": (_rule(NetObject(NetAccess.CONNECT, socket.AF_INET, ports=(2, 1))), "0 to 65535"),
    "no operation": (_rule(OperationObject(Operation(0))), "names no access"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_enforced_is_refused(name: str) -> None:
    rule, what = REFUSED[name]
    with pytest.raises(CompileError) as raised:
        _compile(_profile("/bin/x", rule))
    assert raised.value.message.startswith(f"{rule.origin}: ")
    assert what in raised.value.message


def test_too_many_contexts_are_refused() -> None:
    rules = [_rule(FileObject("/a", READ), ALLOW, Function(f"f{n}")) for n in range(256)]
    _compile(_profile("/bin/x", *rules[:255]))
    with pytest.raises(CompileError, match="more than 255 functions"):
        _compile(_profile("/bin/x", *rules))


def test_too_many_states_are_refused_with_the_places() -> None:
    rules = [_rule(FileObject(f"/**/a{n}/**/b{n}", FileAccess(n + 1))) for n in range(24)]
    with pytest.raises(CompileError) as raised:
        _compile(_profile("/bin/x", *rules))
    assert isinstance(raised.value.__cause__, AutomatonError)
    assert raised.value.hint and raised.value.hint.count("test:") == 4


def test_rules_used_alike_share_labels_and_explain_themselves() -> None:
    rules = [_rule(FileObject(f"/data/{n}", READ)) for n in range(100)]
    compiled = _compile(_profile("/bin/x", *rules, _rule(FileObject("/data/7", WRITE))))
    assert len(compiled.labels) == 4  # none, the executable, read, read and write
    label = Interpreter(compiled).label(b"/data/7")
    assert {rule.object.pattern for rule in compiled.file_rules(1, label) if isinstance(rule.object, FileObject)} == {
        "/data/7"
    }
    label = Interpreter(compiled).label(b"/data/8")
    assert rules[8] in compiled.file_rules(1, label) and rules[7] not in compiled.file_rules(1, label)


def test_many_patterns_stay_small() -> None:
    """How small, and how long it takes: python -m bench.patterns"""
    policy = policies(2000)
    numbering = Numbering()
    numbering.extend(policy)
    compiled = compile_policy(policy, numbering, 1)
    assert len(compiled.automaton) + len(compiled.rights) < 10_000_000 * 2000 / 10_000
    read = Interpreter(compiled)
    for number, profile in compiled.profiles.items():
        for rule in profile.rules[::9]:
            assert isinstance(rule.object, FileObject)
            path = min(patterns.exact(rule.object.pattern) or (b"/etc/ld.so.cache",))
            verdict = evaluate(Access(Subject(profile), FileRequest(path, READ)))
            assert bool(read.file(number, path).allow & READ) is verdict.allowed
