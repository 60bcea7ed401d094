/* SPDX-License-Identifier: Apache-2.0 */
/* What a confined program must not do, but for what its policy allows. Arguments are words, separated by spaces. */
#include "attack.h"

#include <arpa/inet.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <linux/kcmp.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#ifndef F_SETSIG
#define F_SETSIG 10
#endif

static char words[8][128];

/* Splits the argument into words[]; those that are not there are empty. */
static int split(const char *arg)
{
	int count = 0;

	memset(words, 0, sizeof(words));
	while (arg && *arg && count < 8) {
		size_t length = strcspn(arg, " ");

		if (length >= sizeof(words[0]))
			length = sizeof(words[0]) - 1;
		memcpy(words[count++], arg, length);
		arg += length;
		arg += strspn(arg, " ");
	}
	return count;
}

/* "127.0.0.1", "::1", "@abstract", "/path"; the length, or 0. `as_family`: as if the kernel were told another one. */
static socklen_t address_of(const char *host, const char *port, struct sockaddr_storage *address)
{
	struct sockaddr_in *four = (void *)address;
	struct sockaddr_in6 *six = (void *)address;
	struct sockaddr_un *local = (void *)address;
	size_t length = strlen(host);

	memset(address, 0, sizeof(*address));
	if (host[0] == '@' || host[0] == '/') {
		local->sun_family = AF_UNIX;
		memcpy(local->sun_path, host, length);
		if (host[0] == '@')
			local->sun_path[0] = 0;
		return offsetof(struct sockaddr_un, sun_path) + length;
	}
	if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(atoi(port));
		return sizeof(*four);
	}
	if (inet_pton(AF_INET6, host, &six->sin6_addr) == 1) {
		six->sin6_family = AF_INET6;
		six->sin6_port = htons(atoi(port));
		return sizeof(*six);
	}
	return 0;
}

static int socket_for(const struct sockaddr_storage *address, int type)
{
	return socket(address->ss_family, type | SOCK_CLOEXEC, 0);
}

/* FAMILY TYPE PROTOCOL, as numbers. */
static enum result make_socket(const char *arg)
{
	int fd;

	split(arg);
	fd = socket(atoi(words[0]), atoi(words[1]) | SOCK_CLOEXEC, atoi(words[2]));
	if (fd < 0)
		return refused("socket(%s)", arg);
	shut(fd);
	return ok("a socket(%s)", arg);
}

/* HOST PORT: a connection. */
static enum result connect_stream(const char *arg)
{
	struct sockaddr_storage address;
	socklen_t length;
	enum result result;
	int fd;

	split(arg);
	length = address_of(words[0], words[1], &address);
	fd = socket_for(&address, SOCK_STREAM);
	if (fd < 0)
		return refused("socket");
	result = connect(fd, (void *)&address, length) ? refused("connect(%s)", arg) : ok("connected to %s", arg);
	shut(fd);
	return result;
}

/* HOST PORT [FAMILY of the address that is given]: a datagram without connect(2). */
static enum result send_to(const char *arg)
{
	struct sockaddr_storage address;
	socklen_t length;
	enum result result;
	int fd;

	split(arg);
	length = address_of(words[0], words[1], &address);
	fd = socket_for(&address, SOCK_DGRAM);
	if (fd < 0)
		return refused("socket");
	if (words[2][0])
		address.ss_family = atoi(words[2]);
	result = sendto(fd, "x", 1, 0, (void *)&address, length) == 1 ? ok("sent to %s", arg) : refused("sendto(%s)", arg);
	shut(fd);
	return result;
}

/* HOST PORT: IPv4 by an IPv6 socket. */
static enum result send_mapped(const char *arg)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6 };
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	enum result result;

	if (fd < 0)
		return refused("socket");
	split(arg);
	inet_pton(AF_INET6, format("::ffff:%s", words[0]), &address.sin6_addr);
	address.sin6_port = htons(atoi(words[1]));
	result = sendto(fd, "x", 1, 0, (void *)&address, sizeof(address)) == 1 ? ok("sent to %s", arg) :
										refused("sendto(::ffff:%s)", arg);
	shut(fd);
	return result;
}

