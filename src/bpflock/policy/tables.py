# SPDX-License-Identifier: Apache-2.0
"""A policy set as the kernel reads it: the three tables of bpf/policy.h, and what explains its events afterwards.

Patterns that are used in the same way (by the same profiles, with the same rights) share a tag in the automaton, and so
their labels: that keeps automaton and rights small.
"""

import enum
import ipaddress
import json
import socket
import struct
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field

from bpflock.errors import UsageError
from bpflock.policy import pattern as patterns
from bpflock.policy.automaton import Automaton, AutomatonError, build
from bpflock.policy.evaluate import granted
from bpflock.policy.model import (
    CHECK,
    LIMITS,
    MAX_FUNCTIONS,
    MEMORY,
    PRIORITY,
    SIGNALS,
    CapabilityObject,
    Effect,
    FileAccess,
    FileObject,
    Function,
    NetObject,
    OperationObject,
    Origin,
    PolicySet,
    ProcObject,
    Profile,
    PtraceObject,
    Rule,
    SignalObject,
    Target,
    Who,
)

# All as in bpf/policy.h: a test compares.
FILE_OWN_SHIFT = 16
BLOCK_STATES = 8192
PAGE_CELLS = 64
BLOCK_RIGHTS = 1024
PROFILE_TAINTS = 1
PROFILE_COMPLAINS = 2
PROFILE_CHANGED = 4
EXEC_TRANSITION = 1 << 30
EXEC_UNTAINT = 1 << 31
SIGNAL_EXTRA = {CHECK: 1, LIMITS: 2, PRIORITY: 4, MEMORY: 8}  # enum policy_signal_extra, by number
ANY_FAMILY = 0xFFFF
ANY_PROTOCOL = 0xFFFFFFFF
EFFECT_ALLOW = 1
EFFECT_AUDIT = 2
EFFECT_TAINT = 4

CELL = struct.Struct("<4I")  # of the rights
HEADER = struct.Struct("<8I")
PROFILE = struct.Struct("<4I")
RIGHTS = struct.Struct("<4I")
CONTEXT = struct.Struct("<4I")
OBJECT = struct.Struct("<4B2HI2HQ2II2BH16s")
AUTOMATON_BLOCK = struct.Struct(f"<{BLOCK_STATES + 256}I")
RIGHTS_BLOCK = struct.Struct(f"<{4 * BLOCK_RIGHTS}I")

MAX_CONTEXTS = 255  # of one profile on one label


class Kind(enum.IntEnum):
    NET = 1
    SIGNAL = 2
    PTRACE = 3
    PROC = 4
    CAPABILITY = 5
    OPERATION = 6


WHO = {Who.ANY: 0, Who.SELF: 1, Who.PARENT: 2, Who.CHILD: 3, Who.EXE: 4}
EFFECTS = {Effect.ALLOW: EFFECT_ALLOW, Effect.AUDIT: EFFECT_AUDIT, Effect.TAINT: EFFECT_TAINT}
_EXEC = {Effect.TRANSITION: EXEC_TRANSITION, Effect.UNTAINT: EXEC_UNTAINT}


class CompileError(UsageError):
    """A rule that cannot be enforced. `origin`: where it stands."""

    def __init__(self, origin: Origin, what: str, *, hint: str | None = None) -> None:
        super().__init__(f"{origin}: {what}", hint=hint)
        self.origin = origin


@dataclass
class Numbering:
    """Numbers of profiles (by their executable patterns) and functions, from 1. They are never given to another."""

    profiles: dict[str, int] = field(default_factory=dict)
    functions: dict[Function, int] = field(default_factory=dict)

    def extend(self, policy: PolicySet) -> None:
        """Numbers what has none yet."""
        for profile in policy.profiles:
            self.profiles.setdefault(profile.executable, max(self.profiles.values(), default=0) + 1)
            for rule in profile.rules:
                for function in rule.functions:
                    self.functions.setdefault(function, max(self.functions.values(), default=0) + 1)

    def to_json(self) -> str:
        functions = [[f.name, f.library, f.kernel, number] for f, number in self.functions.items()]
        return json.dumps({"profiles": self.profiles, "functions": functions})

    @classmethod
    def from_json(cls, text: str) -> "Numbering":
        """Raises ValueError for anything but what to_json() gave."""
        try:
            loaded = json.loads(text)
            profiles = {str(name): int(number) for name, number in loaded["profiles"].items()}
            functions = {
                Function(str(name), str(library), bool(kernel)): int(number)
                for name, library, kernel, number in loaded["functions"]
            }
        except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(f"not a numbering: {error}") from error
        for numbers in (list(profiles.values()), list(functions.values())):
            if len(set(numbers)) < len(numbers) or min(numbers, default=1) < 1:
                raise ValueError("not a numbering: numbers from 1, each once")
        return cls(profiles, functions)


