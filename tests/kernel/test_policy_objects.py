# SPDX-License-Identifier: Apache-2.0
"""Sockets, processes, capabilities and operations under a policy: each attack works without it, fails under a profile
that lacks one rule, with an event that names what was denied, and works under the same profile with the rule."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
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

HERE = Path("/tmp/policy-objects")
QUEUES = HERE / "queues"
FREE = HERE / "attack"  # has no profile: the attack without a policy, and the other process in many attacks
BOX = HERE / "busybox"
DIRECTORY = HERE / "directory"
FILE = HERE / "file"
SOCKET = HERE / "socket"
_COMMON = """
fs("/dev/null", read|write)
capability(sys_resource)
"""
_FILES = 'fs("/{proc,sys,tmp,etc,usr,dev,run}{,/**}", read)'
_ADMIN = "capability(sys_admin|sys_ptrace|bpf|perfmon|ipc_lock|setuid|setgid|sys_chroot)" + _FILES
_TRACE = "capability(sys_ptrace)" + _FILES


@dataclass(frozen=True)
class Row:
    """`attack`: with its argument; `events` and `operation` tell the denial; `needs`: rules besides the one that is
    lacking; `before`: a shell command that comes first, in the same process, unconfined."""

    attack: str
    rule: str
    events: str
    operation: str
    needs: str = ""
    before: str = ""
    optional: bool = False  # not every kernel has it


_PAIR = ("create", "send", "recv", "shutdown")
_SERVE = ("create", "bind", "listen", "connect", "accept")


def _without(all_of_it: tuple[str, ...], one: str) -> str:
    return f"net(unix, {'|'.join(word for word in all_of_it if word != one)})"


_HOOKS = {"send": "socket_sendmsg", "recv": "socket_recvmsg"}
ROWS: dict[str, Row] = {
    # R23: what kind of socket
    "a TCP socket": Row(
        "make_socket 2 1 0", "net(inet, stream, create)", "socket_create", "create", "net(inet, dgram, any)"
    ),
    "a raw socket": Row(
        "make_socket 2 3 1",
        "net(inet, raw, create)",
        "socket_create",
        "create",
        "capability(net_raw) net(inet, stream|dgram, any)",
    ),
    "a packet socket": Row(
        "make_socket 17 3 768", "net(packet, create)", "socket_create", "create", "capability(net_raw)"
    ),
    "a netlink socket": Row("make_socket 16 3 0", "net(netlink, create)", "socket_create", "create"),
    "MPTCP": Row(
        "make_socket 2 1 262",
        "net(inet, stream, create, protocol=mptcp)",
        "socket_create",
        "create",
        "net(inet, stream, any, protocol=tcp)",
    ),
    "AF_ALG": Row("make_socket 38 5 0", "net(alg, create)", "socket_create", "create", optional=True),
    "vsock": Row("make_socket 40 1 0", "net(vsock, create)", "socket_create", "create", optional=True),
    **{
        f"pair: {one}": Row(
            "pair", f"net(unix, stream, {one})", _HOOKS.get(one, f"socket_{one}"), one, _without(_PAIR, one)
        )
        for one in _PAIR
    },
    **{
        f"server: {one}": Row("accept_one", f"net(unix, stream, {one})", f"socket_{one}", one, _without(_SERVE, one))
        for one in _SERVE
    },
    # R22, R23: addresses
    "connect": Row(
        "connect_stream 127.0.0.1 {tcp}",
        'net(inet, stream, connect, to="127.0.0.1:{tcp}")',
        "socket_connect",
        "connect",
        'net(inet, create|send) net(inet, connect, to="127.0.0.2") net(inet, connect, to="127.0.0.0/8:1")'
        "net(inet6, any)",
    ),
    "connect by IPv6": Row(
        "connect_stream ::1 {tcp}",
        'net(inet6, connect, to="[::1]:{tcp}")',
        "socket_connect",
        "connect",
        'net(inet, any) net(inet6, create) net(inet6, connect, to="[fe80::]/10")',
    ),
    "sendto": Row(
        "send_to 127.0.0.1 {udp}",
        'net(inet, dgram, send, to="127.0.0.0/8:{udp}")',
        "socket_sendmsg",
        "send",
        'net(inet, create|connect) net(inet, send, to="10.0.0.0/8")',
    ),
    "sendto an address of no family": Row(
        "send_to 127.0.0.1 {udp} 0",
        'net(inet, dgram, send, to="127.0.0.0/8:{udp}")',
        "socket_sendmsg",
        "send",
        'net(inet, create|connect) net(inet, send, to="10.0.0.0/8")',
    ),
    "IPv4 by an IPv6 socket": Row(
        "send_mapped 127.0.0.1 {udp}",
        'net(inet, dgram, send, to="127.0.0.1:{udp}")',
        "socket_sendmsg",
        "send",
        "net(inet6, any)",
    ),
    "TCP fast open": Row(
        "fast_open 127.0.0.1 {tcp}",
        'net(inet, connect, to="127.0.0.1:{tcp}")',
        "socket_sendmsg",
        "connect",
        "net(inet, create|send)",
    ),
    "bind": Row(
        "bind_to 127.0.0.1 4000",
        'net(inet, bind, at="127.0.0.1:4000")',
        "socket_bind",
        "bind",
        'net(inet, create|connect|listen) net(inet, bind, at="127.0.0.1:4001-65535")',
    ),
    "an abstract socket": Row(
        "connect_stream @bpflock-stream",
        "net(unix, stream, connect)",
        "socket_connect",
        "connect",
        "net(unix, create|send)",
    ),
    "a datagram to an abstract socket": Row(
        "send_to @bpflock-datagram", "net(unix, dgram, send)", "socket_sendmsg", "send", "net(unix, create|connect)"
    ),
    # R21
    **{
        f"a signal by {attack}": Row(
            f"{attack} {{pid}} 18",
            f'signal("{FREE}", sigcont)',
            "task_kill",
            "sigcont",
            "signal(self|child|parent, any)",
        )
        for attack in ("by_kill", "by_tgkill", "by_queue", "by_pidfd")
    },
    "another signal": Row(
        "by_kill {pid} 18", f'signal("{FREE}", sigcont)', "task_kill", "sigcont", "signal(any, sigterm|check)"
    ),
    "the check of a signal": Row("by_kill {pid} 0", "signal(any, check)", "task_kill", "check", "signal(any, fatal)"),
    "a signal to itself": Row(
        "to_relative self", "signal(self, sigcont)", "task_kill", "sigcont", "signal(parent|child, any)"
    ),
    "a signal to the parent": Row(
        "to_relative parent", "signal(parent, sigcont)", "task_kill", "sigcont", f'signal("{FREE}", any)'
    ),
    "a signal to a child": Row(
        "to_relative child", "signal(child, sigcont|sigkill)", "task_kill", "sigcont", f'signal("{FREE}", any)'
    ),
    **{
        f"a descriptor's owner by {way}": Row(
            f"by_owner {{pid}} 18 {way}",
            "signal(any, sigio|sigcont)",
            "file_ioctl" if way == "ioctl" else "file_fcntl",
            "sigcont" if way == "signal-first" else "sigio",
            f'net(unix, any) signal(self|parent|child|"{FREE}", any)',
        )
        for way in ("fcntl", "signal-first", "ex", "ioctl")
    },
    # R20
    **{
        f"tracing by {attack}": Row(
            f"{attack} {{pid}}",
            f'ptrace("{FREE}", {access})',
            "ptrace_access_check",
            access,
            f"{_TRACE} ptrace({other})",
        )
        for attack, access, other in (
            ("attach", "attach", f'"{FREE}", read'),
            ("vm_read", "attach", f'"{FREE}", read'),
            ("vm_write", "attach", "self|child|parent, any"),
            ("get_fd", "attach", "any, read"),
            ("compare", "read", "any, attach"),
        )
    },
    "the environment of a process": Row(
        "open_proc {pid} environ", f'ptrace("{FREE}", read)', "ptrace_access_check", "read", _TRACE + "proc(any, any)"
    ),
    "the memory of a process": Row(
        "open_proc {pid} mem", f'ptrace("{FREE}", attach)', "ptrace_access_check", "attach", _TRACE + "proc(any, any)"
    ),
    "being traced": Row("trace_me", "ptrace(any, traced)", "ptrace_traceme", "traced", "ptrace(any, read|attach)"),
    # procfs
    "a file of a process": Row(
        "open_proc {pid} status",
        f'proc("{FREE}", read)',
        "file_open",
        "read",
        'proc(self|child, read) fs("/proc/version", read)',
    ),
    "a file of its own": Row("open_proc self status", "proc(self, read)", "file_open", "read", f'proc("{FREE}", read)'),
    # R12: what is told no path
    **{
        attack: Row(
            f"{attack} {FILE}",
            f'fs("{FILE}", {right})',
            hooks,
            right,
            "capability(sys_admin)" + (other and f'fs("{HERE}/**", {other})'),
        )
        for attack, right, hooks, other in (
            ("set_times", "setattr", "inode_setattr", "read|write"),
            ("set_attribute", "setattr", "inode_setxattr", "read|write"),
            ("set_acl", "setattr", "inode_setxattr|inode_set_acl", "read|write"),
            ("get_attribute", "getattr", "inode_getxattr", ""),
            ("list_attributes", "getattr", "inode_listxattr", ""),
        )
    },
    "a socket's file": Row(
        f"connect_stream {SOCKET}", f'fs("{SOCKET}", write)', "unix_stream_connect", "write", "net(unix, any)"
    ),
    "a datagram to a socket's file": Row(
        f"send_to {SOCKET}-datagram", f'fs("{SOCKET}-datagram", write)', "unix_may_send", "write", "net(unix, any)"
    ),
    # capabilities and operations; R19, R24
    "chroot": Row("change_root", "capability(sys_chroot)", "capable", "sys_chroot", "capability(sys_admin)"),
    "a privileged port": Row(
        "bind_privileged", "capability(net_bind_service)", "capable", "net_bind_service", "net(inet, any)"
    ),
    "mount": Row(f"mount_tmpfs {DIRECTORY}", "operation(mount)", "sb_mount", "mount", _ADMIN, before="exec unshare -m"),
    "umount": Row(
        f"unmount {DIRECTORY}",
        "operation(mount)",
        "sb_umount",
        "mount",
        _ADMIN,
        before=f'exec unshare -m sh -c "mount -t tmpfs none {DIRECTORY} && exec \\"\\$@\\"" sh',
    ),
    "a new mount": Row("new_mount", "operation(mount)", "capable", "mount", _ADMIN),
    "mount_setattr": Row("set_attributes /", "operation(mount)", "capable", "mount", _ADMIN, before="exec unshare -m"),
    "bpf": Row("map_create", "operation(bpf)", "bpf", "bpf", _ADMIN),
    "unshare": Row("unshare_net", "operation(namespace)", "capable", "namespace", _ADMIN),
    "a user namespace": Row("unshare_user", "operation(namespace)", "userns_create", "namespace", _ADMIN),
    "clone3": Row("clone3_uts", "operation(namespace)", "task_alloc", "namespace", _ADMIN + "signal(child, any)"),
    "setns": Row("setns_net", "operation(namespace)", "capable", "namespace", _ADMIN + "ptrace(any, read)"),
    "userfaultfd": Row("fault_handler", "operation(userfaultfd)", "inode_init_security_anon", "userfaultfd", _ADMIN),
    "io_uring": Row("ring", "operation(io_uring)", "inode_init_security_anon", "io_uring", _ADMIN),
    "perf": Row("perf_dummy", "operation(perf)", "perf_event_open", "perf", _ADMIN),
    "a new key": Row("keep_key", "operation(keyring)", "key_alloc|key_permission", "keyring"),
    "the user's keyring": Row("find_key", "operation(keyring)", "key_alloc|key_permission", "keyring"),
    "new shared memory": Row("new_segment", "operation(ipc)", "shm_alloc_security", "ipc"),
    "shared memory": Row("use_segment {shm}", "operation(ipc)", "ipc_permission", "ipc"),
    "a message queue": Row("new_queue", "operation(ipc)", "msg_queue_alloc_security", "ipc"),
    "a semaphore": Row("new_semaphore", "operation(ipc)", "sem_alloc_security", "ipc"),
    "a POSIX message queue": Row("named_queue", "operation(ipc)", "inode_create", "ipc"),
    "a POSIX message queue by its path first": Row(
        f"known_queue {QUEUES}/known", "operation(ipc)", "file_open", "ipc", f'fs("{QUEUES}/**", any)'
    ),
    **{
        f"anonymous code by {attack}": Row(attack, "operation(anon_exec)", events, "anon_exec", _FILES)
        for attack, events in (
            ("anon_map", "mmap_file"),
            ("anon_shared", "mmap_file"),
            ("anon_mprotect", "file_mprotect"),
            ("anon_personality", "mmap_file|mmap_addr"),
            ("heap_exec", "file_mprotect"),
            ("stack_exec", "file_mprotect"),
            ("heap_implied", "mmap_addr"),
        )
    },
}


def _program(directory: str, name: str) -> Path:
    return HERE / directory / re.sub(r"\W", "-", name)


@dataclass(frozen=True)
class Stage:
    """What attacks are aimed at."""

    engine: Engine
    values: dict[str, object]

    def filled(self, text: str) -> str:
        for name, value in self.values.items():
            text = text.replace("{" + name + "}", str(value))
        return text

    def run(self, program: Path, row: Row) -> "subprocess.CompletedProcess[str]":
        attack, _, argument = self.filled(row.attack).partition(" ")
        command = f"{row.before} {program} {attack} '{argument}'"
        return subprocess.run(command, shell=True, capture_output=True, text=True, check=False, cwd="/", timeout=60)


def _text() -> str:
    found = []
    for name, row in ROWS.items():
        for directory, rules in (("denied", row.needs), ("allowed", f"{row.needs} {row.rule}")):
            found.append(f'#![profile "{_program(directory, name)}"]\n{_COMMON}{rules}')
    found.append(f'#![profile "{_program("denied", "victim")}"]\nptrace(any, read|attach)')
    found.append(f'#![profile "{_program("allowed", "victim")}"]\nptrace("{FREE}", traced)')
    found.append(f'#![profile "{_program("none", "quiet")}"]')
    lines = 'fs("/{usr,etc,lib,lib64,dev}/**", read|exec) fs("/dev/null", read|write)'
    found.append(
        f'#![profile "{BOX}"]\n{lines}\n#[taint] signal(self, check)\n#[allow] #[audit] signal(self, sigcont)\n'
        "signal(self, check|sigusr1)"
    )
    return "\n".join(found)


@contextlib.contextmanager
def sleeping(program: Path, *attack: str) -> Iterator[int]:
    """A process that waits to be attacked: its number."""
    with subprocess.Popen([program, *(attack or ["sleeper"])], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.fixture(scope="module")
def stage(all_locks: Locks, kept_engine: Engine) -> Iterator[Stage]:
    shutil.rmtree(HERE, ignore_errors=True)
    DIRECTORY.mkdir(parents=True)
    FILE.write_text("content")
    shutil.copy(ATTACK, FREE)
    shutil.copy("/bin/busybox", BOX)
    for directory in ("denied", "allowed"):
        (HERE / directory).mkdir()
        for name in (*ROWS, "victim"):
            os.link(FREE, _program(directory, name))
    (HERE / "none").mkdir()
    os.link(FREE, _program("none", "quiet"))
    with contextlib.ExitStack() as stack:
        four, six = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_INET6)
        port = four.getsockname()[1]
        six.bind(("::1", port))
        six.listen()
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        stream, datagram = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        stream.bind("\0bpflock-stream")
        stream.listen()
        datagram.bind("\0bpflock-datagram")
        in_file, datagram_in_file = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        in_file.bind(str(SOCKET))
        in_file.listen()
        datagram_in_file.bind(f"{SOCKET}-datagram")
        for each in (four, six, udp, stream, datagram, in_file, datagram_in_file):
            stack.enter_context(each)
        QUEUES.mkdir()
        subprocess.run(["mount", "-t", "mqueue", "mqueue", QUEUES], check=True)
        stack.callback(subprocess.run, ["umount", str(QUEUES)], check=True)
        known = QUEUES / "known"
        known.touch()
        stack.callback(known.unlink)
        segment = subprocess.run(["ipcmk", "-M", "4096"], capture_output=True, text=True, check=True)
        shm = segment.stdout.split()[-1]
        stack.callback(subprocess.run, ["ipcrm", "-m", shm], check=False)
        pid = stack.enter_context(sleeping(FREE))
        values = {"tcp": port, "udp": udp.getsockname()[1], "pid": pid, "shm": shm}
        found = Stage(kept_engine, values)
        kept_engine.load(PolicySet(parse(found.filled(_text()))))
        stack.callback(kept_engine.load, PolicySet())
        all_locks.events()
        yield found


def _told(locks: Locks) -> list[Event]:
    return [event for event in locks.events() if event.bpfprog == "policy"]


@pytest.mark.parametrize("name", ROWS)
def test_denied_but_for_its_rule(name: str, stage: Stage, all_locks: Locks) -> None:
    row = ROWS[name]
    before = stage.run(FREE, row)
    if before.returncode and row.optional:
        pytest.skip(f"not in this kernel: {before.stdout}")
    assert before.returncode == 0, before
    all_locks.events()
    denied = stage.run(_program("denied", name), row)
    events = [event for event in _told(all_locks) if event.denied]
    shown = f"{denied}\n" + "\n".join(map(logfmt, events))
    assert denied.returncode == 1, shown
    wanted = {(f"lsm_{hook}", row.operation) for hook in row.events.split("|")}
    assert wanted & {(event.event, event.operation) for event in events}, shown
    after = stage.run(_program("allowed", name), row)
    assert after.returncode == 0, f"{after}\n" + "\n".join(map(logfmt, _told(all_locks)))


def test_what_needs_no_rule(stage: Stage, all_locks: Locks) -> None:
    """The kernel's own signals, and a program that does nothing."""
    quiet = _program("none", "quiet")
    for attack in ("do_nothing", "parent_death"):
        ended = subprocess.run([quiet, attack], capture_output=True, text=True, check=False, timeout=60)
        assert ended.returncode == 0, ended
    assert {event.operation for event in _told(all_locks)} <= {"sys_resource"}  # raised a limit


