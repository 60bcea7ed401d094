# SPDX-License-Identifier: Apache-2.0
"""What rootfslock guards on this machine: a superblock, the block devices beneath it, and what is excepted.

Paths are those of process 1, also where bpflock itself runs in a container.
"""

import contextlib
import fcntl
import os
import re
import stat
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bpflock.errors import BpflockError, UsageError
from bpflock.kernel._libbpf import ffi, lib
from bpflock.kernel.bpf import Map
from bpflock.kernel.host import syscall

# bpf/rootfslock.bpf.c
_RAW_MAX = 16
_EXCEPT_MAX = 16
_DRIVE_MAX = 16
_SHOW_SUPERBLOCK = 0xB9F1  # bpf/superblock.bpf.h

_RESOLVE_IN_ROOT = 0x10  # include/uapi/linux/openat2.h
_FS_IOC_GETVERSION = 0x80087601  # include/uapi/linux/fs.h
_INIT_ROOT = "/proc/1/root"
_MOUNTS = "/proc/1/mountinfo"
_DEVICES = Path("/sys/dev/block")


def kernel_device(major: int, minor: int) -> int:
    """A device number as the kernel has it, not as stat(2) tells it."""
    return major << 20 | minor


@dataclass(frozen=True)
class _Mount:
    """A line of mountinfo. `device` is the superblock's, which on btrfs is not what stat(2) tells."""

    device: int
    filesystem: str
    source: str


@dataclass(frozen=True)
class _Place:
    """A file or directory: its mount, and its inode's number as the kernel has it."""

    mount: _Mount
    inode: int
    generation: int  # 0 if the file system tells none


def resolve(path: str, excepted: tuple[str, ...]) -> Mapping[str, int | bytes]:
    """The fields of struct rootfslock_target. Raises BpflockError, also for what cannot be enforced."""
    if len(excepted) > _EXCEPT_MAX:
        raise UsageError(
            f"rootfslock-except has {len(excepted)} paths, at most {_EXCEPT_MAX} are possible",
            hint="name a directory above several of them",
        )
    target = _path(path)
    places = [_except(word, target, path) for word in excepted]
    raw = sorted(_beneath(target))
    if len(raw) > _RAW_MAX:
        raise BpflockError(
            f"{len(raw)} block devices carry the file system of {path}, rootfslock can guard {_RAW_MAX}",
            hint="detach loop devices that nobody uses: losetup -D",
        )
    drives = sorted(_drives(raw))
    if len(drives) > _DRIVE_MAX:
        raise BpflockError(
            f"the drives of {path} have {len(drives)} nodes for commands, rootfslock can guard {_DRIVE_MAX}"
        )
    return {
        "device": target.device,
        "raws": len(raw),
        "drives": len(drives),
        "excepts": len(places),
        "mapped": any((_directory(device) / "dm").exists() for device in raw),
        "drive": struct.pack(f"={_DRIVE_MAX}I", *drives, *[0] * (_DRIVE_MAX - len(drives))),
        "raw": struct.pack(f"={_RAW_MAX}I", *raw, *[0] * (_RAW_MAX - len(raw))),
        "inode": struct.pack(f"={_EXCEPT_MAX}Q", *(p.inode for p in places), *[0] * (_EXCEPT_MAX - len(places))),
        "generation": struct.pack(
            f"={_EXCEPT_MAX}I", *(p.generation for p in places), *[0] * (_EXCEPT_MAX - len(places))
        ),
    }


def _path(path: str) -> _Mount:
    with _opened(path, "rootfslock-path") as fd:
        if not _is_plain(fd):
            raise UsageError(f"rootfslock-path: {path} is neither a file nor a directory")
    return _place(path, "rootfslock-path").mount


def _except(word: str, target: _Mount, path: str) -> _Place:
    place = _place(word, "rootfslock-except")
    if place.mount.device != target.device:
        raise UsageError(
            f"rootfslock-except: {word} is on another file system ({place.mount.filesystem}) than {path}",
            hint="it stays writable without being named",
        )
    return place


def show(path: str, kept: Map) -> None:
    """Show the lock which superblocks it guards, now that its programs are attached; `kept`: where it keeps them."""
    target = _path(path)
    raw = _beneath(target)
    _show(path, {target.device})
    for line in Path(_MOUNTS).read_text().splitlines():
        _, _, device, _, place, *_ = line.split()
        if _parse_device(device) in raw:
            _show(_unescape(place), raw)  # also another device over the same content
    if not any(kept.values()[:8]):
        raise BpflockError(f"rootfslock did not see which file system {path} is on")


def _show(path: str, devices: set[int]) -> None:
    """By an ioctl that nobody knows; unless something else is mounted over that place."""
    with contextlib.suppress(UsageError, OSError), _opened(path, "rootfslock-path") as fd:
        mount = _mount(int(_fdinfo(fd)["mnt_id"]))
        if mount is None or mount.device not in devices or not _is_plain(fd):
            return
        readable = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK)
        try:
            fcntl.ioctl(readable, _SHOW_SUPERBLOCK)
        finally:
            os.close(readable)