@dataclass(frozen=True)
class Tables:
    """`automaton`, `rights`, `objects`: as in bpf/policy.h, little endian.

    `labels[L]`: the patterns that may stand behind label L: those that match a path of that label are among them.
    `object_rules[I]`: the rule that objects[I] was made of. `profiles` and `functions` by number.
    """

    generation: int
    automaton: bytes
    rights: bytes
    objects: bytes
    states: int
    labels: tuple[frozenset[str], ...]
    object_rules: tuple[Rule, ...]
    profiles: dict[int, Profile]
    functions: dict[int, Function]

    def file_rules(self, profile: int, label: int) -> list[Rule]:
        """The rules of a profile on files of this label. For one path, drop those whose patterns do not match it."""
        behind = self.labels[label]
        rules = self.profiles[profile].rules
        return [rule for rule in rules if isinstance(rule.object, FileObject) and rule.object.pattern in behind]


@dataclass(frozen=True, order=True)
class _Grant:
    """What a rule adds to the rights of a row: masks as in struct policy_rights, or policy_context if functions."""

    row: int
    functions: tuple[int, ...]
    allow: int
    audit: int
    taint: int


@dataclass(frozen=True, order=True)
class _Executable:
    """The pattern is the executable of this profile."""

    profile: int
    exact: bool


def compile_policy(policy: PolicySet, numbering: Numbering, generation: int, changed: Container[int] = ()) -> Tables:
    """The tables of a policy set. `numbering` knows all its profiles and functions: see Numbering.extend(). `changed`:
    the profiles, by number, that are not what they were in the set before.

    Raises CompileError, for patterns too, and AutomatonError. Limits are errors: nothing is left out.
    """
    return _Compiler(policy, numbering, changed).tables(generation)


