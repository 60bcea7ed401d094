# SPDX-License-Identifier: Apache-2.0
"""Ways to a file, a socket, memory or the log of the kernel by rare calls: each works without a policy, is denied under
a profile that lacks one right, and works again under one that has it."""

import contextlib
import shutil
import signal
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

HERE = Path("/tmp/redteam-hooks")
FREE = HERE / "bin/free"  # has no profile
LACKS = HERE / "bin/lacks"
HAS = HERE / "bin/has"
READABLE, PLAIN, LOG = HERE / "readable", HERE / "plain", HERE / "log"
FROM, TO, WATCHED = HERE / "from", HERE / "to", HERE / "watched"
_EXCHANGE = 2
_LEGACY_TIOCSTI = Path("/proc/sys/dev/tty/legacy_tiocsti")
_DMESG_RESTRICT = Path("/proc/sys/kernel/dmesg_restrict")
_HUGE_PAGES = Path("/proc/sys/vm/nr_hugepages")


def _policy() -> PolicySet:
    common = f"""
fs("/dev/null", read|write)
fs("/dev/{{ptmx,pts/ptmx}}", read|write|ioctl)
fs("/dev/pts/*", read|write)
fs("/{{proc,sys}}/**", read)
fs("{READABLE}", read)
fs("{PLAIN}", ioctl)
fs("{LOG}", append|ioctl)
fs("{FROM}/**", rm|create)
fs("{TO}/**", read|rm|create)
fs("{HERE}/{{own,mine}}/*", rm|create)
fs("{HERE}/{{own,mine}}/*", write, own)
fs("{HERE}/mine/*", read, own)
fs("{HERE}/{{same,equal}}/*", read|rm|create)
capability(sys_resource|sys_admin|ipc_lock)
net(unix, any)
net(inet, create|accept|recv|shutdown)
net(inet, connect|send, to="127.0.0.1:7000")
net(inet, bind, at="127.0.0.1:7001")
net(inet, listen)
operation(ipc)
"""
    more = f"""
fs("{{{READABLE},/dev/pts/*}}", ioctl)
fs("{PLAIN}", read|write)
fs("{LOG}", write)
fs("{{{FROM},{TO},{HERE}/own,{HERE}/mine}}/**", link)
fs("{WATCHED}", read)
signal(any, sigio)
net(inet, stream, connect, to="127.0.0.0/8:7000")
net(inet, seqpacket, connect|send)
net(inet, bind)
capability(syslog)
operation(anon_exec)
"""
    return PolicySet(parse(f'#![profile "{LACKS}"]\n{common}\n#![profile "{HAS}"]\n{common}{more}'))


@dataclass(frozen=True)
class Row:
    number: str
    text: str
    attack: str
    hook: str
    operation: str


ROWS = (
    Row("E1", "ioctl by the 32-bit call", f"size_32 {READABLE}", "file_ioctl", "ioctl"),
    Row("E1", "typing into a terminal by the 32-bit call", "terminal_32", "file_ioctl", "ioctl"),
    Row("E11", "open for neither reading nor writing", f"open_neither {PLAIN}", "file_open", "read|write"),
    Row("E12", "rename to a readable name", f"'{FROM}/file {TO}/new 0'", "path_rename", "link"),
    Row("E12", "exchange with a readable file", f"'{FROM}/file {TO}/file 2'", "path_rename", "link"),
    Row(
        "E12",
        "exchange with a readable file, the other way",
        f"'{TO}/file {FROM}/file 2 {TO}/file'",
        "path_rename",
        "link",
    ),
    Row(
        "E12",
        "rename of a directory",
        f"'{FROM}/directory {TO}/directory 0 {TO}/directory/file'",
        "path_rename",
        "link",
    ),
    Row("E12", "rename of its own file", f"rename_own '{HERE}/own/new {HERE}/mine/new'", "path_rename", "link"),
    Row("E19", "inotify", f"watch_inotify {WATCHED}", "path_notify", "read"),
    *(
        Row("E19", f"fanotify, {kind}", f"watch_fanotify '{WATCHED} {kind}'", "path_notify", "read")
        for kind in ("inode", "mount", "filesystem", "permission")
    ),
    Row("E20", "hole in what is appended to, by ioctl", f"punch '{LOG} ioctl'", "file_ioctl", "write"),
    Row("E20", "hole in what is appended to, by the 32-bit call", f"punch '{LOG} int80'", "file_ioctl", "write"),
    Row(
        "E22",
        "sctp_connectx",
        "sctp_addresses 'connect 127.0.0.1 127.0.0.2 7000'",
        "sctp_bind_connect",
        "connect",
    ),
    Row("E22", "sctp_bindx", "sctp_addresses 'bind 127.0.0.1 127.0.0.2 7001'", "sctp_bind_connect", "bind"),
    Row(
        "E22",
        "SCTP message to two addresses",
        "sctp_addresses 'send 127.0.0.1 127.0.0.2 7000'",
        "socket_sendmsg",
        "connect|send",
    ),
    Row("E22", "listen without bind", "listen_unbound", "socket_listen", "bind"),
    Row("E22", "the kernel's log by syslog(2)", "read_log", "syslog", "syslog"),
    # What no rule could allow, and belongs to anon_exec.
    Row("E24", "shared anonymous memory made executable", "jit shared", "file_mprotect", "anon_exec"),
    Row("E24", "huge pages made executable", "jit huge", "file_mprotect", "anon_exec"),
    Row("E24", "mapped memfd", "memfd_mmap", "mmap_file", "anon_exec"),
    Row("E24", "memfd made executable", "memfd_mprotect", "file_mprotect", "anon_exec"),
    Row("E24", "memfd of huge pages made executable", "memfd_hugetlb", "file_mprotect", "anon_exec"),
    Row("E24", "SysV segment made executable", "sysv_mprotect", "file_mprotect", "anon_exec"),
)


