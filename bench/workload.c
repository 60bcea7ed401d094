/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workload CGROUP OPERATION COUNT [FILE]: in the cgroup, do the operation COUNT times, print what each took, one number a line.
 *
 * The unit is the nanosecond, which under "qemu -icount shift=0" is one instruction of the guest. Each operation is
 * measured alone: what the kernel does only now and then (filling a cache of free objects, a timer's tick) then shows
 * as a second value, not as a fraction of the first. The pause before it lets the kernel finish what the one before
 * left to be done, and a real-time priority keeps other tasks out.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/fs.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define PAUSE_US 10000
#define WARM_UP 5 /* caches, and what bpflock does only for the first event of a process */

#define SYSCTL "/proc/sys/kernel/printk_delay" /* 0, where nobody has changed it */
#define ATTRIBUTE "/sys/kernel/mm/transparent_hugepage/enabled" /* root may write it */

static char *file;
static char other[4096], moved[4096], directory[4096]; /* file.data, file.moved, and where they are */
static int fd, peer;
static pid_t target;
static struct sockaddr_in address = { .sin_family = AF_INET };
static void *mapped;

static void check(long result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
}

static void nothing(void)
{
}

/* What the measurement itself takes. */
static void run_clock(void)
{
}

static void run_getpid(void)
{
	syscall(SYS_getpid);
}

static void run_socket(void)
{
	check(fd = socket(AF_INET, SOCK_DGRAM, 0), "socket");
	close(fd);
}

static void run_pipe(void)
{
	int ends[2];

	check(pipe(ends), "pipe");
	close(ends[0]);
	close(ends[1]);
}

static void run_netlink(void)
{
	check(fd = socket(AF_NETLINK, SOCK_RAW, 0), "socket");
	close(fd);
}

static void bind_socket(void)
{
	socklen_t length = sizeof(address);

	check(fd = socket(AF_INET, SOCK_STREAM, 0), "socket");
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	check(bind(fd, (struct sockaddr *)&address, sizeof(address)), "bind");
	check(getsockname(fd, (struct sockaddr *)&address, &length), "getsockname");
}

/* It has an address already: the kernel finds that after it has asked who may. */
static void run_bind(void)
{
	bind(fd, (struct sockaddr *)&address, sizeof(address));
}

static void run_listen(void)
{
	check(listen(fd, 4), "listen");
}

static void listen_socket(void)
{
	bind_socket();
	run_listen();
}

static void run_connect(void)
{
	int accepted;

	check(peer = socket(AF_INET, SOCK_STREAM, 0), "socket");
	check(connect(peer, (struct sockaddr *)&address, sizeof(address)), "connect");
	check(accepted = accept(fd, NULL, NULL), "accept");
	close(accepted);
	close(peer);
}

static void open_data(void)
{
	check(fd = open(other, O_RDWR | O_CREAT, 0600), other);
	check(write(fd, "x", 1), "write");
}

static void run_pread(void)
{
	char byte;

	check(pread(fd, &byte, 1, 0), "pread");
}

static void run_pwrite(void)
{
	check(pwrite(fd, "x", 1, 0), "pwrite");
}

static void run_write_open(void)
{
	int data;

	check(data = open(other, O_WRONLY), other);
	close(data);
}

static void run_create(void)
{
	int new;

	check(new = open(moved, O_WRONLY | O_CREAT | O_EXCL, 0600), moved);
	close(new);
	check(unlink(moved), "unlink");
}

static void run_rename(void)
{
	check(rename(other, moved), "rename");
	check(rename(moved, other), "rename");
}

static void run_mkdir(void)
{
	check(mkdir(moved, 0700), "mkdir");
	check(rmdir(moved), "rmdir");
}

static void run_chmod(void)
{
	check(chmod(other, 0600), "chmod");
}

static void run_setxattr(void)
{
	check(setxattr(other, "trusted.bench", "x", 1, 0), "setxattr");
}

static void run_removexattr(void)
{
	run_setxattr();
	check(removexattr(other, "trusted.bench"), "removexattr");
}

/* A list of access rights: the owner's, a user's, the group's, the mask, the others'. */
static void run_acl(void)
{
	static const unsigned short entries[5][4] = {
		{ 1, 6, 0xffff, 0xffff }, { 2, 4, 1, 0 }, { 4, 0, 0xffff, 0xffff }, { 16, 4, 0xffff, 0xffff }, { 32, 0, 0xffff, 0xffff },
	};
	char list[4 + sizeof(entries)] = { 2 };

	memcpy(list + 4, entries, sizeof(entries));
	check(setxattr(other, "system.posix_acl_access", list, sizeof(list), 0), "setxattr");
	check(removexattr(other, "system.posix_acl_access"), "removexattr");
}

static void run_symlink(void)
{
	check(symlink("nowhere", moved), "symlink");
	check(unlink(moved), "unlink");
}

static void run_link(void)
{
	check(link(other, moved), "link");
	check(unlink(moved), "unlink");
}

static void run_mknod(void)
{
	check(mknod(moved, S_IFIFO | 0600, 0), "mknod");
	check(unlink(moved), "unlink");
}

static void run_flags(void)
{
	static int flags = FS_NODUMP_FL;

	check(ioctl(fd, FS_IOC_SETFLAGS, &flags), "FS_IOC_SETFLAGS");
	flags ^= FS_NODUMP_FL;
}

/* As a program of 32 bits does. */
static void run_ioctl_compat(void)
{
#ifdef __x86_64__
	long result;

	asm volatile("int $0x80" : "=a"(result) : "a"(54L), "b"((long)fd), "c"((long)FIOCLEX), "d"(0L) : "memory", "r8", "r9", "r10", "r11");
	check(result, "ioctl");
#endif
}

static void run_ioctl(void)
{
	check(ioctl(fd, FIOCLEX), "ioctl");
}

static void run_shared(void)
{
	mapped = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(mapped == MAP_FAILED ? -1 : 0, "mmap");
	munmap(mapped, PAGE);
}

static void run_sysfs(void)
{
	int attribute;

	check(attribute = open(ATTRIBUTE, O_WRONLY), ATTRIBUTE);
	close(attribute);
}

static void run_stat(void)
{
	struct stat status;

	check(stat(file, &status), file);
}

static void run_remount(void)
{
	check(mount(NULL, directory, NULL, MS_REMOUNT | MS_BIND, NULL), "mount");
}

/* Of the whole file system, not of the mount alone. */
static void run_remount_all(void)
{
	check(mount(NULL, directory, NULL, MS_REMOUNT, NULL), "mount");
}

static void mount_elsewhere(void)
{
	check(mkdir(other, 0755), other);
	check(mkdir(moved, 0755), moved);
	check(mount("bench", other, "ramfs", 0, NULL), other);
}

static void unmount_elsewhere(void)
{
	umount2(other, MNT_DETACH);
	rmdir(other);
	rmdir(moved);
}

static void run_move_mount(void)
{
	check(syscall(SYS_move_mount, AT_FDCWD, other, AT_FDCWD, moved, 0), "move_mount");
	check(syscall(SYS_move_mount, AT_FDCWD, moved, AT_FDCWD, other, 0), "move_mount");
}

/* Of a file system that is in use. */
static void run_umount(void)
{
	check(umount2(directory, 0) == -1 && errno == EBUSY ? 0 : -1, "umount2");
}

static void open_sysctl(void)
{
	check(fd = open(SYSCTL, O_WRONLY), SYSCTL);
}

static void run_sysctl(void)
{
	check(pwrite(fd, "0", 1, 0), SYSCTL);
}

static void run_chroot(void)
{
	check(chroot("/"), "chroot");
}

static void run_hostname(void)
{
	check(sethostname("bench", 5), "sethostname");
}

static void run_setuid(void)
{
	check(syscall(SYS_setuid, 0), "setuid");
}

static void run_setgid(void)
{
	check(syscall(SYS_setgid, 0), "setgid");
}

/* Of the time zone, to what it is. */
static void run_settime(void)
{
	static const struct timezone utc;

	check(syscall(SYS_settimeofday, NULL, &utc), "settimeofday");
}

static void run_unshare_user(void)
{
	check(unshare(CLONE_NEWUSER), "unshare");
}

/* Who has no user in the outer namespace cannot make another one. */
static void map_root(void)
{
	int map;

	check(map = open("/proc/self/uid_map", O_WRONLY), "uid_map");
	check(write(map, "0 0 1", 5), "uid_map");
	close(map);
	check(map = open("/proc/self/setgroups", O_WRONLY), "setgroups");
	check(write(map, "deny", 4), "setgroups");
	close(map);
	check(map = open("/proc/self/gid_map", O_WRONLY), "gid_map");
	check(write(map, "0 0 1", 5), "gid_map");
	close(map);
}

static void run_unshare(void)
{
	check(unshare(CLONE_NEWUTS), "unshare");
}

static void open_namespace(void)
{
	check(fd = open("/proc/self/ns/uts", O_RDONLY), "/proc/self/ns/uts");
}

static void run_setns(void)
{
	check(setns(fd, CLONE_NEWUTS), "setns");
}

static void start_target(void)
{
	target = fork();
	check(target, "fork");
	if (!target) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
}

static void run_read_memory(void)
{
	static char here[16];
	struct iovec to = { here, sizeof(here) }, from = { file, sizeof(here) }; /* the target is a copy of this process */

	check(process_vm_readv(target, &to, 1, &from, 1, 0), "process_vm_readv");
}

/* A signal that its target ignores from the start. */
static void run_kill(void)
{
	check(kill(target, SIGURG), "kill");
}

static void end_target(void)
{
	kill(target, SIGKILL);
}

static void run_prctl(void)
{
	char name[16];

	check(prctl(PR_GET_NAME, name), "prctl");
}

static void run_open(void)
{
	check(fd = open(file, O_RDONLY), file);
	close(fd);
}

/* FILE.0, FILE.1 and so on: none of them was used before. */
static void run_first(void)
{
	static int number;
	char path[4096];

	snprintf(path, sizeof(path), "%.4000s.%d", file, number++);
	check(fd = open(path, O_RDONLY), path);
	close(fd);
}

/* DIRECTORY.0/FILE, DIRECTORY.1/FILE and so on: nor was any of the directories. */
static void run_first_there(void)
{
	static int number;
	char path[8192];

	snprintf(path, sizeof(path), "%s.%d%s", directory, number++, strrchr(file, '/'));
	check(fd = open(path, O_RDONLY), path);
	close(fd);
}

static void run_exec(void)
{
	int status;
	pid_t child = fork();

	if (!child) {
		execl(file, file, NULL);
		_exit(127);
	}
	check(child, "fork");
	check(waitpid(child, &status, 0), "waitpid");
	if (status) {
		fprintf(stderr, "%s: status %d\n", file, status);
		exit(1);
	}
}

static int leave(void *argument)
{
	(void)argument;
	_exit(0);
}

/* As vfork(): a process with the memory of this one. */
static void run_clone(void)
{
	static char stack[4 * PAGE] __attribute__((aligned(16)));
	pid_t child = clone(leave, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);

	check(child, "clone");
	check(waitpid(child, NULL, 0), "waitpid");
}

static void create_map(void)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_ARRAY,
		.key_size = 4,
		.value_size = 4,
		.max_entries = 1,
	};

	check(fd = syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr)), "BPF_MAP_CREATE");
}

