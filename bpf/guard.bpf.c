// SPDX-License-Identifier: GPL-2.0
/*
 * guard: what protects the locks themselves. Loaded before the first lock, pinned like them, removed after the last.
 *
 *  cgroup/sysctl at the root cgroup
 *                        On kernels up to at least 6.12, kernel.ftrace_enabled=0 switches every BPF LSM program off
 *                        without a word, and root of any container that can write /proc/sys could do it. This program
 *                        type does not hang on ftrace. It sees the write itself: by any path, any mount of procfs, and
 *                        any descriptor opened before.
 *  lsm/task_prctl        The door for bpflock's own tasks: prctl(PRCTL_BPFLOCK, key[0], key[1], key[2], mode), with a
 *                        random key that root of the host alone can read, beside the pins. A task that enters may use
 *                        bpf(2) under every lock until it leaves, calls exec or ends; its children may not. prctl
 *                        arguments are registers: nothing is read from user memory.
 */
#define WITHOUT_TASK_BTF
#include "common.bpf.h"

#define EALREADY 114

const volatile u64 key[3];
const volatile struct bpflock_abi abi;

/* Tells the locks what the first task of all has: the parent of process 1 of the initial pid namespace. */
static __always_inline void find_init(struct task_struct *task)
{
	struct task_struct *first = BPF_CORE_READ(task, thread_pid, numbers[0].ns, child_reaper, real_parent);

	if (BPF_CORE_READ(first, pid) != 0)
		return;
	shared.init_nsproxy = (u64)BPF_CORE_READ(first, nsproxy);
	shared.init_net = (u64)BPF_CORE_READ(first, nsproxy, net_ns);
}

SEC("lsm/task_prctl")
int BPF_PROG(guard_task_prctl, int option, unsigned long arg2, unsigned long arg3, unsigned long arg4, unsigned long arg5, int ret)
{
	struct task_struct *task;
	struct bpflock_own *own;
	bool plain;

	/* The default of this hook is not 0: -ENOSYS means that no LSM took the call. */
	if (likely(option != PRCTL_BPFLOCK))
		return ret;
	if (!(key[0] | key[1] | key[2]) || arg2 != key[0] || arg3 != key[1] || arg4 != key[2])
		return ret;
	task = bpf_get_current_task_btf();
	find_init(task);
	/* User space has one canary at a time, and each ends with a task that enters in another way. */
	shared.canary = arg5 >= ENTER_CANARY;
	plain = !shared.cgroups && !shared.canary;
	shared.plain_nsproxy = plain ? shared.init_nsproxy : NO_NAMESPACE;
	shared.plain_net = plain ? shared.init_net : NO_NAMESPACE;
	if (arg5 == ENTER_LEAVE) {
		bpf_task_storage_delete(&bpflock_own, task);
		return -EALREADY;
	}
	own = bpf_task_storage_get(&bpflock_own, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!own)
		return ret;
	own->exec_id = task->self_exec_id;
	own->canary = arg5 >= ENTER_CANARY ? arg5 : 0;
	return -EALREADY;
}

SEC("cgroup/sysctl")
int guard_sysctl(struct bpf_sysctl *ctx)
{
	struct access access = { .lock = LOCK_GUARD, .type = EVENT_CGROUP_SYSCTL };
	struct bpflock_counter *counter;
	char name[32] = {};

	if (!ctx->write)
		return 1;
	if (bpf_sysctl_get_name(ctx, name, sizeof(name), 0) < 0)
		return 1; /* longer than the one guarded */
	if (bpf_strncmp(name, sizeof(name), "kernel/ftrace_enabled"))
		return 1;
	counter = counter_of(0);
	__sync_fetch_and_add(&counter->denied, 1);
	report(counter, &access, false, REASON_DENIED_GUARD, -EPERM);
	return 0;
}
