/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the devices beneath a file system may be asked, by those that may not write to them; and handing them to the kernel, to write
 * on one's behalf. Whatever is not known to read is taken for one that writes.
 */
#ifndef BPFLOCK_DEVICES_BPF_H
#define BPFLOCK_DEVICES_BPF_H

#include "files.bpf.h"
#include "ioctl.bpf.h"

#define S_IFCHR 0020000
#define S_IFBLK 0060000
#define DEVICE(major, minor) ((major) << 20 | (minor))
#define MAPPER_CONTROL DEVICE(10, 236)
#define LOOP_MAJOR 7
#define LOOP_SET_FD 0x4c00
#define LOOP_CHANGE_FD 0x4c06
#define LOOP_CONFIGURE 0x4c0a

/* Character devices that take commands for a drive: of NVMe controllers and namespaces, of SCSI (sg, bsg). */
static __always_inline bool ioctl_asks_drive(u32 command)
{
	/* NVME_IOCTL_ID, SG_GET_SCSI_ID, SG_GET_VERSION_NUM, SCSI_IOCTL_GET_IDLUN, SCSI_IOCTL_GET_BUS_NUMBER */
	return IOC_TYPE(command) == 'T' || command == 0x4e40 || command == 0x2276 || command == 0x2282 || command == 0x5382 ||
	       command == 0x5386;
}

/* /dev/mapper/control. The caller names the device in user memory, which may change during the call: only the command counts. */
static __always_inline bool ioctl_asks_mapper(u32 command)
{
	/* The version; a list, the state of a device, also its next event; tables, what they depend on; the kinds of targets */
	const u32 asks = 1 << 0 | 1 << 2 | 1 << 7 | 1 << 8 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 16 | 1 << 17;
	u32 number = IOC_NUMBER(command);

	return IOC_TYPE(command) == 'T' || (IOC_TYPE(command) == 0xfd && number < 32 && asks >> (number & 31) & 1);
}

/* Makes what a descriptor of the caller's is open to the content of a loop device, to which a kernel thread writes. */
static __always_inline bool ioctl_hands_over(struct inode *inode, u32 command)
{
	return (command == LOOP_SET_FD || command == LOOP_CHANGE_FD || command == LOOP_CONFIGURE) &&
	       inode->i_rdev >> 20 == LOOP_MAJOR;
}

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};
struct files_struct {
	atomic_t count;
	struct fdtable *fdt;
};
struct task_struct___files {
	struct files_struct *files;
};
struct io_uring_cmd {
	struct file *file;
	u32 cmd_op;
};
#pragma clang attribute pop

#endif
