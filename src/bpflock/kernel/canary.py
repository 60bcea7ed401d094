# SPDX-License-Identifier: Apache-2.0
"""Ways to reach each hook without a side effect, so that a canary can prove that its program fires.

Each way is denied by the canary's own lock; were the hook dead, the call would fail for a reason of its own.
"""

import contextlib
import fcntl
import os
import signal
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from bpflock.errors import BpflockError
from bpflock.kernel import own
from bpflock.kernel._libbpf import ffi, lib
from bpflock.kernel.btf import OBJECTS
from bpflock.kernel.host import mount_detached, syscall

_NO_SUCH_COMMAND = 0xFF00  # of bpf(2)
_MSR_MAJOR = 202
_SIOCGIFINDEX = 0x8933
_PROT_READ, _PROT_WRITE, _PROT_EXEC, _MAP_SHARED, _MAP_PRIVATE = 1, 2, 4, 1, 2
_PAGE = 4096
_AF_UNIX, _AF_NETLINK, _SOCK_DGRAM, _SOCK_RAW = 1, 16, 2, 3
_AT_FDCWD, _MS_REMOUNT, _MS_BIND, _MNT_EXPIRE = -100, 0x20, 0x1000, 4
_CLONE_PIDFD, _CLONE_NEWUTS, _CLONE_NEWUSER = 0x00001000, 0x04000000, 0x10000000
_NO_ADDRESS = 8
_FIGETBSZ = 2
_FS_IOC_GETFLAGS, _FS_IOC_SETFLAGS = 0x80086601, 0x40086602
_MS_MOVE = 8192
_FSPICK_EMPTY_PATH = 8
_FSCONFIG_CMD_RECONFIGURE = 7
_MOVE_MOUNT_EMPTY_PATHS = 0x44
_ACL = "system.posix_acl_access"
_ATTRIBUTE = "bus/platform/drivers_probe"  # below the root of sysfs
_NO_SUCH_XATTR = "trusted.bpflock-canary"


def _read(path: str) -> None:
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.read(fd, 1)
        finally:
            os.close(fd)


def _locked_down() -> None:
    # Reading what sleep states there are asks whether hibernation is locked down. Where there is none: tracefs, which a
    # kernel with BPF LSM has. Not kcore, which takes a capability that nothing else here does.
    _read("/sys/power/state")
    root = mount_detached("tracefs")
    try:
        with contextlib.suppress(OSError):
            os.close(os.open("tracing_on", os.O_RDONLY, dir_fd=root))
    finally:
        os.close(root)


def _kernel_read_file() -> None:
    fd = os.open(OBJECTS / "guard.bpf.o", os.O_RDONLY)  # no module: ENOEXEC
    try:
        syscall(lib.SYS_finit_module, fd, ffi.new("char[]", b""), 0)
    finally:
        os.close(fd)


def _kernel_load_data() -> None:
    zeroes = ffi.new("char[]", 256)  # no module either
    syscall(lib.SYS_init_module, zeroes, 256, ffi.new("char[]", b""))


def _kernel_module_request() -> None:
    # Asking for the index of an interface that does not exist makes the kernel ask for a module of its name.
    fd = syscall(lib.SYS_socket, 1, 1, 0)
    try:
        syscall(lib.SYS_ioctl, fd, _SIOCGIFINDEX, ffi.new("char[]", b"bpflock-canary".ljust(40, b"\0")))
    finally:
        os.close(fd)


def _bpf() -> None:
    syscall(lib.SYS_bpf, _NO_SUCH_COMMAND, ffi.new("char[]", 8), 0)


def _file_open() -> None:
    # Any of several, since none is on every machine: an attribute of sysfs; a file of debugfs; the configuration of a
    # PCI device; the node of an MSR device that no CPU has, which takes a capability that a service need not have.
    _open_attribute()
    with contextlib.suppress(OSError, BpflockError):
        root = mount_detached("debugfs")
        try:
            with os.scandir(root) as entries:
                name = next(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
            os.close(os.open(name, os.O_RDONLY | os.O_NONBLOCK, dir_fd=root))
        except StopIteration:
            pass
        finally:
            os.close(root)
    for path in sorted(Path("/sys/bus/pci/devices").glob("*/config"))[:1]:
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_RDONLY))
    root = mount_detached("tmpfs")
    try:
        with contextlib.suppress(OSError):
            os.mknod("msr", stat.S_IFCHR | 0o600, os.makedev(_MSR_MAJOR, 0xFFFFF), dir_fd=root)
            os.close(os.open("msr", os.O_RDONLY, dir_fd=root))
    finally:
        os.close(root)


