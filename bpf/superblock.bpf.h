/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which superblocks are the guarded file system. The number of a superblock (s_dev) does not tell: one without a block device of
 * its own, as of btrfs, has a number that another file system gets when it is gone; and it gets another one when it is mounted
 * again. So they are known by address, for as long as they live:
 *
 *  lsm/file_ioctl        user space shows the first ones, by an ioctl of bpflock's own on a descriptor.
 *  lsm/sb_set_mnt_opts   each superblock that is mounted, by whatever call. It is one more of them if it lies on a device
 *                        beneath; if it has no device of its own, but the same UUID; or, where there is no UUID either, if it is of
 *                        the same kind and the guarded one is gone.
 *  lsm/sb_free_security  a superblock is gone, and its address may become another's.
 */
#ifndef BPFLOCK_SUPERBLOCK_BPF_H
#define BPFLOCK_SUPERBLOCK_BPF_H

#include "common.bpf.h"

#define SUPERBLOCKS 8
#define SHOW_SUPERBLOCK 0x0000b9f1 /* of ioctl(2): nobody else's */
#define ENOTTY 25
#define EALREADY 114

/* Pinned: user space sees whether anything has changed since the lock was loaded. */
struct rootfslock_superblocks {
	u64 address[SUPERBLOCKS];
	u64 uuid[2]; /* of the first */
	u64 magic;
	u64 more; /* there are, or were, others than the first */
	u64 changes; /* since the programs were attached */
};
struct rootfslock_superblocks superblocks SEC(".data.superblocks") = {};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct block_device {
	dev_t bd_dev;
};
struct super_block___identity {
	dev_t s_dev;
	unsigned long s_magic;
	struct block_device *s_bdev;
	struct {
		u8 b[16];
	} s_uuid;
};
#pragma clang attribute pop

static __noinline bool is_other_superblock(u64 address)
{
	for (u32 i = 1; i < SUPERBLOCKS; i++)
		if (superblocks.address[i] == address)
			return true;
	return false;
}

static __always_inline bool is_guarded(struct super_block *sb)
{
	u64 address = (u64)sb;

	if (address == superblocks.address[0])
		return true;
	return unlikely(superblocks.more) && is_other_superblock(address);
}

/* False if there is no room for it. */
static __always_inline bool keep_superblock(u64 address)
{
	for (u32 i = 0; i < SUPERBLOCKS; i++)
		if (superblocks.address[i] == address)
			return true;
	for (u32 i = 0; i < SUPERBLOCKS; i++) {
		if (i)
			superblocks.more = 1;
		if (!__sync_val_compare_and_swap(&superblocks.address[i], 0, address))
			return true;
	}
	return false;
}

static __always_inline void read_uuid(struct super_block *sb, u64 uuid[2])
{
	struct super_block___identity *identity = (void *)sb;

	uuid[0] = uuid[1] = 0;
	bpf_core_read(uuid, 16, &identity->s_uuid);
}

/* What user space shows first is what later ones are compared with. */
static __noinline bool show_superblock(struct super_block *sb)
{
	if (!superblocks.magic) {
		u64 uuid[2];

		read_uuid(sb, uuid);
		superblocks.uuid[0] = uuid[0];
		superblocks.uuid[1] = uuid[1];
		superblocks.magic = BPF_CORE_READ(sb, s_magic);
	}
	return keep_superblock((u64)sb);
}

static __always_inline void forget_superblock(u64 address)
{
	for (u32 i = 0; i < SUPERBLOCKS; i++) {
		if (superblocks.address[i] == address) {
			superblocks.address[i] = 0;
			__sync_fetch_and_add(&superblocks.changes, 1);
		}
	}
}

static __always_inline bool is_any_left(void)
{
	for (u32 i = 0; i < SUPERBLOCKS; i++)
		if (superblocks.address[i])
			return true;
	return false;
}

#endif
