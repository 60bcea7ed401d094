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
 * anon_map, anonymous executable memory, is denied only where it is blocked by name: JIT compilers need it. What counts as
 * that is what counts as execmem for SELinux: also a private mapping of a file that is writable and executable, or was
 * written to. A memfd that is mapped shared is such memory in all but name: memfd_shared.
 * Of a file of overlayfs, the layer's file decides: filelesslock_layers.bpf.h.
 * Not done here: interpreters that read a script from a pipe or a memfd, executable stacks (set up by exec itself,
 * without a hook), and what a tracer writes into executable memory.
 */
#include "filelesslock_layers.bpf.h"

#define PROT_WRITE 2
#define PROT_EXEC 4
#define TMPFS_MAGIC 0x01021994
#define HUGETLBFS_MAGIC 0x958458f6
#define MOUNTS_MAX 65536
#define MOUNTS_MAX_OLD 64 /* without bpf_loop(), before 5.17 */
#define S_IFMT 00170000
#define S_IFCHR 0020000
#define DEV_ZERO (1 << 20 | 5)
#define MAP_SHARED 1 /* also a bit of MAP_SHARED_VALIDATE, but not of MAP_PRIVATE */
#define VM_MAYSHARE 0x80
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

static __always_inline bool walk_mounts(void *head, void *next)
{
	struct walk walk = { .head = head, .next = next };

	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_loop)) {
		bpf_loop(MOUNTS_MAX, step, &walk, 0);
	} else {
		for (int i = 0; i < MOUNTS_MAX_OLD; i++)
			if (step(i, &walk))
				break;
	}
	return walk.result != WALK_END;
}

/*
 * Any mount of the superblock counts, not only the one used: a user namespace lets everybody bind /dev/shm elsewhere.
 * The lists are read without the kernel's lock: a concurrent change can only end the walk early or repeat a mount, and
 * a walk that does not come to its end counts as shared memory.
 */
static __noinline bool on_shm(struct super_block *sb)
{
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
		return walk_mounts(0, mount);
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
		return walk_mounts(head, next);
	}
}

/* The same for a superblock that is known by its address only. */
static __noinline bool layer_on_shm(u64 address)
{
	if (bpf_core_field_exists(struct mount___chain, mnt_next_for_sb))
		return walk_mounts(0, BPF_CORE_READ((struct super_block___chain *)address, s_mounts));
	return walk_mounts((void *)address + bpf_core_field_offset(struct super_block___list, s_mounts),
			   BPF_CORE_READ((struct super_block___list *)address, s_mounts.next));
}

/* Whether the name is #NUMBER, as the kernel calls a file of O_TMPFILE. */
static __always_inline bool is_tmpfile(const char *name)
{
	return name[0] == '#' && name[1] >= '0' && name[1] <= '9';
}

static __always_inline bool in_memory(unsigned long magic)
{
	return magic == TMPFS_MAGIC || magic == HUGETLBFS_MAGIC;
}

/*
 * The operation for a file without a name on a file system. Shared anonymous memory, and what is mapped shared from /dev/zero, is
 * a file, too: the kernel calls it dev/zero, and no other has a slash in its name.
 */
static __always_inline u32 classify_unnamed(const char *from, bool memory)
{
	char name[12] = {};

	bpf_probe_read_kernel_str(name, sizeof(name), from);
	if (memory && (bpf_strncmp(name, 6, "memfd:") == 0 || bpf_strncmp(name, 4, "SYSV") == 0))
		return FILELESSLOCK_MEMFD;
	if (memory && bpf_strncmp(name, 8, "dev/zero") == 0)
		return FILELESSLOCK_ANON_MAP;
	return is_tmpfile(name) ? FILELESSLOCK_TMPFILE : FILELESSLOCK_UNLINKED;
}

/* Of a file of overlayfs. What cannot be found counts as shared memory. */
static __noinline u32 classify_layer(u64 address)
{
	struct file *file = (void *)file_below(address);
	struct super_block *sb = BPF_CORE_READ(file, f_inode, i_sb);
	unsigned long magic = BPF_CORE_READ(sb, s_magic);

	if (!file)
		return FILELESSLOCK_SHM;
	if (!BPF_CORE_READ(file, f_inode, i_nlink))
		return classify_unnamed((const char *)BPF_CORE_READ(file, f_path.dentry, d_name.name), in_memory(magic));
	return in_memory(magic) && layer_on_shm((u64)sb) ? FILELESSLOCK_SHM : FILELESS_NONE;
}

/* The operation, or FILELESS_NONE. */
static __always_inline u32 classify(struct file *file)
{
	struct inode *inode = file->f_inode;
	unsigned long magic = inode->i_sb->s_magic;

	if (likely(inode->i_nlink && magic != OVERLAYFS_MAGIC && !in_memory(magic)))
		return FILELESS_NONE;
	if (magic == OVERLAYFS_MAGIC)
		return classify_layer(address_of(file));
	if (inode->i_nlink)
		return on_shm(inode->i_sb) ? FILELESSLOCK_SHM : FILELESS_NONE;
	return classify_unnamed((const char *)file->f_path.dentry->d_name.name, in_memory(magic));
}

