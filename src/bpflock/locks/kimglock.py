# SPDX-License-Identifier: Apache-2.0
"""kimglock: reading or changing the running kernel image. See bpf/kimglock.bpf.c."""

from bpflock.locks.model import LOCK_LEVELS, Lock, Operation

_MEMORY = ("dev_mem", "kcore", "kprobes", "dbg_write_kernel", "dbg_read_kernel", "xmon", "xmon_wr", "xfrm_secret")
_HARDWARE = (
    "pci_access",
    "ioport",
    "msr",
    "acpi_tables",
    "device_tree",
    "pcmcia_cis",
    "tiocsserial",
    "efi_test",
    "mmiotrace",
)

# text: lockdown_reasons[] in the kernel's security/security.c
KIMGLOCK = Lock(
    name="kimglock",
    summary="reading or changing the running kernel image",
    operations=(
        Operation(
            "unsigned_module",
            "load a module without a valid signature",
            "unsigned module loading",
        ),
        Operation("dev_mem", "open /dev/mem or /dev/port", "/dev/mem,kmem,port"),
        Operation("efi_test", "open /dev/efi_test", "/dev/efi_test access"),
        Operation("kexec", "load another kernel to boot", "kexec of unsigned images"),
        Operation("hibernation", "hibernate, or read a hibernation image", "hibernation"),
        Operation("pci_access", "reach PCI memory, ports or configuration space", "direct PCI access"),
        Operation("ioport", "ioperm(2) and iopl(2)", "raw io port access"),
        Operation("msr", "read or write model-specific registers", "raw MSR access"),
        Operation("acpi_tables", "replace ACPI tables", "modifying ACPI tables"),
        Operation("device_tree", "change the device tree", "modifying device tree contents"),
        Operation("pcmcia_cis", "write PCMCIA card information", "direct PCMCIA CIS storage"),
        Operation(
            "tiocsserial",
            "move a serial port's I/O address",
            "reconfiguration of serial port IO",
        ),
        Operation(
            "unsafe_module_parameters",
            "set hardware parameters of a module",
            "unsafe module parameters",
        ),
        Operation("mmiotrace", "trace memory-mapped I/O", "unsafe mmio"),
        Operation("debugfs", "open a file of debugfs", "debugfs access"),
        Operation("xmon_wr", "write through the xmon debugger", "xmon write access", aliases=("xmon_rw",)),
        Operation(
            "bpf_write",
            "load a BPF program that writes to user memory",
            "use of bpf to write user RAM",
            aliases=("bpf_write_user",),
        ),
        Operation(
            "dbg_write_kernel",
            "write kernel memory with kgdb or kdb",
            "use of kgdb/kdb to write kernel RAM",
        ),
        Operation(
            "rtas_error_injection",
            "inject errors into the firmware",
            "RTAS error injection",
        ),
        Operation(
            "xen_user_actions",
            "privileged Xen calls from user space",
            "Xen guest user action",
        ),
        Operation("kcore", "read /proc/kcore", "/proc/kcore access"),
        Operation("kprobes", "create kprobes", "use of kprobes", requires=("tracefs",)),
        Operation(
            "bpf_read",
            "load a BPF program that reads kernel memory",
            "use of bpf to read kernel RAM",
            aliases=("bpf_read_kernel",),
        ),
        Operation(
            "dbg_read_kernel",
            "read kernel memory with kgdb or kdb",
            "use of kgdb/kdb to read kernel RAM",
        ),
        Operation("perf", "sample registers of the kernel with perf", "unsafe use of perf"),
        Operation("tracefs", "open a file of tracefs", "use of tracefs"),
        Operation("xmon", "read through the xmon debugger", "xmon read and write access"),
        Operation("xfrm_secret", "see the keys of IPsec states", "xfrm SA secret"),
    ),
    levels=LOCK_LEVELS,
    groups={
        "@bpf": ("bpf_write", "bpf_read"),
        "@modules": ("unsigned_module", "unsafe_module_parameters"),
        "@memory": _MEMORY,
        "@hardware": _HARDWARE,
    },
)
