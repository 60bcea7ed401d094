/* SPDX-License-Identifier: Apache-2.0 */
/* What a confined program must not do to other processes, nor in their name. Arguments are words, separated by spaces. */
#include "attack.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <netinet/ip.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

/* PID: its limit of open files, as it is. */
static enum result set_limit(const char *arg)
{
	struct rlimit limit;
	pid_t pid = atoi(arg);

	if (prlimit(pid, RLIMIT_NOFILE, NULL, &limit))
		return failed("prlimit(%s): %s", arg, error_name(errno));
	return prlimit(pid, RLIMIT_NOFILE, &limit, NULL) ? refused("prlimit(%s)", arg) : ok("set a limit of %s", arg);
}

/* PID */
static enum result set_scheduler(const char *arg)
{
	struct sched_param parameters = {};

	return sched_setscheduler(atoi(arg), SCHED_BATCH, &parameters) ? refused("sched_setscheduler(%s)", arg) :
									ok("set the scheduler of %s", arg);
}

/* PID */
static enum result set_affinity(const char *arg)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	return sched_setaffinity(atoi(arg), sizeof(set), &set) ? refused("sched_setaffinity(%s)", arg) :
								 ok("set the CPUs of %s", arg);
}

/* PID */
static enum result set_nice(const char *arg)
{
	return setpriority(PRIO_PROCESS, atoi(arg), 5) ? refused("setpriority(%s)", arg) : ok("%s is nice now", arg);
}

/* PID: best effort, the lowest. */
static enum result set_io_priority(const char *arg)
{
	return syscall(SYS_ioprio_set, 1, atoi(arg), 2 << 13 | 7) ? refused("ioprio_set(%s)", arg) :
								   ok("set the I/O priority of %s", arg);
}

/* PID: none of its pages, but that is asked first. */
static enum result move_pages(const char *arg)
{
	return syscall(SYS_move_pages, atoi(arg), 0, NULL, NULL, NULL, 0) ? refused("move_pages(%s)", arg) :
									   ok("moved no pages of %s", arg);
}

/* PID: from memory node 0 to itself. */
static enum result migrate_pages(const char *arg)
{
	unsigned long node = 1;

	return syscall(SYS_migrate_pages, atoi(arg), 64, &node, &node) < 0 ? refused("migrate_pages(%s)", arg) :
									    ok("migrated the pages of %s", arg);
}

/* All of it to itself: a program may. */
static enum result own_limits(const char *arg)
{
	char self[16];

	(void)arg;
	snprintf(self, sizeof(self), "%d", getpid());
	return set_limit(self) ?: set_scheduler(self) ?: set_affinity(self) ?: set_nice(self) ?: set_io_priority(self) ?:
	       move_pages(self) ?: set_affinity("0") ?: set_nice("0");
}

struct requests {
	int fd;
	struct io_uring_params params;
	char *rings;
	struct io_uring_sqe *entries;
};

static int open_requests(struct requests *ring)
{
	memset(ring, 0, sizeof(*ring));
	ring->fd = syscall(SYS_io_uring_setup, 4, &ring->params);
	if (ring->fd < 0)
		return -1;
	ring->rings = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQ_RING);
	ring->entries = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQES);
	return ring->rings == MAP_FAILED || ring->entries == MAP_FAILED ? -1 : 0;
}

static int submit_all(struct requests *ring, const struct io_uring_sqe *wanted, uint32_t count)
{
	uint32_t *tail = (void *)(ring->rings + ring->params.sq_off.tail);

	for (uint32_t i = 0; i < count; i++) {
		ring->entries[i] = wanted[i];
		((uint32_t *)(ring->rings + ring->params.sq_off.array))[i] = i;
	}
	__atomic_store_n(tail, *tail + count, __ATOMIC_RELEASE);
	return syscall(SYS_io_uring_enter, ring->fd, count, 0, 0, NULL, 0) == (int)count ? 0 : -1;
}

