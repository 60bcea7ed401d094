# SPDX-License-Identifier: Apache-2.0
"""The kernel decides as the reference evaluator does about sockets, signals and ptrace, with random policies."""

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

from .conftest import ATTACK, Locks
from .prober import Prober

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


@dataclass(frozen=True)
class Question:
    """What the kernel asks the policy: of whom (not of `process` itself if that is None: of its child), what."""

    process: Process | None
    request: Request


class Mismatch(Exception):
    """The kernel decided otherwise than the evaluator."""


class Session:
    """A process of each executable, and what they try with sockets and with each other."""

    def __init__(self, generator: Generator, policy: PolicySet) -> None:
        self._generator = generator
        self._random: random.Random = generator.random
        self._policy = policy
        self.totals: Counter[str] = Counter()
        self._processes: list[Process] = []

    def run(self, count: int) -> None:
        """So many accesses. Raises Mismatch at the first that is not decided alike."""
        with contextlib.ExitStack() as stack:
            for executable in self._generator.executables:
                prober = stack.enter_context(Prober(executable.decode(), "probe"))
                prober.reach("stat", b"/")  # from now on, no signal ends it
                subject = Subject(profile_of(self._policy, executable), executable=executable)
                self._processes.append(Process(prober, subject))
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
        self._compare(actor, ("net", *words), [Question(actor, request) for request in asked])

    def _target(self, actor: Process) -> tuple[Process | None, int, Peer, Peer]:
        """A process, None if it is no prober; its number, 0: a child; what it is to the actor, and the actor to it."""
        own = actor.subject.executable
        kind = self._random.choice(("child", "parent", "other", "other"))
        if kind == "child":
            return None, 0, Peer(own, frozenset({Who.SELF, Who.CHILD})), Peer(own, frozenset({Who.SELF, Who.PARENT}))
        if kind == "parent":
            here = os.fsencode(Path("/proc/self/exe").resolve())
            return None, os.getpid(), Peer(here, frozenset({Who.PARENT})), Peer(own, frozenset({Who.CHILD}))
        other = self._random.choice([process for process in self._processes if process is not actor])
        return other, other.prober.pid, Peer(other.subject.executable), Peer(own)

    def _signal(self, actor: Process, near: SignalRequest) -> None:
        target, pid, peer, _ = self._target(actor)
        number = near.signal
        if pid and number not in _HARMLESS_SIGNALS and (target is None or number == signal.SIGKILL):
            number = self._random.choice(_HARMLESS_SIGNALS)
        asked = [Question(actor, SignalRequest(peer, number))]
        if number == MEMORY:
            asked.insert(0, Question(actor, PtraceRequest(peer, PtraceAccess.READ)))
        self._compare(actor, ("signal", pid, number), asked)

    def _trace(self, actor: Process, near: PtraceRequest) -> None:
        target, pid, peer, seen = self._target(actor)
        while target is None and pid:  # the tests' own process: the kernel itself may refuse to have it read
            target, pid, peer, seen = self._target(actor)
        if near.access is PtraceAccess.TRACED and target:
            # The other way round: the target traces the actor.
            return self._attach(target, actor, seen, peer)
        if near.access is PtraceAccess.READ:
            return self._compare(
                actor, ("ptrace", pid, "read"), [Question(actor, PtraceRequest(peer, PtraceAccess.READ))]
            )
        if target:
            return self._attach(actor, target, peer, seen)
        asked = [Question(actor, PtraceRequest(peer, PtraceAccess.ATTACH))]
        if not pid:
            asked.append(Question(None, PtraceRequest(seen, PtraceAccess.TRACED)))
        return self._compare(actor, ("ptrace", pid, "attach"), asked)

    def _attach(self, tracer: Process, traced: Process, peer: Peer, seen: Peer) -> None:
        asked = [
            Question(tracer, PtraceRequest(peer, PtraceAccess.ATTACH)),
            Question(traced, PtraceRequest(seen, PtraceAccess.TRACED)),
        ]
        self._compare(tracer, ("ptrace", traced.prober.pid, "attach"), asked)

    def _compare(self, actor: Process, words: tuple[object, ...], asked: list[Question]) -> None:
        shown = f"{actor.subject.executable!r} tainted={actor.subject.tainted}: {words}"
        allowed = self._expected(actor, asked)
        error = actor.prober.attempt(*words)
        afterwards = _AFTERWARDS.get(str(words[1 if words[0] == "net" else 0]), ())
        assert error in (0, errno.EPERM, *afterwards), f"{shown}: {os.strerror(error)}"
        if (error != errno.EPERM) is not allowed:
            requests = "\n".join(str(question.request) for question in asked)
            raise Mismatch(f"{shown}: the kernel says {os.strerror(error) if error else 'yes'}, asked was\n{requests}")
        self.totals["allowed" if allowed else "denied"] += 1
        self.totals[str(words[0])] += 1

    def _expected(self, actor: Process, asked: list[Question]) -> bool:
        """What the evaluator says to the questions, the first that is denied ends it; what becomes of the subjects."""
        child = actor.subject  # a copy
        for question in asked:
            process = question.process
            decision = evaluate(Access(process.subject if process else child, question.request))
            if decision.taints and process:
                process.subject = replace(process.subject, tainted=True)
                self.totals["tainted"] += 1
            if not decision.allowed:
                return False
        return True


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
        given: list[FileObject | NetObject] = [FileObject("/**", FileAccess(sum(FileAccess)))]
        if source.random() < 0.8:  # else there is nothing to do anything with
            given.append(NetObject(NetAccess.CREATE, None))
        rules += [Rule(one, Effect.ALLOW, Origin("generated", 1, 1)) for one in given]
        kept.append(Profile(profile.executable, tuple(rules), profile.origin, profile.complain))
    return PolicySet(tuple(kept))


@pytest.fixture
def engine(all_locks: Locks) -> Iterator[Engine]:
    shutil.rmtree(_ROOT, ignore_errors=True)
    (_ROOT / "bin").mkdir(parents=True)
    for name in ("server", "worker", "tool", "free"):
        shutil.copy(ATTACK, _ROOT / "bin" / name)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    found = Engine(all_locks.enforcer)
    yield found
    found.unload()


def test_the_kernel_decides_as_the_evaluator(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    totals: Counter[str] = Counter()
    generator = Generator(1, root=str(_ROOT), functions=False)
    for _ in range(_POLICIES):
        policy = enforceable(engine, generator)
        for _ in range(_SESSIONS):
            session = Session(generator, policy)
            try:
                session.run(_ACCESSES)
            except Mismatch as mismatch:
                pytest.fail(f"{mismatch}\n{policy}")
            totals += session.totals
    with capsys.disabled():
        sys.stdout.write(f"\naccesses decided alike: {dict(totals)}\n")
    compared = totals["allowed"] + totals["denied"]
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