class _Compiler:
    def __init__(self, policy: PolicySet, numbering: Numbering, changed: Container[int]) -> None:
        self.numbering = numbering
        self.changed = changed
        self.profiles: dict[int, Profile] = {}
        self.origins: dict[str, Origin] = {}  # of patterns: the first place
        self.executables: dict[str, _Executable] = {}
        self.grants: dict[str, list[_Grant]] = {}
        self.targets: dict[str, int] = {}  # pattern to row
        self.objects: list[bytes] = []
        self.object_rules: list[Rule] = []
        self.ranges: dict[int, tuple[int, int]] = {}  # of each profile in objects: first, count
        for profile in policy.profiles:
            self.add_executable(profile)
        self.profile_rows = max(self.profiles, default=0) + 1
        for number, profile in sorted(self.profiles.items()):
            first = len(self.objects)
            for rule in profile.rules:
                self.add_rule(number, rule)
            self.ranges[number] = first, len(self.objects) - first

    # Reading the policy.

    def check_pattern(self, pattern: str, origin: Origin) -> None:
        try:
            patterns.parse(pattern)
        except patterns.PatternError as error:
            raise CompileError(origin, error.message, hint=error.hint) from error
        self.origins.setdefault(pattern, origin)

    def add_executable(self, profile: Profile) -> None:
        self.check_pattern(profile.executable, profile.origin)
        number = self.numbering.profiles[profile.executable]
        if number in self.profiles:
            raise _two_profiles(self.profiles[number], profile)
        self.profiles[number] = profile
        self.executables[profile.executable] = _Executable(number, patterns.exact(profile.executable) is not None)

    def add_rule(self, profile: int, rule: Rule) -> None:
        self.check_effect(rule)
        functions = self.function_numbers(rule)
        if isinstance(rule.object, FileObject):
            self.check_pattern(rule.object.pattern, rule.origin)
            grant = self.file_grant(profile, rule, rule.object, functions)
            self.grants.setdefault(rule.object.pattern, []).append(grant)
        else:
            for encoded in self.encoded_objects(rule, functions):
                self.objects.append(encoded)
                self.object_rules.append(rule)

    def check_effect(self, rule: Rule) -> None:
        if not rule.effect:
            raise CompileError(rule.origin, "the rule does nothing")
        if rule.effect & (Effect.TRANSITION | Effect.UNTAINT):
            of_exec = isinstance(rule.object, FileObject) and FileAccess.EXEC in rule.object.access
            if not of_exec or Effect.ALLOW not in rule.effect or getattr(rule.object, "own", False):
                hint = 'for example: #[transition] fs("/usr/bin/x", exec)'
                raise CompileError(rule.origin, "transition and untaint belong to rules that allow exec", hint=hint)
        if Effect.TAINT in rule.effect and rule.functions:
            raise CompileError(rule.origin, "a taint rule cannot depend on functions", hint="write it outside of func")

    def function_numbers(self, rule: Rule) -> tuple[int, ...]:
        numbers = sorted({self.numbering.functions[function] for function in rule.functions})
        if len(numbers) > MAX_FUNCTIONS:
            what = f"the rule depends on {len(numbers)} functions, {MAX_FUNCTIONS} is the most"
            raise CompileError(rule.origin, what, hint="name the innermost ones")
        return tuple(numbers)

    def file_grant(self, profile: int, rule: Rule, file: FileObject, functions: tuple[int, ...]) -> _Grant:
        if not file.access:
            raise CompileError(rule.origin, "the rule names no access")
        if file.own and rule.effect & (Effect.AUDIT | Effect.TAINT):
            raise CompileError(rule.origin, "rights on own files can only be allowed, neither audited nor taint")
        allow = granted(file.access) if Effect.ALLOW in rule.effect else 0
        if file.own:
            allow <<= FILE_OWN_SHIFT
        audit = int(file.access) if Effect.AUDIT in rule.effect else 0
        taint = int(file.access) if Effect.TAINT in rule.effect else 0
        flags = sum(flag for effect, flag in _EXEC.items() if effect in rule.effect)
        if functions:
            return _Grant(profile, functions, allow, audit | flags, 0)
        return _Grant(profile, (), allow, audit, taint | flags)

    def encoded_objects(self, rule: Rule, functions: tuple[int, ...]) -> Iterator[bytes]:
        """One struct policy_object, or more where the effects do not have the same accesses."""
        effect = sum(number for flag, number in EFFECTS.items() if flag in rule.effect)
        match rule.object:
            case NetObject() as net:
                yield self.encoded_net(rule, net, effect, functions)
            case SignalObject(target=target, signals=signals):
                if not signals or not signals <= SIGNALS:
                    raise CompileError(rule.origin, f"signals are numbers 0 (the check) to {MEMORY}, at least one")
                mask = sum(1 << (number - 1) for number in signals - SIGNAL_EXTRA.keys())
                extra = sum(SIGNAL_EXTRA[number] for number in signals & SIGNAL_EXTRA.keys())
                yield self.encoded(rule, Kind.SIGNAL, effect, functions, mask, target=target, extra=extra)
            case PtraceObject(target=target, access=ptrace):
                yield self.encoded(rule, Kind.PTRACE, effect, functions, int(ptrace), target=target)
            case ProcObject(target=target, access=file):
                allowed = granted(file) if effect & EFFECT_ALLOW else file
                rest = effect & ~EFFECT_ALLOW
                if allowed != file and rest:
                    yield self.encoded(rule, Kind.PROC, EFFECT_ALLOW, functions, int(allowed), target=target)
                    yield self.encoded(rule, Kind.PROC, rest, functions, int(file), target=target)
                else:
                    yield self.encoded(rule, Kind.PROC, effect, functions, int(allowed), target=target)
            case CapabilityObject(capabilities=capabilities):
                if not capabilities <= frozenset(range(64)):
                    raise CompileError(rule.origin, "capabilities are numbers 0 to 63")
                mask = sum(1 << number for number in capabilities)
                yield self.encoded(rule, Kind.CAPABILITY, effect, functions, mask)
            case OperationObject(operations=operations):
                yield self.encoded(rule, Kind.OPERATION, effect, functions, int(operations))

    def encoded_net(self, rule: Rule, net: NetObject, effect: int, functions: tuple[int, ...]) -> bytes:
        family = net.family
        if net.network is not None:
            of_network = socket.AF_INET if net.network.version == 4 else socket.AF_INET6
            if family not in (None, of_network):
                raise CompileError(rule.origin, f"{net.network} is no network of family {family}")
            family = of_network
        first, last = net.ports if net.ports is not None else (0, 0xFFFF)
        if not 0 <= first <= last <= 0xFFFF:
            raise CompileError(rule.origin, f"ports are 0 to 65535, the first before the last: {first} to {last}")
        for value, most, what in (
            (family or 0, ANY_FAMILY - 1, "family"),
            (net.type or 0, 0xFFFF, "type"),
            (net.protocol or 0, ANY_PROTOCOL - 1, "protocol"),
        ):
            if not 0 <= value <= most:
                raise CompileError(rule.origin, f"no socket has the {what} {value}")
        return self.encoded(
            rule,
            Kind.NET,
            effect,
            functions,
            int(net.access),
            family=ANY_FAMILY if family is None else family,
            type_=net.type or 0,
            protocol=ANY_PROTOCOL if net.protocol is None else net.protocol,
            ports=(first, last),
            network=net.network,
            addressed=net.network is not None or net.ports is not None,
        )

    def encoded(
        self,
        rule: Rule,
        kind: Kind,
        effect: int,
        functions: tuple[int, ...],
        mask: int,
        *,
        target: Target | None = None,
        extra: int = 0,
        family: int = 0,
        type_: int = 0,
        protocol: int = 0,
        ports: tuple[int, int] = (0, 0),
        network: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None,
        addressed: bool = False,
    ) -> bytes:
        if not mask and not extra:
            raise CompileError(rule.origin, "the rule names no access")
        row = 0
        if target is not None and target.who is Who.EXE:
            self.check_pattern(target.pattern, rule.origin)
            row = self.targets.setdefault(target.pattern, self.profile_rows + len(self.targets))
        first, second = (*functions, 0, 0)[:MAX_FUNCTIONS]
        return OBJECT.pack(
            kind,
            WHO[target.who] if target is not None else 0,
            effect,
            network.prefixlen if network is not None else 0,
            family,
            type_,
            protocol,
            *ports,
            mask,
            first,
            second,
            row,
            addressed,
            extra,
            0,
            network.network_address.packed if network is not None else b"",
        )

    # Writing the tables.

    def tables(self, generation: int) -> Tables:
        tags, uses = self.tags()
        try:
            automaton = build(tags.items())
        except AutomatonError as error:
            places = sorted({self.origins[pattern] for pattern in error.patterns})
            raise CompileError(places[0], error.message, hint=f"{error.hint}: {', '.join(map(str, places))}") from error
        rights = self.rights(generation, automaton, uses)
        behind: list[set[str]] = [set() for _ in uses]
        for pattern, tag in tags.items():
            behind[tag].add(pattern)
        return Tables(
            generation=generation,
            automaton=automaton.cells,
            rights=rights,
            objects=b"".join(self.objects),
            states=automaton.states,
            labels=tuple(frozenset().union(*(behind[tag] for tag in label)) for label in automaton.labels),
            object_rules=tuple(self.object_rules),
            profiles=self.profiles,
            functions={number: function for function, number in self.numbering.functions.items()},
        )

    def tags(self) -> tuple[dict[str, int], list[tuple[_Grant | _Executable, ...]]]:
        """The tag of each pattern, and the uses of each tag."""
        targets = {pattern: _Grant(row, (), 1, 0, 0) for pattern, row in self.targets.items()}
        tags: dict[str, int] = {}
        numbers: dict[tuple[_Grant | _Executable, ...], int] = {}
        for pattern in self.origins:
            uses: list[_Grant | _Executable] = [*sorted(set(self.grants.get(pattern, ())))]
            if pattern in self.targets:
                uses.append(targets[pattern])
            if pattern in self.executables:
                uses.append(self.executables[pattern])
            tags[pattern] = numbers.setdefault(tuple(uses), len(numbers))
        return tags, list(numbers)

    def rights(self, generation: int, automaton: Automaton, uses: list[tuple[_Grant | _Executable, ...]]) -> bytes:
        selected = [self.profile_of(label, uses) for label in automaton.labels]
        rows = self.profile_rows + len(self.targets)
        per_row = -(-len(automaton.labels) // PAGE_CELLS)
        contexts: list[bytes] = []
        known: dict[tuple[bytes, ...], int] = {}
        # By row and number of the page: its cells that are not zero.
        filled: dict[tuple[int, int], dict[int, bytes]] = {}
        for label, of_label in enumerate(automaton.labels):
            by_row: dict[int, list[_Grant]] = {}
            for tag in of_label:
                for use in uses[tag]:
                    if isinstance(use, _Grant):
                        by_row.setdefault(use.row, []).append(use)
            for row, grants in by_row.items():
                within = _contexts(grants)
                if len(within) > MAX_CONTEXTS:
                    profile = self.profiles[row]
                    what = f"rules of more than {MAX_CONTEXTS} functions on the same files"
                    raise CompileError(profile.origin, what, hint=f"in profile {profile.executable}")
                first = 0
                if within:
                    if within not in known:
                        known[within] = len(contexts)
                        contexts.extend(within)
                    first = known[within]
                plain = [grant for grant in grants if not grant.functions]
                cell = RIGHTS.pack(
                    _union(grant.allow for grant in plain),
                    _union(grant.audit for grant in plain),
                    _union(grant.taint for grant in plain),
                    first | len(within) << 24,
                )
                filled.setdefault((row, label // PAGE_CELLS), {})[label % PAGE_CELLS] = cell
        if len(contexts) >= 1 << 24:
            raise UsageError(f"the policies need {len(contexts)} contexts, the most is {(1 << 24) - 1}")

        empty = bytes(CELL.size)
        profiles_at = HEADER.size // CELL.size
        executables_at = profiles_at + self.profile_rows
        pages_at = executables_at + -(-len(selected) // 4)
        contexts_at = pages_at + -(-rows * per_row // 4)
        first_page = contexts_at + len(contexts)
        pages: dict[bytes, int] = {empty * PAGE_CELLS: first_page}
        places = [first_page] * (rows * per_row)
        for (row, number), cells in filled.items():
            page = b"".join([cells.get(index, empty) for index in range(PAGE_CELLS)])
            places[row * per_row + number] = pages.setdefault(page, first_page + len(pages) * PAGE_CELLS)
        header = HEADER.pack(
            generation, profiles_at, executables_at, pages_at, per_row, contexts_at, len(automaton.labels), rows
        )
        parts = [header, *map(self.profile_cell, range(self.profile_rows)), _words(selected), _words(places)]
        return b"".join([*parts, *contexts, *pages])

    def profile_of(self, label: frozenset[int], uses: list[tuple[_Grant | _Executable, ...]]) -> int:
        """The profile of an executable with this label, or 0."""
        found = {use for tag in label for use in uses[tag] if isinstance(use, _Executable)}
        candidates = sorted({use for use in found if use.exact} or found)
        if len(candidates) > 1:
            raise _two_profiles(self.profiles[candidates[0].profile], self.profiles[candidates[1].profile])
        return candidates[0].profile if candidates else 0

    def profile_cell(self, number: int) -> bytes:
        profile = self.profiles.get(number)
        if profile is None:
            return bytes(PROFILE.size)
        flags = (PROFILE_TAINTS if profile.taints else 0) | (PROFILE_COMPLAINS if profile.complain else 0)
        flags |= PROFILE_CHANGED if number in self.changed else 0
        return PROFILE.pack(flags, 1, *self.ranges[number])


def in_blocks(content: bytes, begins: int, size: int) -> bytes:
    """A table as the kernel has it: blocks of `size` bytes, of which one begins every `begins` bytes of the table."""
    return b"".join(content[at : at + size].ljust(size, b"\0") for at in range(0, len(content), begins))


def _two_profiles(one: Profile, other: Profile) -> CompileError:
    one, other = sorted((one, other), key=lambda profile: profile.origin)
    return CompileError(
        other.origin,
        f"profile {other.executable} is for executables that profile {one.executable} ({one.origin}) is for too",
        hint="one profile for each executable; a path without wildcards goes before patterns",
    )


def _contexts(grants: Iterable[_Grant]) -> tuple[bytes, ...]:
    by_functions: dict[tuple[int, ...], list[_Grant]] = {}
    for grant in grants:
        if grant.functions:
            by_functions.setdefault(grant.functions, []).append(grant)
    return tuple(
        CONTEXT.pack(
            *(*functions, 0, 0)[:MAX_FUNCTIONS],
            _union(grant.allow for grant in within),
            _union(grant.audit for grant in within),
        )
        for functions, within in sorted(by_functions.items())
    )


def _union(masks: Iterable[int]) -> int:
    found = 0
    for mask in masks:
        found |= mask
    return found


def _words(numbers: list[int]) -> bytes:
    """As cells of four."""
    return struct.pack(f"<{len(numbers)}I", *numbers) + bytes(-len(numbers) % 4 * 4)