/* Without a call to the ring: the answer comes while the task sleeps. -1 with errno if the answer is an error. */
static int wait_for(struct requests *ring, uint64_t request)
{
	uint32_t *tail = (void *)(ring->rings + ring->params.cq_off.tail);
	struct io_uring_cqe *found = (void *)(ring->rings + ring->params.cq_off.cqes);
	struct timespec moment = { .tv_nsec = 50000000 };

	for (int tries = 0; tries < 400; tries++) {
		uint32_t count = __atomic_load_n(tail, __ATOMIC_ACQUIRE);

		for (uint32_t i = 0; i < count; i++)
			if (found[i].user_data == request) {
				errno = found[i].res < 0 ? -found[i].res : 0;
				return found[i].res < 0 ? -1 : found[i].res;
			}
		nanosleep(&moment, NULL);
	}
	errno = ETIMEDOUT;
	return -1;
}

/*
 * "socket" or a FILE: made, or opened, by a request with credentials that were registered before the own ones changed. It
 * follows on another one, and is done at the end of a nanosleep(2).
 */
static enum result ring_identity(const char *arg)
{
	struct io_uring_sqe entries[2] = {};
	struct requests ring;
	int ends[2], identity, fd;
	pid_t child;

	if (open_requests(&ring) || pipe(ends))
		return refused("io_uring_setup()");
	identity = syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_PERSONALITY, NULL, 0);
	if (identity < 0)
		return refused("io_uring_register()");
	/* Other credentials that are the same. */
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0))
		return refused("prctl()");
	entries[0] = (struct io_uring_sqe){
		.opcode = IORING_OP_POLL_ADD, .flags = IOSQE_IO_LINK, .fd = ends[0], .poll_events = 1 /* POLLIN */, .user_data = 1,
	};
	entries[1] = (struct io_uring_sqe){ .personality = identity, .user_data = 2 };
	if (!strcmp(arg, "socket")) {
		entries[1].opcode = 45 /* IORING_OP_SOCKET */;
		entries[1].fd = AF_INET;
		entries[1].off = SOCK_RAW;
		entries[1].len = IPPROTO_ICMP;
	} else {
		entries[1].opcode = IORING_OP_OPENAT;
		entries[1].fd = AT_FDCWD;
		entries[1].addr = (uintptr_t)arg;
		entries[1].open_flags = O_RDONLY;
	}
	if (submit_all(&ring, entries, 2))
		return refused("io_uring_enter()");
	child = fork();
	if (!child) {
		usleep(300000);
		_exit(write(ends[1], "x", 1) != 1);
	}
	fd = wait_for(&ring, 2);
	if (fd < 0)
		return refused("io_uring's request");
	return ok("got %s with other credentials", arg);
}

/* FILE, a cgroup.procs: this process goes there, after its credentials have changed. */
static enum result cgroup_identity(const char *arg)
{
	int fd = open(arg, O_WRONLY);

	if (fd < 0)
		return failed("open(%s): %s", arg, error_name(errno));
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0))
		return refused("prctl()");
	return write(fd, "0", 1) == 1 ? ok("went to %s", arg) : refused("write(%s)", arg);
}

static int descriptor_of(pid_t pid, int number)
{
	int process = syscall(SYS_pidfd_open, pid, 0);

	return process < 0 ? -1 : syscall(SYS_pidfd_getfd, process, number, 0);
}

static const struct sockaddr_un meeting = { .sun_family = AF_UNIX, .sun_path = "\0bpflock-ring" };

/* FILE: reads the number of a ring from a client, and sends the file to that ring by a message. */
static enum result give_by_ring(const char *arg)
{
	struct io_uring_sqe entry = {
		.opcode = 40 /* IORING_OP_MSG_RING */, .addr = 1 /* IORING_MSG_SEND_FD */, .file_index = 1, .user_data = 1,
	};
	struct requests ring;
	struct ucred peer = {};
	socklen_t length = sizeof(peer);
	char number = 0;
	int fd = open(arg, O_RDONLY), here = socket(AF_UNIX, SOCK_STREAM, 0), there;