static __always_inline int enforce_exec(struct linux_binprm *bprm, enum bpflock_event_type type)
{
	struct access access = { .lock = LOCK_FILELESSLOCK, .type = type, .op = classify(bprm->file) };

	if (likely(access.op == FILELESS_NONE))
		return 0;
	access.op = forget(access.op);
	access.object = bprm->file->f_inode->i_ino;
	/* The file that it is, then what was passed: a link of procfs, as a rule. */
	access.path = &bprm->file->f_path;
	access.called = bprm->filename;
	return enforce(&access);
}

/*
 * Whether it looks like a program that the kernel loads itself, which the other hook is asked about. For a foreign one, whatever
 * is registered for it (binfmt_misc) takes its place, as the interpreter does that of a script.
 */
static __always_inline bool is_native_elf(struct linux_binprm *bprm)
{
	u16 machine = (u8)bprm->buf[18] | (u8)bprm->buf[19] << 8;

	if (bprm->buf[0] != 0x7f || bprm->buf[1] != 'E' || bprm->buf[2] != 'L' || bprm->buf[3] != 'F')
		return false;
#if defined(__TARGET_ARCH_x86)
	return machine == 62 || machine == 3;
#else
	return machine == 183 || machine == 40;
#endif
}

SEC("lsm/bprm_check_security")
int BPF_PROG(filelesslock_bprm_check_security, struct linux_binprm *bprm, int ret)
{
	if (ret)
		return ret;
	return is_native_elf(bprm) ? 0 : enforce_exec(bprm, EVENT_LSM_BPRM_CHECK_SECURITY);
}

SEC("lsm/bprm_creds_from_file")
int BPF_PROG(filelesslock_bprm_creds_from_file, struct linux_binprm *bprm, struct file *file, int ret)
{
	if (ret)
		return ret;
	return enforce_exec(bprm, EVENT_LSM_BPRM_CREDS_FROM_FILE);
}

/* Anonymous executable memory: silent and free unless it is blocked by name. */
static __always_inline int enforce_anonymous(enum bpflock_event_type type)
{
	struct access access = { .lock = LOCK_FILELESSLOCK, .type = type, .op = FILELESSLOCK_ANON_MAP };

	if (!(config.block & 1ULL << FILELESSLOCK_ANON_MAP))
		return 0;
	return enforce(&access);
}

/* A memfd that is mapped shared: an operation of its own where memfd is not set by itself. */
static __always_inline u32 op_of_map(u32 op, bool shared)
{
	return op == FILELESSLOCK_MEMFD && shared && !((config.block | config.allow) & 1ULL << FILELESSLOCK_MEMFD) ?
		       FILELESSLOCK_MEMFD_SHARED : op;
}

static __always_inline int enforce_map(struct file *file, bool shared, enum bpflock_event_type type)
{
	struct access access = { .lock = LOCK_FILELESSLOCK, .type = type, .op = classify(file) };

	if (likely(access.op == FILELESS_NONE))
		return 0;
	if (access.op == FILELESSLOCK_ANON_MAP)
		return enforce_anonymous(type);
	access.op = forget(op_of_map(access.op, shared));
	access.object = file->f_inode->i_ino;
	/* bpf_d_path() is not allowed in file_mprotect: both use the name of the file alone. */
	access.name = (const char *)file->f_path.dentry->d_name.name;
	return enforce(&access);
}

/* Whether what is mapped from the file becomes anonymous memory, at once or when it is written to. */
static __always_inline bool becomes_anonymous(struct file *file, unsigned long prot, bool shared)
{
	struct inode *inode = file->f_inode;

	if (!(config.block & 1ULL << FILELESSLOCK_ANON_MAP))
		return false;
	return (prot & PROT_WRITE && !shared) || ((inode->i_mode & S_IFMT) == S_IFCHR && inode->i_rdev == DEV_ZERO);
}

SEC("lsm/mmap_file")
int BPF_PROG(filelesslock_mmap_file, struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags, int ret)
{
	int denied;

	if (ret)
		return ret;
	if (likely(!(prot & PROT_EXEC)))
		return 0;
	if (is_null(file))
		return enforce_anonymous(EVENT_LSM_MMAP_FILE);
	denied = enforce_map(file, flags & MAP_SHARED, EVENT_LSM_MMAP_FILE);
	if (denied || likely(!becomes_anonymous(file, prot, flags & MAP_SHARED)))
		return denied;
	return enforce_anonymous(EVENT_LSM_MMAP_FILE);
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
		bool shared = vma->vm_flags & VM_MAYSHARE;
		int denied = enforce_map(file, shared, EVENT_LSM_FILE_MPROTECT);

		if (denied)
			return denied;
		/* A private mapping that was written to is anonymous memory, whatever file it began with. */
		if (!vma->anon_vma && !becomes_anonymous(file, prot, shared))
			return 0;
	}
	return enforce_anonymous(EVENT_LSM_FILE_MPROTECT);
}
