# SPDX-License-Identifier: Apache-2.0
"""The QEMU command line."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vm.errors import VmError

PROGRAM = "qemu-system-x86_64"

# Linux arch/x86 COMMAND_LINE_SIZE; QEMU and the kernel silently cut off what is longer.
COMMAND_LINE_LIMIT = 2048


@dataclass(frozen=True)
class Machine:
    """The virtual hardware. `memory` as QEMU takes it ("2G")."""

    cpus: int = 2
    memory: str = "2G"
    icount: bool = False  # guest time counts instructions: exact, on one CPU
    usb: bool = False  # a USB controller, and QEMU's monitor as a virtio port of the guest: it plugs devices itself
    extra: tuple[str, ...] = ()  # more QEMU arguments


@dataclass(frozen=True)
class Files:
    """What QEMU reads, and where it writes the guest's output."""

    kernel: Path
    initramfs: Path
    console: Path  # kernel messages
    share: Path | None
    monitor: Path  # where QEMU makes the socket of its monitor, if the machine has USB
    stdout: int  # file descriptors, inherited
    stderr: int
    disk: Path | None = None  # read only: what the guest writes goes to a temporary file


def has_kvm() -> bool:
    """Whether hardware virtualisation can work.

    /dev/kvm alone does not say so: inside some virtual machines it exists and guests hang.
    """
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return False
    flags = next((line.split() for line in cpuinfo.splitlines() if line.startswith("flags")), [])
    return ("vmx" in flags or "svm" in flags) and os.access("/dev/kvm", os.R_OK | os.W_OK)


def command(machine: Machine, files: Files, command_line: str) -> list[str]:
    """The arguments to start `machine`; `command_line` is the kernel's."""
    if len(command_line) >= COMMAND_LINE_LIMIT:
        raise VmError(
            f"the kernel command line has {len(command_line)} characters, the limit is {COMMAND_LINE_LIMIT - 1}",
            hint="shorten --append or --lsm",
        )
    args = [PROGRAM, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    args += ["-machine", "q35", "-cpu", "max", "-m", machine.memory]
    if machine.icount:
        # More CPUs hang here, and hardware virtualisation does not count.
        args += ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-smp", "1"]
    else:
        args += ["-accel", "kvm" if has_kvm() else "tcg,thread=multi", "-smp", str(machine.cpus)]
    args += ["-kernel", str(files.kernel), "-initrd", str(files.initramfs)]
    args += ["-append", command_line]
    args += ["-serial", f"file:{_quoted(files.console)}"]
    args += ["-device", "virtio-serial-pci"]
    for number, (name, fd) in enumerate((("out", files.stdout), ("err", files.stderr)), start=1):
        args += ["-chardev", f"file,id={name},path=/proc/self/fd/{fd},append=on"]
        args += ["-device", f"virtserialport,chardev={name},nr={number},name={name}"]
    if machine.usb:
        # A character device has one end: QEMU talks to its own monitor through a socket.
        args += ["-device", "qemu-xhci,id=xhci"]
        args += ["-chardev", f"socket,id=monitor,path={_quoted(files.monitor)},server=on,wait=off"]
        args += ["-mon", "chardev=monitor,mode=readline"]
        args += ["-chardev", f"socket,id=plug,path={_quoted(files.monitor)}"]
        args += ["-device", "virtserialport,chardev=plug,nr=3,name=monitor"]
    args += _folder("hostroot", Path("/"), "readonly=on,multidevs=remap")
    if files.share is not None:
        args += _folder("share", files.share, "multidevs=remap")
    if files.disk is not None:
        drive = f"if=virtio,format=raw,snapshot=on,cache=unsafe,file={_quoted(files.disk)}"
        args += ["-drive", drive]
    args += ["-device", "virtio-rng-pci"]
    # A harmless PCI device with memory of its own, for tests that map PCI resources.
    args += ["-device", "edu"]
    return args + list(machine.extra)


def _folder(tag: str, path: Path, options: str) -> list[str]:
    return [
        "-fsdev",
        f"local,id={tag},path={_quoted(path)},security_model=none,{options}",
        "-device",
        f"virtio-9p-pci,fsdev={tag},mount_tag={tag}",
    ]


def _quoted(path: Path) -> str:
    """A path inside a QEMU option, where a comma has to be doubled."""
    return str(path).replace(",", ",,")