def _unmount() -> None:
    subprocess.run(["umount", "-l", HERE], check=True)


@pytest.fixture(scope="module")
def stage(kept_engine: Engine) -> Iterator[None]:
    """All files are there and the policy is in force."""
    shutil.rmtree(HERE, ignore_errors=True)
    with contextlib.ExitStack() as stack:
        HERE.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "none", HERE], check=True)
        stack.callback(_unmount)
        for name in ("bin", "from/directory", "to", "watched", "own", "mine", "same", "equal"):
            (HERE / name).mkdir(parents=True)
        for program in (FREE, LACKS, HAS):
            shutil.copy(ATTACK, program)
        for path in (READABLE, PLAIN, LOG, FROM / "file", TO / "file", FROM / "directory/file", HERE / "same/file"):
            path.write_text("some text")
        for switch, value in ((_LEGACY_TIOCSTI, "1"), (_DMESG_RESTRICT, "0"), (_HUGE_PAGES, "4")):
            if switch.exists():
                before = switch.read_text()
                stack.callback(switch.write_text, before)
                switch.write_text(value)
        subprocess.run(["modprobe", "sctp"], check=False)
        kept_engine.load(_policy())
        stack.callback(kept_engine.load, PolicySet())
        yield


def _run(program: Path, attack: str) -> "subprocess.CompletedProcess[str]":
    name = "rename_and_read " if attack.startswith("'") else ""
    command = f"{program} {name}{attack}"
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=False, cwd="/", timeout=120)


def _told(locks: Locks) -> list[Event]:
    return [event for event in locks.events() if event.bpfprog == "policy" and event.denied]


def _rows() -> list[object]:
    return [
        pytest.param(row, id=f"{row.number} {row.text}", marks=pytest.mark.redteam(row.number, row.text))
        for row in ROWS
    ]


@pytest.mark.parametrize("row", _rows())
def test_stopped(row: Row, stage: None, all_locks: Locks, redteam: RedTeam) -> None:
    without = _run(FREE, row.attack)
    if without.returncode and "SCTP" in without.stdout:
        pytest.skip(f"the kernel has no SCTP: {without.stdout}")
    assert without.returncode == 0, without
    all_locks.events()
    within = _run(LACKS, row.attack)
    event = redteam.stopped(
        without=without.returncode,
        within=within.returncode,
        events=_told(all_locks),
        hook=row.hook,
        operation=row.operation,
    )
    assert "would allow it" in explain(parse_event(logfmt(event)), _policy())
    after = _run(HAS, row.attack)
    assert after.returncode == 0, f"{after}\n" + "\n".join(map(logfmt, _told(all_locks)))


@pytest.mark.redteam("E1", "a signal to a descriptor's owner by the 32-bit call")
def test_owner(stage: None, all_locks: Locks, redteam: RedTeam) -> None:
    ended = {}
    for program in (FREE, LACKS, HAS):
        victim = subprocess.Popen([FREE, "sleeper"], stdout=subprocess.DEVNULL)
        all_locks.events()
        ended[program] = _run(program, f"owner_32 {victim.pid}")
        events = _told(all_locks)
        if program == LACKS:
            redteam.stopped(
                without=ended[FREE].returncode,
                within=ended[LACKS].returncode,
                events=events,
                hook="file_ioctl",
                operation="sigio",
            )
            assert victim.poll() is None
            victim.kill()
            victim.wait(60)
        else:
            assert ended[program].returncode == 0, ended[program]
            assert victim.wait(60) == -signal.SIGIO


def test_allowed(stage: None, all_locks: Locks) -> None:
    """What gives no further rights needs none."""
    all_locks.events()
    for attack in (
        f"ask_appended {LOG}",
        f"watch_inotify {HERE}/same/file",
        f"rename_only '{TO}/file {FROM}/new 0'",  # loses a right
        f"rename_and_read '{HERE}/same/file {HERE}/equal/file 0'",
        f"rename_own '{HERE}/mine/one {HERE}/mine/two'",
        "sctp_addresses 'connect 127.0.0.1 7000'",
    ):
        ended = _run(LACKS, attack)
        assert ended.returncode == 0, f"{ended}\n" + "\n".join(map(logfmt, _told(all_locks)))
    (FROM / "new").rename(TO / "file")
