# SPDX-License-Identifier: Apache-2.0
"""Ways round a policy: each works for a program without a profile, and fails for one with a profile that allows nearly
everything else, with an event that says why. The numbers are those of the project's list of attacks."""

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bpflock.confine.engine import Engine
from bpflock.events.model import Event
from bpflock.events.render import logfmt
from bpflock.policy.bpfbox.load import parse
from bpflock.policy.bpfbox.names import CAPABILITIES
from bpflock.policy.model import PolicySet

from .conftest import ATTACK, Locks

HERE = Path("/tmp/policy-redteam")
FREE = HERE / "bin/free"
WIDE = HERE / "bin/wide"  # all capabilities but for mknod; no mounts, no Internet
NARROW = HERE / "bin/narrow"  # as WIDE, but for what opens files by number
FILE, LOG = HERE / "open/file", HERE / "open/log"
DENIED = HERE / "closed/file"
_LOADER = Path("/lib64/ld-linux-x86-64.so.2")
_FORKS = 2000
_PIDS = 1500  # fewer than there are forks: then every free number was that of a confined process
_AGAIN = 200
_CAP_DAC_OVERRIDE = 1
_RWF_NOAPPEND = 0x20


def _policy() -> PolicySet:
    common = f"""
fs("/dev/null", read|write)
fs("{HERE}/**", getattr)
fs("{HERE}/open{{,/**}}", read)
fs("{LOG}", append)
fs("{HERE}/mine{{,/**}}", read|write|create|rm|link|setattr)
fs("/{{dev/shm,tmp}}/attack*", read|write|create|rm|setattr)
fs("{HERE}/exec/**", read|exec)
fs("{HERE}/merged/read", read)
fs("{HERE}/merged/write", read|write)
fs("/{{usr/,}}lib{{,64}}/**", read|exec)
fs("/etc/ld.so.cache", read)
fs("/proc/**", read)
fs("/file", read)
proc(any, read)
ptrace(any, any)
signal(any, any)
net(unix, any)
operation(namespace|io_uring|userfaultfd|keyring|ipc|anon_exec)
"""
    wide, narrow = (
        "|".join(name for name in CAPABILITIES if name not in without)
        for without in (("mknod",), ("mknod", "dac_read_search"))
    )
    return PolicySet(
        parse(
            f'#![profile "{WIDE}"]\n{common}capability({wide})\n'
            f'#![profile "{NARROW}"]\n{common}capability({narrow})\n'
            f'#![profile "{HERE}/exec/lax"]\nfs("/**", any)\n'
        )
    )


@dataclass(frozen=True)
class Row:
    """`attack`: with its argument; `hooks` and `operations` tell the denial; `before`: a shell command that comes
    first, in the same process, unconfined."""

    attack: str
    hooks: str
    operations: str
    before: str = ""
    program: Path = WIDE


def _reach(way: str, hooks: str, operations: str, before: str = "", program: Path = WIDE) -> Row:
    return Row(f"reach '{HERE} {way}'", hooks, operations, before, program)


