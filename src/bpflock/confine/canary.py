# SPDX-License-Identifier: Apache-2.0
"""Proof that the engine's programs fire: a child tries each hook, and is denied by that hook alone.

Were it not denied, what it tries would change nothing but what is made for it and goes with it: a file system that
nobody else sees, sockets, IPC objects.
"""

import contextlib
import errno
import fcntl
import mmap
import os
import resource
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpflock.errors import BpflockError
from bpflock.kernel._libbpf import ffi, lib
from bpflock.kernel.bpf import Map
from bpflock.kernel.btf import ObjectTypes
from bpflock.kernel.host import mount_detached, syscall

_CANARY = 0xFFFFFFFF  # POLICY_CANARY of bpf/policy.bpf.h
_ENFORCED = 1  # TASK_ENFORCED
_PAGE = mmap.PAGESIZE
_PROT_READ_EXEC = mmap.PROT_READ | mmap.PROT_EXEC
_FIONREAD = 0x541B
_IN_MODIFY = 2
_IPPROTO_SCTP = 132
_SCTP_SOCKOPT_CONNECTX = 110
_SYSLOG_READ_ALL = 3
_AT_FDCWD = -100
_FSPICK_EMPTY_PATH = 8
_FSCONFIG_CMD_RECONFIGURE = 7
_MOVE_MOUNT_EMPTY_PATHS = 0x44
_MNT_EXPIRE = 4
_MS_BIND = 4096
_NO_SUCH_COMMAND = 60
_USER_MODE_ONLY = 1  # of userfaultfd(2)
_READ_IMPLIES_EXEC = 0x0400000
_CLONE_NEWUSER = 0x10000000
_THREAD_KEYRING = -1
_IPC_PRIVATE, _IPC_CREAT, _IPC_RMID, _IPC_STAT = 0, 0o1000, 0, 2
_RING_REQUESTS = 0x10000000  # IORING_OFF_SQES
_RING_COMMAND = 46  # IORING_OP_URING_CMD
_RING_WAIT = 1  # IORING_ENTER_GETEVENTS
_FILE_GETATTR, _FILE_SETATTR = 468, 469  # the same on all machines
_XATTR, _ACL = "trusted.bpflock", "system.posix_acl_access"
_MODE_ACL = struct.pack("=I HHI HHI HHI", 2, 1, 7, 0xFFFFFFFF, 4, 0, 0xFFFFFFFF, 0x20, 0, 0xFFFFFFFF)  # as mode 0700
# An event of perf that counts nothing: type SOFTWARE, size, config DUMMY.
_PERF_DUMMY = struct.pack("=IIQ", 1, 64, 9) + bytes(48)
# These decide nothing by themselves, or only for an exec that is allowed.
WITHOUT_CANARY = frozenset(
    {
        "lsm/bprm_creds_from_file",
        "lsm/bprm_committed_creds",
        "lsm/inode_rename",
        "iter/task",
        "fexit/vfs_rename",
        "tp_btf/task_newtask",
    }
)


@dataclass(frozen=True)
class _Stage:
    """What the child works on: a directory with the files `a` (open, mapped) and `program`, and the directory `d`."""

    root: int
    readable: int
    writable: int
    address: int
    receiver: socket.socket
    pair: tuple[socket.socket, socket.socket]
    stream: socket.socket  # not bound
    datagram: socket.socket  # bound
    sender: socket.socket
    listener: socket.socket
    picked: int  # the file system, as fspick(2) gives it
    queues: tuple[int, int, int]  # a SysV message queue, shared memory, semaphores; negative: the kernel has none
    name: bytes  # of a POSIX message queue
    null: int  # /dev/null

    def path(self, name: str) -> str:
        return f"/proc/self/fd/{self.root}/{name}"


def _fork(stage: _Stage) -> None:
    """A child of a confined task is confined: it is denied too."""
    child = os.fork()
    if not child:
        with contextlib.suppress(OSError):
            os.mkdir("n", dir_fd=stage.root)
        os._exit(0)
    os.waitpid(child, 0)


def _receive(stage: _Stage) -> None:
    for fd in socket.recv_fds(stage.receiver, 1, 1)[1]:
        os.close(fd)


def _map(stage: _Stage) -> None:
    mmap.mmap(stage.readable, _PAGE, mmap.MAP_PRIVATE, _PROT_READ_EXEC).close()


def _call(number: int, *arguments: object) -> int:
    """Raises OSError."""
    answer = syscall(number, *arguments)
    if answer < 0:
        raise OSError(-answer, os.strerror(-answer))
    return answer