@contextlib.contextmanager
def _memfd(content: bytes) -> Iterator[int]:
    """A read-only descriptor of a memfd: one that is open for writing cannot be executed."""
    writable = os.memfd_create("bpflock-canary", 0)
    try:
        os.write(writable, content)
        fd = os.open(f"/proc/self/fd/{writable}", os.O_RDONLY)
    finally:
        os.close(writable)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _attribute() -> Iterator[int]:
    """A descriptor, for writing, of an attribute that every sysfs has. What is written must be empty."""
    root = mount_detached("sysfs")  # where it is mounted, it may be read-only
    try:
        fd = os.open(_ATTRIBUTE, os.O_WRONLY, dir_fd=root)
    finally:
        os.close(root)
    try:
        yield fd
    finally:
        os.close(fd)


def _open_attribute() -> None:
    with contextlib.suppress(OSError), _attribute():
        pass


def _write_attribute(fd: int) -> None:
    with contextlib.suppress(OSError):
        os.write(fd, b"")


def _map_attribute(fd: int) -> None:
    # Attributes have no memory: ENODEV.
    address = syscall(lib.SYS_mmap, 0, _PAGE, _PROT_WRITE, _MAP_SHARED, fd, 0)
    if address > 0:
        syscall(lib.SYS_munmap, address, _PAGE)


def _change_attribute(fd: int) -> None:
    with contextlib.suppress(OSError):
        os.fchmod(fd, stat.S_IMODE(os.fstat(fd).st_mode))


def _set_xattr(fd: int) -> None:
    with contextlib.suppress(OSError):
        os.setxattr(fd, _NO_SUCH_XATTR, b"", os.XATTR_REPLACE)


def _remove_xattr(fd: int) -> None:
    with contextlib.suppress(OSError):
        os.removexattr(fd, _NO_SUCH_XATTR)


def _ioctl_attribute(fd: int) -> None:
    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, _FIGETBSZ, bytes(4))


@contextlib.contextmanager
def _directory() -> Iterator[int]:
    """A descriptor of a directory that no path leads to, with a file and a directory in it."""
    root = mount_detached("tmpfs")
    try:
        os.mkdir("directory", dir_fd=root)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=root))
        yield root
    finally:
        os.close(root)


def _create(root: int) -> None:
    os.close(os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=root))


def _symlink(root: int) -> None:
    os.symlink("file", "new", dir_fd=root)


def _mkdir(root: int) -> None:
    os.mkdir("new", dir_fd=root)


def _mknod(root: int) -> None:
    os.mknod("new", stat.S_IFIFO | 0o600, dir_fd=root)


def _link(root: int) -> None:
    os.link("file", "new", src_dir_fd=root, dst_dir_fd=root)


def _unlink(root: int) -> None:
    os.unlink("file", dir_fd=root)


def _rmdir(root: int) -> None:
    os.rmdir("directory", dir_fd=root)


def _rename(root: int) -> None:
    os.rename("file", "new", src_dir_fd=root, dst_dir_fd=root)


