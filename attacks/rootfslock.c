/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ways to change a file system: `attack rootfs_ways DIRECTORY [WAY]` goes all of them on the one that DIRECTORY is on, says
 * how each ended, and leaves everything as it was. Descriptor 7, if it is open, is DIRECTORY/file from before a lock.
 */
#include "attack.h"

#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#define OPENED 7
#define CONTENT "what was there\n"
#define XATTR "trusted.attack"
#define SCRATCH "/tmp/attack-rootfs" /* a directory on another file system */

static const char *directory;

static char *in(const char *name)
{
	return format("%s/%s", directory, name);
}

/* The file holds this, and then again what it held. */
static enum result holds(const char *name, const char *text)
{
	char buffer[64] = "";
	int fd;

	if (slurp(in(name), buffer, sizeof(buffer)) < 0)
		return refused("read(\"%s\")", name);
	fd = open(in(name), O_WRONLY | O_TRUNC);
	if (fd < 0 || write(fd, CONTENT, strlen(CONTENT)) < 0)
		return stuck("write(\"%s\")", name);
	shut(fd);
	return strstr(buffer, text) ? ok("%s holds \"%s\"", name, text) : failed("%s holds \"%s\"", name, buffer);
}

static enum result write_and_close(int fd, const char *what)
{
	ssize_t length = fd < 0 ? -1 : write(fd, "changed", 7);

	if (length < 0) {
		refused("%s", what);
		shut(fd);
		return message[0] == 'd' ? DENIED : FAILED;
	}
	shut(fd);
	return OK;
}

static enum result way_write(void)
{
	return write_and_close(open(in("file"), O_WRONLY), "open(O_WRONLY)") ?: holds("file", "changed");
}

static enum result way_append(void)
{
	return write_and_close(open(in("file"), O_WRONLY | O_APPEND), "open(O_APPEND)") ?: holds("file", CONTENT "changed");
}

static enum result way_open_truncate(void)
{
	return write_and_close(open(in("file"), O_RDWR | O_TRUNC), "open(O_TRUNC)") ?: holds("file", "changed");
}

static enum result way_reopen(void)
{
	int fd = open(in("file"), O_RDONLY);
	enum result result =
		write_and_close(open(format("/proc/self/fd/%d", fd), O_WRONLY), "open(\"/proc/self/fd/N\", O_WRONLY)");

	shut(fd);
	return result ?: holds("file", "changed");
}

static enum result way_handle(void)
{
	struct {
		struct file_handle handle;
		unsigned char bytes[MAX_HANDLE_SZ];
	} name = { .handle.handle_bytes = MAX_HANDLE_SZ };
	int mount_id, dir = open(directory, O_RDONLY | O_DIRECTORY);
	enum result result;

	if (name_to_handle_at(AT_FDCWD, in("file"), &name.handle, &mount_id, 0)) {
		shut(dir);
		return refused("name_to_handle_at()");
	}
	result = write_and_close(open_by_handle_at(dir, &name.handle, O_WRONLY), "open_by_handle_at(O_WRONLY)");
	shut(dir);
	return result ?: holds("file", "changed");
}

static enum result way_create(void)
{
	enum result result = write_and_close(open(in("new"), O_WRONLY | O_CREAT | O_EXCL, 0600), "open(O_CREAT)");

	if (result == OK && unlink(in("new")))
		return stuck("unlink()");
	return result ?: ok("created a file");
}

static enum result way_tmpfile(void)
{
	return write_and_close(open(directory, O_WRONLY | O_TMPFILE, 0600), "open(O_TMPFILE)") ?: ok("a file without a name");
}

static enum result way_truncate(void)
{
	if (truncate(in("file"), 3))
		return refused("truncate()");
	return holds("file", "wha");
}

/* From before the lock if there is one. */
static int opened(void)
{
	struct stat before, now;
	int fd;

	if (!fstat(OPENED, &before) && !stat(in("file"), &now) && before.st_dev == now.st_dev && before.st_ino == now.st_ino)
		fd = dup(OPENED);
	else
		fd = open(in("file"), O_RDWR);

	lseek(fd, 0, SEEK_SET);
	return fd;
}

static enum result way_opened_write(void)
{
	return write_and_close(opened(), "write()") ?: holds("file", "changed");
}

