/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workload OPERATION COUNT [FILE]: do the operation COUNT times, print what each took, one number a line.
 *
 * The unit is the nanosecond, which under "qemu -icount shift=0" is one instruction of the guest. Each operation is
 * measured alone: what the kernel does only now and then (filling a cache of free objects, a timer's tick) then shows
 * as a second value, not as a fraction of the first. The pause before it lets the kernel finish what the one before
 * left to be done, and a real-time priority keeps other tasks out.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/bpf.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define PAUSE_US 10000
#define WARM_UP 5 /* caches, and what bpflock does only for the first event of a process */

static char *file;
static int fd;
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
} operations[] = {
	{ "clock", nothing, run_clock },
	{ "getpid", nothing, run_getpid },
	{ "socket", nothing, run_socket },
	{ "prctl", nothing, run_prctl },
	{ "open", nothing, run_open },
	{ "exec", nothing, run_exec },
	{ "lookup", create_map, run_lookup },
	{ "mmap", open_file, run_mmap },
	{ "mprotect", map_file, run_mprotect },
	{ "ioperm", nothing, run_ioperm },
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

int main(int argc, char **argv)
{
	struct sched_param priority = { .sched_priority = 1 };
	const struct operation *op;
	int count;
	long *took;

	if (argc < 3) {
		fprintf(stderr, "usage: workload OPERATION COUNT [FILE]\n");
		return 2;
	}
	/* The same addresses in every run. */
	if (!(personality(0xffffffff) & ADDR_NO_RANDOMIZE)) {
		check(personality(ADDR_NO_RANDOMIZE), "personality");
		check(execv("/proc/self/exe", argv), "execv");
	}
	check(sched_setscheduler(0, SCHED_FIFO, &priority), "sched_setscheduler");
	op = find(argv[1]);
	count = atoi(argv[2]);
	file = argc > 3 ? argv[3] : "";
	took = calloc(count, sizeof(*took));
	op->prepare();
	for (int i = -WARM_UP; i < count; i++) {
		long start;

		usleep(PAUSE_US);
		start = now();
		op->run();
		if (i >= 0)
			took[i] = now() - start;
	}
	for (int i = 0; i < count; i++)
		printf("%ld\n", took[i]);
	return 0;
}