/* HOST PORT: a connection that the first data opens. */
static enum result fast_open(const char *arg)
{
	struct sockaddr_storage address;
	socklen_t length;
	enum result result;
	int fd;

	split(arg);
	length = address_of(words[0], words[1], &address);
	fd = socket_for(&address, SOCK_STREAM);
	if (fd < 0)
		return refused("socket");
	result = sendto(fd, "x", 1, MSG_FASTOPEN, (void *)&address, length) == 1 ? ok("connected to %s by sending", arg) :
										  refused("sendto(MSG_FASTOPEN)");
	shut(fd);
	return result;
}

/* HOST PORT: bind(2). */
static enum result bind_to(const char *arg)
{
	struct sockaddr_storage address;
	socklen_t length;
	enum result result;
	int fd, on = 1;

	split(arg);
	length = address_of(words[0], words[1], &address);
	fd = socket_for(&address, SOCK_STREAM);
	if (fd < 0)
		return refused("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	result = bind(fd, (void *)&address, length) ? refused("bind(%s)", arg) : ok("bound to %s", arg);
	shut(fd);
	return result;
}

/* Listens on an abstract name, and accepts a connection from itself. */
static enum result accept_one(const char *arg)
{
	struct sockaddr_storage address;
	socklen_t length = address_of("@bpflock attack", "", &address);
	int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	enum result result;
	int fd = -1;

	(void)arg;
	if (server < 0 || client < 0)
		return refused("socket");
	if (bind(server, (void *)&address, length))
		result = refused("bind");
	else if (listen(server, 1))
		result = refused("listen");
	else if (connect(client, (void *)&address, length))
		result = refused("connect");
	else if ((fd = accept4(server, NULL, NULL, SOCK_CLOEXEC)) < 0)
		result = refused("accept4");
	else
		result = ok("accepted a connection");
	shut(fd);
	shut(client);
	shut(server);
	return result;
}

/* Sends a byte through a pair of sockets and receives it; ends the pair. */
static enum result pair(const char *arg)
{
	int fds[2];
	char byte = 0;
	enum result result;

	(void)arg;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return refused("socketpair");
	if (send(fds[0], "x", 1, 0) != 1)
		result = refused("send");
	else if (recv(fds[1], &byte, 1, 0) != 1)
		result = refused("recv");
	else if (shutdown(fds[0], SHUT_RDWR))
		result = refused("shutdown");
	else
		result = byte == 'x' ? ok("sent and received a byte") : failed("received %#x", byte);
	shut(fds[0]);
	shut(fds[1]);
	return result;
}

static enum result send_signal(const char *what, long answer)
{
	return answer ? refused("%s", what) : ok("sent a signal by %s", what);
}

/* PID SIGNAL */
static enum result by_kill(const char *arg)
{
	split(arg);
	return send_signal("kill", kill(atoi(words[0]), atoi(words[1])));
}

static enum result by_tgkill(const char *arg)
{
	split(arg);
	return send_signal("tgkill", syscall(SYS_tgkill, atoi(words[0]), atoi(words[0]), atoi(words[1])));
}

static enum result by_queue(const char *arg)
{
	union sigval value = {};

	split(arg);
	return send_signal("sigqueue", sigqueue(atoi(words[0]), atoi(words[1]), value));
}

static enum result by_pidfd(const char *arg)
{
	int fd;

	split(arg);
	fd = syscall(SYS_pidfd_open, atoi(words[0]), 0);
	if (fd < 0)
		return refused("pidfd_open");
	return send_signal("pidfd_send_signal", syscall(SYS_pidfd_send_signal, fd, atoi(words[1]), NULL, 0));
}

/* PID SIGNAL WAY: the kernel sends it when a socket becomes ready. */
static enum result by_owner(const char *arg)
{
	struct f_owner_ex owner = { .type = F_OWNER_PID };
	int fds[2], pid;
	enum result result;

