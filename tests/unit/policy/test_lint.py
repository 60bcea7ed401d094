# SPDX-License-Identifier: Apache-2.0
"""What the linter finds, and what it must not find."""

import ipaddress
import socket
from pathlib import Path

import pytest

from bpflock.policy.bpfbox.load import parse
from bpflock.policy.bpfbox.lower import ABSTRACTIONS
from bpflock.policy.lint import Finding, Severity, lint
from bpflock.policy.model import (
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
    PolicySet,
    ProcObject,
    Profile,
    PtraceAccess,
    PtraceObject,
    Rule,
    SignalObject,
    Target,
    Who,
)

READ, WRITE, EXEC, GETATTR = FileAccess.READ, FileAccess.WRITE, FileAccess.EXEC, FileAccess.GETATTR
ALLOW, AUDIT, TAINT, TRANSITION = Effect.ALLOW, Effect.AUDIT, Effect.TAINT, Effect.TRANSITION
F = Function("f")


def _profile(
    *rules: Object | tuple[Object, Effect] | tuple[Object, Effect, Function], executable: str = "/bin/x"
) -> Profile:
    """Rule N stands in line N."""
    found = []
    for line, rule in enumerate(rules, 1):
        of, effect, *functions = rule if isinstance(rule, tuple) else (rule, ALLOW)
        found.append(Rule(of, effect, Origin("test", line, 1), tuple(functions)))
    return Profile(executable, tuple(found), Origin("test", 100, 1))


def _lint(*profiles: Profile, here: bool = False) -> list[Finding]:
    return lint(PolicySet(profiles), here=here)


def _lines(*rules: Object | tuple[Object, Effect] | tuple[Object, Effect, Function]) -> list[int]:
    """The lines of the rules that have no effect."""
    return [f.origin.line for f in _lint(_profile(*rules)) if "no effect" in f.message or "outside of the" in f.message]


def _net(access: NetAccess, *, network: str = "", **more: object) -> NetObject:
    values = {"family": socket.AF_INET, **more}
    return NetObject(access, network=ipaddress.ip_network(network) if network else None, **values)  # type: ignore[arg-type]


ANY9, CHILD9 = SignalObject(Target(Who.ANY), frozenset({9, 15})), SignalObject(Target(Who.CHILD), frozenset({9}))
CONNECT, BIND = NetAccess.CONNECT, NetAccess.BIND

# Rules, and the lines of those without effect.
COVERED: dict[str, tuple[list[Object | tuple[Object, Effect] | tuple[Object, Effect, Function]], list[int]]] = {
    "twice": ([FileObject("/a", READ), FileObject("/a", READ)], [2]),
    "narrower after": ([FileObject("/a/**", READ | WRITE), FileObject("/a/*.x", READ)], [2]),
    "narrower before": ([FileObject("/a/*.x", READ), FileObject("/a/**", READ)], [1]),
    "by two together": ([FileObject("/a", READ), FileObject("/*", WRITE), FileObject("/a", READ | WRITE)], [3]),
    "by classes together": ([FileObject("/a*", READ), FileObject("/[!a]*", READ), FileObject("/?*", READ)], [3]),
    "not quite": ([FileObject("/[a-m]", READ), FileObject("/[n-z]", READ), FileObject("/?", READ)], [1, 2]),
    "one access more": ([FileObject("/a", READ), FileObject("/a", READ | WRITE)], [1]),
    "getattr goes with read": ([FileObject("/a/*", READ), FileObject("/a/b", GETATTR)], [2]),
    "other access": ([FileObject("/a", READ), FileObject("/a", WRITE)], []),
    "other effect": ([FileObject("/a", READ), (FileObject("/a", READ), AUDIT)], []),
    "audited already": ([(FileObject("/a", READ), ALLOW | AUDIT), (FileObject("/*", READ), ALLOW | AUDIT)], [1]),
    "half of the effect": ([FileObject("/*", READ), (FileObject("/a", READ), ALLOW | AUDIT)], []),
    "in a function too": ([FileObject("/a", READ), (FileObject("/a", READ), ALLOW, F)], [2]),
    "only in a function": ([(FileObject("/a", READ), ALLOW, F), FileObject("/a", READ)], [1]),
    "another function": ([(FileObject("/a", READ), ALLOW, F), (FileObject("/a", READ), ALLOW, Function("g"))], []),
    "own too": ([FileObject("/a", READ), FileObject("/a", READ, own=True)], [2]),
    "own only": ([FileObject("/a", READ, own=True), FileObject("/b", READ)], []),
    "own not enough": ([FileObject("/a/*", READ, own=True), FileObject("/a/b", READ)], []),
    "transition differs": ([FileObject("/a", EXEC), (FileObject("/a", EXEC), ALLOW | TRANSITION)], [1]),
    "capabilities": ([CapabilityObject(frozenset({1, 2})), CapabilityObject(frozenset({2}))], [2]),
    "more capabilities": ([CapabilityObject(frozenset({2})), CapabilityObject(frozenset({1, 3}))], []),
    "operations": ([OperationObject(Operation.BPF), OperationObject(Operation.BPF | Operation.PERF)], [1]),
    "signals": ([ANY9, CHILD9], [2]),
    "wider signals": ([CHILD9, SignalObject(Target(Who.CHILD), frozenset({1}))], []),
    "target pattern": (
        [PtraceObject(Target(Who.EXE, "/bin/*"), PtraceAccess.READ),
         PtraceObject(Target(Who.EXE, "/bin/a"), PtraceAccess.READ)],
        [2],
    ),
    "target self": ([ProcObject(Target(Who.SELF), READ), ProcObject(Target(Who.CHILD), READ)], []),
    "proc getattr": ([ProcObject(Target(Who.ANY), READ), ProcObject(Target(Who.SELF), GETATTR)], [2]),
    "subnet": ([_net(CONNECT, network="10.0.0.0/8"), _net(CONNECT, network="10.1.0.0/16")], [2]),
    "other subnet": ([_net(CONNECT, network="10.0.0.0/8"), _net(CONNECT, network="11.1.0.0/16")], []),
    "subnet of any": ([_net(CONNECT | BIND), _net(CONNECT, network="10.1.0.0/16", ports=(1, 2))], [2]),
    "any of a subnet": ([_net(CONNECT, network="0.0.0.0/0"), _net(CONNECT)], [1]),
    "ports": ([_net(BIND, ports=(1, 100)), _net(BIND, ports=(5, 6))], [2]),
    "other ports": ([_net(BIND, ports=(1, 100)), _net(BIND, ports=(5, 600))], []),
    "any family": ([_net(BIND, family=None), _net(BIND)], [2]),
    "other type": ([_net(BIND, type=1), _net(BIND, type=2)], []),
}  # fmt: skip


