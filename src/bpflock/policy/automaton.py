# SPDX-License-Identifier: Apache-2.0
"""All path patterns as one minimal automaton, laid out for the kernel.

Every pattern carries a tag; the automaton says of a path which tags its patterns have. Sets of tags are numbered:
labels, 0 for the empty set.

Steps: the patterns become a nondeterministic automaton, a trie with loops (_Trie); that one becomes deterministic by
the subset construction (_determine), where a state has explicit transitions for few bytes and a default for all others;
equivalent states are merged by partition refinement (_merge); rows are laid over each other (_lay_out). The layout is
described in bpf/policy.h.
"""

import contextlib
import gc
import struct
import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bpflock.errors import UsageError
from bpflock.policy.pattern import CONTINUATION, SLASH, Chars, Glob, Token, Tokens, parse

# A state for each byte of each pattern, and some more, is what policies need. Far more states come of few patterns
# whose wildcards are all pending at the same time, which doubles the states with each of them.
_SPARE_STATES = 200_000
_STATES_A_BYTE = 4  # of the patterns
_MAX_STATES = 2_000_000

_NOTHING: frozenset[int] = frozenset()
# The layout: see bpf/policy.h.
_CELL = struct.Struct("<I")
_DEAD = 0
_START = 1
_DEFAULT = 1  # the byte in whose place the default stands
_ROW = 256
_MAX_PLACE = (1 << 24) - 1


