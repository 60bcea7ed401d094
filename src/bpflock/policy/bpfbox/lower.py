# SPDX-License-Identifier: Apache-2.0
"""Statements to the policy model. Every error is collected: one run tells all."""

import functools
import ipaddress
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from lark import Token

from bpflock.errors import BpflockError, nearest_right
from bpflock.policy.bpfbox import hints, names
from bpflock.policy.bpfbox.diagnostics import Diagnostic, PolicyError
from bpflock.policy.bpfbox.syntax import Argument, Block, Call, Directive, Statement, parse, source_line, source_lines
from bpflock.policy.model import (
    MAX_FUNCTIONS,
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
    ProcObject,
    Profile,
    PtraceAccess,
    PtraceObject,
    Rule,
    SignalObject,
    Target,
    Who,
)
from bpflock.policy.pattern import PatternError
from bpflock.policy.pattern import parse as parse_pattern

ABSTRACTIONS = Path(__file__).parent / "abstractions"
_DEEPEST_INCLUDE = 8
_MOST_OBJECTS = 4096  # that one net rule stands for
_TOO_LARGE = 10**9
_NO_EFFECT = Effect(0)
_NO_ACCESS = NetAccess(0)

_EFFECTS = {effect.name.lower(): effect for effect in Effect if effect.name}
_Mask = TypeVar("_Mask", FileAccess, NetAccess, PtraceAccess, Operation)


class _Fault(Exception):
    """One error in one place."""

    def __init__(self, token: Token, message: str, hint: str = "", *, offset: int = 0, width: int = 0) -> None:
        self.token = token
        self.message = message
        self.hint = hint
        self.offset = offset
        self.width = width or len(token) - offset


@dataclass(frozen=True)
class _Context:
    """What directives say about the rules below them."""

    effect: Effect = _NO_EFFECT
    functions: tuple[Function, ...] = ()
    own: bool = False
    by: Mapping[str, Token] = field(default_factory=dict)


@dataclass
class _Section:
    """A profile while its rules are gathered."""

    executable: str
    origin: Origin
    complain: bool = False
    rules: list[Rule] = field(default_factory=list)
    used: set[Path] = field(default_factory=set)


@dataclass
class _Source:
    text: str
    file: str
    path: Path | None  # the file, for includes relative to it

    @functools.cached_property
    def lines(self) -> list[str]:
        return source_lines(self.text)


