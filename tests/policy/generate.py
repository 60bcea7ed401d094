# SPDX-License-Identifier: Apache-2.0
"""Random policy sets and accesses, and the smallest case of a mismatch.

The same seed gives the same cases. Files lie below a root directory, so that a test can make them; executables are in
its bin/. Patterns are made from paths of that tree, so that about half of all accesses meet a rule.
"""

import ipaddress
import random
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from bpflock.policy import pattern as patterns
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
)
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
from bpflock.policy.rename import RenameRequest

WORDS = ["a", "b", "ab", "log", "x.log", "y.log", "conf.d", "lib", "libc.so.6", "data", "données", "ключ", "鍵", "🔒"]
ODD = [
    *("a b", "new\nline", 'quote"', "tab\t", "back\\slash", "star*", "q?", "[x]", "{y}", "a,b", "-", "...", ".hidden"),
    *("esc\x1b[31m", "\x02two", "~", "é" * 127),
]
RAW = [b"\xff", b"bad\xc3", b"\xe2\x82", b"a\xa9\xa9", b"\x01one", b"n" * 255, b"l" * 254]

FAMILIES = [
    (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP),
    (socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP),
    (socket.AF_INET6, socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    (socket.AF_UNIX, socket.SOCK_STREAM, 0),
    (socket.AF_NETLINK, socket.SOCK_RAW, 0),
]
NETWORKS = [
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/0",
        "127.0.0.0/8",
        "127.1.0.0/16",
        "127.0.0.1/32",
        "127.0.0.4/30",
        "::/0",
        "::1/128",
        "fe80::/10",
    )
]
ADDRESSES = [ipaddress.ip_address(text) for text in ("127.0.0.1", "127.0.0.5", "127.1.2.3", "::1")]
PORTS = [1024, 4000, 4001, 4999, 65535]
ADDRESSED = NetAccess.CONNECT | NetAccess.SEND | NetAccess.BIND | NetAccess.LISTEN
SIGNALS = [0, 1, 9, 10, 15, 18, 34, 64, 65, 66, 67]
CAPABILITIES = [0, 1, 12, 21, 23, 38, 40]
FUNCTIONS = [Function("check_password"), Function("add_user"), Function("decode", "libx.so")]

_Flags = TypeVar("_Flags", FileAccess, NetAccess, PtraceAccess, Operation)


@dataclass(frozen=True)
class Case:
    """A policy set and accesses under it; the subjects' profiles are of that set."""

    policy: PolicySet
    accesses: tuple[Access, ...]


