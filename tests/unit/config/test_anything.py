# SPDX-License-Identifier: Apache-2.0
"""Whatever a file holds, reading the configuration ends in a configuration or in one explained error that names it."""

import re
import string
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bpflock.config import Config, load
from bpflock.config.options import OPTIONS
from bpflock.config.yamlfile import Item, parse_yaml
from bpflock.errors import BpflockError
from bpflock.policy.bpfbox.load import load as load_policies
from bpflock.policy.model import PolicySet

_FILE = Path("/etc/bpflock/bpflock.yaml")
# Pieces that YAML gives a meaning, so that more than the first character is looked at.
_SIGNS = (*"-:?,[]{}#&*!|>'\"%@`\n\t \\~=<", "---", "...", "%YAML ", "%TAG ", "!!int ", "!<", "<<: ", "\\U", ": ")
_WORDS = ("FFFFFFFF", "D800", "0x", "1e999", "9" * 5000, "\n- ", "\n  ", "baseline", "\ufeff", "\u2028", "\x85", "\0")
_PIECES = st.sampled_from([*OPTIONS, *_SIGNS, *_WORDS])
_TEXT = st.one_of(st.text(max_size=60), st.lists(_PIECES, max_size=30).map("".join))
_MANY = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
_SOME = settings(_MANY, max_examples=150)

_SCALARS = st.one_of(_TEXT, st.integers(), st.floats(), st.booleans(), st.none())
_VALUES = st.recursive(_SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=5)


def _yaml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    return repr(value) if isinstance(value, str) else str(value)


@_MANY
@given(_TEXT)
@example('kimglock-profile: "\\UFFFFFFFF"')
@example(f"%YAML {'9' * 6000}.1\n---\n")
@example("[" * 5000)
@example("- " * 5000)
@example("{" * 5000 + "}" * 5000)
@example("? " * 3000)
@example("!" * 3000)
@example("%TAG ! tag:\xe9,2000:\n---\n!x a")
def test_parse_yaml(text: str) -> None:
    try:
        found = parse_yaml(_FILE, text)
    except BpflockError as error:
        assert error.status == 2
        assert re.match(rf"{re.escape(str(_FILE))}:\d+", error.message), error.message
        return
    assert found is None or isinstance(found, Item)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bpflock-anything-") as name:
        for part in ("bpflock.d", "bpf.d", "policy.d"):
            (Path(name) / part).mkdir(mode=0o755)
        Path(name).chmod(0o755)
        yield Path(name)


def _expect_one_answer(place: Path, file: str, content: bytes) -> None:
    path = place / file
    path.write_bytes(content)
    try:
        found = load({"config-dir": str(place)}, {})
    except BpflockError as error:
        assert error.status == 2
        assert str(place) in error.message
    else:
        assert isinstance(found, Config)
    finally:
        path.unlink()


@_SOME
@given(
    st.sampled_from(["bpflock.yaml", "bpf.d/x.yaml", "bpflock.d/kimglock-profile", "bpflock.d/rootfslock-except"]),
    st.one_of(st.binary(max_size=40), _TEXT.map(lambda text: text.encode(errors="surrogatepass"))),
)
@example("bpflock.yaml", b'kimglock-profile: "\\UFFFFFFFF"')
@example("bpflock.d/event-buffer", b"9" * 6000)
def test_files(place: Path, file: str, content: bytes) -> None:
    _expect_one_answer(place, file, content)


@_SOME
@given(st.dictionaries(st.sampled_from(list(OPTIONS)), _VALUES, min_size=1, max_size=3))
def test_values_of_each_option(place: Path, values: dict[str, object]) -> None:
    text = "".join(f"{name}: {_yaml(value)}\n" for name, value in values.items())
    _expect_one_answer(place, "bpflock.yaml", text.encode(errors="surrogatepass"))


@_SOME
@given(st.lists(_VALUES, max_size=3), _SCALARS)
def test_programs(place: Path, arguments: list[object], name: object) -> None:
    head = "bpfmetaver: v1\nkind: bpf\nbpfspec:\n  programs:\n"
    for word in (name, "kimglock"):
        text = f"{head}    - name: {_yaml(word)}\n      args: {_yaml(arguments)}\n"
        _expect_one_answer(place, "bpf.d/x.yaml", text.encode(errors="surrogatepass"))


@_SOME
@given(
    st.dictionaries(
        st.sampled_from([option.variable for option in OPTIONS.values()]),
        st.one_of(_TEXT, st.text(string.digits, min_size=1, max_size=6000)),
        max_size=3,
    )
)
def test_the_environment(place: Path, variables: dict[str, str]) -> None:
    try:
        load({"config-dir": str(place)}, variables)
    except BpflockError as error:
        assert error.status in (2, 4)


@_SOME
@given(st.one_of(st.binary(max_size=60), st.text('#![]()"profilefs/a,{}*\n |', max_size=60).map(str.encode)))
@example(b'#![profile "/a"]\n' + b"{" * 5000)
@example(b'#![profile "/' + b"{a," * 3000 + b'"]\n')
@example(b'#![profile "/a"]\nfs("/a", ' + b"read|" * 5000 + b"read)\n")
@example(b'#![profile "/a"]\n' + b'#[func "x"] {' * 2000)
def test_policies(place: Path, content: bytes) -> None:
    path = place / "policy.d" / "x.bpfbox"
    path.write_bytes(content)
    try:
        assert isinstance(load_policies([path]), PolicySet)
    except BpflockError as error:
        assert error.status == 2
    finally:
        path.unlink()