static enum result way_opened_writev(void)
{
	struct iovec vector = { "changed", 7 };
	int fd = opened();
	ssize_t length = pwritev2(fd, &vector, 1, 0, RWF_DSYNC);
	enum result result = length < 0 ? refused("pwritev2()") : OK;

	shut(fd);
	return result ?: holds("file", "changed");
}

static enum result way_opened_mmap(void)
{
	int fd = opened();
	char *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	enum result result = memory == MAP_FAILED ? refused("mmap(PROT_WRITE, MAP_SHARED)") : OK;

	if (result == OK) {
		memcpy(memory, "changed", 7);
		munmap(memory, 4096);
	}
	shut(fd);
	return result ?: holds("file", "changed");
}

static enum result way_opened_mprotect(void)
{
	int fd = opened();
	char *memory = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	enum result result = memory == MAP_FAILED ? refused("mmap(PROT_READ, MAP_SHARED)") : OK;

	if (result == OK && mprotect(memory, 4096, PROT_READ | PROT_WRITE))
		result = refused("mprotect(PROT_WRITE)");
	if (result == OK)
		memcpy(memory, "changed", 7);
	if (memory != MAP_FAILED)
		munmap(memory, 4096);
	shut(fd);
	return result ?: holds("file", "changed");
}

static enum result way_opened_truncate(void)
{
	int fd = opened();
	enum result result = ftruncate(fd, 3) ? refused("ftruncate()") : OK;

	shut(fd);
	return result ?: holds("file", "wha");
}

static enum result way_opened_fallocate(void)
{
	int fd = opened();
	enum result result = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4) ? refused("fallocate(PUNCH_HOLE)") : OK;
	char byte = 'x';

	if (result == OK && (pread(fd, &byte, 1, 0) != 1 || byte))
		result = failed("the hole is not there");
	shut(fd);
	return result ?: (holds("file", ""), ok("a hole in the file"));
}

/* Bytes that come from elsewhere, without a write(2). */
static enum result way_opened_sendfile(void)
{
	int fd = opened(), from = memfd_create("attack", 0);
	enum result result;

	write(from, "changed", 7);
	lseek(from, 0, SEEK_SET);
	result = sendfile(fd, from, NULL, 7) < 0 ? refused("sendfile()") : OK;
	shut(from);
	shut(fd);
	return result ?: holds("file", "changed");
}

static enum result way_opened_splice(void)
{
	int fd = opened(), ends[2];
	enum result result;

	if (pipe(ends))
		return refused("pipe()");
	write(ends[1], "changed", 7);
	result = splice(ends[0], NULL, fd, NULL, 7, 0) < 0 ? refused("splice()") : OK;
	shut(ends[0]);
	shut(ends[1]);
	shut(fd);
	return result ?: holds("file", "changed");
}

static enum result way_opened_copy(void)
{
	int fd = opened(), from = open(in("other"), O_RDONLY);
	enum result result = copy_file_range(from, NULL, fd, NULL, 7, 0) < 0 ? refused("copy_file_range()") : OK;

	shut(from);
	shut(fd);
	return result ?: holds("file", "another");
}

static enum result way_opened_aio(void)
{
	aio_context_t context = 0;
	int fd = opened();
	struct iocb request = {
		.aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = fd, .aio_buf = (uintptr_t) "changed", .aio_nbytes = 7,
	};
	struct iocb *requests[] = { &request };
	struct io_event event = {};
	enum result result = OK;

	if (syscall(SYS_io_setup, 1, &context)) {
		result = refused("io_setup()");
	} else {
		if (syscall(SYS_io_submit, context, 1, requests) != 1) {
			result = refused("io_submit()");
		} else if (syscall(SYS_io_getevents, context, 1, 1, &event, NULL) == 1 && event.res < 0) {
			errno = -event.res;
			result = refused("AIO write");
		}
		syscall(SYS_io_destroy, context);
	}
	shut(fd);
	return result ?: holds("file", "changed");
}

/* Undoes by the second call what the first did. */
#define DO_AND_UNDO(call, undo, what) ((call) ? refused("%s", #call) : (undo) ? stuck("%s", #undo) : ok("%s", what))

static enum result way_mkdir(void)
{
	return DO_AND_UNDO(mkdir(in("new"), 0700), rmdir(in("new")), "a new directory");
}

