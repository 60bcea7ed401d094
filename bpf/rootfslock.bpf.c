// SPDX-License-Identifier: GPL-2.0
/*
 * rootfslock: nobody outside the host changes the root file system, makes it writable or mounts over it.
 *
 * What is guarded is a superblock, by default that of / in the initial mount namespace: so every mount of it is covered, in
 * every namespace, and whether a mount is read-only makes no difference. Paths on other file systems are not concerned. User
 * space resolves at load which superblock, which block devices lie beneath it, and which files and directories are excepted
 * (src/bpflock/locks/rootfs.py).
 *
 *  lsm/file_open         opening a file of it for writing, O_TMPFILE too; and the block devices beneath it.
 *  lsm/file_permission   writing through a descriptor from before the lock: write, fallocate, splice, copy_file_range, AIO,
 *                        io_uring. It fires for each read and write of all files, so it looks at two fields and leaves; what is
 *                        allowed was counted when it was opened.
 *  lsm/mmap_file         shared mappings of such a descriptor. All of them, as mprotect(2) could make them writable later.
 *  lsm/file_ioctl, lsm/file_ioctl_compat
 *                        flags, freezing, shutting down, defragmentation, verity, SCSI and NVMe commands to the device: all but the
 *                        ioctls that are known to read.
 *  lsm/inode_create, inode_link, inode_symlink, inode_mkdir, inode_mknod, inode_unlink, inode_rmdir, inode_rename
 *                        names. Not the path_* hooks: overlayfs and nfsd change their layers without them.
 *  lsm/inode_setattr, inode_setxattr, inode_removexattr, inode_set_acl, inode_remove_acl, inode_file_setattr
 *                        size, mode, owner, times; extended attributes; flags. Some kernels have no hooks for the last three,
 *                        and ask the others.
 *  lsm/sb_mount, lsm/move_mount
 *                        mounting over a file or directory of it, by the old and the new calls, and mount -o remount,bind,rw.
 *  lsm/sb_remount        changing the superblock's options, read-write above all.
 *
 * inode_permission(MAY_WRITE) would cover most of that alone, but fires for each component of each path that is looked up.
 *
 * Exceptions are looked for only where something would be denied: the walk up to the file system's root compares inode numbers
 * with a few constants, never names.
 * Not done here: times of access, which reading changes; mappings from before the lock; quotas; pivot_root(2) and chroot(2),
 * which change what a process calls /, not the file system.
 */
#include "files.bpf.h"
#include "ioctl.bpf.h"

#define S_IFBLK 0060000
#define S_IFDIR 0040000
#define MS_RDONLY 1
#define MS_REMOUNT 32
#define MS_BIND 4096
#define MS_PROPAGATION (1 << 17 | 1 << 18 | 1 << 19 | 1 << 20) /* unbindable, private, slave, shared */

#define RAW_MAX 16
#define EXCEPT_MAX 16
#define DEPTH_MAX 4096 /* more directories than a path of PATH_MAX names, by far */
#define DEPTH_MAX_OLD 64 /* without bpf_loop(), before 5.17 */

/* Resolved at load. Device numbers as the kernel has them: major << 20 | minor. */
struct rootfslock_target {
	__u32 device; /* of the superblock */
	__u32 raws;
	__u32 excepts;
	__u32 pad;
	__u32 raw[RAW_MAX]; /* block devices beneath it */
	__u32 generation[EXCEPT_MAX]; /* 0: the file system tells none */
	__u64 inode[EXCEPT_MAX];
};

const volatile struct rootfslock_target target SEC(".rodata.config");
const volatile enum rootfslock_op operations; /* their names, for user space */

enum flags {
	OPENED = 1, /* counted when it was opened: only a denial is counted and told */
	PARENT = 2, /* it is the directory that changes */
	NO_EXCEPTION = 4, /* the file system as a whole */
};

struct climb {
	u64 dentry;
	bool found;
};

static long climb_one(u32 index, struct climb *climb)
{
	struct dentry *dentry = (void *)climb->dentry;
	struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
	u64 inode = BPF_CORE_READ(dentry, d_inode, i_ino);
	u32 generation = BPF_CORE_READ(dentry, d_inode, i_generation);

	for (u32 i = 0; i < EXCEPT_MAX; i++) {
		if (i >= target.excepts)
			break;
		if (target.inode[i] == inode && (!target.generation[i] || target.generation[i] == generation)) {
			climb->found = true;
			return 1;
		}
	}
	if (parent == dentry)
		return 1;
	climb->dentry = (u64)parent;
	return 0;
}