	if (fd < 0 || bind(here, (void *)&meeting, sizeof(meeting)) || listen(here, 1))
		return failed("bind(): %s", error_name(errno));
	puts("ready");
	there = accept(here, NULL, NULL);
	if (getsockopt(there, SOL_SOCKET, SO_PEERCRED, &peer, &length) || read(there, &number, 1) != 1)
		return failed("read(): %s", error_name(errno));
	entry.fd = descriptor_of(peer.pid, number);
	if (open_requests(&ring) || syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, &fd, 1))
		return failed("io_uring_register(): %s", error_name(errno));
	if (submit_all(&ring, &entry, 1) || wait_for(&ring, 1) < 0)
		return failed("io_uring's message: %s", error_name(errno));
	return write(there, "x", 1) == 1 ? ok("gave %s", arg) : failed("write()");
}

/* What give_by_ring gives is read. */
static enum result take_by_ring(const char *arg)
{
	char text[16] = {}, byte, number;
	struct io_uring_sqe entry = {
		.opcode = IORING_OP_READ, .flags = IOSQE_FIXED_FILE, .addr = (uintptr_t)text, .len = sizeof(text) - 1, .user_data = 7,
	};
	struct requests ring;
	int none = -1, here = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)arg;
	if (open_requests(&ring) || syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, &none, 1))
		return refused("io_uring_register()");
	number = ring.fd;
	if (connect(here, (void *)&meeting, sizeof(meeting)) || write(here, &number, 1) != 1 || read(here, &byte, 1) != 1)
		return refused("connect()");
	if (submit_all(&ring, &entry, 1) || wait_for(&ring, 7) < 0)
		return refused("io_uring's read");
	return ok("read %s", text);
}

/* pidfd_open(2), of itself. */
static enum result own_descriptor(const char *arg)
{
	(void)arg;
	return syscall(SYS_pidfd_open, getpid(), 0) < 0 ? refused("pidfd_open()") : ok("opened itself");
}

/* PID: the ring that it has on descriptor 0. */
static enum result take_ring(const char *arg)
{
	int ring = descriptor_of(atoi(arg), 0);

	return ring < 0 ? refused("pidfd_getfd(%s)", arg) : ok("took a ring of %s", arg);
}

/* COMMAND ...: executed with a ring on descriptor 0. */
static enum result with_ring(const char *arg)
{
	struct io_uring_params parameters = {};
	int fd = syscall(SYS_io_uring_setup, 1, &parameters);

	if (fd < 0 || dup2(fd, 0))
		return refused("io_uring_setup()");
	execl("/bin/sh", "sh", "-c", format("exec %s", arg), NULL);
	return refused("execl()");
}

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif
#define NOWHERE 777

/* Returns a listener, which must answer every write to the descriptor NOWHERE. */
static int filter_writes(void)
{
	struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NOWHERE, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { sizeof(program) / sizeof(program[0]), program };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		       SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &filter);
}

/*
 * FILE, which is open to append: its beginning is written to by an io_uring, at the end of a write(2) that a filter answers with
 * ENOSYS, so that it seems to have no answer yet.
 */
static enum result ring_behind_filter(const char *arg)
{
	struct io_uring_sqe entries[2] = {};
	char before, after, byte;
	struct requests ring;
	int ends[2], filter;
	int fd = open(arg, O_RDWR | O_APPEND);

