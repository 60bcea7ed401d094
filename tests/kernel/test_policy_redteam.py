# SPDX-License-Identifier: Apache-2.0
"""Ways round a policy: each works for a program without a profile, and fails for one with a profile that allows nearly
everything else, with an event that says why. The numbers are those of tests/redteam_table.py."""

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
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
from .redteam import DENIED as DENIED_STATUS
from .redteam import RedTeam

HERE = Path("/tmp/policy-redteam")
FREE = HERE / "bin/free"
WIDE = HERE / "bin/wide"  # all capabilities but for mknod; no mounts, no Internet
NARROW = HERE / "bin/narrow"  # as WIDE, but for what opens files by number, and executes memory
BARE = HERE / "bin/bare"  # the same files as WIDE; its own processes, some sockets, no operations
FILE, LOG, ATTRIBUTES = HERE / "open/file", HERE / "open/log", HERE / "open/attributes"
DENIED = HERE / "closed/file"
_LOADER = Path("/lib64/ld-linux-x86-64.so.2")
_LONG = "n" * 250
_FORKS = 2000
_PIDS = 1500  # fewer than there are forks: then every free number was that of a confined process
_AGAIN = 200
_CAP_DAC_OVERRIDE = 1
_RWF_NOAPPEND = 0x20


def _policy() -> PolicySet:
    files = f"""
fs("/dev/null", read|write)
fs("{HERE}/**", getattr)
fs("{HERE}/open{{,/**}}", read)
fs("{LOG}", append)
fs("{HERE}/mine{{,/**}}", read|write|create|rm|link|setattr)
fs("/{{dev/shm,tmp}}/attack*", read|write|create|rm|setattr)
fs("{HERE}/exec/**", read|exec)
fs("{HERE}/merged/{{read,row}}", read)
fs("{HERE}/merged/write", read|write)
fs("/{{usr/,}}lib{{,64}}/**", read|exec)
fs("/etc/ld.so.cache", read)
fs("/proc/**", read)
fs("/file", read)
proc(any, read)
"""
    common = f"""{files}
ptrace(any, any)
signal(any, any)
net(unix, any)
operation(namespace|io_uring|userfaultfd|keyring|ipc)
"""
    bare = f"""{files}
fs("{HERE}/far/**", read)
ptrace(self|child, any)
signal(self|child|parent, any)
net(unix, create|bind|send|recv|listen|accept|shutdown)
net(inet|inet6, stream, create|send, protocol=tcp)
net(inet|inet6, dgram, create|connect)
net(inet, send, to="10.0.0.0/8")
net(inet6, dgram, any)
"""
    wide, narrow = (
        "|".join(name for name in CAPABILITIES if name not in without)
        for without in (("mknod",), ("mknod", "dac_read_search"))
    )
    return PolicySet(
        parse(
            f'#![profile "{WIDE}"]\n{common}capability({wide})\noperation(anon_exec)\n'
            f'#![profile "{NARROW}"]\n{common}capability({narrow})\n'
            f'#![profile "{BARE}"]\n{bare}capability({wide})\n'
            f'#![profile "{HERE}/exec/lax"]\nfs("/**", any)\n'
        )
    )


@dataclass(frozen=True)
class Row:
    """`attack`: with its argument; `hooks` and `operations` tell the denial; `before`: a shell command that comes
    first, in the same process, unconfined. Of what comes in braces: see Stage."""

    attack: str
    hooks: str
    operations: str
    before: str = ""
    program: Path = WIDE


def _reach(way: str, hooks: str, operations: str, before: str = "", program: Path = WIDE) -> Row:
    return Row(f"reach '{HERE} {way}'", hooks, operations, before, program)


def _access(access: str, hooks: str, operation: str) -> Row:
    """By a plain system call."""
    return Row(f"by 'call {access}'", hooks, operation)