/* Whether the file, or a directory above it, is excepted. A walk that does not come to its end finds nothing. */
static __noinline bool is_excepted(u64 dentry)
{
	struct climb climb = { .dentry = dentry };

	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_loop)) {
		bpf_loop(DEPTH_MAX, climb_one, &climb, 0);
	} else {
		for (int i = 0; i < DEPTH_MAX_OLD; i++)
			if (climb_one(i, &climb))
				break;
	}
	return climb.found;
}

/* What decide() has denied may be allowed all the same. */
static __always_inline enum bpflock_reason reconsider(struct task_struct *task, u64 dentry, u32 flags, enum bpflock_reason reason)
{
	if (own_task(task))
		return REASON_ALLOW_BPFLOCK; /* its state is in /var/lib */
	if (!target.excepts || flags & NO_EXCEPTION)
		return reason;
	if (flags & PARENT) {
		struct dentry *child = (void *)dentry;

		dentry = (u64)BPF_CORE_READ(child, d_parent);
	}
	return is_excepted(dentry) ? REASON_ALLOW_EXCEPTED : reason;
}

/*
 * What all hooks but one end in. It is global, and so takes only numbers, for the verifier then looks at it once; the address is
 * that of a dentry.
 */
__noinline int rootfslock_decide(u64 address, u32 op, u32 type, u32 flags, u64 object)
{
	struct access access = { .lock = LOCK_ROOTFSLOCK, .type = type, .op = op };
	struct task_struct *task = bpf_get_current_task_btf();
	struct bpflock_own *own = canary(task);
	struct dentry *dentry = (void *)address;
	enum bpflock_reason reason;

	if (own)
		return answer_canary(own, LOCK_ROOTFSLOCK);
	reason = decide(task, op);
	if (denies(reason))
		reason = reconsider(task, address, flags, reason);
	if (!denies(reason) && flags & OPENED)
		return 0;
	return settle_without_path((u64)BPF_CORE_READ(dentry, d_name.name), numbers_of(&access), object, reason);
}

/*
 * `object`: the number of the inode, 0 if there is none yet. What is needed only if it does not pass is loaded only then: a call
 * of the kernel lies in between, before which the compiler would put every load.
 */
static __always_inline int check(struct dentry *dentry, u64 object, u32 op, enum bpflock_event_type type, u32 flags)
{
	if (likely(passes(bpf_get_current_task_btf(), op, object)))
		return 0;
	return answer(rootfslock_decide(address_of(dentry), op, type, flags, object));
}

/* The same of a name, which may be that of no file. */
static __always_inline int check_dentry(struct dentry *dentry, u32 op, enum bpflock_event_type type, u32 flags)
{
	struct inode *inode = inode_of(dentry);

	return check(dentry, inode ? inode->i_ino : 0, op, type, flags);
}

static __always_inline bool is_target(struct inode *inode)
{
	return inode->i_sb->s_dev == target.device;
}

/* Out of line: opening block devices for writing is rare. */
static __noinline bool is_raw(u32 device)
{
	for (u32 i = 0; i < RAW_MAX; i++) {
		if (i >= target.raws)
			break;
		if (target.raw[i] == device)
			return true;
	}
	return false;
}

/* What writing to the file means here. The canary's way to the hooks on open files is an attribute of sysfs. */
enum file_kind { OTHER, GUARDED, RAW, CANARY_ATTRIBUTE };

static __always_inline enum file_kind kind_of(struct inode *inode)
{
	u32 kind = inode->i_mode;

	asm volatile("" : "+r"(kind)); /* or clang extends its sign to compare it */
	kind &= S_IFMT;
	if (kind == S_IFREG) {
		struct super_block *sb = inode->i_sb;

		if (sb->s_dev == target.device)
			return GUARDED;
		return unlikely(shared.canary) && sb->s_magic == SYSFS_MAGIC ? CANARY_ATTRIBUTE : OTHER;
	}
	return unlikely(kind == S_IFBLK) && is_raw(inode->i_rdev) ? RAW : OTHER;
}

