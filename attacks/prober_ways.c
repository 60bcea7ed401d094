/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ways for the prober. By which task: itself, `thread` (another thread of it), `memory` (a process that has its memory while it
 * waits, as a child of vfork(2)). By which calls: those of the C library, `ring` (io_uring), `worker` (io_uring, by a worker thread of the kernel), `int80`
 * (the 32-bit calls). One of each can be chosen.
 */
#include "attack.h"
#include "prober_ways.h"

#include <linux/futex.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum task { ITSELF, THREAD, MEMORY };
enum calls { LIBRARY, RING, WORKER, INT80 };

static enum task task;
static enum calls calls;

void forget_ways(void)
{
	task = ITSELF;
	calls = LIBRARY;
}

bool choose_way(const char *name)
{
	if (!strcmp(name, "thread"))
		task = THREAD;
	else if (!strcmp(name, "memory"))
		task = MEMORY;
	else if (!strcmp(name, "ring"))
		calls = RING;
	else if (!strcmp(name, "worker"))
		calls = WORKER;
	else if (!strcmp(name, "int80"))
		calls = INT80;
	else
		return false;
	return true;
}

/* Tasks. They share the thread pointer, and so errno, with this one: it does nothing meanwhile. */

struct action {
	int (*act)(void *argument);
	void *argument;
	int result;
	int error;
};

static int run_action(void *of)
{
	struct action *action = of;

	action->result = action->act(action->argument);
	action->error = errno;
	return 0;
}

/* io_uring, with numbers that not all headers have. */

enum {
	RING_SENDMSG = 9,
	RING_ACCEPT = 13,
	RING_CONNECT = 16,
	RING_OPENAT = 18,
	RING_STATX = 21,
	RING_RECV = 27,
	RING_SHUTDOWN = 34,
	RING_RENAMEAT = 35,
	RING_UNLINKAT = 36,
	RING_MKDIRAT = 37,
	RING_SYMLINKAT = 38,
	RING_LINKAT = 39,
	RING_SOCKET = 45,
	RING_BIND = 56,
	RING_LISTEN = 57,
	RING_OPERATIONS = 64,
};

static struct {
	int fd;
	unsigned *tail, *mask, *array, *head, *done, *done_mask;
	struct io_uring_sqe *entries;
	struct io_uring_cqe *completions;
	bool known[RING_OPERATIONS];
} ring = { .fd = -1 };

static int make_ring(void)
{
	static struct {
		struct io_uring_probe probe;
		struct io_uring_probe_op operations[RING_OPERATIONS];
	} found;
	struct io_uring_params params = { 0 };
	size_t size;
	char *rings;
	int fd = syscall(SYS_io_uring_setup, 4, &params);

	if (fd < 0)
		return -1;
	size = params.sq_off.array + params.sq_entries * sizeof(unsigned);
	if (size < params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe))
		size = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
	rings = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
	ring.entries = mmap(NULL, params.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			    IORING_OFF_SQES);
	if (rings == MAP_FAILED || ring.entries == MAP_FAILED ||
	    syscall(SYS_io_uring_register, fd, IORING_REGISTER_PROBE, &found, RING_OPERATIONS)) {
		shut(fd);
		return -1;
	}
	ring.tail = (unsigned *)(rings + params.sq_off.tail);
	ring.mask = (unsigned *)(rings + params.sq_off.ring_mask);
	ring.array = (unsigned *)(rings + params.sq_off.array);
	ring.head = (unsigned *)(rings + params.cq_off.head);
	ring.done = (unsigned *)(rings + params.cq_off.tail);
	ring.done_mask = (unsigned *)(rings + params.cq_off.ring_mask);
	ring.completions = (struct io_uring_cqe *)(rings + params.cq_off.cqes);
	for (int i = 0; i < found.probe.ops_len && i < RING_OPERATIONS; i++)
		ring.known[found.operations[i].op] = found.operations[i].flags & IO_URING_OP_SUPPORTED;
	ring.fd = fd;
	return 0;
}