def _ioctl_32(stage: _Stage) -> None:
    """In a child, which is denied too: without such calls it dies."""
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os._exit(lib.bl_ioctl_32(stage.readable, _FIONREAD) == -errno.ENOSYS)
    if os.waitpid(child, 0)[1]:
        raise OSError(errno.ENOSYS, "no 32-bit system calls")


def _watch(stage: _Stage) -> None:
    watcher = _call(lib.SYS_inotify_init1, os.O_CLOEXEC)
    try:
        _call(lib.SYS_inotify_add_watch, watcher, _text(os.fsencode(stage.path("a"))), _IN_MODIFY)
    finally:
        os.close(watcher)


def _connect_sctp(_: _Stage) -> None:
    """Only where the kernel has SCTP already: nothing is loaded for it."""
    if not Path("/proc/net/sctp").exists():
        raise OSError(errno.ENOSYS, "no SCTP")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, _IPPROTO_SCTP) as client:
        nowhere = struct.pack("=HHI8x", socket.AF_INET, 0, 0)
        client.setsockopt(_IPPROTO_SCTP, _SCTP_SOCKOPT_CONNECTX, nowhere)  # port 0: EINVAL


def _text(text: bytes) -> Any:
    return ffi.new("char[]", text)


def _anonymous(_: _Stage) -> None:
    """Whichever of the two the kernel has."""
    try:
        os.close(_call(lib.SYS_userfaultfd, _USER_MODE_ONLY))
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        os.close(_call(lib.SYS_io_uring_setup, 1, ffi.new("char[]", 120)))


