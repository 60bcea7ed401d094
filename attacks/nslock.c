/* SPDX-License-Identifier: Apache-2.0 */
/* Namespaces: made by unshare, clone, clone3 and the mount calls, entered by setns; each by a child, which then has them. */
#include "attack.h"

#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif
#define UNSHARE_EMPTY_MNTNS 0x00100000
#define CLONE_EMPTY_MNTNS (1ULL << 37)
#define NAMESPACE_FLAG 2 /* OPEN_TREE_NAMESPACE, FSMOUNT_NAMESPACE */
#define SAME 200 /* a child's exit status: the call worked, but it is still where it was */

/* Which file of /proc/PID/ns tells. A new pid or time namespace is for children. */
static const char *file_of(unsigned long long flags)
{
	return flags & CLONE_NEWUSER	? "user"
	       : flags & CLONE_NEWPID	? "pid_for_children"
	       : flags & CLONE_NEWNET	? "net"
	       : flags & CLONE_NEWUTS	? "uts"
	       : flags & CLONE_NEWIPC	? "ipc"
	       : flags & CLONE_NEWCGROUP ? "cgroup"
	       : flags & CLONE_NEWTIME	? "time_for_children"
					: "mnt";
}

/* The directory stays open where /proc is gone, as in an empty mount namespace. */
static int open_own(void)
{
	return open("/proc/thread-self/ns", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static ino_t number_of(int own, const char *file)
{
	struct stat found;

	return fstatat(own, file, &found, 0) ? 0 : found.st_ino;
}

struct attempt {
	const char *call;
	unsigned long long flags;
	int (*make)(const struct attempt *attempt); /* in the child: 0, or -1 with errno */
	bool nobody;
};

/* Have a child do it. */
static enum result attempt(struct attempt attempt)
{
	int status;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child < 0)
		return refused("fork");
	if (!child) {
		const char *file = file_of(attempt.flags);
		int own = open_own();
		ino_t before = number_of(own, file);

		if (attempt.nobody && setresuid(65534, 65534, 65534))
			_exit(errno);
		if (attempt.make(&attempt))
			_exit(errno);
		_exit(before && number_of(own, file) != before ? 0 : SAME);
	}
	if (waitpid(child, &status, 0) < 0 || !WIFEXITED(status))
		return failed("%s: the child ended with status %#x", attempt.call, status);
	if (WEXITSTATUS(status) == SAME)
		return failed("%s: it worked, but the namespace is the same", attempt.call);
	errno = WEXITSTATUS(status);
	return errno ? refused("%s", attempt.call) : ok("%s: there is a new namespace", attempt.call);
}

static int make_unshare(const struct attempt *attempt)
{
	return unshare(attempt->flags);
}

#define UNSHARE(name, type) \
	static enum result unshare_##name(const char *arg) \
	{ \
		(void)arg; \
		return attempt((struct attempt){ "unshare(" #type ")", type, make_unshare, false }); \
	}
UNSHARE(user, CLONE_NEWUSER)
UNSHARE(pid, CLONE_NEWPID)
UNSHARE(net, CLONE_NEWNET)
UNSHARE(mnt, CLONE_NEWNS)
UNSHARE(uts, CLONE_NEWUTS)
UNSHARE(ipc, CLONE_NEWIPC)
UNSHARE(cgroup, CLONE_NEWCGROUP)
UNSHARE(time, CLONE_NEWTIME)
UNSHARE(empty, UNSHARE_EMPTY_MNTNS)

static enum result nobody_user(const char *arg)
{
	(void)arg;
	return attempt((struct attempt){ "unshare(CLONE_NEWUSER) by nobody", CLONE_NEWUSER, make_unshare, true });
}

static enum result nobody_net(const char *arg)
{
	(void)arg;
	return attempt((struct attempt){ "unshare(CLONE_NEWUSER|CLONE_NEWNET) by nobody", CLONE_NEWUSER | CLONE_NEWNET,
					 make_unshare, true });
}

/* A new process in new namespaces: it tells by its exit status. `call` makes it, as fork() would. */
static enum result clone_by(pid_t (*call)(unsigned long long flags), unsigned long long flags, const char *what)
{
	/* A new pid or time namespace is where the child is, not only its children. */
	const char *file = flags & CLONE_NEWPID ? "pid" : flags & CLONE_NEWTIME ? "time" : file_of(flags);
	int own = open_own();
	ino_t before = number_of(own, file);
	int host = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC); /* whatever the child can see */
	int status;
	pid_t child;

	shut(own);
	child = call(flags);
	if (child < 0) {
		shut(host);
		return refused("%s", what);
	}
	if (!child) {
		own = openat(host, "thread-self/ns", O_PATH | O_DIRECTORY);
		_exit(before && number_of(own, file) != before ? 0 : SAME);
	}
	shut(host);
	if (waitpid(child, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status))
		return failed("%s: the child ended with status %#x", what, status);
	return ok("%s: there is a process in a new namespace", what);
}

static pid_t by_clone(unsigned long long flags)
{
	return syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, NULL);
}

static pid_t by_clone3(unsigned long long flags)
{
	uint64_t arguments[8] = { flags, 0, 0, 0, SIGCHLD };

	return syscall(SYS_clone3, arguments, sizeof(arguments));
}

#define CLONE(name, by, type) \
	static enum result name(const char *arg) \
	{ \
		(void)arg; \
		return clone_by(by, type, #by "(" #type ")" + 3); \
	}
CLONE(clone_net, by_clone, CLONE_NEWNET)
CLONE(clone_pid, by_clone, CLONE_NEWPID)
CLONE(clone3_user, by_clone3, CLONE_NEWUSER)
CLONE(clone3_uts, by_clone3, CLONE_NEWUTS)
CLONE(clone3_time, by_clone3, CLONE_NEWTIME)
CLONE(clone3_empty, by_clone3, CLONE_EMPTY_MNTNS)

/* ---- the 32-bit entrance ---- */

/* int $0x80 numbers system calls as i386 does, also for a 64-bit task. */
static long int80(long number, unsigned long first, unsigned long second)
{
#ifdef __x86_64__
	long result;

	asm volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second) : "memory", "r8", "r9", "r10", "r11");
	if (result >= 0)
		return result;
	errno = -result;
#else
	(void)number, (void)first, (void)second;
	errno = ENOSYS;
#endif
	return -1;
}

