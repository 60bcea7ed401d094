/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attack probe: does what it is told, one access for each line of standard input, and answers each with the error number,
 * 0 if it worked. Confined by a policy, it shows what the policy allows. No signal but SIGKILL ends it.
 *
 * A line is one of
 *   ACCESS PATH [PATH]                           to a file, paths in hexadecimal: names may contain anything
 *   net ACCESS FAMILY TYPE PROTOCOL ADDRESS PORT   with a socket; numbers, and an address in text
 *   signal PID NUMBER, ptrace PID ACCESS         to a process; PID 0 is a child that is made for it. Numbers above all signals: see
 *                                                do_to_process()
 * Before it there may stand `way NAME`, also twice: by which task, by what calls (prober_ways.c).
 */
#include "attack.h"
#include "prober_ways.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
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

static int control(const char *path)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK), size = 0, result, error;

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
		{ "neither", O_ACCMODE | O_NONBLOCK },
		{ "append+truncate", O_WRONLY | O_APPEND | O_TRUNC | O_NONBLOCK },
		{ "create+read", O_RDONLY | O_CREAT | O_EXCL },
		{ "create+write", O_WRONLY | O_CREAT | O_EXCL },
	};

	for (size_t i = 0; i < sizeof(opens) / sizeof(opens[0]); i++)
		if (!strcmp(what, opens[i].name))
			return close_after(way_open(path, opens[i].flags, 0755));
	if (!strcmp(what, "truncate"))
		return way_truncate(path, 1);
	if (!strcmp(what, "chmod"))
		return way_chmod(path, 0755);
	if (!strcmp(what, "chown"))
		return way_chown(path, 0, 0);
	if (!strcmp(what, "stat"))
		return way_stat(path);
	if (!strcmp(what, "ioctl"))
		return control(path);
	if (!strcmp(what, "execute"))
		return execute(path);
	if (!strcmp(what, "map"))
		return map_executable(path);
	if (!strcmp(what, "unlink"))
		return way_unlink(path);
	if (!strcmp(what, "rmdir"))
		return way_rmdir(path);
	if (!strcmp(what, "mkdir"))
		return way_mkdir(path, 0755);
	if (!strcmp(what, "mknod"))
		return way_mknod(path, S_IFIFO | 0755);
	if (!strcmp(what, "symlink"))
		return way_symlink("nowhere", path);
	if (!strcmp(what, "link"))
		return way_link(path, other);
	if (!strcmp(what, "rename"))
		return way_rename(path, other);
	errno = ENOSYS;
	return -1;
}

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static socklen_t make_address(union address *address, int family, const char *text, int port)
{
	memset(address, 0, sizeof(*address));
	address->any.sa_family = family;
	if (family == AF_INET) {
		address->v4.sin_port = htons(port);
		inet_pton(family, text, &address->v4.sin_addr);
		return sizeof(address->v4);
	}
	address->v6.sin6_port = htons(port);
	inet_pton(AF_INET6, text, &address->v6.sin6_addr);
	return sizeof(address->v6);
}

/* One access with a fresh socket, and what it takes to get there. */
static int use_socket(const char *what, int fd, const union address *address, socklen_t length)
{
	if (!strcmp(what, "create"))
		return 0;
	if (!strcmp(what, "bind"))
		return way_bind(fd, &address->any, length);
	if (!strcmp(what, "listen"))
		return way_bind(fd, &address->any, length) ? -1 : way_listen(fd);
	if (!strcmp(what, "accept"))
		return way_accept(fd);
	if (!strcmp(what, "connect"))
		return way_connect(fd, &address->any, length);
	if (!strcmp(what, "send"))
		return way_send(fd, &address->any, length) < 0 ? -1 : 0;
	if (!strcmp(what, "recv"))
		return way_recv(fd) < 0 ? -1 : 0;
	if (!strcmp(what, "shutdown"))
		return way_shutdown(fd);
	errno = ENOSYS;
	return -1;
}

