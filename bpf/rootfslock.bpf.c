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
 *  lsm/file_ioctl, lsm/file_ioctl_compat, lsm/uring_cmd
 *                        flags, freezing, shutting down, defragmentation, verity, SCSI and NVMe commands to the device or to the
 *                        character devices of the drive, tables of device mapper: all but what is known to read. And loop devices on
 *                        a descriptor.
 *  cgroup/dev at the root cgroup
 *                        a device beneath that the kernel opens for writing: mounts, device mapper, RAID, configfs.
 *  lsm/inode_create, inode_link, inode_symlink, inode_mkdir, inode_mknod, inode_unlink, inode_rmdir, inode_rename
 *                        names. Not the path_* hooks: overlayfs and nfsd change their layers without them.
 *  lsm/inode_setattr, inode_setxattr, inode_removexattr, inode_set_acl, inode_remove_acl, inode_file_setattr
 *                        size, mode, owner, times; extended attributes; flags. Some kernels have no hooks for the last three,
 *                        and ask the others.
 *  lsm/sb_mount, lsm/move_mount
 *                        mounting over a file or directory of it, by the old and the new calls, and mount -o remount,bind,rw.
 *  lsm/sb_remount        changing the superblock's options, read-write above all.
 *  lsm/sb_set_mnt_opts, lsm/sb_free_security
 *                        the file system is mounted again, or gone: see superblock.bpf.h.
 *
 * inode_permission(MAY_WRITE) would cover most of that alone, but fires for each component of each path that is looked up.
 *
 * Exceptions are looked for only where something would be denied: the walk up to the file system's root compares inode numbers
 * with a few constants, never names.
 * Not done here: times of access, which reading changes; mappings from before the lock; quotas; pivot_root(2) and chroot(2),
 * which change what a process calls /, not the file system.
 */
#include "devices.bpf.h"
#include "superblock.bpf.h"
#include "syscall.bpf.h"

#define S_IFDIR 0040000
#define MS_RDONLY 1
#define MS_REMOUNT 32
#define MS_BIND 4096
#define MS_PROPAGATION (1 << 17 | 1 << 18 | 1 << 19 | 1 << 20) /* unbindable, private, slave, shared */

#define MOVE_MOUNT_BENEATH 0x200 /* since 6.5 */

#define RAW_MAX 16
#define DRIVE_MAX 16
#define DESCRIPTORS_MAX 4096
#define RAMFS_MAGIC 0x858458f6
#define EXCEPT_MAX 16
#define DEPTH_MAX 4096 /* more directories than a path of PATH_MAX names, by far */
#define DEPTH_MAX_OLD 64 /* without bpf_loop(), before 5.17 */

