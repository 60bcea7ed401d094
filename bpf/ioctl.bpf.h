/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which commands of ioctl(2) change nothing. Whatever is not known to read is taken for one that writes.
 */
#ifndef BPFLOCK_IOCTL_BPF_H
#define BPFLOCK_IOCTL_BPF_H

#include "common.bpf.h"

#define IOC_DIR(command) ((command) >> 30)
#define IOC_TYPE(command) ((command) >> 8 & 0xff)
#define IOC_NUMBER(command) ((command) & 0xff)
#define IOC_READ 2
#define ASKS(n) (1ULL << ((n) - 94))

/* On files and directories: what is known to change nothing. */
static __always_inline bool ioctl_reads(u32 command)
{
	u32 number = IOC_NUMBER(command);

	switch (IOC_TYPE(command)) {
	case 'T': /* isatty(3), FIOCLEX, FIONBIO, FIONREAD */
		return true;
	case 0: /* FIBMAP, FIGETBSZ */
		return number == 1 || number == 2;
	case 'f':
		/* FIEMAP, encryption policies and key states, verity digests; _IOR(19) sets a policy in spite of its name */
		if (number == 11 || number == 21 || number == 22 || number == 26 || number == 134 || number == 135)
			return true;
		return IOC_DIR(command) == IOC_READ && number != 19;
	case 'X':
		/* GETFSMAP; _IOR(125) shuts the file system down, _IOR(58) frees what was allocated in advance */
		return number == 59 || (IOC_DIR(command) == IOC_READ && number != 125 && number != 58);
	case 0xf5: /* f2fs; _IOR(18) and _IOR(19) release and reserve blocks */
		return IOC_DIR(command) == IOC_READ && number != 18 && number != 19;
	default:
		return IOC_DIR(command) == IOC_READ;
	}
}

#define CHANGES(n) (1ULL << (n))

/* What changes no more than the file or directory that it is asked of, its names below included. */
static __always_inline bool ioctl_changes_inode(u32 command)
{
	/* Clones and names of subvolumes; of f2fs, atomic writes, and how a file lies on the disk */
	const u64 btrfs = CHANGES(1) | CHANGES(9) | CHANGES(13) | CHANGES(14) | CHANGES(15) | CHANGES(16) | CHANGES(23) |
			  CHANGES(24) | CHANGES(54);
	const u64 f2fs = CHANGES(1) | CHANGES(2) | CHANGES(3) | CHANGES(4) | CHANGES(5) | CHANGES(8) | CHANGES(9) | CHANGES(13) |
			 CHANGES(18) | CHANGES(19) | CHANGES(20) | CHANGES(22) | CHANGES(23) | CHANGES(24) | CHANGES(25);
	u32 number = IOC_NUMBER(command);

	switch (IOC_TYPE(command)) {
	case 'f': /* flags, version, extents, an encryption policy, verity */
		return number == 2 || number == 4 || number == 9 || number == 12 || number == 15 || number == 19 || number == 133;
	case 'v':
		return number == 2;
	case 'X': /* FSSETXATTR; space of a file: allocated, freed, zeroed, exchanged */
		return number == 32 || number == 10 || number == 11 || (number >= 36 && number <= 37) ||
		       (number >= 40 && number <= 43) || number == 57 || number == 129;
	case 0x94:
		return number < 64 && btrfs >> (number & 63) & 1;
	case 0xf5:
		return number < 64 && f2fs >> (number & 63) & 1;
	default:
		return false;
	}
}

/* What the kernel does to the inode, or the file system, of whatever is open, before it asks a driver: FIFREEZE, FITHAW, flags. */
static __always_inline bool ioctl_of_any_file(u32 command)
{
	return command == 0xc0045877 || command == 0xc0045878 || command == 0x40086602 || command == 0x40046602 ||
	       command == 0x401c5820;
}

/* On the device: BLKROGET, BLKGETSIZE, BLKFLSBUF, BLKRAGET, ... and nothing that is a command to the drive. */
static __always_inline bool ioctl_asks_device(u32 command)
{
	const u64 asks = ASKS(94) | ASKS(96) | ASKS(97) | ASKS(99) | ASKS(101) | ASKS(103) | ASKS(104) |
			 ASKS(112) | ASKS(114) | ASKS(120) | ASKS(121) | ASKS(122) | ASKS(123) |
			 ASKS(124) | ASKS(126) | ASKS(128) | ASKS(130) | ASKS(132) | ASKS(133);
	u32 number = IOC_NUMBER(command);

	if (IOC_TYPE(command) == 0x12)
		return number >= 94 && number <= 133 && asks >> ((number - 94) & 63) & 1;
	/* The terminal's, HDIO_GETGEO, LOOP_GET_STATUS, LOOP_GET_STATUS64, CDROM_GET_CAPABILITY, NVME_IOCTL_ID (udev asks every device) */
	return IOC_TYPE(command) == 'T' || command == 0x4e40 || command == 0x0301 || command == 0x4c03 || command == 0x4c05 || command == 0x5331;
}

#endif