def _implied(_: _Stage) -> None:
    before = _call(lib.SYS_personality, 0xFFFFFFFF)
    _call(lib.SYS_personality, before | _READ_IMPLIES_EXEC)
    try:
        address = _call(lib.SYS_mmap, 0, _PAGE, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        syscall(lib.SYS_munmap, address, _PAGE)
    finally:
        syscall(lib.SYS_personality, before)


def _segment(_: _Stage) -> None:
    _call(lib.SYS_shmctl, _call(lib.SYS_shmget, _IPC_PRIVATE, _PAGE, _IPC_CREAT | 0o600), _IPC_RMID, 0)


def _queue(_: _Stage) -> None:
    _call(lib.SYS_msgctl, _call(lib.SYS_msgget, _IPC_PRIVATE, _IPC_CREAT | 0o600), _IPC_RMID, 0)


def _semaphore(_: _Stage) -> None:
    _call(lib.SYS_semctl, _call(lib.SYS_semget, _IPC_PRIVATE, 1, _IPC_CREAT | 0o600), 0, _IPC_RMID, 0)


def _stat_queue(stage: _Stage) -> None:
    _call(lib.SYS_msgctl, stage.queues[0], _IPC_STAT, ffi.new("char[]", 256))


def _named_queue(stage: _Stage) -> None:
    name = _text(stage.name + b"-new")
    os.close(_call(lib.SYS_mq_open, name, os.O_RDONLY | os.O_CREAT, 0o600, ffi.NULL))
    _call(lib.SYS_mq_unlink, name)


def _ring_command(stage: _Stage) -> None:
    """One request by an io_uring. Where nobody may have one, there is nothing to show."""
    parameters = ffi.new("uint32_t[30]")  # struct io_uring_params
    try:
        ring = _call(lib.SYS_io_uring_setup, 1, parameters)
    except PermissionError:
        raise OSError(errno.ENOSYS, "io_uring is disabled") from None
    try:
        with mmap.mmap(ring, _PAGE, offset=_RING_REQUESTS) as requests, mmap.mmap(ring, _PAGE) as queue:
            requests[:64] = struct.pack("=BBHi", _RING_COMMAND, 0, 0, stage.null) + bytes(56)
            tail, array = parameters[11], parameters[16]  # sq_off
            queue[array : array + 4] = bytes(4)
            queue[tail : tail + 4] = struct.pack("=I", 1)
            _call(lib.SYS_io_uring_enter, ring, 1, 1, _RING_WAIT, ffi.NULL, 0)
    finally:
        os.close(ring)


def _connect(stage: _Stage) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(stage.listener.getsockname())


# In this order: the last ones would leave a process that cannot go on as before.
_WAYS: dict[str, Callable[[_Stage], object]] = {
    "lsm/task_alloc": _fork,
    "lsm/bprm_check_security": lambda s: os.execve(s.path("program"), ["a"], {}),
    "lsm/file_open": lambda s: os.open("a", os.O_RDONLY, dir_fd=s.root),
    "lsm/file_receive": _receive,
    "lsm/file_permission": lambda s: os.pread(s.readable, 1, 0),
    "lsm/mmap_file": _map,
    "lsm/file_mprotect": lambda s: syscall(lib.SYS_mprotect, s.address, _PAGE, _PROT_READ_EXEC),
    "lsm/file_fcntl": lambda s: fcntl.fcntl(s.writable, fcntl.F_SETFL, 0),
    "lsm/file_ioctl": lambda s: fcntl.ioctl(s.readable, _FIONREAD, bytes(4)),
    "lsm/file_ioctl_compat": _ioctl_32,
    "lsm/path_notify": _watch,
    "lsm/path_unlink": lambda s: os.unlink("a", dir_fd=s.root),
    "lsm/path_rmdir": lambda s: os.rmdir("d", dir_fd=s.root),
    "lsm/path_mkdir": lambda s: os.mkdir("n", dir_fd=s.root),
    "lsm/path_mknod": lambda s: os.mkfifo("n", dir_fd=s.root),
    "lsm/path_symlink": lambda s: os.symlink("x", "n", dir_fd=s.root),
    "lsm/path_link": lambda s: os.link("a", "n", src_dir_fd=s.root, dst_dir_fd=s.root),
    "lsm/path_rename": lambda s: os.rename("a", "n", src_dir_fd=s.root, dst_dir_fd=s.root),
    "lsm/path_truncate": lambda s: os.truncate(s.path("a"), 1),
    "lsm/file_truncate": lambda s: os.ftruncate(s.writable, 1),
    "lsm/path_chmod": lambda s: os.fchmod(s.readable, 0o600),
    "lsm/path_chown": lambda s: os.fchown(s.readable, 0, 0),
    "lsm/inode_getattr": lambda s: os.stat("a", dir_fd=s.root),
    "lsm/inode_setattr": lambda s: os.utime("a", dir_fd=s.root),
    "lsm/inode_setxattr": lambda s: os.setxattr(s.readable, _XATTR, b"x"),
    "lsm/inode_getxattr": lambda s: os.getxattr(s.readable, _XATTR),
    "lsm/inode_listxattr": lambda s: os.listxattr(s.readable),
    "lsm/inode_removexattr": lambda s: os.removexattr(s.readable, _XATTR),
    "lsm/inode_set_acl": lambda s: os.setxattr(s.readable, _ACL, _MODE_ACL),
    "lsm/inode_get_acl": lambda s: os.getxattr(s.readable, _ACL),
    "lsm/inode_remove_acl": lambda s: os.removexattr(s.readable, _ACL),
    "lsm/inode_file_getattr": lambda s: _call(_FILE_GETATTR, s.root, _text(b"a"), ffi.new("char[]", 24), 24, 0),
    "lsm/inode_file_setattr": lambda s: _call(_FILE_SETATTR, s.root, _text(b"a"), ffi.new("char[]", 24), 24, 0),
    "lsm/unix_stream_connect": _connect,
    "lsm/unix_may_send": lambda s: s.sender.sendto(b"", s.datagram.getsockname()),
    "lsm/socket_create": lambda s: socket.socket(socket.AF_UNIX).close(),
    "lsm/socket_bind": lambda s: s.sender.bind(""),
    "lsm/socket_listen": lambda s: s.stream.listen(),  # not bound: EINVAL
    "lsm/socket_accept": lambda s: s.stream.accept(),  # does not listen: EINVAL
    "lsm/socket_connect": lambda s: s.stream.connect("\0bpflock: nobody is there"),
    "lsm/sctp_bind_connect": _connect_sctp,
    "lsm/socket_sendmsg": lambda s: s.pair[0].send(b"x"),
    "lsm/socket_recvmsg": lambda s: s.pair[1].recv(1, socket.MSG_DONTWAIT),
    "lsm/socket_shutdown": lambda s: s.pair[0].shutdown(socket.SHUT_RD),
    "lsm/task_kill": lambda s: os.kill(os.getpid(), 0),
    "lsm/task_setrlimit": lambda s: resource.setrlimit(resource.RLIMIT_CORE, resource.getrlimit(resource.RLIMIT_CORE)),
    "lsm/task_setscheduler": lambda s: os.sched_setaffinity(0, os.sched_getaffinity(0)),
    "lsm/task_setnice": lambda s: os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0)),
    "lsm/task_setioprio": lambda s: _call(lib.SYS_ioprio_set, 1, 0, 0),  # to the default
    "lsm/task_movememory": lambda s: _call(lib.SYS_move_pages, os.getpid(), 0, ffi.NULL, ffi.NULL, ffi.NULL, 0),
    "lsm/uring_cmd": _ring_command,
    "lsm/ptrace_access_check": lambda s: os.close(os.open(f"/proc/{os.getppid()}/environ", os.O_RDONLY)),
    "lsm/capable": lambda s: os.chroot("/"),
    "lsm/syslog": lambda s: _call(lib.SYS_syslog, _SYSLOG_READ_ALL, ffi.new("char[]", 16), 16),
    "lsm/sb_mount": lambda s: _call(lib.SYS_mount, _text(b""), _text(b"/"), ffi.NULL, _MS_BIND, ffi.NULL),  # EINVAL
    "lsm/sb_remount": lambda s: _call(lib.SYS_fsconfig, s.picked, _FSCONFIG_CMD_RECONFIGURE, ffi.NULL, ffi.NULL, 0),
    "lsm/sb_umount": lambda s: _call(lib.SYS_umount2, _text(b"/"), _MNT_EXPIRE),  # of the root: EINVAL
    "lsm/sb_pivotroot": lambda s: _call(lib.SYS_pivot_root, _text(b"/"), _text(b"/")),  # EBUSY
    # Onto itself: EINVAL.
    "lsm/move_mount": lambda s: _call(
        lib.SYS_move_mount, s.root, _text(b""), s.root, _text(b""), _MOVE_MOUNT_EMPTY_PATHS
    ),
    "lsm/bpf": lambda s: _call(lib.SYS_bpf, _NO_SUCH_COMMAND, ffi.new("char[]", 8), 0),
    "lsm/inode_init_security_anon": _anonymous,
    "lsm/perf_event_open": lambda s: os.close(
        _call(lib.SYS_perf_event_open, ffi.from_buffer(_PERF_DUMMY), 0, -1, -1, 0)
    ),
    "lsm/key_alloc": lambda s: _call(lib.SYS_keyctl, 0, _THREAD_KEYRING, 1, 0, 0),
    "lsm/key_permission": lambda s: _call(lib.SYS_keyctl, 0, _THREAD_KEYRING, 1, 0, 0),
    "lsm/ipc_permission": _stat_queue,
    "lsm/msg_queue_alloc_security": _queue,
    "lsm/shm_alloc_security": _segment,
    "lsm/sem_alloc_security": _semaphore,
    "lsm/msg_queue_msgctl": _stat_queue,
    "lsm/shm_shmctl": lambda s: _call(lib.SYS_shmctl, s.queues[1], _IPC_STAT, ffi.new("char[]", 256)),
    "lsm/sem_semctl": lambda s: _call(lib.SYS_semctl, s.queues[2], 0, _IPC_STAT, ffi.new("char[]", 256)),
    "lsm/inode_create": _named_queue,
    "lsm/inode_unlink": lambda s: _call(lib.SYS_mq_unlink, _text(s.name)),
    "lsm/mmap_addr": _implied,
    "lsm/userns_create": lambda s: _call(lib.SYS_unshare, _CLONE_NEWUSER),
    "lsm/ptrace_traceme": lambda s: _call(lib.SYS_ptrace, 0, 0, 0, 0),
}
# The event of the denial, where it is not named as the hook is.
_EVENTS = {
    "lsm/task_alloc": "LSM_PATH_MKDIR",
    "lsm/file_truncate": "LSM_PATH_TRUNCATE",
    "lsm/file_ioctl_compat": "LSM_FILE_IOCTL",
}


