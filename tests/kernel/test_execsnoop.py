# SPDX-License-Identifier: Apache-2.0
"""execsnoop: every exec is told, with the name that was asked for, its arguments and ancestors, and how it ended."""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from bpflock.events.model import Event
from bpflock.events.render import logfmt
from bpflock.locks.model import Profile
from bpflock.workloads.cgroup import set_profile, unset_profile

from .conftest import ATTACK, CONTAINER, Attacker, Locks

TRUE = "/bin/true"
TRUNCATED = 1024  # --exec-snoop-args, unless it is set
PARENTS = 8  # of bpf/execsnoop.bpf.c


def _execute(directory: Path, argument: bytes) -> None:
    """Execute a relative name in a child."""
    child = os.fork()
    if not child:
        try:
            os.chdir(directory)
            os.execv(argument, [argument])
        finally:
            os._exit(127)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize(
    "name",
    [
        b"./loader",
        b"./" + b"n" * 255,
        b"./" + b"/".join([b"d" * 200] * 4) + b"/" + b"n" * 250,
        b'./a\nb "c" \x1b[31m\xff=d',
        b"./" + b"/".join([b"d" * 250] * 16)[:4090],
    ],
    ids=["short", "255", "over a thousand", "odd bytes", "4092"],
)
def test_names(locks: Locks, tmp_path: Path, name: bytes) -> None:
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        # Longer than PATH_MAX from the root: made one step at a time.
        *directories, file = os.fsdecode(name[2:]).split("/")
        for part in directories:
            Path(part).mkdir()
            os.chdir(part)
        shutil.copy(TRUE, file)
    finally:
        os.chdir(here)
    locks.load("execsnoop", Profile.ALL)
    locks.events()
    _execute(tmp_path, name)
    told = locks.events()
    events = [event for event in told if event.event == "syscall_execve"]
    assert [event.filename for event in events] == [name]
    # It is its first argument, too.
    text = name + b"\0"
    assert events[0].execution
    assert events[0].execution.args == (text[:TRUNCATED].removesuffix(b"\0"),)
    assert events[0].execution.cut == max(0, len(text) - TRUNCATED)
    assert [event.pid for event in told if event.event == "sched_process_exit"] == [events[0].pid]
    assert (events[0].retval, events[0].denied, events[0].repeats) == (0, False, 0)


def test_execveat_and_counts(locks: Locks) -> None:
    locks.load("execsnoop", Profile.ALL)
    locks.events()
    for _ in range(3):
        fd = os.open(TRUE, os.O_RDONLY)
        child = os.fork()
        if not child:
            try:
                os.execve(fd, ["true"], {})
            finally:
                os._exit(127)
        os.waitpid(child, 0)
        os.close(fd)
    events = [event for event in locks.events() if event.event == "syscall_execveat"]
    assert len(events) == 3
    assert locks.counters("execsnoop")["execveat"].allowed == 3


_CALL_32 = """
/* execve(name, argv, NULL) by the 32-bit entry: all that it reads must be below 4 GiB. */
#include <sys/mman.h>
#include <string.h>
int main(int argc, char **argv)
{
	char *low = mmap(0, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	long result;

	strcpy(low, argv[1]);
	memset(low + 2048, 0, 16);
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(11), "b"(low), "c"(low + 2048), "d"(low + 2048) : "memory");
	return -(int)result;
}
"""


def test_what_failed_is_told(locks: Locks, tmp_path: Path) -> None:
    """With its error, by each way in; a repetition is only counted."""
    locks.load("execsnoop", Profile.ALL)
    locks.events()
    (tmp_path / "data").write_text("no program")
    (tmp_path / "data").chmod(0o755)
    missing, long, data = b"/nonexistent/x y", b"/nonexistent/" + b"n/" * 1000, os.fsencode(tmp_path / "data")

    def execute() -> None:
        for name in (missing, missing, long, data):
            with contextlib.suppress(OSError):
                os.execv(name, [b"a"])
        fd = os.open(tmp_path / "data", os.O_RDONLY)
        with contextlib.suppress(OSError):
            os.execve(fd, ["a"], {})

    _child(execute)
    told = [event for event in locks.events() if event.retval]
    assert [(event.event, event.filename, event.retval) for event in told] == [
        ("syscall_execve", missing, -errno.ENOENT),
        ("syscall_execve", data, -errno.ENOEXEC),
        ("syscall_execveat", None, -errno.ENOEXEC),
    ]
    assert all(event.reason == "" and not event.denied for event in told)
    assert told[0].execution and told[0].execution.args == ()
    assert told[0].execution.parents[0][0] == os.getpid()
    counter = locks.counters("execsnoop")["execve"]
    assert (counter.denied, counter.limited) == (4, 2)
    assert locks.counters("execsnoop")["execveat"].denied == 1
    # A name that is longer than most.
    _child(lambda: os.execv(long, [b"a"]))
    assert [event.filename for event in locks.events() if event.retval] == [long]


