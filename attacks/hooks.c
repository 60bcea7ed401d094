/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ways to a file, a socket or the kernel's log by calls that are rarely thought of. Arguments are words, separated by
 * spaces.
 */
#include "attack.h"

#include <arpa/inet.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2
#endif
#ifndef IPPROTO_SCTP
#define IPPROTO_SCTP 132
#endif
#define SCTP_SOCKOPT_BINDX_ADD 100
#define SCTP_SOCKOPT_CONNECTX 110
#define SCTP_DSTADDRV4 7
#define FS_IOC_UNRESVSP64 _IOW('X', 43, struct space_resv)
#define HUGE_PAGE (2UL << 20)

struct space_resv {
	int16_t type, whence;
	int64_t start, length;
	int32_t system, pid, pad[4];
};
/* As programs of 32 bits have it: 64-bit numbers are aligned to 4 there. */
struct space_resv_32 {
	int16_t type, whence;
	int64_t start, length;
	int32_t system, pid, pad[4];
} __attribute__((packed));
#define FS_IOC_UNRESVSP64_32 _IOW('X', 43, struct space_resv_32)

static char words[8][256];

static int split(const char *arg)
{
	int count = 0;

	memset(words, 0, sizeof(words));
	while (arg && *arg && count < 8) {
		size_t length = strcspn(arg, " ");

		if (length < sizeof(words[0]))
			memcpy(words[count++], arg, length);
		arg += length;
		arg += strspn(arg, " ");
	}
	return count;
}

/* The 32-bit system call, from a program of 64 bits. The argument must be below 4 GB. */
static int ioctl_32(int fd, unsigned long command, uintptr_t argument)
{
#ifdef __x86_64__
	long result;

	asm volatile("int $0x80"
		     : "=a"(result)
		     : "a"(54L), "b"((long)fd), "c"(command), "d"(argument)
		     : "memory", "r8", "r9", "r10", "r11");
	if (result < 0) {
		errno = -result;
		return -1;
	}
	return result;
#else
	(void)fd, (void)command, (void)argument;
	errno = ENOSYS;
	return -1;
#endif
}

static void *low_memory(void)
{
#ifdef MAP_32BIT
	void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
#else
	return NULL;
#endif
}

/* PATH: FIGETBSZ. */
static enum result size_32(const char *arg)
{
	int fd = open(arg, O_RDONLY | O_CLOEXEC), *size = low_memory();
	enum result result;

	if (fd < 0 || !size)
		return stuck("open(%s)", arg);
	result = ioctl_32(fd, FIGETBSZ, (uintptr_t)size) ? refused("ioctl(FIGETBSZ) by int $0x80") :
							   ok("blocks of %d bytes", *size);
	shut(fd);
	return result;
}

/* PID: SIGIO to it, when a socket gets data. */
static enum result owner_32(const char *arg)
{
	int fds[2], *pid = low_memory();
	enum result result;

	if (!pid || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return stuck("socketpair");
	*pid = atoi(arg);
	if (ioctl_32(fds[0], 0x8901 /* FIOSETOWN */, (uintptr_t)pid))
		result = refused("ioctl(FIOSETOWN) by int $0x80");
	else if (fcntl(fds[0], F_SETFL, O_ASYNC) || write(fds[1], "x", 1) != 1)
		result = stuck("F_SETFL");
	else
		result = ok("SIGIO to %s", arg);
	shut(fds[0]);
	shut(fds[1]);
	return result;
}

/* A character into the input of a terminal. */
static enum result terminal_32(const char *arg)
{
	char *byte = low_memory();
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave;
	enum result result;

	(void)arg;
	if (!byte || master < 0 || grantpt(master) || unlockpt(master))
		return stuck("posix_openpt");
	slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return stuck("open of the terminal");
	*byte = 'x';
	result = ioctl_32(slave, TIOCSTI, (uintptr_t)byte) ? refused("ioctl(TIOCSTI) by int $0x80") : ok("typed");
	shut(slave);
	shut(master);
	return result;
}

/* PATH: open for neither reading nor writing, as for ioctl(2) only. */
static enum result open_neither(const char *arg)
{
	int fd = open(arg, O_ACCMODE | O_CLOEXEC);

	if (fd < 0)
		return refused("open(%s, 3)", arg);
	shut(fd);
	return ok("opened %s", arg);
}

static enum result read_as(const char *path)
{
	char text[16];

	return slurp(path, text, sizeof(text)) < 0 ? refused("open(%s)", path) : ok("read %s", path);
}

/* OLD NEW FLAGS [READ]: rename, then read the file by its new name, or another; and back. */
static enum result rename_and_read(const char *arg)
{
	enum result result;
	int flags;

