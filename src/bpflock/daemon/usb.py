# SPDX-License-Identifier: Apache-2.0
"""Decides on USB devices as they are plugged in: the kernel keeps them out, and the daemon lets in what is allowed.

Without the daemon they stay out. It decides on each plugging in once, on what sysfs says of the device.
"""

from collections.abc import Callable, Iterable

from bpflock.errors import BpflockError
from bpflock.events.escape import escape
from bpflock.kernel import pins, usb
from bpflock.locks.model import Settings
from bpflock.locks.usblock import USBLOCK, decide, keeps_out, kinds

Tell = Callable[[str], None]


class UsbDevices:
    """What the daemon knows of the devices. What is in use when it starts stays in use."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._uevents = usb.Uevents()
        self._decided = {device.key for device in usb.devices() if device.authorized}
        self._look = True  # for those that wait to be decided on

    def fileno(self) -> int:
        return self._uevents.fileno()

    def reconsider(self) -> None:
        """Decide anew on devices that are not in use: the settings have changed."""
        self._decided = {device.key for device in usb.devices() if device.authorized}
        self._look = True

    def due(self) -> bool:
        """Whether decide() has anything to look at."""
        self._look |= self._uevents.pending()
        return self._look

    def decide(self, settings: Settings) -> None:
        """Let in what may be used, and tell of every device that is new. By a task of bpflock's own, exclusively.

        Raises BpflockError; what could not be decided is looked at again.
        """
        if keeps_out(settings):
            usb.close_hubs()  # also those of a new controller
        present = usb.devices()
        self._decided &= {device.key for device in present}
        blocked = set(pins.read_words(USBLOCK.name, pins.USB_BLOCKED, "devices"))
        for device in present:
            if device.key in self._decided:
                continue
            allowed, reason = (False, "denied (blocked)") if device.key in blocked else decide(device, settings)
            try:
                if device.authorized != allowed:
                    usb.authorize(device.port, allowed)
            except BpflockError as error:
                if usb.read(device.port):
                    raise
                self._tell(error.message)  # unplugged meanwhile
                continue
            self._decided.add(device.key)
            self._tell(describe(device, reason))
        self._look = False

    def close(self) -> None:
        self._uevents.close()


def describe(device: usb.Device, reason: str) -> str:
    """As events are written; what the device says of itself is escaped."""
    serial = f" serial={escape(device.serial.encode(errors='surrogateescape'))}" if device.serial else ""
    name = f" name={escape(device.name.encode(errors='surrogateescape'))}" if device.name else ""
    retval = -1 if reason.startswith("denied") else 0
    return (
        f"event=usb_device operation={','.join(kinds(device))} port={device.port} id={device.id}{serial}{name} "
        f"retval={retval} reason={reason}"
    )


def block_by_hand(targets: Iterable[usb.Device], blocked: bool) -> None:
    """Let devices in, or out, whatever the configuration says, and remember it until they are unplugged.

    By a task of bpflock's own, exclusively. Raises BpflockError.
    """
    devices = list(targets)
    for device in devices:
        usb.authorize(device.port, not blocked)
    if not pins.exists(USBLOCK.name):
        return
    present = {device.key for device in usb.devices()}
    kept = set(pins.read_words(USBLOCK.name, pins.USB_BLOCKED, "devices")) & present
    keys = {device.key for device in devices}
    kept = kept | keys if blocked else kept - keys
    pins.write_link(pins.directory(USBLOCK.name), pins.USB_BLOCKED, {"devices": sorted(kept)})
