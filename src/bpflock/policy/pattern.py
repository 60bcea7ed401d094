# SPDX-License-Identifier: Apache-2.0
"""Path patterns: what they mean.

    *           any text inside one component, also none
    **          any text, '/' too. `/dir/**` is all below /dir, without /dir itself; `/**/` also stands for a
                single '/': `/dir/**/x` matches /dir/x
    ?           one character, not '/'
    [a-z_]      one of these ASCII characters; [!a-z] or [^a-z]: one character that is none of them, nor '/'
    {a,b{c,}}   alternatives: expanded first, as a shell does
    \\x          x itself

A pattern matches a whole path. It begins with '/'; one that begins with `**` means `/**`. The root directory is matched
by `/` alone.

Paths are bytes, patterns UTF-8. A character of a path is a byte with all bytes 0x80 to 0xbf that follow it: in UTF-8
that is one character; stray bytes in other text belong to the character before them. Such bytes at the very beginning
of a component, where no UTF-8 text has them, are matched by `*` and `**` only. Byte 1 is taken for byte 2, as in the
kernel.
"""

import enum
import functools
import itertools
import re
from dataclasses import dataclass, field

from bpflock.errors import UsageError

SLASH = 0x2F
# The bytes that go on with a character, never begin one.
CONTINUATION = frozenset(range(0x80, 0xC0))

# Limits. A pattern beyond them is an error.
MAX_BYTES = 4095
MAX_ALTERNATIVES = 4096
MAX_NESTING = 16
MAX_TOKENS = 1 << 18  # of all alternatives together

_SPECIAL = re.compile(r"[\\*?\[\]{}\0\1]|//|/\.\.?(?:/|$)")


class PatternError(UsageError):
    """A pattern that means nothing. `position`: of the character in the pattern at fault, from 0."""

    def __init__(self, pattern: str, position: int, what: str, hint: str | None = None) -> None:
        super().__init__(f"pattern '{pattern}', character {position + 1}: {what}", hint=hint)
        self.pattern = pattern
        self.position = position
        self.what = what


class Glob(enum.Enum):
    STAR = "*"
    DEEP = "**"


@dataclass(frozen=True)
class Chars:
    """`?` and classes. `bytes`: ASCII characters; `negated`: any character but these and '/'."""

    bytes: frozenset[int]
    negated: bool


ANY = Chars(frozenset(), True)

Token = int | Chars | Glob  # a byte of the path; one character; any text
Tokens = tuple[Token, ...]


@dataclass
class _Node:
    """A part of a pattern, and where it stands: a token, or alternatives."""

    position: int
    token: Token | None = None
    alternatives: list[list["_Node"]] = field(default_factory=list)


