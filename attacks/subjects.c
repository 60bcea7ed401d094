/* SPDX-License-Identifier: Apache-2.0 */
/* Ways to be somebody else than the policy engine thinks: threads, shared memory, exec. Arguments are separated by spaces. */
#include "attack.h"
#include "ring.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static char first[256], second[256], third[256];

static void split(const char *arg)
{
	first[0] = second[0] = third[0] = 0;
	if (arg)
		sscanf(arg, "%255s %255s %255s", first, second, third);
}

/* Reads a byte of a file: 0, or an error number. Without memory of its own: it may run on somebody else's. */
static int read_one(const char *path)
{
	char byte;
	int fd = open(path, O_RDONLY), error = 0;

	if (fd < 0)
		return errno;
	if (read(fd, &byte, 1) != 1)
		error = errno ? errno : EIO;
	close(fd);
	return error;
}

static enum result of_error(int error, const char *what)
{
	errno = error;
	return error ? refused("%s", what) : ok("%s", what);
}

/* The error number with which a child ended. */
static int error_of(pid_t child)
{
	int status;

	if (child < 0 || waitpid(child, &status, __WALL) != child)
		return EIO;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
}

/* Threads that must not make a system call meanwhile look at this. */
static volatile int stage;
static volatile int found;

static void *fork_later(void *unused __attribute__((unused)))
{
	pid_t child;

	while (stage < 1)
		;
	child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (!child)
		syscall(SYS_exit_group, read_one(second));
	found = error_of(child);
	stage = 2;
	return NULL;
}

/* TAINTING DENIED: the first thread taints the process; another one, that has been idle, forks. */
static enum result taint_then_fork(const char *arg)
{
	pthread_t thread;
	int error;

	split(arg);
	if (pthread_create(&thread, NULL, fork_later, NULL))
		return failed("no thread");
	error = read_one(first);
	if (error)
		return stuck("%s: %s", first, error_name(error));
	stage = 1;
	pthread_join(thread, NULL);
	return of_error(found, "read by the child of another thread");
}

static void *taint_when_told(void *unused __attribute__((unused)))
{
	char byte;

	if (read(STDIN_FILENO, &byte, 1) != 1)
		found = EIO;
	else
		found = read_one(first);
	stage = 1;
	return NULL;
}

static void *read_after_taint(void *unused __attribute__((unused)))
{
	enum result result;

	while (stage < 1)
		;
	result = found ? stuck("%s: %s", first, error_name(found)) :
			 of_error(read_one(second), "read by a thread of a process whose first thread has ended");
	printf("%s\n", message);
	fflush(stdout);
	syscall(SYS_exit_group, result);
	return NULL;
}

/* TAINTING DENIED: the first thread ends. When a byte comes on standard input, one thread taints itself, and another reads. */
static enum result taint_without_leader(const char *arg)
{
	pthread_t thread;

	split(arg);
	if (pthread_create(&thread, NULL, taint_when_told, NULL) || pthread_create(&thread, NULL, read_after_taint, NULL))
		return failed("no thread");
	puts("ready");
	fflush(stdout);
	syscall(SYS_exit, 0); /* of this thread only */
	return FAILED;
}

/* TAINTING DENIED: a child of vfork() reads what taints into our memory. */
static enum result taint_by_vfork(const char *arg)
{
	pid_t child;

	split(arg);
	child = vfork();
	if (!child) {
		found = read_one(first);
		_exit(0);
	}
	if (child < 0 || found)
		return stuck("vfork(2) or reading %s", first);
	error_of(child);
	return of_error(read_one(second), "read by the parent of a child of vfork(2)");
}

static int taint_in_thread(void *unused __attribute__((unused)))
{
	found = read_one(first);
	stage = 1;
	return 0;
}

/* TAINTING DENIED: a thread of a child of vfork() does. */
static enum result taint_by_vfork_thread(const char *arg)
{
	static char stack[64 << 10] __attribute__((aligned(16)));
	int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
	pid_t child;

	split(arg);
	found = EAGAIN;
	child = vfork();
	if (!child) {
		if (clone(taint_in_thread, stack + sizeof(stack), flags, NULL) > 0)
			while (stage < 1)
				sched_yield();
		_exit(0);
	}
	if (child < 0 || found)
		return stuck("vfork(2), a thread, or reading %s", first);
	error_of(child);
	return of_error(read_one(second), "read by the parent of a child of vfork(2)");
}