def _bare(attack: str, hooks: str, operations: str) -> Row:
    name, _, argument = attack.partition(" ")
    return Row(f"{name} '{argument}'", hooks, operations, program=BARE)


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
    "R05 rename above": _reach("rename_above", "path_rename", "rm|link"),
    "R05 exchange": _reach("exchange", "path_rename", "rm|create"),
    "R05 exchange, the other way": _reach("exchange_back", "path_rename", "rm|create"),
    "R05 exchange above": _reach("exchange_above", "path_rename", "rm|link|create"),
    "R05 rename over": _reach("rename_over", "path_rename", "rm|create"),
    "R06 file of the lower layer": Row(f"read_file {HERE}/lower/row", "file_open", "read"),
    "R06 file of the upper layer": Row(f"read_file {HERE}/upper/above", "file_open", "read"),
    "R06 file by another merge": Row(f"read_file {HERE}/merged2/row", "file_open", "read"),
    "R06 write that copies up": Row(f"write_text '{HERE}/merged/row new'", "file_open", "write"),
    "R07 deeper than the walk": Row(f"read_far '{HERE}/closed d 300'", "file_open", "read"),
    "R07 longer than a path": _bare(f"read_far {HERE}/far {_LONG} 20", "file_open", "read"),
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
    "R12 truncate": _access(f"truncate {ATTRIBUTES}", "path_truncate", "write"),
    "R12 chmod": _access(f"chmod {ATTRIBUTES}", "path_chmod", "setattr"),
    "R12 chmod of a descriptor": _access(f"fchmod {ATTRIBUTES}", "path_chmod", "setattr"),
    "R12 chown": _access(f"chown {ATTRIBUTES}", "path_chown", "setattr"),
    "R12 chown of a descriptor": _access(f"fchown {ATTRIBUTES}", "path_chown", "setattr"),
    "R12 times": Row(f"set_times {ATTRIBUTES}", "inode_setattr", "setattr"),
    "R12 attribute": Row(f"set_attribute {ATTRIBUTES}", "inode_setxattr", "setattr"),
    "R12 attribute that goes": _access(f"removexattr {ATTRIBUTES}", "inode_removexattr", "setattr"),
    "R12 access control list": Row(f"set_acl {ATTRIBUTES}", "inode_setxattr inode_set_acl", "setattr"),
    "R12 ioctl": _access(f"ioctl {ATTRIBUTES}", "file_ioctl", "ioctl"),
    "R13 path that is exchanged": _reach("swapped_path", "file_open", "read"),
    "R14 open": _reach("ring_open", "file_open", "read"),
    "R14 open by a worker": _reach("ring_worker_open", "file_open", "read"),
    "R14 unlink": _reach("ring_unlink", "path_unlink", "rm"),
    "R14 rename": _reach("ring_rename", "path_rename", "rm"),
    "R14 socket": _reach("ring_socket", "socket_create", "create"),
    "R14 connect": _reach("ring_connect", "unix_stream_connect", "write"),
    "R14 a ring at all": _bare("ring", "inode_init_security_anon", "io_uring"),
    "R15 script of a denied interpreter": Row(f"execute {HERE}/exec/of-denied", "bprm_check_security", "exec"),
    "R15 denied script": Row(f"execute {HERE}/closed/of-allowed", "bprm_check_security", "exec"),
    "R16 loader": Row(f"execute '{_LOADER} {HERE}/open/true'", "mmap_file", "exec"),
    "R16 --preload": Row(f"execute '{_LOADER} --preload {_PRELOAD} {HERE}/exec/false'", "mmap_file", "exec"),
    "R16 LD_PRELOAD": Row(f"execute {HERE}/exec/false", "mmap_file", "exec", f"LD_PRELOAD={_PRELOAD}"),
    "R16 LD_AUDIT": Row(f"execute {HERE}/exec/false", "mmap_file", "exec", f"LD_AUDIT={_PRELOAD}"),
    "R17 memfd": Row("memfd_exec", "bprm_check_security", "exec"),
    "R17 memfd by /proc/self/fd": Row("memfd_procfd", "bprm_check_security", "exec"),
    "R17 mapped memfd": Row("memfd_mmap", "mmap_file", "anon_exec", program=NARROW),
    "R17 file without a name": Row(
        f"tmpfile_exec {HERE}/mine", "file_open bprm_check_security", "create write create|write exec"
    ),
    "R17 unlinked": Row("unlinked_exec", "bprm_check_security", "exec"),
    "R17 /dev/shm": Row("shm_exec", "bprm_check_security", "exec"),
    "R18 copied tool": _reach("copied_tool", "bprm_check_security", "exec"),
    "R18 renamed tool": _reach("tool_renamed", "path_rename", "create"),
    **{
        f"R19 {attack}": _bare(attack, hooks, "anon_exec")
        for attack, hooks in (
            ("anon_map", "mmap_file"),
            ("anon_shared", "mmap_file"),
            ("anon_mprotect", "file_mprotect"),
            ("anon_personality", "mmap_file mmap_addr"),
            ("heap_exec", "file_mprotect"),
            ("stack_exec", "file_mprotect"),
            ("heap_implied", "mmap_addr"),
        )
    },
    **{
        f"R20 {what}": _bare(attack, "ptrace_access_check", access)
        for what, attack, access in (
            ("attach", "attach {pid}", "attach"),
            ("seize", "seize {pid}", "attach"),
            ("read memory", "vm_read {pid}", "attach"),
            ("write memory", "vm_write {pid}", "attach"),
            ("take a descriptor", "get_fd {pid}", "attach"),
            ("/proc/PID/mem", "open_proc {pid} mem", "attach"),
            ("kcmp", "compare {pid}", "read"),
        )
    },
    "R20 /proc/PID/environ": _bare("open_proc {pid} environ", "ptrace_access_check", "read"),
    "R20 to be traced": _bare("trace_me", "ptrace_traceme", "traced"),
    **{
        f"R21 {attack}": _bare(f"{attack} {{pid}} 18", "task_kill", "sigcont")
        for attack in ("by_kill", "by_tgkill", "by_queue", "by_pidfd")
    },
    **{
        f"R21 owner by {way}": _bare(f"by_owner {{pid}} 18 {way}", hook, signal)
        for way, hook, signal in (
            ("fcntl", "file_fcntl", "sigio"),
            ("signal-first", "file_fcntl", "sigcont"),
            ("ex", "file_fcntl", "sigio"),
            ("ioctl", "file_ioctl", "sigio"),
        )
    },
    "R22 socket": Row(f"connect_stream {HERE}/closed/socket", "unix_stream_connect", "write"),
    "R22 datagram": Row(f"send_to {HERE}/closed/datagram", "unix_may_send", "write"),
    "R22 abstract socket": _bare("connect_stream @bpflock-redteam", "socket_connect", "connect"),
    "R22 shared memory": _bare("use_segment {shm}", "ipc_permission", "ipc"),
    "R22 new shared memory": _bare("new_segment", "shm_alloc_security", "ipc"),
    "R22 message queue": _bare("new_queue", "msg_queue_alloc_security", "ipc"),
    "R22 semaphore": _bare("new_semaphore", "sem_alloc_security", "ipc"),
    "R22 POSIX message queue": _bare("named_queue", "inode_create", "ipc"),
    "R22 new key": _bare("keep_key", "key_alloc key_permission", "keyring"),
    "R22 key of the user": _bare("find_key", "key_alloc key_permission", "keyring"),
    **{
        f"R23 {what}": _bare(f"make_socket {numbers}", "socket_create", "create")
        for what, numbers in (
            ("raw", "2 3 1"),
            ("packet", "17 3 768"),
            ("netlink", "16 3 0"),
            ("vsock", "40 1 0"),
            ("AF_ALG", "38 5 0"),
            ("MPTCP", "2 1 262"),
        )
    },
    "R23 sendto without connect": _bare("send_to 127.0.0.1 {udp}", "socket_sendmsg", "send"),
    "R23 sendto an address of no family": _bare("send_to 127.0.0.1 {udp} 0", "socket_sendmsg", "send"),
    "R23 IPv4 by an IPv6 socket": _bare("send_mapped 127.0.0.1 {udp}", "socket_sendmsg", "send"),
    "R23 TCP fast open": _bare("fast_open 127.0.0.1 {tcp}", "socket_sendmsg", "connect"),
    "R24 unshare": _bare("unshare_net", "capable", "namespace"),
    "R24 unshare, 32 bits": _bare("unshare_32", "capable", "namespace"),
    "R24 user namespace": _bare("unshare_user", "userns_create", "namespace"),
    "R24 clone": _bare("clone_pid", "task_alloc", "namespace"),
    "R24 clone3": _bare("clone3_uts", "task_alloc", "namespace"),
    "R24 setns": _bare("by call setns", "capable", "namespace"),
    "R24 setns, 32 bits": _bare("by int80 setns", "capable", "namespace"),
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
    "R28 /dev/port": Row("read_file /dev/port", "file_open", "read"),
    "R28 disk": Row("read_file {disk}", "file_open", "read"),
}