static enum result way_rmdir(void)
{
	return DO_AND_UNDO(rmdir(in("empty")), mkdir(in("empty"), 0700), "removed a directory");
}

static enum result way_symlink(void)
{
	return DO_AND_UNDO(symlink("file", in("new")), unlink(in("new")), "a new symbolic link");
}

static enum result way_link(void)
{
	return DO_AND_UNDO(link(in("file"), in("new")), unlink(in("new")), "a new hard link");
}

static enum result way_unlink(void)
{
	return DO_AND_UNDO(unlink(in("spare")), (shut(open(in("spare"), O_CREAT, 0600)), 0), "removed a file");
}

static enum result way_mkfifo(void)
{
	return DO_AND_UNDO(mkfifo(in("new"), 0600), unlink(in("new")), "a new pipe");
}

static enum result way_mknod(void)
{
	return DO_AND_UNDO(mknod(in("new"), S_IFCHR | 0600, makedev(1, 3)), unlink(in("new")), "a new device node");
}

static enum result way_bind_socket(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	enum result result;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/new", directory);
	result = DO_AND_UNDO(bind(fd, (struct sockaddr *)&address, sizeof(address)), unlink(in("new")), "a new socket");
	shut(fd);
	return result;
}

static enum result way_rename(void)
{
	return DO_AND_UNDO(rename(in("spare"), in("new")), rename(in("new"), in("spare")), "renamed a file");
}

static enum result way_rename_over(void)
{
	if (rename(in("spare"), in("target")))
		return refused("rename() over a file");
	return rename(in("target"), in("spare")) || (shut(open(in("target"), O_CREAT, 0600)), 0) ? stuck("rename()") :
												   ok("replaced a file");
}

static enum result way_exchange(void)
{
	return DO_AND_UNDO(renameat2(AT_FDCWD, in("file"), AT_FDCWD, in("other"), RENAME_EXCHANGE),
			   renameat2(AT_FDCWD, in("file"), AT_FDCWD, in("other"), RENAME_EXCHANGE), "exchanged two files");
}

static enum result way_chmod(void)
{
	return DO_AND_UNDO(chmod(in("file"), 0666), chmod(in("file"), 0600), "another mode");
}

static enum result way_fchmod(void)
{
	int fd = open(in("file"), O_RDONLY);
	enum result result = DO_AND_UNDO(fchmod(fd, 0666), fchmod(fd, 0600), "another mode, by a descriptor for reading");

	shut(fd);
	return result;
}

static enum result way_chown(void)
{
	return DO_AND_UNDO(chown(in("file"), 65534, -1), chown(in("file"), 0, -1), "another owner");
}

static enum result way_utimes(void)
{
	struct timespec times[2] = { { 1, 0 }, { 1, 0 } };

	return DO_AND_UNDO(utimensat(AT_FDCWD, in("file"), times, 0), utimensat(AT_FDCWD, in("file"), NULL, 0), "other times");
}

static enum result way_setxattr(void)
{
	return DO_AND_UNDO(setxattr(in("file"), XATTR "2", "x", 1, 0), removexattr(in("file"), XATTR "2"), "a new extended attribute");
}

static enum result way_removexattr(void)
{
	return DO_AND_UNDO(removexattr(in("file"), XATTR), setxattr(in("file"), XATTR, "x", 1, 0), "removed an extended attribute");
}

static enum result way_acl(void)
{
	/* Version 2; user::rw- user:65534:rw- group::r-- mask::rw- other::--- */
	static const struct {
		uint32_t version;
		struct {
			uint16_t tag, rights;
			uint32_t id;
		} entries[5];
	} acl = { 2, { { 0x01, 6, -1 }, { 0x02, 6, 65534 }, { 0x04, 4, -1 }, { 0x10, 6, -1 }, { 0x20, 0, -1 } } };

	if (setxattr(in("file"), "system.posix_acl_access", &acl, sizeof(acl), 0))
		return refused("setxattr(\"system.posix_acl_access\")");
	return removexattr(in("file"), "system.posix_acl_access") || chmod(in("file"), 0600) ? stuck("removexattr()") :
											       ok("nobody might write");
}

static enum result way_chattr(void)
{
	int fd = open(in("file"), O_RDONLY), before = 0, flags;
	enum result result;

