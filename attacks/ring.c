/* SPDX-License-Identifier: Apache-2.0 */
#include "attack.h"
#include "ring.h"

#include <sys/syscall.h>

int map_ring(struct ring *ring)
{
	size_t ring_size, completion_size;
	struct io_uring_params *params = &ring->params;

	ring_size = params->sq_off.array + params->sq_entries * sizeof(uint32_t);
	completion_size = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);
	/* One mapping for both: IORING_FEAT_SINGLE_MMAP, since 5.4. */
	ring->rings = mmap(NULL, ring_size > completion_size ? ring_size : completion_size, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQ_RING);
	ring->entries = mmap(NULL, params->sq_entries * sizeof(*ring->entries), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQES);
	return ring->rings == MAP_FAILED || ring->entries == MAP_FAILED ? -1 : 0;
}

int make_ring(struct ring *ring)
{
	memset(ring, 0, sizeof(*ring));
	ring->fd = syscall(SYS_io_uring_setup, 2, &ring->params);
	return ring->fd < 0 ? -1 : map_ring(ring);
}

int submit(struct ring *ring, const struct io_uring_sqe *wanted)
{
	struct io_uring_params *params = &ring->params;
	uint32_t *tail = (void *)(ring->rings + params->sq_off.tail), *head = (void *)(ring->rings + params->cq_off.head);
	struct io_uring_cqe *completions = (void *)(ring->rings + params->cq_off.cqes);
	uint32_t place = *tail & (params->sq_entries - 1);
	int answer;

	ring->entries[place] = *wanted;
	((uint32_t *)(ring->rings + params->sq_off.array))[place] = place;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		return -1;
	answer = completions[*head & (params->cq_entries - 1)].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	if (answer < 0) {
		errno = -answer;
		answer = -1;
	}
	return answer;
}
