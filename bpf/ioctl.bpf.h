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
		/* GETFSMAP; _IOR(125) shuts the file system down */
		return number == 59 || (IOC_DIR(command) == IOC_READ && number != 125);
	default:
		return IOC_DIR(command) == IOC_READ;
	}
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
	/* The terminal's, HDIO_GETGEO, LOOP_GET_STATUS, LOOP_GET_STATUS64, CDROM_GET_CAPABILITY (udev asks every device) */
	return IOC_TYPE(command) == 'T' || command == 0x0301 || command == 0x4c03 || command == 0x4c05 || command == 0x5331;
}

#endif