class Lowering:
    """One policy file, and what it includes."""

    def __init__(self) -> None:
        self.profiles: list[_Section] = []
        self.diagnostics: list[Diagnostic] = []
        self._sources: list[_Source] = []
        self._executables: set[str] = set()
        self._told_of_rules = False  # that they stand before any profile

    def policy(self, text: str, file: str, path: Path | None) -> tuple[Profile, ...]:
        """Its profiles. Raises PolicyError with everything that is wrong."""
        self._source(_Source(text, file, path))
        if not self.diagnostics and not self.profiles:
            origin = Origin(file, 1, 1)
            message = "the policy has no profile"
            self.diagnostics.append(Diagnostic(origin, message, f"it begins with {names.HEADERS['profile']}"))
        if self.diagnostics:
            raise PolicyError(self.diagnostics)
        return tuple(Profile(s.executable, tuple(s.rules), s.origin, s.complain) for s in self.profiles)

    def _source(self, source: _Source) -> None:
        self._sources.append(source)
        try:
            statements = parse(source.text, source.file)
        except PolicyError as error:
            self.diagnostics += error.diagnostics
        else:
            for statement in statements:
                self._guard(self._statement, statement)
        self._sources.pop()

    def _guard(self, lower: Callable[[Statement], None], statement: Statement) -> None:
        try:
            lower(statement)
        except _Fault as fault:
            origin = self._origin(fault.token, fault.offset)
            line = source_line(self._sources[-1].lines, origin.line)
            self.diagnostics.append(Diagnostic(origin, fault.message, fault.hint, line, fault.width))

    def _origin(self, token: Token, offset: int = 0) -> Origin:
        return Origin(self._sources[-1].file, token.line or 1, (token.column or 1) + offset)

    def _statement(self, statement: Statement) -> None:
        if isinstance(statement, Directive):
            self._header(statement)
            return
        if not self.profiles:
            if not self._told_of_rules:
                self._told_of_rules = True
                hint = f"a policy begins with {names.HEADERS['profile']}"
                raise _Fault(_first(statement), "a rule before any profile", hint)
            return
        self._rules(statement, _Context())

    # Headers.

    def _header(self, header: Directive) -> None:
        name, arguments = header.name, header.arguments
        if name not in names.HEADERS:
            hint = nearest_right(name, names.HEADERS)
            if name in names.DIRECTIVES:
                hint = f"{names.DIRECTIVES[name]} is a directive, without '!'"
            raise _Fault(name, f"no header is called '{name}'", hint)
        if name == "profile":
            self._profile(name, arguments)
            return
        if not self.profiles:
            self._told_of_rules = True
            raise _Fault(name, f"#![{name}] before any profile", f"a policy begins with {names.HEADERS['profile']}")
        if name == "complain":
            if arguments:
                raise _Fault(arguments[0], "complain has no argument")
            self.profiles[-1].complain = True
        else:
            kind = "NAME" if name == "use" else "STRING"
            if len(arguments) != 1 or arguments[0].type != kind:
                at = arguments[0] if arguments else name
                raise _Fault(at, f"expected one {'name' if name == 'use' else 'file'}", names.HEADERS[name])
            self._include(arguments[0], self._file(arguments[0]))

    def _profile(self, name: Token, arguments: tuple[Token, ...]) -> None:
        if len(self._sources) > 1:
            raise _Fault(name, "an included file cannot have profiles of its own", "it holds rules for any profile")
        if not arguments or arguments[0].type != "STRING":
            raise _Fault(arguments[0] if arguments else name, "expected the executable", names.HEADERS["profile"])
        section = _Section(str(arguments[0][1:-1]), self._origin(name))
        self.profiles.append(section)  # its rules are checked even if its name is wrong
        for word in arguments[1:]:
            if word != "complain":
                raise _Fault(word, "expected 'complain' or ']'", names.HEADERS["profile"].replace('"]', '" complain]'))
            section.complain = True
        _pattern(arguments[0])
        if section.executable in self._executables:
            raise _Fault(arguments[0], f"a second profile for {section.executable}", "put the rules into one")
        self._executables.add(section.executable)

    def _file(self, token: Token) -> Path:
        if token.type == "NAME":
            path = ABSTRACTIONS / f"{token}.bpfbox"
            if not path.is_file():
                known = sorted(found.stem for found in ABSTRACTIONS.glob("*.bpfbox"))
                raise _Fault(token, f"no built-in rules are called '{token}'", nearest_right(token, known))
            return path
        source = self._sources[-1]
        if source.path is None:
            raise _Fault(token, "only a policy that is a file can include others")
        return source.path.parent / _text(token)

    def _include(self, token: Token, path: Path) -> None:
        try:
            path = path.resolve()
            regular = path.is_file() or not path.exists()
        except (OSError, ValueError, RuntimeError):  # a zero byte, links in a circle
            raise _Fault(token, "no file has this name", "the path is relative to this policy's") from None
        if not regular:
            raise _Fault(token, f"{path}: not a regular file", "the path is relative to this policy's")
        if any(source.path and source.path.resolve() == path for source in self._sources):
            raise _Fault(token, "the file includes itself")
        if len(self._sources) > _DEEPEST_INCLUDE:
            raise _Fault(token, f"includes are nested more than {_DEEPEST_INCLUDE} deep")
        section = self.profiles[-1]
        if path in section.used:
            return
        section.used.add(path)
        try:
            text = read(path)
        except PolicyError as error:
            self.diagnostics += error.diagnostics
        except BpflockError as error:
            raise _Fault(token, error.message, "the path is relative to this policy's") from None
        else:
            self._source(_Source(text, shown(path), path))

    # Rules.

    def _rules(self, statement: Call | Block, context: _Context) -> None:
        for directive in statement.directives:
            context = self._directive(directive, context)
        if isinstance(statement, Block):
            for inner in statement.statements:
                self._guard(lambda s, c=context: self._rules(s, c), inner)  # type: ignore[misc]
            return
        effect = context.effect
        if not effect:
            effect = Effect.ALLOW
        if effect & (Effect.TRANSITION | Effect.UNTAINT):
            effect |= Effect.ALLOW  # they say how a program runs that may be executed
        origin = self._origin(statement.name)
        objects = dict.fromkeys(self._objects(statement, context))
        self.profiles[-1].rules += [Rule(obj, effect, origin, context.functions) for obj in objects]

    def _directive(self, directive: Directive, context: _Context) -> _Context:
        name, arguments = directive.name, directive.arguments
        if name not in names.DIRECTIVES:
            hint = nearest_right(name, names.DIRECTIVES)
            if name in names.HEADERS:
                hint = f"{names.HEADERS[name]} is a header, with '!'"
            raise _Fault(name, f"no directive is called '{name}'", hint)
        if name in ("func", "kfunc"):
            most = 2 if name == "func" else 1
            if not 1 <= len(arguments) <= most:
                at = arguments[most] if arguments else name
                raise _Fault(at, f"expected the name of {'a' if most == 2 else 'one kernel'} function", _how(name))
            words = [_text(token) for token in arguments]
            if not all(words):
                raise _Fault(arguments[words.index("")], "an empty name", _how(name))
            function = Function(words[0], words[1] if len(words) > 1 else "", kernel=name == "kfunc")
            if function in context.functions:
                return context
            if len(context.functions) == MAX_FUNCTIONS:
                raise _Fault(name, f"a rule depends on {MAX_FUNCTIONS} functions at most", "name the innermost ones")
            return replace(context, functions=(*context.functions, function))
        if arguments:
            raise _Fault(arguments[0], f"#[{name}] has no argument")
        by = {**context.by, str(name): name}
        if name == "own":
            return replace(context, own=True, by=by)
        return replace(context, effect=context.effect | _EFFECTS[name], by=by)

    def _objects(self, call: Call, context: _Context) -> Iterator[Object]:
        name = call.name
        if name not in names.RULES:
            hint = nearest_right(name, names.RULES)
            if name in names.DIRECTIVES:
                hint = f"a directive is written {names.DIRECTIVES[name]}"
            raise _Fault(name, f"no rule is called '{name}'", hint)
        if name != "fs":
            for directive in ("own", "transition", "untaint"):
                if directive in context.by:
                    hint = "take the rule out of its block" if directive == "own" else 'fs("/path", exec)'
                    raise _Fault(name, f"#[{directive}] belongs to fs rules", hint)
        if name == "net":
            yield from _net(call)
            return
        for argument in call.arguments:
            if argument.key is not None:
                raise _Fault(argument.key, f"{name} has no '{argument.key}='", names.RULES[name])
        match str(name):
            case "fs":
                yield from _fs(call, context)
            case "proc":
                targets, access = _two(call)
                found = _targets(targets)
                mask = _mask(access, names.FILE, FileAccess(0), "access")
                yield from (ProcObject(target, mask) for target in found)
            case "signal":
                targets, words = _two(call)
                found = _targets(targets)
                signals: frozenset[int] = frozenset().union(*map(_signal, words.values))
                yield from (SignalObject(target, signals) for target in found)
            case "ptrace":
                targets, access = _two(call)
                found = _targets(targets)
                traced = _mask(access, names.PTRACE, PtraceAccess(0), "access")
                yield from (PtraceObject(target, traced) for target in found)
            case "capability":
                (argument,) = _some(call, 1)
                if [str(value) for value in argument.values] == ["any"]:
                    yield CapabilityObject(frozenset(range(64)))
                else:
                    numbers = [_word(value, names.CAPABILITIES, "capability", "cap_") for value in argument.values]
                    yield CapabilityObject(frozenset(numbers))
            case _:
                (argument,) = _some(call, 1)
                yield OperationObject(_mask(argument, names.OPERATION, Operation(0), "operation"))


