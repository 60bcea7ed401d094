// SPDX-License-Identifier: GPL-2.0
/*
 * kmodlock: nobody outside the host loads a kernel module, or makes the kernel load one.
 *
 *  lsm/kernel_read_file, lsm/kernel_load_data
 *                        finit_module(2) and init_module(2), by their module ids only: the same hooks serve firmware,
 *                        kexec images and certificates.
 *  lsm/kernel_module_request
 *                        the task whose socket(2), mount(2), ... needs a module. It must be decided here: the modprobe
 *                        that the kernel then starts runs as root in the host's namespaces, whoever asked.
 *                        A kernel thread builds templates such as xts(camellia) and requests the modules of their parts. It
 *                        does not know for whom. The task requests the template's own module just before: after a request
 *                        by the host, and only then, the thread counts as the host.
 *  lsm/locked_down       modules without a valid signature, and unsafe module parameters, also through sysfs.
 *
 * Not done here: unloading, which has no hook of its own.
 */
#include "common.bpf.h"

const volatile enum kmodlock_op operations; /* their names, for user space */

SEC("lsm/kernel_read_file")
int BPF_PROG(kmodlock_kernel_read_file, struct file *file, enum kernel_read_file_id id, bool contents, int ret)
{
	struct access access = {
		.lock = LOCK_KMODLOCK,
		.type = EVENT_LSM_KERNEL_READ_FILE,
		.op = KMODLOCK_LOAD_MODULE,
	};

	if (ret)
		return ret;
	if (id != bpf_core_enum_value(enum kernel_read_file_id, READING_MODULE) &&
	    !(bpf_core_enum_value_exists(enum kernel_read_file_id, READING_MODULE_COMPRESSED) &&
	      id == bpf_core_enum_value(enum kernel_read_file_id, READING_MODULE_COMPRESSED)))
		return ignore(LOCK_KMODLOCK);
	access.object = file->f_inode->i_ino;
	access.path = &file->f_path;
	return enforce(&access);
}

SEC("lsm/kernel_load_data")
int BPF_PROG(kmodlock_kernel_load_data, enum kernel_load_data_id id, bool contents, int ret)
{
	struct access access = {
		.lock = LOCK_KMODLOCK,
		.type = EVENT_LSM_KERNEL_LOAD_DATA,
		.op = KMODLOCK_LOAD_MODULE,
	};

	if (ret)
		return ret;
	if (id != bpf_core_enum_value(enum kernel_load_data_id, LOADING_MODULE) &&
	    !(bpf_core_enum_value_exists(enum kernel_load_data_id, LOADING_MODULE_COMPRESSED) &&
	      id == bpf_core_enum_value(enum kernel_load_data_id, LOADING_MODULE_COMPRESSED)))
		return ignore(LOCK_KMODLOCK);
	return enforce(&access);
}

#define PF_KTHREAD 0x00200000
#define ASKED_NS (30ULL * 1000000000) /* modprobe may have to wait for the disk */

/* When somebody who may was the last to ask for an algorithm, by the clock of the boot. */
u64 asked SEC(".data.asked") = 0;

static __always_inline bool puts_together(struct task_struct *task)
{
	char name[16];

	if (!(task->flags & PF_KTHREAD))
		return false;
	__builtin_memcpy(name, task->comm, sizeof(name));
	return !bpf_strncmp(name, sizeof("cryptomgr_probe"), "cryptomgr_probe");
}

static __always_inline int enforce_algorithm(const struct access *access)
{
	bool part = puts_together(bpf_get_current_task_btf());
	int result;

	if (part && config.profile == PROFILE_BASELINE && !(config.allow & 1ULL << KMODLOCK_AUTOLOAD_MODULE) &&
	    (!asked || bpf_ktime_get_boot_ns() - asked >= ASKED_NS))
		return settle(access, REASON_DENIED_BASELINE);
	result = enforce(access);
	if (!result && !part)
		asked = bpf_ktime_get_boot_ns();
	return result;
}

SEC("lsm/kernel_module_request")
int BPF_PROG(kmodlock_kernel_module_request, char *module, int ret)
{
	struct access access = {
		.lock = LOCK_KMODLOCK,
		.type = EVENT_LSM_KERNEL_MODULE_REQUEST,
		.op = KMODLOCK_AUTOLOAD_MODULE,
		.name = module,
	};
	u64 prefix[2] = {};

	if (ret)
		return ret;
	/* Two module names of one process are two objects; their first 16 bytes tell most apart. */
	bpf_probe_read_kernel_str(prefix, sizeof(prefix), module);
	access.object = prefix[0] ^ prefix[1];
	if (!bpf_strncmp((char *)prefix, sizeof("crypto-") - 1, "crypto-"))
		return enforce_algorithm(&access);
	return enforce(&access);
}

SEC("lsm/locked_down")
int BPF_PROG(kmodlock_locked_down, enum lockdown_reason what, int ret)
{
	bool parameters = what == bpf_core_enum_value(enum lockdown_reason, LOCKDOWN_MODULE_PARAMETERS);

	if (ret)
		return ret;
	if (likely(!parameters && what != bpf_core_enum_value(enum lockdown_reason, LOCKDOWN_MODULE_SIGNATURE)))
		return ignore(LOCK_KMODLOCK);

	struct access access = {
		.lock = LOCK_KMODLOCK,
		.type = EVENT_LSM_LOCKED_DOWN,
		.op = parameters ? KMODLOCK_UNSAFE_MODULE_PARAMETERS : KMODLOCK_UNSIGNED_MODULE,
	};

	return enforce(&access);
}
