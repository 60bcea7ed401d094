# SPDX-License-Identifier: Apache-2.0
"""Ways to be somebody else than the engine thinks: threads, shared memory, exec, another root: attacks/subjects.c."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpflock.confine.engine import Engine
from bpflock.events.model import Event
from bpflock.policy.bpfbox.load import parse
from bpflock.policy.model import PolicySet

from .conftest import ATTACK, Locks, wait_until
from .redteam import RedTeam

HERE = Path("/tmp/subjects")
FREE = HERE / "bin/free"
BOX = HERE / "bin/box"  # may read what is open, and do much else
TAINT = HERE / "bin/taint"  # the same, from when it has read TAINTING
LAX = HERE / "bin/lax"  # enforced only after a taint that never comes: BOX may make a transition to it
SPARE = HERE / "bin/spare"  # has the highest number of all profiles
SCRIPT, FREE_SCRIPT = HERE / "bin/script", HERE / "bin/free-script"
OPEN, DENIED, TAINTING = HERE / "open/file", HERE / "closed/file", HERE / "open/tainting"
MANY = HERE / "open/many"
_FILES = 1100  # more than are looked up for one exec
_ROUNDS = 60
_STORM = 4
_LOADS = 10


def _rules() -> str:
    return f"""
fs("{HERE}", getattr)
fs("{HERE}/open{{,/**}}", read)
fs("{HERE}/bin/*", read|exec)
fs("{HERE}/mine/*", create)
fs("{HERE}/mine/*", read|write|rm, own)
fs("/{{usr/,}}{{bin,lib,lib64}}/**", read|exec)
fs("/etc/ld.so.cache", read)
fs("/dev/null", read|write)
signal(self|child, any)
ptrace(any, any)
operation(io_uring)
"""


def _policy(*more: str) -> PolicySet:
    rules = _rules()
    return PolicySet(
        parse(
            f'#![profile "{BOX}"]\n{rules}\n#[transition] fs("{LAX}", exec)\n'
            f'#![profile "{TAINT}"]\n#[taint] fs("{TAINTING}", read)\n{rules}\n#[untaint] fs("{TAINT}", exec)\n'
            f'#![profile "{LAX}"]\n#[taint] fs("{HERE}/nothing", read)\n{rules}\n'
            f'#![profile "{SCRIPT}"]\n{rules}\n' + "\n".join(more)
        )
    )


@pytest.fixture(scope="module")
def loaded(kept_engine: Engine) -> Iterator[Engine]:
    shutil.rmtree(HERE, ignore_errors=True)
    for name in ("bin", "open", "closed", "mine", "open/many"):
        (HERE / name).mkdir(parents=True)
    for program in (FREE, BOX, TAINT, LAX, SPARE):
        shutil.copy(ATTACK, program)
    for file in (OPEN, DENIED, TAINTING, *(MANY / str(number) for number in range(_FILES))):
        file.write_text("text\n")
    for script in (SCRIPT, FREE_SCRIPT):
        script.write_text(f"#!/bin/sh\nread text <{OPEN} && read text <${{1-{DENIED}}} && exit 0\nexit 1\n")
        script.chmod(0o755)
    with contextlib.ExitStack() as stack:
        kept_engine.load(_policy())
        stack.callback(kept_engine.load, PolicySet())
        yield kept_engine


@pytest.fixture
def engine(loaded: Engine, all_locks: Locks) -> Engine:
    all_locks.events()
    return loaded


def _run(program: Path, *words: object) -> int:
    """The exit status, negative for a signal."""
    ended = subprocess.run(
        [program, *map(str, words)], capture_output=True, text=True, check=False, cwd="/", timeout=120
    )
    assert ended.returncode in (0, 1, -signal.SIGKILL), ended
    return ended.returncode


def _events(locks: Locks) -> list[Event]:
    return [event for event in locks.events() if event.bpfprog == "policy"]


@pytest.mark.redteam("E2", "another thread of a tainted process forks")
@pytest.mark.usefixtures("engine")
def test_taint_then_fork(all_locks: Locks, redteam: RedTeam) -> None:
    free = _run(FREE, "taint_then_fork", f"{TAINTING} {DENIED}")
    within = _run(TAINT, "taint_then_fork", f"{TAINTING} {DENIED}")
    redteam.stopped(without=free, within=within, events=_events(all_locks), hook="file_open", operation="read")


@pytest.mark.redteam("E14", "a thread taints a process whose first thread ended before the policy")
def test_taint_without_leader(engine: Engine, all_locks: Locks, redteam: RedTeam) -> None:
    statuses = []
    for program in (FREE, TAINT):
        engine.load(PolicySet())
        with subprocess.Popen(
            [program, "taint_without_leader", f"{TAINTING} {DENIED}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            wait_until(f"grep -q '^State:.Z' /proc/{process.pid}/task/{process.pid}/status")
            engine.load(_policy())
            process.communicate("x")
        statuses.append(process.returncode)
    redteam.stopped(
        without=statuses[0], within=statuses[1], events=_events(all_locks), hook="file_open", operation="read"
    )


@pytest.mark.redteam("E15", "a child of vfork(2) reads what taints into the memory of its parent")
@pytest.mark.usefixtures("engine")
def test_taint_by_vfork(all_locks: Locks, redteam: RedTeam) -> None:
    free = _run(FREE, "taint_by_vfork", f"{TAINTING} {DENIED}")
    within = _run(TAINT, "taint_by_vfork", f"{TAINTING} {DENIED}")
    redteam.stopped(without=free, within=within, events=_events(all_locks), hook="file_open", operation="read")


@pytest.mark.redteam("E15", "a thread of a child of vfork(2) reads what taints into the memory of the parent")
@pytest.mark.usefixtures("engine")
def test_taint_by_a_thread_of_vfork(all_locks: Locks, redteam: RedTeam) -> None:
    free = _run(FREE, "taint_by_vfork_thread", f"{TAINTING} {DENIED}")
    within = _run(TAINT, "taint_by_vfork_thread", f"{TAINTING} {DENIED}")
    events = _events(all_locks)
    redteam.stopped(without=free, within=within, events=events, hook="file_open", operation="read")
    assert [event.operation for event in events if event.reason == "taint (policy)"] == ["shared_memory"]


@pytest.mark.redteam("E15", "a process that shares memory reads what taints")
@pytest.mark.usefixtures("engine")
def test_taint_by_clone(all_locks: Locks, redteam: RedTeam) -> None:
    free = _run(FREE, "taint_by_clone", f"{TAINTING} {DENIED}")
    within = _run(TAINT, "taint_by_clone", f"{TAINTING} {DENIED}")
    events = _events(all_locks)
    redteam.stopped(without=free, within=within, events=events, hook="file_open", operation="read")
    # The clone itself taints: nobody could follow what one of the two reads.
    assert [event.operation for event in events if event.reason == "taint (policy)"] == ["shared_memory"]


@pytest.mark.redteam("E5", "a ring is inherited, with a denied file registered")
@pytest.mark.usefixtures("engine")
def test_inherited_ring(all_locks: Locks, redteam: RedTeam) -> None:
    free = _run(FREE, "inherit_ring", f"{DENIED} {FREE}")
    within = _run(FREE, "inherit_ring", f"{DENIED} {BOX}")
    event = redteam.stopped(
        without=free, within=within, events=_events(all_locks), hook="bprm_creds_from_file", operation="read|write"
    )
    assert event.reason == "denied (no path)"


@pytest.mark.redteam("E8", "what exec closes changes while the descriptors are looked at")
@pytest.mark.usefixtures("engine")
def test_raced_descriptor(all_locks: Locks, redteam: RedTeam) -> None:
    # Without a profile, the program gets the descriptor at the latest when the flag is off by chance.
    free = any(_run(FREE, "race_descriptor", f"{DENIED} {FREE}") == 0 for _ in range(_ROUNDS))
    statuses = [_run(FREE, "race_descriptor", f"{DENIED} {BOX}") for _ in range(_ROUNDS)]
    redteam.stopped(
        without=int(not free),
        within=min(statuses),
        events=_events(all_locks),
        hook="bprm_creds_from_file",
        operation="read",
    )


@pytest.mark.parametrize(
    ("program", "target"), [(TAINT, TAINT), (BOX, LAX)], ids=["untaint", "transition to an unenforced profile"]
)
@pytest.mark.redteam("E13", "a tracer keeps a program that is not enforced any more")
@pytest.mark.usefixtures("engine")
def test_traced_exec(program: Path, target: Path, all_locks: Locks, redteam: RedTeam) -> None:
    free = _run(FREE, "trace_exec", f"{TAINTING} {FREE}")
    within = _run(program, "trace_exec", f"{TAINTING} {target}")
    redteam.stopped(
        without=free, within=within, events=_events(all_locks), hook="bprm_creds_from_file", operation="exec"
    )


@pytest.mark.redteam("E13", "a listener answers the system calls of a program that is not enforced any more")
@pytest.mark.usefixtures("engine")
def test_exec_with_a_listener(all_locks: Locks, redteam: RedTeam) -> None:
    free = _run(FREE, "listen_exec", FREE)
    within = _run(BOX, "listen_exec", LAX)
    redteam.stopped(
        without=free, within=within, events=_events(all_locks), hook="bprm_creds_from_file", operation="exec"
    )


@pytest.mark.usefixtures("engine")
def test_exec_that_is_not_traced() -> None:
    """By which a task is not enforced any more: nobody is denied that."""
    assert _run(TAINT, "execute", f"{TAINT} read_file {DENIED}") == 0
    assert _run(BOX, "execute", f"{LAX} read_file {DENIED}") == 0


@pytest.mark.redteam("E17", "an exec with more open files than are looked up")
@pytest.mark.usefixtures("engine")
def test_too_many_files(all_locks: Locks, redteam: RedTeam) -> None:
    free = _run(FREE, "many_descriptors", f"{_FILES} {MANY} {FREE}")
    within = _run(FREE, "many_descriptors", f"{_FILES} {MANY} {BOX}")
    event = redteam.stopped(
        without=free, within=within, events=_events(all_locks), hook="bprm_creds_from_file", operation="read"
    )
    assert event.reason == "denied (too many)"
    assert _run(FREE, "many_descriptors", f"{_FILES // 2} {MANY} {BOX}") == 0
    # Many descriptors of one file are no reason to deny; of a denied file, none may be there.
    assert _run(FREE, "many_descriptors", f"10000 {OPEN} {BOX}") == 0
    assert _run(FREE, "many_descriptors", f"10000 {DENIED} {BOX}") == 1


def test_unloaded_profile(engine: Engine) -> None:
    """E9: the tasks of the profile with the highest number are not confined any more once it is unloaded."""
    engine.load(_policy(f'#![profile "{SPARE}"]\n{_rules()}'))
    try:
        with subprocess.Popen([SPARE, "probe"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin
            assert process.stdout
            answers = []
            for policy in (None, _policy()):
                if policy:
                    engine.load(policy)
                process.stdin.write(f"read {os.fsencode(DENIED).hex()}\n")
                process.stdin.flush()
                answers.append(int(process.stdout.readline()))
            process.stdin.close()
        assert answers == [1, 0]
    finally:
        engine.load(_policy())


@pytest.mark.redteam("E25", "a fork under way while its parent is confined")
def test_forks_under_way(engine: Engine, all_locks: Locks, redteam: RedTeam) -> None:
    escaped, mark = HERE / "mine/escaped", HERE / "open/mark"
    engine.load(PolicySet())
    within: list[bool] = []
    storm = [subprocess.Popen([BOX, "fork_storm", f"{mark} {DENIED} {escaped}"]) for _ in range(_STORM)]
    try:
        for _ in range(_LOADS):
            engine.load(_policy())
            mark.touch()
            time.sleep(0.2)
            mark.unlink()
            within.append(not escaped.exists())
            engine.load(PolicySet())
        events = _events(all_locks)
        mark.touch()
        wait_until(f"[ -e {escaped} ]")  # that is what an escape looks like
        redteam.stopped(without=0, within=int(all(within)), events=events, hook="file_open", operation="read")
    finally:
        for process in storm:
            process.kill()
            process.wait()
        mark.unlink(missing_ok=True)
        escaped.unlink(missing_ok=True)
        engine.load(_policy())


@pytest.mark.usefixtures("engine")
def test_script(all_locks: Locks) -> None:
    """P2: a script is confined as what was executed, whatever interprets it."""
    assert _run(FREE_SCRIPT) == 0
    assert _run(SCRIPT, OPEN) == 0
    assert not [event for event in _events(all_locks) if event.denied]
    assert _run(SCRIPT) == 1
    event = next(event for event in _events(all_locks) if event.denied)
    assert (event.event, event.filename) == ("lsm_file_open", os.fsencode(DENIED))
    # Without the script, its interpreter is not confined; nor is a script that is only given to it.
    assert _run(Path("/bin/sh"), FREE_SCRIPT) == 0
    assert _run(Path("/bin/sh"), SCRIPT) == 0


@pytest.mark.usefixtures("engine")
def test_script_of_a_script() -> None:
    """A script whose interpreter is a script: the one that was executed counts."""
    outer = HERE / "bin/outer"
    outer.write_text(f"#!{SCRIPT}\n")
    outer.chmod(0o755)
    # Linux takes a script for an interpreter. The outer one has no profile; what is given to the inner one is its name.
    assert _run(outer) == 0


@pytest.mark.usefixtures("engine")
def test_program_of_another_root() -> None:
    """P6: a profile is for files of the host, not for another file at the same path in a container's root."""
    root = HERE / "root"
    copy = root / BOX.relative_to("/")
    copy.parent.mkdir(parents=True)
    (root / "old").mkdir()
    shutil.copy(ATTACK, copy)
    (root / "f").write_text("text")
    shutil.copy("/bin/busybox", root / "busybox")
    pivot = f"pivot_root . old && /busybox umount -l /old && exec {BOX} read_file /f"
    script = f'mount --bind {root} {root} && cd {root} && exec busybox sh -c "{pivot}"'
    ended = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended
    # The host's own file is confined, whatever else is mounted where.
    ended = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"mount -t tmpfs none /mnt && exec {BOX} read_file {DENIED}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1, ended


@pytest.mark.usefixtures("engine")
def test_own_file_of_a_program() -> None:
    """P10: `own` is about what the program created, by whichever of its processes."""
    assert _run(BOX, "own_by_child", HERE / "mine/file") == 0
    # Another run is another program.
    assert _run(BOX, "own_by_child", f"{HERE}/mine/other keep") == 0
    assert _run(BOX, "read_file", HERE / "mine/other") == 1
