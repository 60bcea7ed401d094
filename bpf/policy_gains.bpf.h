/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The part of the policy engine for lsm/path_rename: a new name must not give a file rights that the old one did not give.
 *
 * `rm` is asked about the name that goes and what is replaced, `create` about the name that comes; for an exchange, both
 * ways. Then the rights by both names are compared, as they were just looked up. If there are more by the new one, `link`
 * is asked about both names, as for a second name of a file. A directory that moves renames all that is below it, by whatever
 * rules: `link` is always asked.
 *
 * More are: rights that the new name gives, in any function if the two have not the same rules within functions; an exec that
 * changes the profile, or ends the taint, and did not, or leads to another profile.
 */
#ifndef BPFLOCK_POLICY_GAINS_BPF_H
#define BPFLOCK_POLICY_GAINS_BPF_H

#define RENAME_EXCHANGE 2
#define RENAME_WHITEOUT 4 /* leaves a device node by the old name */
#define EXEC_CHANGES (EXEC_TRANSITION | EXEC_UNTAINT)
/* What can be done to a file by its name, but for what is about the name itself. */
#define RIGHTS_ON_CONTENT (FILE_READ | FILE_WRITE | FILE_APPEND | FILE_EXEC | FILE_SETATTR | FILE_GETATTR | FILE_LINK | FILE_IOCTL)

/*
 * What is asked about the old name in the low half, about the new one in the high half. Modes are those of the files that have
 * these names, 0 if there is none. A global function: the verifier is not to follow what comes then for each of the answers.
 */
__noinline u32 policy_rename_access(u32 flags, u32 old_mode, u32 new_mode)
{
	u32 goes = FILE_RM, comes = FILE_CREATE;

	if (flags & (RENAME_EXCHANGE | RENAME_WHITEOUT))
		goes |= FILE_CREATE;
	if (new_mode)
		comes |= FILE_RM;
	if ((old_mode & S_IFMT) == S_IFDIR || (flags & RENAME_EXCHANGE && (new_mode & S_IFMT) == S_IFDIR)) {
		goes |= FILE_LINK;
		comes |= FILE_LINK;
	}
	return goes | comes << 16;
}

/* The decision on one of the names, as decide_name() makes it; and what was found. */
static __always_inline int decide_renamed(struct policy_task *subject, struct policy_scratch *scratch, struct vfsmount *mnt,
					  struct dentry *dentry, u32 op, u32 access, struct policy_renamed *found)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct query query = { .type = EVENT_LSM_PATH_RENAME, .op = op, .access = access };
	struct inode *inode = inode_of(dentry);
	struct policy_label *kept = inode ? bpf_inode_storage_get(&policy_labels, inode, 0, 0) : 0;
	int ret;

	if (kept) {
		u64 seq = kept->seq;

		barrier();
		if (settled(kept, subject, task, mnt, dentry, access)) {
			found->rights = kept->rights;
			found->label = kept->label;
			found->generation = kept->generation;
			barrier();
			if (likely(!(seq & 1) && kept->seq == seq))
				return 0;
		}
	}
	query.object = name_of(dentry);
	ret = decide_path(subject, mnt, dentry, inode, &query);
	if (ret)
		return ret;
	/* The decision may have added what holds for this process, here and now. */
	if (unlikely(scratch->rights.contexts || scratch->rights.allow >> FILE_OWN_SHIFT || runs(subject, (u64)inode)))
		policy_rights_of(scratch);
	found->rights = scratch->rights;
	found->label = scratch->label;
	found->generation = scratch->generation;
	return 0;
}

/* Whether the file that has the old name has more rights by the new one. */
static __always_inline bool gains(struct policy_task *subject, struct policy_scratch *scratch,
				  const struct policy_renamed *old, const struct policy_renamed *new)
{
	u32 allowed = old->rights.allow, allows = new->rights.allow;
	u32 changed = (old->rights.taint | old->rights.audit) & EXEC_CHANGES, changes = new->rights.taint | new->rights.audit;

	if (old->rights.contexts != new->rights.contexts) {
		/* What the rules of the new name say within functions, too, whatever the functions. */
		scratch->rights = new->rights;
		scratch->generation = new->generation;
		policy_add_contexts(subject, scratch, true);
		allows = scratch->rights.allow;
		changes |= scratch->rights.audit;
	}
	if (old->own) {
		allowed |= allowed >> FILE_OWN_SHIFT;
		allows |= allows >> FILE_OWN_SHIFT;
	}
	if (old->exe)
		allowed |= FILE_EXEC | FILE_READ | FILE_GETATTR;
	if (allows & ~allowed & RIGHTS_ON_CONTENT)
		return true;
	changes &= EXEC_CHANGES;
	return changes & ~changed ||
	       (changes & EXEC_TRANSITION && profile_of_executable(old->generation, old->label) !=
						     profile_of_executable(new->generation, new->label));
}

