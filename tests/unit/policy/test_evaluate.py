# SPDX-License-Identifier: Apache-2.0
"""What a policy set means: the reference evaluator by examples, and the compiled tables against it."""

import ipaddress
import socket
from dataclasses import replace

import pytest

from bpflock.policy.evaluate import (
    Access,
    CapabilityRequest,
    Decision,
    FileRequest,
    NetRequest,
    OperationRequest,
    Peer,
    ProcRequest,
    PtraceRequest,
    Reason,
    Request,
    SignalRequest,
    Subject,
    evaluate,
    execute,
    profile_of,
)
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
from bpflock.policy.tables import Numbering, compile_policy
from tests.policy.generate import Generator, show, shrink
from tests.policy.interpret import Interpreter

READ, WRITE, EXEC, GETATTR = FileAccess.READ, FileAccess.WRITE, FileAccess.EXEC, FileAccess.GETATTR
ALLOW, AUDIT, TAINT = Effect.ALLOW, Effect.AUDIT, Effect.TAINT
HERE = Origin("test", 1, 1)
IN_F, IN_G = Function("f"), Function("g")


def _profile(*rules: tuple[Object, Effect] | tuple[Object, Effect, Function], complain: bool = False) -> Profile:
    found = [Rule(rule[0], rule[1], Origin("test", line, 1), tuple(rule[2:])) for line, rule in enumerate(rules, 1)]
    return Profile("/bin/x", tuple(found), HERE, complain)


def _decide(
    profile: Profile | None, request: Request, *, tainted: bool = False, within: set[Function] | None = None
) -> Decision:
    return evaluate(Access(Subject(profile, tainted, frozenset(within or ()), b"/bin/x"), request))


ETC = FileRequest(b"/etc/passwd", READ)


def test_without_a_profile_everything_is_allowed() -> None:
    assert _decide(None, ETC) == Decision(True, Reason.UNCONFINED)


def test_enforced_is_denied_by_default() -> None:
    assert _decide(_profile(), ETC) == Decision(False, Reason.DENIED)


def test_the_rule_that_allows_is_named() -> None:
    profile = _profile((FileObject("/etc/s*", READ), ALLOW), (FileObject("/etc/**", READ), ALLOW), (ETC_READ, ALLOW))
    assert _decide(profile, ETC) == Decision(True, Reason.ALLOWED, profile.rules[1])


ETC_READ = FileObject("/etc/*", READ)


def test_every_access_of_several_must_be_allowed_by_some_rule() -> None:
    both = FileRequest(b"/etc/passwd", READ | WRITE)
    one = _profile((ETC_READ, ALLOW))
    assert _decide(one, both).missing == WRITE
    assert not _decide(one, both).allowed
    assert _decide(_profile((ETC_READ, ALLOW), (FileObject("/**", WRITE), ALLOW)), both).allowed


def test_what_may_be_read_may_be_looked_at() -> None:
    look = FileRequest(b"/etc/passwd", GETATTR)
    assert _decide(_profile((ETC_READ, ALLOW)), look).allowed
    assert not _decide(_profile((ETC_READ, AUDIT)), look).allowed
    assert _decide(_profile((ProcObject(Target(Who.SELF), READ), ALLOW)), ProcRequest(ME, GETATTR)).allowed
    assert not _decide(_profile((ETC_READ, ALLOW | AUDIT)), look).audited


ME = Peer(b"/bin/x", frozenset({Who.SELF}))


def test_audit_alone_does_not_allow() -> None:
    assert not _decide(_profile((ETC_READ, AUDIT)), ETC).allowed
    assert _decide(_profile((ETC_READ, AUDIT), (ETC_READ, ALLOW)), ETC).audited
    assert not _decide(_profile((FileObject("/etc/x", READ), AUDIT), (ETC_READ, ALLOW)), ETC).audited


def test_complain_allows_and_tells() -> None:
    decision = _decide(_profile(complain=True), ETC)
    assert decision == Decision(True, Reason.COMPLAINED)
    assert decision.told