def _set_acl(root: int) -> None:
    # Version 2; the owner, the group and others may read.
    entries = [(tag, 4, 0xFFFFFFFF) for tag in (0x01, 0x04, 0x20)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(f"/proc/self/fd/{root}", _ACL, acl)


def _remove_acl(root: int) -> None:
    os.removexattr(f"/proc/self/fd/{root}", _ACL)


def _file_setattr(root: int) -> None:
    fd = os.open("file", os.O_RDONLY, dir_fd=root)
    try:
        fcntl.ioctl(fd, _FS_IOC_SETFLAGS, fcntl.ioctl(fd, _FS_IOC_GETFLAGS, bytes(8)))
    finally:
        os.close(fd)


def _sb_mount(root: int) -> None:
    target = ffi.new("char[]", f"/proc/self/fd/{root}".encode())
    syscall(lib.SYS_mount, ffi.NULL, target, ffi.NULL, _MS_MOVE, 0)  # of nothing: EINVAL


def _sb_remount(root: int) -> None:
    context = syscall(lib.SYS_fspick, root, ffi.new("char[]", b""), _FSPICK_EMPTY_PATH)
    if context >= 0:
        syscall(lib.SYS_fsconfig, context, _FSCONFIG_CMD_RECONFIGURE)
        os.close(context)


def _move_mount(root: int) -> None:
    empty = ffi.new("char[]", b"")
    syscall(lib.SYS_move_mount, root, empty, root, empty, _MOVE_MOUNT_EMPTY_PATHS)  # onto itself: EINVAL


def _mount_new(_: int) -> None:
    with contextlib.suppress(BpflockError):
        os.close(mount_detached("ramfs"))  # which no other way uses


def _mmap_file() -> None:
    with _memfd(bytes(_PAGE)) as fd:
        address = syscall(lib.SYS_mmap, 0, _PAGE, _PROT_READ | _PROT_EXEC, _MAP_PRIVATE, fd, 0)
        if address > 0:
            syscall(lib.SYS_munmap, address, _PAGE)


def _file_mprotect() -> None:
    with _memfd(bytes(_PAGE)) as fd:
        address = syscall(lib.SYS_mmap, 0, _PAGE, _PROT_READ, _MAP_PRIVATE, fd, 0)
        if address > 0:
            syscall(lib.SYS_mprotect, address, _PAGE, _PROT_READ | _PROT_EXEC)
            syscall(lib.SYS_munmap, address, _PAGE)


def _clone(flags: int) -> None:
    # No pidfd can be stored there: after all that the flags ask for was made, there is no process. Not clone3(2), which
    # a service with RestrictNamespaces= does not have.
    if syscall(lib.SYS_clone, flags | _CLONE_PIDFD | signal.SIGCHLD, 0, _NO_ADDRESS) == 0:
        os._exit(0)  # the child that cannot be


def _capable() -> None:
    # Entering a namespace takes CAP_SYS_ADMIN, even where one is already.
    fd = os.open("/proc/thread-self/ns/uts", os.O_RDONLY)
    try:
        syscall(lib.SYS_setns, fd, _CLONE_NEWUTS)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _socket(family: int, kind: int) -> Iterator[int]:
    """A socket, or the negative errno where it is denied."""
    fd = syscall(lib.SYS_socket, family, kind, 0)
    try:
        yield fd
    finally:
        if fd >= 0:
            os.close(fd)


def _socket_create() -> None:
    with _socket(_AF_NETLINK, _SOCK_RAW):
        pass


def _socket_bind() -> None:
    # A Unix socket: a service with RestrictAddressFamilies= has no other. An address without a family is nobody's.
    address = struct.pack("=H", 0)
    with _socket(_AF_UNIX, _SOCK_DGRAM) as fd:
        syscall(lib.SYS_bind, fd, ffi.new("char[]", address), len(address))


def _socket_listen() -> None:
    with _socket(_AF_UNIX, _SOCK_DGRAM) as fd:  # which cannot listen
        syscall(lib.SYS_listen, fd, 0)


def _call(number: int, *arguments: int) -> None:
    syscall(number, *arguments)


def _change_mount() -> None:
    # To change a mount at a place where none is.
    place = ffi.new("char[]", b"/proc/self")
    syscall(lib.SYS_mount, 0, place, 0, _MS_REMOUNT | _MS_BIND, 0)


def _move_nothing() -> None:
    # What is no mount of its own cannot be moved.
    place = ffi.new("char[]", b"/proc/self")
    syscall(lib.SYS_move_mount, _AT_FDCWD, place, _AT_FDCWD, place, 0)


def _sb_umount() -> None:
    # The root cannot be unmounted so.
    syscall(lib.SYS_umount2, ffi.new("char[]", b"/"), _MNT_EXPIRE)


def _settime64() -> bool:
    # Sets neither the time nor the zone. A service with ProtectClock= does not have the call.
    return syscall(lib.SYS_settimeofday, 0, 0) == 0


def _tiny_program() -> bytes:
    """An ELF executable that exits at once."""
    machine, code = {
        "x86_64": (62, bytes.fromhex("31ffb83c0000000f05")),  # exit(0)
        "aarch64": (183, bytes.fromhex("000080d2a80b80d2010000d4")),
    }[os.uname().machine]
    address, header = 0x400000, 64 + 56
    elf = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, machine, 1, address + header, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    size = header + len(code)
    return elf + struct.pack("<IIQQQQQQ", 1, 5, 0, address, address, size, size, _PAGE) + code


Way = Callable[[], bool | None]  # False: it cannot be reached

# By the name of the hook: what reaches it from the canary's own thread.
_WAYS: dict[str, Way] = {
    "lsm/locked_down": _locked_down,
    "lsm/kernel_read_file": _kernel_read_file,
    "lsm/kernel_load_data": _kernel_load_data,
    "lsm/kernel_module_request": _kernel_module_request,
    "lsm/bpf": _bpf,
    "lsm/file_open": _file_open,
    "lsm/mmap_file": _mmap_file,
    "lsm/file_mprotect": _file_mprotect,
    "lsm/task_alloc": lambda: _clone(_CLONE_NEWUTS),
    "lsm/userns_create": lambda: _clone(_CLONE_NEWUSER),
    "lsm/capable": _capable,
    "lsm/socket_create": _socket_create,
    "lsm/socket_bind": _socket_bind,
    "lsm/socket_listen": _socket_listen,
    "fexit/security_capable": _capable,
    "fexit/security_sb_mount": _change_mount,
    "fexit/security_move_mount": _move_nothing,
    "fexit/security_sb_umount": _sb_umount,
    "fexit/security_ptrace_access_check": lambda: _read("/proc/1/mem"),  # nothing is at its beginning
    # To what it has already.
    "fexit/security_task_fix_setuid": lambda: _call(lib.SYS_setuid, os.getuid()),
    "fexit/security_task_fix_setgid": lambda: _call(lib.SYS_setgid, os.getgid()),
    "fexit/security_kernel_read_file": _kernel_read_file,
    "fexit/security_kernel_load_data": _kernel_load_data,
    "fexit/security_bpf": _bpf,
    "fexit/security_settime64": _settime64,
    "fexit/copy_namespaces": lambda: _clone(_CLONE_NEWUTS),
    "fexit/unshare_nsproxy_namespaces": lambda: _call(lib.SYS_unshare, 0),  # nothing
    "fexit/security_create_user_ns": lambda: _clone(_CLONE_NEWUSER),
}
# What is tried on an attribute of sysfs that was opened before.
_ON_ATTRIBUTE: dict[str, Callable[[int], None]] = {
    "lsm/file_permission": _write_attribute,
    "lsm/mmap_file": _map_attribute,
    "lsm/file_ioctl": _ioctl_attribute,
    "lsm/inode_setattr": _change_attribute,
    "lsm/inode_setxattr": _set_xattr,
    "lsm/inode_removexattr": _remove_xattr,
}
# What is tried in a directory of its own.
_IN_DIRECTORY: dict[str, Callable[[int], None]] = {
    "lsm/inode_create": _create,
    "lsm/inode_symlink": _symlink,
    "lsm/inode_mkdir": _mkdir,
    "lsm/inode_mknod": _mknod,
    "lsm/inode_link": _link,
    "lsm/inode_unlink": _unlink,
    "lsm/inode_rmdir": _rmdir,
    "lsm/inode_rename": _rename,
    "lsm/inode_set_acl": _set_acl,
    "lsm/inode_remove_acl": _remove_acl,
    "lsm/inode_file_setattr": _file_setattr,
    "lsm/sb_mount": _sb_mount,
    "lsm/sb_remount": _sb_remount,
    "lsm/move_mount": _move_mount,
    "lsm/sb_set_mnt_opts": _mount_new,
}
# What must be executed, by a child that is the canary.
_PROGRAMS: dict[str, Callable[[], bytes]] = {
    "lsm/bprm_check_security": lambda: b"#!/nonexistent\n",
    "lsm/bprm_creds_from_file": _tiny_program,
}


# The system calls that fail for it.
_EXECS = {
    f"fexit/__{machine}_sys_{name}": number
    for machine in ("x64", "arm64")
    for name, number in (("execve", lib.SYS_execve), ("execveat", lib.SYS_execveat))
}


def provoke(hook: str, key: bytes, lock: str) -> bool:
    """Reach the hook as the canary of the lock (LOCK_NAME). False if this machine has no way to reach it."""
    if hook in _ON_ATTRIBUTE:
        with _attribute() as fd, own.as_canary(key, lock):
            _ON_ATTRIBUTE[hook](fd)
    if hook in _WAYS:
        with own.as_canary(key, lock):
            return _WAYS[hook]() is not False
    if hook in _IN_DIRECTORY:
        with _directory() as root, own.as_canary(key, lock), contextlib.suppress(OSError):
            _IN_DIRECTORY[hook](root)
    if hook in _ON_ATTRIBUTE or hook in _IN_DIRECTORY:
        return True
    entrance = ffi.new("long[]", own.entrance(key, lock))
    try:
        if hook in _PROGRAMS:
            with _memfd(_PROGRAMS[hook]()) as fd:
                lib.bl_exec_as(entrance, lib.SYS_execveat, fd, ffi.NULL)
            return True
        if hook == "tp_btf/sched_process_exec" and Path("/bin/true").exists():
            lib.bl_exec_as(entrance, lib.SYS_execveat, -1, b"/bin/true")
            return True
        if hook == "tp_btf/sched_process_exit":
            # Without having tried to become another program: what the other hooks answer does not count for this one.
            lib.bl_exec_as(entrance, 0, -1, ffi.NULL)
            return True
        if hook in _EXECS:
            lib.bl_exec_as(entrance, _EXECS[hook], -1, b"/dev/null/none")
            return True
        return False
    finally:
        own.enter(key)  # the child has ended: no task is a canary any more
