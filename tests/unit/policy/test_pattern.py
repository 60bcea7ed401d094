# SPDX-License-Identifier: Apache-2.0
"""What patterns match, and what is no pattern."""

import pytest

from bpflock.policy import pattern
from bpflock.policy.automaton import build
from bpflock.policy.pattern import PatternError

# Pattern: what it matches, what it does not.
MATCHES: dict[str, tuple[list[str], list[str]]] = {
    "/": (["/"], ["/a"]),
    "/etc/passwd": (["/etc/passwd"], ["/etc/passwd-", "/etc", "/etc/passw", "/etc/passwd/x", "/"]),
    "/a/*": (["/a/b", "/a/.b", "/a/é", "/a/\n"], ["/a", "/a/b/c", "/ab"]),
    "/a*": (["/a", "/ab", "/a.b"], ["/b", "/a/b"]),
    "/a/*.log": (["/a/.log", "/a/x.log", "/a/x.log.log"], ["/a/x.logs", "/a/b/x.log"]),
    "/*/b": (["/a/b", "/é/b"], ["/b", "/a/c/b"]),
    "/*": (["/a"], ["/", "/a/b"]),
    "/**": (["/a", "/a/b/c", "/\t"], ["/"]),
    "/a/**": (["/a/b", "/a/b/c"], ["/a", "/ab", "/b/c"]),
    "/a**": (["/a", "/ab", "/a/b"], ["/b"]),
    "/a/**/x": (["/a/x", "/a/b/x", "/a/b/c/x", "/a/x/x"], ["/a/bx", "/ax", "/a/x/y", "/x"]),
    "/a/**/**/x": (["/a/x", "/a/b/x", "/a/b/c/d/x"], ["/a/bx"]),
    "/a/**/x/**/y": (["/a/x/y", "/a/1/x/2/3/y"], ["/a/y", "/a/x"]),
    "/a/**.so": (["/a/.so", "/a/x.so", "/a/b/x.so"], ["/a/so", "/b/x.so"]),
    "/a**b": (["/ab", "/a/b", "/axx/yy/b"], ["/a", "/b"]),
    "**/x": (["/x", "/a/x", "/a/b/x"], ["/ax", "/x/a"]),
    "**.so": (["/x.so", "/a/.so"], ["/so"]),
    "**": (["/a", "/a/b"], ["/"]),
    "/a/*\\**b": (["/a/*b", "/a/x*yb"], ["/a/b", "/a/x"]),
    "/?": (["/a", "/é", "/€", "/\U0001f512", "/?"], ["/", "/ab", "/éa", "/a/b"]),
    "/a??": (["/abc", "/aéé", "/a€b"], ["/ab", "/aé", "/abcd"]),
    "/*?": (["/a", "/é", "/ab"], ["/"]),
    "/*??": (["/ab", "/éa"], ["/a", "/é", "/€"]),
    "/[ab]": (["/a", "/b"], ["/c", "/ab", "/"]),
    "/[a-cx]z": (["/az", "/cz", "/xz"], ["/dz", "/z"]),
    "/[!a]": (["/b", "/é"], ["/a", "/", "/bb"]),
    "/[^a-z]": (["/A", "/-"], ["/a", "/z"]),
    "/[]]": (["/]"], ["/["]),
    "/[a-]": (["/a", "/-"], ["/b"]),
    "/[!]]": (["/a"], ["/]"]),
    "/[\\]\\-\\\\]": (["/]", "/-", "/\\"], ["/a"]),
    "/a[+-9]b": (["/a+b", "/a.b", "/a0b"], ["/a/b", "/a*b"]),
    "/a[!x]b": (["/ayb"], ["/a/b", "/axb"]),
    "/[*?{]": (["/*", "/?", "/{"], ["/a"]),
    "/{a,b}": (["/a", "/b"], ["/c", "/a,b", "/{a,b}"]),
    "/x{,y}": (["/x", "/xy"], ["/y"]),
    "/{a,b{c,d{e,}}}/f": (["/a/f", "/bc/f", "/bde/f", "/bd/f"], ["/b/f"]),
    "/{*,b/**}/c": (["/a/c", "/b/c", "/b/x/c", "/b/x/y/c"], ["/a/x/c"]),
    "{/a,/b/c}/d": (["/a/d", "/b/c/d"], ["/d"]),
    "/a{,/**}": (["/a", "/a/b", "/a/b/c"], ["/ab"]),
    "/{a}": (["/a"], ["/{a}"]),
    "/{[,],b}": (["/,", "/b"], ["/["]),
    "/{\\,,b\\}}": (["/,", "/b}"], ["/b"]),
    "/a,b": (["/a,b"], ["/a"]),
    "/a]": (["/a]"], ["/a"]),
    "/\\*\\?\\[\\{\\}\\\\\\a": (["/*?[{}\\a"], ["/x?[{}\\a"]),
    "/é*": (["/é", "/éa"], ["/e", "/è"]),
    "/...": (["/..."], ["/.."]),
    "/a.": (["/a."], ["/a"]),
}
BYTES = [
    ("/*", b"/\xff\xfe", True),
    ("/?", b"/\xff", True),
    ("/?", b"/\xc3\xa9\xa9", True),  # a stray byte belongs to the character before it
    ("/??", b"/\xc3\xa9\xa9", False),
    ("/?", b"/\xa9", False),
    ("/*", b"/\xa9", True),
    ("/a?", b"/a\xa9", False),
    ("/a*", b"/a\xa9", True),
    ("/[!a]", b"/b\xa9", True),
    ("/[a]", b"/a\xa9", False),
    ("/?", b"/\x01", True),
    ("/[\x02]", b"/\x01", True),
    ("/[\x01]", b"/\x02", True),
    ("/\x01", b"/\x02", True),
    ("/[!\x02]", b"/\x01", False),
    ("/a/**", b"/a/" + b"\x80" * 300, True),
]