_ALONE = "exec unshare -m"
_MOUNTED = f"""exec unshare -m sh -c 'mount --bind {HERE}/closed {HERE}/closed && exec "$@"' sh"""
_NOBODY = "exec setpriv --reuid=65534 --regid=65534 --clear-groups"
_PRELOAD = HERE / "open/preload.so"
ROWS = {
    "R01 symbolic link": _reach("symlink", "file_open", "read"),
    "R01 symbolic link that is exchanged": _reach("swapped_symlink", "file_open", "read"),
    "R02 hard link": _reach("hard_link", "path_link", "link"),
    "R03 bind mount": _reach("bind", "sb_mount", "mount", _ALONE),
    "R03 overlay": _reach("overlay", "sb_mount", "mount", _ALONE),
    "R03 tmpfs": _reach("tmpfs", "sb_mount", "mount", _ALONE),
    "R03 moved mount": _reach("move", "sb_mount", "mount", _MOUNTED),
    "R03 detached tree": _reach("tree", "capable", "mount", _ALONE),
    "R04 chroot": _reach("chroot", "file_open", "read"),
    "R04 pivot_root": _reach("pivot_root", "sb_pivotroot", "mount", _MOUNTED),
    "R04 mount namespace": _reach("mount_namespace", "file_open", "read"),
    "R05 rename": _reach("rename", "path_rename", "rm"),
    "R05 rename above": _reach("rename_above", "path_rename", "rm"),
    "R05 exchange": _reach("exchange", "path_rename", "rm|create"),
    "R05 exchange, the other way": _reach("exchange_back", "path_rename", "rm|create"),
    "R05 exchange above": _reach("exchange_above", "path_rename", "rm|create"),
    "R05 rename over": _reach("rename_over", "path_rename", "rm|create"),
    "R08 /proc/self/root": _reach("proc_root", "file_open", "read"),
    "R08 /proc/self/cwd": _reach("proc_cwd", "file_open", "read"),
    "R08 /proc/PID/cwd": _reach("other_cwd", "file_open", "read"),
    "R08 O_PATH": _reach("path_descriptor", "file_open", "read"),
    "R08 O_PATH directory": _reach("directory_descriptor", "file_open", "read"),
    "R09 handle": _reach("handle", "file_open", "read"),
    "R09 handle without the capability": _reach("handle", "capable", "dac_read_search", program=NARROW),
    **{f"R11 {way}": _reach(way, "file_open", "write") for way in ("mmap", "splice", "sendfile", "copy")},
    "R11 mmap of what is appended to": _reach("log_mmap", "mmap_file", "write"),
    "R11 truncate what is appended to": _reach("log_truncate", "path_truncate", "write"),
    "R11 append no more": _reach("log_flags", "file_fcntl", "write"),
    "R11 hole in what is appended to": _reach("log_punch", "file_permission", "write"),
    "R11 hole by io_uring": _reach("log_ring", "file_permission", "write"),
    "R11 pwritev2": _reach("log_pwritev2", "file_permission", "write"),
    "R13 path that is exchanged": _reach("swapped_path", "file_open", "read"),
    "R14 open": _reach("ring_open", "file_open", "read"),
    "R14 open by a worker": _reach("ring_worker_open", "file_open", "read"),
    "R14 unlink": _reach("ring_unlink", "path_unlink", "rm"),
    "R14 rename": _reach("ring_rename", "path_rename", "rm"),
    "R14 socket": _reach("ring_socket", "socket_create", "create"),
    "R14 connect": _reach("ring_connect", "unix_stream_connect", "write"),
    "R15 script of a denied interpreter": Row(f"execute {HERE}/exec/of-denied", "bprm_check_security", "exec"),
    "R15 denied script": Row(f"execute {HERE}/closed/of-allowed", "bprm_check_security", "exec"),
    "R16 loader": Row(f"execute '{_LOADER} {HERE}/open/true'", "mmap_file", "exec"),
    "R16 --preload": Row(f"execute '{_LOADER} --preload {_PRELOAD} {HERE}/exec/false'", "mmap_file", "exec"),
    "R16 LD_PRELOAD": Row(f"execute {HERE}/exec/false", "mmap_file", "exec", f"LD_PRELOAD={_PRELOAD}"),
    "R16 LD_AUDIT": Row(f"execute {HERE}/exec/false", "mmap_file", "exec", f"LD_AUDIT={_PRELOAD}"),
    "R17 memfd": Row("memfd_exec", "bprm_check_security", "exec"),
    "R17 memfd by /proc/self/fd": Row("memfd_procfd", "bprm_check_security", "exec"),
    "R17 mapped memfd": Row("memfd_mmap", "mmap_file", "exec"),
    "R17 file without a name": Row(
        f"tmpfile_exec {HERE}/mine", "file_open bprm_check_security", "create write create|write exec"
    ),
    "R17 unlinked": Row("unlinked_exec", "bprm_check_security", "exec"),
    "R17 /dev/shm": Row("shm_exec", "bprm_check_security", "exec"),
    "R18 copied tool": _reach("copied_tool", "bprm_check_security", "exec"),
    "R18 renamed tool": _reach("tool_renamed", "path_rename", "create"),
    "R26 set-uid": Row(f"execute '{HERE}/exec/setuid read_file {DENIED}'", "file_open", "read", _NOBODY),
    "R26 file capability": Row(f"execute '{HERE}/exec/capable read_file {DENIED}'", "file_open", "read", _NOBODY),
    "R26 program without a profile": Row(f"execute '{HERE}/exec/tool read_file {DENIED}'", "file_open", "read"),
    "R26 laxer program": Row(f"execute '{HERE}/exec/lax read_file {DENIED}'", "file_open", "read"),
    "R27 core_pattern": Row("rewrite /proc/sys/kernel/core_pattern", "file_open", "write"),
    "R27 modprobe": Row("rewrite /proc/sys/kernel/modprobe", "file_open", "write"),
    "R27 binfmt_misc": Row(
        f"write_text '{HERE}/binfmt/register :redteam:M::redteam::/bin/true:'", "file_open", "write"
    ),
    "R27 release_agent": Row(f"write_text '{HERE}/cgroup/release_agent /bin/true'", "file_open", "write"),
    "R28 device node": _reach("device", "capable", "mknod"),
    "R28 /dev/mem": Row("read_file /dev/mem", "file_open", "read"),
    "R28 disk": Row("read_file $DISK", "file_open", "read"),
}


