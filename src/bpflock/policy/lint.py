# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a policy set that compiles: rules without effect, and rules that allow more than they seem to.

What patterns have in common is read off the automaton of all of them: its labels are all the sets of patterns that
some path can match together.
"""

import enum
import socket
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from bpflock.errors import UsageError
from bpflock.policy import machine
from bpflock.policy.automaton import build
from bpflock.policy.evaluate import granted
from bpflock.policy.model import (
    CapabilityObject,
    Effect,
    FileAccess,
    FileObject,
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
from bpflock.policy.tables import CompileError, Numbering, compile_policy

# Programs that run what a file that is merely readable says, or start any other program.
INTERPRETERS = (
    *("sh", "bash", "dash", "zsh", "ksh", "fish", "busybox", "python3", "python", "perl", "ruby", "node", "php", "lua"),
    *("tclsh", "awk", "gawk", "mawk", "sed", "env", "xargs", "find", "gdb", "strace", "java", "make", "vim", "ed"),
)
_PLACES = ("/bin", "/usr/bin", "/usr/local/bin")

_CHANGES = FileAccess.WRITE | FileAccess.APPEND | FileAccess.CREATE
_NAMED = 4  # how many of a list are named


class Severity(enum.Enum):
    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    origin: Origin
    severity: Severity
    message: str
    hint: str = ""


def lint(policy: PolicySet, *, here: bool = True) -> list[Finding]:
    """All findings, in the order of the files. `here`: compare with the files of this machine too."""
    try:
        numbering = Numbering()
        numbering.extend(policy)
        compile_policy(policy, numbering, 1)
    except CompileError as error:
        message = error.message.removeprefix(f"{error.origin}: ")
        return [Finding(error.origin, Severity.ERROR, message, error.hint or "")]
    except UsageError as error:
        return [Finding(policy.profiles[0].origin, Severity.ERROR, error.message, error.hint or "")]
    overlaps = _Overlaps(policy)
    scripted = overlaps.matched(f"{place}/{name}" for place in _PLACES for name in INTERPRETERS)
    found = [*_dangerous_profiles(policy, overlaps)]
    for profile in policy.profiles:
        found += _without_effect(profile, overlaps)
        found += _useless_transitions(policy, profile, overlaps)
        found += _writable_code(profile, overlaps)
        found += _interpreters(profile, scripted)
    if here:
        search = machine.Search()
        for profile in policy.profiles:
            found += _not_here(profile, search)
    return sorted(dict.fromkeys(found), key=lambda finding: finding.origin)


def _is_built_in(origin: Origin) -> bool:
    """Of a rule that `#![use NAME]` brought: nobody can change it, and it is for all machines."""
    return origin.file.startswith("<")


class _Overlaps:
    """Which patterns match the same paths."""

    def __init__(self, policy: PolicySet) -> None:
        self.texts = list(dict.fromkeys(policy.patterns()))
        self.tag = {text: tag for tag, text in enumerate(self.texts)}
        self._automaton = build(self.tag.items())
        self._sets = self._automaton.labels
        self._holding: dict[int, list[int]] = defaultdict(list)
        for label, tags in enumerate(self._sets):
            for tag in tags:
                self._holding[tag].append(label)
        self._meeting: dict[str, frozenset[int]] = {}

    def kinds_of_path(self, pattern: str) -> list[frozenset[int]]:
        """For each kind of path that a pattern matches, the tags of all patterns that match it."""
        return [self._sets[label] for label in self._holding[self.tag[pattern]]]

    def meet(self, one: str, other: str) -> bool:
        """Whether some path matches both."""
        if one not in self._meeting:
            self._meeting[one] = frozenset().union(*self.kinds_of_path(one))
        return self.tag[other] in self._meeting[one]

    def covers(self, wide: str, narrow: str) -> bool:
        """Whether all that the narrow one matches the wide one matches too."""
        tag = self.tag[wide]
        return all(tag in tags for tags in self.kinds_of_path(narrow))

    def matched(self, paths: Iterable[str]) -> dict[str, list[str]]:
        """Which of these paths each pattern matches."""
        found: dict[str, list[str]] = defaultdict(list)
        for path in paths:
            for tag in self._sets[self._automaton.run(path.encode())]:
                found[self.texts[tag]].append(path)
        return found


# Rules without effect.


def _without_effect(profile: Profile, overlaps: _Overlaps) -> Iterator[Finding]:
    """Rules that others make superfluous: from the end, so that of two equal ones the second is told."""
    left = {id(rule): rule for rule in profile.rules}
    by_pattern: dict[int, list[Rule]] = defaultdict(list)
    for rule in profile.rules:
        if isinstance(rule.object, FileObject):
            by_pattern[overlaps.tag[rule.object.pattern]].append(rule)

    def covered_by(rule: Rule) -> list[Rule]:
        """The rules that together say all that a rule says; none if they do not."""
        used: dict[int, Rule] = {}
        for effect in rule.effect:

            def fits(other: Rule, rule: Rule = rule, effect: Effect = effect) -> bool:
                return (
                    other is not rule
                    and id(other) in left
                    and effect in other.effect
                    and set(other.functions) <= set(rule.functions)
                )

            if isinstance(rule.object, FileObject):
                by = _file_covered_by(rule.object, effect, by_pattern, fits, overlaps)
            else:
                alike = [o for o in left.values() if type(o.object) is type(rule.object) and fits(o)]
                by = _object_covered_by(rule, effect, alike, overlaps)
            if not by:
                return []
            used.update({id(other): other for other in by})
        return sorted(used.values(), key=lambda other: other.origin)

    for rule in reversed(profile.rules):
        if _is_built_in(rule.origin):
            continue  # what others say too is no mistake of theirs
        by = covered_by(rule)
        if by:
            del left[id(rule)]
            more = f" and {len(by) - _NAMED} more" if len(by) > _NAMED else ""
            shown = ", ".join(str(other.origin) for other in by[:_NAMED]) + more
            if rule.functions and not any(other.functions for other in by):
                message = f"holds outside of the function too: {shown}"
            else:
                message = f"has no effect: said already by {shown}"
            yield Finding(rule.origin, Severity.WARNING, message, "remove one of them")
        elif Effect.AUDIT in rule.effect and Effect.ALLOW not in rule.effect:
            yield from _audits_nothing(rule, profile.rules, overlaps)
        if Effect.UNTAINT in rule.effect and not profile.taints:
            message = "untaint has no effect: the profile has no taint rules, it is always enforced"
            yield Finding(rule.origin, Severity.WARNING, message)


def _file_access(rule: Rule, effect: Effect) -> FileAccess:
    assert isinstance(rule.object, FileObject | ProcObject)
    return granted(rule.object.access) if effect is Effect.ALLOW else rule.object.access


def _file_covered_by(
    file: FileObject,
    effect: Effect,
    by_pattern: dict[int, list[Rule]],
    fits: Callable[[Rule], bool],
    overlaps: _Overlaps,
) -> list[Rule]:
    used: dict[int, Rule] = {}
    for tags in overlaps.kinds_of_path(file.pattern):
        present = [other for tag in sorted(tags) for other in by_pattern.get(tag, ()) if fits(other)]
        for bit in FileAccess.EXEC if effect in Effect.TRANSITION | Effect.UNTAINT else file.access:
            other = next((o for o in present if bit in _file_access(o, effect) and (file.own or not _is_own(o))), None)
            if other is None:
                return []
            used[id(other)] = other
    return list(used.values())


def _is_own(rule: Rule) -> bool:
    return isinstance(rule.object, FileObject) and rule.object.own


def _object_covered_by(rule: Rule, effect: Effect, others: list[Rule], overlaps: _Overlaps) -> list[Rule]:
    used: dict[int, Rule] = {}
    for atom in _atoms(rule, effect, only=True):
        other = next(
            (o for o in others if atom in _atoms(o, effect) and _as_wide(o.object, rule.object, overlaps)), None
        )
        if other is None:
            return []
        used[id(other)] = other
    return list(used.values())


def _atoms(rule: Rule, effect: Effect, *, only: bool = False) -> frozenset[int]:
    """The accesses of a rule one by one. `only`: without those that it implies."""
    match rule.object:
        case SignalObject(signals=numbers) | CapabilityObject(capabilities=numbers):
            return numbers
        case ProcObject(access=access):
            return frozenset(map(int, access if only else _file_access(rule, effect)))
        case NetObject(access=net):
            return frozenset(map(int, net))
        case PtraceObject(access=ptrace):
            return frozenset(map(int, ptrace))
        case OperationObject(operations=operations):
            return frozenset(map(int, operations))
        case FileObject():
            raise TypeError("files have patterns")


def _as_wide(wide: object, narrow: object, overlaps: _Overlaps) -> bool:
    """Whether an object, apart from accesses, includes another of its kind."""
    match wide, narrow:
        case NetObject(), NetObject():
            return (
                wide.family in (None, _family(narrow))
                and wide.type in (None, narrow.type)
                and wide.protocol in (None, narrow.protocol)
                and (wide.network is None or _is_subnet(narrow, wide))
                and (wide.ports is None or _has_ports(narrow, wide.ports))
            )
        case (
            (SignalObject(target=one), SignalObject(target=other))
            | (PtraceObject(target=one), PtraceObject(target=other))
            | (ProcObject(target=one), ProcObject(target=other))
        ):
            return _target_as_wide(one, other, overlaps)
        case _:
            return True


def _family(net: NetObject) -> int | None:
    if net.network is None:
        return net.family
    return socket.AF_INET if net.network.version == 4 else socket.AF_INET6


def _is_subnet(narrow: NetObject, wide: NetObject) -> bool:
    one, other = narrow.network, wide.network
    if one is None or other is None or one.version != other.version:
        return False
    return int(one[0]) >= int(other[0]) and int(one[-1]) <= int(other[-1])


def _has_ports(narrow: NetObject, ports: tuple[int, int]) -> bool:
    # A rule with a network matches only accesses with a port, of which 0 to 65535 are all.
    first, last = narrow.ports or ((0, 65535) if narrow.network is not None else (-1, 65536))
    return ports[0] <= first and last <= ports[1]


def _target_as_wide(wide: Target, narrow: Target, overlaps: _Overlaps) -> bool:
    if wide.who is Who.EXE and narrow.who is Who.EXE:
        return overlaps.covers(wide.pattern, narrow.pattern)
    return wide.who in (Who.ANY, narrow.who)


def _audits_nothing(rule: Rule, rules: Iterable[Rule], overlaps: _Overlaps) -> Iterator[Finding]:
    """An audit rule about what no rule allows: denials are told in any case."""
    for other in rules:
        if Effect.ALLOW not in other.effect or type(other.object) is not type(rule.object):
            continue
        if not isinstance(rule.object, FileObject) or not isinstance(other.object, FileObject):
            if _atoms(rule, Effect.AUDIT) & _atoms(other, Effect.ALLOW):
                return
        elif rule.object.access & _file_access(other, Effect.ALLOW) and overlaps.meet(
            rule.object.pattern, other.object.pattern
        ):
            return
    message = "audits what no rule allows: it is denied, and denials are told in any case"
    yield Finding(rule.origin, Severity.WARNING, message, "add a rule that allows it, or remove this one")


def _useless_transitions(policy: PolicySet, profile: Profile, overlaps: _Overlaps) -> Iterator[Finding]:
    for rule in profile.rules:
        if Effect.TRANSITION not in rule.effect or not isinstance(rule.object, FileObject):
            continue
        if not any(overlaps.meet(rule.object.pattern, other.executable) for other in policy.profiles):
            message = "transition to nothing: no profile is for these executables, they would stay under this one"
            yield Finding(rule.origin, Severity.WARNING, message, "load it together with their profiles")


# Rules that allow more than they seem to.


def _allowing(profile: Profile, access: FileAccess) -> list[tuple[Rule, FileObject]]:
    return [
        (rule, rule.object)
        for rule in profile.rules
        if Effect.ALLOW in rule.effect and isinstance(rule.object, FileObject) and rule.object.access & access
    ]


def _writable_code(profile: Profile, overlaps: _Overlaps) -> Iterator[Finding]:
    writing = _allowing(profile, _CHANGES)
    for rule, file in _allowing(profile, FileAccess.EXEC):
        for other, written in writing:
            if not overlaps.meet(file.pattern, written.pattern):
                continue
            if not _is_built_in(rule.origin):
                where = "this rule itself" if other is rule else str(other.origin)
                message = f"what may be executed here may also be written ({where}): any program can be put there"
                yield Finding(rule.origin, Severity.WARNING, message, "name the executables one by one")
                break
            if not _is_built_in(other.origin):
                message = f"what may be written here may also be executed ({rule.origin}): any program can be put there"
                yield Finding(other.origin, Severity.WARNING, message, "make the pattern narrower")
                break


def _dangerous_profiles(policy: PolicySet, overlaps: _Overlaps) -> Iterator[Finding]:
    """Programs that others run, or that run under a less strict profile, could be replaced."""
    for profile in policy.profiles:
        for rule, file in _allowing(profile, _CHANGES | FileAccess.RM):
            met = [other for other in policy.profiles if overlaps.meet(file.pattern, other.executable)]
            if met:
                names = ["its own executable" if other is profile else other.executable for other in met]
                origin = profile.origin if _is_built_in(rule.origin) else rule.origin
                message = f"the program may write or remove executables that have profiles: {_list(names)}"
                yield Finding(origin, Severity.WARNING, message, "make the pattern narrower")


def _interpreters(profile: Profile, matched: dict[str, list[str]]) -> Iterator[Finding]:
    for rule, file in _allowing(profile, FileAccess.EXEC):
        names = matched.get(file.pattern, [])
        if names and Effect.TRANSITION not in rule.effect and not _is_built_in(rule.origin):
            message = f"allows to execute {_list(names)}: they run any script that may be read"
            yield Finding(rule.origin, Severity.WARNING, message, "give the interpreter a profile, and #[transition]")


def _list(names: list[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


# What is on this machine.


def _not_here(profile: Profile, search: machine.Search) -> Iterator[Finding]:
    for rule in profile.rules:
        if _is_built_in(rule.origin):
            continue
        match rule.object:
            case FileObject(pattern=pattern, access=access, own=own):
                creates = own or FileAccess.CREATE in access
                missing = "" if creates else "matches no file on this machine"
                yield from _path_findings(pattern, rule.origin, search, missing)
                yield from _other_names(rule, pattern)
            case SignalObject(target=target) | PtraceObject(target=target) | ProcObject(target=target):
                if target.who is Who.EXE:
                    yield from _path_findings(target.pattern, rule.origin, search, "matches no file on this machine")
            case _:
                pass


def _path_findings(pattern: str, origin: Origin, search: machine.Search, missing: str) -> Iterator[Finding]:
    for link, real in machine.through_links(pattern):
        message = f"'{pattern}' goes through the symbolic link {link}: the kernel sees {real}"
        yield Finding(origin, Severity.WARNING, message, f"write {real}")
        return
    if missing and search.matches_nothing(pattern):
        yield Finding(origin, Severity.NOTE, f"'{pattern}' {missing}")


def _other_names(rule: Rule, pattern: str) -> Iterator[Finding]:
    if Effect.ALLOW not in rule.effect and Effect.TAINT not in rule.effect:
        return
    for path, count in machine.hard_links(pattern):
        message = f"{path} has {count} names (hard links): under the others this rule does not apply to it"
        yield Finding(rule.origin, Severity.NOTE, message, f"find / -xdev -samefile {path}")
