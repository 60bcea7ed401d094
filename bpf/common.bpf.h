/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What every lock shares: the decision by profile, the exact counters, the limited events.
 *
 * Order matters for cost: a hook first finds out whether it is concerned at all, then decides, then counts; only what
 * is new (a denial, a subject not seen just before) pays for the limiter and the event.
 */
#ifndef BPFLOCK_COMMON_BPF_H
#define BPFLOCK_COMMON_BPF_H

#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "bpflock.h"

/*
 * Whether an argument of a hook, or the inode of a dentry that is one, is NULL. Verifiers from about Linux 6.4 on, that of 6.12
 * too, take these for never NULL: they remove a comparison with NULL, and what comes then reads from there, which ends the
 * kernel. They leave alone a comparison with another number, below which nothing lies. 7.3 knows better, and wants to see a
 * comparison with NULL: both are made, of a copy, or the compiler would make one of them.
 */
static __always_inline bool is_null(const void *pointer)
{
	u64 copy;

	asm volatile("%0 = %1" : "=r"(copy) : "r"(pointer));
	return !pointer || copy <= 4095;
}

/* The file of a name; 0 if there is none. */
static __always_inline struct inode *inode_of(struct dentry *dentry)
{
	struct inode *inode = dentry->d_inode;

	return is_null(inode) ? 0 : inode;
}

#define EPERM 1
#define ECANCELED 125

/* What a denied access gives; a lock may have it otherwise for some operations, and says by OTHER_ERROR which that is. */
#ifndef ERROR_OF
#define ERROR_OF(op) EPERM
#endif

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* A subject that repeats itself gets one event per window, and at most SENT_MAX for different objects. */
#define WINDOW_NS (10ULL * 1000000000)
#define SENT_MAX 20
#define JIFFY_NS_MAX 10000000 /* CONFIG_HZ is 100 at least */
#define QUIET_MAX (WINDOW_NS / JIFFY_NS_MAX)
/* Deeper cgroups than this are not searched for an exception: their tasks are denied. */
#define CGROUP_DEPTH 128

char LICENSE[] SEC("license") = "GPL";

/* In a section, and so in a map, of its own: pinned, it tells what the lock was loaded with. */
const volatile struct bpflock_config config SEC(".rodata.config");

/* Bit N: under this configuration, operation N is allowed to tasks of the host, if there is no exception for their cgroup. */
const volatile u64 plain_ops;

/* Shared by all locks, pinned in /sys/fs/bpf/bpflock. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1024 * 1024); /* bytes; user space may set another size before load */
} bpflock_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, u64); /* cgroup id */
	__type(value, u32); /* enum bpflock_profile */
} bpflock_cgroupmap SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, u64); /* cgroup id, or SESSION_ANY */
	__type(value, struct bpflock_session);
} bpflock_sessions SEC(".maps");

/* Global data, but of all locks together: a look-up of its own would cost every hook more than the load does. */
struct bpflock_shared shared SEC(".data.shared") = {
	.init_nsproxy = NO_NAMESPACE,
	.init_net = NO_NAMESPACE,
	.plain_nsproxy = NO_NAMESPACE,
	.plain_net = NO_NAMESPACE,
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct bpflock_own);
} bpflock_own SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct bpflock_limit_key);
	__type(value, struct bpflock_limit);
} bpflock_limits SEC(".maps");

/*
 * This lock's own: OPS counters for each possible CPU. User space puts a map in its place that has room for config.cpu_mask + 1
 * CPUs. Global data, so that finding a counter takes no look-up.
 */
struct bpflock_counter counters[OPS] SEC(".data.counters") = {};

/* What one access is about, as the hook found it. */
struct access {
	enum bpflock_lock lock;
	enum bpflock_event_type type;
	u32 op;
	u64 object;
	const struct path *path; /* resolved with bpf_d_path(): only in hooks where the kernel allows it */
	const char *name; /* a string in kernel memory */
	const char *called; /* with path: the name that a call gave it, in kernel memory; told after the path */
};

/* The task's record if it is one of bpflock's own and has not called exec since. */
static __always_inline struct bpflock_own *own_task(struct task_struct *task)
{
	struct bpflock_own *own = bpf_task_storage_get(&bpflock_own, task, 0, 0);

	return own && own->exec_id == task->self_exec_id ? own : 0;
}

