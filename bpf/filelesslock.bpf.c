// SPDX-License-Identifier: GPL-2.0
/*
 * filelesslock: nobody outside the host executes what lies in memory only.
 *
 * Execution from memory is: a memfd or SysV segment (memfd), a file on a shared-memory tmpfs such as /dev/shm (shm), a
 * file that never had a name (tmpfile, O_TMPFILE), a file whose last name is gone (unlinked). Decided on the inode and
 * the mounts of its superblock, never on the string that was passed: /proc/self/fd/N, a bind mount or an open
 * directory of /dev/shm make no difference.
 *
 *  lsm/bprm_creds_from_file    ELF binaries: the file that will run.
 *  lsm/bprm_check_security     everything else, scripts above all: they are replaced by their interpreter before the
 *                              hook above is reached.
 *  lsm/mmap_file               executable mappings, so that a loader or dlopen() is no way round.
 *  lsm/file_mprotect           a mapping made executable afterwards.
 *
 * anon_map, anonymous executable memory, is denied only where it is blocked by name: JIT compilers need it.
 * Not done here: interpreters that read a script from a pipe or a memfd, and executable stacks (set up by exec itself,
 * without a hook).
 */
#include "common.bpf.h"

#define PROT_EXEC 4
#define TMPFS_MAGIC 0x01021994
#define HUGETLBFS_MAGIC 0x958458f6
#define MOUNTS_MAX 65536
#define MOUNTS_MAX_OLD 64 /* without bpf_loop(), before 5.17 */
#define MOUNTS_NEAR 3 /* looked at without a loop */

#define FILELESS_NONE OP_OTHER /* not an operation: the file is not fileless */

const volatile enum filelesslock_op operations; /* their names, for user space */

/* Whether a mount of the superblock has this mount point's name: /dev/shm, and a container's. */
static __always_inline bool is_shm(struct dentry *mountpoint)
{
	char name[4] = {};

	if (BPF_CORE_READ(mountpoint, d_name.len) != 3)
		return false;
	bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(mountpoint, d_name.name));
	return name[0] == 's' && name[1] == 'h' && name[2] == 'm';
}

/* A walk over the mounts of a superblock. */
struct walk {
	void *head; /* the list's end; unused on a chain */
	void *next;
	enum { WALK_ON, WALK_SHM, WALK_END } result;
};

static long step(u32 index, struct walk *walk)
{
	void *next = walk->next; /* BPF_CORE_READ() of walk->next itself would try to relocate struct walk */
	struct mount *mount = next;

	if (next == walk->head) {
		walk->result = WALK_END;
		return 1;
	}
	if (!bpf_core_field_exists(struct mount___chain, mnt_next_for_sb))
		mount = next - bpf_core_field_offset(struct mount___list, mnt_instance);
	if (is_shm(BPF_CORE_READ(mount, mnt_mountpoint))) {
		walk->result = WALK_SHM;
		return 1;
	}
	if (bpf_core_field_exists(struct mount___chain, mnt_next_for_sb))
		walk->next = BPF_CORE_READ((struct mount___chain *)mount, mnt_next_for_sb);
	else
		walk->next = BPF_CORE_READ((struct list_head *)next, next);
	return 0;
}

/*
 * Any mount of the superblock counts, not only the one used: a user namespace lets everybody bind /dev/shm elsewhere.
 * The lists are read without the kernel's lock: a concurrent change can only end the walk early or repeat a mount, and
 * a walk that does not come to its end counts as shared memory.
 */
static __noinline bool on_shm(struct super_block *sb)
{
	struct walk walk = {};

	if (bpf_core_field_exists(struct mount___chain, mnt_next_for_sb)) {
		struct mount___chain *mount = ((struct super_block___chain *)sb)->s_mounts;

		/* The chain has the kernel's types: for the few mounts that most superblocks have, plain loads will do. */
		for (int i = 0; i < MOUNTS_NEAR; i++) {
			struct dentry *mountpoint;

			if (!mount)
				return false;
			mountpoint = ((struct mount *)mount)->mnt_mountpoint;
			if (mountpoint->d_name.len == 3 && is_shm(mountpoint))
				return true;
			mount = mount->mnt_next_for_sb;
		}
		walk.next = mount;
	} else {
		struct list_head *head = (void *)sb + bpf_core_field_offset(struct super_block___list, s_mounts);
		struct list_head *next = ((struct super_block___list *)sb)->s_mounts.next;

		/* The list has only that of the first one. Three calls for each mount are still half of what a loop takes. */
		for (int i = 0; i < MOUNTS_NEAR; i++) {
			struct mount *mount = (void *)next - bpf_core_field_offset(struct mount___list, mnt_instance);

			if (next == head)
				return false;
			if (is_shm(BPF_CORE_READ(mount, mnt_mountpoint)))
				return true;
			next = BPF_CORE_READ(next, next);
		}
		walk.head = head;
		walk.next = next;
	}
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_loop)) {
		bpf_loop(MOUNTS_MAX, step, &walk, 0);
	} else {
		for (int i = 0; i < MOUNTS_MAX_OLD; i++)
			if (step(i, &walk))
				break;
	}
	return walk.result != WALK_END;
}

