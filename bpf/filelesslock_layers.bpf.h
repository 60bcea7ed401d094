/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The part of filelesslock for overlayfs: what is executed is the file of the layer, which may be in memory only.
 *
 * An open file of overlayfs has the layer's: as its private data, since Linux 6.13 as the first thing that these point to.
 * The verifier takes neither for what it is: all is read as memory.
 */
#ifndef BPFLOCK_FILELESSLOCK_LAYERS_BPF_H
#define BPFLOCK_FILELESSLOCK_LAYERS_BPF_H

#include "common.bpf.h"

#define OVERLAYFS_MAGIC 0x794c7630
#define LAYERS_MAX 3 /* the kernel stacks no more than two */

/* An open file knows the pages of its inode: nothing else looks like that. */
static __always_inline bool is_open_file(struct file *file)
{
	struct address_space *pages = BPF_CORE_READ(file, f_mapping);

	return pages && pages == BPF_CORE_READ(file, f_inode, i_mapping);
}

/* The file of the layer, of a file of overlayfs that is open; 0 if this kernel keeps it elsewhere. */
static __always_inline struct file *layer_of(struct file *file)
{
	struct file *layer = BPF_CORE_READ(file, private_data);

	if (is_open_file(layer))
		return layer;
	if (bpf_probe_read_kernel(&layer, sizeof(layer), layer) || !is_open_file(layer))
		return 0;
	return layer;
}

/* The address of the file below all layers, or 0. Global, with the address as a number: the verifier looks at it once. */
__noinline u64 file_below(u64 address)
{
	struct file *file = (void *)address;

	for (int i = 0; i < LAYERS_MAX; i++) {
		file = layer_of(file);
		if (!file)
			return 0;
		if (BPF_CORE_READ(file, f_inode, i_sb, s_magic) != OVERLAYFS_MAGIC)
			return (u64)file;
	}
	return 0;
}

#endif
