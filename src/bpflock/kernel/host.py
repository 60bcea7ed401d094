# SPDX-License-Identifier: Apache-2.0
"""What bpflock must know about the machine it runs on before it may lock it."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bpflock.errors import BpflockError, PermissionsError, UnsupportedError
from bpflock.kernel._libbpf import ffi, lib

# include/linux/proc_ns.h; the network namespace's number is not fixed.
_PROC_PID_INIT_INO = 0xEFFFFFFC
_ROOT_CGROUP_ID = 1  # kernfs numbers its root so; the directory's inode number is the id
_FSCONFIG_CMD_CREATE = 6


def syscall(number: int, *arguments: Any) -> int:
    """A raw system call; arguments are integers or cffi pointers. Gives its result, or -errno."""
    words = [a if isinstance(a, int) else int(ffi.cast("long", a)) for a in arguments]
    return int(lib.bl_syscall(number, *words, *[0] * (6 - len(words))))


def require_root() -> None:
    """Raises PermissionsError unless the caller is root."""
    if os.geteuid() != 0:
        raise PermissionsError("this needs root", hint="run it with sudo")


def in_initial_pid_namespace() -> bool:
    return Path("/proc/self/ns/pid").stat().st_ino == _PROC_PID_INIT_INO


def initial_network_namespace() -> int:
    """Inode number of the initial network namespace: kthreadd never leaves it, whatever process 1 did."""
    if not in_initial_pid_namespace():
        raise UnsupportedError(
            "bpflock runs in a pid namespace of its own: it cannot tell the host from a container",
            hint="run it on the host, or its container with --pid=host",
        )
    try:
        if Path("/proc/2/comm").read_text().strip() != "kthreadd":
            raise BpflockError("process 2 is not kthreadd: is /proc the host's?")
        return Path("/proc/2/ns/net").stat().st_ino
    except OSError as error:
        raise BpflockError(f"cannot read the initial network namespace: {error}") from error


def _check_root(fd: int) -> bool:
    return os.fstat(fd).st_ino == _ROOT_CGROUP_ID


@contextlib.contextmanager
def root_cgroup() -> Iterator[int]:
    """A descriptor of the root of the unified cgroup hierarchy, wherever or whether it is mounted."""
    for path in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        if Path(path, "cgroup.controllers").exists():
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                if _check_root(fd):
                    yield fd
                    return
            finally:
                os.close(fd)
    fd = mount_detached("cgroup2")
    try:
        if not _check_root(fd):
            raise UnsupportedError(
                "bpflock runs in a cgroup namespace of its own: it cannot reach the root cgroup",
                hint="run it on the host, or its container with --cgroupns=host",
            )
        yield fd
    finally:
        os.close(fd)


def mount_detached(filesystem: str) -> int:
    """A descriptor of the root of a new mount that no path leads to; it goes with the descriptor."""
    context = syscall(lib.SYS_fsopen, ffi.new("char[]", filesystem.encode()), 1)
    if context < 0:
        raise _mount_error(filesystem, -context)
    try:
        error = syscall(lib.SYS_fsconfig, context, _FSCONFIG_CMD_CREATE)
        fd = error if error < 0 else syscall(lib.SYS_fsmount, context, 1)
    finally:
        os.close(context)
    if fd < 0:
        raise _mount_error(filesystem, -fd)
    return fd


def _mount_error(filesystem: str, number: int) -> BpflockError:
    message = f"cannot mount {filesystem}: {os.strerror(number)}"
    if number == errno.EPERM:
        return PermissionsError(message, hint="root lacks capabilities here: see 'bpflock check'")
    return BpflockError(message)


def mount_bpffs(path: Path) -> None:
    """Mount bpffs at path unless it is there."""
    if is_bpffs(path):
        return
    source, target = ffi.new("char[]", b"bpffs"), ffi.new("char[]", os.fsencode(path))
    error = syscall(lib.SYS_mount, source, target, ffi.new("char[]", b"bpf"), 0, 0)
    if error < 0:
        raise BpflockError(
            f"cannot mount bpffs at {path}: {os.strerror(-error)}", hint="mount -t bpf bpffs /sys/fs/bpf"
        )


def is_bpffs(path: Path) -> bool:
    """Whether the path lies on a BPF filesystem."""
    device = path.stat().st_dev if path.exists() else None
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if right.split()[0] == "bpf":
            major, minor = left.split()[2].split(":")
            if os.makedev(int(major), int(minor)) == device:
                return True
    return False


def read_kernel_config() -> dict[str, str]:
    """The kernel's build configuration; empty if nothing tells it."""
    import gzip  # hardly ever needed

    release = os.uname().release
    for path in (Path("/proc/config.gz"), Path(f"/boot/config-{release}"), Path(f"/lib/modules/{release}/config")):
        with contextlib.suppress(OSError):
            data = path.read_bytes()
            text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode(errors="replace")
            pairs = (line.split("=", 1) for line in text.splitlines() if line.startswith("CONFIG_"))
            return {name: value.strip('"') for name, value in pairs}
    return {}


def possible_cpus() -> int:
    """How many CPUs the kernel may ever have: their numbers are below this."""
    last = Path("/sys/devices/system/cpu/possible").read_text().strip().split(",")[-1].split("-")[-1]
    return int(last) + 1
