# SPDX-License-Identifier: Apache-2.0
"""Linux 6.1 verifies a callback of bpf_loop() for its first turn only. What lies in its context on the stack, begins
as a constant and changes from turn to turn, is that constant to the verifier: it removes the branches that are not
taken then.

So whatever a callback both changes and reads must not begin as a constant: it belongs into the memory of a map. The C
is read by simple expressions: functions begin and end in the first column, contexts are structures declared in the
function that calls bpf_loop()."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

BPF = Path(__file__).resolve().parents[3] / "bpf"
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
_FUNCTION = re.compile(r"^(?!#)[\w][\w \t*]*?\b(\w+)\(([^;{}]*?)\)\n\{\n(.*?)^\}", re.S | re.M)
_STRUCT = re.compile(r"^struct (\w+) \{\n(.*?)^\}", re.S | re.M)
_FIELD = re.compile(r"(\w+)(?:\[[^\]]*\])?;")
_LOOP = re.compile(r"\bbpf_loop\((?:[^(),]|\([^()]*\))*,\s*(\w+),\s*([^,]+),")
_CONSTANT = re.compile(r"[-~!]?(?:0[xX][0-9a-fA-F]+|\d+)[uUlL]*|true|false|NULL|[A-Z][A-Z0-9_]*")
_ASSIGNED = re.compile(r"\s*(=(?!=)|[-+|&^*/]=|<<=|>>=|\+\+|--)")


@dataclass(frozen=True)
class Function:
    name: str
    parameters: tuple[str, ...]
    body: str


@dataclass(frozen=True)
class Found:
    """A field of the context of a callback that must not begin as a constant."""

    callback: str
    field: str


class Source:
    def __init__(self, text: str) -> None:
        text = _COMMENT.sub("", text)
        self.structs = {name: _FIELD.findall(body) for name, body in _STRUCT.findall(text)}
        self.functions: dict[str, Function] = {}
        for name, parameters, body in _FUNCTION.findall(text):
            names = tuple(part.split()[-1].lstrip("*") for part in parameters.split(",") if part.strip())
            self.functions[name] = Function(name, names, body)

    def loops(self) -> Iterator[tuple[Function, re.Match[str]]]:
        for function in self.functions.values():
            for loop in _LOOP.finditer(function.body):
                yield function, loop

    def findings(self) -> list[Found]:
        found = []
        for function, loop in self.loops():
            callback, context = loop[1], loop[2].strip()
            constant = self._constants(function.body[: loop.start()], context)
            for field in sorted(constant & self._changing(callback, 1, frozenset())):
                found.append(Found(callback, field))
        return found

    def _constants(self, before: str, context: str) -> set[str]:
        """The fields of the context that begin as a constant."""
        if context == "0":
            return set()
        assert context.startswith("&"), f"a context that is not on the stack: {context}"
        name = context[1:]
        if re.search(rf"\bstruct \w+ \*{name} = ", before):
            return set()  # only a pointer
        declared = re.search(rf"\bstruct (\w+)[^;]*?\b{name}( = \{{(.*?)\}})?[,;]", before, re.S)
        assert declared, f"the context {name} is not declared where the loop is"
        fields = self.structs[declared[1]]
        constant = set(fields) if declared[2] else set()
        for number, part in enumerate((declared[3] or "").split(",")):
            named = re.fullmatch(r"\s*\.(\w+)\s*=\s*(.*?)\s*", part, re.S)
            field, value = (named[1], named[2]) if named else (fields[min(number, len(fields) - 1)], part.strip())
            if value and not _CONSTANT.fullmatch(value):
                constant.discard(field)
        for field, value in re.findall(rf"\b{name}\.(\w+) = ([^;]*);", before):
            (constant.add if _CONSTANT.fullmatch(value.strip()) else constant.discard)(field)
        return constant

    def _changing(self, function: str, parameter: int, above: frozenset[str]) -> set[str]:
        """The fields that a function changes, and reads before, by the pointer that is its parameter; and those of the
        functions to which it hands it on."""
        if function in above or function not in self.functions:
            return set()
        called = self.functions[function]
        name = called.parameters[parameter]
        changed, read = set[str](), set[str]()
        for access in re.finditer(rf"(?P<before>[^\n]*?)(?P<address>&?)\b{name}->(\w+)", called.body):
            field, rest = access[3], called.body[access.end() :]
            assigned = _ASSIGNED.match(rest)
            if access["address"] and not access["before"].endswith("&"):
                changed.add(field)
                read.add(field)
            elif assigned and assigned[1] == "=":
                # Where every turn begins by setting it, nothing is left of the turn before.
                if access["before"] == "\t" and field not in read:
                    return_early = called.body[: access.start()]
                    if not re.search(rf"\b{name}->{field}\b", return_early):
                        continue
                changed.add(field)
            elif assigned:
                changed.add(field)
                # An increment that is a value, too.
                if assigned[1] in ("++", "--") and access["before"].strip():
                    read.add(field)
            else:
                read.add(field)
        both = changed & read
        for call in re.finditer(rf"\b(\w+)\(([^()]*\b{name}\b[^()]*)\)", called.body):
            for number, argument in enumerate(call[2].split(",")):
                if argument.strip() == name:
                    both |= self._changing(call[1], number, above | {function})
        return both


def _sources() -> list[Path]:
    return sorted(BPF.glob("*.bpf.c"))


def _with_headers(path: Path, seen: set[Path] | None = None) -> str:
    """The text, each of its own headers once."""
    seen = set() if seen is None else seen
    seen.add(path)

    def included(match: re.Match[str]) -> str:
        header = BPF / match[1]
        return _with_headers(header, seen) if header.exists() and header not in seen else ""

    return re.sub(r'^#include "([^"]+)"$', included, path.read_text(), flags=re.M)


@pytest.mark.parametrize("path", _sources(), ids=lambda path: path.name)
def test_no_loop_begins_with_a_constant_that_changes(path: Path) -> None:
    assert Source(_with_headers(path)).findings() == []


def test_all_loops_are_seen() -> None:
    for path in _sources():
        text = _with_headers(path)
        seen = sum(1 for _ in Source(text).loops())
        assert seen == len(re.findall(r"\bbpf_loop\(", _COMMENT.sub("", text))), path.name


_TEMPLATE = """
struct search {
	u64 next;
	u32 count;
	u32 bad;
};