static int taint_in_child(void *unused __attribute__((unused)))
{
	found = read_one(first);
	stage = 1;
	while (stage < 2)
		sched_yield();
	return 0;
}

/* TAINTING DENIED: the same by a process that goes on beside ours. */
static enum result taint_by_clone(const char *arg)
{
	static char stack[65536];
	enum result result;
	pid_t child;

	split(arg);
	child = clone(taint_in_child, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL);
	if (child < 0)
		return refused("clone(CLONE_VM)");
	while (!stage)
		sched_yield();
	result = found ? stuck("reading %s", first) : of_error(read_one(second), "read by a process of the same memory");
	stage = 2;
	error_of(child);
	return result;
}

#define RING 100 /* descriptors of those that have it from somebody else */
#define PARAMETERS 101

/* DENIED PROGRAM: executes a program with a ring with which the file is registered. */
static enum result inherit_ring(const char *arg)
{
	struct ring ring;
	int file, parameters;

	split(arg);
	file = open(first, O_RDONLY);
	parameters = memfd_create("parameters", 0);
	if (file < 0 || parameters < 0)
		return stuck("open(%s), memfd_create(2)", first);
	if (make_ring(&ring) || syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, &file, 1))
		return stuck("io_uring_register(2)");
	close(file);
	if (pwrite(parameters, &ring.params, sizeof(ring.params), 0) != sizeof(ring.params) ||
	    dup2(parameters, PARAMETERS) != PARAMETERS || dup2(ring.fd, RING) != RING)
		return stuck("dup2(2)");
	execl(second, second, "use_ring", NULL);
	return refused("execve(%s)", second);
}

/* Reads the first file that is registered with the ring. */
static enum result use_ring(const char *arg __attribute__((unused)))
{
	char byte = 0;
	struct io_uring_sqe wanted = { .opcode = IORING_OP_READ, .flags = IOSQE_FIXED_FILE, .addr = (uintptr_t)&byte, .len = 1 };
	struct ring ring = { .fd = RING };

	if (pread(PARAMETERS, &ring.params, sizeof(ring.params), 0) != sizeof(ring.params) || map_ring(&ring))
		return refused("mmap(2) of the ring");
	return submit(&ring, &wanted) == 1 ? ok("read by an inherited ring") : refused("io_uring's read");
}

/* FD: whether the program has the descriptor, and can read it. */
static enum result have_descriptor(const char *arg)
{
	char byte;

	if (pread(atoi(arg ? arg : "5"), &byte, 1, 0) != 1)
		return refused("pread(2)");
	return ok("read by an inherited descriptor");
}

#define RACED 5

static int flip(void *unused __attribute__((unused)))
{
	/* The program that is executed is our parent still. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!stage) {
		fcntl(RACED, F_SETFD, 0);
		for (volatile int i = 0; i < 2000; i++)
			;
		fcntl(RACED, F_SETFD, FD_CLOEXEC);
		for (volatile int i = 0; i < 2000; i++)
			;
	}
	return 0;
}

static void *wait_for_end(void *unused __attribute__((unused)))
{
	pause();
	return NULL;
}

/*
 * DENIED PROGRAM: while the program is executed by a process of several threads, another task with the same descriptors
 * has exec close the file, and not. Status 0 if the program got it, 1 if not: denied, or killed.
 */
static enum result race_descriptor(const char *arg)
{
	static char stack[65536];
	int status, file;
	pthread_t thread;
	pid_t flipper, child;

	split(arg);
	child = fork();
	if (child) {
		if (waitpid(child, &status, 0) != child)
			return stuck("waitpid(2)");
		if (WIFSIGNALED(status))
			return WTERMSIG(status) == SIGKILL ? denied("killed") : failed("ended by signal %d", WTERMSIG(status));
		return !WEXITSTATUS(status) ? ok("the program got the descriptor") : denied("it did not get it");
	}
	file = open(first, O_RDONLY);
	if (file < 0 || dup2(file, RACED) != RACED || (file != RACED && close(file)))
		_exit(EXIT_FAILURE);
	fcntl(RACED, F_SETFD, FD_CLOEXEC);
	flipper = clone(flip, stack + sizeof(stack), CLONE_FILES | CLONE_VM, NULL);
	for (int i = 0; i < 8; i++)
		pthread_create(&thread, NULL, wait_for_end, NULL);
	execl(second, second, "have_descriptor", "5", NULL);
	stage = 1;
	kill(flipper, SIGKILL);
	_exit(EXIT_FAILURE);
}

/* TAINTING PROGRAM: a tainted process traces a child that executes a program by which it is not enforced any more. */
static enum result trace_exec(const char *arg)
{
	int status, error;
	pid_t child;

	split(arg);
	error = read_one(first);
	if (error)
		return stuck("%s: %s", first, error_name(error));
	child = fork();
	if (!child) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			_exit(100);
		execl(second, second, "do_nothing", NULL);
		_exit(errno);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return stuck("fork(2)");
	if (WIFEXITED(status))
		return WEXITSTATUS(status) == 100 ? failed("ptrace(PTRACE_TRACEME)") : of_error(WEXITSTATUS(status), "execve(2)");
	/* It stopped after the exec: ours to change. */
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	return ok("the program is traced");
}

/* PROGRAM: executes a program while a listener may answer its system calls. */
static enum result listen_exec(const char *arg)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpriority, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

	split(arg);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program) < 0)
		return stuck("seccomp(2)");
	execl(first, first, "do_nothing", NULL);
	return refused("execve(%s)", first);
}

