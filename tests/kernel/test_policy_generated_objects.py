# SPDX-License-Identifier: Apache-2.0
"""The kernel decides as the reference evaluator does about sockets, signals and ptrace, with random policies.

By several tasks and kinds of calls (generated_ways.py), also between mount namespaces.
"""

import contextlib
import errno
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bpflock.confine.engine import Engine
from bpflock.locks.enforce import Enforcer
from bpflock.policy.evaluate import (
    Access,
    NetRequest,
    Peer,
    PtraceRequest,
    Request,
    SignalRequest,
    Subject,
    evaluate,
    profile_of,
)
from bpflock.policy.model import (
    MEMORY,
    Effect,
    FileAccess,
    FileObject,
    NetAccess,
    NetObject,
    Operation,
    OperationObject,
    Origin,
    PolicySet,
    Profile,
    PtraceAccess,
    PtraceObject,
    Rule,
    SignalObject,
    Target,
    Who,
)
from bpflock.policy.tables import CompileError
from tests.policy.generate import ADDRESSES, SIGNALS, Generator

from .conftest import ATTACK
from .generated_ways import Ways, fuzzing, seeds
from .prober import Prober
from .told import Expected, Told

_CASES = 1700
_POLICIES = 24
_SESSIONS = 2  # under each policy
_ACCESSES = 40  # of each session
_ROOT = Path("/tmp/generated-objects")
_INTERNET = (socket.AF_INET, socket.AF_INET6)
# To whom a signal would be deadly, or stop the tests.
_HARMLESS_SIGNALS = (0, int(signal.SIGCONT))
# Errors that come after the policy was asked.
_AFTERWARDS = {
    "listen": (errno.EOPNOTSUPP,),
    "accept": (errno.EAGAIN, errno.EINVAL, errno.EOPNOTSUPP),
    "connect": (errno.ECONNREFUSED, errno.EINPROGRESS),
    "send": (errno.ECONNREFUSED,),
    "recv": (errno.EAGAIN, errno.ENOTCONN, errno.EINVAL),
    "shutdown": (errno.ENOTCONN, errno.EOPNOTSUPP),
    "ptrace": (errno.EFAULT,),  # in other processes, nothing need be where it is read
}


_KINDS = (
    NetObject(NetAccess(sum(NetAccess)), None),
    SignalObject(Target(Who.ANY), frozenset(SIGNALS)),
    PtraceObject(Target(Who.ANY), PtraceAccess(sum(PtraceAccess))),
)


@dataclass
class Process:
    """A prober, and what the evaluator takes it for."""

    prober: Prober
    subject: Subject
    elsewhere: bool = False  # in a mount namespace of its own


@dataclass(frozen=True)
class Question:
    """What the kernel asks the policy: of whom (not of `process` itself if that is None: of its child), what."""

    process: Process | None
    request: Request


class Mismatch(Exception):
    """The kernel decided otherwise than the evaluator."""


