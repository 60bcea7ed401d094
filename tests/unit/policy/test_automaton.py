# SPDX-License-Identifier: Apache-2.0
"""The automaton: it matches as patterns are defined to, is minimal, and stays small."""

import random
import struct
from collections.abc import Iterator

import pytest

from bpflock.policy import pattern
from bpflock.policy.automaton import Automaton, AutomatonError, build
from bpflock.policy.pattern import PatternError

PARTS = ["/", "/", "/", "a", "b", "ab", "é", "*", "*", "/**", "/**/", "**", "?", "[ab]", "[!a]", "{a,b/a}", "{,/**}"]
NAMES = ["a", "b", "ab", "ba", "é", "aé", "\u20ac", "aab", "c", "abab"]


def _pattern(source: random.Random) -> str:
    while True:
        text = "/" + "".join(source.choices(PARTS, k=source.randint(1, 6)))
        try:
            pattern.parse(text)
        except PatternError:
            continue
        return text


def _path(source: random.Random) -> bytes:
    names = [source.choice(NAMES).encode() for _ in range(source.randint(0, 4))]
    if source.random() < 0.2:
        names.append(source.choice([b"\x80", b"\xff", b"a\xa9", b"\xc3", b"\xe2\x82", b"\x01", b"a\n"]))
    return b"/" + b"/".join(names)


@pytest.mark.parametrize("seed", range(40))
def test_matches_as_defined(seed: int) -> None:
    source = random.Random(seed)
    patterns = [_pattern(source) for _ in range(source.randint(1, 6))]
    machine = build((text, tag) for tag, text in enumerate(patterns))
    for _ in range(150):
        path = _path(source)
        expected = {tag for tag, text in enumerate(patterns) if pattern.matches(text, path)}
        assert machine.labels[machine.run(path)] == expected, (patterns, path)


def _cells(machine: Automaton) -> Iterator[int]:
    for (cell,) in struct.iter_unpack("<I", machine.cells):
        yield cell


def _transitions(machine: Automaton) -> dict[int, tuple[int, tuple[int, ...]]]:
    """For each state that can be reached: label, and the next state by byte."""
    cells = list(_cells(machine))
    found: dict[int, tuple[int, tuple[int, ...]]] = {0: (0, (0,) * 254)}
    pending = [1]
    while pending:
        state = pending.pop()
        if state in found:
            continue
        default = cells[state + 1] >> 8 if cells[state + 1] & 255 == 1 else 0
        row = tuple(cells[state + b] >> 8 if cells[state + b] & 255 == b else default for b in range(2, 256))
        found[state] = cells[state] >> 8, row
        pending += row
    return found


@pytest.mark.parametrize("seed", range(40))
def test_is_minimal(seed: int) -> None:
    """No two states are equivalent, by the textbook's way of telling states apart."""
    source = random.Random(seed)
    machine = build((_pattern(source), source.randint(0, 2)) for _ in range(source.randint(1, 6)))
    transitions = _transitions(machine)
    assert len(transitions) == machine.states + 1
    classes = {state: label for state, (label, _) in transitions.items()}
    while True:
        signs = {state: (classes[state], *(classes[to] for to in row)) for state, (_, row) in transitions.items()}
        numbers = {sign: number for number, sign in enumerate(dict.fromkeys(signs.values()))}
        if len(numbers) == len(set(classes.values())):
            break
        classes = {state: numbers[sign] for state, sign in signs.items()}
    assert len(set(classes.values())) == len(transitions)


def test_layout() -> None:
    machine = build([("/b", 5), ("/a*", 3), ("/ab", 4)])
    cells = list(_cells(machine))
    assert [sorted(tags) for tags in machine.labels] == [[], [3], [3, 4], [5]]
    assert cells[0] == 0  # the dead state: no label, leads nowhere
    assert cells[1 + ord("/")] & 255 == ord("/")  # the start is state 1
    last = max(_transitions(machine))
    assert len(cells) > last + 255
    # Transitions of the start, "/", "/a", "/ab", and what follows: defaults, and '/' to nowhere.
    assert sum(1 for cell in cells if cell & 255) == 1 + 2 + 3 + 2 + 2


def test_no_pattern_at_all() -> None:
    machine = build([])
    assert machine.run(b"/") == 0
    assert machine.run(b"/a/b") == 0
    assert machine.labels == (frozenset(),)


def test_patterns_with_one_tag_are_one() -> None:
    apart = build([(f"/dir{n}/some/long/name", n) for n in range(10)])
    together = build([(f"/dir{n}/some/long/name", 0) for n in range(10)])
    assert len(together.labels) == 2
    assert together.states < apart.states / 5


def test_equal_policies_give_equal_cells() -> None:
    patterns = [("/a/**/x", 1), ("/{b,a}/?x*", 2), ("/a/[!b]/y", 3)]
    assert build(patterns).cells == build(patterns).cells


def test_long_and_deep_paths() -> None:
    deep = "/" + "/".join(["d"] * 300)
    long = "/" + "/".join(["n" * 255] * 15)
    machine = build([(deep, 0), (long + "/*", 1), (deep + "/**/x", 2)])
    assert machine.labels[machine.run(deep.encode())] == {0}
    assert machine.labels[machine.run(long.encode() + b"/" + b"z" * 254)] == {1}
    assert machine.labels[machine.run(deep.encode() + b"/y" * 1700 + b"/x")] == {2}


def test_too_many_states_is_an_error_that_names_the_patterns() -> None:
    harmless = [(f"/usr/bin/tool{n}", 100 + n) for n in range(50)]
    wild = [(f"/**/a{n}/**/b{n}", n) for n in range(24)]
    with pytest.raises(AutomatonError) as raised:
        build(harmless + wild)
    assert "/**/a" in raised.value.message
    assert "tool" not in raised.value.message
    assert raised.value.hint