/* COUNT FILE PROGRAM: executes a program with so many descriptors; of one file, or of as many, if FILE is a directory. */
static enum result many_descriptors(const char *arg)
{
	struct rlimit limit = { 1 << 20, 1 << 20 };
	int count, directory, made = -1;

	split(arg);
	count = atoi(first);
	setrlimit(RLIMIT_NOFILE, &limit);
	directory = open(second, O_RDONLY | O_DIRECTORY);
	for (int i = 0; i < count; i++) {
		char name[16];

		snprintf(name, sizeof(name), "%d", i);
		if (directory >= 0)
			made = openat(directory, name, O_RDONLY);
		else
			made = made < 0 ? open(second, O_RDONLY) : dup(made);
		if (made < 0)
			return stuck("descriptor %d", i);
	}
	execl(third, third, "do_nothing", NULL);
	return refused("execve(%s)", third);
}

static volatile int forks;

/* MARK DENIED ESCAPED: forks without end; each child looks whether MARK is there, and if it then can read, makes ESCAPED. */
static enum result fork_storm(const char *arg)
{
	split(arg);
	for (;;) {
		pid_t child = fork();

		if (!child) {
			int marked = access(first, F_OK) == 0;

			if (marked && !read_one(second))
				close(creat(third, 0600));
			_exit(0);
		}
		if (child < 0)
			return stuck("fork(2)");
		waitpid(child, NULL, 0);
		forks++;
	}
}

/* FILE [keep]: makes a file, and has a child read it, and remove it. */
static enum result own_by_child(const char *arg)
{
	int fd, error;
	pid_t child;

	split(arg);
	fd = open(first, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0 || write(fd, "x", 1) != 1)
		return refused("open(%s)", first);
	close(fd);
	child = fork();
	if (!child) {
		error = read_one(first);
		_exit(error ? error : !second[0] && unlink(first) ? errno : 0);
	}
	return of_error(error_of(child), "read and removed by a child");
}

#define ATTACK(name, what) { #name, "policy", "subject", what, name }

const struct attack subject_attacks[] = {
	ATTACK(taint_then_fork, "another thread forks: TAINTING DENIED"),
	ATTACK(taint_without_leader, "threads without a first one: TAINTING DENIED"),
	ATTACK(taint_by_vfork, "a child of vfork(2) taints: TAINTING DENIED"),
	ATTACK(taint_by_vfork_thread, "a thread of a child of vfork(2) taints: TAINTING DENIED"),
	ATTACK(taint_by_clone, "a process of the same memory taints: TAINTING DENIED"),
	ATTACK(inherit_ring, "execute a program with a ring: DENIED PROGRAM"),
	ATTACK(use_ring, "read a file that is registered with an inherited ring"),
	ATTACK(have_descriptor, "read a descriptor: FD"),
	ATTACK(race_descriptor, "change what exec closes while it looks: DENIED PROGRAM"),
	ATTACK(trace_exec, "trace a program that becomes unenforced: TAINTING PROGRAM"),
	ATTACK(listen_exec, "answer the system calls of a program that becomes unenforced: PROGRAM"),
	ATTACK(many_descriptors, "execute with many descriptors: COUNT FILE PROGRAM"),
	ATTACK(fork_storm, "fork without end: MARK DENIED ESCAPED"),
	ATTACK(own_by_child, "an own file, used by a child: FILE [keep]"),
	{},
};
