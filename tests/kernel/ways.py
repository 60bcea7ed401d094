# SPDX-License-Identifier: Apache-2.0
"""Accesses of the policy model, and the ways by which a program gets into the kernel to make them.

tests/kernel/test_ways.py tries each access by each way, by `attack by WAY ACCESS` (attacks/ways.c); a way that does not
exist for an access has a reason here. docs/policy-coverage.md shows the table.
"""

from collections.abc import Iterator
from dataclasses import dataclass

WAYS = {
    "call": "a system call",
    "int80": "a 32-bit system call (`int $0x80`)",
    "thread": "a system call of another thread",
    "shared_vm": "a system call of a process that shares memory (`CLONE_VM`)",
    "shared_files": "a system call of a process that shares descriptors (`CLONE_FILES`)",
    "ring": "io_uring",
    "ring_worker": "io_uring, by a worker thread",
    "ring_linked": "io_uring, when another request has completed, in the middle of another system call",
    "ring_sqpoll": "io_uring, by the thread that polls the queue",
    "ring_fixed": "io_uring, with registered files, into a slot of these",
    "ring_personality": "io_uring, with registered credentials",
}

_NO_OPCODE = "io_uring has no opcode for it"
_NO_DESCRIPTOR = "the request names a path and gives no descriptor"
_NAMESPACE = "io_uring has no opcode for mounts and namespaces"
_MEMORY = "io_uring has no opcode for mappings"
_URING_CMD = "`IORING_OP_URING_CMD` is asked by a hook of its own, `uring_cmd`"


@dataclass(frozen=True)
class Access:
    """`right`: as a policy says it. `hooks`, `operation`: of the event. `target`: arguments of the attack, below its
    directory. `no_ring`, `no_slot`: why an io_uring cannot do it at all, or not with registered files. `since`,
    `slot_since`: the first kernel whose io_uring can. `profile`: which profile lacks the right."""

    name: str
    right: str
    hooks: str
    operation: str
    target: str = ""
    no_ring: str = ""
    no_slot: str = ""
    since: tuple[int, int] = (0, 0)
    slot_since: tuple[int, int] = (0, 0)
    profile: str = "files"

    def reason(self, way: str) -> str:
        """Why the way does not exist; empty if it does."""
        if not way.startswith("ring"):
            return ""
        return self.no_ring or (self.no_slot if way == "ring_fixed" else "")

    def first_kernel(self, way: str) -> tuple[int, int]:
        if not way.startswith("ring"):
            return 0, 0
        return max(self.since, self.slot_since if way == "ring_fixed" else (0, 0))


def _file(name: str, right: str, hooks: str, target: str, no_ring: str = "", no_slot: str = "") -> Access:
    return Access(name, f"fs {right}", hooks, right, target, no_ring, no_slot)


def _path(name: str, right: str, hooks: str, target: str) -> Access:
    return _file(name, right, hooks, target, no_slot=_NO_DESCRIPTOR)


def _call(name: str, right: str, hooks: str, target: str) -> Access:
    return _file(name, right, hooks, target, no_ring=_NO_OPCODE)


def _net(name: str, right: str, hook: str, since: tuple[int, int] = (0, 0)) -> Access:
    return Access(name, f"net {right}", hook, right, since=since, profile=f"net-{right}")


def _operation(name: str, hooks: str, target: str = "", operation: str = "", why: str = _NO_OPCODE) -> Access:
    operation = operation or name
    return Access(name, f"operation {operation}", hooks, operation, target, no_ring=why)