static int make_unshare_32(const struct attempt *attempt)
{
	return int80(310, attempt->flags, 0);
}

static enum result unshare_32(const char *arg)
{
	(void)arg;
	return attempt((struct attempt){ "32-bit unshare(CLONE_NEWUTS)", CLONE_NEWUTS, make_unshare_32, false });
}

/* ---- mount namespaces as descriptors ---- */

static enum result open_tree_namespace(const char *arg)
{
	int fd = syscall(SYS_open_tree, AT_FDCWD, "/", NAMESPACE_FLAG | O_CLOEXEC);

	(void)arg;
	if (fd < 0)
		return refused("open_tree(OPEN_TREE_NAMESPACE)");
	shut(fd);
	return ok("open_tree(OPEN_TREE_NAMESPACE) gave a new mount namespace");
}

static enum result fsmount_namespace(const char *arg)
{
	int context = syscall(SYS_fsopen, "tmpfs", 1);
	enum result result;
	int fd;

	(void)arg;
	if (context < 0 || syscall(SYS_fsconfig, context, 6, NULL, NULL, 0))
		return failed("cannot make a tmpfs: %s", strerror(errno));
	fd = syscall(SYS_fsmount, context, NAMESPACE_FLAG, 0);
	result = fd < 0 ? refused("fsmount(FSMOUNT_NAMESPACE)")
			: ok("fsmount(FSMOUNT_NAMESPACE) gave a new mount namespace");
	shut(fd);
	shut(context);
	return result;
}

/* ---- entering ---- */

/* The child goes where process 1 is: out of a container, if it is in one. */
static enum result enter(const char *what, int (*call)(int fd, int type), const char *path, int type)
{
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : (int)syscall(SYS_pidfd_open, 1, 0);
	struct stat target, here;
	int status;
	pid_t child;

