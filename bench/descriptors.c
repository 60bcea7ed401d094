/* SPDX-License-Identifier: Apache-2.0 */
/*
 * descriptors COUNT FILE PROGRAM: how long an exec takes with so many descriptors of a file, in nanoseconds from execve(2) to
 * the program's first system call: bench/started.c. Several times; a line for each.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TIMES 8

static void fail(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

static long long nanoseconds(const struct timespec *time)
{
	return time->tv_sec * 1000000000LL + time->tv_nsec;
}

int main(int count, char **words)
{
	struct rlimit limit = { 1 << 20, 1 << 20 };
	struct timespec times[2];
	int ends[2], file;

	if (count != 4 || setrlimit(RLIMIT_NOFILE, &limit))
		fail("descriptors COUNT FILE PROGRAM");
	file = open(words[2], O_RDONLY);
	if (file < 0)
		fail(words[2]);
	for (int i = 1; i < atoi(words[1]); i++)
		if (dup(file) < 0)
			fail("dup");
	for (int i = 0; i < TIMES; i++) {
		if (pipe2(ends, O_CLOEXEC))
			fail("pipe");
		if (!fork()) {
			dup2(ends[1], STDOUT_FILENO);
			clock_gettime(CLOCK_MONOTONIC, &times[0]);
			if (write(STDOUT_FILENO, &times[0], sizeof(times[0])) != sizeof(times[0]))
				fail("write");
			execl(words[3], words[3], NULL);
			fail(words[3]);
		}
		wait(NULL);
		if (read(ends[0], times, sizeof(times)) != sizeof(times))
			fail("read");
		close(ends[0]);
		close(ends[1]);
		printf("%lld\n", nanoseconds(&times[1]) - nanoseconds(&times[0]));
	}
	return 0;
}