#include "host.bpf.h"

/* A search upwards from a task's cgroup. */
struct search {
	int level;
	u32 profile;
};

static long search_level(u32 index, struct search *search)
{
	u64 id;
	u32 *profile;

	if (search->level < 0)
		return 1;
	id = bpf_get_current_ancestor_cgroup_id(search->level--);
	profile = bpf_map_lookup_elem(&bpflock_cgroupmap, &id);
	if (!profile)
		return 0;
	search->profile = *profile;
	return 1;
}

static __noinline u32 search_cgroups(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct search search = { .level = task->cgroups->dfl_cgrp->level };

	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_loop)) {
		bpf_loop(CGROUP_DEPTH, search_level, &search, 0);
	} else {
		for (int i = 0; i < CGROUP_DEPTH; i++)
			if (search_level(i, &search))
				break;
	}
	if (search.profile || search.level < 0)
		return search.profile;
	return PROFILE_RESTRICTED;
}

static __always_inline bool denies(enum bpflock_reason reason)
{
	return reason >= REASON_DENIED_BASELINE;
}

/* By the profile of the nearest ancestor cgroup that has one, or 0. Out of line: few machines have exceptions. */
static __noinline u32 decide_by_cgroup(u32 op)
{
	u32 cgroup = search_cgroups();
	u64 bit = 1ULL << (op & (OPS - 1));

	if (!cgroup)
		return 0;
	/* Blocked by name is blocked for all, also under restricted: a stricter profile grants no more than a laxer one. */
	if (config.block & bit)
		return REASON_DENIED_BLOCKED;
	if (cgroup == PROFILE_ALLOW)
		return REASON_ALLOW_CGROUP;
	if (cgroup != PROFILE_BASELINE)
		return REASON_DENIED_CGROUP_RESTRICTED;
	if (on_host(bpf_get_current_task_btf()))
		return REASON_BASELINE;
	if (config.allow & bit)
		return REASON_BASELINE_ALLOWED;
	return is_host_service() ? REASON_BASELINE : REASON_DENIED_CGROUP_BASELINE;
}

/* Whether there is a session by that key, of a kind that this lock grants something. */
static __always_inline bool session_lives(u64 key)
{
	struct bpflock_session *session = bpf_map_lookup_elem(&bpflock_sessions, &key);

	return session && session->kinds & config.kinds && bpf_ktime_get_ns() < session->until;
}

static long session_level(u32 index, struct search *search)
{
	if (search->level < 0)
		return 1;
	search->profile = session_lives(bpf_get_current_ancestor_cgroup_id(search->level--));
	return search->profile;
}

/* Whether the task is in a session's cgroup or below. Out of line: only for what is denied otherwise. */
static __noinline bool in_session(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct search search = { .level = task->cgroups->dfl_cgrp->level };

	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_loop)) {
		bpf_loop(CGROUP_DEPTH, session_level, &search, 0);
	} else {
		for (int i = 0; i < CGROUP_DEPTH; i++)
			if (session_level(i, &search))
				break;
	}
	return search.profile;
}

/* Whether the operation is one that sessions are granted, and the reason why it is denied one that gives way to that. */
static __always_inline bool is_for_sessions(u32 op, enum bpflock_reason reason)
{
	return config.session & 1ULL << (op & (OPS - 1)) && !(config.block & 1ULL << (op & (OPS - 1))) &&
	       (reason == REASON_DENIED_BASELINE || reason == REASON_DENIED_RESTRICTED);
}

/* Constants are volatile: each is read where it is needed, and the verifier drops what its value switches off. */
static __always_inline enum bpflock_reason decide_by_profile(struct task_struct *task, u32 op)
{
	if (unlikely(shared.cgroups)) {
		enum bpflock_reason reason = decide_by_cgroup(op);

		if (reason)
			return reason;
	}
	if (config.profile == PROFILE_RESTRICTED)
		return REASON_DENIED_RESTRICTED;
	if (config.block && config.block & 1ULL << (op & (OPS - 1)))
		return REASON_DENIED_BLOCKED;
	if (config.profile == PROFILE_ALLOW)
		return REASON_ALLOW_PRIVILEGED;
	if (on_host(task))
		return REASON_BASELINE;
	if (config.allow & 1ULL << (op & (OPS - 1)))
		return REASON_BASELINE_ALLOWED;
	return is_host_service() ? REASON_BASELINE : REASON_DENIED_BASELINE;
}