class Generator:
    """`files`: paths of the tree, some are directories; `executables`: those that profiles are for, and one more."""

    def __init__(self, seed: int, *, root: str = "/g", functions: bool = True) -> None:
        self.random = random.Random(seed)
        self.root = root
        self.functions = FUNCTIONS if functions else []
        self.executables = [f"{root}/bin/{name}".encode() for name in ("server", "worker", "tool", "free")]
        self.files = self._tree()
        self._line = 0

    def cases(self, *, policies: int, accesses: int) -> Iterator[Case]:
        """So many policies, each with so many accesses."""
        for _ in range(policies):
            policy = self.policy()
            yield Case(policy, tuple(self.access(policy) for _ in range(accesses)))

    # The tree.

    def _name(self) -> bytes:
        kind = self.random.random()
        if kind < 0.75:
            return self.random.choice(WORDS).encode()
        if kind < 0.93:
            return self.random.choice(ODD).encode()
        return self.random.choice(RAW)

    def _tree(self) -> list[bytes]:
        top = f"{self.root}/tree".encode()
        found = [top]
        while len(found) < 60:
            parent = self.random.choice(found[-30:])
            path = parent + b"/" + self._name()
            if path not in found and len(path) < 3000:
                found.append(path)
        for depth in (19, 20, 21, 64, 129):
            path = top
            for _ in range(depth):
                path += b"/" + self.random.choice((b"d", b"e", b"deep"))
            found.append(path)
        return found

    # Policies.

    def policy(self) -> PolicySet:
        count = self.random.randint(1, 3)
        return PolicySet(tuple(self._profile(self.executables[n].decode()) for n in range(count)))

    def _profile(self, executable: str) -> Profile:
        tainting = self.random.random() < 0.4
        rules = [self._rule(tainting) for _ in range(self.random.randint(3, 14))]
        pattern = executable
        if self.random.random() < 0.3:
            pattern = self.random.choice([executable[:-1] + "?", executable[:-2] + "*", f"{executable}{{,-old}}"])
        return Profile(pattern, tuple(rules), self._origin(), complain=self.random.random() < 0.15)

    def _origin(self) -> Origin:
        self._line += 1
        return Origin("generated", self._line, 1)

    def _rule(self, tainting: bool) -> Rule:
        chosen = self._object()
        effects = [Effect.ALLOW] * 6 + [Effect.ALLOW | Effect.AUDIT, Effect.AUDIT]
        effect = self.random.choice(effects + [Effect.TAINT] * 3 * tainting)
        functions: list[Function] = []
        if isinstance(chosen, FileObject) and chosen.own:
            effect = Effect.ALLOW
        if self.functions and Effect.TAINT not in effect and self.random.random() < 0.25:
            functions = self.random.sample(self.functions, self.random.randint(1, 2))
        return Rule(chosen, effect, self._origin(), tuple(functions))

    def _object(self) -> Object:
        source = self.random
        kind = source.random()
        if kind < 0.6:
            return FileObject(self.pattern(), self._mask(FileAccess), own=source.random() < 0.1)
        if kind < 0.65:
            return ProcObject(self._target(), self._mask(FileAccess))
        if kind < 0.78:
            return self._net()
        if kind < 0.85:
            return SignalObject(self._target(), frozenset(source.sample(SIGNALS, source.randint(1, 4))))
        if kind < 0.9:
            return PtraceObject(self._target(), self._mask(PtraceAccess))
        if kind < 0.95:
            return CapabilityObject(frozenset(source.sample(CAPABILITIES, source.randint(1, 3))))
        return OperationObject(self._mask(Operation))

    def _mask(self, of: type[_Flags]) -> _Flags:
        """Some of the flags, at least one."""
        chosen = of(0)
        for flag in self.random.sample(list(of), self.random.choice((1, 1, 2, 3))):
            chosen |= flag
        return chosen

    def _target(self) -> Target:
        who = self.random.choice(list(Who))
        if who is not Who.EXE:
            return Target(who)
        return Target(who, self.generalised(self.random.choice(self.executables)))

    def _net(self) -> NetObject:
        source = self.random
        family, type_, protocol = source.choice(FAMILIES)
        access = self._mask(NetAccess)
        named = source.random() < 0.5
        network = source.choice([None, *NETWORKS]) if named else None
        ports = tuple(sorted(source.choices(PORTS, k=2))) if named and source.random() < 0.6 else None
        if network is not None:
            family = socket.AF_INET if network.version == 4 else socket.AF_INET6
        return NetObject(
            access,
            source.choice([None, family, family]),
            source.choice([None, type_]),
            source.choice([None, None, protocol]),
            network,
            (ports[0], ports[1]) if ports else None,
        )

    def pattern(self) -> str:
        """A pattern that matches at least one file of the tree, in most cases."""
        return self.generalised(self.random.choice(self.files))

    def generalised(self, path: bytes) -> str:
        """The path with some of its text replaced by wildcards that match it."""
        components = path.split(b"/")[1:]
        below = self.root.count("/")
        while True:
            changed = self.random.sample(
                range(below, len(components)), min(len(components) - below, self.random.randint(0, 3))
            )
            text = ""
            at = 0
            while at < len(components):
                plain = "/" + self._escaped(components[at])
                kind = self.random.random() if at in changed else 1
                if kind < 0.2:
                    text += "/*"
                elif kind < 0.35 and "**" not in text:
                    at = self.random.randint(at, len(components) - 1)
                    text += "/**" if at == len(components) - 1 else "/**/" + self._escaped(components[at])
                elif kind < 0.45:
                    text += "{,/" + self._escaped(self._name()) + "}" + plain
                elif kind < 1:
                    text += "/" + self._wild(components[at])
                else:
                    text += plain
                at += 1
            try:
                patterns.parse(text)
            except patterns.PatternError:
                continue  # what is around a wildcard can turn into '.' or '..'
            return text

    def _escaped(self, name: bytes) -> str:
        try:
            return patterns.escape(name.replace(b"\1", b"\2").decode())
        except UnicodeDecodeError:
            return "*"

    def _wild(self, name: bytes) -> str:
        """A pattern of one component that matches the name, if that is text."""
        source = self.random
        try:
            text = name.decode()
        except UnicodeDecodeError:
            return "*"
        cut = source.randint(0, len(text) - 1)
        char, before, after = text[cut], patterns.escape(text[:cut]), patterns.escape(text[cut + 1 :])
        plain = char.isascii() and char.isalnum()
        kind = source.randrange(8)
        if kind == 0:
            return before + "*"
        if kind == 1:
            return "*" + patterns.escape(text[cut:])
        if kind == 2:
            return before + "?" + after
        if kind == 3 and plain:
            return f"{before}[{char}-{chr(ord(char) + 1)}_]{after}"
        if kind == 4 and plain:
            return f"{before}[!{chr(ord(char) + 1)}]{after}"
        if kind == 5:
            return f"{{{patterns.escape(text)},{self._escaped(self._name())}}}"
        if kind == 6:
            return f"{before}{{{patterns.escape(char)}{{,zz}},*}}{after}"
        return before + "**" if source.random() < 0.3 else before + "*" + patterns.escape(char) + "*"

    # Accesses.

    def access(self, policy: PolicySet) -> Access:
        source = self.random
        profile = source.choice(policy.profiles)
        rule = source.choice(profile.rules)
        executable = next(path for path in self.executables if patterns.matches(profile.executable, path))
        functions = {function for function in self.functions if source.random() < 0.3}
        if source.random() < 0.5:
            functions.update(rule.functions)
        subject = Subject(profile, profile.taints and source.random() < 0.7, frozenset(functions), executable)
        return Access(subject, self._request(subject, rule.object))

    def _request(self, subject: Subject, near: Object) -> Request:
        """A request of the kind that a rule is about, in most cases one that it matches."""
        source = self.random
        match near:
            case FileObject(access=access):
                path = source.choice(self.files)
                if source.random() < 0.85:
                    path = next((p for p in self._shuffled() if patterns.matches(near.pattern, p)), path)
                if source.random() < 0.1:
                    path += b"/" + self._name()
                return FileRequest(path, self._near(access), own=source.random() < (0.7 if near.own else 0.2))
            case ProcObject(access=access):
                return ProcRequest(self._peer(subject, near.target), self._near(access))
            case NetObject(access=net):
                family, type_, protocol = source.choice(FAMILIES)
                if source.random() < 0.8:
                    of_family = [known for known in FAMILIES if near.family in (None, known[0])]
                    family, type_, protocol = source.choice(of_family or FAMILIES)
                one = source.choice(list(NetAccess) if source.random() < 0.2 else list(net))
                addresses = [a for a in ADDRESSES if (a.version == 4) == (family == socket.AF_INET)]
                if one not in ADDRESSED or family not in (socket.AF_INET, socket.AF_INET6):
                    return NetRequest(one, family, type_, protocol)
                return NetRequest(one, family, type_, protocol, source.choice(addresses), source.choice(PORTS))
            case SignalObject(signals=signals):
                signal = source.choice(SIGNALS if source.random() < 0.3 else sorted(signals))
                return SignalRequest(self._peer(subject, near.target), signal)
            case PtraceObject(access=ptrace):
                one_of = list(PtraceAccess) if source.random() < 0.3 else list(ptrace)
                return PtraceRequest(self._peer(subject, near.target), source.choice(one_of))
            case CapabilityObject(capabilities=capabilities):
                return CapabilityRequest(source.choice(CAPABILITIES if source.random() < 0.3 else sorted(capabilities)))
            case OperationObject(operations=operations):
                return OperationRequest(source.choice(list(Operation if source.random() < 0.3 else operations)))

    def rename(self, profile: Profile) -> RenameRequest:
        """Of a file to a name that a rule is about, in most cases."""
        source = self.random
        old, new = source.sample([*self.files, *self.executables], 2)
        of_files = [rule.object for rule in profile.rules if isinstance(rule.object, FileObject)]
        if of_files and source.random() < 0.8:
            near = source.choice(of_files)
            new = next((path for path in self._shuffled() if patterns.matches(near.pattern, path)), new)
        return RenameRequest(old, new, own=source.random() < 0.3)

    def _shuffled(self) -> list[bytes]:
        return self.random.sample(self.files, len(self.files))

    def _near(self, access: FileAccess) -> FileAccess:
        """One of the accesses, or another, or two."""
        bits = list(access if self.random.random() < 0.8 else FileAccess)
        one = self.random.choice(bits)
        return one | self.random.choice(bits) if self.random.random() < 0.2 else one

    def _peer(self, subject: Subject, target: Target) -> Peer:
        source = self.random
        relation = source.choice([Who.SELF, Who.PARENT, Who.CHILD, None, None])
        if target.who in (Who.SELF, Who.PARENT, Who.CHILD) and source.random() < 0.6:
            relation = target.who
        if relation is Who.SELF:
            return Peer(subject.executable, frozenset({relation}))
        executable = source.choice(self.executables)
        if target.who is Who.EXE and source.random() < 0.6:
            executable = next((e for e in self.executables if patterns.matches(target.pattern, e)), executable)
        return Peer(executable, frozenset({relation} if relation else ()))