static void more(struct search *other)
{
	%(more)s
}

static long step(u32 index, struct search *search)
{
	%(step)s
	return 0;
}

static int find(u64 first)
{
	struct search search = { .next = first%(start)s };

	%(before)s
	bpf_loop(20, step, &search, 0);
	return search.bad;
}
"""


@pytest.mark.parametrize(
    ("parts", "fields"),
    [
        ({"step": "if (search->count > 5) { search->bad = 1; return 1; }\n\tsearch->count++;"}, ["count"]),
        ({"step": "if (search->count++ > 5)\n\t\tsearch->bad = 1;"}, ["count"]),
        ({"step": "u32 at = search->count;\n\tsearch->count = at + 1;"}, ["count"]),
        ({"step": "more(search);", "more": "if (other->bad)\n\t\tother->bad = 2;"}, ["bad"]),
        ({"step": "if (search->count)\n\t\tsearch->count--;", "before": "search.count = 7;"}, ["count"]),
        ({"step": "if (search->count)\n\t\tsearch->count--;", "start": ", .count = LIMIT"}, ["count"]),
        ({"step": "if (search->count)\n\t\tsearch->count--;", "before": "search.count = first;"}, []),
        ({"step": "if (search->count)\n\t\tsearch->count--;", "start": ", .count = first"}, []),
        ({"step": "if (search->count)\n\t\tsearch->bad = 1;"}, []),
        ({"step": "search->bad |= index;"}, []),
        ({"step": "search->bad = index;\n\tif (search->bad)\n\t\treturn 1;"}, []),
        ({"step": "if (search->next)\n\t\tsearch->next = index;"}, []),
    ],
)
def test_the_check(parts: dict[str, str], fields: list[str]) -> None:
    text = _TEMPLATE % {"more": "", "step": "", "start": "", "before": "", **parts}
    assert Source(text).findings() == [Found("step", field) for field in fields]