static void run_lookup(void)
{
	unsigned int key = 0, value;
	union bpf_attr attr = { .map_fd = fd, .key = (unsigned long)&key, .value = (unsigned long)&value };

	check(syscall(SYS_bpf, BPF_MAP_LOOKUP_ELEM, &attr, sizeof(attr)), "BPF_MAP_LOOKUP_ELEM");
}

static void open_file(void)
{
	check(fd = open(file, O_RDONLY), file);
}

static void run_mmap(void)
{
	mapped = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	check(mapped == MAP_FAILED ? -1 : 0, "mmap");
	munmap(mapped, PAGE);
}

static void map_file(void)
{
	open_file();
	mapped = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	check(mapped == MAP_FAILED ? -1 : 0, "mmap");
}

static void run_mprotect(void)
{
	check(mprotect(mapped, PAGE, PROT_READ | PROT_EXEC), "mprotect");
	check(mprotect(mapped, PAGE, PROT_READ), "mprotect");
}

/* Asks each time whether the kernel is locked down. */
static void run_ioperm(void)
{
#ifdef __x86_64__
	check(ioperm(0x80, 1, 1), "ioperm");
#endif
}

static const struct operation {
	const char *name;
	void (*prepare)(void);
	void (*run)(void);
	void (*after)(void); /* each time, not measured */
	void (*end)(void);
} operations[] = {
	{ "clock", nothing, run_clock },
	{ "getpid", nothing, run_getpid },
	{ "socket", nothing, run_socket },
	{ "prctl", nothing, run_prctl },
	{ "open", nothing, run_open },
	{ "first", nothing, run_first },
	{ "first_there", nothing, run_first_there },
	{ "exec", nothing, run_exec },
	{ "clone", nothing, run_clone },
	{ "lookup", create_map, run_lookup },
	{ "mmap", open_file, run_mmap },
	{ "mprotect", map_file, run_mprotect },
	{ "ioperm", nothing, run_ioperm },
	{ "pipe", nothing, run_pipe },
	{ "netlink", nothing, run_netlink },
	{ "bind", bind_socket, run_bind },
	{ "listen", bind_socket, run_listen },
	{ "connect", listen_socket, run_connect },
	{ "pread", open_data, run_pread },
	{ "pwrite", open_data, run_pwrite },
	{ "write_open", open_data, run_write_open },
	{ "create", nothing, run_create },
	{ "rename", open_data, run_rename },
	{ "mkdir", nothing, run_mkdir },
	{ "chmod", open_data, run_chmod },
	{ "setxattr", open_data, run_setxattr },
	{ "ioctl", open_data, run_ioctl },
	{ "ioctl_compat", open_data, run_ioctl_compat },
	{ "removexattr", open_data, run_removexattr },
	{ "acl", open_data, run_acl },
	{ "symlink", nothing, run_symlink },
	{ "link", open_data, run_link },
	{ "mknod", nothing, run_mknod },
	{ "flags", open_data, run_flags },
	{ "shared", open_data, run_shared },
	{ "sysfs", nothing, run_sysfs },
	{ "stat", nothing, run_stat },
	{ "remount", nothing, run_remount },
	{ "chroot", nothing, run_chroot },
	{ "hostname", nothing, run_hostname },
	{ "setuid", nothing, run_setuid },
	{ "unshare", nothing, run_unshare },
	{ "setns", open_namespace, run_setns },
	{ "unshare_user", nothing, run_unshare_user, .after = map_root },
	{ "remount_all", nothing, run_remount_all },
	{ "move_mount", mount_elsewhere, run_move_mount, .end = unmount_elsewhere },
	{ "umount", open_data, run_umount },
	{ "sysctl", open_sysctl, run_sysctl },
	{ "setgid", nothing, run_setgid },
	{ "settime", nothing, run_settime },
	{ "read_memory", start_target, run_read_memory, .end = end_target },
	{ "kill", start_target, run_kill, .end = end_target },
};

