/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The switch under the locks: kernel.ftrace_enabled=0 turns every BPF LSM program off, up to Linux 6.12 at least.
 *
 * Newer kernels refuse by themselves, with EOPNOTSUPP (7.3) or EBUSY: that is "failed", not "denied".
 */
#include "attack.h"

#include <stdlib.h>
#include <sys/mount.h>
#include <time.h>

#define SWITCH "sys/kernel/ftrace_enabled"

/* Writes 0 through fd, looks whether it is so, and writes 1 again. */
static enum result switch_off(int fd, const char *how)
{
	char value[16] = "";
	enum result result;

	if (pwrite(fd, "0\n", 2, 0) < 0) {
		result = refused("write(%s, \"0\")", how);
		return errno == EOPNOTSUPP || errno == EBUSY ? with_hint(result, "the kernel itself refuses") : result;
	}
	if (slurp("/proc/" SWITCH, value, sizeof(value)) < 0)
		return failed("write(%s, \"0\") succeeded, but the value cannot be read", how);
	if (value[0] != '0')
		return failed("write(%s, \"0\") succeeded, but the value is %.*s", how, (int)strcspn(value, "\n"), value);
	if (!keep && pwrite(fd, "1\n", 2, 0) < 0)
		return stuck("write(%s, \"1\")", how);
	return ok("kernel.ftrace_enabled was 0, by %s%s", how, keep ? ", and still is" : "; now 1 again");
}

static enum result ftrace_sysctl(const char *arg)
{
	int fd = open("/proc/" SWITCH, O_WRONLY | O_CLOEXEC);
	enum result result;

	(void)arg;
	if (fd < 0)
		return refused("open(/proc/" SWITCH ")");
	result = switch_off(fd, "/proc/" SWITCH);
	shut(fd);
	return result;
}

static enum result ftrace_second_procfs(const char *arg)
{
	char *directory = format("%s/attack-XXXXXX", scratch_directory() ?: "/tmp");
	enum result result;
	int fd;

	(void)arg;
	if (!mkdtemp(directory))
		return refused("mkdtemp(%s)", directory);
	if (mount("proc", directory, "proc", 0, NULL) < 0) {
		result = refused("mount(proc, %s)", directory);
		rmdir(directory);
		return result;
	}
	fd = open(format("%s/" SWITCH, directory), O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		result = refused("open(%s/" SWITCH ")", directory);
	else
		result = switch_off(fd, "a second mount of procfs");
	shut(fd);
	umount2(directory, MNT_DETACH);
	rmdir(directory);
	return result;
}

/* A procfs that is mounted nowhere: no path leads to it. */
static enum result ftrace_detached_procfs(const char *arg)
{
	const char *what;
	int mount = detached_mount("proc", &what);
	enum result result;
	int fd;

	(void)arg;
	if (mount < 0)
		return refused("%s", what);
	fd = openat(mount, SWITCH, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		result = refused("openat(detached procfs, " SWITCH ")");
	else
		result = switch_off(fd, "a procfs mounted nowhere");
	shut(fd);
	shut(mount);
	return result;
}

/* Opened before the guard, written after it: for the time between, the file named by ARG is waited for. */
static enum result ftrace_old_fd(const char *arg)
{
	const struct timespec pause = { .tv_nsec = 20 * 1000 * 1000 };
	enum result result;
	int fd;

	if (!arg)
		return failed("ARG must name the file whose appearance says \"write now\"");
	fd = open("/proc/" SWITCH, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return refused("open(/proc/" SWITCH ")");
	puts("ready");
	for (int i = 0; access(arg, F_OK); i++) {
		if (i == 50 * 120) {
			shut(fd);
			return failed("%s did not appear within 120 s", arg);
		}
		nanosleep(&pause, NULL);
	}
	result = switch_off(fd, "a descriptor opened before");
	shut(fd);
	return result;
}

const struct attack guard_attacks[] = {
	{ "ftrace_sysctl", "guard", "ftrace_enabled", "write 0 to /proc/sys/kernel/ftrace_enabled", ftrace_sysctl },
	{ "ftrace_second_procfs", "guard", "ftrace_enabled", "the same through a procfs mounted elsewhere",
	  ftrace_second_procfs },
	{ "ftrace_detached_procfs", "guard", "ftrace_enabled", "the same through a procfs that is mounted nowhere",
	  ftrace_detached_procfs },
	{ "ftrace_old_fd", "guard", "ftrace_enabled",
	  "the same through a descriptor that was opened before; says \"ready\", waits for the file ARG",
	  ftrace_old_fd },
	{},
};