def test_what_failed_by_the_32_bit_entry(locks: Locks, tmp_path: Path) -> None:
    (tmp_path / "p.c").write_text(_CALL_32)
    subprocess.run(["gcc", "-o", tmp_path / "p", tmp_path / "p.c"], check=True)
    locks.load("execsnoop", Profile.ALL)
    locks.events()
    ended = subprocess.run([tmp_path / "p", "/nonexistent/by-32"], check=False)
    assert ended.returncode == errno.ENOENT
    (event,) = (event for event in locks.events() if event.retval and event.comm == b"p")
    assert (event.event, event.filename, event.retval) == ("syscall_execve", b"/nonexistent/by-32", -errno.ENOENT)


def test_what_a_lock_denies_is_told_by_both(locks: Locks, attacker: Attacker) -> None:
    """As the original does: the lock names the file, the tracer the path that was called."""
    locks.load("execsnoop", Profile.ALL)
    locks.load("filelesslock", Profile.BASELINE)
    locks.events()
    assert attacker.attack("memfd_exec", CONTAINER).denied
    told = locks.events()
    (denied,) = (event for event in told if event.denied and event.event == "lsm_bprm_creds_from_file")
    (failed,) = (event for event in told if event.bpfprog == "execsnoop" and event.retval)
    assert denied.filename is not None and denied.filename.startswith(b"memfd:")
    assert failed.retval == -errno.EPERM and failed.event.startswith("syscall_execve")
    assert denied.called is not None
    line = logfmt(denied)
    assert (
        f" filename={denied.filename.decode()} path={denied.called.decode()} retval=-1 reason=denied (baseline)" in line
    )
    assert " retval=-1 parents=" in logfmt(failed) and "reason=" not in logfmt(failed)


@pytest.mark.parametrize(
    ("where", "name", "called"),
    [
        ("/dev/shm", "tool", "/dev/shm/tool"),
        ("/dev/shm", "tool", "/proc/self/fd/9"),
        ("/dev/shm", "n" * 255, "/dev/shm/../shm/" + "./" * 60 + "n" * 255),
        ("/dev/shm", "tool", "/dev/shm/" + "./" * 1900 + "tool"),
    ],
    ids=["by its name", "by a descriptor", "long", "longer than half of a record"],
)
def test_the_file_and_the_path(locks: Locks, attacker: Attacker, where: str, name: str, called: str) -> None:
    file = Path(where) / name
    shutil.copy("/bin/true", file)
    try:
        locks.load("filelesslock", Profile.BASELINE)
        locks.events()
        assert not attacker.run(f"{CONTAINER}sh -c 'exec {called}' 9<{file}").worked
        (event,) = (event for event in locks.events() if event.denied)
        assert event.filename == os.fsencode(file)
        assert event.called == (os.fsencode(called) if len(called) < 2000 else None)
    finally:
        file.unlink()


def test_none_is_not_attached(locks: Locks) -> None:
    locks.load("execsnoop", Profile.ALL)
    locks.load("execsnoop", Profile.NONE)
    assert not [status for status in locks.enforcer.status() if status.lock.name == "execsnoop"]


def _child(act: Callable[[], object]) -> tuple[int, int]:
    """The pid of a child that does this, and its status as wait() gives it."""
    child = os.fork()
    if not child:
        try:
            act()
        finally:
            os._exit(127)
    return os.waitpid(child, 0)


def _run(*args: bytes | str) -> int:
    """Execute a program with exactly these arguments; its pid."""
    return _child(lambda: os.execv(args[0], args))[0]


