# SPDX-License-Identifier: Apache-2.0
"""Run the workload under each configuration, all in one boot."""

import contextlib
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import build
from bpflock.errors import BpflockError
from bpflock.kernel import host
from bpflock.kernel.bpf import Object
from bpflock.locks import LOCKS
from bpflock.locks.enforce import Enforcer
from bpflock.locks.model import Lock, Profile, Settings
from bpflock.workloads import cgroup

# The workload's place is as deep as that of a container.
_CGROUPS = Path("/sys/fs/cgroup")
_SUBJECT = Path("bench.slice/subject.scope/payload")
_UNRELATED = Path("bench.slice/unrelated.scope")
_ROUNDS = 2  # of all configurations: what changes slowly in the kernel changes for all
_COUNT = 10  # of an operation in one process
_PROCESSES = 10  # in one round, for what varies
_PROCESSES_FREE = 10  # for what must not differ by one instruction
_PAGES_AT_HAND = Path("/proc/sys/vm/percpu_pagelist_high_fraction")


@dataclass(frozen=True)
class Operation:
    """`call` as bench/workload.c knows it, on a file in `directory`. `free`: no lock sits on any of its hooks.

    Most take the same number of instructions, or one or two more, in each process: the least is taken. A fork `varies`
    by hundreds from process to process: the least of each, and the median of those, is taken. `tracer`: privsnoop tells
    something of it.
    """

    name: str
    call: str
    directory: str = ""
    free: bool = False
    varies: bool = False
    tracer: bool = False

    @property
    def processes(self) -> int:
        """In one round."""
        return _PROCESSES if self.varies else _PROCESSES_FREE if self.free else 1


OPERATIONS = (
    Operation("getpid", "getpid", free=True),
    Operation("pipe+2 x close", "pipe", free=True),
    Operation("open+close", "open", "tmpfs"),
    Operation("fork+exec+exit", "exec", "ramfs", varies=True),
    Operation("fork+exec+exit, tmpfs", "exec", "tmpfs", varies=True),
    Operation("vfork+exit", "clone", varies=True, tracer=True),
    Operation("bpf(MAP_LOOKUP_ELEM)", "lookup", tracer=True),
    Operation("mmap(EXEC)+munmap", "mmap", "ramfs"),
    Operation("mmap(EXEC)+munmap, tmpfs", "mmap", "tmpfs"),
    Operation("2 x mprotect", "mprotect", "ramfs"),
    Operation("prctl", "prctl"),
    Operation("ioperm", "ioperm", tracer=True),
    # Of one byte, of files that no lock guards.
    Operation("pread", "pread", "tmpfs"),
    Operation("pwrite", "pwrite", "tmpfs"),
    Operation("open+close, to write", "write_open", "tmpfs"),
    Operation("create+close+unlink", "create", "tmpfs"),
    Operation("2 x rename", "rename", "tmpfs"),
    Operation("mkdir+rmdir", "mkdir", "tmpfs"),
    Operation("symlink+unlink", "symlink", "tmpfs"),
    Operation("link+unlink", "link", "tmpfs"),
    Operation("mknod+unlink", "mknod", "tmpfs"),
    Operation("chmod", "chmod", "tmpfs"),
    Operation("setxattr", "setxattr", "tmpfs", tracer=True),
    Operation("setxattr+removexattr", "removexattr", "tmpfs"),
    Operation("set+remove an ACL", "acl", "tmpfs"),
    Operation("ioctl", "ioctl", "tmpfs"),
    Operation("ioctl, 32 bits", "ioctl_compat", "tmpfs"),
    Operation("ioctl(SETFLAGS)", "flags", "tmpfs"),
    Operation("mmap(SHARED)+munmap", "shared", "tmpfs"),
    Operation("mount(REMOUNT|BIND)", "remount", "tmpfs", tracer=True),
    Operation("mount(REMOUNT)", "remount_all", "tmpfs", tracer=True),
    Operation("2 x move_mount", "move_mount", "ramfs", tracer=True),
    Operation("umount, busy", "umount", "tmpfs", tracer=True),
    Operation("write a sysctl", "sysctl"),
    # Of the file system that rootfslock guards, and of sysfs.
    Operation("pwrite, root", "pwrite", "root"),
    Operation("open+close to write, root", "write_open", "root"),
    Operation("create+close+unlink, root", "create", "root"),
    Operation("chmod, root", "chmod", "root"),
    Operation("open+close to write, sysfs", "sysfs"),
    Operation("socket+close", "socket"),
    Operation("socket+close, netlink", "netlink"),
    Operation("bind", "bind"),
    Operation("listen", "listen"),
    Operation("chroot", "chroot", tracer=True),
    Operation("sethostname", "hostname", tracer=True),
    Operation("setuid", "setuid", tracer=True),
    Operation("setgid", "setgid", tracer=True),
    Operation("settimeofday", "settime", tracer=True),
    Operation("process_vm_readv", "read_memory", tracer=True),
    Operation("unshare(NEWUSER)", "unshare_user", varies=True, tracer=True),
    Operation("unshare(NEWUTS)", "unshare", tracer=True),
    Operation("setns", "setns", tracer=True),
)
_CLOCK = Operation("clock", "clock")


