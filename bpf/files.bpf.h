/* SPDX-License-Identifier: GPL-2.0 */
/* What the locks on file systems share: the numbers, and hooks whose arguments differ between kernels. */
#ifndef BPFLOCK_FILES_BPF_H
#define BPFLOCK_FILES_BPF_H

#include "common.bpf.h"

#define S_IFMT 00170000
#define S_IFREG 0100000
#define SYSFS_MAGIC 0x62656572
#define FMODE_READ 1
#define FMODE_WRITE 2
#define MAY_WRITE 2
#define MAY_READ 4
#define MAP_SHARED 1 /* also a bit of MAP_SHARED_VALIDATE, but not of MAP_PRIVATE */

/*
 * inode_setattr got the mount's idmap as its first argument in the series that also brought inode_post_setattr
 * (314a8dc728d0 and following, Linux 6.9).
 *
 * What another program said is not looked at: after one that denies, the kernel runs no other. And Linux 6.12 would get it
 * wrong: its verifier takes what it knew of the register that is loaded with it for true of it still, so that after a constant
 * "it is 0" may be no case any more, and all that follows is removed.
 */
static __always_inline bool setattr_has_idmap(void)
{
	return bpf_core_field_exists(union security_list_options, inode_post_setattr);
}

/* By hand: clang would add to the context before it loads, which the verifier does not allow. */
#define CONTEXT(ctx, n)                                                                                               \
	({                                                                                                            \
		u64 value;                                                                                            \
		asm volatile("%0 = *(u64 *)(%1 + %2)" : "=r"(value) : "r"(ctx), "i"(8 * (n)));                        \
		value;                                                                                                \
	})

static __always_inline struct dentry *setattr_dentry(u64 *ctx)
{
	return setattr_has_idmap() ? (struct dentry *)CONTEXT(ctx, 1) : (struct dentry *)CONTEXT(ctx, 0);
}

#endif