/* Resolved at load. Device numbers as the kernel has them: major << 20 | minor. */
struct rootfslock_target {
	__u32 device; /* of the superblock */
	__u32 raws;
	__u32 drives;
	__u32 excepts;
	__u32 mapped; /* device mapper carries it */
	__u32 pad;
	__u32 raw[RAW_MAX]; /* block devices beneath it */
	__u32 drive[DRIVE_MAX]; /* character devices that take commands for these */
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
	return is_guarded(inode->i_sb);
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

static __noinline bool is_drive(u32 device)
{
	for (u32 i = 0; i < DRIVE_MAX; i++) {
		if (i >= target.drives)
			break;
		if (target.drive[i] == device)
			return true;
	}
	return false;
}

/* What writing to the file means here. The canary's way to the hooks on open files is an attribute of sysfs. */
enum file_kind { OTHER, GUARDED, RAW, DRIVE, CANARY_ATTRIBUTE };

static __always_inline enum file_kind kind_of(struct inode *inode)
{
	u32 kind = inode->i_mode;

	asm volatile("" : "+r"(kind)); /* or clang extends its sign to compare it */
	kind &= S_IFMT;
	if (kind == S_IFREG) {
		struct super_block *sb = inode->i_sb;

		if (is_guarded(sb))
			return GUARDED;
		return unlikely(shared.canary) && sb->s_magic == SYSFS_MAGIC ? CANARY_ATTRIBUTE : OTHER;
	}
	if (target.drives && unlikely(kind == S_IFCHR))
		return is_drive(inode->i_rdev) ? DRIVE : OTHER;
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

/* It is GUARDED, RAW or DRIVE. Not handed on by who knows that already, or it would be kept in a register all the way. */
static __always_inline u32 flags_of(struct file *file)
{
	return (file->f_inode->i_mode & S_IFMT) == S_IFREG ? 0 : NO_EXCEPTION;
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

/* Of untrusted pointers. */
static __always_inline u64 address_of_dentry(struct file *file)
{
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	u64 first = (u64)BPF_CORE_READ(inode, i_dentry.first);

	if (BPF_CORE_READ(dentry, d_inode) == inode)
		return (u64)dentry;
	if (bpf_core_field_exists(struct dentry___u, d_u))
		return first - bpf_core_field_offset(struct dentry___u, d_u.d_alias);
	return first - bpf_core_field_offset(struct dentry___plain, d_alias);
}

/* Of the descriptors that a task has. */
struct handing {
	u64 files; /* address of the kernel's array */
	u64 count;
	u64 found; /* address of the name of a file that may not be handed over */
};

static long find_handed(u32 index, struct handing *handing)
{
	struct file *file = 0;
	struct inode *inode;
	u64 dentry;
	u32 kind;

	if (index >= handing->count)
		return 1;
	bpf_probe_read_kernel(&file, sizeof(file), (void *)handing->files + 8ULL * index);
	if (!file || !(BPF_CORE_READ(file, f_mode) & FMODE_WRITE))
		return 0;
	inode = BPF_CORE_READ(file, f_inode);
	kind = BPF_CORE_READ(inode, i_mode) & S_IFMT;
	if (kind == S_IFBLK ? !is_raw(BPF_CORE_READ(inode, i_rdev)) : kind != S_IFREG || !is_guarded(BPF_CORE_READ(inode, i_sb)))
		return 0;
	dentry = address_of_dentry(file);
	if (kind == S_IFREG && target.excepts && is_excepted(dentry))
		return 0;
	handing->found = dentry;
	return 1;
}

/*
 * The task sets up a loop device on one of its descriptors. It may name that one in memory that changes during the call: so no
 * descriptor may be open for writing to what is guarded. A table that other tasks share may change, too: that is denied.
 */
static __noinline int check_handing(struct file *loop)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct files_struct *files = BPF_CORE_READ((struct task_struct___files *)task, files);
	struct fdtable *table = BPF_CORE_READ(files, fdt);
	struct handing handing = { .files = (u64)BPF_CORE_READ(table, fd), .count = BPF_CORE_READ(table, max_fds) };

	if (BPF_CORE_READ(files, count.counter) != 1 || handing.count > DESCRIPTORS_MAX)
		handing.found = address_of(loop->f_path.dentry);
	else if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_loop))
		bpf_loop(DESCRIPTORS_MAX, find_handed, &handing, 0);
	else
		handing.found = address_of(loop->f_path.dentry);
	if (!handing.found)
		return 0;
	return answer(rootfslock_decide(handing.found, ROOTFSLOCK_WRITE, EVENT_LSM_FILE_IOCTL, OPENED | NO_EXCEPTION,
					loop->f_inode->i_ino));
}

