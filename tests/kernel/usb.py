# SPDX-License-Identifier: Apache-2.0
"""Plugging USB devices into the running machine: QEMU's monitor is one of its virtio ports (vm/qemu.py)."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from bpflock.kernel import usb

# What it takes to plug each in, and the driver that its first interface gets.
DEVICES = {
    "keyboard": (("device_add usb-kbd,id=keyboard,bus=xhci.0,serial=KBD42",), "usbhid"),
    "disk": (
        (
            "drive_add 0 if=none,id=drive,file=null-co://,format=raw",
            "device_add usb-storage,id=disk,drive=drive,bus=xhci.0",
        ),
        "usb-storage",
    ),
    "card": (("netdev_add hubport,id=wire,hubid=0", "device_add usb-net,id=card,netdev=wire,bus=xhci.0"), "rndis_host"),
}
_IDS = {"keyboard": "0627:0001", "disk": "46f4:0001", "card": "0525:a4a2"}
_MODULES = ("xhci_pci", "usbhid", "usb_storage", "rndis_host", "cdc_ether")
_PATIENCE = 60.0
_PLUG_AGAIN = 10.0  # seconds


class Ports:
    """The machine's USB ports."""

    def __init__(self) -> None:
        for module in _MODULES:
            subprocess.run(["modprobe", module], check=True)
        port = next(
            p for p in Path("/sys/class/virtio-ports").iterdir() if (p / "name").read_text().strip() == "monitor"
        )
        self._monitor = os.open(f"/dev/{port.name}", os.O_RDWR)
        wait(lambda: "usb2" in usb.defaults(), "no root hub")

    def plug(self, name: str) -> usb.Device:
        """Plug in, and wait until the kernel has enumerated it. What was just unplugged may not be taken at once."""
        end = time.monotonic() + _PATIENCE
        while not find(name):
            assert time.monotonic() < end, f"{name} was not enumerated"
            for command in DEVICES[name][0]:
                self._tell(command)
            again = time.monotonic() + _PLUG_AGAIN
            while not find(name) and time.monotonic() < again:
                time.sleep(0.05)
        found = find(name)
        assert found
        return found

    def unplug(self, name: str) -> None:
        self._tell(f"device_del {name}")
        wait(lambda: find(name) is None, f"{name} did not go")
        if name == "card":
            self._tell("netdev_del wire")

    def unplug_all(self) -> None:
        for name in DEVICES:
            if find(name):
                self.unplug(name)

    def _tell(self, command: str) -> None:
        os.write(self._monitor, command.encode() + b"\n")

    def close(self) -> None:
        self.unplug_all()
        os.close(self._monitor)


def find(name: str) -> usb.Device | None:
    return next((device for device in usb.devices() if device.id == _IDS[name]), None)


def in_use(name: str) -> bool:
    """Whether its driver has it."""
    device = find(name)
    if device is None:
        return False
    links = usb.DEVICES.glob(f"{device.port}:*/driver")
    return device.authorized and DEVICES[name][1] in {link.resolve().name for link in links}


def wait(condition: Callable[[], bool], told: str) -> None:
    end = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < end, told
        time.sleep(0.05)
