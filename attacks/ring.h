/* SPDX-License-Identifier: Apache-2.0 */
/* An io_uring, by its system calls. */
#ifndef RING_H
#define RING_H

#include <linux/io_uring.h>
#include <sys/mman.h>

struct ring {
	int fd;
	struct io_uring_params params;
	char *rings;
	struct io_uring_sqe *entries;
};

/* Makes a ring. Returns 0, or -1 with errno. */
int make_ring(struct ring *ring);
/* Maps a ring whose descriptor and parameters are known. Returns 0, or -1 with errno. */
int map_ring(struct ring *ring);
/* One entry, submitted and waited for. IOSQE_ASYNC: by a thread of the kernel. The answer is like a system call's. */
int submit(struct ring *ring, const struct io_uring_sqe *wanted);

#endif