def _of(events: list[Event], pid: int, event: str = "syscall_execve") -> list[Event]:
    return [each for each in events if each.event == event and each.pid == pid]


def _told(locks: Locks, pid: int) -> tuple[tuple[bytes, ...], int]:
    """The arguments of the one exec of this process, and how many bytes of them are missing."""
    [event] = _of(locks.events(), pid)
    assert event.execution
    return event.execution.args, event.execution.cut


_ARGUMENTS = (TRUE.encode(), b"", b"a b", b'"q"\\ \n\x1b[31mx=y', b"\xff\xfe", b"", b"end", b"")


def test_arguments(locks: Locks) -> None:
    locks.load("execsnoop", Profile.ALL)
    locks.events()
    assert _told(locks, _run(*_ARGUMENTS)) == (_ARGUMENTS, 0)
    # At and around where the short record, and then what is told at all, ends.
    for length in (255, 256, 257, TRUNCATED, TRUNCATED + 1, 100_000):
        rest = b"x" * (length - len(TRUE) - 2)  # both have a NUL behind them
        told = rest[: TRUNCATED - len(TRUE) - 1]
        assert _told(locks, _run(TRUE, rest)) == ((TRUE.encode(), told), max(0, length - TRUNCATED))
    locks.load("execsnoop", Profile.ALL, args=("4096",))
    locks.events()
    assert _told(locks, _run(TRUE, b"y" * 5000)) == ((TRUE.encode(), b"y" * (4096 - 10)), 5000 + 11 - 4096)
    assert _told(locks, _run(*_ARGUMENTS)) == (_ARGUMENTS, 0)
    locks.load("execsnoop", Profile.ALL, args=("0",))
    locks.events()
    assert _told(locks, _run(*_ARGUMENTS)) == ((), 0)


def test_arguments_of_a_script(locks: Locks, tmp_path: Path) -> None:
    """What runs is the interpreter: its arguments are told, the name is that of the script."""
    script = tmp_path / "script"
    script.write_text("#!/bin/sh -e\nexit 5\n")
    script.chmod(0o755)
    locks.load("execsnoop", Profile.ALL)
    locks.events()
    pid = _run(str(script), "one")
    [event] = _of(told := locks.events(), pid)
    assert event.execution
    assert (event.filename, event.execution.args) == (
        os.fsencode(script),
        (b"/bin/sh", b"-e", os.fsencode(script), b"one"),
    )
    [event] = _of(told, pid, "sched_process_exit")
    assert event.ending and event.ending.status == 5


def _ancestors() -> list[tuple[int, bytes]]:
    """Of this process, the parent first."""
    found, pid = [], os.getpid()
    while pid := int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]):
        found.append((pid, Path(f"/proc/{pid}/comm").read_bytes().removesuffix(b"\n")))
    return found


def test_parents(locks: Locks) -> None:
    here = [(os.getpid(), Path("/proc/self/comm").read_bytes().removesuffix(b"\n")), *_ancestors()]
    odd = b"a,b:c \n=\x1b[1m"
    deeper = 9

    def fork(level: int) -> None:
        if level:
            _child(lambda: fork(level - 1))
        else:
            Path("/proc/self/comm").write_bytes(odd)
            _run(TRUE)
        os._exit(0)

    locks.load("execsnoop", Profile.ALL)
    locks.events()
    for level, chain in ((0, here), (deeper, None)):
        _child(partial(fork, level))
        [event] = [event for event in locks.events() if event.event == "syscall_execve"]
        assert event.execution
        (pid, comm), *above = event.execution.parents
        assert (pid, comm) == (event.ppid, event.pcomm)
        assert comm == odd
        if chain:
            assert above == chain[: PARENTS - 1]
            assert event.execution.higher == (len(chain) > PARENTS - 1)
        else:
            assert len(event.execution.parents) == PARENTS
            assert event.execution.higher
            assert len({pid for pid, _ in event.execution.parents}) == PARENTS