ACCESSES = (
    _file("read", "read", "file_open", "closed/file"),
    _file("openat2", "read", "file_open", "closed/file"),
    _file("write", "write", "file_open", "file"),
    _file("append", "append", "file_open", "file"),
    _file("create", "create", "path_mknod", "closed/new"),
    _call("mknod", "create", "path_mknod", "closed/new"),
    _path("mkdir", "create", "path_mkdir", "closed/new"),
    _path("symlink", "create", "path_symlink", "closed/new"),
    _path("unlink", "rm", "path_unlink", "closed/gone"),
    _path("rmdir", "rm", "path_rmdir", "closed/dir"),
    _path("link", "link", "path_link", "closed/file mine/new"),
    _path("rename", "rm", "path_rename", "closed/file mine/new"),
    _call("exec", "exec", "bprm_check_security", "file"),
    _file("map_exec", "exec", "mmap_file", "file", no_ring=_MEMORY),
    _file("protect_exec", "exec", "file_mprotect", "file", no_ring=_MEMORY),
    _call("chmod", "setattr", "path_chmod", "file"),
    _call("fchmod", "setattr", "path_chmod", "file"),
    _call("chown", "setattr", "path_chown", "file"),
    _call("fchown", "setattr", "path_chown", "file"),
    _call("times", "setattr", "inode_setattr", "file"),
    _path("setxattr", "setattr", "inode_setxattr", "file"),
    Access("fsetxattr", "fs setattr", "inode_setxattr", "setattr", "file", slot_since=(6, 15)),
    _call("removexattr", "setattr", "inode_removexattr", "file"),
    _call("truncate", "write", "path_truncate", "log"),
    Access("ftruncate", "fs write", "path_truncate", "write", "log", since=(6, 9)),
    _file("fallocate", "write", "file_permission", "log"),
    _path("stat", "getattr", "inode_getattr", "closed/file"),
    _path("getxattr", "getattr", "inode_getxattr", "closed/file"),
    _call("listxattr", "getattr", "inode_listxattr", "closed/file"),
    _file("ioctl", "ioctl", "file_ioctl file_ioctl_compat", "file", no_ring=_URING_CMD),
    _net("socket", "create", "socket_create"),
    _net("bind", "bind", "socket_bind", since=(6, 11)),
    _net("listen", "listen", "socket_listen", since=(6, 11)),
    _net("accept", "accept", "socket_accept"),
    _net("connect", "connect", "socket_connect"),
    _net("send", "send", "socket_sendmsg"),
    _net("socket_write", "send", "socket_sendmsg"),
    _net("recv", "recv", "socket_recvmsg"),
    _net("socket_read", "recv", "socket_recvmsg"),
    _net("shutdown", "shutdown", "socket_shutdown"),
    *(
        Access(name, "signal", "task_kill", "sigcont", "{pid}", no_ring=_NO_OPCODE)
        for name in ("kill", "tgkill", "pidfd")
    ),
    *(
        Access(name, f"ptrace {right}", "ptrace_access_check", right, "{pid}", no_ring=_NO_OPCODE)
        for name, right in (("ptrace", "attach"), ("kcmp", "read"), ("vm_read", "attach"))
    ),
    Access("chroot", "capability", "capable", "sys_chroot", no_ring=_NAMESPACE),
    _operation("mount", "sb_mount", "mine", why=_NAMESPACE),
    _operation("open_tree", "capable", "mine", "mount", why=_NAMESPACE),
    _operation("unshare", "capable", "", "namespace", why=_NAMESPACE),
    _operation("setns", "capable", "", "namespace", why=_NAMESPACE),
    _operation("key", "key_alloc key_permission", "", "keyring"),
    _operation("queue", "msg_queue_alloc_security", "", "ipc"),
    _operation("perf", "perf_event_open"),
    _operation("bpf", "bpf"),
    _operation("userfaultfd", "inode_init_security_anon"),
    Access(
        "io_uring",
        "operation io_uring",
        "inode_init_security_anon",
        "io_uring",
        no_ring="a ring does not make rings",
        profile="ringless",
    ),
    _operation("anon_map", "mmap_file", "", "anon_exec", why=_MEMORY),
    _operation("anon_protect", "file_mprotect", "", "anon_exec", why=_MEMORY),
)


def cells() -> Iterator[tuple[Access, str]]:
    """Each access with each way that there is for it."""
    return ((access, way) for access in ACCESSES for way in WAYS if not access.reason(way))