@pytest.mark.parametrize("name", COVERED)
def test_rules_without_effect(name: str) -> None:
    rules, lines = COVERED[name]
    assert _lines(*rules) == lines


def _messages(*profiles: Profile) -> list[str]:
    return [f"{f.origin.line}: {f.message}" for f in _lint(*profiles)]


def test_what_others_say_is_named() -> None:
    finding = _lint(_profile(FileObject("/a/**", READ), FileObject("/a/b", READ)))[0]
    assert finding.severity is Severity.WARNING
    assert finding.message == "has no effect: said already by test:1:1"
    finding = _lint(_profile(FileObject("/a", READ), (FileObject("/a", READ), ALLOW, F)))[0]
    assert finding.message == "holds outside of the function too: test:1:1"


def test_audit_of_what_is_denied() -> None:
    audit = (FileObject("/etc/*", READ), AUDIT)
    assert "1: audits what no rule allows" in _messages(_profile(audit, FileObject("/var/*", READ)))[0]
    assert _messages(_profile(audit, FileObject("/**/x", READ))) == []
    signal = (ANY9, AUDIT)
    assert "1: audits what no rule allows" in _messages(_profile(signal))[0]
    assert _messages(_profile(signal, CHILD9)) == []


def test_untaint_and_transition_without_effect() -> None:
    untaint = (FileObject("/opt/a", EXEC), ALLOW | Effect.UNTAINT)
    assert "untaint has no effect" in _messages(_profile(untaint))[0]
    assert _messages(_profile(untaint, (FileObject("/secret", READ), TAINT))) == []
    jump = (FileObject("/opt/a", EXEC), ALLOW | TRANSITION)
    assert "transition to nothing" in _messages(_profile(jump))[0]
    assert _messages(_profile(jump), _profile(executable="/opt/*")) == []


def test_code_that_can_be_written() -> None:
    assert (
        "1: what may be executed here may also be written (test:2:1)"
        in _messages(_profile(FileObject("/opt/**", EXEC), FileObject("/opt/x/*", WRITE)))[0]
    )
    assert "(this rule itself)" in _messages(_profile(FileObject("/opt/**", EXEC | FileAccess.CREATE)))[0]
    assert "written" in _messages(_profile(FileObject("/t/*", EXEC), FileObject("/t/*", WRITE, own=True)))[0]
    assert _messages(_profile(FileObject("/opt/a", EXEC), FileObject("/opt/b", WRITE))) == []