/* `file`: as the hook got it. */
static __always_inline int check_command(struct file *file, struct inode *inode, u32 command, enum bpflock_event_type type)
{
	enum file_kind kind = kind_of(inode);
	u32 flags = 0;

	if (kind == OTHER && is_target(inode)) {
		/* Of a pipe or a device, the file system itself does a few only; the others are none of its business. */
		if ((inode->i_mode & S_IFMT) == S_IFDIR || ioctl_of_any_file(command))
			kind = GUARDED;
	}
	if (target.mapped && kind == OTHER && (inode->i_mode & S_IFMT) == S_IFCHR && inode->i_rdev == MAPPER_CONTROL) {
		if (ioctl_asks_mapper(command))
			return 0;
		return check(dentry_of(file), inode->i_ino, ROOTFSLOCK_WRITE, type, NO_EXCEPTION);
	}
	switch (kind) {
	case OTHER:
		return 0;
	case CANARY_ATTRIBUTE:
		return ignore(LOCK_ROOTFSLOCK);
	case GUARDED:
		if (ioctl_reads(command))
			return 0;
		flags = ioctl_changes_inode(command) ? 0 : NO_EXCEPTION;
		break;
	case RAW:
		if (ioctl_asks_device(command))
			return 0;
		flags = NO_EXCEPTION;
		break;
	case DRIVE:
		if (ioctl_asks_drive(command))
			return 0;
		flags = NO_EXCEPTION;
		break;
	}
	return check(dentry_of(file), inode->i_ino, ROOTFSLOCK_WRITE, type, flags);
}

static __always_inline int check_ioctl(struct file *file, u32 command)
{
	struct inode *inode = file->f_inode;

	if (unlikely(command == SHOW_SUPERBLOCK) && own_task(bpf_get_current_task_btf())) {
		show_superblock(inode->i_sb);
		return 0;
	}
	if (unlikely(ioctl_hands_over(inode, command)) && !is_plainly_allowed(bpf_get_current_task_btf(), ROOTFSLOCK_WRITE)) {
		int result = check_handing(file);

		if (result)
			return result;
	}
	return check_command(file, inode, command, EVENT_LSM_FILE_IOCTL);
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
 * mount(2): what the kernel takes a call for, in its own order: to change a bind mount, to remount, to bind, to change propagation, to
 * move, to mount. A change of propagation is no mount. A bind mount that is made read-only, or whose flags change while it is, makes
 * nothing writable; a remount of the superblock itself comes to sb_remount.
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
	} else if (!(flags & MS_BIND) && flags & MS_PROPAGATION) {
		return 0;
	}
	return check(path->dentry, inode->i_ino, op, EVENT_LSM_SB_MOUNT, 0);
}

/* Where the mount is that the place is on, if another is to come beneath it. */
static __always_inline struct dentry *place_beneath(const struct path *to)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct mount *mount;

	if (!(fifth_argument(task) & MOVE_MOUNT_BENEATH))
		return 0;
	mount = (void *)to->mnt - bpf_core_field_offset(struct mount, mnt);
	return BPF_CORE_READ(mount, mnt_mountpoint);
}

SEC("lsm/move_mount")
int BPF_PROG(rootfslock_move_mount, const struct path *from, const struct path *to, int ret)
{
	struct dentry *beneath;
	struct inode *inode;

	if (ret)
		return ret;
	inode = inode_of(to->dentry);
	if (!inode)
		return 0;
	if (is_target(inode))
		return check(to->dentry, inode->i_ino, ROOTFSLOCK_MOUNT, EVENT_LSM_MOVE_MOUNT, 0);
	beneath = place_beneath(to);
	if (!beneath || !is_guarded(BPF_CORE_READ(beneath, d_sb)))
		return ignore(LOCK_ROOTFSLOCK);
	return answer(rootfslock_decide((u64)beneath, ROOTFSLOCK_MOUNT, EVENT_LSM_MOVE_MOUNT, 0, BPF_CORE_READ(beneath, d_inode, i_ino)));
}

SEC("lsm/sb_remount")
int BPF_PROG(rootfslock_sb_remount, struct super_block *sb, void *options, int ret)
{
	if (ret)
		return ret;
	if (!is_guarded(sb))
		return ignore(LOCK_ROOTFSLOCK);
	return check_dentry(sb->s_root, ROOTFSLOCK_REMOUNT, EVENT_LSM_SB_REMOUNT, NO_EXCEPTION);
}