def _how(name: str) -> str:
    return names.DIRECTIVES[name] + (": the library may be left out" if name == "func" else "")


def _first(statement: Call | Block) -> Token:
    """The first word of a statement."""
    if statement.directives:
        return statement.directives[0].name
    return statement.name if isinstance(statement, Call) else statement.begin


def _some(call: Call, fewest: int, most: int | None = None) -> tuple[Argument, ...]:
    most = most or fewest
    found = len(call.arguments)
    if not fewest <= found <= most:
        number = str(fewest) if fewest == most else f"{fewest} to {most}"
        at = call.arguments[most].values[0] if found > most else call.name
        raise _Fault(at, f"{call.name} takes {number} argument{'s' * (most > 1)}, here are {found}", _usage(call.name))
    return call.arguments


def _two(call: Call) -> tuple[Argument, Argument]:
    first, second = _some(call, 2)
    return first, second


def _usage(name: Token) -> str:
    return f"as in {names.RULES[name]}"


def _text(token: Token) -> str:
    """A string that is no pattern."""
    return token[1:-1].replace('\\"', '"').replace("\\\\", "\\")


def _pattern(token: Token) -> str:
    # Patterns have backslashes of their own, which may stand before a quote too.
    text = str(token[1:-1])
    try:
        parse_pattern(text)
    except PatternError as error:
        raise _Fault(token, error.what, error.hint or "", offset=1 + error.position, width=1) from None
    return text