def test_executables_of_profiles_that_can_be_written() -> None:
    writer = _profile(FileObject("/usr/**", WRITE), executable="/opt/writer")
    assert _messages(writer, _profile(executable="/usr/bin/y"), _profile(executable="/usr/bin/z")) == [
        "1: the program may write or remove executables that have profiles: /usr/bin/y, /usr/bin/z"
    ]
    assert "its own executable" in _messages(_profile(FileObject("/bin/x", FileAccess.RM)))[0]


def test_interpreters() -> None:
    message = _messages(_profile(FileObject("/usr/bin/{env,ls,python3}", EXEC)))[0]
    assert message == "1: allows to execute /usr/bin/python3, /usr/bin/env: they run any script that may be read"
    assert "and 24 more" in _messages(_profile(FileObject("/usr/bin/*", EXEC)))[0]
    assert _messages(_profile(FileObject("/usr/bin/ls", EXEC))) == []
    jump = (FileObject("/usr/bin/sh", EXEC), ALLOW | TRANSITION)
    assert _messages(_profile(jump), _profile(executable="/usr/bin/sh")) == []


def test_what_does_not_compile_is_an_error() -> None:
    (finding,) = _lint(_profile(FileObject("/a[", READ)))
    assert (finding.severity, finding.origin.line) == (Severity.ERROR, 1)
    assert "not closed" in finding.message
    (finding,) = _lint(_profile(executable="/bin/*"), _profile(executable="/bin/a*"))
    assert finding.severity is Severity.ERROR


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory whose files are taken for lasting, although it is in /tmp."""
    monkeypatch.setattr("bpflock.policy.machine._VOLATILE", (b"/proc/", b"/sys/"))
    return tmp_path.resolve()


def _notes(place: Path, *rules: Object | tuple[Object, Effect]) -> list[str]:
    exe = place / "exe"
    exe.touch()
    return [f.message.replace(str(place), "") for f in _lint(_profile(*rules, executable=str(exe)), here=True)]


def test_patterns_that_match_nothing_here(place: Path) -> None:
    (place / "sub").mkdir()
    (place / "sub" / "été.conf").touch()
    for pattern in ("/sub/*.conf", "/s?b/été*", "/**/*.conf", "/sub/{x,été}.conf", "/*/**", "/exe"):
        assert _notes(place, FileObject(f"{place}{pattern}", READ)) == [], pattern
    for pattern in ("/sub/*.cfg", "/sub/?", "/**/x", "/sub/*/y", "/no/such", "/exe/*"):
        expected = [f"'{pattern}' matches no file on this machine"]
        assert _notes(place, FileObject(f"{place}{pattern}", READ)) == expected, pattern
    assert _notes(place, FileObject(f"{place}/new", WRITE | FileAccess.CREATE)) == []
    assert _notes(place, FileObject("/proc/nothing", READ)) == []


def test_symbolic_links(place: Path) -> None:
    (place / "real").mkdir()
    (place / "real" / "file").touch()
    (place / "link").symlink_to("real")
    assert _notes(place, FileObject(f"{place}/link/file", READ)) == [
        "'/link/file' goes through the symbolic link /link: the kernel sees /real/file"
    ]
    assert _notes(place, FileObject(f"{place}/link/*", READ)) == [
        "'/link/*' goes through the symbolic link /link: the kernel sees /real/…"
    ]


def test_hard_links(place: Path) -> None:
    (place / "a").touch()
    (place / "b").hardlink_to(place / "a")
    (note,) = _notes(place, FileObject(f"{place}/a", READ))
    assert note == "/a has 2 names (hard links): under the others this rule does not apply to it"


def test_a_large_directory_is_given_up_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bpflock.policy import machine

    for number in range(20):
        (place / f"f{number}").touch()
    assert machine.Search(entries=100).matches_nothing(f"{place}/x*")
    assert not machine.Search(entries=5).matches_nothing(f"{place}/x*")


_SETS = sorted(path.stem for path in ABSTRACTIONS.glob("*.bpfbox"))


@pytest.mark.parametrize("name", _SETS)
def test_built_in_rules_are_no_mistakes_of_the_user(name: str) -> None:
    policy = PolicySet(parse(f'#![profile "/srv/x"]\n#![use base]\n#![use names]\n#![use {name}]\n', "p"))
    assert lint(policy, here=True) == []


def test_what_the_user_does_to_built_in_rules_is_told_at_the_users_rule() -> None:
    text = """#![profile "/usr/lib/x/x.so"]
#![use base]
fs("/usr/lib/x/**", write)
fs("/etc/localtime", read)
"""
    found = lint(PolicySet(parse(text, "p")), here=False)
    assert [(f.origin.line, f.message.partition(" (")[0]) for f in found] == [
        (3, "the program may write or remove executables that have profiles: its own executable"),
        (3, "what may be written here may also be executed"),
        (4, "has no effect: said already by <base>:12:1"),
    ]