static __always_inline enum bpflock_reason decide(struct task_struct *task, u32 op)
{
	enum bpflock_reason reason = decide_by_profile(task, op);

	if (config.session && is_for_sessions(op, reason) && in_session())
		return REASON_ALLOW_SESSION;
	return reason;
}

/* Those of this CPU. */
static __always_inline struct bpflock_counter *counters_here(void)
{
	struct bpflock_counter *first = counters;
	u64 cpu = bpf_get_smp_processor_id();

	first += (cpu & config.cpu_mask) * OPS;
	asm volatile("" : "+r"(first)); /* there are more than the compiler knows; and the verifier knows the limits of sums only */
	return first;
}

static __always_inline struct bpflock_counter *counter_among(struct bpflock_counter *first, u32 op)
{
	u64 index = op;

	if (__builtin_constant_p(op))
		index &= OPS - 1;
	else /* by hand, as clang drops what it can prove to be needless */
		asm volatile("%0 &= %1" : "+r"(index) : "i"(OPS - 1));
	return first + index;
}

static __always_inline struct bpflock_counter *counter_of(u32 op)
{
	return counter_among(counters_here(), op);
}

/*
 * Whether to send an event, and how many were suppressed before it. If not, for how many jiffies at least none will be sent of
 * that subject, whatever the object: 0 where that is not known.
 */
static __always_inline bool limit(const struct access *access, enum bpflock_reason reason, u32 tgid, u32 *repeats, u64 *quiet)
{
	u64 now = bpf_ktime_get_boot_ns();
	struct bpflock_limit_key key = {
		.tgid = tgid,
		.lock = access->lock,
		.op = access->op,
		.reason = reason,
	};
	struct bpflock_limit *limit = bpf_map_lookup_elem(&bpflock_limits, &key);

	if (!limit) {
		struct bpflock_limit first = { .since = now, .object = access->object, .sent = 1 };

		bpf_map_update_elem(&bpflock_limits, &key, &first, BPF_ANY);
		return true;
	}
	if (now - limit->since >= WINDOW_NS) {
		limit->since = now;
		limit->sent = 0;
	} else if (limit->object == access->object || limit->sent >= SENT_MAX) {
		__sync_fetch_and_add(&limit->repeats, 1);
		if (limit->sent >= SENT_MAX)
			*quiet = (limit->since + WINDOW_NS - now) / JIFFY_NS_MAX;
		return false;
	}
	limit->sent++;
	limit->object = access->object;
	*repeats = limit->repeats;
	limit->repeats = 0;
	return true;
}

#ifdef WITHOUT_TASK_BTF /* cgroup programs have no bpf_get_current_task_btf() on 6.1 */
#define CURRENT_TASK() ((void *)bpf_get_current_task())
#define FIELD BPF_CORE_READ
#define COPY_COMM(to, task) BPF_CORE_READ_STR_INTO(&(to), task, comm)
#else
#define CURRENT_TASK bpf_get_current_task_btf
#define FIELD ___arrow
#define COPY_COMM(to, task) __builtin_memcpy(to, (task)->comm, sizeof(to))
#endif

static __always_inline void fill(struct bpflock_event *event, const struct access *access, enum bpflock_reason reason,
				 int retval, u32 repeats)
{
	struct task_struct *task = CURRENT_TASK();
	struct task_struct *parent = FIELD(task, real_parent);

	event->path_len = 0;
	event->time = bpf_ktime_get_boot_ns();
	event->cgroup = FIELD(task, cgroups, dfl_cgrp, kn, id);
	event->object = access->object;
	event->tgid = FIELD(task, tgid);
	event->pid = FIELD(task, pid);
	event->ppid = FIELD(parent, tgid);
	event->uid = FIELD(task, cred, uid.val);
	event->lock = access->lock;
	event->type = access->type;
	event->reason = reason;
	event->op = access->op;
	event->retval = retval;
	event->repeats = repeats;
	COPY_COMM(event->comm, task);
	COPY_COMM(event->pcomm, parent);
}

