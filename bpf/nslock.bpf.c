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

#include "syscall.bpf.h"

#include "nslock_setup.bpf.h"

#define CAP_SYS_ADMIN 21

#define BIT(op) (1U << (op))
#define TYPES (NSLOCK_TIME + 1) /* operations that are types: those below */
#define ALL_TYPES (BIT(TYPES) - 1)

const volatile enum nslock_op operations; /* their names, for user space */

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

/*
 * The decision on one of the types, 0 if it is not among them. Not static, like those below: the verifier looks at a global
 * function once, not again for each combination of types.
 */
__noinline u32 decide_type(u32 types, u32 op)
{
	enum bpflock_reason reason = types & BIT(op) ? decide(bpf_get_current_task_btf(), op) : 0;

	if ((reason == REASON_DENIED_BASELINE || reason == REASON_DENIED_CGROUP_BASELINE) && is_excused(op))
		return REASON_BASELINE;
	return reason;
}

__noinline int conclude_type(enum bpflock_event_type type, u64 flags, u32 op, enum bpflock_reason reason)
{
	struct access access = { .lock = LOCK_NSLOCK, .type = type, .op = op, .object = flags };

	return settle(&access, reason);
}

/* Each type is an operation. Nothing is counted as allowed where another type of the same call is denied. */
__noinline int create(enum bpflock_event_type type, u32 types, u64 flags)
{
	struct bpflock_own *own = canary(bpf_get_current_task_btf());

	if (own)
		return answer_canary(own, LOCK_NSLOCK);
	for (u32 op = 0; op < TYPES; op++) {
		enum bpflock_reason reason = decide_type(types, op);

		if (denies(reason))
			return conclude_type(type, flags, op, reason);
	}
	for (u32 op = 0; op < TYPES; op++) {
		enum bpflock_reason reason = decide_type(types, op);
		int denied = reason ? conclude_type(type, flags, op, reason) : 0;

		if (denied) /* an exception ended in between */
			return denied;
	}
	return 0;
}

__noinline int enter(u32 types, u32 flags)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct bpflock_own *own = canary(task);
	enum bpflock_reason reason;

	if (own)
		return answer_canary(own, LOCK_NSLOCK);
	for (u32 op = 0; op < TYPES; op++)
		if (decide_type(types, op) == REASON_DENIED_BLOCKED)
			return conclude_type(EVENT_LSM_CAPABLE, flags, op, REASON_DENIED_BLOCKED);
	reason = decide_type(BIT(NSLOCK_SETNS), NSLOCK_SETNS);
	/*
	 * `runc exec` enters one namespace after the other, and the network's not as the last: with it, it is no longer on the
	 * host. Its active pid namespace stays the host's until its child is in the container.
	 */
	if ((reason == REASON_DENIED_BASELINE || reason == REASON_DENIED_CGROUP_BASELINE) && task->thread_pid->level == 0)
		reason = REASON_BASELINE;
	return conclude_type(EVENT_LSM_CAPABLE, flags, NSLOCK_SETNS, reason);
}

/* The operation of a single type, as most calls have: TYPES if there is none, another one, or several. */
static __always_inline u32 single_type(u64 flags)
{
	switch (flags) {
	case CLONE_NEWNS:
		return NSLOCK_MNT;
	case CLONE_NEWCGROUP:
		return NSLOCK_CGROUP;
	case CLONE_NEWUTS:
		return NSLOCK_UTS;
	case CLONE_NEWIPC:
		return NSLOCK_IPC;
	case CLONE_NEWPID:
		return NSLOCK_PID;
	default: /* also that of a network namespace: it is remembered who makes one */
		return TYPES;
	}
}

/*
 * The short way of a process that repeats itself, as create() and enter() would decide: it has left the first task's namespaces,
 * so these are not looked for. Where one of the operations is blocked by name, they do. The task may be in another call of
 * the same number, of the 32-bit table: that one makes no namespace.
 */
static __always_inline bool is_allowed_again(struct task_struct *task, struct bpflock_counter *counter, u64 flags, u64 operations)
{
	u64 ops = plain_ops;

	if (ops != ~0ULL) {
		asm volatile(""); /* as in is_plainly_allowed() */
		if ((ops & operations) != operations)
			return false;
	}
	return is_plain(task, task->nsproxy) && repeats_in(counter, task, flags, REASON_BASELINE);
}

/* Of the calls that ask for CAP_SYS_ADMIN: not in the program itself, so that the others do not pay for it. */
__noinline int decide_call(void)
{
	struct call call = {};
	u64 flags;
	u32 types;

	if (!decode_call(bpf_get_current_task_btf(), &call))
		return 0;
	if (call.number == NR_SETNS) {
		types = types_of((u32)call.second);
		if (!types)
			types = ALL_TYPES;
		if (types & BIT(NSLOCK_NET))
			remember_itself();
		return enter(types, call.second);
	}
	if (call.number == NR_UNSHARE)
		flags = call.first & UNSHARE_EMPTY_MNTNS ? call.first | CLONE_NEWNS : call.first;
	else if (call.number == NR_FSMOUNT)
		flags = call.second & FSMOUNT_NAMESPACE ? CLONE_NEWNS : 0;
	else
		flags = call.third & OPEN_TREE_NAMESPACE ? CLONE_NEWNS : 0;
	flags &= CLONE_NEW & ~(u64)CLONE_NEWUSER;
	if (flags & CLONE_NEWNET)
		remember_itself();
	return flags ? create(EVENT_LSM_CAPABLE, types_of(flags), flags) : 0;
}

SEC("lsm/task_alloc")
int BPF_PROG(nslock_task_alloc, struct task_struct *task, u64 flags, int ret)
{
	if (ret)
		return ret;
	inherit(task, flags);
	flags &= CLONE_NEW & ~(u64)CLONE_NEWUSER; /* that one lsm/userns_create has decided on */
	return likely(!flags) ? 0 : answer(create(EVENT_LSM_TASK_ALLOC, types_of(flags), flags));
}

SEC("lsm/userns_create")
int BPF_PROG(nslock_userns_create, const struct cred *cred, int ret)
{
	if (ret)
		return ret;
	if (likely(passes(bpf_get_current_task_btf(), NSLOCK_USER, CLONE_NEWUSER)))
		return 0;
	return answer(create(EVENT_LSM_USERNS_CREATE, BIT(NSLOCK_USER), CLONE_NEWUSER));
}

SEC("lsm/capable")
int BPF_PROG(nslock_capable, const struct cred *cred, struct user_namespace *ns, int cap, unsigned int opts, int ret)
{
	struct task_struct *task;
	REGISTERS *regs;
	u32 number;

	if (ret || likely(cap != CAP_SYS_ADMIN))
		return ret;
	task = bpf_get_current_task_btf();
	regs = registers_of(task);
	number = given_number(regs);
	if (number == NR_UNSHARE) {
		struct bpflock_counter *first = counters_here();
		u64 flags = first_in(regs);
		u32 type = single_type(flags);

		if (type != TYPES && is_allowed_again(task, counter_among(first, type), flags, BIT(type)))
			return 0;
	} else if (number == NR_SETNS) {
		struct bpflock_counter *counter = counter_of(NSLOCK_SETNS);

		/* An int: by what is above it, somebody could pass for another process, and not be told of. */
		u32 types = second_in(regs);

		if (types && !(types & CLONE_NEWNET) &&
		    is_allowed_again(task, counter, types, ALL_TYPES | BIT(NSLOCK_SETNS)))
			return 0;
	} else if (likely(!is_namespace_call(without_x32(number)))) {
		return 0;
	}
	return answer(decide_call());
}
