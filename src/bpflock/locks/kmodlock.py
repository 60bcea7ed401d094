# SPDX-License-Identifier: Apache-2.0
"""kmodlock: loading kernel modules. See bpf/kmodlock.bpf.c."""

from bpflock.locks.model import LOCK_LEVELS, Lock, Operation

KMODLOCK = Lock(
    name="kmodlock",
    summary="loading kernel modules",
    operations=(
        Operation("load_module", "load a module with finit_module(2) or init_module(2)", "loading module"),
        Operation("autoload_module", "make the kernel load a module by using what needs it", "autoloading module"),
        Operation(
            "unsigned_module",
            "load a module without a valid signature",
            "unsigned module loading",
            requires=("load_module",),
        ),
        Operation("unsafe_module_parameters", "set hardware parameters of a module", "unsafe module parameters"),
    ),
    levels=LOCK_LEVELS,
    groups={"@modules": ("load_module", "autoload_module", "unsigned_module", "unsafe_module_parameters")},
)