struct event_short {
	struct bpflock_event event;
	char path[PATH_SHORT];
};

struct event_long {
	struct bpflock_event event;
	char path[PATH_LONG];
};

/* The length of the path without its NUL, or negative. */
static __always_inline long read_path(char *buffer, u32 size, const struct access *access, bool has_path)
{
	long length;

	if (has_path)
		length = bpf_d_path((struct path *)access->path, buffer, size);
	else
		length = bpf_probe_read_kernel_str(buffer, size, access->name);
	return length > 0 ? length - 1 : length;
}

/* Put the name that a call gave behind the path: its length with both, or negative if they take more than twice `half`. */
static __always_inline long append_called(char *buffer, u32 half, long length, const char *called)
{
	u64 place = length;
	long more;

	if (place >= half)
		return -1;
	more = bpf_probe_read_kernel_str(buffer + place + 1, half - 1, called);
	return more > 0 && more < half - 1 ? length + more : -1;
}

/*
 * No wake-up for each record: the reader drains in batches on a timer. Only a ring filled by a quarter wakes it.
 */
static __always_inline u64 wakeup(void)
{
	return bpf_ringbuf_query(&bpflock_events, BPF_RB_AVAIL_DATA) > 256 * 1024 ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* Send the event; false if the ring buffer is full. */
static __always_inline bool send(const struct access *access, bool has_path, enum bpflock_reason reason, int retval, u32 repeats)
{
	struct event_short *brief = bpf_ringbuf_reserve(&bpflock_events, sizeof(*brief), 0);
	struct event_long *full;
	long length = 0;

	if (!brief)
		return false;
	brief->event.size = sizeof(*brief);
	fill(&brief->event, access, reason, retval, repeats);
	if (has_path || access->name)
		length = read_path(brief->path, PATH_SHORT, access, has_path);
	if (access->called)
		length = append_called(brief->path, PATH_SHORT / 2, length, access->called);
	if (length >= 0 && length < PATH_SHORT - 1) {
		brief->event.path_len = length;
		bpf_ringbuf_submit(brief, wakeup());
		return true;
	}
	full = bpf_ringbuf_reserve(&bpflock_events, sizeof(*full), 0);
	if (!full) {
		bpf_ringbuf_discard(brief, BPF_RB_NO_WAKEUP);
		return false;
	}
	full->event = brief->event;
	bpf_ringbuf_discard(brief, BPF_RB_NO_WAKEUP);
	full->event.size = sizeof(*full);
	length = read_path(full->path, PATH_LONG, access, has_path);
	if (access->called) {
		/* If both names do not fit, the event has the file's. */
		long both = append_called(full->path, PATH_LONG / 2, length, access->called);

		length = both > 0 ? both : length;
	}
	full->event.path_len = length > 0 ? length : 0;
	bpf_ringbuf_submit(full, wakeup());
	return true;
}

/*
 * Makes the verifier forget the value, which it takes for changed by one that it does not know: what follows is verified once, not
 * once for each constant that may come. Without it, loading takes several times as long.
 */
static __always_inline u32 forget(u32 value)
{
	return value ^ counters[0].zero;
}

/* As a number, which a global function may be given: the verifier lets no other operation make one of a pointer. */
static __always_inline u64 address_of(const void *pointer)
{
	u64 address = 0;

	bpf_probe_read_kernel(&address, sizeof(address), &pointer);
	return address;
}

/*
 * The numbers of an access as one. Functions out of line get numbers, not a pointer to a struct on the caller's stack: Linux
 * 7.3 analyses a function that gets one, with all that it calls, again for each of its calls.
 */
static __always_inline u64 numbers_of(const struct access *access)
{
	return (u64)access->op << 32 | access->type << 8 | access->lock;
}

/*
 * Who was allowed something for a reason, with room for the object. Process ids have 22 bits at most, and reasons 6. No lock has
 * both of the most frequent reasons: they are 0.
 */
static __always_inline u64 subject_of(struct task_struct *task, enum bpflock_reason reason)
{
	u64 other = reason == REASON_BASELINE || reason == REASON_ALLOW_PRIVILEGED ? 0 : reason;

	return (u64)FIELD(task, tgid) << 41 | other << 35;
}

static __always_inline void report(struct bpflock_counter *counter, const struct access *access, bool has_path,
				   enum bpflock_reason reason, int retval)
{
	struct task_struct *task = CURRENT_TASK();
	u32 repeats = 0;
	u64 quiet = 0;

	if (!limit(access, reason, FIELD(task, tgid), &repeats, &quiet)) {
		__sync_fetch_and_add(&counter->limited, 1);
		if (!retval && quiet)
			counter->quiet = subject_of(task, reason) + bpf_jiffies64() + quiet;
	} else if (!send(access, has_path, reason, retval, repeats)) {
		__sync_fetch_and_add(&counter->dropped, 1);
	}
}

static __always_inline struct access access_of(u64 numbers, u64 object)
{
	return (struct access){
		.op = numbers >> 32, .type = (u32)numbers >> 8, .lock = numbers & 0xff, .object = object,
	};
}

/* Who was allowed what: equal for a process that repeats itself, and for hardly anything else. */
static __always_inline u64 who(struct task_struct *task, u64 object, enum bpflock_reason reason)
{
	return subject_of(task, reason) ^ object;
}

/*
 * Whether the process was allowed the same just before on this CPU, as in every loop over an allowed operation, or has been
 * told of as often as it may be in this window, as one that goes through many objects: then it is counted, and that is all.
 * Each of the two is one word, as another task's program may come in between.
 */
static __always_inline bool repeats_in(struct bpflock_counter *counter, struct task_struct *task, u64 object,
				       enum bpflock_reason reason)
{
	u64 subject = subject_of(task, reason);

	/* The subject taken away, what is left of `quiet` is the time when it ends; of another's, far more than that. */
	if (counter->last != (subject ^ object) &&
	    counter->quiet - subject - bpf_jiffies64() - 1 >= QUIET_MAX)
		return false;
	__sync_fetch_and_add(&counter->repeated, 1);
	return true;
}

static __always_inline bool repeats(struct task_struct *task, u32 op, u64 object, enum bpflock_reason reason)
{
	return repeats_in(counter_of(op), task, object, reason);
}

/* As has_host_namespaces(), while there is neither an exception for a cgroup nor a canary. */
static __always_inline bool is_plain(struct task_struct *task, struct nsproxy *nsproxy)
{
	return (u64)nsproxy->net_ns == shared.plain_net && task->thread_pid->level == 0;
}

/*
 * The way that nearly every access takes: of a task of the host, while there is neither an exception for a cgroup nor a canary,
 * that repeats itself. Nothing is decided otherwise here than by decide().
 */
static __always_inline bool is_plainly_allowed(struct task_struct *task, u32 op)
{
	struct nsproxy *nsproxy = task->nsproxy;
	u64 ops = plain_ops;

	if (ops != ~0ULL) {
		/* Where it is not so, the verifier takes this out; but not from one test for both. */
		asm volatile("");
		if (!(ops & 1ULL << (op & (OPS - 1))))
			return false;
	}
	return likely((u64)nsproxy == shared.plain_nsproxy) || is_plain(task, nsproxy);
}

static __always_inline bool passes(struct task_struct *task, u32 op, u64 object)
{
	return is_plainly_allowed(task, op) && likely(repeats(task, op, object, REASON_BASELINE));
}

/* The same for hooks that have not looked yet whether they are concerned: only with an object that was there before. */
static __always_inline bool passes_again(struct task_struct *task, u32 op, u64 object)
{
	struct bpflock_counter *counter;

	if (!is_plainly_allowed(task, op))
		return false;
	counter = counter_of(op);
	if (counter->last != who(task, object, REASON_BASELINE))
		return false;
	__sync_fetch_and_add(&counter->repeated, 1);
	return true;
}

/* Count the decision, report it unless it repeats itself, and give the hook's return value. */
static __always_inline int count_and_report(const struct access *access, bool has_path, enum bpflock_reason reason)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct bpflock_counter *counter = counter_of(access->op);
	int retval = denies(reason) ? -ERROR_OF(access->op) : 0;

	if (retval) {
		__sync_fetch_and_add(&counter->denied, 1);
	} else {
		if (repeats_in(counter, task, access->object, reason))
			return 0;
		/* What bpflock itself does is neither counted nor told: reading these counters would raise them. */
		if (own_task(task))
			return 0;
		__sync_fetch_and_add(&counter->allowed, 1);
		counter->last = who(task, access->object, reason);
	}
	report(counter, access, has_path, reason, retval);
	return retval;
}