	split(arg);
	pid = atoi(words[0]);
	owner.pid = pid;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return refused("socketpair");
	if (!strcmp(words[2], "signal-first") && fcntl(fds[1], F_SETSIG, atoi(words[1])))
		result = refused("fcntl(F_SETSIG)");
	else if (!strcmp(words[2], "ex") && fcntl(fds[1], F_SETOWN_EX, &owner))
		result = refused("fcntl(F_SETOWN_EX)");
	else if (!strcmp(words[2], "ioctl") && ioctl(fds[1], FIOSETOWN, &pid))
		result = refused("ioctl(FIOSETOWN)");
	else if ((!strcmp(words[2], "fcntl") || !strcmp(words[2], "signal-first")) && fcntl(fds[1], F_SETOWN, pid))
		result = refused("fcntl(F_SETOWN)");
	else if (fcntl(fds[1], F_SETSIG, atoi(words[1])))
		result = refused("fcntl(F_SETSIG)");
	else if (fcntl(fds[1], F_SETFL, O_ASYNC))
		result = refused("fcntl(F_SETFL)");
	else
		result = send(fds[0], "x", 1, 0) == 1 ? ok("the kernel signals process %d", pid) : refused("send");
	shut(fds[0]);
	shut(fds[1]);
	return result;
}

/* Signals to itself, its child and its parent, with one process each: self|child|parent. */
static enum result to_relative(const char *arg)
{
	pid_t child, target = getpid();
	enum result result;
	int ready[2];
	char byte;

	split(arg);
	if (!strcmp(words[0], "self"))
		return send_signal("kill", kill(getpid(), SIGCONT));
	if (pipe(ready))
		return refused("pipe");
	child = fork();
	if (child < 0)
		return refused("fork");
	if (!child) {
		if (!strcmp(words[0], "parent"))
			_exit(kill(target, SIGCONT) ? 1 : 0);
		/* It must not outlive its parent, who may not be allowed to end it. */
		syscall(SYS_prctl, 1 /* PR_SET_PDEATHSIG */, SIGKILL, 0, 0, 0);
		if (write(ready[1], "x", 1) == 1)
			pause();
		_exit(0);
	}
	if (!strcmp(words[0], "parent")) {
		int status;

		waitpid(child, &status, 0);
		return status ? denied("kill of the parent") : ok("signalled its parent");
	}
	result = read(ready[0], &byte, 1) == 1 ? send_signal("kill", kill(child, SIGCONT)) : refused("read");
	if (result == OK && kill(child, SIGKILL))
		result = refused("kill");
	if (result == OK)
		waitpid(child, NULL, 0);
	return result;
}

/* The child's signal when its parent ends, as the child wished. */
static enum result parent_death(const char *arg)
{
	int ready[2], dead[2];
	struct pollfd wait;
	pid_t middle;
	char byte;

	(void)arg;
	if (pipe(ready) || pipe(dead))
		return refused("pipe");
	middle = fork();
	if (middle < 0)
		return refused("fork");
	if (!middle) {
		if (!fork()) {
			syscall(SYS_prctl, 1 /* PR_SET_PDEATHSIG */, SIGKILL, 0, 0, 0);
			if (write(ready[1], "x", 1) == 1)
				pause();
			_exit(0);
		}
		_exit(read(ready[0], &byte, 1) == 1 ? 0 : 1);
	}
	shut(dead[1]);
	waitpid(middle, NULL, 0);
	/* The pipe ends with its last process. */
	wait = (struct pollfd){ .fd = dead[0] };
	return poll(&wait, 1, 20000) == 1 && wait.revents & POLLHUP ? ok("the child was signalled") :
									failed("the child lives on");
}

/* PID */
static enum result attach(const char *arg)
{
	pid_t pid = atoi(arg);

	if (ptrace(PTRACE_ATTACH, pid, 0, 0))
		return refused("ptrace(PTRACE_ATTACH)");
	waitpid(pid, NULL, 0);
	ptrace(PTRACE_DETACH, pid, 0, 0);
	return ok("traced process %d", pid);
}

static enum result seize(const char *arg)
{
	pid_t pid = atoi(arg);

	if (ptrace(PTRACE_SEIZE, pid, 0, 0))
		return refused("ptrace(PTRACE_SEIZE)");
	return ok("traced process %d", pid);
}

static enum result trace_me(const char *arg)
{
	(void)arg;
	return ptrace(PTRACE_TRACEME, 0, 0, 0) ? refused("ptrace(PTRACE_TRACEME)") : ok("traced by its parent");
}

/* Any address will do: it is decided before. */
static enum result move_memory(const char *arg, bool write)
{
	char byte = 'x';
	struct iovec here = { &byte, 1 }, there = { (void *)0x1000, 1 };
	ssize_t moved = write ? process_vm_writev(atoi(arg), &here, 1, &there, 1, 0) :
				process_vm_readv(atoi(arg), &here, 1, &there, 1, 0);