def test_who_may_trace_a_confined_process(stage: Stage, all_locks: Locks) -> None:
    """The other direction: the tracer is not confined, its victim is."""
    for directory, works in (("denied", False), ("allowed", True)):
        with sleeping(_program(directory, "victim")) as pid:
            all_locks.events()
            for attack in ("seize", "vm_write"):
                ended = subprocess.run([FREE, attack, str(pid)], capture_output=True, text=True, check=False)
                assert ended.returncode == (0 if works else 1), ended
            told = [(event.event, event.operation) for event in _told(all_locks)]
            assert told == [] if works else told and set(told) == {("lsm_ptrace_access_check", "traced")}


def test_descriptors_that_are_open_before(stage: Stage, all_locks: Locks) -> None:
    """A program does not start with one that it may not open, but for its input and output, and those that close."""
    quiet, may = _program("none", "quiet"), _program("allowed", "set_times")
    with FILE.open() as file:
        number = file.fileno()
        all_locks.events()
        with pytest.raises(PermissionError):
            subprocess.run([quiet, "do_nothing"], check=False, pass_fds=[number])
        (event,) = _told(all_locks)
        assert (event.event, event.operation, event.filename) == (
            "lsm_bprm_creds_from_file",
            "read",
            os.fsencode(FILE),
        )
        for command, passed, given in ((may, [number], None), (quiet, [], file), (quiet, [], None)):
            ended = subprocess.run(
                [command, "do_nothing"], check=False, pass_fds=passed, stdin=given, capture_output=True
            )
            assert ended.returncode == 0, ended
        # Inherited by the fork, closed by the exec.
        assert subprocess.run([quiet, "do_nothing"], check=False, close_fds=False, capture_output=True).returncode == 0