/* Kept out of line: the path that most accesses take stays short. */
static __noinline int settle_with_path(const struct path *path, const char *called, u64 numbers, u64 object,
				       enum bpflock_reason reason)
{
	struct access access = access_of(numbers, object);

	access.path = path;
	access.called = called;
	return count_and_report(&access, true, reason);
}

/*
 * Not static: the verifier looks at a global function once, whatever leads to it. But it takes no pointer to a path.
 * `name`: the address of a string in kernel memory, or 0.
 */
__noinline int settle_without_path(u64 name, u64 numbers, u64 object, enum bpflock_reason reason)
{
	struct access access = access_of(numbers, object);

	access.name = (const char *)name;
	return count_and_report(&access, false, reason);
}

/* A hook's answer, from what a global function answered: of that the verifier knows nothing. */
static __always_inline int answer(int result)
{
	if (likely(!result))
		return 0;
#ifdef OTHER_ERROR
	if (result == -OTHER_ERROR)
		return -OTHER_ERROR;
#endif
	return result == -ECANCELED ? -ECANCELED : -EPERM;
}

static __always_inline int settle(const struct access *access, enum bpflock_reason reason)
{
	u64 numbers = numbers_of(access);

	if (access->path)
		return settle_with_path(access->path, access->called, numbers, access->object, forget(reason));
	return answer(settle_without_path(access->name ? address_of(access->name) : 0, numbers, access->object, reason));
}

