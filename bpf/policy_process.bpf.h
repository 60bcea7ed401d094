/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The part of the policy engine that is about what a process does to another one beside signals and ptrace: it can end it, slow
 * it down, and take its memory away. Rules name that as signals are named.
 *
 *  limits    lsm/task_setrlimit: prlimit(2). task_prlimit is not told which process it is about, and comes before.
 *  priority  lsm/task_setnice: setpriority(2); task_setscheduler: sched_setscheduler(2), sched_setattr(2),
 *            sched_setaffinity(2), and moving it into a cgroup with other CPUs; task_setioprio: ioprio_set(2).
 *  memory    lsm/task_movememory: move_pages(2), migrate_pages(2).
 *
 * What a process does to itself is not asked: where it gains by that, the kernel asks for a capability.
 *
 * Not hooked, as nothing is done to the other process by it:
 *  task_getscheduler, task_getioprio, task_getpgid, task_getsid
 *            information.
 *  task_setpgid
 *            only of a child that still runs this program, in this session.
 *  process_mrelease(2) (it has no hook)
 *            only of a process that is about to end.
 *  process_madvise(2), kcmp(2), pidfd_getfd(2), process_vm_*(2), get_robust_list(2), prctl(PR_SCHED_CORE)
 *            ask ptrace_access_check; the first one, besides, for CAP_SYS_NICE.
 *  oom_score_adj, timerslack_ns, autogroup and the like
 *            files of a process below procfs.
 */
#ifndef BPFLOCK_POLICY_PROCESS_BPF_H
#define BPFLOCK_POLICY_PROCESS_BPF_H

#include "policy_objects.bpf.h"

/* Numbers behind the signals, in the order of enum policy_signal_extra. */
enum { NUMBER_LIMITS = SIGNALS + 1, NUMBER_PRIORITY, NUMBER_MEMORY };

static __always_inline int decide_other(struct task_struct *other, u32 number, enum bpflock_event_type type)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct policy_task *subject = confined(task);

	if (likely(!subject))
		return 0;
	if (other->tgid == task->tgid && !is_canary(subject))
		return 0;
	return decide_signal(subject, other, is_instance(subject, other), number, type);
}

SEC("lsm/task_setrlimit")
int BPF_PROG(policy_task_setrlimit, struct task_struct *other, unsigned int resource, void *limit, int ret)
{
	return ret ? ret : decide_other(other, NUMBER_LIMITS, EVENT_LSM_TASK_SETRLIMIT);
}

SEC("lsm/task_setscheduler")
int BPF_PROG(policy_task_setscheduler, struct task_struct *other, int ret)
{
	return ret ? ret : decide_other(other, NUMBER_PRIORITY, EVENT_LSM_TASK_SETSCHEDULER);
}

SEC("lsm/task_setnice")
int BPF_PROG(policy_task_setnice, struct task_struct *other, int nice, int ret)
{
	return ret ? ret : decide_other(other, NUMBER_PRIORITY, EVENT_LSM_TASK_SETNICE);
}

SEC("lsm/task_setioprio")
int BPF_PROG(policy_task_setioprio, struct task_struct *other, int priority, int ret)
{
	return ret ? ret : decide_other(other, NUMBER_PRIORITY, EVENT_LSM_TASK_SETIOPRIO);
}

SEC("lsm/task_movememory")
int BPF_PROG(policy_task_movememory, struct task_struct *other, int ret)
{
	return ret ? ret : decide_other(other, NUMBER_MEMORY, EVENT_LSM_TASK_MOVEMEMORY);
}

#endif