@pytest.mark.parametrize("text", MATCHES)
def test_matches(text: str) -> None:
    yes, no = MATCHES[text]
    assert [path for path in yes if not pattern.matches(text, path.encode())] == []
    assert [path for path in no if pattern.matches(text, path.encode())] == []


@pytest.mark.parametrize("text", MATCHES)
def test_an_automaton_of_one_pattern_matches_the_same(text: str) -> None:
    yes, no = MATCHES[text]
    machine = build([(text, 7)])
    assert [path for path in yes if machine.labels[machine.run(path.encode())] != {7}] == []
    assert [path for path in no if machine.run(path.encode())] == []


@pytest.mark.parametrize(("text", "path", "expected"), BYTES)
def test_other_text_than_utf8(text: str, path: bytes, expected: bool) -> None:
    assert pattern.matches(text, path) is expected
    assert bool(build([(text, 0)]).run(path)) is expected


# Pattern, position of the fault, what the message says.
ERRORS = [
    ("", 0, "must begin with '/'"),
    ("etc", 0, "must begin with '/'"),
    ("*/x", 0, "must begin with '/'"),
    ("{/a,b}", 4, "must begin with '/'"),
    ("/a/", 2, "ends with '/'"),
    ("/a{/,b}", 3, "ends with '/'"),
    ("/**/", 3, "ends with '/'"),
    ("/a//b", 3, "'//'"),
    ("//", 1, "'//'"),
    ("/a/./b", 3, "'.' and '..'"),
    ("/a/..", 3, "'.' and '..'"),
    ("/a\0", 2, "zero byte"),
    ("/a\udcff", 2, "not UTF-8"),
    ("/[ab", 1, "'[' is not closed"),
    ("/[]", 1, "'[' is not closed"),
    ("/[a\\", 1, "'[' is not closed"),
    ("/[z-a]", 2, "range z-a is empty"),
    ("/[é]", 2, "only ASCII"),
    ("/[/]", 2, "never '/'"),
    ("/[/-a]", 2, "never '/'"),
    ("/[[:alpha:]]", 2, "named classes"),
    ("/{a,b", 1, "'{' is not closed"),
    ("/{}", 1, "empty braces"),
    ("/a}", 2, "without '{'"),
    ("/a\\", 2, "backslash"),
    ("/***", 3, "more than two '*'"),
    ("/" + "{a,b}" * 13, 61, "more than 4096 patterns"),
    ("/" + "{" * 17 + "a", 17, "nested"),
    ("/" + "a" * 4095, 4095, "longer"),
    ("/" + "é" * 2048, 2048, "longer"),
]


@pytest.mark.parametrize(("text", "position", "what"), ERRORS, ids=[repr(text)[:20] for text, _, _ in ERRORS])
def test_errors_say_where_and_what(text: str, position: int, what: str) -> None:
    with pytest.raises(PatternError) as raised:
        pattern.parse(text)
    assert raised.value.position == position
    assert what in raised.value.message
    assert f"character {position + 1}:" in raised.value.message


def test_exact_patterns() -> None:
    assert pattern.exact("/bin/{a,b\\*}") == frozenset({b"/bin/a", b"/bin/b*"})
    assert pattern.exact("/bin/*") is None
    assert pattern.exact("/bin/{a,b?}") is None


def test_an_escaped_path_matches_itself_alone() -> None:
    path = "/a*b?c[d]{e,f}\\g"
    assert pattern.exact(pattern.escape(path)) == frozenset({path.encode()})