static long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static const struct operation *find(const char *name)
{
	for (size_t i = 0; i < sizeof(operations) / sizeof(*operations); i++)
		if (!strcmp(operations[i].name, name))
			return &operations[i];
	fprintf(stderr, "workload: no operation '%s'\n", name);
	exit(2);
}

/* The directory of a cgroup, or "" to stay. */
static void enter_cgroup(const char *path)
{
	char procs[4096];
	int there;

	if (!*path)
		return;
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", path);
	check(there = open(procs, O_WRONLY), procs);
	check(write(there, "0", 1), procs);
	close(there);
}

int main(int argc, char **argv)
{
	struct sched_param priority = { .sched_priority = 1 };
	const struct operation *op;
	int count;
	long *took;

	if (argc < 4) {
		fprintf(stderr, "usage: workload CGROUP OPERATION COUNT [FILE]\n");
		return 2;
	}
	/* The same addresses in every run. */
	if (!(personality(0xffffffff) & ADDR_NO_RANDOMIZE)) {
		check(personality(ADDR_NO_RANDOMIZE), "personality");
		check(execv("/proc/self/exe", argv), "execv");
	}
	enter_cgroup(argv[1]);
	check(sched_setscheduler(0, SCHED_FIFO, &priority), "sched_setscheduler");
	op = find(argv[2]);
	count = atoi(argv[3]);
	file = argc > 4 ? argv[4] : "";
	snprintf(other, sizeof(other), "%s.data", file);
	snprintf(moved, sizeof(moved), "%s.moved", file);
	snprintf(directory, sizeof(directory), "%.*s", (int)(strrchr(file, '/') ? strrchr(file, '/') - file : 0), file);
	took = calloc(count, sizeof(*took));
	op->prepare();
	for (int i = -WARM_UP; i < count; i++) {
		long start;

		usleep(PAUSE_US);
		start = now();
		op->run();
		if (i >= 0)
			took[i] = now() - start;
		if (op->after)
			op->after();
	}
	if (op->end)
		op->end();
	for (int i = 0; i < count; i++)
		printf("%ld\n", took[i]);
	return 0;
}