@dataclass(frozen=True)
class Sample:
    """Instructions of one operation; `spread` is how much they differ from process to process."""

    instructions: float
    spread: float


# By configuration, then by operation.
Results = dict[str, dict[str, Sample]]
# To be called before each measurement.
Settle = Callable[[], object]


@dataclass(frozen=True)
class Configuration:
    name: str
    summary: str
    # Given the directory of the files.
    enter: Callable[[Path], AbstractContextManager[Settle]]
    tracer: bool = False  # measured for what privsnoop tells, and for nothing else


@contextlib.contextmanager
def _nothing(_base: Path) -> Iterator[Settle]:
    yield lambda: None


@contextlib.contextmanager
def _empty(objects: Path, each: bool) -> Iterator[Settle]:
    """One empty program on every hook, or (`each`) as many as bpflock has there."""
    with ExitStack() as stack:
        # An absolute path takes the place of the package's own directory of objects.
        programs = stack.enter_context(Object(str(objects)))
        programs.take_optional()
        programs.load()
        root = stack.enter_context(host.root_cgroup())
        attached: set[str] = set()
        for program in programs.programs:
            if program.used and (each or program.hook not in attached):
                stack.callback(program.attach(root).close)
                attached.add(program.hook)
        yield lambda: None


def _settings(lock: Lock, profile: Profile, base: Path) -> Settings:
    """rootfslock guards one of our own file systems, as the machine's root cannot be written to."""
    return Settings(profile, parameters=(("path", (str(base / "root"),)),) if lock.name == "rootfslock" else ())


@contextlib.contextmanager
def _locks(base: Path, profile: Profile, trace: str = "", exception: bool = False) -> Iterator[Settle]:
    """Every lock with this profile, none if it is `none`; and a tracer."""
    names = build.LOCK_NAMES if profile is not Profile.NONE else ()
    wanted: list[tuple[Lock, Settings]] = [(LOCKS[name], _settings(LOCKS[name], profile, base)) for name in names]
    if trace:
        wanted.append((LOCKS[trace], Settings(Profile.ALL)))
    with Enforcer() as enforcer, ExitStack() as stack:
        for lock, settings in wanted:
            stack.callback(enforcer.remove, lock)
            enforcer.apply(lock, settings, {})
        if exception:
            stack.callback(cgroup.unset_profile, str(_UNRELATED))
            cgroup.set_profile(str(_UNRELATED), Profile.ALLOW)
        ring = enforcer.ring()
        stack.callback(ring.close)
        # One drain takes a whole ring that nobody was woken for.
        yield lambda: ring.drain(0)


