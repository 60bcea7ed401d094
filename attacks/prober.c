/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attack probe: does what it is told, one access to a file for each line of standard input, and answers each with the
 * error number, 0 if it worked. Confined by a policy, it shows what the policy allows.
 *
 * A line is ACCESS PATH [PATH], paths in hexadecimal: names may contain anything.
 */
#include "attack.h"

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define LINE (4 * 4096 + 64)

static int close_after(int fd)
{
	if (fd < 0)
		return -1;
	return close(fd);
}

static int map_executable(const char *path)
{
	int fd = open(path, O_RDONLY), error;
	void *memory;

	if (fd < 0)
		return -1;
	memory = mmap(NULL, 1, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	error = errno;
	if (memory != MAP_FAILED)
		munmap(memory, 1);
	close(fd);
	errno = error;
	return memory == MAP_FAILED ? -1 : 0;
}

/* Neither to read nor to write: only ioctl() is asked for. */
static int control(const char *path)
{
	int fd = open(path, O_ACCMODE | O_NONBLOCK), size = 0, result, error;

	if (fd < 0)
		return -1;
	result = ioctl(fd, FIONREAD, &size);
	error = errno;
	close(fd);
	errno = error;
	return result;
}

/* The error number travels through the child's memory, which is ours. */
static int execute(const char *path)
{
	char *arguments[] = { (char *)path, NULL }, *environment[] = { NULL };
	volatile int error = 0;
	pid_t child = vfork();

	if (child < 0)
		return -1;
	if (!child) {
		execve(path, arguments, environment);
		error = errno;
		_exit(0);
	}
	waitpid(child, NULL, 0);
	errno = error;
	return error ? -1 : 0;
}

static int look_at(const char *path)
{
	struct stat status;

	return stat(path, &status);
}

static int attempt(const char *what, const char *path, const char *other)
{
	static const struct {
		const char *name;
		int flags;
	} opens[] = {
		{ "read", O_RDONLY | O_NONBLOCK },
		{ "write", O_WRONLY | O_NONBLOCK },
		{ "append", O_WRONLY | O_APPEND | O_NONBLOCK },
		{ "read+write", O_RDWR | O_NONBLOCK },
		{ "read+append", O_RDWR | O_APPEND | O_NONBLOCK },
		{ "append+truncate", O_WRONLY | O_APPEND | O_TRUNC | O_NONBLOCK },
		{ "create+read", O_RDONLY | O_CREAT | O_EXCL },
		{ "create+write", O_WRONLY | O_CREAT | O_EXCL },
	};

	for (size_t i = 0; i < sizeof(opens) / sizeof(opens[0]); i++)
		if (!strcmp(what, opens[i].name))
			return close_after(open(path, opens[i].flags, 0755));
	if (!strcmp(what, "truncate"))
		return truncate(path, 1);
	if (!strcmp(what, "chmod"))
		return chmod(path, 0755);
	if (!strcmp(what, "chown"))
		return chown(path, 0, 0);
	if (!strcmp(what, "stat"))
		return look_at(path);
	if (!strcmp(what, "ioctl"))
		return control(path);
	if (!strcmp(what, "execute"))
		return execute(path);
	if (!strcmp(what, "map"))
		return map_executable(path);
	if (!strcmp(what, "unlink"))
		return unlink(path);
	if (!strcmp(what, "rmdir"))
		return rmdir(path);
	if (!strcmp(what, "mkdir"))
		return mkdir(path, 0755);
	if (!strcmp(what, "mknod"))
		return mknod(path, S_IFIFO | 0755, 0);
	if (!strcmp(what, "symlink"))
		return symlink("nowhere", path);
	if (!strcmp(what, "link"))
		return link(path, other);
	if (!strcmp(what, "rename"))
		return rename(path, other);
	errno = ENOSYS;
	return -1;
}

static int digit(char c)
{
	return c <= '9' ? c - '0' : c - 'a' + 10;
}

static void decode(char *hex)
{
	char *out = hex;

	if (!hex)
		return;
	for (; hex[0] && hex[1]; hex += 2)
		*out++ = digit(hex[0]) << 4 | digit(hex[1]);
	*out = 0;
}

int probe(void)
{
	static char line[LINE];

	while (fgets(line, sizeof(line), stdin)) {
		char *what = strtok(line, " \n"), *path = strtok(NULL, " \n"), *other = strtok(NULL, " \n");

		if (!what || !path)
			return FAILED;
		decode(path);
		decode(other);
		printf("%d\n", attempt(what, path, other) ? errno : 0);
	}
	return OK;
}
