# SPDX-License-Identifier: Apache-2.0
"""What the policy engine costs: a program that no policy confines, one that is confined, and one under AppArmor."""

import contextlib
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import build, patterns
from bpflock.confine.engine import Engine
from bpflock.errors import BpflockError
from bpflock.kernel import host
from bpflock.kernel.bpf import Object
from bpflock.locks.enforce import Enforcer
from bpflock.policy.bpfbox.load import parse
from bpflock.policy.model import FileAccess, FileObject, Origin, PolicySet, Profile, Rule
from bpflock.policy.tables import CompileError

# A tmpfs of its own: its files have two components, those below DEEP eight.
ROOT = Path("/mnt")
DEEP = ROOT / "1/2/3/4/5/6"
WORKLOAD = ROOT / "workload"
STARTED = ROOT / "started"
DESCRIPTORS = (100, 10_000)  # that a program has when a profile begins, all of one file
COUNTS = (10, 100, 1000, 10_000)  # rules of a profile
USUAL = 100
_ROUNDS = 2
_COUNT = 10  # of an operation in one process
_WARM_UP = 5  # bench/workload.c
_PROCESSES = 2
_PROCESSES_VARYING = 6

# All that is measured is allowed. What else a profile holds is invented: bench/patterns.py.
_POLICY = """\
#![profile "/mnt/workload"]
fs("/mnt/workload", read|exec)
fs("/mnt/tiny", read|exec)
fs("/mnt/tiny.{data,moved}", read|write|rm)
fs("/mnt/*/*/*/*/*/*/tiny{,.[0-9]*}", read)
net(inet, any)
signal(child, any)
capability(sys_nice)
"""
_APPENDS = 'fs("/mnt/tiny.log", append)\n'
_APPARMOR = """\
profile bpflock-bench /mnt/workload {{
  /mnt/workload rmix,
  /mnt/tiny rmix,
  /mnt/tiny.{{data,moved}} rw,
  /mnt/*/*/*/*/*/*/tiny{{,.[0-9]*}} r,
  /proc/** r,
  network,
  signal,
  ptrace,
  capability,
{rules}
}}
"""


@dataclass(frozen=True)
class Operation:
    """`call` as bench/workload.c knows it. `varies`: from process to process; then the median of them is taken."""

    name: str
    call: str
    directory: Path = ROOT
    varies: bool = False
    fresh: Callable[[Path, int], Path] | None = None  # each time of a file that was not used before: this one

    @property
    def processes(self) -> int:
        return _PROCESSES_VARYING if self.varies else _PROCESSES


OPEN = Operation("open+close, depth 2", "open")
OPEN_DEEP = Operation("open+close, depth 8", "open", DEEP)
OPEN_FIRST = Operation(
    "open+close, depth 8, first time", "first", DEEP, fresh=lambda file, number: Path(f"{file}.{number}")
)
OPEN_FIRST_THERE = Operation(
    "the same, first in its directory",
    "first_there",
    DEEP,
    fresh=lambda file, number: Path(f"{file.parent}.{number}") / file.name,
)
EXEC = Operation("fork+exec+exit", "exec", varies=True)
# Guarded while there are files that may only be appended to: bpf/policy_descriptors.bpf.h.
USES = (Operation("pread", "pread"), Operation("pwrite", "pwrite"))
OPERATIONS = (
    OPEN,
    OPEN_DEEP,
    OPEN_FIRST,
    OPEN_FIRST_THERE,
    Operation("stat", "stat"),
    Operation("create+close+unlink", "create"),
    Operation("2 x rename", "rename"),
    EXEC,
    Operation("connect+accept", "connect", varies=True),
    Operation("mmap(EXEC)+munmap", "mmap"),
    Operation("kill", "kill"),
)


@dataclass(frozen=True)
class Configuration:
    name: str
    summary: str
    enter: Callable[[], AbstractContextManager[None]]


BASE, EMPTY, UNCONFINED, CONFINED, APPARMOR = "base", "empty", "unconfined", "confined", "AppArmor"
# Instructions of one operation: by configuration, then by operation.
Results = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Measured:
    """`rules`: what open+close takes more, by the number of the profile's rules, for depth 2 and depth 8. `uses`: what
    reads and writes take, and by configuration what they take more, if the profile may only append to some file.
    `descriptors`: what an exec takes with as many as DESCRIPTORS says."""

    results: Results
    rules: dict[int, tuple[float, float]]
    uses: dict[str, list[int]]
    descriptors: dict[str, list[int]]


def _filler(count: int) -> list[Rule]:
    return [rule for profile in patterns.policies(count).profiles for rule in profile.rules][:count]


def _policy(executable: Path, count: int, files_only: bool, more: str = "") -> PolicySet:
    """A profile with so many rules."""
    own = [rule for rule in parse(_POLICY + more)[0].rules if isinstance(rule.object, FileObject) or not files_only]
    rules = (*own, *_filler(count - len(own)))
    return PolicySet((Profile(str(executable), rules, Origin("bench", 1, 1)),))


def _load(engine: Engine, executable: Path, count: int, more: str) -> None:
    try:
        engine.load(_policy(executable, count, files_only=False, more=more))
    except CompileError:
        # Not every kind of rule is enforced: what has none is allowed.
        engine.load(_policy(executable, count, files_only=True, more=more))