class AutomatonError(UsageError):
    """The patterns need too many states. `patterns`: those that are most to blame."""

    def __init__(self, message: str, *, hint: str, patterns: Iterable[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.patterns = tuple(patterns)


@dataclass(frozen=True)
class Automaton:
    """`cells`: of 32 bits, little endian. `labels[L]`: the tags of label L."""

    cells: bytes
    labels: tuple[frozenset[int], ...]
    states: int

    def run(self, path: bytes) -> int:
        """The label of a path."""
        return run(self.cells, path)


def build(patterns: Iterable[tuple[str, int]]) -> Automaton:
    """The automaton of pairs of a pattern and its tag. Raises PatternError and AutomatonError."""
    with _without_collector():
        trie = _Trie()
        for pattern, tag in patterns:
            trie.room += _STATES_A_BYTE * len(pattern.encode())
            for tokens in parse(pattern):
                trie.add(tokens, tag, pattern)
        machine = _determine(trie)
        return _lay_out(machine, _merge(machine))


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Millions of small objects come and none is in a cycle: looking for cycles would take a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def run(cells: bytes, path: bytes) -> int:
    """The label of a path: what the kernel does, step by step."""

    def cell(index: int) -> tuple[int, int]:
        (value,) = _CELL.unpack_from(cells, index * _CELL.size)
        return value & 0xFF, value >> 8

    state = _START
    for byte in path.replace(b"\1", b"\2"):
        owner, following = cell(state + byte)
        if owner != byte:
            owner, following = cell(state + _DEFAULT)
            if owner != _DEFAULT:
                following = _DEAD
        state = following
    return cell(state)[1]


class _Trie:
    """Nondeterministic automaton. Node 0 is the start. Patterns share the nodes of their common beginnings.

    For each node: `literal` transitions by byte, a `wide` transition on all bytes but some, a `narrow` one on some
    bytes, nodes reached by `nothing`, and the tags of the patterns that end there.
    """

    def __init__(self) -> None:
        self.literal: list[dict[int, int]] = []
        self.wide: list[list[tuple[frozenset[int], int]]] = []
        self.narrow: list[list[tuple[frozenset[int], int]]] = []
        self.nothing: list[list[int]] = []
        self.tags: list[set[int]] = []
        self.pattern: list[str] = []  # the first one that came by
        self._wild: dict[tuple[int, Token | str], int] = {}
        self.room = _SPARE_STATES  # how many nodes there may be: nearly each becomes a state
        self._node("")

    def _node(self, pattern: str) -> int:
        if len(self.literal) >= min(self.room, _MAX_STATES):
            raise _too_many(self.pattern[-1000:], len(self.literal))
        self.literal.append({})
        self.wide.append([])
        self.narrow.append([])
        self.nothing.append([])
        self.tags.append(set())
        self.pattern.append(pattern)
        return len(self.literal) - 1

    def add(self, tokens: Tokens, tag: int, pattern: str) -> None:
        node = 0
        at = 0
        while at < len(tokens):
            token = tokens[at]
            if isinstance(token, int):
                following = self.literal[node].get(token)
                if following is None:
                    following = self.literal[node][token] = self._node(pattern)
                if token == SLASH and tokens[at + 1 : at + 3] == (Glob.DEEP, SLASH):
                    following = self._components(following, pattern)
                    at += 2
                node = following
            else:
                known = self._wild.get((node, token))
                if known is None:
                    known = self._wild[node, token] = self._wildcard(node, token, pattern)
                node = known
            at += 1
        self.tags[node].add(tag)

    def _wildcard(self, node: int, token: Chars | Glob, pattern: str) -> int:
        end = self._node(pattern)
        if isinstance(token, Glob):
            self.nothing[node].append(end)
            self.wide[end].append((frozenset({SLASH}) if token is Glob.STAR else _NOTHING, end))
        elif token.negated:
            self.wide[node].append((token.bytes | CONTINUATION | {SLASH}, end))
            self.narrow[end].append((CONTINUATION, end))
        else:
            self.narrow[node].append((token.bytes, end))
        return end

    def _components(self, slash: int, pattern: str) -> int:
        """After the first '/' of `/**/`: the node after the second, which may be the first."""
        known = self._wild.get((slash, "/**/"))
        if known is not None:
            return known
        loop, end = self._node(pattern), self._node(pattern)
        self.nothing[slash] += [loop, end]
        self.wide[loop].append((_NOTHING, loop))
        self.literal[loop][SLASH] = end
        self._wild[slash, "/**/"] = end
        return end

    def closures(self) -> list[tuple[int, ...]]:
        """For each node, in order, what it reaches by nothing, itself too."""
        found: list[tuple[int, ...]] = []
        for node, direct in enumerate(self.nothing):
            if not direct:
                found.append((node,))
                continue
            reached = {node}
            pending = [node]
            while pending:
                for following in self.nothing[pending.pop()]:
                    if following not in reached:
                        reached.add(following)
                        pending.append(following)
            found.append(tuple(sorted(reached)))
        return found


@dataclass
class _Machine:
    """Deterministic automaton. State 0 is dead, 1 the start.

    State S goes to `targets[S][i]` on byte `keys[S][i]`, in the order of bytes, to `default[S]` on all others.
    `accepts[S]` is the number of its set of tags in `sets`, 0 for none.
    """

    keys: list[bytes]
    targets: list[tuple[int, ...]]
    default: list[int]
    accepts: list[int]
    sets: list[frozenset[int]]


def _determine(trie: _Trie) -> _Machine:
    """The subset construction."""
    closures = trie.closures()
    literal, wide, narrow, tags = trie.literal, trie.wide, trie.narrow, trie.tags
    plain = [not (wide[node] or narrow[node]) for node in range(len(literal))]
    limit = min(_MAX_STATES, _SPARE_STATES + _STATES_A_BYTE * len(literal))
    # The root directory is matched by '/' alone, not by `/*` or `/**`.
    root = literal[0].get(SLASH, -1)

    sets: list[frozenset[int]] = [_NOTHING]
    numbers: dict[frozenset[int], int] = {_NOTHING: 0}
    states: list[tuple[int, ...]] = [(), (0,)]
    index: dict[tuple[int, ...], int] = {(): 0, (0,): 1}
    machine = _Machine([b""], [()], [0], [0], sets)
    single = [bytes((byte,)) for byte in range(256)]

    def state_of(nodes: tuple[int, ...]) -> int:
        found = index.get(nodes)
        if found is None:
            found = index[nodes] = len(states)
            states.append(nodes)
        return found

    def union(nodes: Iterable[int]) -> int:
        reached: set[int] = set()
        for node in nodes:
            reached.update(closures[node])
        return state_of(tuple(sorted(reached)))

    at = 1
    while at < len(states):
        nodes = states[at]
        at += 1
        if len(nodes) == 1:
            (node,) = nodes
            accepted = tags[node]
            simple = plain[node]
        else:
            accepted = tags[root] if root in nodes else set().union(*[tags[node] for node in nodes if tags[node]])
            simple = False
        number = 0
        if accepted:
            found = frozenset(accepted)
            number = numbers.setdefault(found, len(sets))
            if number == len(sets):
                sets.append(found)
        machine.accepts.append(number)
        if simple:
            edges = literal[node]
            if len(edges) == 1:
                ((byte, following),) = edges.items()
                machine.keys.append(single[byte])
                machine.targets.append((state_of(closures[following]),))
            else:
                keys = bytes(sorted(edges))
                machine.keys.append(keys)
                machine.targets.append(tuple([state_of(closures[edges[byte]]) for byte in keys]))
            machine.default.append(0)
            continue
        if len(states) > limit:
            pending = [pattern for nodes in states[-1000:] for pattern in {trie.pattern[node] for node in nodes}]
            raise _too_many(pending, len(states) - 1)

        everything: list[int] = []
        without: dict[int, list[int]] = {}
        added: dict[int, list[int]] = {}
        for node in nodes:
            for byte, following in literal[node].items():
                added.setdefault(byte, []).append(following)
            for some, following in narrow[node]:
                for byte in some:
                    added.setdefault(byte, []).append(following)
            for some, following in wide[node]:
                everything.append(following)
                for byte in some:
                    without.setdefault(byte, []).append(following)
        default = union(everything)
        keys = bytes(sorted(added.keys() | without.keys()))
        chosen: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
        targets: list[int] = []
        for byte in keys:
            choice = (tuple(without.get(byte, ())), tuple(added.get(byte, ())))
            target = chosen.get(choice)
            if target is None:
                target = chosen[choice] = union({*everything}.difference(choice[0]).union(choice[1]))
            targets.append(target)
        machine.keys.append(keys)
        machine.targets.append(tuple(targets))
        machine.default.append(default)
    return machine


def _too_many(pending: Iterable[str], states: int) -> AutomatonError:
    """`pending`: of the newest states, the patterns that they are for. Those that have most of them are named."""
    worst = [pattern for pattern, _ in Counter(pending).most_common(4)]
    named = ", ".join(f"'{pattern}'" for pattern in worst)
    return AutomatonError(
        f"these patterns together need more than {states} states: {named}",
        hint="give some of them a longer beginning without wildcards, or fewer '**', '?' and braces in a row",
        patterns=worst,
    )


def _merge(machine: _Machine) -> list[int]:
    """For each state the number of its class: states of one class are equivalent, states of two are not.

    Classes begin as the states that accept the same, and are split until all states of a class go to the same classes.
    After a split only the states that lead to a class with a new number are looked at again, and the largest part
    keeps the number, so that a state's number changes no more than log2(states) times.
    """
    keys, targets, default = machine.keys, machine.targets, machine.default
    count = len(keys)
    leading: list[list[int]] = [[] for _ in range(count)]
    for state in range(count):
        for target in {default[state], *targets[state]}:
            leading[target].append(state)

    classes = list(machine.accepts)
    members: list[set[int]] = [set() for _ in machine.sets]
    for state, number in enumerate(classes):
        members[number].add(state)
    # What the members of a class had in common when it was looked at last.
    common: list[object] = [None] * len(members)

    changed: Iterable[int] = range(count)
    while changed:
        groups: dict[int, dict[object, list[int]]] = {}
        for state in changed:
            otherwise = classes[default[state]]
            row = targets[state]
            if len(row) == 1:
                number = classes[row[0]]
                sign: object = otherwise if number == otherwise else (otherwise, keys[state], number)
            else:
                numbers = [classes[target] for target in row]
                if otherwise in numbers:
                    pairs = [pair for pair in zip(keys[state], numbers, strict=True) if pair[1] != otherwise]
                    if len(pairs) == 1:
                        sign = (otherwise, bytes((pairs[0][0],)), pairs[0][1])
                    elif pairs:
                        sign = (otherwise, bytes([byte for byte, _ in pairs]), tuple([number for _, number in pairs]))
                    else:
                        sign = otherwise
                else:
                    sign = (otherwise, keys[state], tuple(numbers)) if numbers else otherwise
            groups.setdefault(classes[state], {}).setdefault(sign, []).append(state)
        moved: list[int] = []
        for number, parts in groups.items():
            whole = members[number]
            untouched = len(whole) - sum(map(len, parts.values()))
            if untouched:
                same = parts.pop(common[number], None)
                untouched += len(same) if same else 0
                if not parts:
                    continue
            sign, largest = max(parts.items(), key=lambda part: len(part[1]))
            if untouched >= len(largest):
                leaving = list(parts.items())
            elif untouched:
                rest = whole.difference(*parts.values())
                leaving = [(common[number], list(rest)), *((s, p) for s, p in parts.items() if s != sign)]
                common[number] = sign
            else:
                leaving = [(s, p) for s, p in parts.items() if s != sign]
                common[number] = sign
            for sign, part in leaving:
                for state in part:
                    classes[state] = len(members)
                whole.difference_update(part)
                members.append(set(part))
                common.append(sign)
                moved += part
        changed = {state for target in moved for state in leading[target]}
    return classes


def _lay_out(machine: _Machine, classes: Sequence[int]) -> Automaton:
    """Numbers labels and states, and lays the rows over each other."""
    dead = classes[0]
    order: list[int] = [1]  # one state for each class, breadth first: what a walk needs lies close together
    seen = {dead, classes[1]}
    rows: list[tuple[bytes, list[int]]] = []  # offsets, and the classes they lead to
    for state in order:
        otherwise = classes[machine.default[state]]
        following = [classes[target] for target in machine.targets[state]]
        kept = [
            (byte, number) for byte, number in zip(machine.keys[state], following, strict=True) if number != otherwise
        ]
        if otherwise != dead:
            kept.append((_DEFAULT, otherwise))
        rows.append((bytes([byte for byte, _ in kept]), [number for _, number in kept]))
        for target in (*machine.targets[state], machine.default[state]):
            if classes[target] not in seen:
                seen.add(classes[target])
                order.append(target)

    used_sets = {machine.accepts[state] for state in order} - {0}
    sorted_sets = sorted(used_sets, key=lambda number: sorted(machine.sets[number]))
    labels = {number: label for label, number in enumerate(sorted_sets, 1)}
    labels[0] = 0

    places = _place([offsets for offsets, _ in rows])
    if max(places) > _MAX_PLACE or len(labels) > _MAX_PLACE:
        raise AutomatonError(f"the policies need more than {_MAX_PLACE} cells", hint="use fewer or simpler patterns")
    place_of = {classes[state]: place for state, place in zip(order, places, strict=True)}
    place_of.setdefault(dead, _DEAD)
    cells = array("I", bytes(_CELL.size * (max(places) + _ROW + 1)))
    for state, place, (offsets, following) in zip(order, places, rows, strict=True):
        cells[place] = labels[machine.accepts[state]] << 8
        for offset, number in zip(offsets, following, strict=True):
            cells[place + offset] = place_of[number] << 8 | offset
    if sys.byteorder == "big":
        cells.byteswap()
    return Automaton(cells.tobytes(), (_NOTHING, *(machine.sets[number] for number in sorted_sets)), len(order))


def _place(rows: Iterable[bytes]) -> list[int]:
    """For each row the first place, from 1 on, where the cells at its offsets, and at offset 0, are free.

    Only a window is searched: cells that stay free before it are left to be.
    """
    window, slack = 4096, 1024
    first = _START  # the place of bit 0 of `used`
    used = 0
    places: list[int] = []
    for offsets in rows:
        taken = used
        for offset in offsets:
            taken |= used >> offset
        place = (~taken & (taken + 1)).bit_length() - 1
        mask = 1
        for offset in offsets:
            mask |= 1 << offset
        used |= mask << place
        places.append(first + place)
        if used.bit_length() > window:
            used >>= slack
            first += slack
    return places
