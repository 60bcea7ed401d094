/* SPDX-License-Identifier: Apache-2.0 */
/* Ways to the devices beneath a guarded file system, and to the file system as a whole, past its files. */
#include "attack.h"

#include <linux/fs.h>
#include <linux/io_uring.h>
#include <linux/loop.h>
#include <linux/nvme_ioctl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define OPENED 8 /* a descriptor of a guarded device or file, for writing, that a test has opened */
#define SECTOR 512
#define BLOCK 4096
#define SET_LABEL _IOW(0x94, 50, char[256]) /* FS_IOC_SETFSLABEL */
#define GET_LABEL _IOR(0x94, 49, char[256])
#define NVME_READ 2
#define NVME_WRITE 1

/* An ioctl of the whole file system, on a file or directory of it. */
static enum result attack_label(const char *arg)
{
	char before[256] = "", label[256] = "attacked";
	int fd = arg ? open(arg, O_RDONLY) : -1;
	enum result result;

	if (fd < 0 || ioctl(fd, GET_LABEL, before))
		return stuck("ioctl(FS_IOC_GETFSLABEL)");
	if (ioctl(fd, SET_LABEL, label))
		result = refused("ioctl(FS_IOC_SETFSLABEL)");
	else
		result = ioctl(fd, SET_LABEL, before) ? stuck("ioctl(FS_IOC_SETFSLABEL)") : ok("another label");
	shut(fd);
	return result;
}

static enum result attack_freeze(const char *arg)
{
	int fd = arg ? open(arg, O_RDONLY | O_NONBLOCK) : -1;
	enum result result = ioctl(fd, FIFREEZE, 0) ? refused("ioctl(FIFREEZE)") : OK;

	if (result == OK)
		result = ioctl(fd, FITHAW, 0) ? stuck("ioctl(FITHAW)") : ok("nobody could write for a moment");
	shut(fd);
	return result;
}

/* What an ioctl of one file still may: its flags. */
static enum result attack_flag(const char *arg)
{
	int fd = arg ? open(arg, O_RDONLY) : -1, before = 0, flags;
	enum result result = ioctl(fd, FS_IOC_GETFLAGS, &before) ? refused("ioctl(FS_IOC_GETFLAGS)") : OK;

	flags = before ^ FS_NODUMP_FL;
	if (result == OK)
		result = ioctl(fd, FS_IOC_SETFLAGS, &flags) ? refused("ioctl(FS_IOC_SETFLAGS)") : ok("other flags");
	shut(fd);
	return result;
}

/* A loop device on the descriptor: its worker writes. `how`: with LOOP_CONFIGURE, or LOOP_SET_FD. */
static enum result loop_on_descriptor(bool configure)
{
	struct loop_config config = { .fd = OPENED };
	char block[BLOCK], *path;
	enum result result = OK;
	int control = open("/dev/loop-control", O_RDWR), loop;

	path = format("/dev/loop%d", ioctl(control, LOOP_CTL_GET_FREE));
	shut(control);
	loop = open(path, O_RDWR);
	if (loop < 0)
		return stuck("open(\"%s\")", path);
	if (configure ? ioctl(loop, LOOP_CONFIGURE, &config) : ioctl(loop, LOOP_SET_FD, OPENED)) {
		result = refused("ioctl(%s)", configure ? "LOOP_CONFIGURE" : "LOOP_SET_FD");
	} else {
		if (pread(loop, block, BLOCK, 0) != BLOCK || pwrite(loop, block, BLOCK, 0) != BLOCK || fsync(loop))
			result = refused("write(\"%s\")", path);
		ioctl(loop, LOOP_CLR_FD, 0);
	}
	shut(loop);
	return result ?: ok("wrote by a loop device");
}

static enum result attack_loop_set(const char *arg)
{
	return arg ? failed("it takes no argument") : loop_on_descriptor(false);
}

static enum result attack_loop_configure(const char *arg)
{
	return arg ? failed("it takes no argument") : loop_on_descriptor(true);
}

/* Rewrites the first block of a namespace as it is, by commands to the drive on a descriptor for reading. */
static enum result attack_nvme(const char *arg)
{
	char *block = aligned_alloc(BLOCK, BLOCK);
	int fd = arg ? open(arg, O_RDONLY) : -1;
	struct nvme_passthru_cmd command = {
		.opcode = NVME_READ, .nsid = 1, .addr = (uintptr_t)block, .data_len = SECTOR,
	};
	enum result result = OK;

	if (fd < 0)
		return stuck("open(\"%s\")", arg);
	if (ioctl(fd, NVME_IOCTL_IO_CMD, &command))
		result = refused("ioctl(NVME_IOCTL_IO_CMD), to read");
	command.opcode = NVME_WRITE;
	if (result == OK && ioctl(fd, NVME_IOCTL_IO_CMD, &command))
		result = refused("ioctl(NVME_IOCTL_IO_CMD), to write");
	shut(fd);
	free(block);
	return result ?: ok("wrote by a command to the drive");
}

/* Zeroes in the first sector, where nothing is, by an io_uring. */
static enum result attack_nvme_ring(const char *arg)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SQE128 | IORING_SETUP_CQE32 };
	int ring = syscall(SYS_io_uring_setup, 1, &params), fd = arg ? open(arg, O_RDONLY) : -1;
	char *block = aligned_alloc(BLOCK, BLOCK), *queue, *entries;
	struct nvme_uring_cmd command = { .opcode = NVME_WRITE, .nsid = 1, .addr = (uintptr_t)block, .data_len = SECTOR };
	struct io_uring_sqe *entry;
	int result;

	if (ring < 0 || fd < 0)
		return stuck("io_uring_setup(), open(\"%s\")", arg);
	memset(block, 0, BLOCK);
	queue = mmap(NULL, params.cq_off.cqes + params.cq_entries * 32, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	entries = mmap(NULL, 128, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	if (queue == MAP_FAILED || entries == MAP_FAILED)
		return stuck("mmap(the ring)");
	entry = (void *)entries;
	memset(entry, 0, 128);
	entry->opcode = IORING_OP_URING_CMD;
	entry->fd = fd;
	entry->cmd_op = NVME_URING_CMD_IO;
	memcpy(entries + offsetof(struct io_uring_sqe, addr3), &command, sizeof(command));
	*(unsigned *)(queue + params.sq_off.array) = 0;
	__atomic_store_n((unsigned *)(queue + params.sq_off.tail), 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		return refused("io_uring_enter()");
	result = *(int *)(queue + params.cq_off.cqes + 8);
	shut(fd);
	shut(ring);
	errno = -result;
	return result < 0 ? refused("IORING_OP_URING_CMD") : result ? failed("the drive says %#x", result) :
								     ok("wrote by a command in a ring");
}

const struct attack rootfs_devices_attacks[] = {
	{ "rootfs_label", "redteam", "rootfslock", "ARG: another label of the file system that this is on", attack_label },
	{ "rootfs_freeze", "redteam", "rootfslock", "ARG: freeze it", attack_freeze },
	{ "rootfs_flag", "redteam", "rootfslock", "ARG: change the flags of this file", attack_flag },
	{ "rootfs_loop_set", "redteam", "rootfslock", "a loop device on descriptor 8", attack_loop_set },
	{ "rootfs_loop_configure", "redteam", "rootfslock", "the same by another command", attack_loop_configure },
	{ "rootfs_nvme", "redteam", "rootfslock", "ARG: write by a command to this drive, or part of it", attack_nvme },
	{ "rootfs_nvme_ring", "redteam", "rootfslock", "ARG: the same in an io_uring", attack_nvme_ring },
	{},
};