	if (ioctl(fd, FS_IOC_GETFLAGS, &before)) {
		shut(fd);
		return refused("ioctl(FS_IOC_GETFLAGS)");
	}
	flags = before | FS_NODUMP_FL;
	result = DO_AND_UNDO(ioctl(fd, FS_IOC_SETFLAGS, &flags), ioctl(fd, FS_IOC_SETFLAGS, &before), "other flags");
	shut(fd);
	return result;
}

static enum result way_freeze(void)
{
	int fd = open(directory, O_RDONLY);
	enum result result = DO_AND_UNDO(ioctl(fd, FIFREEZE, 0), ioctl(fd, FITHAW, 0), "nobody could write for a moment");

	shut(fd);
	return result;
}

/* The kernel opens it. */
static enum result way_accounting(void)
{
	return DO_AND_UNDO(acct(in("log")), acct(NULL), "process accounting into a file");
}

/* The mount that the directory is on, and where it is from there. */
static const char *mountpoint(const char **rest)
{
	char *found = format("%s", directory);
	struct stat here, above;

	for (char *slash; (slash = strrchr(found, '/')) && slash > found; *slash = 0)
		if (stat(found, &here) || stat(format("%s/..", found), &above) || here.st_dev != above.st_dev)
			break;
	*rest = directory + strlen(found);
	return found;
}

static enum result way_mount_over(void)
{
	return DO_AND_UNDO(mount("none", in("empty"), "tmpfs", 0, NULL), umount(in("empty")), "a tmpfs over a directory");
}

static enum result way_bind_over(void)
{
	return DO_AND_UNDO(mount("/proc/self/status", in("file"), NULL, MS_BIND, NULL), umount(in("file")),
			   "another file over a file");
}

static enum result way_move_over(void)
{
	const char *what = "";
	int fd = detached_mount("tmpfs", &what);
	enum result result;

	if (fd < 0)
		return refused("%s", what);
	result = DO_AND_UNDO(syscall(SYS_move_mount, fd, "", AT_FDCWD, in("empty"), MOVE_MOUNT_F_EMPTY_PATH),
			     umount2(in("empty"), MNT_DETACH), "a detached mount over a directory");
	shut(fd);
	return result;
}

static enum result way_remount(void)
{
	const char *rest, *where = mountpoint(&rest);

	return mount(NULL, where, NULL, MS_REMOUNT, NULL) ? refused("mount(MS_REMOUNT)") : ok("mount -o remount,rw");
}

static enum result way_remount_bind(void)
{
	const char *rest, *where = mountpoint(&rest);

	return mount(NULL, where, NULL, MS_REMOUNT | MS_BIND, NULL) ? refused("mount(MS_REMOUNT | MS_BIND)") :
									  ok("mount -o remount,bind,rw");
}

static enum result way_reconfigure(void)
{
	const char *rest, *where = mountpoint(&rest);
	int fd = syscall(SYS_fspick, AT_FDCWD, where, FSPICK_CLOEXEC);
	enum result result;

	if (fd < 0)
		return refused("fspick()");
	result = syscall(SYS_fsconfig, fd, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) ? refused("fsconfig(RECONFIGURE)") :
										      ok("fsconfig(RECONFIGURE)");
	shut(fd);
	return result;
}

static enum result way_bind_elsewhere(void)
{
	enum result result;

	if (mount(directory, SCRATCH "/mount", NULL, MS_BIND, NULL))
		return refused("mount(MS_BIND)");
	result = write_and_close(open(SCRATCH "/mount/file", O_WRONLY), "open(O_WRONLY) through a bind mount elsewhere");
	if (umount2(SCRATCH "/mount", MNT_DETACH))
		return stuck("umount()");
	return result ?: holds("file", "changed");
}

static enum result way_overlay(void)
{
	enum result result;
	int fd;

	if (mount("none", SCRATCH "/mount", "overlay", 0,
		  format("lowerdir=" SCRATCH "/lower,upperdir=%s/upper,workdir=%s/work", directory, directory)))
		return refused("mount(overlay)");
	fd = open(SCRATCH "/mount/new", O_WRONLY | O_CREAT, 0600);
	/* Overlayfs is read-only if it may not make its working directory. */
	if (fd < 0 && errno == EROFS)
		result = denied("open(O_CREAT) in an overlay: EROFS");
	else
		result = write_and_close(fd, "open(O_CREAT) in an overlay whose upper layer is there");
	umount2(SCRATCH "/mount", MNT_DETACH);
	if (result == OK && unlink(in("upper/new")))
		return stuck("unlink()");
	return result ?: ok("the upper layer of an overlay");
}