/* Whether a superblock that is mounted is the guarded file system. */
static __noinline bool is_same(struct super_block *sb)
{
	struct super_block___identity *identity = (void *)sb;
	struct block_device *device = BPF_CORE_READ(identity, s_bdev);
	u32 number = BPF_CORE_READ(identity, s_dev);
	u64 uuid[2];

	if ((number >> 20 && (number == target.device || is_raw(number))) || (device && is_raw(BPF_CORE_READ(device, bd_dev))))
		return true;
	if (number >> 20 || target.device >> 20 || BPF_CORE_READ(identity, s_magic) != superblocks.magic)
		return false;
	read_uuid(sb, uuid);
	if (superblocks.uuid[0] | superblocks.uuid[1])
		return uuid[0] == superblocks.uuid[0] && uuid[1] == superblocks.uuid[1];
	return !is_any_left();
}

/* The one that it is, already or from now on. */
SEC("lsm/sb_set_mnt_opts")
int BPF_PROG(rootfslock_sb_set_mnt_opts, struct super_block *sb, void *options, unsigned long flags, unsigned long *set_flags,
	     int ret)
{
	if (ret)
		return ret;
	if (unlikely(sb->s_magic == RAMFS_MAGIC))
		return ignore(LOCK_ROOTFSLOCK); /* the canary's way */
	if (is_guarded(sb) || !is_same(sb))
		return 0;
	__sync_fetch_and_add(&superblocks.changes, 1);
	if (keep_superblock((u64)sb))
		return 0;
	return answer(settle_without_path(address_of(sb->s_root->d_name.name),
					  numbers_of(&(struct access){
						  .lock = LOCK_ROOTFSLOCK, .type = EVENT_LSM_SB_MOUNT, .op = ROOTFSLOCK_MOUNT }),
					  0, REASON_DENIED_RESTRICTED));
}

SEC("lsm/sb_free_security")
int BPF_PROG(rootfslock_sb_free_security, struct super_block *sb)
{
	forget_superblock((u64)sb);
	return 0;
}

/* What ioctl(2) is, by an io_uring. */
SEC("?lsm/uring_cmd")
int BPF_PROG(rootfslock_uring_cmd, struct io_uring_cmd *command, int ret)
{
	struct file *file;

	if (ret)
		return ret;
	file = command->file;
	return check_command(file, file->f_inode, command->cmd_op, EVENT_LSM_URING_CMD);
}

/*
 * What decide() does, where the kernel gives neither the task's storage nor the numbers of the cgroups above its own: in programs of
 * cgroups. Here, no task is bpflock's own: that writes to no device.
 */
struct ascent {
	u64 cgroup; /* address */
	u32 profile;
	u32 session;
};

static __always_inline u64 cgroup_above(struct cgroup *cgroup)
{
	struct cgroup_subsys_state *above = BPF_CORE_READ(cgroup, self.parent);

	return above ? (u64)BPF_CORE_READ(above, cgroup) : 0;
}

static long ascend_to_profile(u32 index, struct ascent *ascent)
{
	struct cgroup *cgroup = (void *)ascent->cgroup;
	u64 id = BPF_CORE_READ(cgroup, kn, id);
	u32 *profile = bpf_map_lookup_elem(&bpflock_cgroupmap, &id);

	if (profile) {
		ascent->profile = *profile;
		return 1;
	}
	ascent->cgroup = cgroup_above(cgroup);
	return !ascent->cgroup;
}

static long ascend_to_session(u32 index, struct ascent *ascent)
{
	struct cgroup *cgroup = (void *)ascent->cgroup;

	if (session_lives(BPF_CORE_READ(cgroup, kn, id))) {
		ascent->session = true;
		return 1;
	}
	ascent->cgroup = cgroup_above(cgroup);
	return !ascent->cgroup;
}

