# SPDX-License-Identifier: Apache-2.0
"""Texts of the policy language by its grammar: policies that are nearly valid, in all that it has."""

from collections.abc import Iterable

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from bpflock.policy.bpfbox import names

Text = SearchStrategy[str]

_SPACE = st.sampled_from(["", "", " ", "\n", "\t", "\r\n", " // x\n", "/* x\n */", "# x\n"])
_GAP = st.sampled_from([" ", " ", "\n", " // x\n", "/* x */"])


def _mostly(valid: Text, odd: Text) -> Text:
    """A policy has many parts: if each of them was often wrong, hardly any policy would be valid."""
    return st.integers(0, 24).flatmap(lambda number: valid if number else odd)


def _words(known: Iterable[str], most: int = 3) -> Text:
    """Some of the words, joined as alternatives; now and then with one that is none."""
    valid = st.sampled_from(sorted(known))
    word = _mostly(valid, st.one_of(valid.map(str.upper), st.sampled_from(["x", "any"])))
    return st.lists(word, min_size=1, max_size=most).map("|".join)


_CHARS = st.characters(blacklist_categories=["Cs"], blacklist_characters='"\\\n')
_PIECE = st.one_of(
    st.sampled_from(["/", "/a", "/b", "/etc", "/*", "/**", "/**/x", "/a?", "*", "**", "?", ".", ".log", "é", "-", "0"]),
    st.sampled_from(["[a-z]", "[!a]", "[^/]", "[]x]", "[", "]", "{a,b}", "{,/c}", "{", "}", ",", "\\\\", '\\"', "\\*"]),
    st.text(_CHARS, max_size=4),
)
_PLAIN = st.sampled_from(["/a", "/b", "/etc", "/*", "/**/x", "/[!a-z]*", "/{a,b{c,}}", "/é", "/a{,/c}", "/\\\\*"])
_VALID = st.tuples(st.lists(_PLAIN, min_size=1, max_size=4).map("".join), st.sampled_from(["", "", "/**", "*.log"]))
pattern: Text = _mostly(_VALID.map("".join), st.lists(_PIECE, max_size=6).map("".join).map(lambda text: f"/{text}"))


def _quoted(text: Text) -> Text:
    return text.map(lambda inner: f'"{inner}"')