/* Of the file system: a node of its own, in a place where it may be. */
static const char *device_node(void)
{
	struct stat found;

	if (stat(directory, &found) || !major(found.st_dev)) {
		errno = ENOTBLK;
		return NULL;
	}
	unlink(SCRATCH "/device");
	return mknod(SCRATCH "/device", S_IFBLK | 0600, found.st_dev) ? NULL : SCRATCH "/device";
}

/* Writes the first sector again as it is. */
static enum result rewrite(int fd, const char *what)
{
	char sector[512];

	if (fd < 0)
		return refused("open(%s, O_RDWR)", what);
	if (pread(fd, sector, sizeof(sector), 0) != sizeof(sector) || pwrite(fd, sector, sizeof(sector), 0) != sizeof(sector))
		return refused("write(%s)", what);
	return ok("wrote to %s", what);
}

static enum result way_device(void)
{
	const char *node = device_node();
	enum result result;
	int fd;

	if (!node)
		return refused("a node of the block device");
	fd = open(node, O_RDWR);
	result = rewrite(fd, "the block device");
	shut(fd);
	return result;
}

static enum result way_device_mount(void)
{
	const char *node = device_node(), *rest;
	enum result result;

	mountpoint(&rest);
	if (!node)
		return refused("a node of the block device");
	if (mount(node, SCRATCH "/mount", "ext4", 0, NULL))
		return refused("mount() of the block device elsewhere");
	result = write_and_close(open(format(SCRATCH "/mount%s/file", rest), O_WRONLY),
				 "open(O_WRONLY) through another mount of the device");
	if (umount2(SCRATCH "/mount", MNT_DETACH))
		return stuck("umount()");
	return result ?: holds("file", "changed");
}

static enum result way_device_ioctl(void)
{
	const char *node = device_node();
	int fd = node ? open(node, O_RDONLY) : -1, writable = 0;
	enum result result;

	if (fd < 0)
		return refused("a node of the block device");
	result = ioctl(fd, BLKROSET, &writable) ? refused("ioctl(BLKROSET)") : ok("the block device is writable");
	shut(fd);
	return result;
}

static enum result way_loop(void)
{
	int control = open("/dev/loop-control", O_RDWR), number = ioctl(control, LOOP_CTL_GET_FREE), loop, fd;
	const char *node = device_node();
	enum result result;

	shut(control);
	if (!node)
		return refused("a node of the block device");
	loop = open(format("/dev/loop%d", number), O_RDWR);
	if (loop < 0)
		return refused("open(\"/dev/loop%d\")", number);
	fd = open(node, O_RDWR);
	if (fd < 0) {
		result = refused("open(the block device, O_RDWR)");
	} else if (ioctl(loop, LOOP_SET_FD, fd)) {
		result = refused("ioctl(LOOP_SET_FD)");
	} else {
		result = rewrite(loop, "a loop device over the block device");
		ioctl(loop, LOOP_CLR_FD, 0);
	}
	shut(fd);
	shut(loop);
	return result;
}