CONFIGURATIONS = (
    Configuration("nothing", "no BPF program", _nothing),
    Configuration("empty", "one empty program on each hook that a lock uses", lambda _: _empty(build.EMPTY, False)),
    Configuration("empty x N", "as many empty programs as locks use each hook", lambda _: _empty(build.EMPTY, True)),
    Configuration("baseline", "every lock, profile baseline", lambda base: _locks(base, Profile.BASELINE)),
    Configuration(
        "execsnoop", "the same, and execsnoop all", lambda base: _locks(base, Profile.BASELINE, trace="execsnoop")
    ),
    Configuration(
        "cgroup",
        "baseline, and an unrelated cgroup has an exception",
        lambda base: _locks(base, Profile.BASELINE, exception=True),
    ),
    Configuration("allow", "every lock, profile allow", lambda base: _locks(base, Profile.ALLOW)),
    Configuration(
        "empty p", "empty programs on the hooks of privsnoop", lambda _: _empty(build.EMPTY_TRACER, True), tracer=True
    ),
    Configuration(
        "privsnoop",
        "no lock, privsnoop all",
        lambda base: _locks(base, Profile.NONE, trace=build.TRACER),
        tracer=True,
    ),
)


def _mount(stack: ExitStack, kind: str, place: Path) -> None:
    subprocess.run(["mount", "-t", kind, kind, place], check=True)
    stack.callback(lambda: subprocess.run(["umount", place], check=True))


@contextlib.contextmanager
def _files() -> Iterator[Path]:
    """A directory with the workload, and directories on two kinds of file systems: tmpfs, where filelesslock has to
    find out whether it is /dev/shm, and one where it has not. `root`: what rootfslock guards."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        base = Path(name)
        shutil.copy(build.WORKLOAD, base)
        for directory, kind in (("tmpfs", "tmpfs"), ("ramfs", "ramfs"), ("root", "tmpfs")):
            place = base / directory
            place.mkdir()
            _mount(stack, kind, place)
            shutil.copy(build.TINY, place)
        yield base


@contextlib.contextmanager
def _cgroups() -> Iterator[Path]:
    """The directory of the cgroup that the workload runs in."""
    with ExitStack() as stack:
        if not (_CGROUPS / "cgroup.controllers").exists():
            _mount(stack, "cgroup2", _CGROUPS)
        for path in (_SUBJECT, _UNRELATED):
            for each in (*reversed(path.parents), path)[1:]:
                if not (_CGROUPS / each).exists():
                    (_CGROUPS / each).mkdir()
                    stack.callback((_CGROUPS / each).rmdir)
        yield _CGROUPS / _SUBJECT


def _run(operation: Operation, base: Path, subject: Path) -> int:
    """The least instructions in one process."""
    command = [str(base / build.WORKLOAD.name), str(subject), operation.call, str(_COUNT)]
    if operation.directory:
        command.append(str(base / operation.directory / build.TINY.name))
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise BpflockError(f"the workload '{operation.call}' failed")
    return min(map(int, done.stdout.split()))


@contextlib.contextmanager
def _steady_pages() -> Iterator[None]:
    """Since 6.7 the kernel adapts how many free pages it keeps at hand; a high limit keeps it from doing so."""
    before = _PAGES_AT_HAND.read_text()
    _PAGES_AT_HAND.write_text("8")
    try:
        yield
    finally:
        _PAGES_AT_HAND.write_text(before)


def measure(progress: Callable[[str], None]) -> Results:
    """Every operation under every configuration."""
    found: dict[str, dict[str, list[int]]] = {}
    with _steady_pages(), _files() as base, _cgroups() as subject:
        clock = _run(_CLOCK, base, subject)
        for number in range(_ROUNDS + 1):
            for configuration in CONFIGURATIONS if number else CONFIGURATIONS[:1]:
                progress(f"round {number}: {configuration.summary}" if number else "warming up")
                with configuration.enter(base) as settle:
                    for operation in OPERATIONS:
                        if configuration.tracer and not operation.tracer:
                            continue
                        settle()
                        runs = [_run(operation, base, subject) for _ in range(operation.processes)]
                        if number:
                            found.setdefault(configuration.name, {}).setdefault(operation.name, []).extend(runs)
    return {
        name: {each.name: _sample(each, clock, samples[each.name]) for each in OPERATIONS if each.name in samples}
        for name, samples in found.items()
    }


def _sample(operation: Operation, clock: int, runs: list[int]) -> Sample:
    chosen = statistics.median(runs) if operation.varies else min(runs)
    return Sample(chosen - clock, max(runs) - min(runs))