_PATHS = st.lists(_quoted(pattern), min_size=1, max_size=3).map("|".join)
_NUMBER = st.one_of(st.integers(0, 70000).map(str), st.sampled_from(["0", "00", "64", "9" * 30, "9" * 5000]))
_WHO = st.one_of(_words(names.WHO), _PATHS)
_NETWORK = st.one_of(
    st.ip_addresses().map(str),
    st.sampled_from(["10.0.0.0/8", "::/0", "fe80::/10", "10.0.0.1/8", "1.2.3.4/255.0.0.0", "fe80::1%1", "*", "", "x"]),
    st.text("0123456789abcdef:./[]%", max_size=12),
)
_PORT = st.one_of(_NUMBER, st.tuples(_NUMBER, _NUMBER).map("-".join))
_ENDPOINT = st.one_of(
    _NETWORK, st.tuples(_NETWORK, _PORT).map(":".join), st.tuples(_NETWORK, _PORT).map(lambda p: f"[{p[0]}]:{p[1]}")
)
_ANY_NET = st.tuples(
    st.one_of(_words(names.FAMILIES), _NUMBER, st.sampled_from(["any", "inet", "inet6"])),
    st.one_of(st.just(""), _words(names.TYPES).map(lambda words: f", {words}")),
    _words(names.NET),
    st.lists(
        st.one_of(
            _quoted(_ENDPOINT).map("to={}".format),
            _quoted(_ENDPOINT).map("at={}".format),
            _PORT.map("port={}".format),
            st.one_of(_words(names.PROTOCOLS), _NUMBER).map("protocol={}".format),
            _words(names.TYPES).map("type={}".format),
        ),
        max_size=3,
    ),
).map(lambda parts: f"net({', '.join([parts[0] + parts[1], parts[2], *parts[3]])})")
_VALID_NET = st.tuples(
    st.sampled_from(["inet", "inet6", "any", "unix|inet", "16", "netlink"]),
    st.sampled_from(["", ", stream", ", stream|dgram", ", type=raw"]),
    st.sampled_from(
        [
            *(
                ", any",
                ", create|recv",
                ", connect, port=443",
                ", connect|send, port=0-1023",
                ", listen, protocol=tcp|6",
            ),
            *(', bind, at=":80"', ', send, to="*:53"'),
        ]
    ),
).map("".join)
_ADDRESSED_NET = st.sampled_from(
    ['inet, connect, to="10.0.0.0/8:443"', 'inet6, bind|listen, at="[::1]:8080"', 'any, send, to="fe80::/10"|"::1"']
)
_NET = _mostly(st.one_of(_VALID_NET, _ADDRESSED_NET).map("net({})".format), _ANY_NET)
_FS = st.tuples(_PATHS, _words(names.FILE), _mostly(st.sampled_from(["", "", "", ", own"]), st.just(", x")))
_SIGNALS = st.one_of(_words(names.SIGNALS), _words(names.SIGNAL_GROUPS), _mostly(st.integers(1, 64).map(str), _NUMBER))
_PROCESS = st.one_of(
    st.tuples(st.just("proc"), _WHO, _words(names.FILE)),
    st.tuples(st.just("signal"), _WHO, _SIGNALS),
    st.tuples(st.just("ptrace"), _WHO, _words(names.PTRACE)),
)
_CALL = _mostly(
    st.one_of(
        _FS.map(lambda parts: f"fs({parts[0]}, {parts[1]}{parts[2]})"),
        _NET,
        _PROCESS.map(lambda parts: f"{parts[0]}({parts[1]}, {parts[2]})"),
        _words(names.CAPABILITIES).map("capability({})".format),
        _words(names.OPERATION).map("operation({})".format),
    ),
    st.sampled_from(["fs()", 'fs("/a" read)', "x(y)", "fs(,)", 'fs("/a", read,)']),
)
_FUNCTION = _quoted(st.one_of(st.sampled_from(["f", "g", "file+0x10"]), st.text(_CHARS, max_size=6)))
_DIRECTIVE = _mostly(
    st.one_of(
        st.sampled_from(["#[allow]", "#[audit]", "#[taint]"]),
        _FUNCTION.map("#[func {}]".format),
        st.tuples(_FUNCTION, _FUNCTION).map(lambda parts: f"#[func {parts[0]} ({parts[1]})]"),
        _FUNCTION.map("#[kfunc {}]".format),
    ),
    st.sampled_from(["#[own]", "#[transition]", "#[untaint]", "#[x]"]),
)
_OF_FILES = st.tuples(
    st.sampled_from(["#[own]", "#[transition]", "#[untaint]", "#[audit] #[transition]"]),
    _quoted(pattern),
).map(lambda parts: f"{parts[0]} fs({parts[1]}, read|exec)\n")
_RULE = st.tuples(st.lists(st.tuples(_DIRECTIVE, _SPACE).map("".join), max_size=2).map("".join), _CALL, _GAP)
_STATEMENT = st.recursive(
    st.one_of(_RULE.map("".join), _RULE.map("".join), _OF_FILES),
    lambda inner: st.tuples(
        st.lists(_DIRECTIVE, max_size=2).map(" ".join), st.lists(inner, max_size=3).map("".join)
    ).map(lambda parts: f"{parts[0]} {{ {parts[1]} }}\n"),
    max_leaves=6,
)
_HEADER = st.one_of(
    st.tuples(_quoted(pattern), _mostly(st.sampled_from(["", "", " complain"]), st.just(" x"))).map(
        lambda parts: f"#![profile {parts[0]}{parts[1]}]\n"
    ),
    _mostly(
        st.sampled_from(["#![complain]\n", "#![use base]\n", "#![use dns]\n"]),
        st.sampled_from(["#![use x]\n", '#![include "x"]\n', "#![x]\n"]),
    ),
)
_PROFILE = st.sampled_from(['#![profile "/usr/bin/x"]\n', '#![profile "/opt/{a,b}/*"]\n', '#![profile "/srv/**"]\n'])

# A policy, in most cases with a profile at its beginning.
policy: Text = st.tuples(
    _mostly(_PROFILE, st.one_of(_HEADER, st.just(""))),
    st.lists(st.one_of(_STATEMENT, _STATEMENT, _STATEMENT, _HEADER), max_size=6).map("".join),
).map("".join)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A policy of which something was taken away, doubled or exchanged for any text."""
    text = draw(policy)
    first, last = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
    middle = draw(
        st.one_of(st.just(""), st.just(text[first:last] * 2), st.text(max_size=3), st.sampled_from('{}[]()"|,=#/*'))
    )
    return text[:first] + middle + text[last:]
