# SPDX-License-Identifier: Apache-2.0
"""kmodlock: loading kernel modules. See bpf/kmodlock.bpf.c, which fixes the numbers."""

from bpflock.locks.model import Lock, Operation

KMODLOCK = Lock(
    name="kmodlock",
    summary="loading kernel modules",
    operations=(
        Operation("load_module", 0, "load a module with finit_module(2) or init_module(2)", "loading module"),
        Operation("autoload_module", 1, "make the kernel load a module by using what needs it", "autoloading module"),
        Operation(
            "unsigned_module",
            2,
            "load a module without a valid signature",
            "unsigned module loading",
            requires=("load_module",),
        ),
        Operation("unsafe_module_parameters", 3, "set hardware parameters of a module", "unsafe module parameters"),
    ),
    groups={"@modules": ("load_module", "autoload_module", "unsigned_module", "unsafe_module_parameters")},
)
