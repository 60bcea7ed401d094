# SPDX-License-Identifier: Apache-2.0
"""usblock: which USB devices the machine uses. See bpf/usblock.bpf.c for what it guards, kernel/usb.py for the rest."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from bpflock.errors import UsageError, nearest
from bpflock.locks.model import Level, Lock, Operation, Profile, Settings

if TYPE_CHECKING:
    from bpflock.kernel.usb import Device

_WRITES = ("authorize", "bind")
# https://www.usb.org/defined-class-codes
_KINDS = {
    0x01: "audio",
    0x02: "net",
    0x03: "hid",
    0x06: "image",
    0x07: "printer",
    0x08: "storage",
    0x09: "hub",
    0x0A: "net",
    0x0B: "smartcard",
    0x0E: "video",
    0xE0: "wireless",
    0xFF: "vendor",
}
_OTHER = "misc"
_ID = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}")
_PORT = re.compile(r"[1-9]\d{0,2}-[1-9]\d{0,2}(\.[1-9]\d{0,2}){0,6}")
_PREFIXES = ("port", "serial")
_FORMS = "0781:5567 (vendor:product), port:1-1.2 or serial:XYZ"


def selector(word: str) -> str | None:
    """The canonical form of a word that names devices, None if it has no colon. Raises UsageError for a bad one."""
    prefix, colon, rest = word.partition(":")
    if not colon:
        return None
    prefix = prefix.lower()
    if prefix == "serial":
        if not rest or not rest.isprintable():
            raise UsageError(f"'{word}' has no serial number", hint="for example: serial:4C530001")
        return f"serial:{rest}"
    if prefix == "port":
        if not _PORT.fullmatch(rest):
            raise UsageError(
                f"'{word}' is no USB port", hint="bus-port[.port...], as 'bpflock usb list' shows: port:1-1.2"
            )
        return f"port:{rest}"
    if _ID.fullmatch(word.lower()):
        return word.lower()
    if prefix.isalpha() and not re.fullmatch(r"[0-9a-f]{1,4}", prefix):
        raise UsageError(f"'{word}' names no USB device", hint=f"{nearest(prefix, _PREFIXES)} Forms: {_FORMS}")
    raise UsageError(f"'{word}' is no vendor:product", hint="four hexadecimal digits each, as lsusb shows: 0781:5567")


USBLOCK = Lock(
    name="usblock",
    summary="using new USB devices",
    operations=(
        Operation("authorize", "write authorized, authorized_default, interface_authorized_default in sysfs"),
        Operation("bind", "bind, unbind or remove a USB device or driver through sysfs"),
        Operation("audio", "use a device with audio"),
        Operation("net", "use a network card or modem (communications class)"),
        Operation("hid", "use a keyboard, mouse or other input device"),
        Operation("image", "use a camera or scanner that transfers still pictures"),
        Operation("printer", "use a printer"),
        Operation("storage", "use a disk, stick or card reader"),
        Operation("hub", "use a hub: without it, nothing behind it"),
        Operation("smartcard", "use a smart card reader"),
        Operation("video", "use a device with video"),
        Operation("wireless", "use a wireless controller, such as Bluetooth"),
        Operation("vendor", "use a device with an interface of the vendor's own"),
        Operation("misc", "use a device of any other class"),
    ),
    levels={
        Level.PRIVILEGED: Settings(Profile.ALLOW),
        # Not baseline: an ordinary host has keyboards plugged in, and nobody has said which.
        Level.BASELINE: Settings(Profile.ALLOW),
        Level.RESTRICTED: Settings(Profile.RESTRICTED),
    },
    groups={
        "@input": ("hid", "hub"),
        "@media": ("audio", "video", "image"),
        "@network": ("net", "wireless"),
    },
    selector=selector,
    for_sessions=False,  # a device that is plugged in is no task's
)


def keeps_out(settings: Settings) -> bool:
    """Whether the kernel is to keep new devices out until they are authorised."""
    return settings.profile is not Profile.ALLOW or any(word not in _WRITES for word in settings.block)


def needs_daemon(settings: Settings) -> bool:
    """Whether some new devices are allowed although the kernel keeps all of them out."""
    allowed = any(word not in _WRITES for word in settings.allow)
    return keeps_out(settings) and (
        settings.profile is Profile.ALLOW or (settings.profile is Profile.BASELINE and allowed)
    )


def kinds(device: "Device") -> tuple[str, ...]:
    """The operations that using the device comes to: one for each class it has."""
    return tuple(sorted({_KINDS.get(code, _OTHER) for code in device.classes})) or (_OTHER,)


def names(device: "Device") -> set[str]:
    """The selectors that match the device."""
    serial = {f"serial:{device.serial}"} if device.serial else set()
    return {device.id, f"port:{device.port}", *serial}


def decide(device: "Device", settings: Settings) -> tuple[bool, str]:
    """Whether to use a new device, and the reason as events tell it.

    A device of several kinds needs all of them allowed, and none blocked: a stick that is a keyboard as well is both.
    """
    what, which = set(kinds(device)), names(device)
    if settings.profile is Profile.RESTRICTED:
        return False, "denied (restricted)"
    if (what | which) & set(settings.block):
        return False, "denied (blocked)"
    if settings.profile is Profile.ALLOW:
        return True, "allow (privileged)"
    if which & set(settings.allow) or what <= set(settings.allow):
        return True, "baseline (allowed)"
    return False, "denied (baseline)"


def find(target: str, devices: "Iterable[Device]") -> "list[Device]":
    """The devices that a user's word means: a port, with or without `port:`, or a selector. Raises UsageError."""
    found = list(devices)
    word = target.strip()
    wanted = selector(word if ":" in word else f"port:{word}")
    matching = [device for device in found if wanted in names(device)]
    if not matching:
        known = [device.port for device in found]
        raise UsageError(
            f"no USB device is '{word}'", hint=nearest(word, known) if known else "no USB device is plugged in"
        )
    return matching