	if (split(arg) < 3)
		return failed("OLD NEW FLAGS [READ]");
	flags = atoi(words[2]);
	if (syscall(SYS_renameat2, AT_FDCWD, words[0], AT_FDCWD, words[1], flags))
		return refused("rename(%s, %s)", words[0], words[1]);
	result = read_as(words[3][0] ? words[3] : words[1]);
	if (syscall(SYS_renameat2, AT_FDCWD, words[1], AT_FDCWD, words[0], flags) && !result)
		return stuck("rename back");
	return result;
}

/* OLD NEW FLAGS. */
static enum result rename_only(const char *arg)
{
	if (split(arg) < 3)
		return failed("OLD NEW FLAGS");
	if (syscall(SYS_renameat2, AT_FDCWD, words[0], AT_FDCWD, words[1], atoi(words[2])))
		return refused("rename(%s, %s)", words[0], words[1]);
	return ok("renamed %s", words[0]);
}

/* OLD NEW: a file of its own, renamed and read. */
static enum result rename_own(const char *arg)
{
	enum result result;
	int fd;

	if (split(arg) < 2)
		return failed("OLD NEW");
	fd = open(words[0], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return refused("open(%s)", words[0]);
	shut(fd);
	if (rename(words[0], words[1]))
		result = refused("rename(%s, %s)", words[0], words[1]);
	else
		result = read_as(words[1]);
	if (unlink(words[result ? 0 : 1]) && !result)
		return stuck("unlink");
	return result;
}

/* PATH. */
static enum result watch_inotify(const char *arg)
{
	int fd = inotify_init1(IN_CLOEXEC);
	enum result result;

	if (fd < 0)
		return stuck("inotify_init");
	result = inotify_add_watch(fd, arg, IN_ALL_EVENTS) < 0 ? refused("inotify_add_watch(%s)", arg) : ok("watching %s", arg);
	shut(fd);
	return result;
}

/* PATH inode|mount|filesystem|permission: the last one decides on what others open there. */
static enum result watch_fanotify(const char *arg)
{
	unsigned int flags = FAN_MARK_ADD;
	uint64_t mask = FAN_OPEN | FAN_EVENT_ON_CHILD;
	enum result result;
	int fd;

	split(arg);
	fd = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC | FAN_NONBLOCK, O_RDONLY);
	if (fd < 0)
		return stuck("fanotify_init");
	if (!strcmp(words[1], "mount"))
		flags |= FAN_MARK_MOUNT;
	else if (!strcmp(words[1], "filesystem"))
		flags |= FAN_MARK_FILESYSTEM;
	else if (!strcmp(words[1], "permission"))
		mask = FAN_ACCESS_PERM | FAN_EVENT_ON_CHILD;
	result = fanotify_mark(fd, flags, mask, AT_FDCWD, words[0]) ? refused("fanotify_mark(%s)", arg) :
								      ok("marked %s", arg);
	shut(fd);
	return result;
}

/* PATH ioctl|int80: a hole in a file that is open to append. */
static enum result punch(const char *arg)
{
	struct space_resv space = { .length = 4 };
	struct space_resv_32 *small = low_memory();
	enum result result;
	int fd, error;

	split(arg);
	fd = open(words[0], O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd < 0)
		return stuck("open(%s)", words[0]);
	if (!strcmp(words[1], "int80")) {
		small->length = 4;
		error = ioctl_32(fd, FS_IOC_UNRESVSP64_32, (uintptr_t)small);
	} else {
		error = ioctl(fd, FS_IOC_UNRESVSP64, &space);
	}
	result = error ? refused("ioctl(FS_IOC_UNRESVSP64) by %s", words[1]) : ok("a hole in %s", words[0]);
	shut(fd);
	return result;
}

/* PATH: a question about a file that is open to append. */
static enum result ask_appended(const char *arg)
{
	int fd = open(arg, O_WRONLY | O_APPEND | O_CLOEXEC), size;
	enum result result;

	if (fd < 0)
		return refused("open(%s)", arg);
	result = ioctl(fd, FIGETBSZ, &size) ? refused("ioctl(FIGETBSZ)") : ok("blocks of %d bytes", size);
	shut(fd);
	return result;
}

/* Words from `first` on are IPv4 addresses; the last word is the port. The number of addresses. */
static int addresses_of(int first, int count, struct sockaddr_in *addresses)
{
	int found = 0;

	memset(addresses, 0, 8 * sizeof(*addresses));
	for (int i = first; i < count - 1; i++, found++) {
		addresses[found].sin_family = AF_INET;
		addresses[found].sin_port = htons(atoi(words[count - 1]));
		inet_pton(AF_INET, words[i], &addresses[found].sin_addr);
	}
	return found;
}

/* Whether a connection was tried at all. */
static bool has_tried(void)
{
	return errno == EINPROGRESS || errno == ECONNREFUSED;
}

/* connect|bind|send ADDRESS ... PORT: SCTP with several addresses at a time; the first of bind by bind(2). */
static enum result sctp_addresses(const char *arg)
{
	int count = split(arg), found, fd, result;
	struct sockaddr_in addresses[8];