def _sh(command: str) -> str:
    return subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout.strip()


def _make_files() -> None:
    for name in ("bin", "open", "closed", "mine/dir", "exec", "binfmt", "cgroup", "far"):
        (HERE / name).mkdir(parents=True)
    for program in (FREE, WIDE, NARROW, BARE, *(HERE / "exec" / name for name in ("tool", "lax", "setuid", "capable"))):
        shutil.copy(ATTACK, program)
    shutil.copy(ATTACK, HERE / "open/tool")
    shutil.copy(ATTACK, HERE / "closed/tool")
    shutil.copy("/bin/true", HERE / "open/true")
    shutil.copy("/bin/false", HERE / "exec/false")
    shutil.copy(f"{ATTACK}-login/preload.so", _PRELOAD)
    FILE.write_text("open")
    LOG.write_text("open, appended")
    ATTRIBUTES.write_text("open, with attributes")
    os.setxattr(ATTRIBUTES, "trusted.ways", b"x")
    DENIED.write_text("secret")
    DENIED.chmod(0o600)
    (HERE / "closed/target").touch()
    (HERE / "mine/file").touch()
    for top, name, count in (("closed", "d", 300), ("far", _LONG, 20)):
        os.chdir(HERE / top)
        for _ in range(count):
            Path(name).mkdir()
            os.chdir(name)
        Path("leaf").write_text("leaf")
    os.chdir("/")
    for script, tool in (("exec/of-denied", "closed/tool"), ("closed/of-allowed", "exec/tool")):
        (HERE / script).write_text(f"#!{HERE}/{tool} do_nothing\n")
        (HERE / script).chmod(0o755)
    (HERE / "exec/setuid").chmod(0o4755)
    # struct vfs_ns_cap_data, version 2, effective
    capabilities = struct.pack("<5I", 0x02000001, 1 << _CAP_DAC_OVERRIDE, 0, 0, 0)
    os.setxattr(HERE / "exec/capable", "security.capability", capabilities)