def test_how_programs_end(locks: Locks) -> None:
    locks.load("execsnoop", Profile.ALL)
    cases: list[tuple[tuple[str, ...], set[int]]] = [
        (("/bin/sh", "-c", "exit 3"), {3}),
        (("/bin/sh", "-c", "kill -KILL $$"), {-signal.SIGKILL}),
        (("/bin/sh", "-c", "kill -SEGV $$"), {-signal.SIGSEGV}),
        # All threads leave by themselves, the last one decides; the process ends once.
        ((str(ATTACK), "threads", "8"), {3, 7}),
        ((str(ATTACK), "threads", "2"), {3, 7}),
        # Another program in the same process: one end.
        (("/bin/sh", "-c", "exec /bin/sh -c 'exit 4'"), {4}),
        # Children that execute nothing have no end of their own.
        (("/bin/sh", "-c", "(exit 1); (exit 2); exit 0"), {0}),
    ]
    for arguments, endings in cases:
        locks.events()
        pid, waited = _child(partial(os.execv, arguments[0], arguments))
        told = locks.events()
        # A preemptible kernel may be in the middle of another record, before this one: then it is not to be seen yet.
        end = time.monotonic() + 10
        while not any(each.event == "sched_process_exit" for each in told) and time.monotonic() < end:
            time.sleep(0.05)
            told += locks.events()
        [event] = [each for each in told if each.event == "sched_process_exit"]
        assert event.ending, arguments
        ended = os.waitstatus_to_exitcode(waited)
        assert ended in endings
        assert (event.ending.status, event.ending.signal) == ((ended, None) if ended >= 0 else (None, -ended)), (
            arguments
        )
        assert (event.pid, event.tgid, event.retval, event.reason) == (pid, pid, 0, "")
        assert event.comm == Path(arguments[0]).name.encode()
        assert event.ppid == os.getpid()
        started = _of(told, pid)[-1]
        assert event.ending.duration == pytest.approx(event.time - started.time, abs=0.05)
    counters = locks.counters("execsnoop")
    assert counters["exit"].allowed >= len(cases)


def test_duration(locks: Locks) -> None:
    locks.load("execsnoop", Profile.ALL)
    locks.events()
    before = time.monotonic()
    pid = _run("/bin/sleep", "0.3")
    took = time.monotonic() - before
    [event] = _of(locks.events(), pid, "sched_process_exit")
    assert event.ending and 0.3 <= event.ending.duration <= took


def test_without_ends(locks: Locks) -> None:
    locks.load("execsnoop", Profile.ALL, exit=("no",))
    locks.events()
    pid = _run(TRUE)
    told = locks.events()
    assert _of(told, pid)
    assert not [event for event in told if event.event == "sched_process_exit"]
    [status] = [status for status in locks.enforcer.status() if status.lock.name == "execsnoop"]
    assert "tp_btf/sched_process_exec" in status.hooks and "tp_btf/sched_process_exit" not in status.hooks
    assert status.settings.parameters == (("exit", ("no",)),)
    locks.load("execsnoop", Profile.ALL)
    [status] = [status for status in locks.enforcer.status() if status.lock.name == "execsnoop"]
    assert {"tp_btf/sched_process_exec", "tp_btf/sched_process_exit"} < set(status.hooks)


@pytest.fixture
def cgroup() -> Iterator[Path]:
    path = Path("/sys/fs/cgroup/watched")
    path.mkdir()
    set_profile(str(path), Profile.ALLOW)
    yield path
    unset_profile(str(path))
    path.rmdir()


def test_filter(locks: Locks, cgroup: Path) -> None:
    """Only the cgroup: what it executes, and how that ended; nothing of who is outside."""
    locks.load("execsnoop", Profile.FILTER)
    locks.events()
    subprocess.run([TRUE], check=True)
    assert not [event for event in locks.events() if event.bpfprog == "execsnoop"]
    # attack is executed outside and goes in: what it then executes is told.
    ended = subprocess.Popen([ATTACK, "cgroup", cgroup, "--", "/bin/sh", "-c", "exit 6"])
    assert ended.wait() == 6
    told = [event for event in locks.events() if event.bpfprog == "execsnoop"]
    assert [(event.event, event.pid) for event in told] == [
        ("syscall_execve", ended.pid),
        ("sched_process_exit", ended.pid),
    ]
    assert told[0].execution and told[0].execution.args == (b"/bin/sh", b"-c", b"exit 6")
