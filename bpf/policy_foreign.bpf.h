/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The part of the policy engine that is about files without a path that are reached in other ways than by the call that made them:
 *
 *  procfs     By the link of a descriptor below /proc, a pipe or a memory file is opened anew. What the task itself has open to
 *             write, it may open to write. What it has not is another process's: that needs a rule on procfs that names any
 *             process, as nobody is told whose it is.
 *  io_uring   lsm/uring_cmd: a command for a driver is what ioctl(2) is. To receive a ring is as to make one.
 */
#ifndef BPFLOCK_POLICY_FOREIGN_BPF_H
#define BPFLOCK_POLICY_FOREIGN_BPF_H

struct own_search {
	u64 files; /* address of the kernel's array */
	u64 inode;
	u32 count;
	u32 found;
};

static long find_own(u32 index, struct own_search *search)
{
	struct file *file = 0;

	if (index >= search->count)
		return 1;
	bpf_probe_read_kernel(&file, sizeof(file), (void *)search->files + 8ULL * index);
	if (!file || (u64)BPF_CORE_READ(file, f_inode) != search->inode || !(BPF_CORE_READ(file, f_mode) & FMODE_WRITE))
		return 0;
	search->found = true;
	return 1;
}

/* A file of the kernel's own is opened to write: only procfs leads to it. */
static __noinline int decide_reopened(struct policy_task *subject, struct file *file)
{
	struct query query = {
		.type = EVENT_LSM_FILE_OPEN,
		.op = bit_number(FILE_WRITE),
		.access = FILE_WRITE,
		.object = file->f_inode->i_ino,
	};
	struct task_struct___files *task = (void *)bpf_get_current_task_btf();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct own_search search = { .inode = (u64)file->f_inode };
	struct policy_scratch *scratch;

	search.files = (u64)BPF_CORE_READ(table, fd);
	search.count = BPF_CORE_READ(table, max_fds);
	bpf_loop(DESCRIPTORS_MAX, find_own, &search, 0);
	if (search.found)
		return 0;
	scratch = ask(KIND_PROC, FILE_WRITE);
	if (!scratch)
		return -EPERM;
	return answer_request(subject, scratch, &query);
}

#define PID_FS_MAGIC 0x50494446 /* what pidfd_open(2) opens: everybody may */

/* As LABEL_INTERNAL, without a walk. Some file systems of that kind have mounts that are seen, too. */
static __always_inline bool is_reopened(struct file *file, u32 access)
{
	struct mount *mount;

	if (likely(!(file->f_inode->i_sb->s_flags & SB_KERNMOUNT) || !(access & (FILE_WRITE | FILE_APPEND))))
		return false;
	if (file->f_inode->i_sb->s_magic == PID_FS_MAGIC)
		return false;
	mount = (void *)mount_of((u64)file->f_path.mnt);
	return (u64)BPF_CORE_READ(mount, mnt_ns) == MNT_NS_INTERNAL;
}

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct io_uring_cmd {
	struct file *file;
};
#pragma clang attribute pop

SEC("?lsm/uring_cmd")
int BPF_PROG(policy_uring_cmd, struct io_uring_cmd *command, int ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct query query = { .type = EVENT_LSM_URING_CMD, .op = bit_number(FILE_IOCTL), .access = FILE_IOCTL };
	struct policy_task *subject;
	struct policy_scratch *scratch;
	struct file *file;
	u32 told;

	if (ret)
		return ret;
	subject = confined(task);
	if (likely(!subject))
		return 0;
	if (is_canary(subject))
		return answer_policy_canary(subject, EVENT_LSM_URING_CMD);
	scratch = scratch_of_task();
	if (!scratch)
		return -EPERM;
	file = command->file;
	query.object = BPF_CORE_READ(file, f_inode, i_ino);
	/* Nothing is kept: the verifier does not trust the file that a command names. */
	scratch->ns = (u64)BPF_CORE_READ(task, nsproxy, mnt_ns);
	scratch->profile = subject->profile;
	walk_by_address(scratch, BPF_CORE_READ(file, f_path.dentry), BPF_CORE_READ(file, f_path.mnt));
	policy_rights_of(scratch);
	scratch->request.kind = 0;
	told = policy_judge(subject, scratch, FILE_IOCTL, false, false);
	if (likely(!told))
		return 0;
	begin(scratch);
	policy_tell(&query, scratch, told, true);
	return denies(told) ? -EPERM : 0;
}

#endif