/*
 * Until Linux 6.8 or so (def3ae83da02), a file that overlayfs opens on one of its layers has the path of the overlay: take a name of
 * the inode itself.
 */
static __always_inline struct dentry *dentry_of(struct file *file)
{
	struct dentry *dentry = file->f_path.dentry;
	struct inode *inode = file->f_inode;
	struct hlist_node *first;

	if (likely(inode_of(dentry) == inode))
		return dentry;
	first = BPF_CORE_READ(inode, i_dentry.first);
	if (bpf_core_field_exists(struct dentry___u, d_u))
		return (void *)first - bpf_core_field_offset(struct dentry___u, d_u.d_alias);
	return (void *)first - bpf_core_field_offset(struct dentry___plain, d_alias);
}

/* It is GUARDED or RAW. Not handed on by who knows that already, or it would be kept in a register all the way. */
static __always_inline u32 flags_of(struct file *file)
{
	return (file->f_inode->i_mode & S_IFMT) == S_IFBLK ? NO_EXCEPTION : 0;
}

static __noinline int decide_opened(struct file *file, enum bpflock_event_type type)
{
	u64 address = address_of(dentry_of(file));

	return answer(rootfslock_decide(address, ROOTFSLOCK_WRITE, type, OPENED | flags_of(file), file->f_inode->i_ino));
}

static __always_inline int check_opened(struct file *file, enum bpflock_event_type type)
{
	enum file_kind kind = kind_of(file->f_inode);

	if (likely(kind == OTHER))
		return 0;
	if (kind == CANARY_ATTRIBUTE)
		return ignore(LOCK_ROOTFSLOCK);
	if (likely(is_plainly_allowed(bpf_get_current_task_btf(), ROOTFSLOCK_WRITE)))
		return 0;
	return decide_opened(file, type);
}

/* As rootfslock_decide(), but with the whole path. */
static __noinline int decide_open(struct file *file)
{
	struct access access = {
		.lock = LOCK_ROOTFSLOCK, .type = EVENT_LSM_FILE_OPEN, .op = ROOTFSLOCK_WRITE, .path = &file->f_path,
		.object = file->f_inode->i_ino,
	};
	struct task_struct *task = bpf_get_current_task_btf();
	struct bpflock_own *own = canary(task);
	enum bpflock_reason reason;

	if (own)
		return answer_canary(own, LOCK_ROOTFSLOCK);
	reason = decide(task, ROOTFSLOCK_WRITE);
	if (denies(reason))
		reason = reconsider(task, address_of(dentry_of(file)), flags_of(file), reason);
	return settle(&access, reason);
}

SEC("lsm/file_open")
int BPF_PROG(rootfslock_file_open, struct file *file, int ret)
{
	enum file_kind kind;
	struct inode *inode;

	if (ret)
		return ret;
	if (likely(!(file->f_mode & FMODE_WRITE)))
		return 0;
	inode = file->f_inode;
	kind = kind_of(inode);
	if (likely(kind == OTHER))
		return 0;
	if (kind == CANARY_ATTRIBUTE)
		return ignore(LOCK_ROOTFSLOCK);
	if (likely(passes(bpf_get_current_task_btf(), ROOTFSLOCK_WRITE, inode->i_ino)))
		return 0;
	return decide_open(file);
}

SEC("lsm/file_permission")
int BPF_PROG(rootfslock_file_permission, struct file *file, int mask, int ret)
{
	if (ret)
		return ret;
	return mask & MAY_WRITE ? check_opened(file, EVENT_LSM_FILE_PERMISSION) : 0;
}

SEC("lsm/mmap_file")
int BPF_PROG(rootfslock_mmap_file, struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags, int ret)
{
	if (ret)
		return ret;
	if (is_null(file))
		return 0;
	return flags & MAP_SHARED && file->f_mode & FMODE_WRITE ? check_opened(file, EVENT_LSM_MMAP_FILE) : 0;
}

static __always_inline int check_ioctl(struct file *file, u32 command)
{
	struct inode *inode = file->f_inode;
	enum file_kind kind = kind_of(inode);

	if (kind == OTHER && (inode->i_mode & S_IFMT) == S_IFDIR && is_target(inode))
		kind = GUARDED;
	switch (kind) {
	case OTHER:
		return 0;
	case CANARY_ATTRIBUTE:
		return ignore(LOCK_ROOTFSLOCK);
	case GUARDED:
		if (ioctl_reads(command))
			return 0;
		return check(dentry_of(file), inode->i_ino, ROOTFSLOCK_WRITE, EVENT_LSM_FILE_IOCTL, 0);
	case RAW:
		if (ioctl_asks_device(command))
			return 0;
		return check(dentry_of(file), inode->i_ino, ROOTFSLOCK_WRITE, EVENT_LSM_FILE_IOCTL, NO_EXCEPTION);
	}
	return 0;
}

