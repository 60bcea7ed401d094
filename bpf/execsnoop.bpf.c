// SPDX-License-Identifier: GPL-2.0
/*
 * execsnoop: every program that starts is seen.
 *
 * tp_btf/sched_process_exec fires once an exec has succeeded, with the name that was asked for. The tracepoints of the
 * system calls themselves would make every system call of every task slower. What was denied is told by the lock
 * that denied it.
 */
#include "common.bpf.h"

const volatile enum execsnoop_op operations; /* their names, for user space */

SEC("tp_btf/sched_process_exec")
int BPF_PROG(execsnoop_sched_process_exec, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	struct access access = { .lock = LOCK_EXECSNOOP, .name = bprm->filename };
	struct bpflock_own *own = shared.canary ? bpf_task_storage_get(&bpflock_own, bpf_get_current_task_btf(), 0, 0) : 0;
	struct bpflock_counter *counter;

	/* The canary's own exec: its mark is from before, and this one has dropped it. */
	if (own && own->canary && own->exec_id + 1 == task->self_exec_id) {
		answer_canary(own, LOCK_EXECSNOOP);
		return 0;
	}

	if (config.profile == PROFILE_FILTER && (!shared.cgroups || search_cgroups() == PROFILE_NONE))
		return 0;
	/* Set only for execveat() relative to a descriptor; the kernel runs the rest as execve() does. */
	access.op = bprm->fdpath ? EXECSNOOP_EXECVEAT : EXECSNOOP_EXECVE;
	access.type = bprm->fdpath ? EVENT_SYSCALL_EXECVEAT : EVENT_SYSCALL_EXECVE;
	counter = counter_of(access.op);
	if (!counter)
		return 0;
	__sync_fetch_and_add(&counter->allowed, 1);
	/* Not limited: each exec is another program, and costs thousands of times more than its event. */
	if (!send(&access, REASON_TRACED, 0, 0))
		__sync_fetch_and_add(&counter->dropped, 1);
	return 0;
}
