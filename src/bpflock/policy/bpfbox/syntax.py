# SPDX-License-Identifier: Apache-2.0
"""The grammar: text to statements. What the words mean is lower.py's."""

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from bpflock.policy.bpfbox.diagnostics import Diagnostic, PolicyError
from bpflock.policy.model import Origin

MAX_DEPTH = 32  # of blocks

_GRAMMAR = r"""
start: (header | _statement)*
header: "#![" NAME (STRING | NAME)* "]"
_statement: rule | block
rule: directive* NAME "(" [argument ("," argument)* ","?] ")" ";"?
block: directive* "{" _statement* "}"
directive: "#[" NAME (STRING | "(" STRING ")")* "]"
argument: [NAME "="] value ("|" value)*
?value: NAME | STRING | NUMBER | RANGE

NAME: /[A-Za-z_][A-Za-z0-9_]*/
STRING: /"(\\.|[^"\\\n])*"/
RANGE.2: /[0-9]+-[0-9]+/
NUMBER: /[0-9]+(?![0-9A-Za-z_-])/
COMMENT: /\/\/[^\n]*|\/\*(.|\n)*?\*\/|#(?=[\s#!]|$)(?![ \t]*!?[ \t]*\[)[^\n]*/
SPACE: /[ \t\r\n\f]+/
%ignore SPACE
%ignore COMMENT
"""

_TERMINALS = {
    "NAME": "a name",
    "STRING": 'a string "…"',
    "NUMBER": "a number",
    "RANGE": "a range of numbers",
    "LPAR": "'('",
    "RPAR": "')'",
    "LBRACE": "'{'",
    "RBRACE": "'}'",
    "RSQB": "']'",
    "COMMA": "','",
    "EQUAL": "'='",
    "VBAR": "'|'",
    "SEMICOLON": "';'",
    "$END": "the end of the file",
}


class _Depth:
    """Counts the blocks that are open while the text is read: no tree is ever deeper than that."""

    always_accept = ()

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        depth = 0
        for token in stream:
            if token.type == "LBRACE":
                depth += 1
            elif token.type == "RBRACE":
                depth -= 1
            if depth > MAX_DEPTH:
                raise _TooDeepError(token)
            yield token


@functools.cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", maybe_placeholders=True, propagate_positions=True, postlex=_Depth())


@dataclass(frozen=True)
class Argument:
    """`key=a|b`, or `a|b` with an empty key."""

    key: Token | None
    values: tuple[Token, ...]


@dataclass(frozen=True)
class Directive:
    """`#[name "f" ("lib")]`, or a header `#![name …]`."""

    name: Token
    arguments: tuple[Token, ...]


@dataclass(frozen=True)
class Call:
    """A rule."""

    directives: tuple[Directive, ...]
    name: Token
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class Block:
    """Statements with directives in common. `begin`: where it begins."""

    begin: Token
    directives: tuple[Directive, ...]
    statements: tuple["Call | Block", ...]


Statement = Directive | Call | Block


def parse(text: str, file: str) -> list[Statement]:
    """The statements of a text. Raises PolicyError."""
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        raise PolicyError([_explain(error, text, file)]) from None
    except _TooDeepError as error:
        token = error.token
        origin = Origin(file, token.line or 1, token.column or 1)
        message = f"blocks are nested more than {MAX_DEPTH} deep"
        raise PolicyError([Diagnostic(origin, message, line=source_line(source_lines(text), origin.line))]) from None
    return [_statement(child) for child in tree.children if isinstance(child, Tree)]


class _TooDeepError(Exception):
    def __init__(self, token: Token) -> None:
        self.token = token


def _trees(children: Iterable[object], kind: str) -> list[Tree[Token]]:
    return [child for child in children if isinstance(child, Tree) and child.data == kind]


def _tokens(children: Iterable[object]) -> list[Token]:
    return [child for child in children if isinstance(child, Token)]


def _directive(tree: Tree[Token]) -> Directive:
    name, *arguments = _tokens(tree.children)
    return Directive(name, tuple(arguments))


def _argument(tree: Tree[Token]) -> Argument:
    key, *values = tree.children
    return Argument(key if isinstance(key, Token) else None, tuple(_tokens(values)))


def _statement(tree: Tree[Token]) -> Statement:
    if tree.data == "header":
        return _directive(tree)
    return _body(tree)