class Session:
    """A process of each executable, and what they try with sockets and with each other."""

    def __init__(self, generator: Generator, policy: PolicySet, ways: Ways, number: int) -> None:
        self._generator = generator
        self._ways = ways
        self._source_of_ways = random.Random(number)
        self._random: random.Random = generator.random
        self._policy = policy
        self.totals: Counter[str] = Counter()
        self.ways: Counter[str] = Counter()
        self._processes: list[Process] = []

    def run(self, count: int) -> None:
        """So many accesses. Raises Mismatch at the first that is not decided alike."""
        with contextlib.ExitStack() as stack:
            self._told = stack.enter_context(Told(Enforcer()))
            for executable in self._generator.executables:
                elsewhere = self._source_of_ways.random() < 0.3
                before = ("unshare", "-m") if elsewhere else ()
                prober = stack.enter_context(Prober(*before, executable.decode(), "probe"))
                prober.reach("stat", b"/")  # from now on, no signal ends it
                subject = Subject(profile_of(self._policy, executable), executable=executable)
                self._processes.append(Process(prober, subject, elsewhere))
            confined = [process for process in self._processes if process.subject.profile]
            for _ in range(count):
                actor = self._random.choice(confined)
                near = self._near(actor)
                match near:
                    case NetRequest():
                        self._use_socket(actor, near)
                    case SignalRequest():
                        self._signal(actor, near)
                    case PtraceRequest():
                        self._trace(actor, near)

    def _near(self, actor: Process) -> Request:
        """A request that one of the actor's rules may be about."""
        profile = actor.subject.profile
        assert profile
        any_of_kind = self._random.choice(_KINDS)
        of_kind = [rule.object for rule in profile.rules if isinstance(rule.object, type(any_of_kind))]
        chosen = self._random.choice(of_kind or [any_of_kind])
        about = replace(profile, rules=(Rule(chosen, Effect.ALLOW, profile.origin),))
        return self._generator.access(PolicySet((about,))).request

    def _use_socket(self, actor: Process, near: NetRequest) -> None:
        access, family = near.access, near.family
        what = (access.name or "").lower()
        address, port = near.address, near.port
        if access is NetAccess.SEND and family == socket.AF_UNIX:
            what = "pair"
        elif access is NetAccess.SEND and (family not in _INTERNET or near.type != socket.SOCK_DGRAM):
            what, access = "recv", NetAccess.RECV
        elif access in NetAccess.CONNECT | NetAccess.BIND | NetAccess.LISTEN and family not in _INTERNET:
            what, access = "shutdown", NetAccess.SHUTDOWN
        if family in _INTERNET and address is None:
            address, port = next(one for one in ADDRESSES if (one.version == 4) == (family == socket.AF_INET)), 4000
        named = replace(near, access=NetAccess.CREATE, address=None, port=None)
        asked = [named]
        if what == "pair":
            asked += [named, replace(named, access=NetAccess.SEND)]
        elif what == "listen":
            asked += [replace(near, access=one, address=address, port=port) for one in (NetAccess.BIND, access)]
        elif what in ("bind", "connect", "send"):
            asked.append(replace(near, access=access, address=address, port=port))
        elif what != "create":
            asked.append(replace(named, access=access))
        words = (what, int(family), int(near.type), int(near.protocol), address or "-", port or 0)
        ways = self._ways.choose(self._source_of_ways, f"net {what}")
        self._compare(actor, ("net", *words), [Question(actor, request) for request in asked], ways)

    def _target(self, actor: Process) -> tuple[Process | None, int, Peer, Peer]:
        """A process, None if it is no prober; its number, 0: a child; what it is to the actor, and the actor to it."""
        own = actor.subject.executable
        kind = self._random.choice(("child", "parent", "other", "other"))
        if kind == "child":
            return None, 0, Peer(own, frozenset({Who.SELF, Who.CHILD})), Peer(own, frozenset({Who.SELF, Who.PARENT}))
        if kind == "parent":
            here = b"" if actor.elsewhere else os.fsencode(Path("/proc/self/exe").resolve())
            return None, os.getpid(), Peer(here, frozenset({Who.PARENT})), Peer(own, frozenset({Who.CHILD}))
        other = self._random.choice([process for process in self._processes if process is not actor])
        if actor.elsewhere or other.elsewhere:
            # The executable of one has no path in the other's mount namespace.
            return other, other.prober.pid, Peer(b""), Peer(b"")
        return other, other.prober.pid, Peer(other.subject.executable), Peer(own)

    def _signal(self, actor: Process, near: SignalRequest) -> None:
        target, pid, peer, _ = self._target(actor)
        number = near.signal
        if pid and number not in _HARMLESS_SIGNALS and (target is None or number == signal.SIGKILL):
            number = self._random.choice(_HARMLESS_SIGNALS)
        ways = self._ways.choose(self._source_of_ways, "signal", memory=target is not None)
        asked = [Question(actor, SignalRequest(peer, number))]
        if number == MEMORY:
            asked.insert(0, Question(actor, PtraceRequest(peer, PtraceAccess.READ)))
        self._compare(actor, ("signal", pid, number), asked, ways)

    def _trace(self, actor: Process, near: PtraceRequest) -> None:
        target, pid, peer, seen = self._target(actor)
        while target is None and pid:  # the tests' own process: the kernel itself may refuse to have it read
            target, pid, peer, seen = self._target(actor)
        if near.access is PtraceAccess.TRACED and target:
            # The other way round: the target traces the actor.
            return self._attach(target, actor, seen, peer)
        if near.access is PtraceAccess.READ:
            question = Question(actor, PtraceRequest(peer, PtraceAccess.READ))
            return self._compare(actor, ("ptrace", pid, "read"), [question], self._threads())
        if target:
            return self._attach(actor, target, peer, seen)
        asked = [Question(actor, PtraceRequest(peer, PtraceAccess.ATTACH))]
        if not pid:
            asked.append(Question(None, PtraceRequest(seen, PtraceAccess.TRACED)))
        return self._compare(actor, ("ptrace", pid, "attach"), asked, self._threads())

    def _attach(self, tracer: Process, traced: Process, peer: Peer, seen: Peer) -> None:
        asked = [
            Question(tracer, PtraceRequest(peer, PtraceAccess.ATTACH)),
            Question(traced, PtraceRequest(seen, PtraceAccess.TRACED)),
        ]
        self._compare(tracer, ("ptrace", traced.prober.pid, "attach"), asked, self._threads())

    def _threads(self) -> tuple[str, ...]:
        return self._ways.choose(self._source_of_ways, "ptrace", memory=False)

    def _compare(self, actor: Process, words: tuple[object, ...], asked: list[Question], ways: tuple[str, ...]) -> None:
        shown = f"{actor.subject.executable!r} tainted={actor.subject.tainted}: {words} {ways}"
        allowed, decisions = self._expected(actor, asked)
        self._told.begin()
        error = actor.prober.attempt(*words, ways=ways)
        afterwards = _AFTERWARDS.get(str(words[1 if words[0] == "net" else 0]), ())
        assert error in (0, errno.EPERM, *afterwards), f"{shown}: {os.strerror(error)}"
        if (error != errno.EPERM) is not allowed:
            requests = "\n".join(str(question.request) for question in asked)
            raise Mismatch(f"{shown}: the kernel says {os.strerror(error) if error else 'yes'}, asked was\n{requests}")
        difference = self._told.difference(decisions)
        assert not difference, f"{shown}: {difference}\n{actor.subject.profile}"
        self.totals["allowed" if allowed else "denied"] += 1
        self.totals[str(words[0])] += 1
        self.ways.update(ways)

    def _expected(self, actor: Process, asked: list[Question]) -> tuple[bool, list[Expected]]:
        """What the evaluator says to the questions, the first that is denied ends it; what becomes of the subjects."""
        decisions: list[Expected] = []
        child = actor.subject  # a copy
        for question in asked:
            process = question.process
            decision = evaluate(Access(process.subject if process else child, question.request))
            decisions.append((decision, None))
            if decision.taints and not process:
                child = replace(child, tainted=True)
            elif decision.taints and process:
                process.subject = replace(process.subject, tainted=True)
                self.totals["tainted"] += 1
            if not decision.allowed:
                return False, decisions
        return True, decisions