class _Parser:
    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0

    def error(self, position: int, what: str, hint: str | None = None) -> PatternError:
        return PatternError(self.pattern, position, what, hint)

    def sequence(self, depth: int) -> list[_Node]:
        """Up to the end, or to the ',' or '}' that ends an alternative."""
        nodes: list[_Node] = []
        pattern = self.pattern
        while self.at < len(pattern):
            begin = self.at
            char = pattern[begin]
            if depth and char in ",}":
                break
            self.at += 1
            if char == "\\":
                if self.at == len(pattern):
                    raise self.error(begin, "nothing follows the backslash", r"a backslash itself is \\")
                self.literal(nodes, begin, pattern[self.at])
                self.at += 1
            elif char == "*":
                nodes.append(_Node(begin, self.stars(begin)))
            elif char == "?":
                nodes.append(_Node(begin, ANY))
            elif char == "[":
                nodes.append(_Node(begin, self.chars(begin)))
            elif char == "{":
                nodes.append(_Node(begin, alternatives=self.braces(begin, depth + 1)))
            elif char == "}":
                raise self.error(begin, "'}' without '{'", r"a brace itself is \}")
            else:
                self.literal(nodes, begin, char)
        return nodes

    def literal(self, nodes: list[_Node], position: int, char: str) -> None:
        if char == "\0":
            raise self.error(position, "no path contains a zero byte")
        try:
            encoded = char.encode()
        except UnicodeEncodeError:
            raise self.error(position, "not UTF-8", "write ? or * for bytes that are no UTF-8 text") from None
        nodes.extend(_Node(position, 2 if byte == 1 else byte) for byte in encoded)

    def stars(self, begin: int) -> Glob:
        while self.pattern.startswith("*", self.at):
            self.at += 1
        if self.at - begin > 2:
            raise self.error(begin + 2, "more than two '*'", "'*' stays inside a component, '**' crosses components")
        return Glob.DEEP if self.at - begin == 2 else Glob.STAR

    def braces(self, begin: int, depth: int) -> list[list[_Node]]:
        if depth > MAX_NESTING:
            raise self.error(begin, f"braces nested more than {MAX_NESTING} deep")
        found = [self.sequence(depth)]
        while self.at < len(self.pattern):
            self.at += 1
            if self.pattern[self.at - 1] == "}":
                if found == [[]]:
                    raise self.error(begin, "empty braces", "alternatives are {a,b}")
                return found
            found.append(self.sequence(depth))
        raise self.error(begin, "'{' is not closed", r"alternatives are {a,b}; a brace itself is \{")

    def chars(self, begin: int) -> Chars:
        negated = self.pattern[self.at : self.at + 1] in ("!", "^")
        self.at += negated
        members: set[int] = set()
        first = True
        while first or not self.pattern.startswith("]", self.at):
            first = False
            position = self.at
            low = self.char(begin)
            high = low
            if self.pattern.startswith("-", self.at) and self.pattern[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                high = self.char(begin)
            if high < low:
                raise self.error(position, f"the range {chr(low)}-{chr(high)} is empty", f"{chr(high)}-{chr(low)}?")
            if self.pattern[position : position + 2] == "[:":
                raise self.error(position, "named classes are not known", "write the ranges: a-z, A-Z, 0-9")
            if low <= SLASH <= high and not (low < SLASH and high > SLASH):
                raise self.error(position, "a class matches inside a component, never '/'")
            members.update(range(low, high + 1))
        self.at += 1
        if not negated:
            members.discard(SLASH)
        return Chars(frozenset(2 if byte == 1 else byte for byte in members), negated)

    def char(self, begin: int) -> int:
        """One member of a class."""
        escaped = self.pattern.startswith("\\", self.at)
        self.at += escaped
        if self.at >= len(self.pattern):
            raise self.error(begin, "'[' is not closed", r"a bracket itself is \[")
        char = self.pattern[self.at]
        if not "\0" < char < "\x80":
            hint = "alternatives can: {é,è}"
            raise self.error(self.at, f"a class cannot contain {char!r}, only ASCII characters", hint)
        self.at += 1
        return ord(char)


Placed = tuple[tuple[Token, int], ...]


def _expand(parser: _Parser, nodes: list[_Node]) -> list[Placed]:
    """Every choice of alternatives; each token with its position."""
    found: list[Placed] = [()]
    for plain, run in itertools.groupby(nodes, lambda node: node.token is not None):
        for node in run:
            if plain:
                # With all that follow it, up to the next braces.
                rest = [(one.token, one.position) for one in (node, *run) if one.token is not None]
                choices: list[Placed] = [tuple(rest)]
            else:
                choices = [choice for branch in node.alternatives for choice in _expand(parser, branch)]
            _limit(parser, node, len(found) * len(choices), MAX_ALTERNATIVES, "patterns")
            tokens = len(choices) * sum(map(len, found)) + len(found) * sum(map(len, choices))
            _limit(parser, node, tokens, MAX_TOKENS, "characters")
            found = [before + choice for before in found for choice in choices]
    return found


def _limit(parser: _Parser, node: _Node, count: int, most: int, what: str) -> None:
    if count > most:
        hint = "write * for some of the alternatives, or several rules"
        raise parser.error(node.position, f"stands for more than {most} {what}", hint)


def _checked(parser: _Parser, placed: Placed) -> Tokens:
    """One expansion in its simplest form. Raises PatternError if no path can match it."""
    if not placed or placed[0][0] not in (SLASH, Glob.DEEP):
        position = placed[0][1] if placed else 0
        raise parser.error(position, "must begin with '/'", "a path in full, or **/NAME for any place")
    if placed[0][0] is Glob.DEEP:
        placed = ((SLASH, placed[0][1]), *placed)
    tokens = [token for token, _ in placed]
    slashes = [index for index, token in enumerate(tokens) if token == SLASH]
    for begin, end in zip(slashes, [*slashes[1:], len(tokens)], strict=True):
        component, position = tokens[begin + 1 : end], placed[begin][1]
        if component in ([0x2E], [0x2E, 0x2E]):
            raise parser.error(position + 1, "'.' and '..' are in no path", "write the path as the kernel sees it")
        if not component and end < len(tokens):
            raise parser.error(position + 1, "'//' is in no path")
        if not component and begin:
            hint = "without '/' it is the directory; with '/**' all that is below it"
            raise parser.error(position, "ends with '/'", hint)
    return _simplified(tokens)


def _simplified(tokens: list[Token]) -> Tokens:
    """Any text after any text is any text, and so is any number of components after any number of components."""
    found: list[Token] = []
    for token in tokens:
        if isinstance(token, Glob) and found and isinstance(found[-1], Glob):
            found[-1] = Glob.DEEP if Glob.DEEP in (token, found[-1]) else Glob.STAR
        elif token == SLASH and found[-4:] == [SLASH, Glob.DEEP, SLASH, Glob.DEEP]:
            del found[-1]
        else:
            found.append(token)
    return tuple(found)


def parse(pattern: str) -> tuple[Tokens, ...]:
    """What a pattern consists of: the expansions of its braces, each the tokens of a path. Raises PatternError."""
    return (_parsed_of_many if pattern.count(",") > _FEW_COMMAS else _parsed)(pattern)


def _parse(pattern: str) -> tuple[Tokens, ...]:
    if len(pattern) > MAX_BYTES or len(pattern.encode(errors="surrogatepass")) > MAX_BYTES:
        position = min(MAX_BYTES, len(pattern) - 1)
        raise PatternError(pattern[:40] + "…", position, f"longer than {MAX_BYTES} bytes, as no path is")
    if pattern.startswith("/") and not pattern.endswith("/") and pattern.isascii() and not _SPECIAL.search(pattern):
        return (tuple(pattern.encode()),)
    parser = _Parser(pattern)
    nodes = parser.sequence(0)
    return tuple(dict.fromkeys(_checked(parser, placed) for placed in _expand(parser, nodes)))


# What is kept of patterns with many alternatives can be 2 MB each.
_FEW_COMMAS = 6
_parsed = functools.lru_cache(maxsize=16384)(_parse)
_parsed_of_many = functools.lru_cache(maxsize=64)(_parse)


def exact(pattern: str) -> frozenset[bytes] | None:
    """The paths of a pattern that names its paths one by one, without wildcards; None for others."""
    found = []
    for tokens in parse(pattern):
        literal = [token for token in tokens if isinstance(token, int)]
        if len(literal) < len(tokens):
            return None
        found.append(bytes(literal))
    return frozenset(found)


def escape(path: str) -> str:
    """The pattern that matches this path alone."""
    return re.sub(r"[\\*?\[\]{},]", r"\\\g<0>", path)


def written(tokens: Tokens) -> str:
    """The pattern of one expansion, or of a part of it."""
    found: list[bytes] = []
    for token in tokens:
        match token:
            case Glob():
                found.append(token.value.encode())
            case Chars():
                found.append(b"?" if token == ANY else _class(token))
            case _:
                found.append(rb"\%c" % token if token in rb"\*?[]{}," else bytes([token]))
    return b"".join(found).decode()


def _class(chars: Chars) -> bytes:
    escaped = b"".join(
        rb"\%c" % member if member in rb"\]^!-[" else bytes([member]) for member in sorted(chars.bytes - {SLASH})
    )
    return b"[" + b"!" * chars.negated + escaped + b"]"


def matches(pattern: str, path: bytes) -> bool:
    """Whether a pattern matches a path in full, without '/' at its end.

    This is the definition of what patterns mean; the automaton must agree with it.
    """
    path = path.replace(b"\1", b"\2")
    return any(matches_tokens(tokens, path) for tokens in parse(pattern))


def matches_tokens(tokens: Tokens, path: bytes) -> bool:
    """Whether one expansion of a pattern matches a path, in which byte 1 is byte 2 already."""
    if path == b"/":
        return tokens == (SLASH,)
    if sum(isinstance(token, Glob) for token in tokens) > _MOST_BACKTRACKED:
        return _steps(tokens).match(path)
    return _expression(tokens).fullmatch(path) is not None


# An expression with more '*' can take years to find that a path does not match.
_MOST_BACKTRACKED = 2


class _Steps:
    """Matches step by step: bit i of a number says that the tokens before i have matched what was read so far."""

    def __init__(self, tokens: Tokens) -> None:
        self.accepted = 1 << len(tokens)
        self.globs = 0
        self.next = [0] * 256  # by byte: the tokens that it matches
        self.open = [0] * 256  # the same, where more bytes of the character may follow
        self.stay = [0] * 256  # the '*' and '**' that go on with it
        self.short = 0  # the '/' of `/**/` that stands for both
        for index, token in enumerate(tokens):
            bit = 1 << index
            if isinstance(token, int):
                self.next[token] |= bit
                continue
            if isinstance(token, Glob):
                self.globs |= bit
                if tokens[index - 1 : index + 2] == (SLASH, Glob.DEEP, SLASH):
                    self.short |= bit >> 1
            for byte in range(256):
                if isinstance(token, Glob):
                    self.stay[byte] |= bit if token is Glob.DEEP or byte != SLASH else 0
                elif not token.negated:
                    self.next[byte] |= bit if byte in token.bytes else 0
                elif byte not in token.bytes | CONTINUATION | {SLASH}:
                    self.open[byte] |= bit

    def match(self, path: bytes) -> bool:
        now, character = 1, 0
        for byte in path:
            if byte not in CONTINUATION:
                now, character = self._with_nothing(now | character), 0
            after = (now & self.next[byte]) << 1 | now & self.stay[byte]
            if byte == SLASH:
                after |= (now & self.short) << 3
            character |= (now & self.open[byte]) << 1
            now = self._with_nothing(after)
        return bool(self._with_nothing(now | character) & self.accepted)

    def _with_nothing(self, now: int) -> int:
        """Where '*' and '**' have matched nothing, too."""
        return now | (now & self.globs) << 1


_steps = functools.lru_cache(maxsize=1024)(_Steps)


@functools.lru_cache(maxsize=16384)
def _expression(tokens: Tokens) -> re.Pattern[bytes]:
    found = b""
    at = 0
    while at < len(tokens):
        if tokens[at : at + 3] == (SLASH, Glob.DEEP, SLASH):
            found += b"/(?:.*/)?"
            at += 3
        else:
            found += _part(tokens[at])
            at += 1
    return re.compile(found, re.DOTALL)


def _part(token: Token) -> bytes:
    match token:
        case Glob.DEEP:
            return b".*"
        case Glob.STAR:
            return b"[^/]*"
        case Chars(bytes=members, negated=negated):
            chars = b"".join(re.escape(bytes([member])) for member in sorted(members))
            if not negated:
                return b"[" + chars + b"]"
            # With all that goes on with the character: never a part of it.
            return rb"[^/\x80-\xbf" + chars + rb"][\x80-\xbf]*+"
        case _:
            return re.escape(bytes([token]))