def test_a_profile_with_taint_rules_is_enforced_once_one_matches() -> None:
    profile = _profile((FileObject("/secret", READ), TAINT), (ETC_READ, ALLOW))
    secret = FileRequest(b"/secret", READ)
    assert _decide(profile, FileRequest(b"/any", WRITE)) == Decision(True, Reason.UNTAINTED)
    assert _decide(profile, secret) == Decision(True, Reason.TAINTING, profile.rules[0], taints=True)
    assert _decide(profile, FileRequest(b"/any", WRITE), tainted=True) == Decision(False, Reason.DENIED)
    assert _decide(profile, secret, tainted=True) == Decision(False, Reason.DENIED)
    assert _decide(profile, ETC, tainted=True).allowed


def test_functions_widen_only_while_the_thread_is_in_all_of_them() -> None:
    rule = Rule(ETC_READ, ALLOW, HERE, (IN_F, IN_G))
    profile = Profile("/bin/x", (rule,), HERE)
    assert not _decide(profile, ETC, within={IN_F}).allowed
    assert _decide(profile, ETC, within={IN_F, IN_G}).allowed


def test_own_files() -> None:
    profile = _profile((FileObject("/tmp/**", WRITE, own=True), ALLOW))
    assert not _decide(profile, FileRequest(b"/tmp/x", WRITE)).allowed
    assert _decide(profile, FileRequest(b"/tmp/x", WRITE, own=True)).allowed


def test_own_executable() -> None:
    assert _decide(_profile(), FileRequest(b"/bin/x", READ | EXEC)) == Decision(True, Reason.OWN_EXECUTABLE)
    assert not _decide(_profile(), FileRequest(b"/bin/x", WRITE)).allowed


V4 = (socket.AF_INET, socket.SOCK_STREAM, 6)
LOCAL = ipaddress.ip_address("127.0.0.1")
NET: dict[str, tuple[Object, Request, bool]] = {
    "family": (NetObject(NetAccess.CREATE, socket.AF_INET), NetRequest(NetAccess.CREATE, *V4), True),
    "any family": (NetObject(NetAccess.CREATE, None), NetRequest(NetAccess.CREATE, *V4), True),
    "other family": (NetObject(NetAccess.CREATE, socket.AF_INET6), NetRequest(NetAccess.CREATE, *V4), False),
    "other type": (NetObject(NetAccess.CREATE, None, socket.SOCK_DGRAM), NetRequest(NetAccess.CREATE, *V4), False),
    "other protocol": (NetObject(NetAccess.CREATE, None, None, 17), NetRequest(NetAccess.CREATE, *V4), False),
    "other access": (NetObject(NetAccess.BIND, None), NetRequest(NetAccess.CREATE, *V4), False),
    "network": (
        NetObject(NetAccess.CONNECT, None, network=ipaddress.ip_network("127.0.0.0/8")),
        NetRequest(NetAccess.CONNECT, *V4, LOCAL, 80),
        True,
    ),
    "other network": (
        NetObject(NetAccess.CONNECT, None, network=ipaddress.ip_network("10.0.0.0/8")),
        NetRequest(NetAccess.CONNECT, *V4, LOCAL, 80),
        False,
    ),
    "network without address": (
        NetObject(NetAccess.RECV, None, network=ipaddress.ip_network("0.0.0.0/0")),
        NetRequest(NetAccess.RECV, *V4),
        False,
    ),
    "mapped address": (
        NetObject(NetAccess.CONNECT, None, network=ipaddress.ip_network("0.0.0.0/0")),
        NetRequest(NetAccess.CONNECT, socket.AF_INET6, 1, 6, ipaddress.ip_address("::ffff:127.0.0.1"), 80),
        False,
    ),
    "port": (NetObject(NetAccess.BIND, None, ports=(80, 90)), NetRequest(NetAccess.BIND, *V4, LOCAL, 90), True),
    "other port": (NetObject(NetAccess.BIND, None, ports=(80, 90)), NetRequest(NetAccess.BIND, *V4, LOCAL, 91), False),
    "no port": (NetObject(NetAccess.ACCEPT, None, ports=(0, 65535)), NetRequest(NetAccess.ACCEPT, *V4), False),
}
OTHER = Peer(b"/bin/other", frozenset({Who.CHILD}))
REST: dict[str, tuple[Object, Request, bool]] = {
    "signal": (SignalObject(Target(Who.CHILD), frozenset({9})), SignalRequest(OTHER, 9), True),
    "other signal": (SignalObject(Target(Who.CHILD), frozenset({9})), SignalRequest(OTHER, 0), False),
    "check": (SignalObject(Target(Who.ANY), frozenset({0})), SignalRequest(OTHER, 0), True),
    "limits": (SignalObject(Target(Who.ANY), frozenset({65})), SignalRequest(OTHER, 65), True),
    "no limits": (SignalObject(Target(Who.ANY), frozenset(range(65))), SignalRequest(OTHER, 65), False),
    "parent": (SignalObject(Target(Who.PARENT), frozenset({9})), SignalRequest(OTHER, 9), False),
    "executable": (
        PtraceObject(Target(Who.EXE, "/bin/*"), PtraceAccess.READ),
        PtraceRequest(OTHER, PtraceAccess.READ),
        True,
    ),
    "attach": (PtraceObject(Target(Who.ANY), PtraceAccess.READ), PtraceRequest(OTHER, PtraceAccess.ATTACH), False),
    "self": (ProcObject(Target(Who.SELF), READ), ProcRequest(OTHER, READ), False),
    "capability": (CapabilityObject(frozenset({1, 2})), CapabilityRequest(2), True),
    "other capability": (CapabilityObject(frozenset({1, 2})), CapabilityRequest(3), False),
    "operation": (OperationObject(Operation.BPF | Operation.PERF), OperationRequest(Operation.PERF), True),
    "other operation": (OperationObject(Operation.BPF), OperationRequest(Operation.MOUNT), False),
    "another kind": (CapabilityObject(frozenset({1})), OperationRequest(Operation.MOUNT), False),
}