/*
 * The canary is denied by every hook of one lock, without a side effect, to prove that the hook fires; its errno tells
 * it from every other denial. The hooks of other locks let it pass, or it could not reach the one it is for.
 */
static __always_inline struct bpflock_own *canary(struct task_struct *task)
{
	struct bpflock_own *own;

	/* One load where a look-up would be the most expensive part of the hook. */
	if (likely(!shared.canary))
		return 0;
	own = own_task(task);
	return own && own->canary ? own : 0;
}

static __always_inline int answer_canary(const struct bpflock_own *own, enum bpflock_lock lock)
{
	if (own->canary != ENTER_CANARY + lock)
		return 0;
	__sync_fetch_and_add(&counter_of(OP_CANARY)->denied, 1);
	return -ECANCELED;
}

static __always_inline int enforce_access(const struct access *access)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct bpflock_own *own = canary(task);

	if (own)
		return answer_canary(own, access->lock);
	return settle(access, decide(task, access->op));
}

/* Out of line, and global where it can be, as those that settle: what takes the short way does not come here. */
static __noinline int enforce_with_path(const struct path *path, const char *called, u64 numbers, u64 object)
{
	struct access access = access_of(numbers, object);

	access.path = path;
	access.called = called;
	return enforce_access(&access);
}

__noinline int enforce_without_path(u64 name, u64 numbers, u64 object)
{
	struct access access = access_of(numbers, object);

	access.name = (const char *)name;
	return enforce_access(&access);
}

/* For hooks that are not on a hot path: the canary, then the decision. */
static __always_inline int enforce(const struct access *access)
{
	u64 numbers = numbers_of(access);

	if (access->path)
		return enforce_with_path(access->path, access->called, numbers, access->object);
	return answer(enforce_without_path(access->name ? address_of(access->name) : 0, numbers, access->object));
}

/* For those that are. */
static __always_inline int enforce_often(const struct access *access)
{
	return likely(passes(bpf_get_current_task_btf(), access->op, access->object)) ? 0 : enforce(access);
}

__noinline int answer_any_canary(enum bpflock_lock lock)
{
	struct bpflock_own *own = canary(bpf_get_current_task_btf());

	return own ? answer_canary(own, lock) : 0;
}

/*
 * For hooks that fire for much else: what is none of the lock's business passes, except for the canary, which must be
 * able to reach a hook by any of its ways.
 */
static __always_inline int ignore(enum bpflock_lock lock)
{
	return likely(!shared.canary) ? 0 : answer(answer_any_canary(lock));
}

#endif