static int attempt_net(char **words)
{
	int family = atoi(words[1]), type = atoi(words[2]), protocol = atoi(words[3]), result, error, yes = 1, fd;
	union address address;
	socklen_t length;

	if (!strcmp(words[0], "pair")) {
		int pair[2];

		if (socketpair(family, type, protocol, pair))
			return -1;
		result = send(pair[0], "x", 1, MSG_NOSIGNAL) < 0 ? -1 : 0;
		error = errno;
		close(pair[0]);
		close(pair[1]);
		errno = error;
		return result;
	}
	length = make_address(&address, family, words[4], atoi(words[5]));
	fd = way_socket(family, type | SOCK_NONBLOCK, protocol);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	result = use_socket(words[0], fd, &address, length);
	error = errno;
	close(fd);
	errno = error;
	return result;
}

/* A signal; or, by a number above all signals, what stands beside them in policies. Nothing changes by those. */
static int do_to_process(pid_t pid, int number)
{
	struct rlimit limit;

	switch (number) {
	case 65:
		return getrlimit(RLIMIT_CORE, &limit) ?: prlimit(pid, RLIMIT_CORE, &limit, NULL);
	case 66:
		return setpriority(PRIO_PROCESS, pid, getpriority(PRIO_PROCESS, 0));
	case 67:
		return syscall(SYS_move_pages, pid, 0, NULL, NULL, NULL, 0);
	default:
		return way_kill(pid, number);
	}
}

static int use_process(const char *what, pid_t pid, const char *how)
{
	static char ours, theirs;
	struct iovec here = { &ours, 1 }, there = { &theirs, 1 };

	if (!strcmp(what, "signal"))
		return do_to_process(pid, atoi(how));
	if (!strcmp(how, "read"))
		return syscall(SYS_kcmp, getpid(), pid, 2 /* KCMP_FILES */, 0, 0) < 0 ? -1 : 0;
	return process_vm_readv(pid, &here, 1, &there, 1, 0) < 0 ? -1 : 0;
}

/* With a child that waits until it is over, and copied this process, so that there is something to read. */
static int attempt_child(const char *what, const char *how)
{
	int until[2], result, error;
	pid_t child;
	char byte;

	if (pipe(until))
		return -1;
	child = fork();
	if (child < 0)
		return -1;
	if (!child) {
		close(until[1]);
		while (read(until[0], &byte, 1) < 0)
			;
		_exit(0);
	}
	close(until[0]);
	result = use_process(what, child, how);
	error = errno;
	close(until[1]);
	waitpid(child, NULL, 0);
	errno = error;
	return result;
}

static int attempt_process(char **words)
{
	pid_t pid = atoi(words[1]);

	return pid ? use_process(words[0], pid, words[2]) : attempt_child(words[0], words[2]);
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

#define WORDS 7

struct order {
	char **words;
	int count;
};

static int obey(void *argument)
{
	struct order *order = argument;
	char **words = order->words;

	if (!strcmp(words[0], "net") && order->count == WORDS)
		return attempt_net(words + 1);
	if ((!strcmp(words[0], "signal") || !strcmp(words[0], "ptrace")) && order->count == 3)
		return attempt_process(words);
	decode(words[1]);
	decode(words[2]);
	return attempt(words[0], words[1], words[2]);
}

int probe(void)
{
	static char line[LINE];

	for (int number = 1; number <= SIGRTMAX; number++)
		if (number != SIGCHLD)
			signal(number, SIG_IGN);
	while (fgets(line, sizeof(line), stdin)) {
		char *words[2 * 2 + WORDS + 1] = { NULL };
		struct order order = { words, 0 };

		forget_ways();
		for (char *word = strtok(line, " \n"); word && order.count < 2 * 2 + WORDS; word = strtok(NULL, " \n"))
			words[order.count++] = word;
		while (order.count > 2 && !strcmp(order.words[0], "way")) {
			if (!choose_way(order.words[1]))
				return FAILED;
			order.words += 2;
			order.count -= 2;
		}
		if (order.count < 2)
			return FAILED;
		errno = 0;
		printf("%d\n", act_in_task(obey, &order) ? errno : 0);
	}
	return OK;
}
