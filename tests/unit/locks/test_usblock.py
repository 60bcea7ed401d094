# SPDX-License-Identifier: Apache-2.0
"""Which USB devices a configuration lets in, and the words that name them."""

import pytest

from bpflock.config import load
from bpflock.errors import UsageError
from bpflock.kernel.usb import Device, _classes
from bpflock.locks.model import Profile
from bpflock.locks.usblock import USBLOCK, decide, find, keeps_out, kinds, needs_daemon

KEYBOARD = Device("1-1", "5", "0627", "0001", "KBD42", "QEMU Keyboard", frozenset({3}))
STICK = Device("2-1.4", "6", "0781", "5567", "4C53", "SanDisk", frozenset({8}))
DUCKY = Device("1-2", "7", "0781", "5567", "", "SanDisk", frozenset({8, 3}))
STRANGE = Device("1-3", "8", "ffff", "ffff", "", "", frozenset())

# Descriptors of QEMU's keyboard and network card, as sysfs shows them.
_KEYBOARD = "120100020000004027060100000001040b0109022200010108a032090400000103010100092111010001223f0007058103080007"
_CARD = (
    "12010002020000402505a2a4000001020a0209024300020209c03209040000010202ff06052400100105240100010424020005240600010705"
    "810310002009040100020a0000040705820240000007050202400000"
)


@pytest.mark.parametrize(
    ("device_class", "descriptors", "classes"),
    [
        (0, _KEYBOARD, {3}),
        (2, _CARD, {2, 10}),
        (0xEF, _KEYBOARD, {3}),
        (0xFF, "", {0xFF}),
        (0, _KEYBOARD[:60], set()),  # cut off
        (0, _KEYBOARD[:36] + "0000", set()),  # a length of 0 ends it
    ],
)
def test_classes_are_those_of_the_device_or_of_its_interfaces(
    device_class: int, descriptors: str, classes: set[int]
) -> None:
    assert _classes(device_class, bytes.fromhex(descriptors)) == classes


@pytest.mark.parametrize(
    ("profile", "block", "allow", "device", "allowed", "reason"),
    [
        ("allow", "", "", STICK, True, "allow (privileged)"),
        ("allow", "storage", "", STICK, False, "denied (blocked)"),
        ("allow", "hid", "", DUCKY, False, "denied (blocked)"),
        ("allow", "0781:5567", "", STICK, False, "denied (blocked)"),
        ("baseline", "", "", KEYBOARD, False, "denied (baseline)"),
        ("baseline", "", "hid", KEYBOARD, True, "baseline (allowed)"),
        ("baseline", "", "storage", DUCKY, False, "denied (baseline)"),
        ("baseline", "", "storage,hid", DUCKY, True, "baseline (allowed)"),
        ("baseline", "hid", "0781:5567", DUCKY, False, "denied (blocked)"),
        ("baseline", "", "port:2-1.4", STICK, True, "baseline (allowed)"),
        ("baseline", "", "port:2-1", STICK, False, "denied (baseline)"),
        ("baseline", "", "serial:4C53", STICK, True, "baseline (allowed)"),
        ("baseline", "", "serial:4c53", STICK, False, "denied (baseline)"),
        ("baseline", "", "storage,hid", STRANGE, False, "denied (baseline)"),
        ("baseline", "", "misc", STRANGE, True, "baseline (allowed)"),
        ("restricted", "", "storage", STICK, False, "denied (restricted)"),
    ],
)
def test_decisions(profile: str, block: str, allow: str, device: Device, allowed: bool, reason: str) -> None:
    settings = USBLOCK.settings(Profile(profile), [block], [allow])
    assert decide(device, settings) == (allowed, reason)
    assert allowed or keeps_out(settings)


def test_the_daemon_is_needed_where_the_lists_let_something_in() -> None:
    def needs(profile: Profile, block: str = "", allow: str = "") -> bool:
        return needs_daemon(USBLOCK.settings(profile, [block], [allow]))

    assert needs(Profile.BASELINE, allow="hid")
    assert needs(Profile.ALLOW, block="storage")
    assert not needs(Profile.BASELINE)
    assert not needs(Profile.BASELINE, allow="bind")
    assert not needs(Profile.ALLOW, block="authorize")
    assert not needs(Profile.RESTRICTED, allow="hid")


def test_words_of_a_list() -> None:
    words = "hid,0781:556A,PORT:1-1.2,serial:Ab:C,@network"
    assert USBLOCK.parse_operations(words) == ("0781:556a", "hid", "net", "port:1-1.2", "serial:Ab:C", "wireless")
    config = load({"usblock-profile": "baseline", "usblock-allow": words, "config-dir": "/"}, {})
    assert "port:1-1.2" in config.locks["usblock"].settings.allow


@pytest.mark.parametrize(
    ("word", "message", "hint"),
    [
        ("sotrage", "usblock has no operation 'sotrage'", "'storage'"),
        ("0781:556", "'0781:556' is no vendor:product", "four hexadecimal digits"),
        ("0x0781:0x5567", "'0x0781:0x5567' is no vendor:product", "lsusb"),
        ("port:1", "'port:1' is no USB port", "port:1-1.2"),
        ("port:1-1/..", "'port:1-1/..' is no USB port", "usb list"),
        ("serial:", "'serial:' has no serial number", "serial:4C530001"),
        ("serail:X", "'serail:X' names no USB device", "'serial'"),
    ],
)
def test_bad_words(word: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        USBLOCK.parse_operations(word)
    assert caught.value.message == message
    assert hint in (caught.value.hint or "")


def test_a_device_in_both_lists() -> None:
    with pytest.raises(UsageError, match="0781:5567 is in both"):
        USBLOCK.settings(Profile.BASELINE, ["0781:5567"], ["0781:5567"])


def test_finding_devices() -> None:
    devices = [KEYBOARD, STICK, DUCKY]
    assert find("1-1", devices) == [KEYBOARD]
    assert find("port:2-1.4", devices) == [STICK]
    assert find("0781:5567", devices) == [STICK, DUCKY]
    assert find("serial:KBD42", devices) == [KEYBOARD]
    with pytest.raises(UsageError, match="no USB device is '1-9'"):
        find("1-9", devices)
    with pytest.raises(UsageError, match="no USB port"):
        find("../usb1", devices)


def test_kinds() -> None:
    assert kinds(DUCKY) == ("hid", "storage")
    assert kinds(STRANGE) == ("misc",)
