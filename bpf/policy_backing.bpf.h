/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The part of the policy engine for mappings of files of overlayfs. Since Linux 6.5 a mapping has the file of the layer, and that
 * file (struct backing_file) tells by which path the task opened it: mprotect(2) is decided by this path.
 */
#ifndef BPFLOCK_POLICY_BACKING_BPF_H
#define BPFLOCK_POLICY_BACKING_BPF_H

#include "policy_objects.bpf.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct backing_file {
	struct file file;
	struct path user_path;
};
#pragma clang attribute pop

/*
 * Whether a mapping's file is one: those of layers are. The mode has a bit for it, which differs between kernels, and nothing
 * tells which it is.
 */
static __always_inline bool is_backing(struct file *file)
{
	struct dentry *dentry = file->f_path.dentry;
	struct mount *mount = mount_of((u64)file->f_path.mnt);

	if (!bpf_core_field_exists(struct backing_file, user_path))
		return false;
	return (u64)BPF_CORE_READ(mount, mnt_ns) == MNT_NS_INTERNAL && !(BPF_CORE_READ(dentry, d_sb, s_flags) & SB_KERNMOUNT);
}

/*
 * An access to what such a file stands for. Nothing is kept for it: the verifier takes no inode that is found in this way, nor
 * does it tell that the process created the file.
 */
static __noinline int decide_backing(struct file *file, enum bpflock_event_type type, u32 access)
{
	struct backing_file *backing = (void *)file - bpf_core_field_offset(struct backing_file, file);
	struct task_struct *task = bpf_get_current_task_btf();
	struct policy_task *subject = confined(task);
	struct query query = { .type = type, .access = access };
	struct policy_scratch *scratch;
	struct vfsmount *mnt;
	struct dentry *dentry;
	u64 inode;
	u32 told;

	if (likely(!subject || !access))
		return 0;
	if (is_canary(subject))
		return answer_policy_canary(subject, type);
	scratch = scratch_of_task();
	if (!scratch)
		return -EPERM;
	mnt = BPF_CORE_READ(backing, user_path.mnt);
	dentry = BPF_CORE_READ(backing, user_path.dentry);
	inode = (u64)BPF_CORE_READ(dentry, d_inode);
	query.op = bit_number(access);
	query.object = inode;
	scratch->ns = (u64)task->nsproxy->mnt_ns;
	scratch->from_dentry = (u64)dentry;
	scratch->from_mount = (u64)mount_of((u64)mnt);
	scratch->from_root = (u64)BPF_CORE_READ(mnt, mnt_root);
	scratch->profile = subject->profile;
	scratch->request.kind = 0;
	note(scratch);
	begin(scratch);
	policy_walk(scratch, false);
	policy_rights_of(scratch);
	told = policy_judge(subject, scratch, access, false, inode && runs(subject, inode));
	if (likely(!told))
		return 0;
	begin(scratch);
	policy_tell(&query, scratch, told, true);
	return denies(told) ? -EPERM : 0;
}

#endif