def _sh(command: str) -> str:
    return subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout.strip()


def _make_files() -> None:
    for name in ("bin", "open", "closed", "mine/dir", "exec", "binfmt", "cgroup"):
        (HERE / name).mkdir(parents=True)
    for program in (FREE, WIDE, NARROW, *(HERE / "exec" / name for name in ("tool", "lax", "setuid", "capable"))):
        shutil.copy(ATTACK, program)
    shutil.copy(ATTACK, HERE / "open/tool")
    shutil.copy(ATTACK, HERE / "closed/tool")
    shutil.copy("/bin/true", HERE / "open/true")
    shutil.copy("/bin/false", HERE / "exec/false")
    shutil.copy(f"{ATTACK}-login/preload.so", _PRELOAD)
    FILE.write_text("open")
    LOG.write_text("open, appended")
    DENIED.write_text("secret")
    DENIED.chmod(0o600)
    (HERE / "closed/target").touch()
    (HERE / "mine/file").touch()
    for script, tool in (("exec/of-denied", "closed/tool"), ("closed/of-allowed", "exec/tool")):
        (HERE / script).write_text(f"#!{HERE}/{tool} do_nothing\n")
        (HERE / script).chmod(0o755)
    (HERE / "exec/setuid").chmod(0o4755)
    # struct vfs_ns_cap_data, version 2, effective
    capabilities = struct.pack("<5I", 0x02000001, 1 << _CAP_DAC_OVERRIDE, 0, 0, 0)
    os.setxattr(HERE / "exec/capable", "security.capability", capabilities)


@pytest.fixture(scope="module")
def disk(all_locks: Locks) -> Iterator[str]:
    """A disk; all files are there and the policy is in force."""
    all_locks.unload_all()
    engine = Engine(all_locks.enforcer)
    shutil.rmtree(HERE, ignore_errors=True)
    with contextlib.ExitStack() as stack:
        HERE.mkdir()
        # Of its own: set-uid programs count.
        _sh(f"mount -t tmpfs -o suid,mode=755 none {HERE}")
        stack.callback(_sh, f"umount -l {HERE}")
        _make_files()
        _sh(f"modprobe binfmt_misc; mount -t binfmt_misc none {HERE}/binfmt")
        stack.callback(_sh, f"umount {HERE}/binfmt")
        _sh(f"mount -t cgroup -o none,name=redteam none {HERE}/cgroup")
        stack.callback(_sh, f"umount {HERE}/cgroup")
        _sh(f"modprobe loop; truncate -s 1M {HERE}/image")
        found = _sh(f"losetup --find --show {HERE}/image")
        stack.callback(_sh, f"losetup --detach {found}")
        for name in ("lower", "upper", "work", "merged", "upper2", "work2", "merged2"):
            (HERE / name).mkdir()
        for name in ("read", "write"):
            (HERE / "lower" / name).write_text(name)
        for number in ("", "2"):
            layers = f"lowerdir={HERE}/lower,upperdir={HERE}/upper{number},workdir={HERE}/work{number}"
            _sh(f"mount -t overlay -o {layers} none {HERE}/merged{number}")
            stack.callback(_sh, f"umount {HERE}/merged{number}")
        (HERE / "closed/older").write_text("secret")
        os.link(HERE / "closed/older", HERE / "open/older")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"{HERE}/closed/socket")
            server.listen(16)
            engine.load(_policy())
            stack.callback(engine.unload)
            yield found


def _run(program: Path, attack: str, before: str = "") -> "subprocess.CompletedProcess[str]":
    command = f"{before} {program} {attack}"
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=False, cwd="/", timeout=120)


def _denials(locks: Locks) -> list[Event]:
    return [event for event in locks.events() if event.bpfprog == "policy" and event.denied]


def _shown(ended: object, events: list[Event]) -> str:
    return f"{ended}\n" + "\n".join(map(logfmt, events))


def _knows_noappend() -> bool:
    with tempfile.TemporaryFile("ab") as file:
        try:
            return bool(os.pwritev(file.fileno(), [b"x"], 0, _RWF_NOAPPEND))
        except OSError:
            return False