	if (moved < 0 && errno != EFAULT)
		return refused("process_vm_%s", write ? "writev" : "readv");
	return ok("might access its memory");
}

static enum result vm_read(const char *arg)
{
	return move_memory(arg, false);
}

static enum result vm_write(const char *arg)
{
	return move_memory(arg, true);
}

static enum result get_fd(const char *arg)
{
	int pidfd = syscall(SYS_pidfd_open, atoi(arg), 0), fd;

	if (pidfd < 0)
		return refused("pidfd_open");
	fd = syscall(SYS_pidfd_getfd, pidfd, 0, 0);
	if (fd < 0)
		return refused("pidfd_getfd");
	return ok("took a descriptor of another process");
}

static enum result compare(const char *arg)
{
	long answer = syscall(SYS_kcmp, atoi(arg), atoi(arg), KCMP_VM, 0, 0);

	return answer < 0 ? refused("kcmp") : ok("kcmp says %ld", answer);
}

/* PID FILE: opens a file of a process. */
static enum result open_proc(const char *arg)
{
	char buffer[64];
	ssize_t got;

	split(arg);
	got = slurp(format("/proc/%s/%s", words[0], words[1]), buffer, sizeof(buffer));
	/* Nothing can be read from the start of a memory, but it is open. */
	return got < 0 && errno != EIO ? refused("open(/proc/%s/%s)", words[0], words[1]) : ok("read /proc/%s/%s", words[0], words[1]);
}

static enum result change_root(const char *arg)
{
	(void)arg;
	return chroot("/") ? refused("chroot") : ok("changed its root");
}

/* A mount of its own, in a mount namespace that the caller has to itself. */
static enum result mount_tmpfs(const char *arg)
{
	if (mount("none", arg, "tmpfs", 0, NULL))
		return refused("mount(%s)", arg);
	return ok("mounted a tmpfs on %s", arg);
}

static enum result unmount(const char *arg)
{
	return umount2(arg, MNT_DETACH) ? refused("umount2(%s)", arg) : ok("unmounted %s", arg);
}

static enum result new_mount(const char *arg)
{
	const char *what;
	int fd = detached_mount("tmpfs", &what);

	(void)arg;
	if (fd < 0)
		return refused("%s", what);
	shut(fd);
	return ok("made a mount that is attached nowhere");
}

static enum result set_attributes(const char *arg)
{
	struct {
		uint64_t set, clear, propagation, userns;
	} attributes = { .propagation = 1 << 18 /* MS_PRIVATE */ };

	if (syscall(442 /* mount_setattr */, AT_FDCWD, arg, 0, &attributes, sizeof(attributes)))
		return refused("mount_setattr");
	return ok("changed a mount");
}

static enum result fault_handler(const char *arg)
{
	int fd = syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY);

	(void)arg;
	if (fd < 0)
		return refused("userfaultfd");
	shut(fd);
	return ok("handles page faults");
}

static enum result ring(const char *arg)
{
	struct io_uring_params params = {};
	int fd = syscall(SYS_io_uring_setup, 1, &params);

	(void)arg;
	if (fd < 0)
		return refused("io_uring_setup");
	shut(fd);
	return ok("an io_uring");
}

static enum result perf(const char *arg)
{
	struct perf_event_attr event = { .type = PERF_TYPE_SOFTWARE, .size = sizeof(event), .config = PERF_COUNT_SW_DUMMY };
	int fd = syscall(SYS_perf_event_open, &event, 0, -1, -1, 0);

	(void)arg;
	if (fd < 0)
		return refused("perf_event_open");
	shut(fd);
	return ok("an event of perf");
}

static enum result keep_key(const char *arg)
{
	long id = syscall(SYS_add_key, "user", "bpflock attack", "x", 1, KEY_SPEC_PROCESS_KEYRING);
	char byte = 0;

