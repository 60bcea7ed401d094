// SPDX-License-Identifier: GPL-2.0
/*
 * kimglock: nobody outside the host reads or changes the running kernel image.
 *
 * lsm/locked_down is the kernel's own list of the ways in (/dev/mem, kexec, MSR, kprobes, ...): every place where the
 * kernel's lockdown would refuse asks it, with the reason as the operation. What it does not cover is closed here:
 *
 *  lsm/file_open         opening an MSR device for reading, debugfs files of mode 0444, tracefs files that do not ask, PCI configuration space and
 *                        I/O port resources for reading (sysfs and /proc/bus/pci).
 *  lsm/kernel_load_data, lsm/kernel_read_file
 *                        kexec images: kexec_file_load() of a signed image asks locked_down nothing.
 *
 * Who is logged in at a seat does not hibernate by himself: he asks systemd-logind, and that starts a service. Where
 * hibernation is granted to sessions, these services have it while there is such a session.
 *
 * Not done here: module loading (kmodlock, although unsigned_module is also a reason of locked_down), writes to
 * /proc/sysrq-trigger, reboot(2).
 */
#include "common.bpf.h"

#define S_IFMT 00170000
#define S_IFREG 0100000
#define S_IFCHR 0020000
#define MSR_MAJOR 202 /* Documentation/admin-guide/devices.txt */
#define DEBUGFS_MAGIC 0x64626720
#define TRACEFS_MAGIC 0x74726163
#define SYSFS_MAGIC 0x62656572
#define PROC_SUPER_MAGIC 0x9fa0

const volatile enum kimglock_op operations; /* their names, for user space */

