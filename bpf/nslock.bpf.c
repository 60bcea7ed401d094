// SPDX-License-Identifier: GPL-2.0
/*
 * nslock: nobody outside the host creates a namespace, or enters another one.
 *
 *  lsm/task_alloc        clone(2) and clone3(2), with the flags as the kernel copied them: each new task passes here.
 *  lsm/userns_create     user namespaces, by whatever system call. They take no right, so no capability is asked for.
 *  lsm/capable           unshare(2), setns(2), and the calls that return a new mount namespace (open_tree(2), fsmount(2)
 *                        since 7.0): all of them ask for CAP_SYS_ADMIN before they do anything. Which of them it is,
 *                        and the flags, is in the registers with which the task entered the kernel: nothing is read
 *                        from user memory, and nobody can change them during the call. The 32-bit entries, which number
 *                        the calls differently, are decoded, too.
 *
 * Creating several namespaces at once needs every type; the first that is denied is told. setns() is decided as `setns`;
 * besides, a type that is blocked by name cannot be entered. With 0 as the type the kernel takes any, and so does the
 * lock: it is denied if any type is blocked. What the descriptor stands for is not looked up: another thread could
 * exchange it in between. Under baseline, who is in the host's pid namespace may enter others.
 *
 * The kernel asks for CAP_SYS_ADMIN more than once for one setns() or unshare(CLONE_NEWCGROUP), and each time is counted.
 * Not done here: opening a namespace's file, and tasks that are in a namespace already.
 */
#include "common.bpf.h"

#define CAP_SYS_ADMIN 21

#define CLONE_NEWTIME 0x00000080
#define CLONE_NEWNS 0x00020000
#define CLONE_NEWCGROUP 0x02000000
#define CLONE_NEWUTS 0x04000000
#define CLONE_NEWIPC 0x08000000
#define CLONE_NEWUSER 0x10000000
#define CLONE_NEWPID 0x20000000
#define CLONE_NEWNET 0x40000000
#define CLONE_EMPTY_MNTNS (1ULL << 37) /* of clone3(); since 7.1 */
#define UNSHARE_EMPTY_MNTNS 0x00100000 /* of unshare() */
#define OPEN_TREE_NAMESPACE 2
#define FSMOUNT_NAMESPACE 2

#define CLONE_NEW \
	(CLONE_NEWTIME | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | \
	 CLONE_NEWNET | CLONE_EMPTY_MNTNS)
#define BIT(op) (1U << (op))
#define TYPES (NSLOCK_TIME + 1) /* operations that are types: those below */
#define ALL_TYPES (BIT(TYPES) - 1)

struct user_namespace;

const volatile enum nslock_op operations; /* their names, for user space */

/* The system call that the task is in. */
struct call {
	u32 number;
	u64 first, second, third; /* arguments */
};

/* These three have the same numbers everywhere. */
#define NR_OPEN_TREE 428
#define NR_FSMOUNT 432
#define NR_OPEN_TREE_ATTR 467

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct thread_info___x86 {
	u32 status;
};
struct task_struct___x86 {
	struct thread_info___x86 thread_info;
};
struct pt_regs___x86 {
	unsigned long bx, cx, dx, si, di, orig_ax;
};
struct thread_info___arm64 {
	unsigned long flags;
};
struct task_struct___arm64 {
	struct thread_info___arm64 thread_info;
};
struct pt_regs___arm64 {
	u64 regs[31];
	u64 orig_x0;
	s32 syscallno;
};
#pragma clang attribute pop

#if defined(__TARGET_ARCH_x86)

#define NR_UNSHARE 272
#define NR_SETNS 308
#define NR_UNSHARE_32 310
#define NR_SETNS_32 346
#define NR_X32 0x40000000
#define TS_COMPAT 2

static __always_inline bool decode(struct task_struct *task, struct call *call)
{
	struct pt_regs___x86 *regs = (void *)bpf_task_pt_regs(task);

	call->number = (u32)regs->orig_ax & ~NR_X32;
	/* First what any of the tables could mean: all other calls leave here. */
	if (likely(call->number != NR_UNSHARE && call->number != NR_SETNS && call->number != NR_UNSHARE_32 &&
		   call->number != NR_SETNS_32 && call->number != NR_OPEN_TREE && call->number != NR_FSMOUNT &&
		   call->number != NR_OPEN_TREE_ATTR))
		return false;
	if (((struct task_struct___x86 *)task)->thread_info.status & TS_COMPAT) {
		/* int $0x80 and the 32-bit sysenter, from a task of whichever width. */
		call->first = (u32)regs->bx;
		call->second = (u32)regs->cx;
		call->third = (u32)regs->dx;
		if (call->number == NR_UNSHARE_32)
			call->number = NR_UNSHARE;
		else if (call->number == NR_SETNS_32)
			call->number = NR_SETNS;
		else if (call->number == NR_UNSHARE || call->number == NR_SETNS)
			return false; /* another call's number */
		return true;
	}
	call->first = regs->di;
	call->second = regs->si;
	call->third = regs->dx;
	return call->number != NR_UNSHARE_32 && call->number != NR_SETNS_32;
}

#elif defined(__TARGET_ARCH_arm64)

#define NR_UNSHARE 97
#define NR_SETNS 268
#define NR_UNSHARE_32 337
#define NR_SETNS_32 375
#define TIF_32BIT 22