	(void)arg;
	if (id < 0)
		return refused("add_key");
	if (syscall(SYS_keyctl, KEYCTL_READ, id, &byte, 1, 0) != 1)
		return refused("keyctl");
	return ok("kept a key");
}

/* An existing keyring: of the user, which others share. */
static enum result find_key(const char *arg)
{
	char text[64];

	(void)arg;
	if (syscall(SYS_keyctl, KEYCTL_DESCRIBE, KEY_SPEC_USER_KEYRING, text, sizeof(text), 0) < 0)
		/* What may not be looked up is said not to be there. */
		return errno == ENOKEY ? denied("keyctl(KEYCTL_DESCRIBE): ENOKEY") : refused("keyctl(KEYCTL_DESCRIBE)");
	return ok("looked at the user's keyring");
}

static enum result new_segment(const char *arg)
{
	int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);

	(void)arg;
	if (id < 0)
		return refused("shmget");
	shmctl(id, IPC_RMID, NULL);
	return ok("made a segment of shared memory");
}

/* ID */
static enum result use_segment(const char *arg)
{
	void *memory = shmat(atoi(arg), NULL, 0);

	if (memory == (void *)-1)
		return refused("shmat");
	return ok("attached a segment of shared memory");
}

static enum result new_queue(const char *arg)
{
	int id = msgget(IPC_PRIVATE, IPC_CREAT | 0600);

	(void)arg;
	if (id < 0)
		return refused("msgget");
	msgctl(id, IPC_RMID, NULL);
	return ok("made a message queue");
}

static enum result new_semaphore(const char *arg)
{
	int id = semget(IPC_PRIVATE, 1, IPC_CREAT | 0600);

	(void)arg;
	if (id < 0)
		return refused("semget");
	semctl(id, 0, IPC_RMID);
	return ok("made a semaphore");
}

static enum result named_queue(const char *arg)
{
	mqd_t queue = mq_open("/bpflock-attack", O_RDWR | O_CREAT, 0600, NULL);

	(void)arg;
	if (queue < 0)
		return refused("mq_open");
	mq_close(queue);
	return mq_unlink("/bpflock-attack") ? refused("mq_unlink") : ok("made a named message queue");
}

/* One that is there, after a look at it by its path, which may be kept. */
static enum result known_queue(const char *arg)
{
	struct stat status;
	mqd_t queue;

	if (stat(arg, &status))
		return failed("stat(%s)", arg);
	queue = mq_open(strrchr(arg, '/'), O_RDWR);
	if (queue < 0)
		return refused("mq_open");
	mq_close(queue);
	return ok("opened a message queue");
}

/* The heap grows by executable memory if reading implies it; nobody is asked for its protection. */
static enum result heap_implied(const char *arg)
{
	void *before, *after;
	long page = sysconf(_SC_PAGESIZE);

	(void)arg;
	if (personality(READ_IMPLIES_EXEC) < 0)
		return refused("personality");
	before = sbrk(0);
	after = (void *)(((uintptr_t)before + 2 * page - 1) & ~(page - 1));
	errno = EPERM; /* brk(2) only tells that nothing has changed */
	if (syscall(SYS_brk, after) != (long)after)
		return refused("brk");
	return ok("the heap has memory that may be executed");
}

/* FILE */
static enum result set_times(const char *arg)
{
	struct timespec times[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };

	return utimensat(AT_FDCWD, arg, times, 0) ? refused("utimensat") : ok("set the times of %s", arg);
}

static enum result set_attribute(const char *arg)
{
	return setxattr(arg, "trusted.attack", "x", 1, 0) ? refused("setxattr") : ok("set an attribute of %s", arg);
}

/* As mode 0600, in the form of the kernel. */
static enum result set_acl(const char *arg)
{
	static const struct {
		uint32_t version;
		struct {
			uint16_t tag, permission;
			uint32_t id;
		} entries[3];
	} acl = { 2, { { 1, 6, -1 }, { 4, 0, -1 }, { 0x20, 0, -1 } } };

	return setxattr(arg, "system.posix_acl_access", &acl, sizeof(acl), 0) ? refused("setxattr(posix_acl_access)") :
										ok("set an access control list of %s", arg);
}

static enum result get_attribute(const char *arg)
{
	char byte;