def _body(tree: Tree[Token]) -> Call | Block:
    directives = tuple(map(_directive, _trees(tree.children, "directive")))
    if tree.data == "rule":
        name = _tokens(tree.children)[0]
        return Call(directives, name, tuple(map(_argument, _trees(tree.children, "argument"))))
    inner = [child for child in tree.children if isinstance(child, Tree) and child.data in ("rule", "block")]
    begin = Token("LBRACE", "{", line=tree.meta.line, column=tree.meta.column)
    return Block(begin, directives, tuple(map(_body, inner)))


def source_lines(text: str) -> list[str]:
    """Its lines, as the grammar counts them."""
    return text.split("\n")


def source_line(lines: list[str], number: int) -> str:
    """One line, counted from 1."""
    return lines[number - 1].rstrip("\r") if 0 < number <= len(lines) else ""


def _explain(error: UnexpectedInput, text: str, file: str) -> Diagnostic:
    position = error.pos_in_stream if isinstance(error, UnexpectedCharacters) else None
    if isinstance(error, UnexpectedToken) and error.token.type != "$END":
        position = error.token.start_pos
    if position is None:
        # The end: shown behind the last thing that is there.
        position = len(text.rstrip())
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    origin = Origin(file, line, column)
    at_end = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    message, hint = _reason(error, text[position:], at_end)
    width = len(error.token) if isinstance(error, UnexpectedToken) and not at_end else 1
    return Diagnostic(origin, message, hint, source_line(source_lines(text), line), width)


def _reason(error: UnexpectedInput, rest: str, at_end: bool) -> tuple[str, str]:
    expected: set[str] = set()
    if isinstance(error, UnexpectedToken):
        expected = set(error.accepts or error.expected)
    elif isinstance(error, UnexpectedCharacters):
        expected = set(error.allowed)
    wanted = _choices(expected)
    if at_end:
        closing = [_TERMINALS[name] for name in ("RSQB", "RPAR", "RBRACE") if name in expected]
        what = f"{closing[0]} is missing" if closing else "the policy ends too early"
        return what, f"expected {wanted}"
    if isinstance(error, UnexpectedToken):
        found = error.token
        hint = ""
        if found == "#![":
            hint = "a header stands at the outermost level, before the rules and directives it is for"
        elif "RPAR" in expected and found.type in ("STRING", "NAME", "NUMBER"):
            hint = "arguments are separated by ',', alternatives by '|'"
        elif found.type == "STRING" and "LPAR" in expected:
            hint = 'a rule is written fs("/path", read)'
        elif found.type == "RBRACE":
            hint = "every '}' needs its '{', and directives a rule or a block"
        return f"'{_short(found)}' is not expected here: expected {wanted}", hint
    return _character(rest, wanted)


def _character(rest: str, wanted: str) -> tuple[str, str]:
    """What is wrong where no word of the language begins."""
    if rest.startswith('"'):
        return "the string is not closed on its line", 'a string ends with ", a quote inside it is \\"'
    if rest.startswith("/*"):
        return "the comment is not closed", "a comment /* … */ ends with */"
    if rest.startswith("'"):
        return "strings are written in double quotes", 'as in "/etc/passwd"'
    if rest.startswith("#"):
        if re.match(r"#[ \t]*!?[ \t]*\[", rest):
            return "a directive has no space inside its '#['", "#[allow], or #![profile …] for a header"
        return "neither a directive nor a comment", "a directive is #[allow], a comment # text"
    if rest[0] in "/*~.":
        return "a path is written in double quotes", 'as in "/etc/passwd"'
    if rest.startswith(("&", "+")):
        return f"'{rest[0]}' is not expected here", "alternatives are joined with '|', as in read|write"
    shown = rest[0] if rest[0].isprintable() else repr(rest[0])[1:-1]
    return f"'{shown}' is not expected here: expected {wanted}", ""


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"


def _choices(expected: set[str]) -> str:
    named = {_TERMINALS.get(name, "") for name in expected if name not in ("SPACE", "COMMENT")}
    if {"NAME", "LBRACE"} <= expected and "STRING" not in expected:
        named -= {"a name", "'{'"}
        named |= {"a rule", "a block '{'"}
    if any(name.startswith("__ANON") or name == "HASH" for name in expected):
        named.add("a directive '#['")
    named.discard("")
    named.discard("';'")
    words = sorted(named)
    return " or ".join((", ".join(words[:-1]), words[-1]) if len(words) > 1 else words) or "nothing"