	if (fd < 0 || pread(fd, &before, 1, 0) != 1)
		return failed("open(%s): %s", arg, error_name(errno));
	byte = before + 1;
	if (open_requests(&ring) || pipe(ends))
		return refused("io_uring_setup()");
	filter = filter_writes();
	if (filter < 0)
		return failed("seccomp(): %s", error_name(errno));
	entries[0] = (struct io_uring_sqe){
		.opcode = IORING_OP_POLL_ADD, .flags = IOSQE_IO_LINK, .fd = ends[0], .poll_events = 1 /* POLLIN */, .user_data = 1,
	};
	entries[1] = (struct io_uring_sqe){
		.opcode = IORING_OP_WRITE, .fd = fd, .addr = (uintptr_t)&byte, .len = 1, .rw_flags = 0x20 /* RWF_NOAPPEND */,
		.user_data = 2,
	};
	if (submit_all(&ring, entries, 2))
		return refused("io_uring_enter()");
	if (!fork()) {
		struct seccomp_notif request = {};
		struct seccomp_notif_resp answer = { .error = -ENOSYS };

		if (ioctl(filter, SECCOMP_IOCTL_NOTIF_RECV, &request))
			_exit(1);
		usleep(200000);
		answer.id = request.id;
		_exit(write(ends[1], "x", 1) != 1 || usleep(200000) || ioctl(filter, SECCOMP_IOCTL_NOTIF_SEND, &answer));
	}
	if (write(NOWHERE, "x", 1) != -1 || errno != ENOSYS)
		return failed("write(): %s", error_name(errno));
	if (wait_for(&ring, 2) < 0)
		return errno == EOPNOTSUPP || errno == EINVAL ? failed("RWF_NOAPPEND: EOPNOTSUPP") : refused("io_uring's write");
	if (pread(fd, &after, 1, 0) != 1 || after != byte)
		return failed("it was appended");
	return ok("wrote over the beginning of %s", arg);
}

/* FILE: written to after a ring was made; nothing else is done by it. */
static enum result ring_then_write(const char *arg)
{
	struct io_uring_sqe entry = { .opcode = IORING_OP_NOP, .user_data = 1 };
	struct requests ring;
	int fd;

	if (open_requests(&ring) || submit_all(&ring, &entry, 1) || wait_for(&ring, 1) < 0)
		return refused("io_uring_setup()");
	fd = open(arg, O_WRONLY);
	if (fd < 0)
		return refused("open(%s)", arg);
	return write(fd, "x", 1) == 1 ? ok("wrote to %s", arg) : refused("write(%s)", arg);
}

/* FILE: a command for its driver. */
static enum result ring_command(const char *arg)
{
	struct io_uring_sqe entry = { .opcode = 46 /* IORING_OP_URING_CMD */, .user_data = 1 };
	struct requests ring;

	entry.fd = open(arg, O_RDONLY);
	if (entry.fd < 0)
		return refused("open(%s)", arg);
	if (open_requests(&ring) || submit_all(&ring, &entry, 1))
		return refused("io_uring_setup()");
	return wait_for(&ring, 1) < 0 ? refused("io_uring's command") : ok("gave a command to %s", arg);
}

/* Its own memory must not be of its executable any more: the rest is done by code in memory of nobody. */
#ifdef __x86_64__
extern const char forge_begin[], forge_end[], __executable_start[], _end[];
asm(".pushsection .text\n"
    "forge_begin:\n" /* address, length, descriptor */
    "mov %rdx, %r12\n"
    "mov $11, %eax\n" /* munmap */
    "syscall\n"
    "mov $35, %edi\n" /* PR_SET_MM */
    "mov $13, %esi\n" /* PR_SET_MM_EXE_FILE */
    "mov %r12, %rdx\n"
    "xor %r10d, %r10d\n"
    "xor %r8d, %r8d\n"
    "mov $157, %eax\n" /* prctl */
    "syscall\n"
    "mov %rax, %rdi\n"
    "neg %rdi\n"
    "mov $231, %eax\n" /* exit_group */
    "syscall\n"
    "forge_end:\n"
    ".popsection\n");

/* FILE: the kernel takes it for this process's executable. The exit status is that of an attack: EPERM is 1. */
static enum result forge_executable(const char *arg)
{
	uintptr_t begin = (uintptr_t)__executable_start & ~4095UL, end = ((uintptr_t)_end + 4095) & ~4095UL;
	int fd = open(arg, O_RDONLY);
	void *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (fd < 0 || code == MAP_FAILED)
		return refused("open(%s)", arg);
	memcpy(code, forge_begin, forge_end - forge_begin);
	if (mprotect(code, 4096, PROT_READ | PROT_EXEC))
		return refused("mprotect()");
	((void (*)(uintptr_t, size_t, long))code)(begin, end - begin, fd);
	return failed("it came back");
}
#else
static enum result forge_executable(const char *arg)
{
	(void)arg;
	return failed("not for this machine");
}
#endif