def test_taint_and_audit(stage: Stage, all_locks: Locks) -> None:
    """What taints is allowed; then what no rule allows is denied, and what is audited is told."""
    root = f"{BOX} chroot / {BOX} true"
    ended = subprocess.run(
        [BOX, "sh", "-c", f"kill -CONT $$; {root} && echo free; kill -0 $$; kill -CONT $$; {root} || echo denied"],
        capture_output=True,
        text=True,
        check=False,
    )
    events = _told(all_locks)
    assert ended.stdout == "free\ndenied\n", (ended, events)
    assert [(event.operation, event.reason) for event in events] == [
        ("check", "taint (policy)"),
        ("sigcont", "audit (policy)"),
        ("sys_chroot", "denied (policy)"),
    ]


def test_the_explanation_allows_it(stage: Stage, all_locks: Locks) -> None:
    """From the event alone, the smallest rule that would have allowed it."""
    for name, suggestion in (
        ("connect", f'net(inet, stream, connect, to="127.0.0.1/32", port={stage.values["tcp"]})'),
        ("a signal by by_kill", f'signal("{FREE}", sigcont)'),
        ("a signal to a child", "signal(child, sigcont)"),
        ("tracing by compare", f'ptrace("{FREE}", read)'),
        ("a file of its own", "proc(self, read)"),
        ("chroot", "capability(sys_chroot)"),
        ("a semaphore", "operation(ipc)"),
    ):
        all_locks.events()
        stage.run(_program("denied", name), ROWS[name])
        events = [event for event in _told(all_locks) if event.denied and event.operation == ROWS[name].operation]
        keys = parse_event(logfmt(events[0])) | {"profile": str(_program("denied", name))}
        needs = stage.filled(ROWS[name].needs)
        policy = PolicySet(parse(f'#![profile "{_program("denied", name)}"]\n{_COMMON}{needs}'))
        text = explain(keys, policy)
        assert f"would allow it: {suggestion}" in text, text


def test_a_new_policy_holds_for_open_sockets(stage: Stage) -> None:
    """What a socket may do is kept with it, but not longer than the policy is in force."""
    python = HERE / "python3"
    shutil.copy(os.path.realpath(sys.executable), python)
    code = """
import socket, sys
a, b = socket.socketpair()
for line in sys.stdin:
    try:
        a.send(b"x")
        print("sent", flush=True)
    except OSError as error:
        print(error.errno, flush=True)
"""
    files = f'#![profile "{python}"]\nfs("/**", read|exec)\n'
    stage.engine.load(PolicySet(parse(files + "net(unix, any)")))
    with subprocess.Popen([python, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout

        def sends() -> str:
            assert process.stdin and process.stdout
            process.stdin.write("\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        assert [sends(), sends()] == ["sent", "sent"]
        stage.engine.load(PolicySet(parse(files + "net(unix, create|recv)")))
        assert sends() == "1"
        stage.engine.load(PolicySet(parse(files + "net(unix, any)")))
        assert sends() == "sent"
        process.send_signal(signal.SIGKILL)