/* Does one operation and waits for it. */
static int by_ring(struct io_uring_sqe entry)
{
	unsigned tail, head;
	int result;

	if (entry.opcode >= RING_OPERATIONS || !ring.known[entry.opcode]) {
		errno = ENOSYS;
		return -1;
	}
	if (calls == WORKER)
		entry.flags |= IOSQE_ASYNC;
	tail = *ring.tail;
	ring.entries[tail & *ring.mask] = entry;
	ring.array[tail & *ring.mask] = tail & *ring.mask;
	__atomic_store_n(ring.tail, tail + 1, __ATOMIC_RELEASE);
	head = *ring.head;
	if (syscall(SYS_io_uring_enter, ring.fd, 1, 0, 0, NULL, 0) != 1)
		return -1;
	while (__atomic_load_n(ring.done, __ATOMIC_ACQUIRE) == head)
		if (syscall(SYS_io_uring_enter, ring.fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0 && errno != EINTR)
			return -1;
	result = ring.completions[head & *ring.done_mask].res;
	__atomic_store_n(ring.head, head + 1, __ATOMIC_RELEASE);
	if (result >= 0)
		return result;
	errno = -result;
	return -1;
}

#define STACK (256 << 10)

int act_in_task(int (*act)(void *argument), void *argument)
{
	static char stack[STACK] __attribute__((aligned(16)));
	struct action action = { act, argument, -1, 0 };
	pid_t child;

	/* Here, so that all have its descriptor. */
	if ((calls == RING || calls == WORKER) && ring.fd < 0 && make_ring())
		return -1;
	if (task == ITSELF)
		return act(argument);
	if (task == MEMORY) {
		child = clone(run_action, stack + STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, &action);
		if (child < 0)
			return -1;
		while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
			;
	} else {
		static volatile int alive;
		int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;

		alive = 1;
		if (clone(run_action, stack + STACK, flags | CLONE_CHILD_CLEARTID, &action, NULL, NULL, &alive) < 0)
			return -1;
		while (alive)
			syscall(SYS_futex, &alive, FUTEX_WAIT, 1, NULL, NULL, 0);
	}
	errno = action.error;
	return action.result;
}

static int ring_at(int operation, const char *path, unsigned length, unsigned flags)
{
	return by_ring((struct io_uring_sqe){
		.opcode = operation, .fd = AT_FDCWD, .addr = (uintptr_t)path, .len = length, .open_flags = flags });
}

/* Of two paths: `first`, and in the field of an offset the other. `directory`: where that one begins. */
static int ring_two(int operation, const char *first, const char *second, int directory)
{
	return by_ring((struct io_uring_sqe){ .opcode = operation,
					      .fd = AT_FDCWD,
					      .addr = (uintptr_t)first,
					      .off = (uintptr_t)second,
					      .len = directory });
}

static int ring_socket(int operation, int fd, const void *address, unsigned length, unsigned long offset, unsigned flags)
{
	return by_ring((struct io_uring_sqe){ .opcode = operation,
					      .fd = fd,
					      .addr = (uintptr_t)address,
					      .len = length,
					      .off = offset,
					      .msg_flags = flags });
}

/* 32-bit calls. What they point to lies below 4 GB. */

#define LOW (64 << 10)
static char *low; /* paths, an address, arguments of socketcall() */

#ifdef __x86_64__
static long int80(unsigned number, unsigned long a, unsigned long b, unsigned long c)
{
	long result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"((unsigned long)number), "b"(a), "c"(b), "d"(c), "S"(0UL), "D"(0UL)
			 : "memory", "r8", "r9", "r10", "r11", "cc");
	return (int)result;
}
#else
static long int80(unsigned number, unsigned long a, unsigned long b, unsigned long c)
{
	(void)number, (void)a, (void)b, (void)c;
	return -ENOSYS;
}
#endif