@contextlib.contextmanager
def _stage() -> Iterator[_Stage]:
    with contextlib.ExitStack() as stack:
        root = mount_detached("tmpfs")
        stack.callback(os.close, root)
        writable = os.open("a", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o700, dir_fd=root)
        stack.callback(os.close, writable)
        os.write(writable, bytes(_PAGE))
        os.mkdir("d", dir_fd=root)
        # Not the same: what is open for writing cannot be executed.
        os.close(os.open("program", os.O_WRONLY | os.O_CREAT, 0o700, dir_fd=root))
        readable = os.open("a", os.O_RDONLY, dir_fd=root)
        stack.callback(os.close, readable)
        address = syscall(lib.SYS_mmap, 0, _PAGE, mmap.PROT_READ, mmap.MAP_PRIVATE, readable, 0)
        if address < 0:
            raise BpflockError(f"cannot map a file for the canary: {os.strerror(-address)}")
        stack.callback(syscall, lib.SYS_munmap, address, _PAGE)
        sender, receiver = socket.socketpair()
        pair = socket.socketpair()
        stream, datagram = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        plain, listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), socket.socket(socket.AF_UNIX)
        for each in (sender, receiver, *pair, stream, datagram, plain, listener):
            stack.enter_context(each)
        datagram.bind("")
        listener.bind("")
        listener.listen()
        socket.send_fds(sender, [b"x"], [readable])
        pair[0].send(b"x")
        picked = syscall(lib.SYS_fspick, root, _text(b""), _FSPICK_EMPTY_PATH)
        if picked < 0:
            raise BpflockError(f"cannot prepare the canary: {os.strerror(-picked)}")
        stack.callback(os.close, picked)
        queues = (
            syscall(lib.SYS_msgget, _IPC_PRIVATE, _IPC_CREAT | 0o600),
            syscall(lib.SYS_shmget, _IPC_PRIVATE, _PAGE, _IPC_CREAT | 0o600),
            syscall(lib.SYS_semget, _IPC_PRIVATE, 1, _IPC_CREAT | 0o600),
        )
        stack.callback(syscall, lib.SYS_msgctl, queues[0], _IPC_RMID, 0)
        stack.callback(syscall, lib.SYS_shmctl, queues[1], _IPC_RMID, 0)
        stack.callback(syscall, lib.SYS_semctl, queues[2], 0, _IPC_RMID, 0)
        name = b"bpflock-%d" % os.getpid()
        named = syscall(lib.SYS_mq_open, _text(name), os.O_RDONLY | os.O_CREAT, 0o600, ffi.NULL)
        if named >= 0:
            os.close(named)
            stack.callback(syscall, lib.SYS_mq_unlink, _text(name))
        null = os.open(os.devnull, os.O_RDWR)
        stack.callback(os.close, null)
        yield _Stage(
            root,
            readable,
            writable,
            address,
            receiver,
            pair,
            stream,
            datagram,
            plain,
            listener,
            picked,
            queues,
            name,
            null,
        )


