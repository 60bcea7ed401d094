# SPDX-License-Identifier: Apache-2.0
"""USB devices as sysfs shows them, and the kernel's own authorisation: Documentation/usb/authorization.rst."""

import contextlib
import os
import re
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bpflock.errors import BpflockError, UnsupportedError
from bpflock.kernel.host import mount_detached

DEVICES = Path("/sys/bus/usb/devices")
_PARAMETER = Path("/sys/module/usbcore/parameters/authorized_default")
_DEFAULT = "default"  # the parameter, among the values that close_hubs() gives
_OPEN = "1"
_CLOSED = "0"
_PORT = re.compile(r"\d+-\d+(\.\d+)*")
_HUB = re.compile(r"usb\d+")
# struct usb_device_descriptor and usb_interface_descriptor, linux/usb/ch9.h
_DT_INTERFACE = 4
_NETLINK_KOBJECT_UEVENT = 15
_UEVENT_SIZE = 16384


@dataclass(frozen=True)
class Device:
    """A USB device that is plugged in. `port` is its name in sysfs, such as 1-1.2: bus 1, port 1, port 2 of a hub.

    `number` is that of the device on its bus: another one after each plugging in. `vendor` and `product` have four
    hexadecimal digits. `classes` holds the class codes of the device or, where it leaves them to its interfaces, those
    of all its interfaces.
    """

    port: str
    number: str
    vendor: str
    product: str
    serial: str
    name: str
    classes: frozenset[int] = field(default_factory=frozenset)
    authorized: bool = True

    @property
    def id(self) -> str:
        return f"{self.vendor}:{self.product}"

    @property
    def key(self) -> str:
        """Tells this plugging in from every other."""
        return f"{self.port}/{self.number}"


def devices() -> list[Device]:
    """All that are plugged in, without root hubs, by port."""
    if not DEVICES.is_dir():
        return []
    found = [device for path in DEVICES.iterdir() if (device := read(path.name))]
    return sorted(found, key=lambda device: [int(word) for word in re.split(r"[-.]", device.port)])


def read(port: str) -> Device | None:
    """The device on a port; None if there is none (any more)."""
    if not _PORT.fullmatch(port):
        return None
    path = DEVICES / port
    try:
        words = [_text(path / name) for name in ("devnum", "idVendor", "idProduct", "authorized", "bDeviceClass")]
        descriptors = (path / "descriptors").read_bytes()
    except OSError:
        return None
    number, vendor, product, authorized, device_class = words
    names = (_optional(path / name) for name in ("manufacturer", "product"))
    return Device(
        port=port,
        number=number,
        vendor=vendor,
        product=product,
        serial=_optional(path / "serial"),
        name=" ".join(name for name in names if name),
        classes=_classes(int(device_class, 16), descriptors),
        authorized=authorized != _CLOSED,
    )


def _classes(device_class: int, descriptors: bytes) -> frozenset[int]:
    """Every class that a driver could bind to, in any configuration."""
    found = {device_class} if device_class not in (0x00, 0xEF) else set()
    offset = 0
    while offset + 2 <= len(descriptors):
        length, kind = descriptors[offset], descriptors[offset + 1]
        if length < 2:
            break
        if kind == _DT_INTERFACE and length >= 9 and offset + 9 <= len(descriptors):
            found.add(descriptors[offset + 5])
        offset += length
    return frozenset(found)


def _text(path: Path) -> str:
    return path.read_text(errors="replace").strip()


def _optional(path: Path) -> str:
    try:
        return _text(path)
    except OSError:
        return ""


def authorize(port: str, allowed: bool) -> None:
    """Let the kernel use the device, or not. Raises BpflockError."""
    try:
        _write_file(DEVICES / port / "authorized", _OPEN if allowed else _CLOSED)
    except FileNotFoundError:
        raise BpflockError(f"there is no USB device on port {port}", hint="bpflock usb list") from None
    except OSError as error:
        raise BpflockError(f"USB device {port}: the kernel refused: {error.strerror}") from error


