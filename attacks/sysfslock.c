/* SPDX-License-Identifier: Apache-2.0 */
/* Changing the machine through sysfs: by any mount, and by descriptors from before. */
#include "attack.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define ATTRIBUTE "kernel/rcu_expedited" /* harmless, and in every kernel: 0 or a number of requests */
#define XATTR "trusted.attack"

/* Writes another value, looks whether it is there, and writes the old one back. */
static enum result change(int fd, int dir)
{
	char before[16] = "", after[16] = "";
	bool may_read = slurp_at(dir, ATTRIBUTE, before, sizeof(before)) > 0;

	if (pwrite(fd, "1", 1, 0) != 1)
		return refused("write(\"%s\", \"1\")", ATTRIBUTE);
	if (!may_read) {
		pwrite(fd, "0", 1, 0);
		return ok("wrote to %s; whether it is there cannot be read", ATTRIBUTE);
	}
	slurp_at(dir, ATTRIBUTE, after, sizeof(after));
	if (pwrite(fd, before, strlen(before), 0) < 0)
		return stuck("write(\"%s\", \"%s\")", ATTRIBUTE, before);
	if (after[0] != '1')
		return failed("wrote 1 to %s, but it is %s", ATTRIBUTE, after);
	return ok("%s was %.1s, then 1", ATTRIBUTE, before);
}

static enum result open_and_change(int dir, int flags)
{
	int fd = openat(dir, ATTRIBUTE, flags | O_CLOEXEC);
	enum result result;

	if (fd < 0)
		return refused("open(\"%s\")", ATTRIBUTE);
	result = change(fd, dir);
	shut(fd);
	return result;
}

static enum result attack_write(const char *arg __attribute__((unused)))
{
	int dir = open("/sys", O_PATH | O_DIRECTORY | O_CLOEXEC);
	enum result result = open_and_change(dir, O_WRONLY);

	shut(dir);
	return result;
}

static enum result attack_mount(const char *arg __attribute__((unused)))
{
	const char *what = "";
	int dir = detached_mount("sysfs", &what);
	enum result result;

	if (dir < 0)
		return refused("%s", what);
	result = open_and_change(dir, O_RDWR);
	shut(dir);
	return result;
}

static enum result attack_bind(const char *arg __attribute__((unused)))
{
	int dir = open_tree(AT_FDCWD, "/sys/kernel", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	enum result result;
	int fd;

	if (dir < 0)
		return refused("open_tree(\"/sys/kernel\", OPEN_TREE_CLONE)");
	fd = openat(dir, "rcu_expedited", O_WRONLY | O_CLOEXEC);
	if (fd < 0) {
		result = refused("open(\"rcu_expedited\") in a bind mount of /sys/kernel");
	} else {
		int sys = open("/sys", O_PATH | O_DIRECTORY | O_CLOEXEC);

		result = change(fd, sys);
		shut(sys);
	}
	shut(fd);
	shut(dir);
	return result;
}

/* ARG: a descriptor that was opened for writing before the lock. */
static enum result attack_opened(const char *arg)
{
	int dir = open("/sys", O_PATH | O_DIRECTORY | O_CLOEXEC);
	enum result result = change(arg ? atoi(arg) : -1, dir);

	shut(dir);
	return result;
}

static enum result attack_chmod(const char *arg __attribute__((unused)))
{
	const char *path = "/sys/" ATTRIBUTE;
	struct stat before, after;

	if (stat(path, &before))
		return refused("stat(\"%s\")", path);
	if (chmod(path, 0666))
		return refused("chmod(\"%s\", 0666)", path);
	stat(path, &after);
	if (chmod(path, before.st_mode & 07777))
		return stuck("chmod(\"%s\")", path);
	return (after.st_mode & 07777) == 0666 ? ok("anybody could have written to %s", path) : failed("the mode did not change");
}

static enum result attack_chown(const char *arg __attribute__((unused)))
{
	const char *path = "/sys/" ATTRIBUTE;
	struct stat before, after;

	if (stat(path, &before))
		return refused("stat(\"%s\")", path);
	if (chown(path, 65534, -1))
		return refused("chown(\"%s\", 65534)", path);
	stat(path, &after);
	if (chown(path, before.st_uid, -1))
		return stuck("chown(\"%s\")", path);
	return after.st_uid == 65534 ? ok("nobody owned %s", path) : failed("the owner did not change");
}

static enum result attack_xattr(const char *arg __attribute__((unused)))
{
	const char *path = "/sys/" ATTRIBUTE;
	char value[2] = "";

	if (setxattr(path, XATTR, "x", 1, 0))
		return refused("setxattr(\"%s\", \"%s\")", path, XATTR);
	getxattr(path, XATTR, value, sizeof(value));
	if (removexattr(path, XATTR))
		return stuck("removexattr(\"%s\", \"%s\")", path, XATTR);
	return value[0] == 'x' ? ok("%s had %s", path, XATTR) : failed("the attribute is not there");
}

static enum result attack_read(const char *arg __attribute__((unused)))
{
	char value[16];

	if (slurp("/sys/" ATTRIBUTE, value, sizeof(value)) <= 0)
		return refused("read(\"/sys/%s\")", ATTRIBUTE);
	return ok("%s is %.1s", ATTRIBUTE, value);
}

const struct attack sysfslock_attacks[] = {
	{ "sysfs_write", "sysfslock", "write", "write to an attribute of /sys", attack_write },
	{ "sysfs_mount", "sysfslock", "write", "write to it through a new mount of sysfs", attack_mount },
	{ "sysfs_bind", "sysfslock", "write", "write to it through a bind mount of a directory of sysfs", attack_bind },
	{ "sysfs_opened", "sysfslock", "write", "ARG: write to it through this descriptor", attack_opened },
	{ "sysfs_chmod", "sysfslock", "write", "make it writable for everybody", attack_chmod },
	{ "sysfs_chown", "sysfslock", "write", "give it to another user", attack_chown },
	{ "sysfs_xattr", "sysfslock", "write", "give it an extended attribute", attack_xattr },
	{ "sysfs_read", "sysfslock", "read", "read an attribute of /sys", attack_read },
	{},
};
