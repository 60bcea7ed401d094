// SPDX-License-Identifier: GPL-2.0
/*
 * execsnoop: every program that starts is seen, with its arguments and its ancestors, and how it ended.
 *
 *  tp_btf/sched_process_exec  fires once an exec has succeeded, with the name that was asked for. The arguments are those that
 *                             the kernel has put into the new program's memory: it has not run yet, and the caller, whose
 *                             memory they were copied from, cannot reach it any more. The tracepoints of the system calls
 *                             themselves would make every system call of every task slower.
 *  tp_btf/sched_process_exit  the end of a process whose exec was told, once, when its last thread has gone.
 *
 *  fexit/__x64_sys_execve     and its three relatives: an exec that failed. What they take is in the caller's memory, where
 *                             another of its threads may have changed it since the kernel read it.
 */
#include "common.bpf.h"
#include "syscall.bpf.h"

#define ARGS_SHORT 256 /* most command lines; see PATH_SHORT */
#define ARGS_LONG 4096
#define PARENTS 8 /* ancestors that are told */
#define SIGNAL_GROUP_EXIT 4 /* linux/sched/signal.h */

const volatile enum execsnoop_op operations; /* their names, for user space */

struct execsnoop_target {
	__u32 args; /* bytes of arguments that are told; at most ARGS_LONG */
	__u32 pad;
};

const volatile struct execsnoop_target target SEC(".rodata.config");

struct execsnoop_parent {
	__u32 pid;
	char comm[COMM_LEN];
};

/* Follows the header in records of execsnoop; then the path, of path_len bytes. */
struct execsnoop_detail {
	__u64 duration; /* ns since the exec; of an exit only */
	__u32 args_len; /* bytes of arguments, each ended by a NUL ... */
	__u32 args_offset; /* ... at this place in the record */
	__u32 args_total; /* bytes that there are; 0 also where none are to be told */
	__u32 parents; /* how many of the array are set: the parent first */
	__u32 higher; /* the last of them has a parent, too */
	__u32 status; /* as wait(2) gives it; of an exit only */
	char parent[PARENTS * sizeof(struct execsnoop_parent)];
};

struct exec_short {
	struct bpflock_event event;
	struct execsnoop_detail detail;
	char path[PATH_SHORT];
	char args[ARGS_SHORT];
};

struct exec_long {
	struct bpflock_event event;
	struct execsnoop_detail detail;
	char path[PATH_LONG];
	char args[ARGS_LONG];
};

struct exit {
	struct bpflock_event event;
	struct execsnoop_detail detail;
};

/* For user space: how to read the array above. Never read here. */
const volatile struct execsnoop_parent parent_layout;

/* Processes whose exec was told, by tgid: when it was, ns of CLOCK_BOOTTIME. Every one that ends leaves it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, u32);
	__type(value, u64);
} execsnoop_running SEC(".maps");

static __noinline void fill_parents(struct execsnoop_detail *detail, struct task_struct *task)
{
	struct execsnoop_parent *parent = (void *)detail->parent;
	u32 count;

	task = task->real_parent;
	for (count = 0; count < PARENTS; count++) {
		u32 pid = task->tgid;

		if (!pid) /* the kernel's own, above init and above all of its threads */
			break;
		parent[count].pid = pid;
		__builtin_memcpy(parent[count].comm, task->comm, COMM_LEN);
		task = task->real_parent;
	}
	detail->parents = count;
	detail->higher = count == PARENTS && task->tgid;
	detail->duration = 0;
	detail->status = 0;
}

/* The caller has looked that no more than `room` is wanted; the verifier has forgotten it. */
static __always_inline void read_args(struct execsnoop_detail *detail, char *args, u32 room, u64 start, u32 wanted)
{
	detail->args_len = 0;
	asm volatile("" : "+r"(wanted));
	if (wanted > room)
		return;
	/* All or nothing: they were written just before, and so are in memory. */
	if (!bpf_probe_read_user(args, wanted, (const void *)start))
		detail->args_len = wanted;
}

