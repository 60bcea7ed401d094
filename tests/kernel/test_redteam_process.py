# SPDX-License-Identifier: Apache-2.0
"""What a confined program does to other processes beside signals and ptrace, in their name, or in the name of somebody
that it was before."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bpflock.confine.engine import Engine
from bpflock.events.model import Event
from bpflock.events.render import logfmt
from bpflock.policy.bpfbox.load import parse
from bpflock.policy.explain import explain, parse_event
from bpflock.policy.model import PolicySet

from .conftest import ATTACK, Locks
from .redteam import RedTeam
from .test_policy_objects import sleeping

HERE = Path("/tmp/redteam-process")
FREE = HERE / "attack"  # has no profile
SECRET = HERE / "secret"  # nobody's, of mode 0: opened by a capability
LOG = HERE / "log"
OVERLAY = HERE / "merged"
CGROUP = Path("/sys/fs/cgroup/redteam-process")  # nobody's; from one of its children to the other takes a write to it
_COMMON = """
fs("/dev/null", read|write)
capability(sys_resource)
"""
_PROC = 'capability(sys_ptrace) fs("/proc/**", read) ptrace(any, read)'
_RING = f'operation(io_uring) net(inet, any) fs("{HERE}/**", read) signal(child, any)'


@dataclass(frozen=True)
class Row:
    """`rule`: what is lacking; if it is empty, no rule allows it. `needs`: rules besides."""

    row: str
    attack: str
    hook: str
    operation: str
    rule: str
    needs: str = ""


ROWS = {
    **{
        f"{attack} of another process": Row(
            "E10", f"{attack} {{pid}}", hook, word, f'signal("{FREE}", {word})', f"{needs} signal(any, {other})"
        )
        for attack, hook, word, needs, other in (
            ("set_limit", "task_setrlimit", "limits", "capability(sys_resource)", "priority|memory|fatal|check"),
            ("set_scheduler", "task_setscheduler", "priority", "capability(sys_nice)", "limits|memory|fatal"),
            ("set_affinity", "task_setscheduler", "priority", "capability(sys_nice)", "limits|memory|fatal"),
            ("set_nice", "task_setnice", "priority", "capability(sys_nice)", "limits|memory|fatal"),
            ("set_io_priority", "task_setioprio", "priority", "capability(sys_nice)", "limits|memory|fatal"),
            ("move_pages", "task_movememory", "memory", f"capability(sys_nice) {_PROC}", "limits|priority|fatal"),
            ("migrate_pages", "task_movememory", "memory", f"capability(sys_nice) {_PROC}", "limits|priority|fatal"),
        )
    },
    "a raw socket by registered credentials": Row(
        "E6", "ring_identity socket", "capable", "net_raw", "capability(net_raw)", _RING
    ),
    "a file by registered credentials": Row(
        "E6", f"ring_identity {SECRET}", "capable", "dac_override", "capability(dac_override)", _RING
    ),
    "a cgroup by the credentials of a descriptor": Row(
        "E6", f"cgroup_identity {CGROUP}/two/cgroup.procs", "capable", "dac_override", "capability(dac_override)",
        f'fs("{CGROUP}/**", write)',
    ),
    "an io_uring that is received": Row(
        "E26", "take_ring {ring}", "file_receive", "io_uring", "operation(io_uring)",
        "capability(sys_ptrace) ptrace(any, any)",
    ),
    "writing over what may be appended to, behind a filter": Row(
        "R11", f"ring_behind_filter {LOG}", "file_permission", "write", f'fs("{LOG}", write)',
        f'operation(io_uring) fs("{LOG}", read|append)',
    ),
    "a driver's command by io_uring": Row(
        "E26", "ring_command /dev/null", "uring_cmd", "ioctl", 'fs("/dev/null", ioctl)', _RING
    ),
    "another executable": Row(
        "E26", "forge_executable /bin/busybox", "capable", "sys_resource", "", "operation(anon_exec)"
        'fs("/{bin,usr/bin}/busybox", read|exec)',
    ),
    "a raw packet to another address": Row(
        "E26",
        "raw_header 127.0.0.2 127.0.0.1",
        "socket_sendmsg",
        "send",
        "net(inet, raw, send)",
        'capability(net_raw) net(inet, create) net(inet, connect|send, to="127.0.0.1")',
    ),
    **{
        f"another's pipe to write, {way}": Row(
            "E26", f"open_descriptor {{pid}} 1 {way}", "file_open", "write", "proc(any, write)", _PROC
        )
        for way in ("direct", "path", "read")
    },
}  # fmt: skip


def _program(kind: str, name: str) -> Path:
    return HERE / kind / re.sub(r"\W", "-", name)


@dataclass(frozen=True)
class Stage:
    pid: int  # of a process that waits
    ring: int  # of another one, with an io_uring on descriptor 0

    def run(self, program: Path, attack: str, cwd: str = "/") -> "subprocess.CompletedProcess[bytes]":
        name, *argument = attack.replace("{pid}", str(self.pid)).replace("{ring}", str(self.ring)).split(" ", 1)
        command = [str(program), name, *argument]
        if name == "cgroup_identity":
            command = ["sh", "-c", f'echo $$ >{CGROUP}/one/cgroup.procs; exec "$@"', "sh", *command]
        return subprocess.run(command, capture_output=True, check=False, timeout=120, cwd=cwd)


def _text() -> str:
    found = []
    for name, row in ROWS.items():
        for kind, rules in (("denied", row.needs), ("allowed", f"{row.needs} {row.rule}")):
            found.append(f'#![profile "{_program(kind, name)}"]\n{_COMMON}{rules}')
    quiet = _COMMON + "capability(sys_nice) operation(io_uring)"
    found.append(f'#![profile "{HERE}/quiet"]\n{quiet} fs("/proc/**", read) fs("{OVERLAY}/file", write)')
    found.append(f'#![profile "{HERE}/taker"]\n{_COMMON} operation(io_uring) net(unix, any) ptrace(any, traced)')
    return "\n".join(found)


@pytest.fixture(scope="module")
def stage(all_locks: Locks, kept_engine: Engine) -> Iterator[Stage]:
    shutil.rmtree(HERE, ignore_errors=True)
    for kind in ("denied", "allowed", "lower", "work", "merged"):
        (HERE / kind).mkdir(parents=True)
    shutil.copy(ATTACK, FREE)
    for name in ROWS:
        for kind in ("denied", "allowed"):
            os.link(FREE, _program(kind, name))
    for name in ("quiet", "taker"):
        os.link(FREE, HERE / name)
    LOG.write_text("before")
    SECRET.write_text("secret")
    os.chown(SECRET, 65534, 65534)
    SECRET.chmod(0)
    (HERE / "lower/file").write_text("content")
    with contextlib.ExitStack() as stack:
        stack.callback(subprocess.run, ["umount", str(OVERLAY)], check=False)
        subprocess.run(["mount", "-t", "tmpfs", "none", HERE / "work"], check=True)
        stack.callback(subprocess.run, ["umount", str(HERE / "work")], check=False)
        for directory in ("upper", "work"):
            (HERE / "work" / directory).mkdir()
        options = f"lowerdir={HERE}/lower,upperdir={HERE}/work/upper,workdir={HERE}/work/work"
        subprocess.run(["mount", "-t", "overlay", "none", "-o", options, OVERLAY], check=True)
        for cgroup in (CGROUP, CGROUP / "one", CGROUP / "two"):
            cgroup.mkdir()
            stack.callback(cgroup.rmdir)
        os.chown(CGROUP / "cgroup.procs", 65534, 65534)
        pid = stack.enter_context(sleeping(FREE))
        ring = stack.enter_context(sleeping(FREE, "with_ring", f"{FREE} sleeper"))
        kept_engine.load(PolicySet(parse(_text())))
        stack.callback(kept_engine.load, PolicySet())
        yield Stage(pid, ring)


def _told(locks: Locks) -> list[Event]:
    return [event for event in locks.events() if event.bpfprog == "policy"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.redteam(row.row, name)) for name, row in ROWS.items()]
)
def test_denied_but_for_its_rule(name: str, stage: Stage, all_locks: Locks, redteam: RedTeam) -> None:
    row = ROWS[name]
    before = stage.run(FREE, row.attack)
    if b"EOPNOTSUPP" in before.stdout:
        pytest.skip("this kernel does not have RWF_NOAPPEND")
    all_locks.events()
    denied = stage.run(_program("denied", name), row.attack)
    redteam.stopped(
        without=before.returncode,
        within=denied.returncode,
        events=_told(all_locks),
        hook=row.hook,
        operation=row.operation,
    )
    after = stage.run(_program("allowed", name), row.attack)
    shown = f"{after}\n" + "\n".join(map(logfmt, _told(all_locks)))
    assert after.returncode == (0 if row.rule else 1), shown


@pytest.mark.parametrize("attack", ["own_limits", "reopen_own", "own_descriptor", f"ring_then_write {OVERLAY}/file"])
def test_what_needs_no_rule(attack: str, stage: Stage, all_locks: Locks) -> None:
    """What a process does to itself; and what an overlay does for it, also if it has an io_uring."""
    all_locks.events()
    ended = stage.run(HERE / "quiet", attack, cwd=str(OVERLAY))
    assert ended.returncode == 0, f"{ended}\n" + "\n".join(map(logfmt, _told(all_locks)))


def test_what_an_unconfined_process_gives_by_a_ring_is_not_asked_about(stage: Stage, all_locks: Locks) -> None:
    """A limit of the engine: no hook sees it. But the giver needs the ring, and to have it must be allowed to trace."""
    all_locks.events()
    with subprocess.Popen([FREE, "give_by_ring", SECRET], stdout=subprocess.PIPE, text=True) as giver:
        assert giver.stdout and giver.stdout.readline() == "ready\n"
        taken = stage.run(HERE / "taker", "take_by_ring")
    assert taken.returncode == 0 and b"secret" in taken.stdout, taken
    assert not [event for event in _told(all_locks) if event.denied and event.operation != "sys_resource"]


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("set_limit of another process", f'signal("{FREE}", limits)'),
        ("set_nice of another process", f'signal("{FREE}", priority)'),
        ("a raw packet to another address", "net(inet, raw, send)"),
        ("another's pipe to write, direct", "proc(any, write)"),
    ],
)
def test_the_explanation_allows_it(name: str, suggestion: str, stage: Stage, all_locks: Locks) -> None:
    row, program = ROWS[name], _program("denied", name)
    all_locks.events()
    stage.run(program, row.attack)
    (event, *_) = (event for event in _told(all_locks) if event.denied and event.operation == row.operation)
    keys = parse_event(logfmt(event)) | {"profile": str(program)}
    text = explain(keys, PolicySet(parse(f'#![profile "{program}"]\n{_COMMON}{row.needs}')))
    assert f"would allow it: {suggestion}" in text, text
