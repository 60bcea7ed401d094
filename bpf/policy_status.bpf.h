/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which tasks are confined, and by what: user space makes an iterator of the program when it wants to know, and reads a record
 * for each task. Nothing is attached in between.
 *
 * A task that has ended does nothing any more, reaped or not: it is left out.
 */
#ifndef BPFLOCK_POLICY_STATUS_BPF_H
#define BPFLOCK_POLICY_STATUS_BPF_H

struct policy_listed {
	u32 profile;
	u32 flags; /* enum policy_task_flags */
	u32 tgid;
	u32 pid;
};

SEC("iter/task")
int policy_list(struct bpf_iter__task *context)
{
	struct task_struct *task = context->task;
	struct policy_listed listed = {};
	struct policy_task *subject;

	if (!task || task->exit_state)
		return 0;
	subject = confined(task);
	if (!subject)
		return 0;
	listed.profile = subject->profile;
	listed.flags = subject->flags;
	listed.tgid = task->tgid;
	listed.pid = task->pid;
	/* If the record has no room, the kernel calls again for this task. */
	bpf_seq_write(context->meta->seq, &listed, sizeof(listed));
	return 0;
}

#endif