/* The reasons are numbered differently from kernel to kernel, and not every kernel has all. */
#define REASON(reason, operation)                                                                                     \
	if (bpf_core_enum_value_exists(enum lockdown_reason, LOCKDOWN_##reason) &&                                    \
	    what == bpf_core_enum_value(enum lockdown_reason, LOCKDOWN_##reason))                                     \
		return KIMGLOCK_##operation

/* Not static: the verifier looks at a global function once, and forgets which of the numbers it was. */
__noinline u32 operation_of(u32 what)
{
	/* First what the kernel asks again and again. */
	REASON(IOPORT, IOPORT);
	REASON(TRACEFS, TRACEFS);
	REASON(BPF_READ_KERNEL, BPF_READ);
	REASON(PERF, PERF);
	REASON(MODULE_SIGNATURE, UNSIGNED_MODULE);
	REASON(DEV_MEM, DEV_MEM);
	REASON(EFI_TEST, EFI_TEST);
	REASON(KEXEC, KEXEC);
	REASON(HIBERNATION, HIBERNATION);
	REASON(PCI_ACCESS, PCI_ACCESS);
	REASON(MSR, MSR);
	REASON(ACPI_TABLES, ACPI_TABLES);
	REASON(DEVICE_TREE, DEVICE_TREE);
	REASON(PCMCIA_CIS, PCMCIA_CIS);
	REASON(TIOCSSERIAL, TIOCSSERIAL);
	REASON(MODULE_PARAMETERS, UNSAFE_MODULE_PARAMETERS);
	REASON(MMIOTRACE, MMIOTRACE);
	REASON(DEBUGFS, DEBUGFS);
	REASON(XMON_WR, XMON_WR);
	REASON(BPF_WRITE_USER, BPF_WRITE);
	REASON(DBG_WRITE_KERNEL, DBG_WRITE_KERNEL);
	REASON(RTAS_ERROR_INJECTION, RTAS_ERROR_INJECTION);
	REASON(XEN_USER_ACTIONS, XEN_USER_ACTIONS);
	REASON(KCORE, KCORE);
	REASON(KPROBES, KPROBES);
	REASON(DBG_READ_KERNEL, DBG_READ_KERNEL);
	REASON(XMON_RW, XMON);
	REASON(XFRM_SECRET, XFRM_SECRET);
	return OP_OTHER;
}

#undef REASON

#define SERVICE_LEN 40 /* of the longest name below, with its NUL */

/*
 * Whether the task is of a service of systemd that hibernates, or of the one that finds out whether it could. Its cgroup
 * is known by its name: the service that hibernates has a new one each time, which nobody could tell us early enough.
 * Below /system.slice, only root of the host makes cgroups.
 */
static __noinline bool is_sleep_service(void)
{
	struct cgroup *cgroup = bpf_get_current_task_btf()->cgroups->dfl_cgrp;
	char name[SERVICE_LEN] = {};

	if (cgroup->level != 2)
		return false;
	bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(cgroup, self.parent, cgroup, kn, name));
	if (bpf_strncmp(name, sizeof("system.slice"), "system.slice"))
		return false;
	bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(cgroup, kn, name));
	return !bpf_strncmp(name, sizeof("systemd-logind.service"), "systemd-logind.service") ||
	       !bpf_strncmp(name, sizeof("systemd-hibernate.service"), "systemd-hibernate.service") ||
	       !bpf_strncmp(name, sizeof("systemd-hybrid-sleep.service"), "systemd-hybrid-sleep.service") ||
	       !bpf_strncmp(name, sizeof("systemd-suspend-then-hibernate.service"),
			    "systemd-suspend-then-hibernate.service");
}

/* Global: the verifier looks at it once. */
__noinline int kimglock_decide(u32 op)
{
	struct access access = { .lock = LOCK_KIMGLOCK, .type = EVENT_LSM_LOCKED_DOWN, .op = op };
	struct task_struct *task = bpf_get_current_task_btf();
	struct bpflock_own *own = canary(task);
	enum bpflock_reason reason;

	if (own)
		return answer_canary(own, LOCK_KIMGLOCK);
	reason = decide(task, op);
	/* bpflock's own programs read the kernel: without this, no lock could be loaded after this one. */
	if (denies(reason) && op == KIMGLOCK_BPF_READ && own_task(task))
		reason = REASON_ALLOW_BPFLOCK;
	if (config.session && op == KIMGLOCK_HIBERNATION && is_for_sessions(op, reason) && session_lives(SESSION_ANY) &&
	    is_sleep_service())
		reason = REASON_ALLOW_SESSION;
	return settle(&access, reason);
}

SEC("lsm/locked_down")
int BPF_PROG(kimglock_locked_down, enum lockdown_reason what, int ret)
{
	u32 op;

	if (ret)
		return ret;
	op = forget(operation_of(what));
	return likely(passes(bpf_get_current_task_btf(), op, 0)) ? 0 : answer(kimglock_decide(op));
}

/* Whether the dentry's name is one of a PCI function's, like 0000:00:1f.2 (the domain may be longer). */
static __always_inline bool is_pci_function(struct dentry *dentry)
{
	char name[16] = {};
	long length = bpf_probe_read_kernel_str(name, sizeof(name), dentry->d_name.name);

	/* length counts the NUL: DDDD:BB:DD.F is 13, and a domain has up to 8 digits more than nothing. */
	if (length < 13 || length > 16)
		return false;
	for (int i = 10; i < 14; i++) {
		if (i == length - 3)
			return name[i] == '.' && name[i - 3] == ':' && name[i - 6] == ':';
	}
	return false;
}

/* sysfs: config, rom, resourceN, resourceN_wc of a PCI function. */
static __always_inline bool is_pci_sysfs(struct dentry *dentry)
{
	u32 length = dentry->d_name.len;
	char name[12] = {};

	if (length != 3 && length != 6 && length != 9 && length != 12)
		return false;
	bpf_probe_read_kernel_str(name, sizeof(name), dentry->d_name.name);
	if (bpf_strncmp(name, 9, "resource") && bpf_strncmp(name, 8, "resource") && bpf_strncmp(name, 7, "config") &&
	    bpf_strncmp(name, 4, "rom"))
		return false;
	return is_pci_function(dentry->d_parent);
}

/* /proc/bus/pci/BB/DD.F or /proc/bus/pci/DDDD:BB/DD.F */
static __always_inline bool is_pci_proc(struct dentry *dentry)
{
	struct dentry *pci = dentry->d_parent->d_parent;
	char name[4] = {};

	if (dentry->d_name.len != 4 || pci->d_name.len != 3)
		return false;
	bpf_probe_read_kernel_str(name, sizeof(name), pci->d_name.name);
	return bpf_strncmp(name, 4, "pci") == 0;
}

SEC("lsm/file_open")
int BPF_PROG(kimglock_file_open, struct file *file, int ret)
{
	struct access access = { .lock = LOCK_KIMGLOCK, .type = EVENT_LSM_FILE_OPEN };
	struct inode *inode = file->f_inode;
	unsigned long magic;
	u32 kind;

	if (ret)
		return ret;
	kind = inode->i_mode & S_IFMT;
	if (likely(kind == S_IFREG)) {
		magic = inode->i_sb->s_magic;
		if (magic == DEBUGFS_MAGIC)
			access.op = KIMGLOCK_DEBUGFS;
		else if (magic == TRACEFS_MAGIC)
			access.op = KIMGLOCK_TRACEFS;
		else if ((magic == SYSFS_MAGIC && is_pci_sysfs(file->f_path.dentry)) ||
			 (magic == PROC_SUPER_MAGIC && is_pci_proc(file->f_path.dentry)))
			access.op = KIMGLOCK_PCI_ACCESS;
		else
			return 0;
	} else if (kind == S_IFCHR && inode->i_rdev >> 20 == MSR_MAJOR) {
		access.op = KIMGLOCK_MSR;
	} else {
		return 0;
	}
	access.op = forget(access.op);
	access.object = inode->i_ino;
	access.path = &file->f_path;
	return enforce(&access);
}

SEC("lsm/kernel_load_data")
int BPF_PROG(kimglock_kernel_load_data, enum kernel_load_data_id id, bool contents, int ret)
{
	struct access access = {
		.lock = LOCK_KIMGLOCK,
		.type = EVENT_LSM_KERNEL_LOAD_DATA,
		.op = KIMGLOCK_KEXEC,
	};

	if (ret)
		return ret;
	if (id != bpf_core_enum_value(enum kernel_load_data_id, LOADING_KEXEC_IMAGE) &&
	    id != bpf_core_enum_value(enum kernel_load_data_id, LOADING_KEXEC_INITRAMFS))
		return ignore(LOCK_KIMGLOCK);
	return enforce(&access);
}

SEC("lsm/kernel_read_file")
int BPF_PROG(kimglock_kernel_read_file, struct file *file, enum kernel_read_file_id id, bool contents, int ret)
{
	struct access access = {
		.lock = LOCK_KIMGLOCK,
		.type = EVENT_LSM_KERNEL_READ_FILE,
		.op = KIMGLOCK_KEXEC,
	};

	if (ret)
		return ret;
	if (id != bpf_core_enum_value(enum kernel_read_file_id, READING_KEXEC_IMAGE) &&
	    id != bpf_core_enum_value(enum kernel_read_file_id, READING_KEXEC_INITRAMFS))
		return ignore(LOCK_KIMGLOCK);
	access.object = file->f_inode->i_ino;
	access.path = &file->f_path;
	return enforce(&access);
}