/* Whether the name is #NUMBER, as the kernel calls a file of O_TMPFILE. */
static __always_inline bool is_tmpfile(const char *name)
{
	return name[0] == '#' && name[1] >= '0' && name[1] <= '9';
}

/* The operation, or FILELESS_NONE. */
static __always_inline u32 classify(struct file *file)
{
	struct inode *inode = file->f_inode;
	unsigned long magic = inode->i_sb->s_magic;
	bool memory = magic == TMPFS_MAGIC || magic == HUGETLBFS_MAGIC;
	char name[8] = {};

	if (likely(inode->i_nlink && !memory))
		return FILELESS_NONE;
	if (inode->i_nlink)
		return on_shm(inode->i_sb) ? FILELESSLOCK_SHM : FILELESS_NONE;
	bpf_probe_read_kernel_str(name, sizeof(name), file->f_path.dentry->d_name.name);
	if (memory && (bpf_strncmp(name, 6, "memfd:") == 0 || bpf_strncmp(name, 4, "SYSV") == 0))
		return FILELESSLOCK_MEMFD;
	return is_tmpfile(name) ? FILELESSLOCK_TMPFILE : FILELESSLOCK_UNLINKED;
}

static __always_inline int enforce_exec(struct linux_binprm *bprm, enum bpflock_event_type type)
{
	struct access access = { .lock = LOCK_FILELESSLOCK, .type = type, .op = classify(bprm->file) };

	if (likely(access.op == FILELESS_NONE))
		return 0;
	access.op = forget(access.op);
	access.object = bprm->file->f_inode->i_ino;
	access.name = bprm->filename;
	return enforce(&access);
}

static __always_inline bool is_elf(struct linux_binprm *bprm)
{
	return bprm->buf[0] == 0x7f && bprm->buf[1] == 'E' && bprm->buf[2] == 'L' && bprm->buf[3] == 'F';
}

SEC("lsm/bprm_check_security")
int BPF_PROG(filelesslock_bprm_check_security, struct linux_binprm *bprm, int ret)
{
	if (ret)
		return ret;
	return is_elf(bprm) ? 0 : enforce_exec(bprm, EVENT_LSM_BPRM_CHECK_SECURITY);
}

SEC("lsm/bprm_creds_from_file")
int BPF_PROG(filelesslock_bprm_creds_from_file, struct linux_binprm *bprm, struct file *file, int ret)
{
	if (ret)
		return ret;
	return enforce_exec(bprm, EVENT_LSM_BPRM_CREDS_FROM_FILE);
}

static __always_inline int enforce_map(struct file *file, enum bpflock_event_type type)
{
	struct access access = { .lock = LOCK_FILELESSLOCK, .type = type, .op = classify(file) };

	if (likely(access.op == FILELESS_NONE))
		return 0;
	access.op = forget(access.op);
	access.object = file->f_inode->i_ino;
	/* bpf_d_path() is not allowed in file_mprotect: both use the name of the file alone. */
	access.name = (const char *)file->f_path.dentry->d_name.name;
	return enforce(&access);
}

/* Anonymous executable memory: silent and free unless it is blocked by name. */
static __always_inline int enforce_anonymous(enum bpflock_event_type type)
{
	struct access access = { .lock = LOCK_FILELESSLOCK, .type = type, .op = FILELESSLOCK_ANON_MAP };

	if (!(config.block & 1ULL << FILELESSLOCK_ANON_MAP))
		return 0;
	return enforce(&access);
}

SEC("lsm/mmap_file")
int BPF_PROG(filelesslock_mmap_file, struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags, int ret)
{
	if (ret)
		return ret;
	if (likely(!(prot & PROT_EXEC)))
		return 0;
	return is_null(file) ? enforce_anonymous(EVENT_LSM_MMAP_FILE) : enforce_map(file, EVENT_LSM_MMAP_FILE);
}

SEC("lsm/file_mprotect")
int BPF_PROG(filelesslock_file_mprotect, struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot, int ret)
{
	struct file *file;

	if (ret)
		return ret;
	if (likely(!(prot & PROT_EXEC)))
		return 0;
	file = vma->vm_file;
	if (file) {
		int denied = enforce_map(file, EVENT_LSM_FILE_MPROTECT);

		if (denied)
			return denied;
		/* A private mapping that was written to is anonymous memory, whatever file it began with. */
		if (!vma->anon_vma)
			return 0;
	}
	return enforce_anonymous(EVENT_LSM_FILE_MPROTECT);
}
