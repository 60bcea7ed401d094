# SPDX-License-Identifier: Apache-2.0
"""Proof that the engine's programs fire: a child that is denied everything tries each hook.

What it tries would change only a file system of its own, which nobody else sees and which goes with it.
"""

import contextlib
import fcntl
import mmap
import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bpflock.errors import BpflockError
from bpflock.kernel._libbpf import lib
from bpflock.kernel.bpf import Map
from bpflock.kernel.host import mount_detached, syscall

_CANARY = 0xFFFFFFFF  # POLICY_CANARY of bpf/policy.bpf.h
_ENFORCED = 1  # TASK_ENFORCED
_PAGE = mmap.PAGESIZE
_PROT_READ_EXEC = mmap.PROT_READ | mmap.PROT_EXEC
_FIONREAD = 0x541B
# These decide nothing by themselves, or only for an exec that is allowed.
WITHOUT_CANARY = frozenset({"lsm/bprm_creds_from_file", "lsm/bprm_committed_creds", "iter/task", "fexit/vfs_rename"})


@dataclass(frozen=True)
class _Stage:
    """What the child works on: a directory with the files `a` (open, mapped) and `program`, and the directory `d`."""

    root: int
    readable: int
    writable: int
    address: int
    receiver: socket.socket

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


_WAYS: dict[str, Callable[[_Stage], object]] = {
    "lsm/task_alloc": _fork,
    "lsm/bprm_check_security": lambda s: os.execve(s.path("program"), ["a"], {}),
    "lsm/file_open": lambda s: os.open("a", os.O_RDONLY, dir_fd=s.root),
    "lsm/file_receive": _receive,
    "lsm/mmap_file": _map,
    "lsm/file_mprotect": lambda s: syscall(lib.SYS_mprotect, s.address, _PAGE, _PROT_READ_EXEC),
    "lsm/file_fcntl": lambda s: fcntl.fcntl(s.writable, fcntl.F_SETFL, 0),
    "lsm/file_ioctl": lambda s: fcntl.ioctl(s.readable, _FIONREAD, bytes(4)),
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
        stack.enter_context(sender)
        stack.enter_context(receiver)
        socket.send_fds(sender, [b"x"], [readable])
        yield _Stage(root, readable, writable, address, receiver)


def silent_hooks(hooks: tuple[str, ...], tasks: Map, count: Callable[[], int]) -> list[str]:
    """The hooks that did not deny the canary. `tasks`: the engine's map of subjects; `count`: how often a canary was
    denied so far. Raises BpflockError if there is no way to reach a hook, or the canary could not be made."""
    unknown = [hook for hook in hooks if hook not in _WAYS and hook not in WITHOUT_CANARY]
    if unknown:
        raise BpflockError(f"there is no canary for {', '.join(unknown)}")
    tried = [hook for hook in hooks if hook in _WAYS]
    with _stage() as stage, _Child(stage, tried) as child:
        _confine(child.pid, tasks)
        silent = []
        for hook in tried:
            before = count()
            child.step()
            if count() == before:
                silent.append(hook)
        return silent


def _confine(pid: int, tasks: Map) -> None:
    subject = struct.pack("=2I", _CANARY, _ENFORCED)  # struct policy_task begins with profile and flags
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
                with contextlib.suppress(OSError):
                    _WAYS[hook](stage)
                os.write(self._done[1], b"x")
        finally:
            os._exit(0)

    def step(self) -> None:
        os.write(self._go[1], b"x")
        if not os.read(self._done[0], 1):
            raise BpflockError("the canary of the policy engine died")

    def __enter__(self) -> "_Child":
        os.close(self._done[1])
        return self

    def __exit__(self, *exception: object) -> None:
        for fd in (*self._go, self._done[0]):
            os.close(fd)
        os.waitpid(self.pid, 0)