def _word(token: Token, known: Mapping[str, int], what: str, prefix: str = "") -> int:
    name = token.lower()
    if token.type == "STRING":
        raise _Fault(token, f"expected a {what}, not a string", nearest_right(token[1:-1], known))
    found = known.get(name, known.get(name.removeprefix(prefix)) if prefix else None)
    if found is None:
        raise _Fault(token, f"no {what} is called '{token}'", nearest_right(name, known))
    return found


def _mask(argument: Argument, known: Mapping[str, _Mask], none: _Mask, what: str) -> _Mask:
    for value in argument.values:
        none |= known[_key(value, known, what)]
    return none


def _key(token: Token, known: Mapping[str, object], what: str) -> str:
    hint = hints.of_apparmor(token.strip('"')) if known is names.FILE else ""
    if token.type != "NAME":
        raise _Fault(token, f"expected an {what}, not {token}", hint or nearest_right(token.strip('"'), known))
    if token.lower() not in known:
        raise _Fault(token, f"no {what} is called '{token}'", hint or nearest_right(token.lower(), known))
    return token.lower()


def _number(digits: str) -> int:
    """What has more digits than any number of the language is taken for one that is too large."""
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) < len(str(_TOO_LARGE)) else _TOO_LARGE


def _targets(argument: Argument) -> list[Target]:
    found = []
    for value in argument.values:
        if value.type == "STRING":
            found.append(Target(Who.EXE, _pattern(value)))
        elif value.lower() in names.WHO:
            found.append(Target(names.WHO[value.lower()]))
        else:
            hint = f'{nearest_right(value.lower(), names.WHO)}; an executable is written "/path"'
            raise _Fault(value, f"'{value}' is no process", hint)
    return found


def _signal(token: Token) -> frozenset[int]:
    if token.type == "NUMBER":
        if not 1 <= _number(token) <= 64:
            raise _Fault(token, f"no signal has the number {token}", "signals are 1 to 64; check is kill(pid, 0)")
        return frozenset({_number(token)})
    name = token.lower()
    if name in names.SIGNAL_GROUPS:
        return names.SIGNAL_GROUPS[name]
    number = names.SIGNALS.get(name, names.SIGNALS.get(f"sig{name}"))
    if number is None:
        raise _Fault(
            token, f"no signal is called '{token}'", nearest_right(name, [*names.SIGNALS, *names.SIGNAL_GROUPS])
        )
    return frozenset({number})


def _fs(call: Call, context: _Context) -> Iterator[Object]:
    pattern, access, *more = _some(call, 2, 3)
    own = context.own
    if more:
        word = more[0].values[0]
        if word != "own" or len(more[0].values) > 1:
            raise _Fault(word, f"expected 'own', not {word}", "accesses are joined with '|': fs(\"/path\", read|write)")
        own = True
    mask = _mask(access, names.FILE, FileAccess(0), "access")
    for directive in ("transition", "untaint"):
        if directive in context.by and FileAccess.EXEC not in mask:
            raise _Fault(access.values[0], f"#[{directive}] is for programs that are executed", "add exec")
    for value in pattern.values:
        if value.type != "STRING":
            raise _Fault(value, f"expected a path in double quotes, not {value}", _usage(call.name))
        yield FileObject(_pattern(value), mask, own)


# Sockets: net(FAMILY…, [TYPE,] ACCESS…, [protocol=P,] [to="NET:PORT" | at="NET:PORT",] [port=N])

_NET_KEYS = ("type", "protocol", "to", "at", "port")


@dataclass
class _Net:
    access: NetAccess = _NO_ACCESS
    types: list[int] = field(default_factory=list)
    protocols: list[int] = field(default_factory=list)
    networks: list[tuple[Token, ipaddress.IPv4Network | ipaddress.IPv6Network]] = field(default_factory=list)
    ports: list[tuple[int, int]] = field(default_factory=list)
    words: dict[NetAccess, Token] = field(default_factory=dict)