	found = addresses_of(1, count, addresses);
	fd = socket(AF_INET, (!strcmp(words[0], "send") ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_SCTP);
	if (fd < 0)
		return refused("socket(SCTP)");
	if (!strcmp(words[0], "connect")) {
		result = setsockopt(fd, IPPROTO_SCTP, SCTP_SOCKOPT_CONNECTX, addresses, found * sizeof(addresses[0]));
	} else if (!strcmp(words[0], "bind")) {
		if (bind(fd, (void *)&addresses[0], sizeof(addresses[0])))
			return stuck("bind");
		result = setsockopt(fd, IPPROTO_SCTP, SCTP_SOCKOPT_BINDX_ADD, addresses + 1, (found - 1) * sizeof(addresses[0]));
	} else {
		union {
			char room[CMSG_SPACE(sizeof(struct in_addr))];
			struct cmsghdr align;
		} control = {};
		struct iovec data = { "x", 1 };
		struct msghdr with = { &addresses[0], sizeof(addresses[0]), &data, 1, &control, sizeof(control), 0 };
		struct cmsghdr *other = CMSG_FIRSTHDR(&with);

		other->cmsg_level = IPPROTO_SCTP;
		other->cmsg_type = SCTP_DSTADDRV4;
		other->cmsg_len = CMSG_LEN(sizeof(struct in_addr));
		memcpy(CMSG_DATA(other), &addresses[1].sin_addr, sizeof(struct in_addr));
		result = sendmsg(fd, &with, MSG_NOSIGNAL) < 0 ? -1 : 0;
	}
	if (result && !has_tried())
		result = refused("SCTP %s", arg);
	else
		result = ok("SCTP %s", arg);
	shut(fd);
	return result;
}

/* A TCP socket that listens without a bind(2) before, and is connected to. */
static enum result listen_unbound(const char *arg)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address;
	socklen_t length = sizeof(address);

	(void)arg;
	if (fd < 0)
		return refused("socket");
	if (listen(fd, 1))
		return refused("listen");
	if (getsockname(fd, (void *)&address, &length) || !address.sin_port)
		return stuck("getsockname");
	shut(fd);
	return ok("listened on port %d", ntohs(address.sin_port));
}

static enum result read_log(const char *arg)
{
	static char text[4096];

	(void)arg;
	return klogctl(3 /* SYSLOG_ACTION_READ_ALL */, text, sizeof(text)) < 0 ? refused("syslog(2)") :
									     ok("read the kernel's log");
}

#ifdef __x86_64__
static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 }; /* mov eax, 42; ret */
#else
static const uint32_t code[] = { 0x52800000 | 42 << 5, 0xd65f03c0 };
#endif

/* shared|huge: a JIT compiler's memory, shared with a child, or of huge pages. */
static enum result jit(const char *arg)
{
	bool huge = arg && !strcmp(arg, "huge");
	int flags = MAP_ANONYMOUS | (huge ? MAP_PRIVATE | MAP_HUGETLB : MAP_SHARED);
	size_t size = huge ? HUGE_PAGE : 4096;
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
	enum result result;

	if (memory == MAP_FAILED)
		return stuck("mmap(%s)", arg);
	memcpy(memory, code, sizeof(code));
	__builtin___clear_cache(memory, (char *)memory + sizeof(code));
	if (mprotect(memory, size, PROT_READ | PROT_EXEC))
		result = refused("mprotect(%s)", arg);
	else
		result = ((int (*)(void))memory)() == 42 ? ok("executed %s memory", arg) : failed("no 42");
	munmap(memory, size);
	return result;
}

#define ATTACK(name, what) { #name, "policy", "", what, name }
const struct attack hooks_attacks[] = {
	ATTACK(size_32, "FIGETBSZ by the 32-bit call: PATH"),
	ATTACK(owner_32, "SIGIO to a process, by the 32-bit call: PID"),
	ATTACK(terminal_32, "TIOCSTI by the 32-bit call"),
	ATTACK(open_neither, "open with access mode 3: PATH"),
	ATTACK(rename_and_read, "rename, and read by the new name, or READ: OLD NEW FLAGS [READ]"),
	ATTACK(rename_only, "rename: OLD NEW FLAGS"),
	ATTACK(rename_own, "make a file, rename it, and read it: OLD NEW"),
	ATTACK(watch_inotify, "watch by inotify: PATH"),
	ATTACK(watch_fanotify, "watch by fanotify: PATH inode|mount|filesystem|permission"),
	ATTACK(punch, "a hole in a file that is open to append: PATH ioctl|int80"),
	ATTACK(ask_appended, "FIGETBSZ of a file that is open to append: PATH"),
	ATTACK(sctp_addresses, "SCTP with several addresses: connect|bind|send ADDRESS ... PORT"),
	ATTACK(listen_unbound, "listen without bind"),
	ATTACK(read_log, "read the kernel's log by syslog(2)"),
	ATTACK(jit, "execute memory: shared|huge"),
	{},
};