static __always_inline bool decode(struct task_struct *task, struct call *call)
{
	struct pt_regs___arm64 *regs = (void *)bpf_task_pt_regs(task);

	call->number = regs->syscallno;
	if (likely(call->number != NR_UNSHARE && call->number != NR_SETNS && call->number != NR_UNSHARE_32 &&
		   call->number != NR_SETNS_32 && call->number != NR_OPEN_TREE && call->number != NR_FSMOUNT &&
		   call->number != NR_OPEN_TREE_ATTR))
		return false;
	call->first = regs->orig_x0;
	call->second = regs->regs[1];
	call->third = regs->regs[2];
	if (((struct task_struct___arm64 *)task)->thread_info.flags & 1UL << TIF_32BIT) {
		if (call->number == NR_UNSHARE_32)
			call->number = NR_UNSHARE;
		else if (call->number == NR_SETNS_32)
			call->number = NR_SETNS;
		else if (call->number == NR_UNSHARE || call->number == NR_SETNS)
			return false;
		return true;
	}
	return call->number != NR_UNSHARE_32 && call->number != NR_SETNS_32;
}

#else
#error "how does this machine number its system calls?"
#endif

static __always_inline u32 types_of(u64 flags)
{
	u32 types = 0;

	if (flags & CLONE_NEWUSER)
		types |= BIT(NSLOCK_USER);
	if (flags & CLONE_NEWPID)
		types |= BIT(NSLOCK_PID);
	if (flags & CLONE_NEWNET)
		types |= BIT(NSLOCK_NET);
	if (flags & (CLONE_NEWNS | CLONE_EMPTY_MNTNS))
		types |= BIT(NSLOCK_MNT);
	if (flags & CLONE_NEWUTS)
		types |= BIT(NSLOCK_UTS);
	if (flags & CLONE_NEWIPC)
		types |= BIT(NSLOCK_IPC);
	if (flags & CLONE_NEWCGROUP)
		types |= BIT(NSLOCK_CGROUP);
	if (flags & CLONE_NEWTIME)
		types |= BIT(NSLOCK_TIME);
	return types;
}

/* Each type is an operation. Nothing is counted as allowed where another type of the same call is denied. */
static __noinline int create(enum bpflock_event_type type, u32 types)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct bpflock_own *own = canary(task);
	struct access access = { .lock = LOCK_NSLOCK, .type = type, .object = types };

	if (own)
		return answer_canary(own, LOCK_NSLOCK);
	for (u32 op = 0; op < TYPES; op++) {
		enum bpflock_reason reason;

		if (!(types & BIT(op)))
			continue;
		reason = decide(task, op);
		if (denies(reason)) {
			access.op = op;
			return settle(task, &access, forget(reason));
		}
	}
	for (u32 op = 0; op < TYPES; op++) {
		if (!(types & BIT(op)))
			continue;
		access.op = op;
		conclude(task, &access, forget(decide(task, op)));
	}
	return 0;
}

static __noinline int enter(u32 types)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct bpflock_own *own = canary(task);
	struct access access = { .lock = LOCK_NSLOCK, .type = EVENT_LSM_CAPABLE, .op = NSLOCK_SETNS, .object = types };
	enum bpflock_reason reason;

	if (own)
		return answer_canary(own, LOCK_NSLOCK);
	for (u32 op = 0; op < TYPES; op++) {
		if (types & BIT(op) && decide(task, op) == REASON_DENIED_BLOCKED) {
			access.op = op;
			return settle(task, &access, forget(REASON_DENIED_BLOCKED));
		}
	}
	reason = decide(task, NSLOCK_SETNS);
	/*
	 * `runc exec` enters one namespace after the other, and the network's not as the last: with it, it is no longer on the
	 * host. Its active pid namespace stays the host's until its child is in the container.
	 */
	if ((reason == REASON_DENIED_BASELINE || reason == REASON_DENIED_CGROUP_BASELINE) && task->thread_pid->level == 0)
		reason = REASON_BASELINE;
	return conclude(task, &access, forget(reason));
}

SEC("lsm/task_alloc")
int BPF_PROG(nslock_task_alloc, struct task_struct *task, u64 flags, int ret)
{
	u32 types;

	if (ret)
		return ret;
	/* Without a user namespace: lsm/userns_create has decided on it. */
	if (likely(!(flags & CLONE_NEW & ~(u64)CLONE_NEWUSER)))
		return 0;
	types = types_of(flags & ~(u64)CLONE_NEWUSER);
	return create(EVENT_LSM_TASK_ALLOC, types);
}

SEC("lsm/userns_create")
int BPF_PROG(nslock_userns_create, const struct cred *cred, int ret)
{
	if (ret)
		return ret;
	return create(EVENT_LSM_USERNS_CREATE, BIT(NSLOCK_USER));
}

SEC("lsm/capable")
int BPF_PROG(nslock_capable, const struct cred *cred, struct user_namespace *ns, int cap, unsigned int opts, int ret)
{
	struct call call = {};
	u32 types;

	if (ret)
		return ret;
	if (likely(cap != CAP_SYS_ADMIN))
		return 0;
	if (likely(!decode(bpf_get_current_task_btf(), &call)))
		return 0;
	if (call.number == NR_SETNS) {
		types = types_of((u32)call.second);
		return enter(types ? types : ALL_TYPES);
	}
	if (call.number == NR_UNSHARE)
		types = types_of(call.first & ~(u64)CLONE_NEWUSER) |
			(call.first & UNSHARE_EMPTY_MNTNS ? BIT(NSLOCK_MNT) : 0);
	else if (call.number == NR_FSMOUNT)
		types = call.second & FSMOUNT_NAMESPACE ? BIT(NSLOCK_MNT) : 0;
	else
		types = call.third & OPEN_TREE_NAMESPACE ? BIT(NSLOCK_MNT) : 0;
	return types ? create(EVENT_LSM_CAPABLE, types) : 0;
}
