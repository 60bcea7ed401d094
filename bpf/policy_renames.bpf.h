/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The part of the policy engine that counts renames by which files get other paths without being renamed themselves: those of
 * directories, and those of what is a mount point in some namespace, which other namespaces may rename.
 *
 *  lsm/inode_rename      from here on, no path that depends on it is kept until the rename has happened, or failed
 *  fexit/vfs_rename      that is now
 *  lsm/path_rmdir        (policy.bpf.c) counts directories that are removed, where another may pass for them
 */
#ifndef BPFLOCK_POLICY_RENAMES_BPF_H
#define BPFLOCK_POLICY_RENAMES_BPF_H

#include "policy.bpf.h"

/* A rename of an overlay's directory renames one of its layer meanwhile. */
struct policy_rename {
	u64 thread;
	u64 sb;
};

/* Those under way. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct policy_rename);
	__type(value, u32);
} policy_renames SEC(".maps");

static __always_inline bool counts(struct dentry *dentry)
{
	struct inode *inode = inode_of(dentry);
	u32 mounted = bpf_core_enum_value_exists(enum dentry_flags, DCACHE_MOUNTED) ?
			      bpf_core_enum_value(enum dentry_flags, DCACHE_MOUNTED) :
			      DCACHE_MOUNTED;

	return inode && ((inode->i_mode & S_IFMT) == S_IFDIR || dentry->d_flags & mounted);
}

static __always_inline void add_renames(u64 tree)
{
	asm volatile("%0 &= 255" : "+r"(tree));
	__sync_fetch_and_add(&policy_versions.trees[tree].renames, 1);
}

static __always_inline void add_renaming(u64 tree, u64 number)
{
	asm volatile("%0 &= 255" : "+r"(tree));
	__sync_fetch_and_add(&policy_versions.trees[tree].renaming, number);
}

static __always_inline void change_trees(u64 sb)
{
	add_renames(tree_of(sb));
	add_renames(TREE_ANY);
}

static __always_inline void count_renaming(u64 sb, u64 number)
{
	add_renaming(tree_of(sb), number);
	add_renaming(TREE_ANY, number);
}

/*
 * Before a directory is removed: where directories have no generation, as on overlayfs, another one may get its number, and a
 * file's name there would pass for one here.
 */
static __always_inline void note_removed(struct dentry *dentry)
{
	struct inode *inode = inode_of(dentry);

	if (unlikely(inode && !inode->i_generation))
		change_trees((u64)BPF_CORE_READ(dentry, d_sb));
}

/* For an exchange the kernel asks twice, the other way round. */
SEC("lsm/inode_rename")
int BPF_PROG(policy_inode_rename, struct inode *old_dir, struct dentry *old, struct inode *new_dir, struct dentry *new,
	     int ret)
{
	struct policy_rename rename;
	u32 value = 0;

	if (likely(!counts(old) && !counts(new)))
		return ret;
	rename.thread = bpf_get_current_pid_tgid();
	rename.sb = (u64)BPF_CORE_READ(old, d_sb);
	/* An earlier one of this thread that was left out below is under way still. */
	if (bpf_map_update_elem(&policy_renames, &rename, &value, BPF_NOEXIST) != -EEXIST)
		count_renaming(rename.sb, 1);
	change_trees(rename.sb);
	return ret;
}

/*
 * It has failed, too, if the hook was not asked, as another security module had refused: nothing is under way then. What is a
 * mount point may have become one, or be none any more, since the hook was asked.
 */
SEC("fexit/vfs_rename")
int BPF_PROG(policy_vfs_rename, struct renamedata *data)
{
	struct dentry *old = data->old_dentry;
	struct policy_rename rename;
	bool counted = counts(old) || counts(data->new_dentry);

	if (likely(!counted && !policy_versions.trees[TREE_ANY].renaming))
		return 0;
	rename.thread = bpf_get_current_pid_tgid();
	rename.sb = (u64)BPF_CORE_READ(old, d_sb);
	if (counted)
		change_trees(rename.sb);
	if (!bpf_map_delete_elem(&policy_renames, &rename)) {
		if (!counted)
			change_trees(rename.sb);
		count_renaming(rename.sb, -1);
	}
	return 0;
}

#endif