/* Where the kernel has no 32-bit calls, the instruction is a fault. */
static bool has_int80(void)
{
	static int known = -1;

	if (known < 0) {
		int status;
		pid_t child = fork();

		if (!child)
			_exit(int80(20 /* getpid */, 0, 0, 0) <= 0);
		known = child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && !WEXITSTATUS(status);
	}
	if (!low)
		low = mmap(NULL, LOW, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	return known && low != MAP_FAILED;
}

static int call80(unsigned number, unsigned long a, unsigned long b, unsigned long c)
{
	long result;

	if (!has_int80()) {
		errno = ENOSYS;
		return -1;
	}
	result = int80(number, a, b, c);
	if (result >= 0)
		return result;
	errno = -result;
	return -1;
}

/* A copy below 4 GB; there is room for two, and for what stands before them. */
static unsigned long below(const char *path, int place)
{
	if (!has_int80())
		return 0;
	strcpy(low + 4096 + place * 8192, path);
	return (unsigned long)(low + 4096 + place * 8192);
}

static int path80(unsigned number, const char *path, unsigned long b, unsigned long c)
{
	return call80(number, below(path, 0), b, c);
}

/* socketcall(): the arguments are in memory. */
static int socket80(unsigned which, const unsigned long *arguments, int count, const void *address, socklen_t length)
{
	unsigned *words;

	if (!has_int80()) {
		errno = ENOSYS;
		return -1;
	}
	words = (unsigned *)low;
	for (int i = 0; i < count; i++)
		words[i] = arguments[i];
	if (address)
		memcpy(low + 1024, address, length);
	return call80(102, which, (unsigned long)low, 0);
}

#define SOCKET80(which, address, length, ...)                                                                       \
	socket80(which, (unsigned long[]){ __VA_ARGS__ }, sizeof((unsigned long[]){ __VA_ARGS__ }) / sizeof(long),       \
		 address, length)
#define ADDRESS80 ((unsigned long)low + 1024)
#define BYTE80 ((unsigned long)low + 2048)

static int unknown(void)
{
	errno = ENOSYS;
	return -1;
}

static bool by_uring(void)
{
	return calls == RING || calls == WORKER;
}

int way_open(const char *path, int flags, mode_t mode)
{
	if (by_uring())
		return ring_at(RING_OPENAT, path, mode, flags);
	return calls == INT80 ? path80(5, path, flags, mode) : open(path, flags, mode);
}

int way_truncate(const char *path, off_t length)
{
	if (by_uring())
		return unknown();
	return calls == INT80 ? path80(92, path, length, 0) : truncate(path, length);
}

int way_chmod(const char *path, mode_t mode)
{
	if (by_uring())
		return unknown();
	return calls == INT80 ? path80(15, path, mode, 0) : chmod(path, mode);
}

int way_chown(const char *path, uid_t user, gid_t group)
{
	if (by_uring())
		return unknown();
	return calls == INT80 ? path80(212, path, user, group) : chown(path, user, group);
}

int way_stat(const char *path)
{
	static struct statx found;
	struct stat status;

	if (by_uring())
		return by_ring((struct io_uring_sqe){ .opcode = RING_STATX,
						      .fd = AT_FDCWD,
						      .addr = (uintptr_t)path,
						      .off = (uintptr_t)&found,
						      .len = STATX_BASIC_STATS });
	return calls == INT80 ? path80(195, path, below("", 1), 0) : stat(path, &status);
}

int way_unlink(const char *path)
{
	if (by_uring())
		return ring_at(RING_UNLINKAT, path, 0, 0);
	return calls == INT80 ? path80(10, path, 0, 0) : unlink(path);
}

int way_rmdir(const char *path)
{
	if (by_uring())
		return ring_at(RING_UNLINKAT, path, 0, AT_REMOVEDIR);
	return calls == INT80 ? path80(40, path, 0, 0) : rmdir(path);
}

int way_mkdir(const char *path, mode_t mode)
{
	if (by_uring())
		return ring_at(RING_MKDIRAT, path, mode, 0);
	return calls == INT80 ? path80(39, path, mode, 0) : mkdir(path, mode);
}

int way_mknod(const char *path, mode_t mode)
{
	if (by_uring())
		return unknown();
	return calls == INT80 ? path80(14, path, mode, 0) : mknod(path, mode, 0);
}

int way_symlink(const char *target, const char *path)
{
	if (by_uring())
		return ring_two(RING_SYMLINKAT, target, path, 0);
	return calls == INT80 ? call80(83, below(target, 0), below(path, 1), 0) : symlink(target, path);
}

int way_link(const char *path, const char *other)
{
	if (by_uring())
		return ring_two(RING_LINKAT, path, other, AT_FDCWD);
	return calls == INT80 ? call80(9, below(path, 0), below(other, 1), 0) : link(path, other);
}

int way_rename(const char *path, const char *other)
{
	if (by_uring())
		return ring_two(RING_RENAMEAT, path, other, AT_FDCWD);
	return calls == INT80 ? call80(38, below(path, 0), below(other, 1), 0) : rename(path, other);
}

int way_kill(pid_t pid, int number)
{
	if (by_uring())
		return unknown();
	return calls == INT80 ? call80(37, pid, number, 0) : kill(pid, number);
}

int way_socket(int family, int type, int protocol)
{
	if (by_uring())
		return ring_socket(RING_SOCKET, family, NULL, protocol, type, 0);
	return calls == INT80 ? SOCKET80(1, NULL, 0, family, type, protocol) : socket(family, type, protocol);
}

int way_bind(int fd, const struct sockaddr *address, socklen_t length)
{
	if (by_uring())
		return ring_socket(RING_BIND, fd, address, 0, length, 0);
	return calls == INT80 ? SOCKET80(2, address, length, fd, ADDRESS80, length) : bind(fd, address, length);
}

int way_listen(int fd)
{
	if (by_uring())
		return ring_socket(RING_LISTEN, fd, NULL, 1, 0, 0);
	return calls == INT80 ? SOCKET80(4, NULL, 0, fd, 1) : listen(fd, 1);
}

int way_accept(int fd)
{
	if (by_uring())
		return ring_socket(RING_ACCEPT, fd, NULL, 0, 0, 0);
	return calls == INT80 ? SOCKET80(5, NULL, 0, fd, 0, 0) : accept(fd, NULL, NULL);
}

int way_connect(int fd, const struct sockaddr *address, socklen_t length)
{
	if (by_uring())
		return ring_socket(RING_CONNECT, fd, address, 0, length, 0);
	return calls == INT80 ? SOCKET80(3, address, length, fd, ADDRESS80, length) : connect(fd, address, length);
}

int way_send(int fd, const struct sockaddr *address, socklen_t length)
{
	char byte = 'x';
	struct iovec data = { &byte, 1 };
	struct msghdr told = { .msg_name = (void *)address, .msg_namelen = length, .msg_iov = &data, .msg_iovlen = 1 };

	if (by_uring())
		return ring_socket(RING_SENDMSG, fd, &told, 1, 0, MSG_NOSIGNAL);
	if (calls == INT80)
		return SOCKET80(11, address, length, fd, BYTE80, 1, MSG_NOSIGNAL, ADDRESS80, length);
	return sendto(fd, &byte, 1, MSG_NOSIGNAL, address, length);
}

int way_recv(int fd)
{
	char byte = 0;

	if (by_uring())
		return ring_socket(RING_RECV, fd, &byte, 1, 0, MSG_DONTWAIT);
	return calls == INT80 ? SOCKET80(10, NULL, 0, fd, BYTE80, 1, MSG_DONTWAIT) : recv(fd, &byte, 1, MSG_DONTWAIT);
}

int way_shutdown(int fd)
{
	if (by_uring())
		return ring_socket(RING_SHUTDOWN, fd, NULL, SHUT_RDWR, 0, 0);
	return calls == INT80 ? SOCKET80(13, NULL, 0, fd, SHUT_RDWR) : shutdown(fd, SHUT_RDWR);
}
