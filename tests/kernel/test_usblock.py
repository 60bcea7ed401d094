# SPDX-License-Identifier: Apache-2.0
"""USB devices that are really plugged in while the machine runs, and every way to use them all the same."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpflock.kernel import usb
from bpflock.locks.model import Profile

from .conftest import CONTAINER, HOST, Attacker, Locks
from .running import Daemon
from .tools import Cli
from .usb import DEVICES, Ports, find, in_use, wait

_BUS = "/sys/bus/usb"
_PARAMETER = "/sys/module/usbcore/parameters/authorized_default"


@pytest.fixture(scope="module")
def machine() -> Iterator[Ports]:
    found = Ports()
    yield found
    found.close()


@pytest.fixture
def ports(machine: Ports, locks: Locks) -> Iterator[Ports]:
    yield machine
    locks.unload_all()
    machine.unplug_all()


def _attacks(port: str) -> dict[str, str]:
    """Ways to use a blocked device, or to let in the next one. Each writes what it is really about."""
    device = f"{_BUS}/devices/{port}"
    hub = f"{_BUS}/devices/usb{port.partition('-')[0]}"
    return {
        "authorized": f"echo 1 >{device}/authorized",
        "hub's default": f"echo 1 >{hub}/authorized_default",
        "hub's interface default": f"echo 1 >{hub}/interface_authorized_default",
        "parameter": f"echo -1 >{_PARAMETER}",
        "unbind": f"echo {port} >{_BUS}/drivers/usb/unbind",
        "bind": f"echo {port} >{_BUS}/drivers/usb/bind",
        "new_id": f"echo ffff ffff >{_BUS}/drivers/usbhid/new_id",
        "remove_id": f"echo ffff ffff >{_BUS}/drivers/usbhid/remove_id",
        "probe": f"echo {port} >{_BUS}/drivers_probe",
        "autoprobe": f"echo 1 >{_BUS}/drivers_autoprobe",
        "remove": f"echo 1 >{device}/remove",
        "other mount": f"mkdir -p /tmp/sys; mount -t sysfs s /tmp/sys; "
        f"echo 1 >/tmp/sys/bus/usb/devices/{port}/authorized; r=$?; umount /tmp/sys; (exit $r)",
        "bind mount": f"mkdir -p /tmp/dev; mount --bind $(readlink -f {device}) /tmp/dev; "
        "echo 1 >/tmp/dev/authorized; r=$?; umount /tmp/dev; (exit $r)",
        "own directory": f"cd {device}; chmod 0666 authorized; echo 1 >./authorized",
    }


def _denied(attacker: Attacker, command: str, where: str) -> bool:
    """Whether the command is refused by EPERM, and by nothing else."""
    quoted = command.replace("'", "'\\''")
    attempt = attacker.run(f"{where}sh -c '{quoted}'")
    assert attempt.worked or "Operation not permitted" in attempt.output, (command, where, attempt)
    return not attempt.worked


@pytest.mark.parametrize("profile", [Profile.RESTRICTED, Profile.BASELINE])
def test_new_devices_stay_out_whatever_root_writes(
    profile: Profile, ports: Ports, attacker: Attacker, locks: Locks
) -> None:
    before = usb.defaults()
    ports.plug("keyboard")
    wait(lambda: in_use("keyboard"), "without the lock a keyboard is used")
    locks.load("usblock", profile)
    assert set(usb.defaults().values()) == {"0"}
    ports.plug("disk")
    ports.plug("card")
    device = find("disk")
    assert device is not None
    locks.events()
    for name, command in _attacks(device.port).items():
        for where in (HOST, CONTAINER):
            assert _denied(attacker, command, where), (name, where)
    events = locks.events()
    assert {event.reason for event in events if event.bpfprog == "usblock"} == {f"denied ({profile})"}
    assert {event.op for event in events if event.bpfprog == "usblock"} == {"authorize", "bind"}
    # A replayed uevent is nobody's decision.
    assert attacker.run(f"echo add >{_BUS}/devices/{device.port}/uevent").worked
    assert not in_use("disk")
    assert not in_use("card")
    assert in_use("keyboard")
    assert set(usb.defaults().values()) == {"0"}
    locks.unload("usblock")
    assert usb.defaults() == before
    # The same by hand works now: it was the lock.
    assert attacker.run(f"echo 1 >{_BUS}/devices/{device.port}/authorized").worked
    wait(lambda: in_use("disk"), "an authorised disk is used")


def test_descriptors_opened_before(ports: Ports, locks: Locks) -> None:
    device = ports.plug("keyboard")
    wait(lambda: in_use("keyboard"), "without the lock a keyboard is used")
    path = f"{_BUS}/devices/{device.port}/authorized"
    reader, writer = os.pipe()
    answer, answered = os.pipe()
    if not (child := os.fork()):  # a task that is not bpflock's own
        fd = os.open(path, os.O_WRONLY)
        os.write(answered, b"r")
        os.read(reader, 1)
        try:
            os.write(fd, b"0")
            os.write(answered, b"w")
        except OSError as error:
            os.write(answered, bytes([error.errno or 0]))
        os._exit(0)
    assert os.read(answer, 1) == b"r"
    locks.load("usblock", Profile.RESTRICTED)
    os.write(writer, b"g")
    assert os.read(answer, 1) == b"\x01"  # EPERM
    os.waitpid(child, 0)
    assert in_use("keyboard")
    assert any(e.event == "lsm_file_permission" and e.denied for e in locks.events())


def test_other_files_of_sysfs_are_not_concerned(ports: Ports, attacker: Attacker, locks: Locks) -> None:
    device = ports.plug("keyboard")
    locks.load("usblock", Profile.RESTRICTED)
    for path in (f"{_BUS}/devices/{device.port}/power/autosuspend_delay_ms", "/sys/bus/pci/drivers_autoprobe"):
        assert attacker.run(f"echo 1 >{path}").worked, path
    assert attacker.run(f"cat {_BUS}/devices/{device.port}/authorized").output.strip() == "1"


def test_by_hand(ports: Ports, cli: Cli, attacker: Attacker, locks: Locks) -> None:
    cli("lock", "usblock", "--profile=restricted").check()
    device = ports.plug("keyboard")
    assert [d["authorized"] for d in cli("usb", "list", "--json").check().json["devices"]] == [False]
    assert "blocked" in cli("usb", "list").check().out
    cli("usb", "allow", device.port).check()
    wait(lambda: in_use("keyboard"), "allowed by hand")
    cli("usb", "block", "serial:KBD42").check()
    assert not in_use("keyboard")
    cli("usb", "allow", "9-9").failed(2, "no USB device is '9-9'", device.port)
    again = cli("lock", "usblock", "--profile=baseline", "--allow=storage,0627:0001").check()
    assert "bpflock run" in again.err
    assert not in_use("keyboard")
    status = {found.lock.name: found for found in locks.enforcer.status()}["usblock"]
    assert status.settings.allow == ("0627:0001", "storage")
    # An allowed write is allowed to whoever may be on the host.
    locks.load("usblock", Profile.BASELINE, allow=("authorize",))
    assert attacker.run(f"echo 1 >{_BUS}/devices/{device.port}/authorized").worked
    wait(lambda: in_use("keyboard"), "allowed by name")


def test_the_daemon_lets_in_what_is_allowed(ports: Ports, cli: Cli, locks: Locks) -> None:
    with Daemon("--usblock-profile=baseline", "--usblock-allow=storage,serial:KBD42") as daemon:
        for name in DEVICES:
            ports.plug(name)
        told = daemon.wait_for("event=usb_device", count=3)
        assert sum("reason=denied (baseline)" in line and "operation=net" in line for line in told) == 1
        wait(lambda: in_use("keyboard") and in_use("disk"), "the daemon lets in what is allowed")
        assert not in_use("card")
        device = find("disk")
        assert device is not None
        cli("usb", "block", device.port).check()
        # What a process sends is not the kernel's word, and what the kernel replays decides nothing anew.
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15) as forger:
            forger.sendto(b"add@/x\0ACTION=add\0SUBSYSTEM=usb\0", (0, 1))
        Path(f"{_BUS}/devices/{device.port}/uevent").write_text("add")
        daemon.end(signal.SIGKILL)
    # Without the daemon nothing new comes in, and what was blocked stays out when it is back.
    ports.unplug("keyboard")
    ports.plug("keyboard")
    assert not in_use("keyboard")
    with Daemon("--usblock-profile=baseline", "--usblock-allow=storage,serial:KBD42") as daemon:
        wait(lambda: in_use("keyboard"), "a daemon that comes back looks at what waits")
        assert not in_use("disk")
        assert not in_use("card")
        assert daemon.lines("event=usb_device", "denied (blocked)")


def test_allow_only_tells_unless_a_kind_is_blocked(ports: Ports, locks: Locks) -> None:
    with Daemon("--usblock-block=hid") as daemon:
        ports.plug("disk")
        ports.plug("keyboard")
        daemon.wait_for("event=usb_device", "operation=storage", "reason=allow (privileged)")
        daemon.wait_for("event=usb_device", "operation=hid", "serial=KBD42", "reason=denied (blocked)")
        wait(lambda: in_use("disk"), "what is not blocked is used")
        assert not in_use("keyboard")