def _net(call: Call) -> Iterator[Object]:
    if len(call.arguments) < 2 or call.arguments[0].key is not None:
        raise _Fault(call.name, "net takes a family and an access", _usage(call.name))
    family_words = call.arguments[0].values
    families: list[int | None] = [_family(value, call) for value in family_words]
    net = _Net()
    _not_any_type(call)
    keys: set[str] = set()
    for argument in call.arguments[1:]:
        if argument.key is None:
            _net_words(argument, net)
            continue
        if argument.key not in _NET_KEYS:
            raise _Fault(argument.key, f"net has no '{argument.key}='", nearest_right(argument.key, _NET_KEYS))
        if argument.key in keys or ({"to", "at"} <= {*keys, str(argument.key)}):
            raise _Fault(
                argument.key,
                "a second address: one rule has one"
                if argument.key in ("to", "at")
                else f"'{argument.key}=' is given twice",
                "write two rules, or join with '|'",
            )
        keys.add(str(argument.key))
        _net_key(argument.key, argument.values, net)
    if not net.access:
        raise _Fault(call.name, "net names no access", f"one of {'|'.join(names.NET)}")
    if keys & {"to", "at", "port"}:
        _addressed(call, net, keys)
    for token, address in net.networks:
        _fits(token, address, families, family_words)
    found = [network for _, network in net.networks]
    choices = (families, net.types or (None,), net.protocols or (None,), found or (None,), net.ports or (None,))
    if math.prod(map(len, choices)) > _MOST_OBJECTS:
        raise _Fault(call.name, f"stands for more than {_MOST_OBJECTS} rules", "write several, or any")
    for family, kind, protocol, network, ports in itertools.product(*choices):
        yield NetObject(net.access, family, kind, protocol, network, ports)


def _not_any_type(call: Call) -> None:
    """`any` among the accesses is every access. Beside others it was most likely meant for the type."""
    words = [argument.values for argument in call.arguments[1:] if argument.key is None]
    accesses = [values for values in words if not all(value.lower() in names.TYPES for value in values)]
    for values in accesses:
        for value in values:
            if value == "any" and len(accesses) > 1:
                others = [_joined(other) for other in accesses if other is not values]
                family = _joined(call.arguments[0].values)
                raise _Fault(
                    value,
                    "'any' stands for all accesses, not for any type of socket",
                    f"for any type, leave the type out: net({', '.join([family, *others])})",
                )


def _joined(values: tuple[Token, ...]) -> str:
    return "|".join(values)


def _family(token: Token, call: Call) -> int | None:
    if token == "any":
        return None
    if token.lower() not in names.FAMILIES and token.lower() in {*names.PROTOCOLS, *names.TYPES}:
        others = [_joined(argument.values) for argument in call.arguments[1:] if argument.key is None]
        if token.lower() in names.PROTOCOLS:
            raise _Fault(token, f"'{token}' is a protocol, not an address family", hints.of_protocol(token, others))
        how = ", ".join(["net(inet|inet6", token.lower(), *others])
        raise _Fault(token, f"'{token}' is a type of socket, not an address family", f"{how})")
    if token.type == "NUMBER" and _number(token) < 64:
        return _number(token)
    return _word(token, {**names.FAMILIES, "local": 1}, "address family", "af_")


def _net_words(argument: Argument, net: _Net) -> None:
    """Types or accesses: which, the words tell."""
    if all(value.lower() in names.TYPES for value in argument.values):
        net.types += [names.TYPES[value.lower()] for value in argument.values]
        return
    for value in argument.values:
        if value.type == "NAME" and value.lower() in names.PROTOCOLS and value.lower() not in names.NET:
            raise _Fault(value, f"'{value}' is a protocol", f"protocol={value.lower()}")
        if value.type == "STRING":
            raise _Fault(value, "an address needs to= (the peer's) or at= (the own one)", f"to={value}")
        if value.type in ("NUMBER", "RANGE"):
            raise _Fault(value, "a port needs port=", f"port={value}")
        if value.lower() not in names.NET:
            known = [*names.NET, *names.TYPES]
            raise _Fault(
                value, f"no access and no type of socket is called '{value}'", nearest_right(value.lower(), known)
            )
        access = names.NET[value.lower()]
        net.words[access] = value
        net.access |= access


