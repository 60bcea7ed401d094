# SPDX-License-Identifier: Apache-2.0
"""What this machine has of what bpflock needs; each lack comes with its remedy. Loads nothing."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bpflock.errors import BpflockError
from bpflock.kernel import host, pins, preemption
from bpflock.kernel.bpf import Object
from bpflock.kernel.btf import OBJECTS, KernelTypes

LSM_LIST = Path("/sys/kernel/security/lsm")
_BTF = Path("/sys/kernel/btf/vmlinux")
_LOCKDOWN = Path("/sys/kernel/security/lockdown")
_FTRACE = Path("/proc/sys/kernel/ftrace_enabled")
_GRUB = "in /etc/default/grub, run update-grub, reboot"

_CONFIG = ("CONFIG_BPF_SYSCALL", "CONFIG_DEBUG_INFO_BTF", "CONFIG_BPF_LSM", "CONFIG_BPF_EVENTS", "CONFIG_CGROUP_BPF")
# include/uapi/linux/capability.h
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `required`: without it no lock works; otherwise `detail` says what follows."""

    name: str
    ok: bool
    detail: str
    hint: str | None = None
    required: bool = True


def check() -> list[Finding]:
    """Everything, in the order in which it should be mended."""
    return [
        *_privileges(),
        *_kernel_config(),
        _btf(),
        *_types(),
        _lsm(),
        *_preemption(),
        _ftrace(),
        _bpffs(),
        *_namespaces(),
        _lockdown(),
    ]


def lsm_option(active: str) -> str:
    """The lsm= option that keeps every security module that is active now and appends bpf."""
    return ",".join([*(name for name in active.strip().split(",") if name and name != "bpf"), "bpf"])


def _privileges() -> Iterator[Finding]:
    held = 0
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("CapEff:"):
                held = int(line.split()[1], 16)
    # Since 5.8 CAP_SYS_ADMIN includes CAP_BPF and CAP_PERFMON.
    missing = [
        name for name, bit in _CAPABILITIES.items() if not held >> bit & 1 and not (bit >= 38 and held >> 21 & 1)
    ]
    if os.geteuid() != 0:
        yield Finding("root", False, f"user id {os.geteuid()} is not root", "run it with sudo")
    elif missing:
        hint = "run it outside of a container, or its container with --privileged"
        yield Finding("capabilities", False, f"root lacks {', '.join(missing)}", hint)
    else:
        yield Finding("privileges", True, "root with all capabilities needed")


def _kernel_config() -> Iterator[Finding]:
    release = os.uname().release
    found = host.read_kernel_config()
    yield Finding("kernel", True, release)
    if not found:
        yield Finding("configuration", True, "not readable; judging by what the kernel shows", required=False)
        return
    for name in _CONFIG:
        if name == "CONFIG_BPF_LSM" and found.get(name) != "y":
            yield Finding(
                name,
                False,
                "must have a kernel with 'CONFIG_BPF_LSM=y' 'CONFIG_LSM=\"...,bpf\"'",
                "install a kernel built with CONFIG_BPF_LSM=y (Debian 12, Ubuntu 20.10, Fedora 33 and later have it)",
            )
        else:
            value = found.get(name, "not set")
            yield Finding(name, value == "y", value, f"install a kernel built with {name}=y" if value != "y" else None)


def _btf() -> Finding:
    if _BTF.exists():
        return Finding("BTF", True, str(_BTF))
    return Finding("BTF", False, f"there is no {_BTF}", "use a kernel built with CONFIG_DEBUG_INFO_BTF=y")


def _types() -> Iterator[Finding]:
    """Hooks and map types, by the kernel's own type information, never by its version."""
    try:
        types = KernelTypes.load()
    except BpflockError as error:
        yield Finding("kernel types", False, error.message, error.hint)
        return
    storage = "BPF_MAP_TYPE_TASK_STORAGE" in types.enum("bpf_map_type")
    hint = "use a kernel from 6.1 on"
    yield Finding("task storage", storage, "present" if storage else "the kernel has no task storage maps", hint)
    missing = [hook for hook in _hooks() if not types.has_function(f"bpf_lsm_{hook}")]
    if missing:
        yield Finding("LSM hooks", False, f"the kernel has no BPF hook for {', '.join(missing)}", hint)
    else:
        yield Finding("LSM hooks", True, "all hooks that the locks use")


def _hooks() -> Iterable[str]:
    names = set()
    for path in sorted(OBJECTS.glob("*.bpf.o")):
        with Object(path.name.removesuffix(".bpf.o")) as program:
            names |= {
                p.hook.removeprefix("lsm/") for p in program.programs if p.hook.startswith("lsm/") and not p.optional
            }
    return sorted(names)


def _lsm() -> Finding:
    try:
        active = LSM_LIST.read_text().strip()
    except OSError:
        return Finding(
            "active LSMs",
            False,
            f"cannot read {LSM_LIST}: which security modules are active is not known",
            "mount -t securityfs securityfs /sys/kernel/security",
        )
    if "bpf" in active.split(","):
        return Finding("active LSMs", True, active)
    return Finding(
        "active LSMs",
        False,
        f"bpf is not among the active security modules ({active}): "
        "must have a kernel with 'CONFIG_BPF_LSM=y' 'CONFIG_LSM=\"...,bpf\"'",
        f'set GRUB_CMDLINE_LINUX="lsm={lsm_option(active)}" {_GRUB}',
    )


def _preemption() -> Iterator[Finding]:
    with contextlib.suppress(BpflockError):  # then _types() has told it
        lack = preemption.lacking()
        yield Finding("preemption", not lack, lack or "tasks stay confined", preemption.HINT, required=False)


def _ftrace() -> Finding:
    name = "kernel.ftrace_enabled"
    if not _FTRACE.exists():
        return Finding(name, True, "this kernel has no such switch", required=False)
    if _FTRACE.read_text().strip() != "0":
        return Finding(name, True, "1: BPF LSM programs run")
    return Finding(name, False, "0: no BPF LSM program runs, this machine is not protected", f"sysctl {name}=1")


def _bpffs() -> Finding:
    if host.is_bpffs(pins.BPFFS):
        return Finding("bpffs", True, f"mounted at {pins.BPFFS}")
    return Finding(
        "bpffs", True, f"not mounted at {pins.BPFFS}: bpflock mounts it", "mount -t bpf bpffs /sys/fs/bpf", False
    )


def _namespaces() -> Iterator[Finding]:
    if not host.in_initial_pid_namespace():
        yield Finding(
            "pid namespace",
            False,
            "bpflock is not in the host's",
            "run it on the host, or its container with --pid=host",
        )
    else:
        yield Finding("pid namespace", True, "the host's")
    if os.geteuid() == 0:
        try:
            with host.root_cgroup():
                yield Finding("cgroup hierarchy", True, "the root of the unified hierarchy can be reached")
        except (BpflockError, OSError) as error:
            hint = error.hint if isinstance(error, BpflockError) else "mount -t cgroup2 cgroup2 /sys/fs/cgroup"
            yield Finding("cgroup hierarchy", False, str(error), hint)


def _lockdown() -> Finding:
    name = "kernel lockdown"
    if not _LOCKDOWN.exists():
        return Finding(name, True, "not in this kernel", required=False)
    text = _LOCKDOWN.read_text().strip()
    if "[none]" in text:
        return Finding(name, True, "none", required=False)
    return Finding(
        name,
        True,
        f"{text}: the kernel refuses these operations before bpflock is asked; their denials give no event",
        required=False,
    )