/* Whether a file has more rights by the name that it gets: the one of the old name, and if both are exchanged, the other one. */
__noinline u32 policy_gains(struct policy_task *subject, struct policy_scratch *scratch, u32 exchange)
{
	if (!subject || !scratch)
		return true;
	return gains(subject, scratch, &scratch->old, &scratch->new) ||
	       (exchange && gains(subject, scratch, &scratch->new, &scratch->old));
}

/* What the rules say to `link` on one of the names: the reason to tell, or 0. */
__noinline u32 policy_judge_link(struct policy_task *subject, struct policy_scratch *scratch, u32 is_new)
{
	const struct policy_renamed *name;

	if (!subject || !scratch)
		return REASON_DENIED_NO_MEMORY;
	name = is_new ? &scratch->new : &scratch->old;
	scratch->rights = name->rights;
	scratch->label = name->label;
	scratch->generation = name->generation;
	scratch->request.kind = 0;
	return policy_judge(subject, scratch, FILE_LINK, name->own, false);
}

static __always_inline int ask_link(struct policy_task *subject, struct policy_scratch *scratch, struct vfsmount *mnt,
				    struct dentry *dentry, bool is_new)
{
	struct query query = { .type = EVENT_LSM_PATH_RENAME, .op = bit_number(FILE_LINK), .access = FILE_LINK };
	u32 told = policy_judge_link(subject, scratch, is_new);

	if (!told)
		return 0;
	query.object = name_of(dentry);
	start_from(scratch, mnt, dentry);
	policy_tell(&query, scratch, told, true);
	return denies(told) ? -EPERM : 0;
}

/* What the file with this name is to the process. */
static __always_inline void note_file(struct policy_task *subject, struct policy_renamed *name, struct inode *inode)
{
	struct policy_label *kept = inode ? bpf_inode_storage_get(&policy_labels, inode, 0, 0) : 0;

	name->own = kept && kept->owner && kept->owner == subject->program;
	name->exe = inode && runs(subject, (u64)inode);
}

static __always_inline u32 mode_of(struct dentry *dentry)
{
	struct inode *inode = inode_of(dentry);

	return inode ? inode->i_mode : 0;
}

SEC("lsm/path_rename")
int BPF_PROG(policy_path_rename, struct path *old_dir, struct dentry *old, struct path *new_dir, struct dentry *new,
	     unsigned int flags, int ret)
{
	struct policy_task *subject;
	struct policy_scratch *scratch;
	u32 asked;

	if (ret)
		return ret;
	subject = confined(bpf_get_current_task_btf());
	if (likely(!subject))
		return 0;
	if (is_canary(subject))
		return answer_policy_canary(subject, EVENT_LSM_PATH_RENAME);
	scratch = scratch_of_task();
	if (!scratch)
		return -EPERM;
	asked = policy_rename_access(flags, mode_of(old), mode_of(new));
	ret = decide_renamed(subject, scratch, old_dir->mnt, old, bit_number(FILE_RM), asked & 0xffff, &scratch->old);
	if (ret)
		return ret;
	ret = decide_renamed(subject, scratch, new_dir->mnt, new, bit_number(FILE_CREATE), asked >> 16, &scratch->new);
	if (ret || asked & FILE_LINK)
		return ret;
	if (likely(scratch->old.rights.allow == scratch->new.rights.allow &&
		   scratch->old.rights.contexts == scratch->new.rights.contexts &&
		   !((scratch->old.rights.taint | scratch->old.rights.audit | scratch->new.rights.taint |
		      scratch->new.rights.audit) & EXEC_CHANGES)))
		return 0;
	note_file(subject, &scratch->old, inode_of(old));
	note_file(subject, &scratch->new, flags & RENAME_EXCHANGE ? inode_of(new) : inode_of(old));
	if (!policy_gains(subject, scratch, flags & RENAME_EXCHANGE))
		return 0;
	ret = ask_link(subject, scratch, old_dir->mnt, old, false);
	return ret ? ret : ask_link(subject, scratch, new_dir->mnt, new, true);
}

#endif
