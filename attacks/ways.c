/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ways into the kernel: one access by each of them.
 *
 * `attack by WAY ACCESS [ARGUMENT ...]`: what comes before the access itself (the descriptor that it needs) is done by
 * plain system calls. A way that a kernel does not have for an access ends with "failed".
 */
#include "attack.h"

#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/kcmp.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>

#define STACK (256 * 1024)
#define LOW_SIZE (64 * 1024)
#define PAUSE 30000000 /* nanoseconds in another system call, while a ring's request is due */

/* Newer than the headers that this is compiled with. */
#define OP_FTRUNCATE 55
#define OP_BIND 56
#define OP_LISTEN 57

enum way { CALL, INT80, THREAD, SHARED_VM, SHARED_FILES, RING, RING_WORKER, RING_LINKED, RING_SQPOLL, RING_FIXED, RING_PERSONALITY };

static const char *const way_names[] = {
	[CALL] = "call",
	[INT80] = "int80",
	[THREAD] = "thread",
	[SHARED_VM] = "shared_vm",
	[SHARED_FILES] = "shared_files",
	[RING] = "ring",
	[RING_WORKER] = "ring_worker",
	[RING_LINKED] = "ring_linked",
	[RING_SQPOLL] = "ring_sqpoll",
	[RING_FIXED] = "ring_fixed",
	[RING_PERSONALITY] = "ring_personality",
};
#define WAYS (sizeof(way_names) / sizeof(way_names[0]))

static enum way way;
static char *path, *other; /* arguments, in low memory */
static long number; /* the first argument as a number */
static int fd = -1, peer = -1; /* what setup() has opened */
static void *memory; /* what it has mapped */

/* Memory below 4 GB, as an address of 32 bits must be. */
static void *low(size_t size)
{
	static char *start;
	static size_t used;
	void *found;

	if (!start) {
		start = mmap(NULL, LOW_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
		if (start == MAP_FAILED)
			exit(FAILED);
	}
	found = start + used;
	used += (size + 15) & ~15UL;
	if (used > LOW_SIZE)
		exit(FAILED);
	return found;
}

static char *low_text(const char *text)
{
	return strcpy(low(strlen(text) + 1), text);
}

/* The 32-bit entry, which a 64-bit program may use. */
static long int80(long nr, long a, long b, long c, long d, long e, long f)
{
	long answer;

	/* Beside what the compiler keeps below the stack pointer. */
	asm volatile("sub $128, %%rsp\n\tpush %%rbp\n\tmov %[f], %%rbp\n\tint $0x80\n\tpop %%rbp\n\tadd $128, %%rsp"
		     : "=a"(answer)
		     : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e), [f] "r"(f)
		     : "memory", "cc", "r8", "r9", "r10", "r11");
	/* Memory may be mapped above 2 GB: only what is an error number is negative. */
	return (unsigned int)answer > -4096U ? (int)answer : (long)(unsigned int)answer;
}

/* A system call by its numbers in the two tables: the answer, or a negative error number. */
static long enter(long nr64, long nr32, long a, long b, long c, long d, long e, long f)
{
	long answer;

	if (way == INT80)
		return int80(nr32, a, b, c, d, e, f);
	answer = syscall(nr64, a, b, c, d, e, f);
	return answer < 0 ? -errno : answer;
}

