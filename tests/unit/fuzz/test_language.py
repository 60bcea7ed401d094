# SPDX-License-Identifier: Apache-2.0
"""What holds for every text: see tests/fuzz/language.py. `make fuzz` tries many more."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpflock.policy import pattern as patterns
from bpflock.policy.bpfbox.load import parse
from bpflock.policy.model import PolicySet
from bpflock.policy.tables import CompileError, Numbering, compile_policy
from tests.fuzz import grammar, language
from tests.fuzz.limits import calls, cpu_time

_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
_MANY = settings(
    max_examples=_EXAMPLES,
    deadline=None,  # the bounds are in calls and in processor time
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")
P = '#![profile "/x"]\n'
_CALLS = 2_000_000
_CALLS_A_CHARACTER = 3000


def _check(text: str) -> None:
    with cpu_time():
        language.check(text)


@_MANY
@given(grammar.policy)
def test_policies_by_the_grammar(text: str) -> None:
    _check(text)


@_MANY
@given(grammar.damaged())
def test_damaged_policies(text: str) -> None:
    _check(text)


@_MANY
@given(st.one_of(st.text(max_size=60), st.text('#![]{}()"|,=/\\* \na0-', max_size=60)))
def test_any_text(text: str) -> None:
    _check(P + text)
    _check(text)


@pytest.mark.parametrize("seed", language.corpus(), ids=lambda seed: seed[:40].decode().split("\n")[0])
def test_seeds(seed: bytes) -> None:
    assert language.check(seed.decode()) is not None


@_MANY
@given(grammar.pattern, st.data())
def test_patterns_match_the_same_step_by_step(pattern: str, data: st.DataObject) -> None:
    try:
        found = patterns.parse(pattern)
    except patterns.PatternError:
        return
    path = data.draw(st.lists(st.sampled_from([b"/", b"a", b"/b", b"x", b".", "é".encode(), b"\xa9"]), max_size=8))
    text = b"/" + b"".join(path)
    if text == b"/":
        return
    for tokens in found[:8]:
        with cpu_time():
            expected = patterns._expression(tokens).fullmatch(text) is not None
        assert patterns._Steps(tokens).match(text) is expected, (tokens, text)


_BIG = 100_000
HUGE = {
    "numbers": P + f"signal(child, {'9' * 5000}) net({'9' * 5000}, any) net(inet, connect, port={'9' * 5000})",
    "protocol": P + f"net(inet, any, protocol={'9' * 5000})",
    "a port in a string": P + f'net(inet, connect, to=":{"9" * 5000}")',
    "blocks": P + "{" * _BIG,
    "blocks, closed": P + "{" * _BIG + "}" * _BIG,
    "braces": P + 'fs("/' + "{a," * 1000 + '", read)',
    "alternatives": P + f'fs("/{"{a,b}" * 12}{"x" * 4000}", read)',
    "alternatives of nothing": P + f'fs("/x{"{,}" * 1300}", read)',
    "many long alternatives": P + f'fs("/{{{",".join(["x" * 100] * 40)}}}{{{",".join("y" * 20)}}}", read)',
    "sockets": P
    + "net({0}, {1}, connect, protocol={2}, port={2})".format(
        "|".join(["inet"] * 200), "|".join(["stream"] * 200), "|".join(["1"] * 200)
    ),
    "targets": P + f"signal({'|'.join(['child'] * 5000)}, {'|'.join(['1'] * 5000)})",
    "functions": P + "".join(f'#[func "{n}"]' for n in range(5000)) + 'fs("/a", read)',
    "profiles": "".join(f'#![profile "/{n}"]\n' for n in range(3000)),
    "errors": P + "x()\n" * 5000,
    "errors on a line": P + "x()" * 5000,
    "errors before a profile": "#![x]\n" * 3000 + "x()\n" * 3000,
    "directives": P + "#[allow]" * 20000,
    "a word": P + "x" * _BIG,
    "a string": P + '"' + "\\\\" * _BIG,
    "a comment": P + "/*" * _BIG,
    "spaces": P + " \n" * _BIG,
    "a long pattern of two bytes a character": P + f'fs("/{"é" * 2100}", read)',
}


@pytest.mark.parametrize("name", HUGE)
def test_nothing_takes_for_ever(name: str) -> None:
    text = HUGE[name]
    with cpu_time(), calls(_CALLS + _CALLS_A_CHARACTER * len(text)):
        language.check(text)


def test_alternatives_do_not_fill_the_memory() -> None:
    """A thousand bytes of policy: the automaton is refused while it is made, not when two gigabytes are full."""
    text = P + "".join(f'fs("/{n:03}{"{a,b}" * 12}{"y" * 40}", read)\n' for n in range(10))
    policy = PolicySet(parse(text))
    numbering = Numbering()
    numbering.extend(policy)
    with cpu_time(), pytest.raises(CompileError, match=r"more than 200[0-9]{3} states"):
        compile_policy(policy, numbering, 1)


def test_stars_do_not_backtrack() -> None:
    pattern = "/" + "*a" * 30 + "b"
    for path in (b"/" + b"a" * 250, b"/" + b"a" * 250 + b"b"):
        with cpu_time(5):
            assert patterns.matches(pattern, path) is path.endswith(b"b")


def test_a_place_lies_within_a_pattern_of_long_characters() -> None:
    with pytest.raises(patterns.PatternError) as caught:
        patterns.parse("/" + "é" * 3000)
    assert caught.value.position <= 3000
    assert parse(P + 'fs("/a", read)')