def _net_key(key: Token, values: tuple[Token, ...], net: _Net) -> None:
    for value in values:
        if value == "any" and key in ("type", "protocol"):
            what = "type of socket" if key == "type" else "protocol"
            raise _Fault(value, f"no {what} is called 'any'", f"for any, leave '{key}=' out")
        if key == "type":
            net.types.append(_word(value, names.TYPES, "type of socket", "sock_"))
        elif key == "protocol":
            number = value.type == "NUMBER" and _number(value) < 512
            net.protocols.append(_number(value) if number else _word(value, names.PROTOCOLS, "protocol", "ipproto_"))
        elif key == "port":
            net.ports.append(_port(value, value, 0))
        else:
            _endpoint(value, net)


def _port(token: Token, text: str, offset: int) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if not (first.isascii() and first.isdigit() and (last or first).isascii() and (last or first).isdigit()):
        raise _Fault(token, f"'{text}' is no port", "a number, or a range as 1024-65535", offset=offset)
    ports = (_number(first), _number(last or first))
    if ports[1] > 65535:
        raise _Fault(token, f"no port has the number {last or first}", "ports are 0 to 65535", offset=offset)
    if ports[0] > ports[1]:
        raise _Fault(token, f"the range {text} is empty", f"{ports[1]}-{ports[0]}?", offset=offset)
    return ports


def _endpoint(token: Token, net: _Net) -> None:
    """`NETWORK`, `NETWORK:PORT` or `:PORT`; IPv6 with a port in brackets."""
    if token.type != "STRING":
        raise _Fault(token, "an address is written in double quotes", '"10.0.0.0/8:443"')
    text = _text(token)
    address, port = text, ""
    if text.startswith("["):
        address, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise _Fault(token, "'[' is not closed", '"[2001:db8::/32]:443"')
        prefix, _, port = rest.partition(":")
        address += prefix
        if rest and not port:
            address, port = address, ""
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    if port:
        if net.ports:
            raise _Fault(token, "a second port: one rule has one", "give it here or as port=")
        net.ports.append(_port(token, port, 1 + len(text) - len(port)))
    elif text.endswith(":") and not text.endswith("::"):
        raise _Fault(token, "no port behind ':'", '"10.0.0.0/8:443"')
    if address in ("", "*"):
        if not port:
            raise _Fault(token, "an empty address", '"10.0.0.0/8:443", ":443" for any address')
        return
    try:
        net.networks.append((token, ipaddress.ip_network(address)))
    except ValueError as error:
        hint = "an address or a network as 10.0.0.0/8, [2001:db8::/32]"
        if "host bits" in str(error):
            hint = f"did you mean '{ipaddress.ip_network(address, strict=False)}'?"
            raise _Fault(token, f"'{address}' has bits set beyond its prefix", hint) from None
        raise _Fault(token, f"'{address}' is no address", hint) from None


def _addressed(call: Call, net: _Net, keys: set[str]) -> None:
    """Rules with an address or a port never match accesses that have none."""
    fitting = names.NET_TO if "to" in keys else names.NET_AT if "at" in keys else names.NET_TO | names.NET_AT
    if net.access & ~fitting:
        word = next((word for access, word in net.words.items() if access & ~fitting), call.name)
        what = "peer's address" if "to" in keys else "own address" if "at" in keys else "port"
        valid = "|".join(name for name, access in names.NET.items() if access & fitting and name != "any")
        raise _Fault(
            word, f"'{word}' is not decided by the {what}", f"valid with it: {valid}; others need a rule without"
        )


def _fits(
    token: Token,
    network: ipaddress.IPv4Network | ipaddress.IPv6Network,
    families: list[int | None],
    words: tuple[Token, ...],
) -> None:
    family, name = (2, "inet") if network.version == 4 else (10, "inet6")
    for found, word in zip(families, words, strict=True):
        if found not in (None, family):
            raise _Fault(token, f"an IPv{network.version} address, but the family is {word}", f"write {name}")


def shown(path: Path) -> str:
    """How a file is named in messages: built-in rules by their name."""
    return f"<{path.stem}>" if path.parent == ABSTRACTIONS else str(path)


def read(path: Path) -> str:
    """The text of a policy file. Raises BpflockError if it cannot be read or is no text."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BpflockError(f"{path}: {error.strerror}", status=2) from None
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = len(before[before.rfind(b"\n") + 1 :].decode()) + 1
        origin = Origin(shown(path), before.count(b"\n") + 1, column)
        raise PolicyError([Diagnostic(origin, "not UTF-8 text", "a policy is a text file in UTF-8")]) from None
    return text.removeprefix("\ufeff")
