# SPDX-License-Identifier: Apache-2.0
"""The reference evaluator: what a policy set means. The kernel must decide the same.

One access of a subject is decided like this:

1.  A subject without a profile may do everything.
2.  A profile with taint rules is not enforced before one of them matches: until then everything is allowed, that
    access too, and the subject is tainted from then on. A profile without taint rules is enforced from the beginning.
3.  Enforced: every single access must be allowed by some rule, else all is denied. A profile that complains allows it,
    and tells.
4.  What is allowed and matches an audit rule is told.

A rule with functions matches only while the thread is in all of them. Any right on a file that a rule allows includes
GETATTR: what may be read may be looked at. A subject may read and map its own executable.
"""

import enum
import ipaddress
import socket
from dataclasses import dataclass, field, replace

from bpflock.policy.model import (
    CapabilityObject,
    Effect,
    FileAccess,
    FileObject,
    Function,
    NetAccess,
    NetObject,
    Operation,
    OperationObject,
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
from bpflock.policy.pattern import exact, matches


@dataclass(frozen=True)
class Subject:
    """Who accesses. `executable`: its path; `functions`: those that the thread is in."""

    profile: Profile | None
    tainted: bool = False
    functions: frozenset[Function] = frozenset()
    executable: bytes = b""

    @property
    def enforced(self) -> bool:
        return self.profile is not None and (self.tainted or not self.profile.taints)


@dataclass(frozen=True)
class Peer:
    """Another process: the path of its executable, and what it is to the subject: any of SELF, PARENT and CHILD."""

    executable: bytes
    relations: frozenset[Who] = frozenset()


@dataclass(frozen=True)
class FileRequest:
    """`own`: the program created the file."""

    path: bytes
    access: FileAccess
    own: bool = False


@dataclass(frozen=True)
class ProcRequest:
    """Of a file of a process below procfs."""

    peer: Peer
    access: FileAccess


@dataclass(frozen=True)
class NetRequest:
    """`address` and `port`: the peer's for connect and send, the own ones for bind and listen, else None."""

    access: NetAccess
    family: int
    type: int
    protocol: int
    address: ipaddress.IPv4Address | ipaddress.IPv6Address | None = None
    port: int | None = None


@dataclass(frozen=True)
class SignalRequest:
    """0 is the check of kill(pid, 0)."""

    peer: Peer
    signal: int


@dataclass(frozen=True)
class PtraceRequest:
    peer: Peer
    access: PtraceAccess


@dataclass(frozen=True)
class CapabilityRequest:
    capability: int


@dataclass(frozen=True)
class OperationRequest:
    operation: Operation


Request = FileRequest | ProcRequest | NetRequest | SignalRequest | PtraceRequest | CapabilityRequest | OperationRequest


@dataclass(frozen=True)
class Access:
    subject: Subject
    request: Request


class Reason(enum.Enum):
    UNCONFINED = "no profile"
    UNTAINTED = "not tainted yet"
    TAINTING = "a taint rule matches: enforced from now on"
    OWN_EXECUTABLE = "its own executable"
    ALLOWED = "a rule allows it"
    DENIED = "no rule allows it"
    COMPLAINED = "no rule allows it, but the profile only complains"


@dataclass(frozen=True)
class Decision:
    """`rule`: the first one that allows (some of) the access, or that taints. `missing`: what no rule allows of an
    access that is a mask; for others 1, or 0."""

    allowed: bool
    reason: Reason
    rule: Rule | None = None
    audited: bool = False
    taints: bool = False
    missing: int = field(default=0, compare=False)

    @property
    def told(self) -> bool:
        """Whether there is an event."""
        return self.audited or self.reason in (Reason.TAINTING, Reason.DENIED, Reason.COMPLAINED)


def granted(access: FileAccess) -> FileAccess:
    """What a rule allows that names this access."""
    return access | FileAccess.GETATTR if access else access


def evaluate(access: Access) -> Decision:
    """The decision on one access."""
    subject, request = access.subject, access.request
    if subject.profile is None:
        return Decision(True, Reason.UNCONFINED)
    asked = _asked(request)
    matching = [(rule, _matched(rule, subject, request)) for rule in subject.profile.rules]
    if not subject.enforced:
        for rule, matched in matching:
            if Effect.TAINT in rule.effect and asked & matched:
                return Decision(True, Reason.TAINTING, rule, taints=True)
        return Decision(True, Reason.UNTAINTED)

    reason, by = Reason.OWN_EXECUTABLE, None
    missing = asked & ~_on_own_executable(subject, request)
    for rule, matched in matching:
        matched |= _implied(rule, matched)
        if Effect.ALLOW in rule.effect and asked & matched:
            missing &= ~matched
            reason, by = Reason.ALLOWED, by or rule
    if missing and not subject.profile.complain:
        return Decision(False, Reason.DENIED, missing=missing)
    if missing:
        return Decision(True, Reason.COMPLAINED, missing=missing)
    audited = any(Effect.AUDIT in rule.effect and asked & matched for rule, matched in matching)
    return Decision(True, reason, by, audited=audited)


def profile_of(policy: PolicySet, executable: bytes) -> Profile | None:
    """The profile that an executable begins under. A path without wildcards goes before patterns."""
    found = [profile for profile in policy.profiles if matches(profile.executable, executable)]
    named = [profile for profile in found if exact(profile.executable) is not None]
    return next(iter(named or found), None)


def execute(policy: PolicySet, subject: Subject, executable: bytes) -> Subject:
    """What a subject is after it executed a file, which it was allowed to."""
    begun = profile_of(policy, executable)
    if subject.profile is None:
        return Subject(begun, executable=executable)
    request = FileRequest(executable, FileAccess.EXEC)
    effect = Effect(0)
    for rule in subject.profile.rules:
        if _matched(rule, subject, request) & FileAccess.EXEC:
            effect |= rule.effect
    after = replace(subject, executable=executable, functions=frozenset())
    if Effect.UNTAINT in effect:
        after = replace(after, tainted=False)
    if Effect.TRANSITION in effect and begun is not None:
        after = replace(after, profile=begun)
    return after


def _asked(request: Request) -> int:
    match request:
        case FileRequest() | ProcRequest() | NetRequest() | PtraceRequest():
            return int(request.access)
        case _:
            return 1


def _on_own_executable(subject: Subject, request: Request) -> int:
    if isinstance(request, FileRequest) and request.path == subject.executable:
        return FileAccess.READ | FileAccess.EXEC | FileAccess.GETATTR
    return 0


def _implied(rule: Rule, matched: int) -> int:
    if isinstance(rule.object, FileObject | ProcObject):
        return int(granted(FileAccess(matched)))
    return matched


def _matched(rule: Rule, subject: Subject, request: Request) -> int:
    """The accesses that a rule is about, as far as it matches this request; 1 where there is only one."""
    if not subject.functions.issuperset(rule.functions):
        return 0
    match rule.object, request:
        case FileObject() as file, FileRequest():
            return int(file.access) if matches(file.pattern, request.path) and (request.own or not file.own) else 0
        case ProcObject() as proc, ProcRequest():
            return int(proc.access) if _is_target(proc.target, request.peer) else 0
        case NetObject() as net, NetRequest():
            return int(net.access) if _is_socket(net, request) else 0
        case SignalObject() as signal, SignalRequest():
            return int(_is_target(signal.target, request.peer) and request.signal in signal.signals)
        case PtraceObject() as ptrace, PtraceRequest():
            return int(ptrace.access) if _is_target(ptrace.target, request.peer) else 0
        case CapabilityObject() as capability, CapabilityRequest():
            return int(request.capability in capability.capabilities)
        case OperationObject() as operation, OperationRequest():
            return int(request.operation in operation.operations)
        case _:
            return 0


def _is_target(target: Target, peer: Peer) -> bool:
    if target.who is Who.EXE:
        return matches(target.pattern, peer.executable)
    return target.who is Who.ANY or target.who in peer.relations


def _is_socket(net: NetObject, request: NetRequest) -> bool:
    if net.network is not None:
        family = socket.AF_INET if net.network.version == 4 else socket.AF_INET6
        if request.family != family or request.address is None or request.address not in net.network:
            return False
    if net.ports is not None and (request.port is None or not net.ports[0] <= request.port <= net.ports[1]):
        return False
    return (
        net.family in (None, request.family)
        and net.type in (None, request.type)
        and net.protocol in (None, request.protocol)
    )
