# SPDX-License-Identifier: Apache-2.0
"""docs/performance.md: the tables have a row for every hook that is not called once in a while only."""

from bench.build import hooks
from bench.measure import OPERATIONS
from bpflock.kernel import pins
from bpflock.locks import LOCKS
from tests.unit.docs.tables import DOCS

# Loading a module takes milliseconds.
_OF_MODULES = {
    "lsm/kernel_module_request",
    "lsm/kernel_read_file",
    "lsm/kernel_load_data",
    "fexit/security_kernel_read_file",
    "fexit/security_kernel_load_data",
}
# Mounting a file system for the first time, and its last unmount, take far longer than these; nothing else calls them.
_OF_SUPERBLOCKS = {"lsm/sb_set_mnt_opts", "lsm/sb_free_security"}
# On nodes of devices, and commands to drivers. Neither is attached unless the guarded file system lies on a device,
# and that of the machine that measures does not.
_OF_DEVICES = {"cgroup/dev", "lsm/uring_cmd"}
_ROWS = {
    "cgroup/sysctl": "write a sysctl",
    **{
        f"fexit/__{way}_sys_{call}": "fork+exec+exit"
        for way in ("x64", "ia32_compat")
        for call in ("execve", "execveat")
    },
    "fexit/copy_namespaces": "vfork+exit",
    "fexit/security_bpf": "bpf(MAP_LOOKUP_ELEM)",
    "fexit/security_capable": "chroot",
    "fexit/security_create_user_ns": "unshare(NEWUSER)",
    "fexit/security_move_mount": "2 x move_mount",
    "fexit/security_ptrace_access_check": "process_vm_readv",
    "fexit/security_sb_mount": "mount(REMOUNT|BIND)",
    "fexit/security_sb_umount": "umount, busy",
    "fexit/security_settime64": "settimeofday",
    "fexit/security_task_fix_setgid": "setgid",
    "fexit/security_task_fix_setuid": "setuid",
    "fexit/unshare_nsproxy_namespaces": "unshare(NEWUTS)",
    "lsm/bpf": "bpf(MAP_LOOKUP_ELEM)",
    "lsm/bprm_check_security": "fork+exec+exit",
    "lsm/bprm_creds_from_file": "fork+exec+exit",
    "lsm/capable": "mount(REMOUNT|BIND)",
    "lsm/file_ioctl": "ioctl",
    "lsm/file_ioctl_compat": "ioctl, 32 bits",
    "lsm/file_mprotect": "2 x mprotect",
    "lsm/file_open": "open+close",
    "lsm/file_permission": "pwrite",
    "lsm/inode_create": "create+close+unlink",
    "lsm/inode_file_setattr": "ioctl(SETFLAGS)",
    "lsm/inode_link": "link+unlink",
    "lsm/inode_mkdir": "mkdir+rmdir",
    "lsm/inode_mknod": "mknod+unlink",
    "lsm/inode_remove_acl": "set+remove an ACL",
    "lsm/inode_removexattr": "setxattr+removexattr",
    "lsm/inode_rename": "2 x rename",
    "lsm/inode_rmdir": "mkdir+rmdir",
    "lsm/inode_set_acl": "set+remove an ACL",
    "lsm/inode_setattr": "chmod",
    "lsm/inode_setxattr": "setxattr",
    "lsm/inode_symlink": "symlink+unlink",
    "lsm/inode_unlink": "create+close+unlink",
    "lsm/locked_down": "ioperm",
    "lsm/mmap_file": "mmap(EXEC)+munmap",
    "lsm/move_mount": "2 x move_mount",
    "lsm/sb_mount": "mount(REMOUNT|BIND)",
    "lsm/sb_remount": "mount(REMOUNT)",
    "lsm/socket_bind": "bind",
    "lsm/socket_create": "socket+close",
    "lsm/socket_listen": "listen",
    "lsm/task_alloc": "vfork+exit",
    "lsm/task_prctl": "prctl",
    "lsm/userns_create": "unshare(NEWUSER)",
    "tp_btf/sched_process_exec": "fork+exec+exit",
    "tp_btf/sched_process_exit": "fork+exec+exit",
}


def test_every_hook_has_a_row() -> None:
    used = {hook.removeprefix("?") for hook in hooks(pins.GUARD, *LOCKS)}
    assert used == set(_ROWS) | _OF_MODULES | _OF_SUPERBLOCKS | _OF_DEVICES
    assert set(_ROWS.values()) <= {operation.name for operation in OPERATIONS}


def test_the_tables_have_every_row() -> None:
    lines = (DOCS / "performance.md").read_text().splitlines()
    for operation in OPERATIONS:
        assert sum(line.startswith(f"{operation.name}  ") for line in lines) >= 2, operation.name