@pytest.mark.parametrize("name", ROWS)
def test_denied(name: str, disk: str, all_locks: Locks) -> None:
    row = ROWS[name]
    if "pwritev2" in row.attack and not _knows_noappend():
        pytest.skip("since Linux 6.9")
    attack = row.attack.replace("$DISK", disk)
    free = _run(FREE, attack, row.before)
    if (made := HERE / "binfmt/redteam").exists():
        made.write_text("-1")
    assert free.returncode == 0, free
    all_locks.events()
    ended = _run(row.program, attack, row.before)
    events = _denials(all_locks)
    assert ended.returncode == 1, _shown(ended, events)
    wanted = {(f"lsm_{hook}", operation) for hook in row.hooks.split() for operation in row.operations.split()}
    assert wanted & {(event.event, event.operation) for event in events}, _shown(ended, events)
    assert DENIED.read_text() == "secret"


def test_allowed(disk: str, all_locks: Locks) -> None:
    """The profile is not one that denies everything."""
    all_locks.events()
    for attack in (
        f"read_file {FILE}",
        f"write_text '{HERE}/mine/file x'",
        f"execute '{HERE}/exec/tool read_file {FILE}'",
        f"execute '{_LOADER} {HERE}/exec/tool do_nothing'",
        f"reach '{HERE} log_append'",
        f"reach '{HERE} log_extend'",
        "do_nothing",
        "ring",
    ):
        ended = _run(WIDE, attack)
        assert ended.returncode == 0, _shown(ended, _denials(all_locks))


def test_older_hard_link(disk: str) -> None:
    """R02: a second name from before the policy. Each name has its own rights, whichever was used last."""
    for _ in range(3):
        assert _run(WIDE, f"read_file {HERE}/open/older").returncode == 0
        assert _run(WIDE, f"read_file {HERE}/closed/older").returncode == 1


def test_overlay(disk: str, all_locks: Locks) -> None:
    """R06: rights are those of the name that is used; the same file in a layer, or in another merge, has others."""
    all_locks.events()
    for round_ in ("lower", "copied up"):
        for name, read, write in (
            ("merged/read", 0, 1),
            ("lower/read", 1, 1),
            ("merged2/read", 1, 1),
            ("merged/write", 0, 0),
            ("lower/write", 1, 1),
            ("merged2/write", 1, 1),
            ("merged/read", 0, 1),
        ):
            for attack, status in ((f"read_file {HERE}/{name}", read), (f"write_text '{HERE}/{name} new'", write)):
                ended = _run(WIDE, attack)
                events = _denials(all_locks)
                assert ended.returncode == status, (round_, _shown(ended, events))
                assert [event.filename for event in events] == [os.fsencode(HERE / name)] * status, (round_, events)
        # Somebody else changes it by the other merge, and in the layer.
        for name in ("merged/read", "merged2/read", "upper/write"):
            assert _run(FREE, f"write_text '{HERE}/{name} new'").returncode == 0
    for name in ("upper/read", "upper/write", "upper2/read"):
        assert _run(WIDE, f"read_file {HERE}/{name}").returncode == 1
        assert _run(WIDE, f"write_text '{HERE}/{name} new'").returncode == 1


def test_sent_descriptor(disk: str, all_locks: Locks) -> None:
    """R10: by SCM_RIGHTS."""
    all_locks.events()
    for program, path, status in ((FREE, DENIED, 0), (WIDE, FILE, 0), (WIDE, DENIED, 1)):
        ours, theirs = socket.socketpair()
        with ours, theirs, path.open() as file:
            socket.send_fds(ours, [b"x"], [file.fileno()])
            ended = subprocess.run(
                [program, "receive"], stdin=theirs.fileno(), capture_output=True, text=True, check=False
            )
        events = _denials(all_locks)
        assert ended.returncode == status, _shown(ended, events)
        assert [(event.event, event.operation) for event in events] == [("lsm_file_receive", "read")] * status, events


def test_thousands_of_processes(disk: str) -> None:
    """R25: more than there are process numbers; none slips out, and who gets a number later is not confined."""
    limit = Path("/proc/sys/kernel/pid_max")
    before = limit.read_text()
    limit.write_text(str(_PIDS))
    try:
        ended = _run(WIDE, f"loop {_FORKS} read_in_child {DENIED}")
        assert ended.stdout == f"attempts={_FORKS} denied={_FORKS} ok=0\n", ended
        ended = _run(FREE, f"loop {_AGAIN} read_in_child {DENIED}")
        assert ended.stdout == f"attempts={_AGAIN} denied=0 ok={_AGAIN}\n", ended
    finally:
        limit.write_text(before)