	if (fd < 0)
		return failed("cannot open the namespaces of process 1: %s", strerror(errno));
	if (stat("/proc/1/ns/net", &target))
		return failed("stat(/proc/1/ns/net): %s", strerror(errno));
	child = fork();
	if (child < 0)
		return refused("fork");
	if (!child) {
		if (call(fd, type))
			_exit(errno);
		_exit(!stat("/proc/thread-self/ns/net", &here) && here.st_ino == target.st_ino ? 0 : SAME);
	}
	shut(fd);
	if (waitpid(child, &status, 0) < 0 || !WIFEXITED(status))
		return failed("%s: the child ended with status %#x", what, status);
	errno = WEXITSTATUS(status);
	if (errno == SAME)
		return failed("%s: it worked, but the namespace is another", what);
	return errno ? refused("%s", what) : ok("%s: it is in the network namespace of process 1", what);
}

static int setns_32(int fd, int type)
{
	return int80(346, fd, type);
}

static enum result setns_net(const char *arg)
{
	(void)arg;
	return enter("setns(CLONE_NEWNET)", setns, "/proc/1/ns/net", CLONE_NEWNET);
}

static enum result setns_any(const char *arg)
{
	(void)arg;
	return enter("setns(0) to a network namespace", setns, "/proc/1/ns/net", 0);
}

static enum result setns_compat(const char *arg)
{
	(void)arg;
	return enter("32-bit setns(CLONE_NEWNET)", setns_32, "/proc/1/ns/net", CLONE_NEWNET);
}

const struct attack nslock_attacks[] = {
	{ "unshare_user", "nslock", "user", "unshare(2) a user namespace", unshare_user },
	{ "unshare_pid", "nslock", "pid", "unshare(2) a pid namespace", unshare_pid },
	{ "unshare_net", "nslock", "net", "unshare(2) a network namespace", unshare_net },
	{ "unshare_mnt", "nslock", "mnt", "unshare(2) a mount namespace", unshare_mnt },
	{ "unshare_uts", "nslock", "uts", "unshare(2) a UTS namespace", unshare_uts },
	{ "unshare_ipc", "nslock", "ipc", "unshare(2) an IPC namespace", unshare_ipc },
	{ "unshare_cgroup", "nslock", "cgroup", "unshare(2) a cgroup namespace", unshare_cgroup },
	{ "unshare_time", "nslock", "time", "unshare(2) a time namespace", unshare_time },
	{ "unshare_empty", "nslock", "mnt", "unshare(2) an empty mount namespace", unshare_empty },
	{ "unshare_32", "nslock", "uts", "unshare(2) a UTS namespace through the 32-bit entrance", unshare_32 },
	{ "nobody_user", "nslock", "user", "unshare(2) a user namespace without any right", nobody_user },
	{ "nobody_net", "nslock", "net", "unshare(2) a network namespace in a user namespace, without any right",
	  nobody_net },
	{ "clone_net", "nslock", "net", "clone(2) into a network namespace", clone_net },
	{ "clone_pid", "nslock", "pid", "clone(2) into a pid namespace", clone_pid },
	{ "clone3_user", "nslock", "user", "clone3(2) into a user namespace", clone3_user },
	{ "clone3_uts", "nslock", "uts", "clone3(2) into a UTS namespace", clone3_uts },
	{ "clone3_time", "nslock", "time", "clone3(2) into a time namespace", clone3_time },
	{ "clone3_empty", "nslock", "mnt", "clone3(2) into an empty mount namespace", clone3_empty },
	{ "open_tree_namespace", "nslock", "mnt", "open_tree(2) that makes a mount namespace", open_tree_namespace },
	{ "fsmount_namespace", "nslock", "mnt", "fsmount(2) that makes a mount namespace", fsmount_namespace },
	{ "setns_net", "nslock", "setns", "setns(2) to the network namespace of process 1", setns_net },
	{ "setns_any", "nslock", "setns", "the same without naming the type", setns_any },
	{ "setns_32", "nslock", "setns", "the same through the 32-bit entrance", setns_compat },
	{},
};