static const struct way {
	const char *name;
	enum result (*go)(void);
} ways[] = {
	{ "write", way_write },
	{ "append", way_append },
	{ "open_truncate", way_open_truncate },
	{ "reopen", way_reopen },
	{ "handle", way_handle },
	{ "create", way_create },
	{ "tmpfile", way_tmpfile },
	{ "truncate", way_truncate },
	{ "opened_write", way_opened_write },
	{ "opened_writev", way_opened_writev },
	{ "opened_mmap", way_opened_mmap },
	{ "opened_mprotect", way_opened_mprotect },
	{ "opened_truncate", way_opened_truncate },
	{ "opened_fallocate", way_opened_fallocate },
	{ "opened_sendfile", way_opened_sendfile },
	{ "opened_splice", way_opened_splice },
	{ "opened_copy", way_opened_copy },
	{ "opened_aio", way_opened_aio },
	{ "mkdir", way_mkdir },
	{ "rmdir", way_rmdir },
	{ "symlink", way_symlink },
	{ "link", way_link },
	{ "unlink", way_unlink },
	{ "mkfifo", way_mkfifo },
	{ "mknod", way_mknod },
	{ "bind_socket", way_bind_socket },
	{ "rename", way_rename },
	{ "rename_over", way_rename_over },
	{ "exchange", way_exchange },
	{ "chmod", way_chmod },
	{ "fchmod", way_fchmod },
	{ "chown", way_chown },
	{ "utimes", way_utimes },
	{ "setxattr", way_setxattr },
	{ "removexattr", way_removexattr },
	{ "acl", way_acl },
	{ "chattr", way_chattr },
	{ "freeze", way_freeze },
	{ "accounting", way_accounting },
	{ "mount_over", way_mount_over },
	{ "bind_over", way_bind_over },
	{ "move_over", way_move_over },
	{ "remount", way_remount },
	{ "remount_bind", way_remount_bind },
	{ "reconfigure", way_reconfigure },
	{ "bind_elsewhere", way_bind_elsewhere },
	{ "overlay", way_overlay },
	{ "device", way_device },
	{ "device_mount", way_device_mount },
	{ "device_ioctl", way_device_ioctl },
	{ "loop", way_loop },
};

static bool there(const char *name, const char *content)
{
	int fd = open(in(name), O_RDONLY);
	bool found = fd >= 0;

	shut(fd);
	if (found)
		return true;
	fd = open(in(name), O_WRONLY | O_CREAT, 0600);
	found = fd >= 0 && write(fd, content, strlen(content)) >= 0;
	shut(fd);
	return found;
}

/* What the ways need; all of it is there already where a lock is. */
static bool prepare(const char *arg)
{
	static const char *const directories[] = { "empty", "upper", "work" };
	static const char *const scratch[] = { SCRATCH, SCRATCH "/mount", SCRATCH "/lower" };

	directory = arg;
	for (size_t i = 0; i < 3; i++)
		if ((mkdir(scratch[i], 0700) && errno != EEXIST) || (mkdir(in(directories[i]), 0700) && errno != EEXIST))
			return false;
	if (!there("file", CONTENT) || !there("other", "another") || !there("spare", "") || !there("target", "") || !there("log", ""))
		return false;
	return getxattr(in("file"), XATTR, NULL, 0) >= 0 || !setxattr(in("file"), XATTR, "x", 1, 0);
}

static enum result attack_ways(const char *arg)
{
	static const char *const said[] = { "ok", "denied", "failed" };
	size_t results[3] = {};

	if (!arg || !prepare(arg))
		return refused("cannot prepare \"%s\"", arg ? arg : "no DIRECTORY");
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		enum result result;

		message[0] = 0;
		result = ways[i].go();
		results[result]++;
		printf("%s\t%s\t%s\n", ways[i].name, said[result], message);
	}
	if (results[DENIED] + results[FAILED] == 0)
		return ok("all %zu", results[OK]);
	return results[OK] ? failed("%zu worked, %zu denied, %zu failed", results[OK], results[DENIED], results[FAILED]) :
			     denied("%zu, and %zu failed", results[DENIED], results[FAILED]);
}

/* One way in a process of its own, for one operation each. */
#define ONE(name)                                                                                                             \
	static enum result attack_##name(const char *arg)                                                                     \
	{                                                                                                                     \
		if (!arg || !prepare(arg))                                                                                    \
			return refused("cannot prepare \"%s\"", arg ? arg : "no DIRECTORY");                                  \
		return way_##name();                                                                                          \
	}

ONE(write)
ONE(rename)
ONE(device)
ONE(mount_over)
ONE(reconfigure)

const struct attack rootfslock_attacks[] = {
	{ "rootfs_ways", "rootfslock", "all", "ARG: change the file system of this directory in all ways", attack_ways },
	{ "rootfs_write", "rootfslock", "write", "ARG: write to a file in this directory", attack_write },
	{ "rootfs_rename", "rootfslock", "write", "ARG: rename a file in it", attack_rename },
	{ "rootfs_device", "rootfslock", "write", "ARG: write to the block device that it lies on", attack_device },
	{ "rootfs_mount", "rootfslock", "mount", "ARG: mount over a directory in it", attack_mount_over },
	{ "rootfs_remount", "rootfslock", "remount", "ARG: remount it read-write", attack_reconfigure },
	{},
};