static __noinline bool send_exec(const struct access *access, struct task_struct *task)
{
	u64 start = task->mm->arg_start, end = task->mm->arg_end;
	u64 total = target.args && end > start ? end - start : 0;
	u32 wanted = total < target.args ? total : target.args;
	struct exec_short *brief;
	struct exec_long *full;
	long length;

	if (wanted <= ARGS_SHORT) {
		brief = bpf_ringbuf_reserve(&bpflock_events, sizeof(*brief), 0);
		if (!brief)
			return false;
		length = read_path(brief->path, PATH_SHORT, access, false);
		if (length >= 0 && length < PATH_SHORT - 1) {
			fill(&brief->event, access, REASON_TRACED, 0, 0);
			brief->event.size = sizeof(*brief);
			brief->event.path_len = length;
			fill_parents(&brief->detail, task);
			brief->detail.args_total = total;
			brief->detail.args_offset = offsetof(struct exec_short, args);
			read_args(&brief->detail, brief->args, ARGS_SHORT, start, wanted);
			bpf_ringbuf_submit(brief, wakeup());
			return true;
		}
		bpf_ringbuf_discard(brief, BPF_RB_NO_WAKEUP);
	}
	full = bpf_ringbuf_reserve(&bpflock_events, sizeof(*full), 0);
	if (!full)
		return false;
	fill(&full->event, access, REASON_TRACED, 0, 0);
	full->event.size = sizeof(*full);
	length = read_path(full->path, PATH_LONG, access, false);
	full->event.path_len = length > 0 ? length : 0;
	fill_parents(&full->detail, task);
	full->detail.args_total = total;
	full->detail.args_offset = offsetof(struct exec_long, args);
	read_args(&full->detail, full->args, ARGS_LONG, start, wanted);
	bpf_ringbuf_submit(full, wakeup());
	return true;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(execsnoop_sched_process_exec, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	struct access access = { .lock = LOCK_EXECSNOOP, .name = bprm->filename };
	struct bpflock_own *own = shared.canary ? bpf_task_storage_get(&bpflock_own, bpf_get_current_task_btf(), 0, 0) : 0;
	struct bpflock_counter *counter;
	u32 tgid = task->tgid;
	u64 now;

	/* The canary's own exec: its mark is from before, and this one has dropped it. */
	if (own && own->canary && own->exec_id + 1 == task->self_exec_id) {
		answer_canary(own, LOCK_EXECSNOOP);
		return 0;
	}

	if (config.profile == PROFILE_FILTER && (!shared.cgroups || search_cgroups() == PROFILE_NONE)) {
		/* It may have been told of before it was another program, in another cgroup. */
		bpf_map_delete_elem(&execsnoop_running, &tgid);
		return 0;
	}
	/* Set only for execveat() relative to a descriptor; the kernel runs the rest as execve() does. */
	access.op = bprm->fdpath ? EXECSNOOP_EXECVEAT : EXECSNOOP_EXECVE;
	access.type = bprm->fdpath ? EVENT_SYSCALL_EXECVEAT : EVENT_SYSCALL_EXECVE;
	counter = counter_of(forget(access.op));
	now = bpf_ktime_get_boot_ns();
	bpf_map_update_elem(&execsnoop_running, &tgid, &now, BPF_ANY);
	__sync_fetch_and_add(&counter->allowed, 1);
	/* Not limited: each exec is another program, and costs thousands of times more than its event. */
	if (!send_exec(&access, task))
		__sync_fetch_and_add(&counter->dropped, 1);
	return 0;
}

/* Who asked for it goes on as it was. */
static __noinline bool send_failed(const struct access *access, struct task_struct *task, u64 name, int retval, u32 repeats)
{
	struct exec_short *brief;
	struct exec_long *full;
	long length;

	brief = bpf_ringbuf_reserve(&bpflock_events, sizeof(*brief), 0);
	if (!brief)
		return false;
	/* It has just been read by the kernel, or is what could not be. */
	length = bpf_probe_read_user_str(brief->path, PATH_SHORT, (const void *)name);
	if (length < PATH_SHORT - 1) {
		fill(&brief->event, access, REASON_TRACED, retval, repeats);
		brief->event.size = sizeof(*brief);
		brief->event.path_len = length > 0 ? length - 1 : 0;
		fill_parents(&brief->detail, task);
		brief->detail.args_len = brief->detail.args_total = brief->detail.args_offset = 0;
		bpf_ringbuf_submit(brief, wakeup());
		return true;
	}
	bpf_ringbuf_discard(brief, BPF_RB_NO_WAKEUP);
	full = bpf_ringbuf_reserve(&bpflock_events, sizeof(*full), 0);
	if (!full)
		return false;
	fill(&full->event, access, REASON_TRACED, retval, repeats);
	full->event.size = sizeof(*full);
	length = bpf_probe_read_user_str(full->path, PATH_LONG, (const void *)name);
	full->event.path_len = length > 0 ? length - 1 : 0;
	fill_parents(&full->detail, task);
	full->detail.args_len = full->detail.args_total = full->detail.args_offset = 0;
	bpf_ringbuf_submit(full, wakeup());
	return true;
}

/* Limited, unlike those that succeed: to fail costs next to nothing. */
static __noinline int failed(u32 op, enum bpflock_event_type type, u64 name, int retval)
{
	struct access access = { .lock = LOCK_EXECSNOOP, .op = op, .type = type, .object = (u64)-retval };
	struct task_struct *task = bpf_get_current_task_btf();
	struct bpflock_own *own = canary(task);
	struct bpflock_counter *counter;
	u32 repeats = 0;
	u64 quiet;

	if (own) {
		answer_canary(own, LOCK_EXECSNOOP);
		return 0;
	}
	if (config.profile == PROFILE_FILTER && (!shared.cgroups || search_cgroups() == PROFILE_NONE))
		return 0;
	counter = counter_of(forget(op));
	__sync_fetch_and_add(&counter->denied, 1);
	if (!limit(&access, REASON_TRACED, task->tgid, &repeats, &quiet))
		__sync_fetch_and_add(&counter->limited, 1);
	else if (!send_failed(&access, task, name, retval, repeats))
		__sync_fetch_and_add(&counter->dropped, 1);
	return 0;
}

/* The calls' arguments as each way in has them. */
#define FAILED(function, op, type, name)                                                       \
	SEC("?fexit/" #function)                                                                \
	int BPF_PROG(execsnoop_##function, const REGISTERS *regs, long result)                  \
	{                                                                                       \
		return result < 0 ? failed(EXECSNOOP_##op, EVENT_##type, name, result) : 0;     \
	}

#ifdef __TARGET_ARCH_arm64
FAILED(__arm64_sys_execve, EXECVE, SYSCALL_EXECVE, regs->regs[0])
FAILED(__arm64_sys_execveat, EXECVEAT, SYSCALL_EXECVEAT, regs->regs[1])
FAILED(__arm64_compat_sys_execve, EXECVE, SYSCALL_EXECVE, (u32)regs->regs[0])
FAILED(__arm64_compat_sys_execveat, EXECVEAT, SYSCALL_EXECVEAT, (u32)regs->regs[1])
#else
FAILED(__x64_sys_execve, EXECVE, SYSCALL_EXECVE, regs->di)
FAILED(__x64_sys_execveat, EXECVEAT, SYSCALL_EXECVEAT, regs->si)
FAILED(__ia32_compat_sys_execve, EXECVE, SYSCALL_EXECVE, (u32)regs->bx)
FAILED(__ia32_compat_sys_execveat, EXECVEAT, SYSCALL_EXECVEAT, (u32)regs->cx)
#endif

static __always_inline bool send_exit(const struct access *access, struct task_struct *leader, u64 since)
{
	struct exit *record = bpf_ringbuf_reserve(&bpflock_events, sizeof(*record), 0);

	if (!record)
		return false;
	fill(&record->event, access, REASON_TRACED, 0, 0);
	record->event.size = sizeof(*record);
	/* Of the process, whichever of its threads was the last. */
	record->event.pid = record->event.tgid;
	__builtin_memcpy(record->event.comm, leader->comm, COMM_LEN);
	record->detail.args_len = 0;
	record->detail.args_total = 0;
	record->detail.args_offset = 0;
	record->detail.parents = 0;
	record->detail.higher = 0;
	record->detail.duration = record->event.time - since;
	/* As wait_task_zombie() does. */
	record->detail.status = leader->signal->flags & SIGNAL_GROUP_EXIT ? leader->signal->group_exit_code : leader->exit_code;
	bpf_ringbuf_submit(record, wakeup());
	return true;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(execsnoop_sched_process_exit, struct task_struct *task)
{
	struct access access = { .lock = LOCK_EXECSNOOP, .op = EXECSNOOP_EXIT, .type = EVENT_SCHED_PROCESS_EXIT };
	struct bpflock_counter *counter;
	struct bpflock_own *own;
	u64 *found, since;
	u32 tgid;

	/* Other threads are still there. Of several that go at once, more than one may see none. */
	if (task->signal->live.counter)
		return 0;
	own = canary(task);
	if (own) {
		answer_canary(own, LOCK_EXECSNOOP);
		return 0;
	}
	tgid = task->tgid;
	found = bpf_map_lookup_elem(&execsnoop_running, &tgid);
	if (!found)
		return 0;
	since = *found;
	/* Only one of those threads can take it out. */
	if (bpf_map_delete_elem(&execsnoop_running, &tgid))
		return 0;
	counter = counter_of(EXECSNOOP_EXIT);
	__sync_fetch_and_add(&counter->allowed, 1);
	if (!send_exit(&access, task->group_leader, since))
		__sync_fetch_and_add(&counter->dropped, 1);
	return 0;
}