Fails = Callable[[PolicySet, Access], bool]


def shrink(policy: PolicySet, access: Access, fails: Fails) -> tuple[PolicySet, Access]:
    """The smallest policy set and access found for which `fails` still says True, as it must for the ones given."""
    progress = True
    while progress:
        progress = False
        for smaller_policy, smaller_access in _smaller(policy, access):
            if fails(smaller_policy, smaller_access):
                policy, access = smaller_policy, smaller_access
                progress = True
                break
    return policy, access


def _smaller(policy: PolicySet, access: Access) -> Iterator[tuple[PolicySet, Access]]:
    """Everything that is one step simpler."""
    own = access.subject.profile
    for profile in policy.profiles:
        rest = tuple(other for other in policy.profiles if other != profile)
        if profile != own:
            yield PolicySet(rest), access
        for simpler in _smaller_profiles(profile):
            subject = replace(access.subject, profile=simpler) if profile == own else access.subject
            yield PolicySet((*rest, simpler)), replace(access, subject=subject)
    for function in access.subject.functions:
        subject = replace(access.subject, functions=access.subject.functions - {function})
        yield policy, replace(access, subject=subject)
    request = access.request
    if isinstance(request, FileRequest):
        for bit in request.access if len(request.access) > 1 else ():
            yield policy, replace(access, request=replace(request, access=request.access & ~bit))
        names = request.path.split(b"/")[1:]
        for skipped in range(len(names) if len(names) > 1 else 0):
            path = b"/" + b"/".join(names[:skipped] + names[skipped + 1 :])
            yield policy, replace(access, request=replace(request, path=path))