def _unescape(text: str) -> str:
    r"""A field of mountinfo, where a blank is \040."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


@contextlib.contextmanager
def _opened(path: str, option: str) -> Iterator[int]:
    """An O_PATH descriptor of what the path is for process 1."""
    root = os.open(_INIT_ROOT, os.O_PATH | os.O_DIRECTORY)
    try:
        how = ffi.new("char[]", struct.pack("=QQQ", os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT))
        fd = syscall(lib.SYS_openat2, root, ffi.new("char[]", os.fsencode(path)), how, 24)
    finally:
        os.close(root)
    if fd < 0:
        raise UsageError(
            f"{option}: {path}: {os.strerror(-fd).lower()}", hint="it must be there when the lock is loaded"
        )
    try:
        yield fd
    finally:
        os.close(fd)


def _place(path: str, option: str) -> _Place:
    with _opened(path, option) as fd:
        info = _fdinfo(fd)
        mount = _mount(int(info["mnt_id"]))
        if mount is None:
            raise BpflockError(f"{option}: {path} is on no mount that {_MOUNTS} shows")
        inode = int(info["ino"]) if "ino" in info else os.fstat(fd).st_ino
        return _Place(mount, inode, _generation(fd))


def _fdinfo(fd: int) -> dict[str, str]:
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def _is_plain(fd: int) -> bool:
    """A file or directory: what can be opened without an effect."""
    mode = os.fstat(fd).st_mode
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def _generation(fd: int) -> int:
    """Tells a file from one that got its number later."""
    if not _is_plain(fd):
        return 0
    with contextlib.suppress(OSError):
        readable = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK)
        try:
            return int(struct.unpack_from("=I", fcntl.ioctl(readable, _FS_IOC_GETVERSION, bytes(8)))[0])
        finally:
            os.close(readable)
    return 0


def _mount(number: int) -> _Mount | None:
    for line in Path(_MOUNTS).read_text().splitlines():
        left, _, right = line.partition(" - ")
        identifier, _, device, *_ = left.split()
        if int(identifier) == number:
            filesystem, source, *_ = right.split(" ")
            return _Mount(_parse_device(device), filesystem, source)
    return None


def _parse_device(text: str) -> int:
    major, _, minor = text.strip().partition(":")
    return kernel_device(int(major), int(minor))


def _beneath(mount: _Mount) -> set[int]:
    """The block devices whose content the file system is part of: its own, the disk of a partition, what device mapper
    and RAID are made of, and loop devices over any of them."""
    found = {device for device in (mount.device, *_members(mount)) if device >> 20}
    while True:
        more = {other for device in found for other in _carriers(device)} | _loops(found)
        if more <= found:
            return found
        found |= more


def _members(mount: _Mount) -> Iterator[int]:
    """The devices of a file system whose superblock has a number of its own: btrfs."""
    device = _block_device(mount.source)
    if mount.device >> 20 or device is None:
        return
    yield device
    for directory in Path("/sys/fs/btrfs").glob("*/devices"):
        members = {_parse_device((entry / "dev").read_text()) for entry in directory.iterdir()}
        if device in members:
            yield from members


def _directory(device: int) -> Path:
    return _DEVICES / f"{device >> 20}:{device & 0xFFFFF}"


def _carriers(device: int) -> Iterator[int]:
    directory = _directory(device)
    if (directory / "partition").exists():
        yield _parse_device((directory.resolve().parent / "dev").read_text())
    for entry in (directory / "slaves").glob("*/dev"):
        yield _parse_device(entry.read_text())


def _drives(devices: Iterable[int]) -> set[int]:
    """The character devices that take commands for the drives: of NVMe (nvme0, ng0n1), and of SCSI (sg, bsg)."""
    found = set()
    for device in devices:
        parent = _directory(device).resolve() / "device"
        if (
            parent / "subsystem"
        ).resolve().name == "nvme-subsystem":  # of several controllers, whose names lead to them
            places = [parent, *parent.glob("nvme*/")]
        else:
            places = [parent]
        for place in places:
            nodes = [place / "dev", *place.glob("ng*/dev"), *place.glob("scsi_generic/*/dev"), *place.glob("bsg/*/dev")]
            found |= {_parse_device(node.read_text()) for node in nodes if node.exists() and not _is_block(node)}
    return found


def _is_block(node: Path) -> bool:
    return (node.parent / "subsystem").resolve().name == "block"


def _loops(devices: set[int]) -> set[int]:
    """Loop devices over any of these."""
    found = set()
    for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            if _block_device(entry.read_text().strip()) in devices:
                found.add(_parse_device((entry.parent.parent / "dev").read_text()))
    return found


def _block_device(path: str) -> int | None:
    """The number of the device that this path of process 1 is a node of."""
    if not path.startswith("/"):
        return None
    with contextlib.suppress(UsageError), _opened(path, "") as fd:
        status = os.fstat(fd)
        if stat.S_ISBLK(status.st_mode):
            return kernel_device(os.major(status.st_rdev), os.minor(status.st_rdev))
    return None
