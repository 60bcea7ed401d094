// SPDX-License-Identifier: GPL-2.0
/*
 * sysfslock: nobody outside the host changes the machine through sysfs.
 *
 * A file is of sysfs by its superblock, so every mount of sysfs is covered, wherever it is and whoever mounted it. Other
 * file systems that are mounted below /sys (cgroups, debugfs, tracefs, bpffs, securityfs, efivarfs) are not sysfs.
 *
 *  lsm/file_open         opening an attribute for writing: also the memory and registers of PCI devices (resourceN).
 *  lsm/file_permission   writing through a descriptor that was opened before the lock was loaded, or that came from
 *                        somebody who may. It fires for each read and write of all files, so it looks at two fields and
 *                        leaves; what is allowed was counted when it was opened.
 *  lsm/mmap_file         the same for mappings of resourceN. All shared ones of a descriptor that is open for writing:
 *                        mprotect(2) would make it writable later.
 *  lsm/inode_setattr, lsm/inode_setxattr, lsm/inode_removexattr
 *                        modes, owners and extended attributes, which decide who may write later.
 *
 * read is denied only where it is blocked by name, as most programs need sysfs; before that it costs nothing more.
 * Not done here: a mapping from before the lock stays; names, links and directories of sysfs may be seen.
 */
#include "files.bpf.h"

const volatile enum sysfslock_op operations; /* their names, for user space */

static __always_inline bool is_sysfs(struct inode *inode)
{
	return inode->i_sb->s_magic == SYSFS_MAGIC;
}

static __always_inline bool blocks(u32 op)
{
	return config.block & 1ULL << op;
}

/* bpflock itself may: usblock writes to sysfs, and the kernel's types are read from there. */
static __always_inline enum bpflock_reason decide_for(struct task_struct *task, u32 op)
{
	enum bpflock_reason reason = decide(task, op);

	return denies(reason) && own_task(task) ? REASON_ALLOW_BPFLOCK : reason;
}

static __always_inline int decide_access(const struct access *access)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct bpflock_own *own = canary(task);

	if (own)
		return answer_canary(own, LOCK_SYSFSLOCK);
	return settle(access, decide_for(task, access->op));
}

static __noinline int decide_open(struct file *file, u32 op)
{
	struct access access = { .lock = LOCK_SYSFSLOCK, .type = EVENT_LSM_FILE_OPEN, .op = op };

	access.object = file->f_inode->i_ino;
	access.path = &file->f_path;
	return decide_access(&access);
}

static __always_inline int check_open(struct file *file, u32 op)
{
	return likely(passes(bpf_get_current_task_btf(), op, file->f_inode->i_ino)) ? 0 : decide_open(file, op);
}

/* An attribute that is open already: only a denial is counted and told. */
static __noinline int decide_opened(struct file *file, u32 op, enum bpflock_event_type type)
{
	struct access access = { .lock = LOCK_SYSFSLOCK, .type = type, .op = op };
	struct task_struct *task = bpf_get_current_task_btf();
	struct bpflock_own *own = canary(task);
	enum bpflock_reason reason;

	if (own)
		return answer_canary(own, LOCK_SYSFSLOCK);
	reason = decide_for(task, op);
	if (likely(!denies(reason)))
		return 0;
	access.object = file->f_inode->i_ino;
	access.name = (const char *)file->f_path.dentry->d_name.name;
	return settle(&access, reason);
}

static __always_inline int check_opened(struct file *file, u32 op, enum bpflock_event_type type)
{
	return likely(is_plainly_allowed(bpf_get_current_task_btf(), op)) ? 0 : decide_opened(file, op, type);
}

SEC("lsm/file_open")
int BPF_PROG(sysfslock_file_open, struct file *file, int ret)
{
	struct inode *inode = file->f_inode;
	int denied;

	if (ret)
		return ret;
	if (likely(!is_sysfs(inode)))
		return 0;
	if (file->f_mode & FMODE_WRITE) {
		denied = check_open(file, SYSFSLOCK_WRITE);
		if (denied)
			return denied;
	}
	if (!blocks(SYSFSLOCK_READ) || !(file->f_mode & FMODE_READ) || (inode->i_mode & S_IFMT) != S_IFREG)
		return 0;
	return check_open(file, SYSFSLOCK_READ);
}

SEC("lsm/file_permission")
int BPF_PROG(sysfslock_file_permission, struct file *file, int mask, int ret)
{
	struct inode *inode;

	if (ret)
		return ret;
	if (mask & MAY_WRITE) {
		if (likely(!is_sysfs(file->f_inode)))
			return 0;
		return check_opened(file, SYSFSLOCK_WRITE, EVENT_LSM_FILE_PERMISSION);
	}
	if (!blocks(SYSFSLOCK_READ) || !(mask & MAY_READ))
		return 0;
	inode = file->f_inode;
	if (likely(!is_sysfs(inode)) || (inode->i_mode & S_IFMT) != S_IFREG)
		return 0;
	return check_opened(file, SYSFSLOCK_READ, EVENT_LSM_FILE_PERMISSION);
}

SEC("lsm/mmap_file")
int BPF_PROG(sysfslock_mmap_file, struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags, int ret)
{
	int denied;

	if (ret)
		return ret;
	if (is_null(file))
		return 0;
	if (likely(!is_sysfs(file->f_inode)))
		return 0;
	if (flags & MAP_SHARED && file->f_mode & FMODE_WRITE) {
		denied = check_opened(file, SYSFSLOCK_WRITE, EVENT_LSM_MMAP_FILE);
		if (denied)
			return denied;
	}
	return blocks(SYSFSLOCK_READ) ? check_opened(file, SYSFSLOCK_READ, EVENT_LSM_MMAP_FILE) : 0;
}

static __always_inline int enforce_attributes(struct dentry *dentry, enum bpflock_event_type type)
{
	struct access access = { .lock = LOCK_SYSFSLOCK, .type = type, .op = SYSFSLOCK_WRITE };
	struct inode *inode = inode_of(dentry);

	if (!inode)
		return 0;
	if (!is_sysfs(inode))
		return 0;
	access.object = inode->i_ino;
	access.name = (const char *)dentry->d_name.name;
	return likely(passes(bpf_get_current_task_btf(), access.op, access.object)) ? 0 : decide_access(&access);
}

SEC("lsm/inode_setattr")
int sysfslock_inode_setattr(u64 *ctx)
{
	return enforce_attributes(setattr_dentry(ctx), EVENT_LSM_INODE_SETATTR);
}

SEC("lsm/inode_setxattr")
int BPF_PROG(sysfslock_inode_setxattr, void *idmap, struct dentry *dentry, const char *name, const void *value, unsigned long size,
	     int flags, int ret)
{
	return ret ? ret : enforce_attributes(dentry, EVENT_LSM_INODE_SETXATTR);
}

SEC("lsm/inode_removexattr")
int BPF_PROG(sysfslock_inode_removexattr, void *idmap, struct dentry *dentry, const char *name, int ret)
{
	return ret ? ret : enforce_attributes(dentry, EVENT_LSM_INODE_SETXATTR);
}
