# SPDX-License-Identifier: Apache-2.0
"""`bpflock usb`"""

from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from bpflock.cli.command import Command, Group, app
from bpflock.cli.lock import open_enforcer
from bpflock.cli.output import echo, one_line, print_json, table

if TYPE_CHECKING:
    from bpflock.kernel.usb import Device

_EXAMPLES = [
    ("bpflock usb list", "which devices are plugged in, and which does the machine use?"),
    ("bpflock usb allow 1-1.2", "use the device on that port until it is unplugged"),
    ("bpflock usb block 0781:5567", "stop using every device of that vendor and product"),
]


def _ports(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from bpflock.kernel.usb import devices

    return [CompletionItem(d.port, help=d.name) for d in devices() if d.port.startswith(incomplete)]


@click.group(cls=Group)
def usb() -> None:
    """USB devices, and which of them the machine may use."""


@usb.command("list", cls=Command, has_json=True, examples=_EXAMPLES[:1])
def list_() -> None:
    """List the USB devices that are plugged in, root hubs apart."""
    from bpflock.kernel.usb import devices
    from bpflock.locks.usblock import kinds

    found = devices()
    if app().json:
        print_json({"devices": [_document(device) for device in found]})
        return
    if not found:
        echo("no USB device is plugged in")
        return
    rows = [
        [d.port, d.id, ",".join(kinds(d)), "in use" if d.authorized else "blocked", d.serial or "-", d.name or "-"]
        for d in found
    ]
    for line in table([["port", "id", "kinds", "state", "serial", "name"], *rows]):
        echo(one_line(line))


def _document(device: "Device") -> dict[str, object]:
    from bpflock.locks.usblock import kinds

    return {
        "port": device.port,
        "id": device.id,
        "kinds": list(kinds(device)),
        "authorized": device.authorized,
        "serial": device.serial,
        "name": device.name,
    }


@usb.command("allow", cls=Command, has_json=True, examples=_EXAMPLES[1:2])
@click.argument("targets", metavar="DEVICE...", nargs=-1, required=True, shell_complete=_ports)
def allow(targets: tuple[str, ...]) -> None:
    """Use devices that are plugged in, whatever the configuration says: by port, vendor:product or serial:XYZ."""
    _decide(targets, blocked=False)


@usb.command("block", cls=Command, has_json=True, examples=_EXAMPLES[2:])
@click.argument("targets", metavar="DEVICE...", nargs=-1, required=True, shell_complete=_ports)
def block(targets: tuple[str, ...]) -> None:
    """Stop using devices until they are plugged in anew: by port, vendor:product or serial:XYZ."""
    _decide(targets, blocked=True)


def _decide(targets: tuple[str, ...], *, blocked: bool) -> None:
    from bpflock.daemon.usb import block_by_hand
    from bpflock.kernel.usb import devices
    from bpflock.locks.usblock import find

    present = devices()
    # All are looked up before anything is changed.
    chosen = {device.key: device for target in targets for device in find(target, present)}
    with open_enforcer() as enforcer, enforcer.exclusive():
        block_by_hand(chosen.values(), blocked)
    if app().json:
        print_json({"blocked" if blocked else "allowed": [device.port for device in chosen.values()]})
        return
    for device in chosen.values():
        echo(one_line(f"{device.port} {device.id} {device.name}: {'blocked' if blocked else 'in use'}"))