static __noinline u32 profile_of_cgroup(struct task_struct *task)
{
	struct ascent ascent = { .cgroup = (u64)BPF_CORE_READ(task, cgroups, dfl_cgrp) };

	bpf_loop(CGROUP_DEPTH, ascend_to_profile, &ascent, 0);
	if (ascent.profile || !ascent.cgroup)
		return ascent.profile;
	return PROFILE_RESTRICTED;
}

static __noinline bool is_in_session(struct task_struct *task)
{
	struct ascent ascent = { .cgroup = (u64)BPF_CORE_READ(task, cgroups, dfl_cgrp) };

	bpf_loop(CGROUP_DEPTH, ascend_to_session, &ascent, 0);
	return ascent.session;
}

static __always_inline enum bpflock_reason decide_device_by_profile(struct task_struct *task)
{
	const u64 bit = 1ULL << ROOTFSLOCK_WRITE;

	if (unlikely(shared.cgroups)) {
		u32 profile = profile_of_cgroup(task);

		if (profile) {
			if (config.block & bit)
				return REASON_DENIED_BLOCKED;
			if (profile == PROFILE_ALLOW)
				return REASON_ALLOW_CGROUP;
			if (profile != PROFILE_BASELINE)
				return REASON_DENIED_CGROUP_RESTRICTED;
			if (on_host(task))
				return REASON_BASELINE;
			if (config.allow & bit)
				return REASON_BASELINE_ALLOWED;
			return is_host_service() ? REASON_BASELINE : REASON_DENIED_CGROUP_BASELINE;
		}
	}
	if (config.profile == PROFILE_RESTRICTED)
		return REASON_DENIED_RESTRICTED;
	if (config.block & bit)
		return REASON_DENIED_BLOCKED;
	if (config.profile == PROFILE_ALLOW)
		return REASON_ALLOW_PRIVILEGED;
	if (on_host(task))
		return REASON_BASELINE;
	if (config.allow & bit)
		return REASON_BASELINE_ALLOWED;
	return is_host_service() ? REASON_BASELINE : REASON_DENIED_BASELINE;
}

static __noinline int decide_device(u32 device)
{
	struct access access = { .lock = LOCK_ROOTFSLOCK, .type = EVENT_CGROUP_DEVICE, .op = ROOTFSLOCK_WRITE, .object = device };
	struct task_struct *task = bpf_get_current_task_btf();
	enum bpflock_reason reason = decide_device_by_profile(task);
	struct bpflock_counter *counter = counter_of(ROOTFSLOCK_WRITE);
	char name[32] = {};

	if (config.session && is_for_sessions(ROOTFSLOCK_WRITE, reason) && is_in_session(task))
		reason = REASON_ALLOW_SESSION;
	/* What is allowed is counted where a descriptor is opened, if one is. */
	if (!denies(reason))
		return 1;
	BPF_SNPRINTF(name, sizeof(name), "/dev/block/%u:%u", device >> 20, device & 0xfffff);
	access.name = name;
	__sync_fetch_and_add(&counter->denied, 1);
	report(counter, &access, false, reason, -EPERM);
	return 0;
}

struct bpf_cgroup_dev_ctx {
	u32 access_type, major, minor;
};
#define DEVCG_BLOCK 1
#define DEVCG_WRITE 4

/*
 * A block device beneath is to be opened for writing: by open(2), and by any part of the kernel, on behalf of a task that told it so
 * by mount(2), an ioctl of device mapper, an attribute of configfs, ... There, no LSM hook is asked.
 */
SEC("cgroup/dev")
int rootfslock_device(struct bpf_cgroup_dev_ctx *ctx)
{
	u32 access = ctx->access_type, device = DEVICE(ctx->major, ctx->minor);

	if (likely((access & 0xffff) != DEVCG_BLOCK) || !(access >> 16 & DEVCG_WRITE) || !is_raw(device))
		return 1;
	return decide_device(device);
}