	if (getxattr(arg, "trusted.attack", &byte, 1) < 0 && errno != ENODATA)
		return refused("getxattr");
	return ok("asked for an attribute of %s", arg);
}

static enum result list_attributes(const char *arg)
{
	char names[256];

	return listxattr(arg, names, sizeof(names)) < 0 ? refused("listxattr") : ok("listed the attributes of %s", arg);
}

static enum result do_nothing(const char *arg)
{
	(void)arg;
	return ok("did nothing");
}

/* Until it is signalled: somebody to attack. */
__attribute__((noreturn)) static enum result sleeper(const char *arg)
{
	(void)arg;
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}

#define ATTACK(name, what) { #name, "policy", #name, what, name }

const struct attack policy_attacks[] = {
	ATTACK(make_socket, "a socket: FAMILY TYPE PROTOCOL"),
	ATTACK(connect_stream, "connect(2): HOST PORT"),
	ATTACK(send_to, "sendto(2) without connect(2): HOST PORT [FAMILY]"),
	ATTACK(send_mapped, "the same to IPv4 by IPv6: HOST PORT"),
	ATTACK(fast_open, "a TCP connection by sendto(2): HOST PORT"),
	ATTACK(bind_to, "bind(2): HOST PORT"),
	ATTACK(accept_one, "bind, listen, connect, accept"),
	ATTACK(pair, "socketpair, send, recv, shutdown"),
	ATTACK(by_kill, "kill(2): PID SIGNAL"),
	ATTACK(by_tgkill, "tgkill(2): PID SIGNAL"),
	ATTACK(by_queue, "sigqueue(3): PID SIGNAL"),
	ATTACK(by_pidfd, "pidfd_send_signal(2): PID SIGNAL"),
	ATTACK(by_owner, "a signal of the kernel to a descriptor's owner: PID SIGNAL fcntl|signal-first|ex|ioctl"),
	ATTACK(to_relative, "kill(2): self|parent|child"),
	ATTACK(parent_death, "a child's signal when its parent ends"),
	ATTACK(attach, "PTRACE_ATTACH: PID"),
	ATTACK(seize, "PTRACE_SEIZE: PID"),
	ATTACK(trace_me, "PTRACE_TRACEME"),
	ATTACK(vm_read, "process_vm_readv(2): PID"),
	ATTACK(vm_write, "process_vm_writev(2): PID"),
	ATTACK(get_fd, "pidfd_getfd(2): PID"),
	ATTACK(compare, "kcmp(2): PID"),
	ATTACK(open_proc, "read a file of a process: PID FILE"),
	ATTACK(change_root, "chroot(2)"),
	ATTACK(mount_tmpfs, "mount(2): DIRECTORY"),
	ATTACK(unmount, "umount2(2): DIRECTORY"),
	ATTACK(new_mount, "fsopen(2), fsmount(2)"),
	ATTACK(set_attributes, "mount_setattr(2): DIRECTORY"),
	ATTACK(fault_handler, "userfaultfd(2)"),
	ATTACK(ring, "io_uring_setup(2)"),
	{ "perf_dummy", "policy", "perf", "perf_event_open(2)", perf },
	ATTACK(keep_key, "add_key(2)"),
	ATTACK(find_key, "keyctl(2) on the user's keyring"),
	ATTACK(new_segment, "shmget(2)"),
	ATTACK(use_segment, "shmat(2): ID"),
	ATTACK(new_queue, "msgget(2)"),
	ATTACK(new_semaphore, "semget(2)"),
	ATTACK(named_queue, "mq_open(3)"),
	ATTACK(known_queue, "mq_open(3) after stat(2): PATH"),
	ATTACK(heap_implied, "brk(2) under READ_IMPLIES_EXEC"),
	ATTACK(set_times, "utimensat(2): FILE"),
	ATTACK(set_attribute, "setxattr(2): FILE"),
	ATTACK(set_acl, "setxattr(2) of an access control list: FILE"),
	ATTACK(get_attribute, "getxattr(2): FILE"),
	ATTACK(list_attributes, "listxattr(2): FILE"),
	ATTACK(do_nothing, "nothing"),
	ATTACK(sleeper, "nothing, until it is killed"),
	{},
};
