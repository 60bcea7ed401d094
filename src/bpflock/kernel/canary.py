# SPDX-License-Identifier: Apache-2.0
"""Ways to reach each hook without a side effect, so that a canary can prove that its program fires.

Each way is denied by the canary's own lock; were the hook dead, the call would fail for a reason of its own.
"""

import contextlib
import os
import platform
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
_PROT_READ, _PROT_EXEC, _MAP_PRIVATE = 1, 4, 2
_PAGE = 4096
_AF_INET, _AF_NETLINK, _SOCK_DGRAM, _SOCK_RAW = 2, 16, 2, 3
_CLONE_PIDFD, _CLONE_NEWUTS, _CLONE_NEWUSER = 0x00001000, 0x04000000, 0x10000000
_NO_ADDRESS = 8


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
    # Any of three, since none is on every machine: a file of debugfs; the configuration of a PCI device; the node of an
    # MSR device that no CPU has, which takes a capability that a service need not have.
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
    # To an address that is nobody's: TEST-NET-1.
    address = struct.pack("=H", _AF_INET) + bytes([0, 1, 192, 0, 2, 1]) + bytes(8)
    with _socket(_AF_INET, _SOCK_DGRAM) as fd:
        syscall(lib.SYS_bind, fd, ffi.new("char[]", address), len(address))


def _socket_listen() -> None:
    with _socket(_AF_INET, _SOCK_DGRAM) as fd:  # which cannot listen
        syscall(lib.SYS_listen, fd, 0)


def _tiny_program() -> bytes:
    """An ELF executable that exits at once."""
    machine, code = {
        "x86_64": (62, bytes.fromhex("31ffb83c0000000f05")),  # exit(0)
        "aarch64": (183, bytes.fromhex("000080d2a80b80d2010000d4")),
    }[platform.machine()]
    address, header = 0x400000, 64 + 56
    elf = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, machine, 1, address + header, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    size = header + len(code)
    return elf + struct.pack("<IIQQQQQQ", 1, 5, 0, address, address, size, size, _PAGE) + code


Way = Callable[[], None]

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
}
# What must be executed, by a child that is the canary.
_PROGRAMS: dict[str, Callable[[], bytes]] = {
    "lsm/bprm_check_security": lambda: b"#!/nonexistent\n",
    "lsm/bprm_creds_from_file": _tiny_program,
}


def provoke(hook: str, key: bytes, lock: str) -> bool:
    """Reach the hook as the canary of the lock (LOCK_NAME). False if this machine has no way to reach it."""
    if hook in _WAYS:
        with own.as_canary(key, lock):
            _WAYS[hook]()
        return True
    entrance = ffi.new("long[]", own.entrance(key, lock))
    try:
        if hook in _PROGRAMS:
            with _memfd(_PROGRAMS[hook]()) as fd:
                lib.bl_exec_as(entrance, fd, ffi.NULL)
            return True
        if hook == "tp_btf/sched_process_exec" and Path("/bin/true").exists():
            lib.bl_exec_as(entrance, -1, b"/bin/true")
            return True
        return False
    finally:
        own.enter(key)  # the child has ended: no task is a canary any more