def only_objects(policy: PolicySet, source: random.Random) -> PolicySet:
    """With what is tested here, without functions, which the prober has none of, and with all files."""
    kept = []
    for profile in policy.profiles:
        rules = [
            rule
            for rule in profile.rules
            if isinstance(rule.object, NetObject | SignalObject | PtraceObject) and not rule.functions
        ]
        if not rules:
            continue
        given: list[FileObject | NetObject | OperationObject] = [
            FileObject("/**", FileAccess(sum(FileAccess))),
            OperationObject(Operation.IO_URING),
        ]
        if source.random() < 0.8:  # else there is nothing to do anything with
            given.append(NetObject(NetAccess.CREATE, None))
        rules += [Rule(one, Effect.ALLOW, Origin("generated", 1, 1)) for one in given]
        kept.append(Profile(profile.executable, tuple(rules), profile.origin, profile.complain))
    return PolicySet(tuple(kept))


@pytest.fixture
def engine(kept_engine: Engine) -> Iterator[Engine]:
    shutil.rmtree(_ROOT, ignore_errors=True)
    (_ROOT / "bin").mkdir(parents=True)
    for name in ("server", "worker", "tool", "free"):
        shutil.copy(ATTACK, _ROOT / "bin" / name)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    yield kept_engine
    kept_engine.load(PolicySet())


def test_the_kernel_decides_as_the_evaluator(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    totals: Counter[str] = Counter()
    used: Counter[str] = Counter()
    ways = Ways.find()
    for seed in seeds(1):
        generator = Generator(seed + 1, root=str(_ROOT), functions=False)
        for number in range(2 if fuzzing() else _POLICIES):  # to look at the time between
            policy = enforceable(engine, generator)
            for session_number in range(_SESSIONS):
                session = Session(generator, policy, ways, number * _SESSIONS + session_number)
                try:
                    session.run(_ACCESSES)
                except Mismatch as mismatch:
                    pytest.fail(f"seed {seed}: {mismatch}\n{policy}")
                totals += session.totals
                used += session.ways
        if fuzzing():
            with capsys.disabled():
                sys.stdout.write(f"\nseed {seed}: decided alike so far: {dict(totals)}\n")
                sys.stdout.flush()
    with capsys.disabled():
        sys.stdout.write(f"\naccesses decided alike: {dict(totals)}, of them by {dict(used)}\n")
    if fuzzing():
        return
    compared = totals["allowed"] + totals["denied"]
    assert set(used) == ways.all()
    assert compared >= _CASES
    assert totals["tainted"]
    # No kind is rare.
    for kind in ("allowed", "denied", "net", "signal", "ptrace"):
        assert totals[kind] > compared / 10


def enforceable(engine: Engine, generator: Generator) -> PolicySet:
    """The next policy set that can be enforced, enforced. Two profiles for one executable, for example, cannot be."""
    while True:
        policy = only_objects(generator.policy(), generator.random)
        with contextlib.suppress(CompileError):
            engine.load(policy)
            if any(profile_of(policy, executable) for executable in generator.executables):
                return policy