/* HOST ROUTE: a packet to HOST, given to the kernel as one to ROUTE. */
static enum result raw_header(const char *arg)
{
	struct iphdr packet = { .version = 4, .ihl = 5, .ttl = 1, .protocol = 253 };
	struct sockaddr_in route = { .sin_family = AF_INET };
	char host[64], by[64];
	int fd;

	if (sscanf(arg, "%63s %63s", host, by) != 2)
		return failed("HOST ROUTE");
	packet.saddr = packet.daddr = inet_addr(host);
	route.sin_addr.s_addr = inet_addr(by);
	fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
	if (fd < 0)
		return refused("socket()");
	return sendto(fd, &packet, sizeof(packet), 0, (void *)&route, sizeof(route)) == sizeof(packet) ?
		       ok("sent to %s by %s", host, by) :
		       refused("sendto()");
}

/* PID NUMBER WAY: a descriptor of a process, opened to write; directly, or after it was opened with O_PATH or to read. */
static enum result open_descriptor(const char *arg)
{
	char pid[16], number[16], way[16];
	const char *name;
	int fd;

	if (sscanf(arg, "%15s %15s %15s", pid, number, way) != 3)
		return failed("PID NUMBER WAY");
	name = format("/proc/%s/fd/%s", pid, number);
	if (strcmp(way, "direct")) {
		fd = open(name, (strcmp(way, "path") ? O_RDONLY : O_PATH) | O_NONBLOCK);
		if (fd < 0)
			return refused("open(%s)", name);
		name = format("/proc/self/fd/%d", fd);
	}
	fd = open(name, O_WRONLY | O_NONBLOCK);
	return fd < 0 ? refused("open(%s)", name) : ok("opened %s", name);
}

/* The own end of a pipe anew, as shells and servers do. */
static enum result reopen_own(const char *arg)
{
	int ends[2];

	(void)arg;
	if (pipe(ends))
		return refused("pipe()");
	return open_descriptor(format("self %d direct", ends[1]));
}

#define ATTACK(name, what) { #name, "policy", #name, what, name }

const struct attack process_attacks[] = {
	ATTACK(set_limit, "prlimit(2): PID"),
	ATTACK(set_scheduler, "sched_setscheduler(2): PID"),
	ATTACK(set_affinity, "sched_setaffinity(2): PID"),
	ATTACK(set_nice, "setpriority(2): PID"),
	ATTACK(set_io_priority, "ioprio_set(2): PID"),
	ATTACK(move_pages, "move_pages(2): PID"),
	ATTACK(migrate_pages, "migrate_pages(2): PID"),
	ATTACK(own_descriptor, "pidfd_open(2)"),
	ATTACK(own_limits, "all of these to itself"),
	ATTACK(ring_identity, "an io_uring with registered credentials: socket|FILE"),
	ATTACK(cgroup_identity, "cgroup.procs by a descriptor from before the credentials changed: FILE"),
	ATTACK(ring_behind_filter, "what is open to append written over by an io_uring: FILE"),
	ATTACK(give_by_ring, "a file for a ring of another process: FILE"),
	ATTACK(take_by_ring, "send the number of a ring, and read the file that comes to it"),
	ATTACK(take_ring, "an io_uring by pidfd_getfd(2): PID"),
	ATTACK(with_ring, "with one on descriptor 0: COMMAND ..."),
	ATTACK(ring_then_write, "open(2) to write, after an io_uring was made: FILE"),
	ATTACK(ring_command, "IORING_OP_URING_CMD: FILE"),
	ATTACK(forge_executable, "PR_SET_MM_EXE_FILE: FILE"),
	ATTACK(raw_header, "IP_HDRINCL: HOST ROUTE"),
	ATTACK(open_descriptor, "/proc/PID/fd/N to write: PID NUMBER direct|path|read"),
	ATTACK(reopen_own, "/proc/self/fd/N to write, of the own pipe"),
	{},
};
