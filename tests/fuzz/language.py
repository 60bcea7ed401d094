# SPDX-License-Identifier: Apache-2.0
"""What holds for every text that is given to the policy language.

It is accepted, or refused with places in it. What is accepted has a normal form that means the same, the evaluator
and the linter have an answer to it, and it compiles to tables that decide as the evaluator does, or is refused with a
place.
"""

import ipaddress
import random
import zlib
from pathlib import Path
from typing import TypeVar

from bpflock.policy import pattern as patterns
from bpflock.policy.bpfbox import names
from bpflock.policy.bpfbox.diagnostics import PolicyError
from bpflock.policy.bpfbox.load import parse
from bpflock.policy.bpfbox.lower import ABSTRACTIONS
from bpflock.policy.bpfbox.show import show
from bpflock.policy.evaluate import (
    Access,
    CapabilityRequest,
    FileRequest,
    NetRequest,
    OperationRequest,
    Peer,
    ProcRequest,
    PtraceRequest,
    Request,
    SignalRequest,
    Subject,
    evaluate,
    execute,
    profile_of,
)
from bpflock.policy.lint import lint
from bpflock.policy.model import (
    CapabilityObject,
    FileAccess,
    FileObject,
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
    SignalObject,
    Target,
    Who,
)
from bpflock.policy.pattern import Chars, Glob, Tokens
from bpflock.policy.tables import CompileError, Numbering, compile_policy
from tests.policy.interpret import Interpreter

CORPUS = Path(__file__).with_name("corpus")
_FILE = "fuzz"
_Flags = TypeVar("_Flags", FileAccess, PtraceAccess)
_ACCESSES = 24
# Compiled is what has no more tokens than this: the automaton's own limits have tests of their own.
_MOST_TOKENS = 3000
_MOST_GLOBS = 6  # '**' of all patterns: each can double the states


def corpus() -> list[bytes]:
    """The seeds: the files of the corpus, and the built-in rules under a profile."""
    found = [path.read_bytes() for path in sorted(CORPUS.glob("*.bpfbox"))]
    found += [b'#![profile "/x"]\n' + path.read_bytes() for path in sorted(ABSTRACTIONS.glob("*.bpfbox"))]
    return found


def words() -> list[str]:
    """All that the language knows, for a mutator."""
    found = {*names.RULES, *names.DIRECTIVES, *names.HEADERS, *names.FILE, *names.NET, *names.PTRACE, *names.OPERATION}
    found |= {*names.WHO, *names.FAMILIES, *names.TYPES, *names.PROTOCOLS, *names.SIGNALS, *names.SIGNAL_GROUPS}
    found |= {*names.CAPABILITIES, "to=", "at=", "port=", "protocol=", "type=", "own", '#![profile "/x"]\n'}
    found |= {"**", "/**", "{", "}", ",", "[!a-z]", "\\", "/*", "*/", "//", "# ", "#[", "#![", "]", "(", ")", '"', "|"}
    return sorted(found)


def check(text: str) -> tuple[Profile, ...] | None:
    """All of it. Raises AssertionError, or what must not be raised. None for a text that is refused."""
    lines = text.split("\n")
    try:
        profiles = parse(text, _FILE)
    except PolicyError as error:
        assert error.diagnostics
        for diagnostic in error.diagnostics:
            _check_place(diagnostic.origin, lines)
            assert diagnostic.message
            assert diagnostic.width >= 1
            _check_rendered(diagnostic.render())
        assert error.message
        return None
    policy = PolicySet(profiles)
    for profile in profiles:
        _check_place(profile.origin, lines)
    normal = show(policy)
    again = parse(normal, _FILE)
    assert meaning(again) == meaning(profiles), normal
    assert show(PolicySet(again)) == normal
    if _is_small(policy):
        _check_meaning(policy, lines, random.Random(zlib.crc32(text.encode(errors="surrogatepass"))))
    return profiles


def meaning(profiles: tuple[Profile, ...]) -> list[tuple[object, ...]]:
    """Without the places."""
    return [(p.executable, p.complain, [(r.object, r.effect, r.functions) for r in p.rules]) for p in profiles]


def _check_place(origin: Origin, lines: list[str]) -> None:
    if origin.file.startswith("<"):
        return  # in built-in rules
    assert origin.file == _FILE
    assert 1 <= origin.line <= len(lines), origin
    assert 1 <= origin.column <= len(lines[origin.line - 1]) + 1, origin


def _check_rendered(text: str) -> None:
    """Safe on a terminal."""
    assert all(char.isprintable() or char in "\t\n" for char in text), ascii(text)


def _is_small(policy: PolicySet) -> bool:
    left, globs = _MOST_TOKENS, _MOST_GLOBS
    for pattern in policy.patterns():
        for tokens in patterns.parse(pattern):
            left -= len(tokens)
            globs -= tokens.count(Glob.DEEP)
    return left >= 0 and globs >= 0


def _check_meaning(policy: PolicySet, lines: list[str], source: random.Random) -> None:
    chosen = [_access(policy, source) for _ in range(_ACCESSES)]
    for access in chosen:
        evaluate(access)
        execute(policy, access.subject, _path(policy, source))
    for finding in lint(policy, here=False):
        _check_place(finding.origin, lines)
        assert finding.message
    numbering = Numbering()
    numbering.extend(policy)
    assert Numbering.from_json(numbering.to_json()) == numbering
    try:
        tables = compile_policy(policy, numbering, 1)
    except CompileError as error:
        _check_place(error.origin, lines)
        return
    read = Interpreter(tables)
    for access in chosen:
        check_alike(read, numbering, access)
        path = access.subject.executable
        selected = profile_of(policy, path)
        assert read.profile_of(path) == (numbering.profiles[selected.executable] if selected else 0), path