SEC("lsm/file_ioctl")
int BPF_PROG(rootfslock_file_ioctl, struct file *file, unsigned int command, unsigned long arg, int ret)
{
	return ret ? ret : check_ioctl(file, command);
}

/* Of programs of 32 bits on a kernel of 64; older kernels ask file_ioctl for them, too. */
SEC("?lsm/file_ioctl_compat")
int BPF_PROG(rootfslock_file_ioctl_compat, struct file *file, unsigned int command, unsigned long arg, int ret)
{
	return ret ? ret : check_ioctl(file, command);
}

/* A change of the directory `dir`, by the name of `dentry` in it. */
static __always_inline int check_name(struct inode *dir, struct dentry *dentry, enum bpflock_event_type type)
{
	if (likely(!is_target(dir)))
		return ignore(LOCK_ROOTFSLOCK);
	return check_dentry(dentry, ROOTFSLOCK_WRITE, type, PARENT);
}

/* A new name: of no file yet. */
static __always_inline int check_new(struct inode *dir, struct dentry *dentry)
{
	if (likely(!is_target(dir)))
		return ignore(LOCK_ROOTFSLOCK);
	return check(dentry, 0, ROOTFSLOCK_WRITE, EVENT_LSM_INODE_CREATE, PARENT);
}

SEC("lsm/inode_create")
int BPF_PROG(rootfslock_inode_create, struct inode *dir, struct dentry *dentry, int mode, int ret)
{
	return ret ? ret : check_new(dir, dentry);
}

SEC("lsm/inode_symlink")
int BPF_PROG(rootfslock_inode_symlink, struct inode *dir, struct dentry *dentry, const char *old, int ret)
{
	return ret ? ret : check_new(dir, dentry);
}

SEC("lsm/inode_mkdir")
int BPF_PROG(rootfslock_inode_mkdir, struct inode *dir, struct dentry *dentry, int mode, int ret)
{
	return ret ? ret : check_new(dir, dentry);
}

SEC("lsm/inode_mknod")
int BPF_PROG(rootfslock_inode_mknod, struct inode *dir, struct dentry *dentry, int mode, int device, int ret)
{
	return ret ? ret : check_new(dir, dentry);
}

SEC("lsm/inode_unlink")
int BPF_PROG(rootfslock_inode_unlink, struct inode *dir, struct dentry *dentry, int ret)
{
	return ret ? ret : check_name(dir, dentry, EVENT_LSM_INODE_UNLINK);
}

SEC("lsm/inode_rmdir")
int BPF_PROG(rootfslock_inode_rmdir, struct inode *dir, struct dentry *dentry, int ret)
{
	return ret ? ret : check_name(dir, dentry, EVENT_LSM_INODE_UNLINK);
}

/* The name or file that another one is made of: what is allowed is counted with that. */
static __always_inline int check_old(struct dentry *old, enum bpflock_event_type type, u32 flags)
{
	struct inode *inode = inode_of(old);

	if (likely(is_plainly_allowed(bpf_get_current_task_btf(), ROOTFSLOCK_WRITE)))
		return 0;
	return answer(rootfslock_decide(address_of(old), ROOTFSLOCK_WRITE, type, flags, inode ? inode->i_ino : 0));
}

/* A new name of a file outside of what is excepted would make the file writable by that name. */
SEC("lsm/inode_link")
int BPF_PROG(rootfslock_inode_link, struct dentry *old, struct inode *dir, struct dentry *new, int ret)
{
	if (ret)
		return ret;
	if (is_target(dir)) {
		ret = check_old(old, EVENT_LSM_INODE_CREATE, OPENED);
		if (ret)
			return ret;
	}
	return check_new(dir, new);
}