@dataclass(frozen=True)
class Stage:
    """What attacks are aimed at: a process without a profile, servers, shared memory, a disk."""

    values: Mapping[str, object]

    def filled(self, text: str) -> str:
        for name, value in self.values.items():
            text = text.replace("{" + name + "}", str(value))
        return text


@contextlib.contextmanager
def _sleeping(program: Path) -> Iterator[int]:
    """A process that waits to be attacked: its number."""
    with subprocess.Popen([program, "sleeper"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process.pid
        finally:
            process.kill()


@contextlib.contextmanager
def _servers() -> Iterator[dict[str, object]]:
    """Those that nobody answers for: the ports."""
    with contextlib.ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        for address in (f"{HERE}/closed/socket", "\0bpflock-redteam"):
            stream = stack.enter_context(socket.socket(socket.AF_UNIX))
            stream.bind(address)
            stream.listen(16)
        datagram = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        datagram.bind(f"{HERE}/closed/datagram")
        yield {"tcp": tcp.getsockname()[1], "udp": udp.getsockname()[1]}


@pytest.fixture(scope="module")
def stage(kept_engine: Engine) -> Iterator[Stage]:
    """All of it is there and the policy is in force."""
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
        for name in ("read", "write", "row"):
            (HERE / "lower" / name).write_text(name)
        (HERE / "upper/above").write_text("above")
        for number in ("", "2"):
            layers = f"lowerdir={HERE}/lower,upperdir={HERE}/upper{number},workdir={HERE}/work{number}"
            _sh(f"mount -t overlay -o {layers} none {HERE}/merged{number}")
            stack.callback(_sh, f"umount {HERE}/merged{number}")
        (HERE / "closed/older").write_text("secret")
        os.link(HERE / "closed/older", HERE / "open/older")
        segment = _sh("ipcmk -M 4096").split()[-1]
        stack.callback(_sh, f"ipcrm -m {segment}")
        values = stack.enter_context(_servers())
        values |= {"disk": found, "shm": segment, "pid": stack.enter_context(_sleeping(FREE))}
        kept_engine.load(_policy())
        stack.callback(kept_engine.load, PolicySet())
        yield Stage(values)


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


def _row(name: str) -> object:
    """A name begins with the identifier of its attack."""
    identifier, _, attack = name.partition(" ")
    return pytest.param(name, marks=pytest.mark.redteam(identifier, attack))


@pytest.mark.parametrize("name", [_row(name) for name in ROWS])
def test_denied(name: str, stage: Stage, all_locks: Locks, redteam: RedTeam) -> None:
    row = ROWS[name]
    if "pwritev2" in row.attack and not _knows_noappend():
        pytest.skip("RWF_NOAPPEND: since Linux 6.9")
    attack = stage.filled(row.attack)
    free = _run(FREE, attack, row.before)
    if (made := HERE / "binfmt/redteam").exists():
        made.write_text("-1")
    all_locks.events()
    ended = _run(row.program, attack, row.before)
    _stopped(redteam, free, ended, _denials(all_locks), row.hooks.split(), row.operations.split())
    assert DENIED.read_text() == "secret"


def _stopped(
    redteam: RedTeam,
    free: "subprocess.CompletedProcess[str]",
    ended: "subprocess.CompletedProcess[str]",
    events: list[Event],
    hooks: list[str],
    operations: list[str],
) -> None:
    """By whichever of the hooks the kernel has."""
    wanted = [(hook, operation) for hook in hooks for operation in operations]
    told = {(event.event.removeprefix("lsm_"), event.operation) for event in events}
    hook, operation = next((each for each in wanted if each in told), wanted[0])
    assert free.returncode == 0, free
    redteam.stopped(without=free.returncode, within=ended.returncode, events=events, hook=hook, operation=operation)


def test_allowed(stage: Stage, all_locks: Locks) -> None:
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
        stage.filled("by_pidfd '{pid} 18'"),
    ):
        ended = _run(WIDE, attack)
        assert ended.returncode == 0, _shown(ended, _denials(all_locks))


@pytest.mark.redteam("R02", "hard link that is older than the policy")
def test_older_hard_link(stage: Stage, all_locks: Locks, redteam: RedTeam) -> None:
    """A second name from before the policy. Each name has its own rights, whichever was used last."""
    attack = f"read_file {HERE}/closed/older"
    free = _run(FREE, attack)
    for _ in range(3):
        assert _run(WIDE, f"read_file {HERE}/open/older").returncode == 0
        all_locks.events()
        _stopped(redteam, free, _run(WIDE, attack), _denials(all_locks), ["file_open"], ["read"])


def test_overlay(stage: Stage, all_locks: Locks) -> None:
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


@pytest.mark.redteam("R10", "descriptor that is received")
def test_sent_descriptor(stage: Stage, all_locks: Locks, redteam: RedTeam) -> None:
    """By SCM_RIGHTS."""

    def receives(program: Path, path: Path) -> "subprocess.CompletedProcess[str]":
        ours, theirs = socket.socketpair()
        with ours, theirs, path.open() as file:
            socket.send_fds(ours, [b"x"], [file.fileno()])
            return subprocess.run(
                [program, "receive"], stdin=theirs.fileno(), capture_output=True, text=True, check=False
            )

    assert receives(WIDE, FILE).returncode == 0
    free = receives(FREE, DENIED)
    all_locks.events()
    ended = receives(WIDE, DENIED)
    events = _denials(all_locks)
    assert len(events) == 1, _shown(ended, events)
    _stopped(redteam, free, ended, events, ["file_receive"], ["read"])


@pytest.mark.redteam("R10", "descriptor that is inherited over exec")
def test_inherited_descriptor(stage: Stage, all_locks: Locks, redteam: RedTeam) -> None:
    def begins(program: Path, path: Path) -> int:
        with path.open() as file:
            try:
                command: list[str | Path] = [program, "do_nothing"]
                return subprocess.run(command, check=False, pass_fds=[file.fileno()], capture_output=True).returncode
            except PermissionError:
                return DENIED_STATUS

    assert begins(WIDE, FILE) == 0
    free = begins(FREE, DENIED)
    all_locks.events()
    within = begins(WIDE, DENIED)
    events = _denials(all_locks)
    redteam.stopped(without=free, within=within, events=events, hook="bprm_creds_from_file", operation="read")


@pytest.mark.redteam("R20", "trace a confined process")
@pytest.mark.parametrize("attack", ["seize", "vm_write"])
def test_traced(attack: str, stage: Stage, all_locks: Locks, redteam: RedTeam) -> None:
    """The other direction: the tracer is not confined, its victim is."""
    free = _run(FREE, stage.filled(f"{attack} {{pid}}"))
    with _sleeping(BARE) as pid:
        all_locks.events()
        ended = _run(FREE, f"{attack} {pid}")
        _stopped(redteam, free, ended, _denials(all_locks), ["ptrace_access_check"], ["traced"])


@pytest.mark.redteam("R25", "more processes than there are numbers")
def test_thousands_of_processes(stage: Stage, all_locks: Locks, redteam: RedTeam) -> None:
    """None slips out, and who gets a number later is not confined."""
    limit = Path("/proc/sys/kernel/pid_max")
    before = limit.read_text()
    limit.write_text(str(_PIDS))
    try:
        all_locks.events()
        ended = _run(WIDE, f"loop {_FORKS} read_in_child {DENIED}")
        events = _denials(all_locks)
        free = _run(FREE, f"loop {_AGAIN} read_in_child {DENIED}")
    finally:
        limit.write_text(before)
    assert free.stdout == f"attempts={_AGAIN} denied=0 ok={_AGAIN}\n", free
    within = DENIED_STATUS if ended.stdout == f"attempts={_FORKS} denied={_FORKS} ok=0\n" else 0
    redteam.stopped(without=0, within=within, events=events, hook="file_open", operation="read")
