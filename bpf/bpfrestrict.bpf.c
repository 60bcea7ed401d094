// SPDX-License-Identifier: GPL-2.0
/*
 * bpfrestrict: nobody outside the host uses bpf(2).
 *
 *  lsm/bpf               every command of bpf(2), before anything else happens; the command is an operation.
 *  lsm/locked_down       programs that write to user memory (bpf_write), which a plain "load a program" does not tell.
 *
 * Even `restricted` must leave bpflock itself able to report, reload and unlock: the tasks that entered (guard.bpf.c)
 * are exempt, by task, not by name, and not their children.
 */
#include "common.bpf.h"

/* Numbers of enum bpf_cmd are stable. From 7.x on, a flag bit may be set in the command (BPF_COMMON_ATTRS). */
#define BPF_CMD_MASK 0xffff

const volatile enum bpfrestrict_op operations; /* their names, for user space */

/*
 * No `ret` here: its place differs (7.3 passes whether the kernel itself calls, 6.12 does not). Nothing is lost: after
 * a program that denied, the trampoline runs no other.
 */
/* Global: the verifier looks at it once. */
__noinline int bpfrestrict_decide(u32 op)
{
	struct access access = { .lock = LOCK_BPFRESTRICT, .type = EVENT_LSM_BPF, .op = op };
	struct task_struct *task = bpf_get_current_task_btf();
	enum bpflock_reason reason;

	if (unlikely(op == OP_OTHER)) {
		struct bpflock_own *own = canary(task);

		/* Only a command that does not exist may be the canary's. */
		if (own)
			return answer_canary(own, LOCK_BPFRESTRICT);
	}
	reason = decide(task, op);
	if (denies(reason) && own_task(task))
		reason = REASON_ALLOW_BPFLOCK;
	return settle(&access, reason);
}

SEC("lsm/bpf")
int BPF_PROG(bpfrestrict_bpf, int cmd)
{
	u32 op = cmd & BPF_CMD_MASK;

	if (unlikely(op >= OP_EXTRA))
		op = OP_OTHER;
	return likely(passes(bpf_get_current_task_btf(), op, 0)) ? 0 : answer(bpfrestrict_decide(op));
}

SEC("lsm/locked_down")
int BPF_PROG(bpfrestrict_locked_down, enum lockdown_reason what, int ret)
{
	if (ret)
		return ret;
	if (likely(what != bpf_core_enum_value(enum lockdown_reason, LOCKDOWN_BPF_WRITE_USER)))
		return ignore(LOCK_BPFRESTRICT);

	struct access access = {
		.lock = LOCK_BPFRESTRICT,
		.type = EVENT_LSM_LOCKED_DOWN,
		.op = BPFRESTRICT_BPF_WRITE,
	};

	return enforce(&access);
}
