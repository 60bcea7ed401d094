/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Whose act it is that a task is in: its own, or somebody's for whom the kernel acts meanwhile with other credentials. Above all
 * overlayfs: on its layers it acts as whoever mounted it.
 *
 * A task can bring other credentials itself: it registers those that it has with an io_uring, or has a request prepared, and
 * changes its own. Such a request is done by a thread of the ring, or by the task at the end of whatever system call. And what is
 * written to cgroup.procs or to binfmt_misc is judged by the credentials with which the file was opened. So of a task that uses
 * an io_uring, or that writes, only that is somebody else's act which is done with the credentials that an overlay keeps: they
 * are made for it, and no task has them. access(2) has credentials of its own, too, but gives nothing away besides its answer.
 */
#ifndef BPFLOCK_POLICY_INNER_BPF_H
#define BPFLOCK_POLICY_INNER_BPF_H

#define OVERLAYFS_SUPER_MAGIC 0x794c7630
#define OVERLAY_WORDS 24 /* of struct ovl_fs: the credentials are among them on every kernel */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct super_block___overlay {
	unsigned long s_magic;
	void *s_fs_info;
};
struct vfsmount___overlay {
	struct super_block___overlay *mnt_sb;
};
struct path___overlay {
	struct vfsmount___overlay *mnt;
};
struct fdtable {
	unsigned int max_fds;
	struct file **fd;
	unsigned long *close_on_exec;
};
struct files_struct {
	struct fdtable *fdt;
	struct {
		int counter;
	} count; /* tasks that have it */
};
struct task_struct___files {
	struct files_struct *files;
};
struct fs_struct___overlay {
	struct path___overlay root, pwd;
};
struct task_struct___inner {
	const struct cred *real_cred;
	const struct cred *cred;
	unsigned int flags;
	struct io_uring_task *io_uring;
	struct fs_struct___overlay *fs;
};
#pragma clang attribute pop

static __always_inline bool keeps_creds(struct super_block___overlay *sb, u64 creds)
{
	u64 words[OVERLAY_WORDS] = {};

	/* The structure is a module's: without its type, what it points to tells. */
	if (BPF_CORE_READ(sb, s_magic) != OVERLAYFS_SUPER_MAGIC ||
	    bpf_probe_read_kernel(words, sizeof(words), BPF_CORE_READ(sb, s_fs_info)))
		return false;
	for (u32 i = 0; i < OVERLAY_WORDS; i++)
		if (words[i] == creds)
			return true;
	return false;
}

/* Whether they are those of the overlay that a descriptor of the task is on. */
static __always_inline bool keeps_creds_of_file(struct task_struct *task, u32 number, u64 creds)
{
	struct fdtable *table = BPF_CORE_READ((struct task_struct___files *)task, files, fdt);
	struct vfsmount___overlay *mnt;
	struct file *file = 0;

	if (number >= BPF_CORE_READ(table, max_fds))
		return false;
	bpf_probe_read_kernel(&file, sizeof(file), (void *)BPF_CORE_READ(table, fd) + 8ULL * number);
	if (!file)
		return false;
	mnt = (void *)BPF_CORE_READ(file, f_path.mnt);
	return keeps_creds(BPF_CORE_READ(mnt, mnt_sb), creds);
}

/*
 * Whether the task acts as whoever mounted the overlay that its root, or its working directory, is on, or what it writes to:
 * that is the first argument of most calls, and of splice(2) the third.
 */
__noinline bool policy_acts_as_mounter(void)
{
	struct task_struct *current = bpf_get_current_task_btf();
	struct task_struct___inner *task = (void *)current;
	u64 creds = (u64)task->cred;
	struct call call = {};

	if (keeps_creds(BPF_CORE_READ(task, fs, root.mnt, mnt_sb), creds) ||
	    keeps_creds(BPF_CORE_READ(task, fs, pwd.mnt, mnt_sb), creds))
		return true;
	decode_call(current, &call);
	return keeps_creds_of_file(current, call.first, creds) || keeps_creds_of_file(current, call.third, creds);
}

/* Whether the task acts with other credentials than its own, whosever act that is. */
static __always_inline bool has_other_creds(struct task_struct *current)
{
	struct task_struct___inner *task = (void *)current;

	return task->cred != task->real_cred;
}

static __always_inline bool is_inner(struct task_struct *current)
{
	struct task_struct___inner *task = (void *)current;

	if (likely(!has_other_creds(current)))
		return false;
	if (!(task->flags & PF_IO_WORKER) && !(bpf_core_field_exists(task->io_uring) && task->io_uring) &&
	    !is_call_to_write(current))
		return true;
	return policy_acts_as_mounter();
}

/* What is asked of whoever works on files. Nobody for whom the kernel acts is asked for another capability. */
#define CAPABILITIES_ON_FILES                                                                                          \
	(1ULL << 0 /* chown */ | 1ULL << 1 /* dac_override */ | 1ULL << 2 /* dac_read_search */ | 1ULL << 3 /* fowner */ |      \
	 1ULL << 4 /* fsetid */ | 1ULL << 9 /* linux_immutable */ | 1ULL << 21 /* sys_admin */ |                                \
	 1ULL << 24 /* sys_resource */ | 1ULL << 27 /* mknod */ | 1ULL << 31 /* setfcap */)

#endif
