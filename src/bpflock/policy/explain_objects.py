# SPDX-License-Identifier: Apache-2.0
"""Why the policy engine decided as it did about anything but a file: sockets, processes, capabilities, operations."""

import ipaddress
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from urllib.parse import unquote_to_bytes

from bpflock.policy.bpfbox import names
from bpflock.policy.bpfbox.show import show_object, show_rule
from bpflock.policy.evaluate import (
    Access,
    CapabilityRequest,
    NetRequest,
    OperationRequest,
    Peer,
    ProcRequest,
    PtraceRequest,
    Request,
    SignalRequest,
    Subject,
    evaluate,
)
from bpflock.policy.model import (
    LAST_SIGNAL,
    CapabilityObject,
    Effect,
    FileAccess,
    NetAccess,
    NetObject,
    Object,
    Operation,
    OperationObject,
    Origin,
    ProcObject,
    Profile,
    PtraceAccess,
    PtraceObject,
    Rule,
    SignalObject,
    Target,
    Who,
)
from bpflock.policy.pattern import escape

_ORIGIN = Origin("suggestion", 1, 1)


def request_of(event: Mapping[str, str]) -> Request | None:
    """What was asked for, or None if the event does not tell (all of) it."""
    words = event.get("operation", "").split("|")
    peer = Peer(
        unquote_to_bytes(event.get("filename", "")),
        frozenset(Who(word) for word in event.get("who", "").split("|") if word in names.WHO),
    )
    try:
        match event.get("kind"):
            case "net":
                return _net(event, words)
            case "signal":
                return SignalRequest(peer, _number(words[0], names.SIGNALS | names.BESIDE_SIGNALS))
            case "ptrace":
                return PtraceRequest(peer, PtraceAccess(sum(PtraceAccess[word.upper()] for word in words)))
            case "proc":
                peer = replace(peer, executable=b"")  # the name in the event is the file's
                return ProcRequest(peer, FileAccess(sum(FileAccess[word.upper()] for word in words)))
            case "capability":
                return CapabilityRequest(_number(words[0], names.CAPABILITIES))
            case "operation":
                return OperationRequest(Operation[words[0].upper()])
    except (KeyError, ValueError):
        pass
    return None


def _number(word: str, known: Mapping[str, int]) -> int:
    return known[word] if word in known else int(word)


def _net(event: Mapping[str, str], words: list[str]) -> NetRequest:
    return NetRequest(
        NetAccess(sum(NetAccess[word.upper()] for word in words)),
        _number(event["family"], names.FAMILIES),
        _number(event["type"], names.TYPES),
        _number(event["protocol"], names.PROTOCOLS),
        ipaddress.ip_address(event["address"]) if "address" in event else None,
        int(event["port"]) if "port" in event else None,
    )


def explain_request(profile: Profile, request: Request, reason: str) -> Iterator[str]:
    """Lines for people: the rule that decided, or the smallest one that would allow it, and what else that allows."""
    effect = Effect.TAINT if reason.startswith("taint") else Effect.AUDIT if reason.startswith("audit") else None
    if effect:
        yield f"decided: {reason}"
        for rule in profile.rules:
            if effect in rule.effect and _matches(replace(rule, functions=()), request):
                yield f"by: {rule.origin}: {show_rule(rule)}"
        return
    allowing = [rule for rule in profile.rules if Effect.ALLOW in rule.effect]
    for rule in allowing:
        if _matches(rule, request):
            yield f"decided: {reason}; this policy allows it: {rule.origin}: {show_rule(rule)}"
            return
    yield f"decided: {reason}: no rule allowed it"
    for rule in allowing:
        if rule.functions and _matches(replace(rule, functions=()), request):
            inside = " and ".join(f"{function.name}()" for function in rule.functions)
            yield f"near: {rule.origin}: {show_rule(rule)}: it holds only inside {inside}"
        elif type(rule.object) is type(smallest(request)):
            yield f"near: {rule.origin}: {show_rule(rule)}"
    yield f"would allow it: {show_object(smallest(request))}"
    yield f"that would also allow it to: {_consequence(request)}"


def _matches(rule: Rule, request: Request) -> bool:
    alone = Profile("/", (replace(rule, effect=Effect.ALLOW),), _ORIGIN)
    return evaluate(Access(Subject(alone), request)).allowed


def smallest(request: Request) -> Object:
    """The narrowest rule that allows a request."""
    match request:
        case NetRequest():
            addressed = request.address is not None and request.port is not None
            return NetObject(
                request.access,
                request.family,
                request.type,
                network=ipaddress.ip_network(request.address) if addressed and request.address is not None else None,
                ports=(request.port, request.port) if addressed and request.port is not None else None,
            )
        case SignalRequest(peer=peer, signal=number):
            return SignalObject(_target(peer), frozenset({number}))
        case PtraceRequest(peer=peer, access=ptrace):
            return PtraceObject(_target(peer), ptrace)
        case ProcRequest(peer=peer, access=file):
            return ProcObject(_target(peer), file)
        case CapabilityRequest(capability=capability):
            return CapabilityObject(frozenset({capability}))
        case OperationRequest(operation=operation):
            return OperationObject(operation)
        case _:
            raise ValueError(f"not about anything but files: {request}")


def _target(peer: Peer) -> Target:
    for who in (Who.CHILD, Who.PARENT, Who.SELF):
        if who in peer.relations:
            return Target(who)
    if peer.executable.startswith(b"/"):
        return Target(Who.EXE, escape(os.fsdecode(peer.executable)))
    return Target(Who.ANY)


def _consequence(request: Request) -> str:
    """What the narrowest rule lets a program do beyond this one access."""
    match request:
        case NetRequest(address=None):
            return "do that with every socket of that family and type, whatever the address"
        case NetRequest():
            return "do that at any time, with any data"
        case SignalRequest(signal=number) if number > LAST_SIGNAL:
            return "do it at any time, to every process that is meant by that"
        case SignalRequest():
            return "send it at any time, to every process that is meant by that"
        case PtraceRequest(access=access) if access & PtraceAccess.TRACED:
            return "be read and changed by that process as it likes"
        case PtraceRequest(access=access) if access & PtraceAccess.ATTACH:
            return "read and change all memory of that process, and act as it"
        case PtraceRequest():
            return "read what the kernel knows of that process: its memory map, environment, open files"
        case ProcRequest():
            return "do that with all files of that process below /proc"
        case CapabilityRequest():
            return "use the capability for anything that the kernel asks it for"
        case _:
            return "do everything of that kind: the operation has no finer rules"
