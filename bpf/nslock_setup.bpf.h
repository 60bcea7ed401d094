/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The host's programs that are in namespaces already which they make or enter: the host's until they execute the program that
 * shall be there. `ip netns exec`, bubblewrap, systemd and the container runtimes make one namespace after the other.
 *
 * A record of such a task is made by what is on the host alone: before it enters a network namespace, or when it forks into
 * a pid or network namespace. Forks inherit it, an exec ends it. It says nothing once a child has executed something: that
 * is in the same sandbox, where it might take over those who made it (bubblewrap stays as process 1).
 */
#ifndef BPFLOCK_NSLOCK_SETUP_BPF_H
#define BPFLOCK_NSLOCK_SETUP_BPF_H

#include "common.bpf.h"

#define CHILDREN_MAX 16 /* who has more is no program that only sets up a sandbox */

struct nslock_setup {
	u64 exec_id; /* of the task when it was on the host */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct nslock_setup);
} nslock_setups SEC(".maps");

/*
 * Whether all children run the program that the task runs. Read without the kernel's lock: a walk that does not come to its
 * end finds that they do not.
 */
static __always_inline bool children_run(struct task_struct *task, u64 exec_id)
{
	struct list_head *head = (void *)task + bpf_core_field_offset(struct task_struct, children);
	struct list_head *next = BPF_CORE_READ(task, children.next);

	for (int i = 0; i < CHILDREN_MAX; i++) {
		struct task_struct *child = (void *)next - bpf_core_field_offset(struct task_struct, sibling);

		if (next == head)
			return true;
		if (BPF_CORE_READ(child, self_exec_id) != exec_id)
			return false;
		next = BPF_CORE_READ(child, sibling.next);
	}
	return false;
}

/* Global, as the verifier looks at each of these once. */
__noinline bool sets_up(void)
{
	struct task_struct *task = bpf_get_current_task_btf(), *parent = task->real_parent;
	struct nslock_setup *setup = bpf_task_storage_get(&nslock_setups, task, 0, 0);
	u64 exec_id = task->self_exec_id;

	if (!setup || setup->exec_id != exec_id || !children_run(task->group_leader, exec_id))
		return false;
	/* The same sandbox's as far as the parent is of it, too. */
	setup = bpf_task_storage_get(&nslock_setups, parent, 0, 0);
	return !setup || children_run(parent, exec_id);
}

__noinline bool is_of_host(void)
{
	return on_host(bpf_get_current_task_btf()) || is_host_service() || sets_up();
}

static __always_inline void remember(struct task_struct *task, u64 exec_id)
{
	struct nslock_setup *setup = bpf_task_storage_get(&nslock_setups, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (setup)
		setup->exec_id = exec_id;
}

/* The task will leave the host by entering a network namespace. */
__noinline int remember_itself(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (is_of_host())
		remember(task, task->self_exec_id);
	return 0;
}

/* Of each fork: what is neither in namespaces nor makes any is not concerned. */
static __always_inline void inherit(struct task_struct *child, u64 flags)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct nsproxy *nsproxy = task->nsproxy;
	bool leaves = flags & (CLONE_NEWPID | CLONE_NEWNET);

	if (likely((u64)nsproxy == shared.init_nsproxy && !leaves))
		return;
	leaves |= nsproxy->pid_ns_for_children->level != task->thread_pid->level;
	if (!leaves && on_host(task))
		return;
	if (leaves ? is_of_host() : sets_up())
		remember(child, task->self_exec_id);
}

/*
 * Whether an unprivileged user made the task's user namespace, and the task is still in the host's mount namespace. Chromium's
 * sandbox is like that: it runs the host's programs in namespaces. A container has a mount namespace of its own.
 */
static __always_inline bool in_own_sandbox(struct task_struct *task)
{
	struct nsproxy *first = (void *)shared.init_nsproxy;
	struct user_namespace *user = task->cred->user_ns;

	return shared.init_nsproxy != NO_NAMESPACE && user->level && user->owner.val &&
	       task->nsproxy->mnt_ns == BPF_CORE_READ(first, mnt_ns);
}

/* What baseline denies outside the host and not to these. */
__noinline bool is_excused(u32 op)
{
	return sets_up() || (op != NSLOCK_SETNS && in_own_sandbox(bpf_get_current_task_btf()));
}

#endif