def check_alike(read: Interpreter, numbering: Numbering, access: Access) -> None:
    """The tables decide as the evaluator. Not for the own executable, which is not in the tables."""
    subject = access.subject
    assert subject.profile is not None
    if isinstance(access.request, FileRequest) and access.request.path == subject.executable:
        return
    functions = frozenset(numbering.functions[function] for function in subject.functions)
    found = read.decision(numbering.profiles[subject.profile.executable], access, functions)
    expected = evaluate(access)
    said = [(d.allowed, d.reason, d.audited, d.taints, d.missing) for d in (found, expected)]
    assert said[0] == said[1], f"{access}: tables {said[0]}, evaluator {said[1]}"


# Accesses near to what a policy is about.


def _access(policy: PolicySet, source: random.Random) -> Access:
    profile = source.choice(policy.profiles)
    functions = {function for rule in profile.rules for function in rule.functions}
    inside = frozenset(function for function in sorted(functions, key=repr) if source.random() < 0.6)
    executable = _example(profile.executable, source)
    subject = Subject(profile, profile.taints and source.random() < 0.7, inside, executable)
    if not profile.rules:
        return Access(subject, FileRequest(b"/etc/passwd", FileAccess.READ))
    return Access(subject, _request(source.choice(profile.rules).object, policy, source))


def _request(near: Object, policy: PolicySet, source: random.Random) -> Request:
    match near:
        case FileObject(pattern=pattern, access=file):
            path = _example(pattern, source) if source.random() < 0.8 else _path(policy, source)
            return FileRequest(path, _some(file, source), source.random() < 0.5)
        case ProcObject(target=target, access=file):
            return ProcRequest(_peer(target, policy, source), _some(file, source))
        case NetObject():
            return _net(near, source)
        case SignalObject(target=target, signals=signals):
            number = source.choice(sorted(signals)) if source.random() < 0.7 else source.randrange(65)
            return SignalRequest(_peer(target, policy, source), number)
        case PtraceObject(target=target, access=ptrace):
            return PtraceRequest(_peer(target, policy, source), _some(ptrace, source))
        case CapabilityObject(capabilities=capabilities):
            return CapabilityRequest(
                source.choice(sorted(capabilities)) if source.random() < 0.7 else source.randrange(64)
            )
        case OperationObject(operations=operations):
            return OperationRequest(source.choice(list(operations if source.random() < 0.7 else Operation)))


def _some(near: _Flags, source: random.Random) -> _Flags:
    """One access or two, near to these."""
    of = type(near)
    flags: list[_Flags] = list(near) if near and source.random() < 0.8 else list(of)
    return source.choice(flags) | source.choice(flags if source.random() < 0.5 else list(of))


def _net(near: NetObject, source: random.Random) -> NetRequest:
    family = near.family if near.family is not None and source.random() < 0.9 else source.choice((1, 2, 10, 16))
    address: ipaddress.IPv4Address | ipaddress.IPv6Address | None = None
    port = None
    if source.random() < 0.8:
        address = ipaddress.ip_address(source.choice(("10.0.0.1", "127.0.0.1", "::1")))
        if near.network is not None:
            address = near.network[source.choice((0, -1))]
            family = 2 if address.version == 4 else 10
        port = source.choice((0, 443, 65535, *(near.ports or ())))
    kind = near.type if near.type is not None and source.random() < 0.9 else source.choice((1, 2))
    protocol = near.protocol if near.protocol is not None and source.random() < 0.9 else source.choice((0, 6, 17))
    return NetRequest(source.choice(list(near.access)), family, kind, protocol, address, port)


def _peer(near: Target, policy: PolicySet, source: random.Random) -> Peer:
    relations = frozenset(who for who in (Who.SELF, Who.PARENT, Who.CHILD) if source.random() < 0.4)
    if near.who is Who.EXE and source.random() < 0.8:
        return Peer(_example(near.pattern, source), relations)
    return Peer(_path(policy, source), relations)


def _path(policy: PolicySet, source: random.Random) -> bytes:
    """That some pattern matches, or nearly."""
    path = _example(source.choice(list(policy.patterns())), source)
    if source.random() < 0.3:
        at = source.randrange(len(path))
        path = path[:at] + source.choice((b"", b"/", b"x", b"\xa9", b"\1")) + path[at + 1 :]
    return b"/" + b"/".join(name for name in path.split(b"/") if name)


def _example(pattern: str, source: random.Random) -> bytes:
    """A path that the pattern matches, in most cases."""
    return _text(source.choice(patterns.parse(pattern)), source) or b"/"


def _text(tokens: Tokens, source: random.Random) -> bytes:
    found = b""
    for token in tokens:
        match token:
            case Glob.STAR:
                found += source.choice((b"", b"x", b".a", "é".encode()))
            case Glob.DEEP:
                found += source.choice((b"d", b"d/e", b"x/y/z"))
            case Chars(bytes=members, negated=negated):
                others = [byte for byte in b"ax_0.~" if byte not in members]
                one = source.choice(others or [0x21]) if negated else source.choice(sorted(members) or [0x21])
                found += bytes([one])
            case int():
                found += bytes([token])
    return found