#define ENTER(nr64, nr32, ...) ENTER_(nr64, nr32, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define ENTER_(nr64, nr32, a, b, c, d, e, f, ...) \
	enter(nr64, nr32, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/*
 * Accesses. setup: what comes before; act: by a system call, as enter(); fill: by an io_uring; undo: after it worked.
 * slot: its answer is a descriptor, which may go to a slot of the ring instead.
 */
struct access {
	const char *name;
	bool (*setup)(void);
	long (*act)(void);
	void (*fill)(struct io_uring_sqe *entry);
	void (*undo)(void);
	bool slot;
};

#define SQE(code, ...) *entry = (struct io_uring_sqe){ .opcode = (code), __VA_ARGS__ }

/* Opens. */

#define OPEN(name, open_mode)                                                                                          \
	static long act_##name(void)                                                                                  \
	{                                                                                                             \
		return ENTER(SYS_openat, 295, AT_FDCWD, path, (open_mode) | O_CLOEXEC, 0600);                         \
	}                                                                                                             \
	static void fill_##name(struct io_uring_sqe *entry)                                                           \
	{                                                                                                             \
		SQE(IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (uintptr_t)path, .len = 0600, .open_flags = (open_mode));   \
	}

OPEN(read, O_RDONLY)
OPEN(write, O_WRONLY)
OPEN(append, O_WRONLY | O_APPEND)
OPEN(create, O_WRONLY | O_CREAT | O_EXCL)

static struct open_how *how(void)
{
	struct open_how {
		uint64_t flags, mode, resolve;
	} *found = low(sizeof(*found));

	memset(found, 0, sizeof(*found));
	return (void *)found;
}

static long act_openat2(void)
{
	return ENTER(437, 437, AT_FDCWD, path, how(), 24);
}

static void fill_openat2(struct io_uring_sqe *entry)
{
	SQE(IORING_OP_OPENAT2, .fd = AT_FDCWD, .addr = (uintptr_t)path, .len = 24, .off = (uintptr_t)how());
}

static void undo_create(void)
{
	unlink(path);
}

/* Names. */

static long act_mknod(void)
{
	return ENTER(SYS_mknodat, 297, AT_FDCWD, path, S_IFIFO | 0600, 0);
}

static long act_mkdir(void)
{
	return ENTER(SYS_mkdirat, 296, AT_FDCWD, path, 0700);
}

static void fill_mkdir(struct io_uring_sqe *entry)
{
	SQE(IORING_OP_MKDIRAT, .fd = AT_FDCWD, .addr = (uintptr_t)path, .len = 0700);
}

static void undo_mkdir(void)
{
	rmdir(path);
}

static long act_symlink(void)
{
	return ENTER(SYS_symlinkat, 304, low_text("nowhere"), AT_FDCWD, path);
}

static void fill_symlink(struct io_uring_sqe *entry)
{
	SQE(IORING_OP_SYMLINKAT, .fd = AT_FDCWD, .addr = (uintptr_t)low_text("nowhere"), .addr2 = (uintptr_t)path);
}

static long act_unlink(void)
{
	return ENTER(SYS_unlinkat, 301, AT_FDCWD, path, 0);
}

static void fill_unlink(struct io_uring_sqe *entry)
{
	SQE(IORING_OP_UNLINKAT, .fd = AT_FDCWD, .addr = (uintptr_t)path);
}

static void undo_unlink(void)
{
	shut(open(path, O_WRONLY | O_CREAT, 0600));
}

static long act_rmdir(void)
{
	return ENTER(SYS_unlinkat, 301, AT_FDCWD, path, AT_REMOVEDIR);
}

static void fill_rmdir(struct io_uring_sqe *entry)
{
	SQE(IORING_OP_UNLINKAT, .fd = AT_FDCWD, .addr = (uintptr_t)path, .unlink_flags = AT_REMOVEDIR);
}

static void undo_rmdir(void)
{
	mkdir(path, 0700);
}

static long act_link(void)
{
	return ENTER(SYS_linkat, 303, AT_FDCWD, path, AT_FDCWD, other, 0);
}

static void fill_link(struct io_uring_sqe *entry)
{
	SQE(IORING_OP_LINKAT, .fd = AT_FDCWD, .addr = (uintptr_t)path, .len = AT_FDCWD, .addr2 = (uintptr_t)other);
}

static void undo_link(void)
{
	unlink(other);
}

static long act_rename(void)
{
	return ENTER(SYS_renameat2, 353, AT_FDCWD, path, AT_FDCWD, other, 0);
}

static void fill_rename(struct io_uring_sqe *entry)
{
	SQE(IORING_OP_RENAMEAT, .fd = AT_FDCWD, .addr = (uintptr_t)path, .len = AT_FDCWD, .addr2 = (uintptr_t)other);
}

static void undo_rename(void)
{
	rename(other, path);
}

/* Programs. */

static long act_exec(void)
{
	char *words[] = { path, low_text("do_nothing") };
	uint64_t *wide = low(3 * sizeof(*wide));
	uint32_t *narrow = low(3 * sizeof(*narrow));

	for (int i = 0; i < 2; i++) {
		wide[i] = (uintptr_t)words[i];
		narrow[i] = (uintptr_t)words[i];
	}
	return ENTER(SYS_execve, 11, path, way == INT80 ? (void *)narrow : (void *)wide, 0);
}

static bool setup_readable(void)
{
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd >= 0;
}

/* Pages are counted, not bytes, in the 32-bit table. */
static long act_map(void)
{
	return ENTER(SYS_mmap, 192, 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
}

static bool setup_mapped(void)
{
	if (!setup_readable())
		return false;
	memory = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_32BIT, fd, 0);
	return memory != MAP_FAILED;
}

static long act_protect(void)
{
	return ENTER(SYS_mprotect, 125, memory, 4096, PROT_READ | PROT_EXEC);
}

static bool setup_anonymous(void)
{
	memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	return memory != MAP_FAILED;
}

static long act_anonymous(void)
{
	return ENTER(SYS_mmap, 192, 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* Attributes. */

static long act_chmod(void)
{
	return ENTER(SYS_fchmodat, 306, AT_FDCWD, path, 0600);
}

static long act_fchmod(void)
{
	return ENTER(SYS_fchmod, 94, fd, 0600);
}

static long act_chown(void)
{
	return ENTER(SYS_fchownat, 298, AT_FDCWD, path, 0, 0, 0);
}

static long act_fchown(void)
{
	return ENTER(SYS_fchown, 207, fd, 0, 0);
}

/* Now: there is no structure, which differs. */
static long act_times(void)
{
	return ENTER(SYS_utimensat, 320, AT_FDCWD, path, 0, 0);
}

static char *attribute(void)
{
	return low_text("trusted.ways");
}

static long act_setxattr(void)
{
	return ENTER(SYS_setxattr, 226, path, attribute(), low_text("x"), 1, 0);
}

static void fill_setxattr(struct io_uring_sqe *entry)
{
	SQE(IORING_OP_SETXATTR, .addr = (uintptr_t)attribute(), .addr2 = (uintptr_t)low_text("x"), .len = 1);
	entry->addr3 = (uintptr_t)path;
}

static long act_fsetxattr(void)
{
	return ENTER(SYS_fsetxattr, 228, fd, attribute(), low_text("x"), 1, 0);
}

static void fill_fsetxattr(struct io_uring_sqe *entry)
{
	SQE(IORING_OP_FSETXATTR, .fd = fd, .addr = (uintptr_t)attribute(), .addr2 = (uintptr_t)low_text("x"), .len = 1);
}

static long act_removexattr(void)
{
	return ENTER(SYS_removexattr, 235, path, attribute());
}

/* It was there. */
static void undo_removexattr(void)
{
	setxattr(path, "trusted.ways", "x", 1, 0);
}

static long act_truncate(void)
{
	return ENTER(SYS_truncate, 92, path, 1);
}

static bool setup_log(void)
{
	fd = open(path, O_RDWR | O_APPEND | O_CLOEXEC);
	return fd >= 0;
}

static long act_ftruncate(void)
{
	return ENTER(SYS_ftruncate, 93, fd, 1);
}

static void fill_ftruncate(struct io_uring_sqe *entry)
{
	SQE(OP_FTRUNCATE, .fd = fd, .off = 1);
}

/* A hole: 64-bit numbers are two arguments each in the 32-bit table. */
static long act_fallocate(void)
{
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	if (way == INT80)
		return ENTER(0, 324, fd, mode, 0, 0, 1, 0);
	return ENTER(SYS_fallocate, 324, fd, mode, 0, 1);
}

static void fill_fallocate(struct io_uring_sqe *entry)
{
	SQE(IORING_OP_FALLOCATE, .fd = fd, .addr = 1, .len = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
}

static long act_stat(void)
{
	return ENTER(SYS_statx, 383, AT_FDCWD, path, 0, 0x7ff, low(256));
}

static void fill_stat(struct io_uring_sqe *entry)
{
	SQE(IORING_OP_STATX, .fd = AT_FDCWD, .addr = (uintptr_t)path, .len = 0x7ff, .off = (uintptr_t)low(256));
}

static long act_getxattr(void)
{
	return ENTER(SYS_getxattr, 229, path, attribute(), low(16), 16);
}

static void fill_getxattr(struct io_uring_sqe *entry)
{
	SQE(IORING_OP_GETXATTR, .addr = (uintptr_t)attribute(), .addr2 = (uintptr_t)low(16), .len = 16);
	entry->addr3 = (uintptr_t)path;
}

static long act_listxattr(void)
{
	return ENTER(SYS_listxattr, 232, path, low(512), 512);
}

/* FIGETBSZ: the same number and an int in both tables. */
static long act_ioctl(void)
{
	return ENTER(SYS_ioctl, 54, fd, FIGETBSZ, low(16));
}

/* Sockets: of AF_UNIX, with abstract names. */

static struct sockaddr_un *address(const char *name)
{
	struct sockaddr_un *found = low(sizeof(*found));

	memset(found, 0, sizeof(*found));
	found->sun_family = AF_UNIX;
	snprintf(found->sun_path + 1, sizeof(found->sun_path) - 1, "bpflock ways %s", name);
	return found;
}

static char *unique(void)
{
	return format("%d", getpid());
}

#define STREAM (SOCK_STREAM | SOCK_CLOEXEC)
#define LENGTH sizeof(struct sockaddr_un)

static bool setup_socket(void)
{
	fd = socket(AF_UNIX, STREAM, 0);
	return fd >= 0;
}

static bool setup_bound(void)
{
	return setup_socket() && !bind(fd, (void *)address(unique()), LENGTH);
}

static bool setup_listening(void)
{
	return setup_bound() && !listen(fd, 1);
}

static bool setup_waiting(void)
{
	if (!setup_listening())
		return false;
	peer = socket(AF_UNIX, STREAM, 0);
	return peer >= 0 && !connect(peer, (void *)address(unique()), LENGTH);
}

static bool setup_pair(void)
{
	int fds[2];

	if (socketpair(AF_UNIX, STREAM, 0, fds))
		return false;
	fd = fds[0];
	peer = fds[1];
	return true;
}

static bool setup_filled(void)
{
	return setup_pair() && send(peer, "x", 1, 0) == 1;
}

static long act_socket(void)
{
	return ENTER(SYS_socket, 359, AF_UNIX, STREAM, 0);
}

static void fill_socket(struct io_uring_sqe *entry)
{
	SQE(45 /* IORING_OP_SOCKET */, .fd = AF_UNIX, .off = SOCK_STREAM);
}

static long act_bind(void)
{
	return ENTER(SYS_bind, 361, fd, address(unique()), LENGTH);
}

static void fill_bind(struct io_uring_sqe *entry)
{
	SQE(OP_BIND, .fd = fd, .addr = (uintptr_t)address(unique()), .addr2 = LENGTH);
}

static long act_listen(void)
{
	return ENTER(SYS_listen, 363, fd, 1);
}

static void fill_listen(struct io_uring_sqe *entry)
{
	SQE(OP_LISTEN, .fd = fd, .len = 1);
}

static long act_accept(void)
{
	return ENTER(SYS_accept4, 364, fd, 0, 0, SOCK_CLOEXEC);
}

static void fill_accept(struct io_uring_sqe *entry)
{
	SQE(IORING_OP_ACCEPT, .fd = fd);
}

/* To the server of this name. */
static long act_connect(void)
{
	return ENTER(SYS_connect, 362, fd, address(path), LENGTH);
}

static void fill_connect(struct io_uring_sqe *entry)
{
	SQE(IORING_OP_CONNECT, .fd = fd, .addr = (uintptr_t)address(path), .off = LENGTH);
}

static long act_send(void)
{
	return ENTER(SYS_sendto, 369, fd, low_text("x"), 1, MSG_NOSIGNAL, 0, 0);
}

static void fill_send(struct io_uring_sqe *entry)
{
	SQE(IORING_OP_SEND, .fd = fd, .addr = (uintptr_t)low_text("x"), .len = 1, .msg_flags = MSG_NOSIGNAL);
}

/* As to a file. */
static long act_socket_write(void)
{
	return ENTER(SYS_write, 4, fd, low_text("x"), 1);
}

static void fill_socket_write(struct io_uring_sqe *entry)
{
	SQE(IORING_OP_WRITE, .fd = fd, .addr = (uintptr_t)low_text("x"), .len = 1);
}

static long act_receive(void)
{
	return ENTER(SYS_recvfrom, 371, fd, low(16), 1, 0, 0, 0);
}

static void fill_receive(struct io_uring_sqe *entry)
{
	SQE(IORING_OP_RECV, .fd = fd, .addr = (uintptr_t)low(16), .len = 1);
}

static long act_socket_read(void)
{
	return ENTER(SYS_read, 3, fd, low(16), 1);
}

static void fill_socket_read(struct io_uring_sqe *entry)
{
	SQE(IORING_OP_READ, .fd = fd, .addr = (uintptr_t)low(16), .len = 1);
}

static long act_shutdown(void)
{
	return ENTER(SYS_shutdown, 373, fd, SHUT_RDWR);
}

static void fill_shutdown(struct io_uring_sqe *entry)
{
	SQE(IORING_OP_SHUTDOWN, .fd = fd, .len = SHUT_RDWR);
}

/* Other processes. */

static long act_kill(void)
{
	return ENTER(SYS_kill, 37, number, SIGCONT);
}

static long act_tgkill(void)
{
	return ENTER(SYS_tgkill, 270, number, number, SIGCONT);
}

static bool setup_pidfd(void)
{
	fd = syscall(SYS_pidfd_open, number, 0);
	return fd >= 0;
}

static long act_pidfd(void)
{
	return ENTER(SYS_pidfd_send_signal, 424, fd, SIGCONT, 0, 0);
}

/* Seized and let go when this process ends. */
static long act_ptrace(void)
{
	return ENTER(SYS_ptrace, 26, PTRACE_SEIZE, number, 0, 0);
}

static long act_kcmp(void)
{
	return ENTER(SYS_kcmp, 349, number, number, KCMP_VM, 0, 0);
}

static long act_vm_read(void)
{
	uint64_t *wide = low(2 * sizeof(*wide));
	uint32_t *narrow = low(2 * sizeof(*narrow));
	void *vector = way == INT80 ? (void *)narrow : (void *)wide;
	long answer;

	wide[0] = narrow[0] = (uintptr_t)low(16);
	wide[1] = narrow[1] = 1;
	answer = ENTER(SYS_process_vm_readv, 347, number, vector, 1, vector, 1, 0);
	/* It was decided before. */
	return answer == -EFAULT ? 0 : answer;
}

/* Operations. */

static long act_mount(void)
{
	return ENTER(SYS_mount, 21, low_text("none"), path, low_text("tmpfs"), 0, 0);
}

static void undo_mount(void)
{
	umount2(path, MNT_DETACH);
}

static long act_chroot(void)
{
	return ENTER(SYS_chroot, 61, low_text("/"));
}

static long act_unshare(void)
{
	return ENTER(SYS_unshare, 310, CLONE_NEWUTS);
}

static bool setup_namespace(void)
{
	fd = open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC);
	return fd >= 0;
}

static long act_setns(void)
{
	return ENTER(SYS_setns, 346, fd, CLONE_NEWUTS);
}

static long act_open_tree(void)
{
	return ENTER(428, 428, AT_FDCWD, path, 1 /* OPEN_TREE_CLONE */ | O_CLOEXEC);
}

static long act_key(void)
{
	return ENTER(SYS_add_key, 286, low_text("user"), low_text("bpflock ways"), low_text("x"), 1, KEY_SPEC_PROCESS_KEYRING);
}

static long act_queue(void)
{
	long id = ENTER(SYS_msgget, 399, IPC_PRIVATE, IPC_CREAT | 0600);

	if (id >= 0)
		syscall(SYS_msgctl, id, IPC_RMID, NULL);
	return id;
}

static long act_perf(void)
{
	struct perf_event_attr *event = low(sizeof(*event));

	memset(event, 0, sizeof(*event));
	event->type = PERF_TYPE_SOFTWARE;
	event->size = sizeof(*event);
	event->config = PERF_COUNT_SW_DUMMY;
	return ENTER(SYS_perf_event_open, 336, event, 0, -1, -1, 0);
}

static long act_bpf(void)
{
	union bpf_attr *map = low(sizeof(*map));

	memset(map, 0, sizeof(*map));
	map->map_type = BPF_MAP_TYPE_ARRAY;
	map->key_size = map->value_size = 4;
	map->max_entries = 1;
	return ENTER(SYS_bpf, 357, BPF_MAP_CREATE, map, sizeof(*map));
}

static long act_userfaultfd(void)
{
	return ENTER(SYS_userfaultfd, 374, UFFD_USER_MODE_ONLY);
}

static long act_io_uring(void)
{
	struct io_uring_params *params = low(sizeof(*params));

	memset(params, 0, sizeof(*params));
	return ENTER(SYS_io_uring_setup, 425, 1, params);
}

static const struct access accesses[] = {
	{ "read", NULL, act_read, fill_read, NULL, true },
	{ "openat2", NULL, act_openat2, fill_openat2, NULL, true },
	{ "write", NULL, act_write, fill_write, NULL, true },
	{ "append", NULL, act_append, fill_append, NULL, true },
	{ "create", NULL, act_create, fill_create, undo_create, true },
	{ "mknod", NULL, act_mknod, NULL, undo_create, false },
	{ "mkdir", NULL, act_mkdir, fill_mkdir, undo_mkdir, false },
	{ "symlink", NULL, act_symlink, fill_symlink, undo_create, false },
	{ "unlink", NULL, act_unlink, fill_unlink, undo_unlink, false },
	{ "rmdir", NULL, act_rmdir, fill_rmdir, undo_rmdir, false },
	{ "link", NULL, act_link, fill_link, undo_link, false },
	{ "rename", NULL, act_rename, fill_rename, undo_rename, false },
	{ "exec", NULL, act_exec, NULL, NULL, false },
	{ "map_exec", setup_readable, act_map, NULL, NULL, false },
	{ "protect_exec", setup_mapped, act_protect, NULL, NULL, false },
	{ "chmod", NULL, act_chmod, NULL, NULL, false },
	{ "fchmod", setup_readable, act_fchmod, NULL, NULL, false },
	{ "chown", NULL, act_chown, NULL, NULL, false },
	{ "fchown", setup_readable, act_fchown, NULL, NULL, false },
	{ "times", NULL, act_times, NULL, NULL, false },
	{ "setxattr", NULL, act_setxattr, fill_setxattr, NULL, false },
	{ "fsetxattr", setup_readable, act_fsetxattr, fill_fsetxattr, NULL, false },
	{ "removexattr", NULL, act_removexattr, NULL, undo_removexattr, false },
	{ "truncate", NULL, act_truncate, NULL, NULL, false },
	{ "ftruncate", setup_log, act_ftruncate, fill_ftruncate, NULL, false },
	{ "fallocate", setup_log, act_fallocate, fill_fallocate, NULL, false },
	{ "stat", NULL, act_stat, fill_stat, NULL, false },
	{ "getxattr", NULL, act_getxattr, fill_getxattr, NULL, false },
	{ "listxattr", NULL, act_listxattr, NULL, NULL, false },
	{ "ioctl", setup_readable, act_ioctl, NULL, NULL, false },
	{ "socket", NULL, act_socket, fill_socket, NULL, true },
	{ "bind", setup_socket, act_bind, fill_bind, NULL, false },
	{ "listen", setup_bound, act_listen, fill_listen, NULL, false },
	{ "accept", setup_waiting, act_accept, fill_accept, NULL, true },
	{ "connect", setup_socket, act_connect, fill_connect, NULL, false },
	{ "send", setup_pair, act_send, fill_send, NULL, false },
	{ "socket_write", setup_pair, act_socket_write, fill_socket_write, NULL, false },
	{ "recv", setup_filled, act_receive, fill_receive, NULL, false },
	{ "socket_read", setup_filled, act_socket_read, fill_socket_read, NULL, false },
	{ "shutdown", setup_pair, act_shutdown, fill_shutdown, NULL, false },
	{ "kill", NULL, act_kill, NULL, NULL, false },
	{ "tgkill", NULL, act_tgkill, NULL, NULL, false },
	{ "pidfd", setup_pidfd, act_pidfd, NULL, NULL, false },
	{ "ptrace", NULL, act_ptrace, NULL, NULL, false },
	{ "kcmp", NULL, act_kcmp, NULL, NULL, false },
	{ "vm_read", NULL, act_vm_read, NULL, NULL, false },
	{ "mount", NULL, act_mount, NULL, undo_mount, false },
	{ "chroot", NULL, act_chroot, NULL, NULL, false },
	{ "unshare", NULL, act_unshare, NULL, NULL, false },
	{ "setns", setup_namespace, act_setns, NULL, NULL, false },
	{ "open_tree", NULL, act_open_tree, NULL, NULL, false },
	{ "key", NULL, act_key, NULL, NULL, false },
	{ "queue", NULL, act_queue, NULL, NULL, false },
	{ "perf", NULL, act_perf, NULL, NULL, false },
	{ "bpf", NULL, act_bpf, NULL, NULL, false },
	{ "userfaultfd", NULL, act_userfaultfd, NULL, NULL, false },
	{ "io_uring", NULL, act_io_uring, NULL, NULL, false },
	{ "anon_map", NULL, act_anonymous, NULL, NULL, false },
	{ "anon_protect", setup_anonymous, act_protect, NULL, NULL, false },
};

/* Other tasks. */

static void *act_in_thread(void *access)
{
	return (void *)((const struct access *)access)->act();
}

static long by_thread(const struct access *access)
{
	pthread_t thread;
	void *answer;

	if (pthread_create(&thread, NULL, act_in_thread, (void *)access) || pthread_join(thread, &answer))
		return -ENOSYS;
	return (long)answer;
}

/* Leaves with the error number. */
static int act_in_child(void *access)
{
	long answer = ((const struct access *)access)->act();

	_exit(answer < 0 ? -answer : 0);
}

static long by_child(const struct access *access, int shared)
{
	char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t child = clone(act_in_child, stack + STACK, shared | SIGCHLD, (void *)access);

	if (child < 0 || waitpid(child, &status, 0) < 0 || !WIFEXITED(status))
		return -ENOSYS;
	return -WEXITSTATUS(status);
}

/* Rings. */

struct ring {
	int fd;
	struct io_uring_params params;
	char *rings;
	struct io_uring_sqe *entries;
};

static bool make_ring(struct ring *ring, unsigned int flags)
{
	struct io_uring_params *params = &ring->params;
	size_t size, completions;

	params->flags = flags;
	params->sq_thread_idle = 1000;
	ring->fd = syscall(SYS_io_uring_setup, 4, params);
	if (ring->fd < 0)
		return false;
	size = params->sq_off.array + params->sq_entries * sizeof(uint32_t);
	completions = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);
	ring->rings = mmap(NULL, size > completions ? size : completions, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd,
			   IORING_OFF_SQ_RING);
	ring->entries = mmap(NULL, params->sq_entries * sizeof(*ring->entries), PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd,
			     IORING_OFF_SQES);
	return ring->rings != MAP_FAILED && ring->entries != MAP_FAILED;
}

/* Until as many are completed; the answer to the last, as of a system call. */
static long submit(struct ring *ring, unsigned int count)
{
	struct io_uring_params *params = &ring->params;
	uint32_t *tail = (void *)(ring->rings + params->sq_off.tail), *done = (void *)(ring->rings + params->cq_off.tail);
	struct io_uring_cqe *completions = (void *)(ring->rings + params->cq_off.cqes);
	struct timespec pause = { .tv_nsec = PAUSE };
	unsigned int flags = params->flags & IORING_SETUP_SQPOLL ? IORING_ENTER_SQ_WAKEUP : 0;

	for (unsigned int i = 0; i < count; i++)
		((uint32_t *)(ring->rings + params->sq_off.array))[i] = i;
	__atomic_store_n(tail, count, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring->fd, count, 0, flags, NULL, 0) < 0)
		return -errno;
	/* What is due now is done in the middle of this, not of io_uring_enter(2). */
	if (count > 1)
		nanosleep(&pause, NULL);
	while (__atomic_load_n(done, __ATOMIC_ACQUIRE) < count)
		if (syscall(SYS_io_uring_enter, ring->fd, 0, count, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
			return -errno;
	for (unsigned int i = 0; i < count; i++)
		if (completions[i].user_data)
			return completions[i].res;
	return -ENOSYS;
}

static long by_ring(const struct access *access)
{
	static struct { long long seconds, nanoseconds; } soon = { 0, 1000000 };
	struct io_uring_sqe *entry;
	struct ring ring = {};
	long answer;

	if (!make_ring(&ring, way == RING_SQPOLL ? IORING_SETUP_SQPOLL : 0))
		return -errno;
	entry = ring.entries;
	if (way == RING_LINKED) {
		*entry = (struct io_uring_sqe){
			.opcode = IORING_OP_TIMEOUT, .flags = IOSQE_IO_LINK, .fd = -1, .addr = (uintptr_t)&soon, .len = 1,
			.timeout_flags = IORING_TIMEOUT_ETIME_SUCCESS,
		};
		entry++;
	}
	access->fill(entry);
	entry->user_data = 1;
	if (way == RING_WORKER)
		entry->flags |= IOSQE_ASYNC;
	if (way == RING_PERSONALITY) {
		answer = syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_PERSONALITY, NULL, 0);
		if (answer < 0)
			return -errno;
		entry->personality = answer;
	}
	if (way == RING_FIXED) {
		int slots[2] = { fd, -1 };

		if (syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, slots, 2))
			return -errno;
		if (fd >= 0) {
			entry->flags |= IOSQE_FIXED_FILE;
			entry->fd = 0;
		}
		if (access->slot)
			entry->file_index = 2; /* the second slot */
	}
	answer = submit(&ring, way == RING_LINKED ? 2 : 1);
	shut(ring.fd);
	return answer;
}

static long perform(const struct access *access)
{
	switch (way) {
	case CALL:
	case INT80:
		return access->act();
	case THREAD:
		return by_thread(access);
	case SHARED_VM:
		return by_child(access, CLONE_VM);
	case SHARED_FILES:
		return by_child(access, CLONE_FILES);
	default:
		return by_ring(access);
	}
}

static enum result result_of(const struct access *access, long answer)
{
	if (answer >= 0)
		return ok("%s by %s", access->name, way_names[way]);
	errno = -answer;
	return refused("%s by %s", access->name, way_names[way]);
}

/* In a child, whose program may become another one. */
static enum result in_child(const struct access *access)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		return failed("fork");
	if (!child)
		_exit(result_of(access, perform(access)));
	if (waitpid(child, &status, 0) < 0 || !WIFEXITED(status))
		return failed("the child was killed");
	return WEXITSTATUS(status) == OK     ? ok("%s by %s", access->name, way_names[way]) :
	       WEXITSTATUS(status) == DENIED ? denied("%s by %s", access->name, way_names[way]) :
					       failed("%s by %s", access->name, way_names[way]);
}

static enum result by(const char *arg)
{
	char *text = low_text(arg ? arg : ""), *of_way = strtok(text, " "), *name = strtok(NULL, " ");
	const struct access *access = NULL;
	enum result result;

	for (way = 0; of_way && way < WAYS && strcmp(way_names[way], of_way); way++)
		;
	for (size_t i = 0; name && i < sizeof(accesses) / sizeof(accesses[0]); i++)
		if (!strcmp(accesses[i].name, name))
			access = &accesses[i];
	if (!access || way == WAYS)
		return failed("by WAY ACCESS [ARGUMENT ...], not \"%s\"", arg);
	path = strtok(NULL, " ");
	other = strtok(NULL, " ");
	number = path ? atol(path) : 0;
	if (way >= RING && !access->fill)
		return failed("no io_uring can do this");
	if (access->setup && !access->setup())
		return failed("what comes before %s: %s", access->name, error_name(errno));
	if (access->act == act_exec)
		return in_child(access);
	result = result_of(access, perform(access));
	if (result == OK && access->undo)
		access->undo();
	return result;
}

const struct attack way_attacks[] = {
	{ "by", "policy", "by", "one access by one way into the kernel: WAY ACCESS [ARGUMENT ...]", by },
	{},
};