def _hubs() -> Iterator[tuple[str, Path]]:
    if DEVICES.is_dir():
        for path in sorted(DEVICES.iterdir()):
            if _HUB.fullmatch(path.name):
                yield path.name, path / "authorized_default"
    if _PARAMETER.exists():
        yield _DEFAULT, _PARAMETER


def require_core() -> None:
    """Load usbcore: what is not there cannot be told to keep devices out. Raises UnsupportedError if it cannot be.

    A kernel without USB has nothing to lock.
    """
    if _PARAMETER.exists():
        return
    release = Path("/proc/sys/kernel/osrelease").read_text().strip()
    known = Path("/lib/modules", release, "modules.dep")
    if not known.exists() or "/usbcore.ko" not in known.read_text(errors="replace"):
        return
    with contextlib.suppress(OSError):
        import subprocess  # takes its time, and is hardly ever needed

        subprocess.run(["modprobe", "-q", "usbcore"], check=False, capture_output=True)
    if not _PARAMETER.exists():
        raise UnsupportedError(
            "usbcore is not loaded and could not be: USB devices could not be kept out later",
            hint="modprobe usbcore; if kmodlock denies that, unlock it, and lock usblock first",
        )


def defaults() -> dict[str, str]:
    """What new devices get, by root hub, and that of root hubs to come (`default`)."""
    return {name: _text(path) for name, path in _hubs()}


def close_hubs() -> None:
    """No new device is authorised, on no root hub that there is or will be. Raises BpflockError."""
    # The parameter first: a controller that is found meanwhile has it.
    _write(dict.fromkeys(reversed([name for name, _ in _hubs()]), _CLOSED))
    left = sorted(name for name, value in defaults().items() if value != _CLOSED)
    if left:
        raise BpflockError(f"USB root hubs that still authorise new devices: {', '.join(left)}")


def restore_hubs(before: Mapping[str, str]) -> None:
    """As `before`; a root hub that was not there then gets what the kernel would have given it."""
    _write({name: before.get(name, _OPEN) for name, _ in _hubs()})


def _write(values: Mapping[str, str]) -> None:
    paths = dict(_hubs())
    for name, value in values.items():
        try:
            if name in paths and _text(paths[name]) != value:
                _write_file(paths[name], value)
        except FileNotFoundError:
            continue  # the controller has gone
        except OSError as error:
            raise BpflockError(f"{paths[name]}: cannot write {value}: {error.strerror}") from error


def _write_file(path: Path, value: str) -> None:
    """Through a mount of sysfs of our own: in a service, the one that has a path is read-only. Raises OSError."""
    root = mount_detached("sysfs")
    try:
        fd = os.open(path.relative_to("/sys"), os.O_WRONLY | os.O_CLOEXEC, dir_fd=root)
    finally:
        os.close(root)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


class Uevents:
    """Tells that USB devices came or went. What a message says is not trusted: only that it is time to look."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_KOBJECT_UEVENT
        )
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind((0, 1))  # the kernel's group, not udev's

    def fileno(self) -> int:
        return self._socket.fileno()

    def pending(self) -> bool:
        """Whether USB devices may have changed since the last call: the kernel says so, or its messages were lost."""
        changed = False
        while True:
            try:
                data, ancillary, _, sender = self._socket.recvmsg(_UEVENT_SIZE, socket.CMSG_SPACE(12))
            except BlockingIOError:
                return changed
            except OSError:  # ENOBUFS: some are lost
                changed = True
                continue
            changed |= _from_kernel(sender, ancillary) and b"\0SUBSYSTEM=usb\0" in data

    def close(self) -> None:
        self._socket.close()


def _from_kernel(sender: tuple[int, int], ancillary: list[tuple[int, int, bytes]]) -> bool:
    """Sent by no process: port 0, and credentials of pid 0."""
    pids = [
        struct.unpack_from("=i", data)[0]
        for level, kind, data in ancillary
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS
    ]
    return sender[0] == 0 and pids == [0]
