# SPDX-License-Identifier: Apache-2.0
"""Profiles as text of the language, in one normal form: it means the same as what was written."""

from collections.abc import Iterator, Mapping
from typing import TypeVar

from bpflock.policy.bpfbox import names
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

_Mask = TypeVar("_Mask", FileAccess, NetAccess, PtraceAccess, Operation)


def words(mask: _Mask, known: Mapping[str, _Mask]) -> str:
    """The fewest words that say a mask: `write` says that it appends and creates."""
    if mask == known["any"]:
        return "any"
    found: list[str] = []
    left = mask
    for name, part in sorted(known.items(), key=lambda item: -int(item[1]).bit_count()):
        if part & left and part & mask == part:
            found.append(name)
            left &= ~part
    order = list(known)
    return "|".join(sorted(found, key=order.index)) or "none"


def file_words(access: FileAccess) -> str:
    """Of accesses to files. A mask from elsewhere that writes without creating is shown as `write`."""
    if access & FileAccess.WRITE:
        access |= names.FILE["write"]
    if access & FileAccess.APPEND:
        access |= names.FILE["append"]
    return words(access, names.FILE)


def _target(target: Target) -> str:
    return quoted(target.pattern) if target.who is Who.EXE else target.who.value


def quoted(pattern: str) -> str:
    """A pattern as a string of the language: what is escaped already stays so."""
    out, escaped = "", False
    for char in pattern:
        out += "\\" + char if char == '"' and not escaped else char
        escaped = char == "\\" and not escaped
    return f'"{out}"'


def _signals(signals: frozenset[int]) -> str:
    for name in ("any", "fatal"):
        if signals >= names.SIGNAL_GROUPS[name]:
            rest = _signals(signals - names.SIGNAL_GROUPS[name])
            return f"{name}|{rest}" if rest else name
    return "|".join(names.SIGNAL_NAMES.get(number, str(number)) for number in sorted(signals))


def _capabilities(capabilities: frozenset[int]) -> str:
    if capabilities == frozenset(range(64)):
        return "any"
    by_number = {number: name for name, number in names.CAPABILITIES.items()}
    return "|".join(by_number[number] for number in sorted(capabilities))


def _name(number: int | None, known: Mapping[str, int]) -> str:
    if number is None:
        return "any"
    return next((name for name, value in known.items() if value == number), str(number))


def _net(net: NetObject) -> str:
    parts = [_name(net.family, names.FAMILIES)]
    if net.type is not None:
        parts.append(_name(net.type, names.TYPES))
    parts.append(words(net.access, names.NET))
    if net.protocol is not None:
        parts.append(f"protocol={_name(net.protocol, names.PROTOCOLS)}")
    if net.network is not None:
        key = "to" if net.access & names.NET_TO else "at"
        parts.append(f'{key}="{net.network}"')
    if net.ports is not None:
        first, last = net.ports
        parts.append(f"port={first}" if first == last else f"port={first}-{last}")
    return f"net({', '.join(parts)})"


def show_object(obj: Object) -> str:
    """The rule itself, without directives."""
    match obj:
        case FileObject(pattern=pattern, access=access, own=own):
            return f"fs({quoted(pattern)}, {file_words(access)}{', own' if own else ''})"
        case ProcObject(target=target, access=access):
            return f"proc({_target(target)}, {file_words(access)})"
        case NetObject():
            return _net(obj)
        case SignalObject(target=target, signals=signals):
            return f"signal({_target(target)}, {_signals(signals)})"
        case PtraceObject(target=target, access=ptrace):
            return f"ptrace({_target(target)}, {words(ptrace, names.PTRACE)})"
        case CapabilityObject(capabilities=capabilities):
            return f"capability({_capabilities(capabilities)})"
        case OperationObject(operations=operations):
            return f"operation({words(operations, names.OPERATION)})"


def _string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _function(function: Function) -> str:
    if function.kernel:
        return f"#[kfunc {_string(function.name)}]"
    library = f" ({_string(function.library)})" if function.library else ""
    return f"#[func {_string(function.name)}{library}]"


def show_rule(rule: Rule) -> str:
    """A rule on one line, with its directives. `#[allow]` is left out where it is meant anyway."""
    directives = [_function(function) for function in rule.functions]
    effect = rule.effect
    if effect == Effect.ALLOW or effect & (Effect.TRANSITION | Effect.UNTAINT):
        effect &= ~Effect.ALLOW
    directives += [f"#[{part.name.lower()}]" for part in Effect if part in effect and part.name]
    return " ".join([*directives, show_object(rule.object)])


def show_profile(profile: Profile, *, origins: bool = False) -> Iterator[str]:
    """Its lines. `origins`: each rule tells where it comes from, in a comment."""
    complain = " complain" if profile.complain else ""
    yield f"#![profile {quoted(profile.executable)}{complain}]"
    for rule in profile.rules:
        text = show_rule(rule)
        yield f"{text:<60}  // {rule.origin}" if origins else text


def show(policy: PolicySet, *, origins: bool = False) -> str:
    """The whole set."""
    return "\n\n".join("\n".join(show_profile(profile, origins=origins)) for profile in policy.profiles)