@pytest.mark.parametrize("name", [*NET, *REST])
def test_objects(name: str) -> None:
    of, request, allowed = {**NET, **REST}[name]
    profile = _profile((of, ALLOW))
    assert _decide(profile, request).allowed is allowed
    policy, access = PolicySet((profile,)), Access(Subject(profile, executable=b"/bin/x"), request)
    assert _agree(policy, access)


def test_exec_changes_the_profile_only_by_a_transition() -> None:
    jump, clean = (
        Rule(FileObject("/bin/y", EXEC), ALLOW | Effect.TRANSITION, HERE),
        Rule(FileObject("/bin/clean", EXEC), ALLOW | Effect.UNTAINT, HERE),
    )
    one = Profile("/bin/x", (jump, clean, Rule(FileObject("/**", READ), TAINT, HERE)), HERE)
    two = Profile("/bin/y", (), HERE)
    policy = PolicySet((one, two, Profile("/bin/*", (), HERE)))
    assert profile_of(policy, b"/bin/y") is two
    assert profile_of(policy, b"/usr/bin/y") is None
    begun = execute(policy, Subject(None), b"/bin/x")
    assert begun == Subject(one, executable=b"/bin/x")
    tainted = replace(begun, tainted=True, functions=frozenset({IN_F}))
    assert execute(policy, tainted, b"/bin/y") == Subject(two, True, executable=b"/bin/y")
    assert execute(policy, tainted, b"/bin/z") == Subject(one, True, executable=b"/bin/z")
    assert execute(policy, tainted, b"/bin/clean") == Subject(one, False, executable=b"/bin/clean")


