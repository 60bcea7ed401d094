// SPDX-License-Identifier: GPL-2.0
/*
 * usblock: nobody but bpflock decides which USB devices the machine uses.
 *
 * The kernel itself keeps a device out: with authorized_default=0 a new one gets no configuration, so no driver, until
 * somebody writes to its file `authorized`. User space sets that (kernel/usb.py); the programs here keep everybody else
 * from writing to the files of sysfs that would undo it:
 *
 *  lsm/file_open         opening one of them for writing.
 *  lsm/file_permission   writing through a descriptor that was opened before the lock was loaded.
 *
 * The file is known by its dentry and its ancestors on a sysfs superblock: a bind mount, another mount of sysfs, a link
 * or an open directory leads to the same dentries. Modes and owners do not matter, so changing them is not hooked.
 *
 * Not done here: `uevent` files stay writable, since udev replays events through them at boot; whoever decides on an
 * event reads the device itself. Unloading usbcore and loading it with another parameter is up to kmodlock.
 */
#include "common.bpf.h"

#define SYSFS_MAGIC 0x62656572
#define FMODE_WRITE 2
#define MAY_WRITE 2
#define NAME_LEN 32 /* more than the longest name below */
#define DEPTH 32 /* a bus of PCI bridges and seven hubs is 20 deep; deeper is taken for USB */
#define NOT_GUARDED OPS
#define BIT(n) (1U << (n))
/* How long the names in operation_of() are: what most attributes have not. */
#define LENGTHS (BIT(4) | BIT(6) | BIT(9) | BIT(10) | BIT(13) | BIT(17) | BIT(18) | BIT(28))

const volatile enum usblock_op operations; /* their names, for user space */

#define IS(name, text) (!bpf_strncmp(name, sizeof(text), text))

/*
 * By the name of the file. Not static, as is_usb() below: the verifier looks at a global function once, and takes its
 * argument for a mere number.
 */
__noinline u32 operation_of(u64 address)
{
	char name[NAME_LEN] = {};

	bpf_probe_read_kernel_str(name, sizeof(name), (const void *)address);
	if (IS(name, "authorized") || IS(name, "authorized_default") || IS(name, "interface_authorized_default"))
		return USBLOCK_AUTHORIZE;
	if (IS(name, "bind") || IS(name, "unbind") || IS(name, "new_id") || IS(name, "remove_id") ||
	    IS(name, "drivers_probe") || IS(name, "drivers_autoprobe") || IS(name, "remove"))
		return USBLOCK_BIND;
	return NOT_GUARDED;
}

/* The way up from a directory. */
struct climb {
	u64 dentry;
	bool is_usb;
};

static long climb_one(u32 index, struct climb *climb)
{
	struct dentry *dentry = (void *)climb->dentry;
	struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
	char name[8] = {}, above[4] = {};

	bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(dentry, d_name.name));
	if (IS(name, "usbcore"))
		return 1;
	if (name[0] == 'u' && name[1] == 's' && name[2] == 'b') {
		if (name[3] >= '0' && name[3] <= '9')
			return 1;
		bpf_probe_read_kernel_str(above, sizeof(above), BPF_CORE_READ(parent, d_name.name));
		if (!name[3] && IS(above, "bus"))
			return 1;
	}
	if (parent == dentry) {
		climb->is_usb = false;
		return 1;
	}
	climb->dentry = (u64)parent;
	return 0;
}

/* Whether the directory or one above is a root hub (usbN), the bus (bus/usb), or usbcore's. */
__noinline int is_usb(u64 address)
{
	struct climb climb = { .dentry = address, .is_usb = true };

	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_loop)) {
		bpf_loop(DEPTH, climb_one, &climb, 0);
	} else {
		for (int i = 0; i < DEPTH; i++)
			if (climb_one(i, &climb))
				break;
	}
	return climb.is_usb;
}

static __noinline int decide_write(struct dentry *dentry, enum bpflock_event_type type, const struct path *path)
{
	struct access access = { .lock = LOCK_USBLOCK, .type = type, .path = path };
	struct task_struct *task = bpf_get_current_task_btf();
	struct bpflock_own *own = canary(task);
	const unsigned char *leaf = BPF_CORE_READ(dentry, d_name.name);
	enum bpflock_reason reason;

	if (own)
		return answer_canary(own, LOCK_USBLOCK);
	access.op = operation_of((u64)leaf);
	if (access.op == NOT_GUARDED || !is_usb((u64)BPF_CORE_READ(dentry, d_parent)) || own_task(task))
		return 0;
	if (!path)
		access.name = (const char *)leaf;
	access.object = BPF_CORE_READ(dentry, d_inode, i_ino);
	reason = decide(task, access.op);
	/* Authorising is bpflock's business: being on the host is not enough. */
	if (reason == REASON_BASELINE)
		reason = config.allow & 1ULL << (access.op & (OPS - 1)) ? REASON_BASELINE_ALLOWED : REASON_DENIED_BASELINE;
	return settle(&access, forget(reason));
}

static __always_inline int check_write(struct dentry *dentry, enum bpflock_event_type type, const struct path *path)
{
	u32 length = dentry->d_name.len;

	if (likely(length >= 32 || !(LENGTHS & BIT(length))))
		return ignore(LOCK_USBLOCK);
	return decide_write(dentry, type, path);
}

SEC("lsm/file_open")
int BPF_PROG(usblock_file_open, struct file *file, int ret)
{
	if (ret)
		return ret;
	if (likely(!(file->f_mode & FMODE_WRITE) || file->f_inode->i_sb->s_magic != SYSFS_MAGIC))
		return 0;
	return check_write(file->f_path.dentry, EVENT_LSM_FILE_OPEN, &file->f_path);
}

SEC("lsm/file_permission")
int BPF_PROG(usblock_file_permission, struct file *file, int mask, int ret)
{
	if (ret)
		return ret;
	if (likely(!(mask & MAY_WRITE) || file->f_inode->i_sb->s_magic != SYSFS_MAGIC))
		return 0;
	return check_write(file->f_path.dentry, EVENT_LSM_FILE_PERMISSION, 0);
}