SEC("lsm/inode_rename")
int BPF_PROG(rootfslock_inode_rename, struct inode *old_dir, struct dentry *old, struct inode *new_dir, struct dentry *new, int ret)
{
	if (ret)
		return ret;
	if (is_target(old_dir)) {
		ret = check_old(old, EVENT_LSM_INODE_RENAME, OPENED | PARENT);
		if (ret)
			return ret;
	}
	return check_name(new_dir, new, EVENT_LSM_INODE_RENAME);
}

static __always_inline int check_attributes(struct dentry *dentry, enum bpflock_event_type type)
{
	struct inode *inode = inode_of(dentry);

	if (!inode)
		return 0;
	if (likely(!is_target(inode)))
		return ignore(LOCK_ROOTFSLOCK);
	return check(dentry, inode->i_ino, ROOTFSLOCK_WRITE, type, 0);
}

SEC("lsm/inode_setattr")
int rootfslock_inode_setattr(u64 *ctx)
{
	return check_attributes(setattr_dentry(ctx), EVENT_LSM_INODE_SETATTR);
}

SEC("lsm/inode_setxattr")
int BPF_PROG(rootfslock_inode_setxattr, void *idmap, struct dentry *dentry, const char *name, const void *value,
	     unsigned long size, int flags, int ret)
{
	return ret ? ret : check_attributes(dentry, EVENT_LSM_INODE_SETXATTR);
}

SEC("lsm/inode_removexattr")
int BPF_PROG(rootfslock_inode_removexattr, void *idmap, struct dentry *dentry, const char *name, int ret)
{
	return ret ? ret : check_attributes(dentry, EVENT_LSM_INODE_SETXATTR);
}

SEC("?lsm/inode_set_acl")
int BPF_PROG(rootfslock_inode_set_acl, void *idmap, struct dentry *dentry, const char *name, void *acl, int ret)
{
	return ret ? ret : check_attributes(dentry, EVENT_LSM_INODE_SETATTR);
}

SEC("?lsm/inode_remove_acl")
int BPF_PROG(rootfslock_inode_remove_acl, void *idmap, struct dentry *dentry, const char *name, int ret)
{
	return ret ? ret : check_attributes(dentry, EVENT_LSM_INODE_SETATTR);
}

SEC("?lsm/inode_file_setattr")
int BPF_PROG(rootfslock_inode_file_setattr, struct dentry *dentry, void *attributes, int ret)
{
	return ret ? ret : check_attributes(dentry, EVENT_LSM_INODE_SETATTR);
}

/*
 * mount(2). A change of propagation is no mount. A bind mount that is made read-only, or whose flags change while it is, makes nothing
 * writable; a remount of the superblock itself comes to sb_remount.
 */
SEC("lsm/sb_mount")
int BPF_PROG(rootfslock_sb_mount, const char *device, const struct path *path, const char *type, unsigned long flags, void *data,
	     int ret)
{
	u32 op = flags & MS_REMOUNT ? ROOTFSLOCK_REMOUNT : ROOTFSLOCK_MOUNT;
	struct inode *inode;

	if (ret)
		return ret;
	inode = inode_of(path->dentry);
	if (!inode)
		return 0;
	if (!is_target(inode))
		return ignore(LOCK_ROOTFSLOCK);
	if (flags & MS_REMOUNT) {
		if (!(flags & MS_BIND) || flags & MS_RDONLY)
			return 0;
	} else if (flags & MS_PROPAGATION) {
		return 0;
	}
	return check(path->dentry, inode->i_ino, op, EVENT_LSM_SB_MOUNT, 0);
}

SEC("lsm/move_mount")
int BPF_PROG(rootfslock_move_mount, const struct path *from, const struct path *to, int ret)
{
	struct inode *inode;

	if (ret)
		return ret;
	inode = inode_of(to->dentry);
	if (!inode)
		return 0;
	if (!is_target(inode))
		return ignore(LOCK_ROOTFSLOCK);
	return check(to->dentry, inode->i_ino, ROOTFSLOCK_MOUNT, EVENT_LSM_MOVE_MOUNT, 0);
}

SEC("lsm/sb_remount")
int BPF_PROG(rootfslock_sb_remount, struct super_block *sb, void *options, int ret)
{
	if (ret)
		return ret;
	if (sb->s_dev != target.device)
		return ignore(LOCK_ROOTFSLOCK);
	return check_dentry(sb->s_root, ROOTFSLOCK_REMOUNT, EVENT_LSM_SB_REMOUNT, NO_EXCEPTION);
}