@pytest.mark.parametrize("turned", [False, True], ids=["exact first", "pattern first"])
def test_a_path_goes_before_a_pattern_wherever_it_stands(turned: bool) -> None:
    exact, both = Profile("/bin/y", (), HERE), Profile("/bin/{y,z}", (), HERE)
    pattern = Profile("/bin/*", (), HERE)
    found = [exact, pattern]
    policy = PolicySet(tuple(reversed(found) if turned else found))
    assert profile_of(policy, b"/bin/y") is exact
    assert profile_of(policy, b"/bin/z") is pattern
    for profiles in ((both, pattern), (pattern, both)):
        assert profile_of(PolicySet(profiles), b"/bin/y") is both  # a list of paths has no wildcard


# The compiled tables against the evaluator.


def _agree(policy: PolicySet, access: Access) -> bool:
    """Whether the tables of a policy set say what the evaluator says."""
    numbering = Numbering()
    numbering.extend(policy)
    return _differs(Interpreter(compile_policy(policy, numbering, 1)), numbering, access) is None


def _differs(read: Interpreter, numbering: Numbering, access: Access) -> str | None:
    subject = access.subject
    assert subject.profile is not None
    number = numbering.profiles[subject.profile.executable]
    if read.profile_of(subject.executable) != number:
        return f"the executable selects profile {read.profile_of(subject.executable)}, not {number}"
    functions = frozenset(numbering.functions.get(function, 0) for function in subject.functions)
    found = read.decision(number, access, functions)
    expected = evaluate(access)
    if (found.allowed, found.reason, found.audited, found.taints, found.missing) != (
        *(expected.allowed, expected.reason, expected.audited, expected.taints, expected.missing),
    ):
        return f"evaluator {expected}, tables {found}"
    return None


SEEDS = range(20)


@pytest.mark.parametrize("seed", SEEDS)
def test_generated_policies_mean_the_same_compiled(seed: int) -> None:
    for case in Generator(seed).cases(policies=3, accesses=80):
        numbering = Numbering()
        numbering.extend(case.policy)
        read = Interpreter(compile_policy(case.policy, numbering, 1))
        for access in case.accesses:
            difference = _differs(read, numbering, access)
            if difference is not None:
                smallest = shrink(case.policy, access, lambda policy, one: not _agree(policy, one))
                pytest.fail(f"seed {seed}: {difference}\n{show(*smallest)}")


def test_the_generator_covers_what_there_is() -> None:
    """Every decision, every kind of object, and no side outweighs the other."""
    reasons: dict[Reason, int] = {}
    kinds: set[str] = set()
    texts = ""
    for seed in SEEDS:
        for case in Generator(seed).cases(policies=3, accesses=20):
            texts += "".join(case.policy.patterns())
            kinds |= {type(rule.object).__name__ for profile in case.policy.profiles for rule in profile.rules}
            for access in case.accesses:
                reason = evaluate(access).reason
                reasons[reason] = reasons.get(reason, 0) + 1
    assert len(kinds) == 7
    assert set(reasons) == set(Reason) - {Reason.UNCONFINED, Reason.OWN_EXECUTABLE}
    total = sum(reasons.values())
    assert reasons[Reason.ALLOWED] > total / 5 and reasons[Reason.DENIED] > total / 5
    assert reasons[Reason.TAINTING] > total / 50
    assert all(text in texts for text in ("/**", "/**/", "*", "?", "[!", "{", "\\"))


def test_equal_seeds_give_equal_cases() -> None:
    one, other = (list(Generator(5).cases(policies=2, accesses=5)) for _ in range(2))
    assert one == other


def test_shrinking_finds_a_small_case() -> None:
    policy, access = next(
        (case.policy, access)
        for case in Generator(3).cases(policies=20, accesses=50)
        for access in case.accesses
        if isinstance(access.request, FileRequest) and evaluate(access).reason is Reason.ALLOWED
    )
    smallest, request = shrink(policy, access, lambda _, one: evaluate(one).reason is Reason.ALLOWED)
    assert len(smallest.profiles) == 1
    assert len(smallest.profiles[0].rules) == 1
    assert "FileObject" in show(smallest, request)