def apparmor_profile(count: int) -> str:
    """The same rules in AppArmor's language."""
    lines = []
    for rule in _filler(count - len(_POLICY.splitlines()) + 1):
        assert isinstance(rule.object, FileObject)
        access = rule.object.access
        words = "r" if access & FileAccess.READ else ""
        if access & (FileAccess.WRITE | FileAccess.CREATE | FileAccess.RM):
            words += "w"
        elif access & FileAccess.APPEND:
            words += "a"
        words += "mix" if access & FileAccess.EXEC else ""
        lines.append(f"  {rule.object.pattern} {words},")
    return _APPARMOR.format(rules="\n".join(lines))


@contextlib.contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextlib.contextmanager
def _empty() -> Iterator[None]:
    with ExitStack() as stack:
        programs = stack.enter_context(Object(str(build.EMPTY_POLICY)))
        programs.take_optional()
        programs.load()
        root = stack.enter_context(host.root_cgroup())
        for program in programs.programs:
            if program.used:
                stack.callback(program.attach(root).close)
        yield


@contextlib.contextmanager
def _engine(executable: Path, count: int = USUAL, more: str = "") -> Iterator[None]:
    with Enforcer() as enforcer:
        engine = Engine(enforcer)
        _load(engine, executable, count, more)
        try:
            yield
        finally:
            engine.unload()


@contextlib.contextmanager
def _apparmor() -> Iterator[None]:
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(apparmor_profile(USUAL))
        file.flush()
        for flag in ("-r", "-R"):
            done = subprocess.run(["apparmor_parser", "-K", flag, file.name], capture_output=True, text=True)
            if done.returncode:
                raise BpflockError(f"apparmor_parser: {done.stderr.strip()}")
            if flag == "-r":
                yield


CONFIGURATIONS = (
    Configuration(BASE, "no BPF program", _nothing),
    Configuration(EMPTY, "one empty program on each hook of the engine, and of its guard", _empty),
    Configuration(UNCONFINED, "a policy is loaded, but for another program", lambda: _engine(ROOT / "other")),
    Configuration(CONFINED, f"by a profile of {USUAL} rules that allows it", lambda: _engine(WORKLOAD)),
    Configuration(APPARMOR, "the same rules in AppArmor's language, no BPF program", _apparmor),
)


@contextlib.contextmanager
def _files() -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", ROOT], check=True)
    try:
        shutil.copy(build.WORKLOAD, WORKLOAD)
        shutil.copy(build.STARTED, STARTED)
        DEEP.mkdir(parents=True)
        for directory in (ROOT, DEEP):
            shutil.copy(build.TINY, directory)
        yield
    finally:
        subprocess.run(["umount", "-l", ROOT], check=True)


def _run(operation: Operation) -> int:
    """The least instructions in one process."""
    file = operation.directory / build.TINY.name
    fresh = [operation.fresh(file, number) for number in range(_COUNT + _WARM_UP)] if operation.fresh else []
    for path in fresh:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    command = [str(WORKLOAD), "", operation.call, str(_COUNT), str(file)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    for path in fresh:
        path.unlink()
        if path.parent != file.parent:
            path.parent.rmdir()
    if done.returncode:
        raise BpflockError(f"the workload '{operation.call}' failed")
    return min(map(int, done.stdout.split()))


def _exec(count: int) -> int:
    """The least instructions of an exec with so many descriptors, from execve(2) to the program's first system call."""
    command = [str(build.DESCRIPTORS), str(count), str(ROOT / build.TINY.name), str(STARTED)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise BpflockError("an exec with many descriptors failed")
    return min(map(int, done.stdout.split()))


def _sample(operation: Operation, runs: Sequence[int]) -> float:
    return statistics.median(runs) if operation.varies else min(runs)


def measure(progress: Callable[[str], None]) -> Measured:
    """Every operation under every configuration, then open+close with so many rules."""
    if not shutil.which("apparmor_parser"):
        raise BpflockError("there is no apparmor_parser to compare with", hint="scripts/setup bench")
    found: dict[str, dict[str, list[int]]] = {}
    rules: dict[int, tuple[float, float]] = {}
    with _files():
        clock = _run(Operation("clock", "clock"))
        for number in range(_ROUNDS + 1):
            for configuration in CONFIGURATIONS if number else CONFIGURATIONS[:1]:
                progress(f"policy, round {number}: {configuration.name}" if number else "policy: warming up")
                with configuration.enter():
                    for operation in OPERATIONS:
                        runs = [_run(operation) for _ in range(operation.processes)]
                        if number:
                            found.setdefault(configuration.name, {}).setdefault(operation.name, []).extend(runs)
        results = {
            name: {each.name: _sample(each, samples[each.name]) - clock for each in OPERATIONS}
            for name, samples in found.items()
        }
        for count in COUNTS:
            progress(f"policy: {count} rules")
            with _engine(WORKLOAD, count):
                shallow, deep = (
                    min(_run(operation) for _ in range(_PROCESSES)) - clock - results[BASE][operation.name]
                    for operation in (OPEN, OPEN_DEEP)
                )
            rules[count] = (shallow, deep)
        progress("policy: reads and writes")
        uses = {BASE: [min(_run(each) for _ in range(_PROCESSES)) - clock for each in USES]}
        for name, executable in ((UNCONFINED, ROOT / "other"), (CONFINED, WORKLOAD)):
            with _engine(executable, more=_APPENDS):
                taken = [min(_run(each) for _ in range(_PROCESSES)) - clock for each in USES]
            uses[name] = [more - base for more, base in zip(taken, uses[BASE], strict=True)]
        descriptors = {}
        for name, executable in ((UNCONFINED, ROOT / "other"), (CONFINED, STARTED)):
            progress(f"policy: descriptors, {name}")
            with _engine(executable):
                descriptors[name] = [_exec(count) for count in DESCRIPTORS]
    return Measured(results, rules, uses, descriptors)
