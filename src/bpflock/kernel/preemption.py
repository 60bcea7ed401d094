# SPDX-License-Identifier: Apache-2.0
"""Whether the kernel takes the CPU from a task anywhere, and then loses what BPF keeps for tasks.

Before Linux 6.2, while one task is in the kernel's storage for tasks, no other finds anything there on the same CPU.
If the first can be preempted at that place, a confined task passes for one that is not: with preempt=full, some of
every hundred forbidden opens came through (tests/kernel/test_preemption.py).
"""

import contextlib
import os
import re
from pathlib import Path

from bpflock.errors import BpflockError, UnsupportedError
from bpflock.kernel import host
from bpflock.kernel.btf import KernelTypes

_SWITCH = "sched/preempt"  # in debugfs: one of the words stands in parentheses
_HARMLESS = ("none", "voluntary")
HINT = "boot with preempt=voluntary, or use a kernel from 6.2 on"


def require() -> None:
    """Raises UnsupportedError if tasks would not stay confined."""
    if lack := lacking():
        raise UnsupportedError(f"policies cannot be enforced: {lack}", hint=HINT)


def lacking() -> str:
    """Why this kernel cannot keep tasks confined; empty if it can."""
    # Came with the version that mended it; nothing in the kernel's types tells the mending itself.
    if "BPF_FUNC_cgrp_storage_get" in KernelTypes.load().enum("bpf_func_id"):
        return ""
    mode = _mode()
    if mode in _HARMLESS:
        return ""
    known = (
        f"this kernel is preemptible (preempt={mode})" if mode else "whether this kernel is preemptible is not known"
    )
    return f"{known}, and before Linux 6.2 BPF then loses tasks"


def _mode() -> str:
    """What the kernel calls its mode of preemption; empty if nothing tells it."""
    built = os.uname().version.split()
    if "PREEMPT_RT" in built:
        return "full"
    if "PREEMPT_DYNAMIC" not in built:
        return "full" if "PREEMPT" in built else "voluntary"
    with contextlib.suppress(OSError, BpflockError):
        root = host.mount_detached("debugfs")
        try:
            switch = os.open(_SWITCH, os.O_RDONLY | os.O_CLOEXEC, dir_fd=root)
            with os.fdopen(switch, encoding="ascii") as stream:
                if match := re.search(r"\((\w+)\)", stream.read()):
                    return match[1]
        finally:
            os.close(root)
    # Not to be read: locked down.
    for word in reversed(Path("/proc/cmdline").read_text().split()):
        if word.startswith("preempt="):
            return word.removeprefix("preempt=")
    config = host.read_kernel_config()
    chosen = (name for name in ("NONE", "VOLUNTARY") if config.get(f"CONFIG_PREEMPT_{name}") == "y")
    return next(chosen, "full" if config.get("CONFIG_PREEMPT") == "y" else "").lower()