def silent_hooks(hooks: tuple[str, ...], tasks: Map, count: Callable[[], int]) -> list[str]:
    """The hooks that did not deny the canary. `tasks`: the engine's map of subjects; `count`: how often a canary was
    denied so far. Raises BpflockError if there is no way to reach a hook, or the canary could not be made."""
    unknown = [hook for hook in hooks if hook not in _WAYS and hook not in WITHOUT_CANARY]
    if unknown:
        raise BpflockError(f"there is no canary for {', '.join(unknown)}")
    tried = [hook for hook in _WAYS if hook in hooks]
    events = ObjectTypes.load().enum("bpflock_event_type")
    with _stage() as stage, _Child(stage, tried) as child:
        silent = []
        for hook in tried:
            _confine(child.pid, tasks, events["EVENT_" + _EVENTS.get(hook, hook.replace("/", "_").upper())])
            before = count()
            if child.step() and count() == before:
                silent.append(hook)
        return silent


def _confine(pid: int, tasks: Map, event: int) -> None:
    subject = struct.pack("=3I", _CANARY, _ENFORCED, event)  # struct policy_task: profile, flags, canary
    fd = os.pidfd_open(pid)
    try:
        tasks.update(struct.pack("=i", fd), subject + bytes(tasks.value_size - len(subject)))
    finally:
        os.close(fd)


class _Child:
    """A process that takes one step each time it is told to."""

    def __init__(self, stage: _Stage, hooks: list[str]) -> None:
        self._go, self._done = os.pipe(), os.pipe()
        self.pid = os.fork()
        if not self.pid:
            self._run(stage, hooks)

    def _run(self, stage: _Stage, hooks: list[str]) -> None:
        try:
            for hook in hooks:
                os.read(self._go[0], 1)
                answer = b"x"
                try:
                    _WAYS[hook](stage)
                except OSError as error:
                    if error.errno == errno.ENOSYS:
                        answer = b"-"
                os.write(self._done[1], answer)
        finally:
            os._exit(0)

    def step(self) -> bool:
        """Whether the kernel has the call at all: without it, nothing reaches the hook."""
        os.write(self._go[1], b"x")
        answer = os.read(self._done[0], 1)
        if not answer:
            raise BpflockError("the canary of the policy engine died")
        return answer == b"x"

    def __enter__(self) -> "_Child":
        os.close(self._done[1])
        return self

    def __exit__(self, *exception: object) -> None:
        for fd in (*self._go, self._done[0]):
            os.close(fd)
        os.waitpid(self.pid, 0)