def _smaller_profiles(profile: Profile) -> Iterator[Profile]:
    for index, rule in enumerate(profile.rules):
        before, after = profile.rules[:index], profile.rules[index + 1 :]
        yield replace(profile, rules=before + after)
        for simpler in _smaller_rules(rule):
            yield replace(profile, rules=(*before, simpler, *after))
    if profile.complain:
        yield replace(profile, complain=False)


def _smaller_rules(rule: Rule) -> Iterator[Rule]:
    for function in rule.functions:
        yield replace(rule, functions=tuple(f for f in rule.functions if f != function))
    for flag in rule.effect if len(rule.effect) > 1 else ():
        yield replace(rule, effect=rule.effect & ~flag)
    if not isinstance(rule.object, FileObject):
        return
    file = rule.object
    for bit in file.access if len(file.access) > 1 else ():
        yield replace(rule, object=replace(file, access=file.access & ~bit))
    for cut in _without_a_component(file.pattern):
        yield replace(rule, object=replace(file, pattern=cut))


def _without_a_component(pattern: str) -> Iterator[str]:
    components = pattern.split("/")
    for index in range(1, len(components)):
        shorter = "/".join(components[:index] + components[index + 1 :])
        try:
            patterns.parse(shorter)
        except patterns.PatternError:
            continue
        yield shorter


def show(policy: PolicySet, access: Access) -> str:
    """A case as text that can be pasted into a test."""
    return f"policy = {policy!r}\naccess = {access!r}"
