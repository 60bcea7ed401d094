/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which system call a task is in, and its arguments, from the registers with which it entered the kernel: nothing is read
 * from user memory, and nobody can change them during the call. For the calls that make or enter namespaces, or change
 * mounts, and have no hook of their own.
 */
#ifndef BPFLOCK_SYSCALL_BPF_H
#define BPFLOCK_SYSCALL_BPF_H

#include "common.bpf.h"

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

/* These have the same numbers everywhere. */
#define NR_OPEN_TREE 428
#define NR_FSOPEN 430
#define NR_FSMOUNT 432
#define NR_FSPICK 433
#define NR_CLONE3 435
#define NR_OPENAT2 437
#define NR_MOUNT_SETATTR 442
#define NR_OPEN_TREE_ATTR 467

#define FALLOC_FL_KEEP_SIZE 1
#define RWF_NOAPPEND 0x20
#define ENOSYS 38

enum bpf_map_type___6_9 { BPF_MAP_TYPE_ARENA = 33 };

/* Whether the kernel knows RWF_NOAPPEND: both since 6.9. */
static __always_inline bool has_noappend(void)
{
	return bpf_core_enum_value_exists(enum bpf_map_type___6_9, BPF_MAP_TYPE_ARENA);
}

struct call {
	u32 number;
	u64 first, second, third; /* arguments */
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct thread_info___x86 {
	u32 status;
};
struct task_struct___x86 {
	struct thread_info___x86 thread_info;
};
struct pt_regs___x86 {
	unsigned long bx, cx, dx, si, di, bp, r8, r9, ax, orig_ax;
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

#define REGISTERS struct pt_regs___x86 /* no typedef: its name would be looked for in the kernel */

static __always_inline REGISTERS *registers_of(struct task_struct *task)
{
	return (void *)bpf_task_pt_regs(task);
}

/* As the task gave it: the same number may stand for two calls, see decode_call(). */
static __always_inline u32 given_number(REGISTERS *regs)
{
	return regs->orig_ax;
}

static __always_inline u32 without_x32(u32 number)
{
	return number & ~NR_X32;
}

static __always_inline u32 number_in(REGISTERS *regs)
{
	return without_x32(given_number(regs));
}

static __always_inline bool is_call_of_32_bits(struct task_struct *task)
{
	return ((struct task_struct___x86 *)task)->thread_info.status & TS_COMPAT;
}

/* Of other calls. */
static __always_inline u64 first_in(REGISTERS *regs)
{
	return regs->di;
}

static __always_inline u64 second_in(REGISTERS *regs)
{
	return regs->si;
}

/* Of the call that a task is in. */
static __always_inline u64 fifth_argument(struct task_struct *task)
{
	REGISTERS *regs = registers_of(task);

	return is_call_of_32_bits(task) ? (u32)regs->di : regs->r8;
}

/* False if the number is another call's, in the table that the task uses. */
static __always_inline bool decode_call(struct task_struct *task, struct call *call)
{
	REGISTERS *regs = registers_of(task);

	call->number = number_in(regs);
	if (is_call_of_32_bits(task)) {
		/* int $0x80 and the 32-bit sysenter, from a task of whichever width. */
		call->first = (u32)regs->bx;
		call->second = (u32)regs->cx;
		call->third = (u32)regs->dx;
		if (call->number == NR_UNSHARE_32)
			call->number = NR_UNSHARE;
		else if (call->number == NR_SETNS_32)
			call->number = NR_SETNS;
		else if (call->number == NR_UNSHARE || call->number == NR_SETNS)
			return false;
		return true;
	}
	call->first = first_in(regs);
	call->second = second_in(regs);
	call->third = regs->dx;
	return call->number != NR_UNSHARE_32 && call->number != NR_SETNS_32;
}

static __always_inline bool is_prctl_call(struct task_struct *task)
{
	return number_in(registers_of(task)) == (is_call_of_32_bits(task) ? 172 : 157);
}

/* Whether the call that a task is in, or was in last, opens a file: open, creat, mq_open, openat, open_by_handle_at, openat2. */
static __always_inline bool is_open_call(struct task_struct *task)
{
	u32 number = number_in(registers_of(task));

	if (number == NR_OPENAT2)
		return true;
	if (is_call_of_32_bits(task))
		return number == 5 || number == 8 || number == 277 || number == 295 || number == 342;
	return number == 2 || number == 85 || number == 240 || number == 257 || number == 304;
}

/* Whether the call that a task is in, or was in last, makes a new task: fork, vfork, clone, clone3. */
static __always_inline bool is_fork_call(struct task_struct *task)
{
	u32 number = number_in(registers_of(task));

	if (number == NR_CLONE3)
		return true;
	if (is_call_of_32_bits(task))
		return number == 2 || number == 120 || number == 190;
	return number == 56 || number == 57 || number == 58;
}

/*
 * Whether the call that a task is in may write elsewhere than at the end of a file that is open to append: fallocate() in
 * other modes than to make the file longer, pwritev2() with RWF_NOAPPEND. What io_submit() is told is in user memory.
 */
static __always_inline bool is_overwriting_call(struct task_struct *task)
{
	REGISTERS *regs = registers_of(task);
	u32 number = number_in(regs);

	if (is_call_of_32_bits(task))
		return number == 324 ? regs->cx & ~FALLOC_FL_KEEP_SIZE :
		       number == 379 ? regs->bp & RWF_NOAPPEND :
				       number == 248 && has_noappend();
	return number == 285		? (u32)regs->si & ~FALLOC_FL_KEEP_SIZE :
	       number == 328		? regs->r9 & RWF_NOAPPEND :
	       number == 547 /* x32 */	? regs->r8 & RWF_NOAPPEND :
					  (number == 209 || number == 544) && has_noappend();
}

/* Whether the call that a task is in writes to a descriptor: also sendfile, splice, io_submit. */
static __always_inline bool is_call_to_write(struct task_struct *task)
{
	u32 number = number_in(registers_of(task));

	if (is_call_of_32_bits(task))
		return number == 4 || number == 181 || number == 146 || number == 334 || number == 379 || number == 187 ||
		       number == 239 || number == 313 || number == 248;
	return number == 1 || number == 18 || number == 20 || number == 296 || number == 328 || number == 516 ||
	       number == 535 || number == 547 || number == 40 || number == 275 || number == 209 || number == 544;
}

/*
 * Whether the task is in the middle of a call that writes to one file, and not on its way back: there it may do what it has
 * asked an io_uring for. Until it has an answer, there is ENOSYS.
 */
static __always_inline bool is_writing_call(struct task_struct *task)
{
	REGISTERS *regs = registers_of(task);
	u32 number = number_in(regs);

	if ((long)regs->ax != -ENOSYS)
		return false;
	/* write, pwrite64, writev, pwritev, pwritev2, fallocate */
	if (is_call_of_32_bits(task))
		return number == 4 || number == 181 || number == 146 || number == 334 || number == 379 || number == 324;
	return number == 1 || number == 18 || number == 20 || number == 296 || number == 328 || number == 285 ||
	       number == 516 || number == 535 || number == 547;
}

#elif defined(__TARGET_ARCH_arm64)

#define NR_UNSHARE 97
#define NR_SETNS 268
#define NR_UNSHARE_32 337
#define NR_SETNS_32 375
#define TIF_32BIT 22

#define REGISTERS struct pt_regs___arm64

static __always_inline REGISTERS *registers_of(struct task_struct *task)
{
	return (void *)bpf_task_pt_regs(task);
}

static __always_inline u32 given_number(REGISTERS *regs)
{
	return regs->syscallno;
}

static __always_inline u32 without_x32(u32 number)
{
	return number;
}

static __always_inline u32 number_in(REGISTERS *regs)
{
	return given_number(regs);
}

static __always_inline bool is_call_of_32_bits(struct task_struct *task)
{
	return ((struct task_struct___arm64 *)task)->thread_info.flags & 1UL << TIF_32BIT;
}

static __always_inline u64 first_in(REGISTERS *regs)
{
	return regs->orig_x0;
}

static __always_inline u64 second_in(REGISTERS *regs)
{
	return regs->regs[1];
}

static __always_inline u64 fifth_argument(struct task_struct *task)
{
	return registers_of(task)->regs[4];
}

static __always_inline bool decode_call(struct task_struct *task, struct call *call)
{
	REGISTERS *regs = registers_of(task);

	call->number = number_in(regs);
	call->first = first_in(regs);
	call->second = second_in(regs);
	call->third = regs->regs[2];
	if (is_call_of_32_bits(task)) {
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

static __always_inline bool is_prctl_call(struct task_struct *task)
{
	return number_in(registers_of(task)) == (is_call_of_32_bits(task) ? 172 : 167);
}

/* As above, without open and creat, which are only in the 32-bit table. */
static __always_inline bool is_open_call(struct task_struct *task)
{
	u32 number = number_in(registers_of(task));

	if (number == NR_OPENAT2)
		return true;
	if (is_call_of_32_bits(task))
		return number == 5 || number == 8 || number == 274 || number == 322 || number == 371;
	return number == 56 || number == 180 || number == 265;
}

/* As above; fork and vfork are only in the 32-bit table. */
static __always_inline bool is_fork_call(struct task_struct *task)
{
	u32 number = number_in(registers_of(task));

	if (number == NR_CLONE3)
		return true;
	if (is_call_of_32_bits(task))
		return number == 2 || number == 120 || number == 190;
	return number == 220;
}

/* As above. */
static __always_inline bool is_overwriting_call(struct task_struct *task)
{
	REGISTERS *regs = registers_of(task);
	bool compat = is_call_of_32_bits(task);
	u32 number = number_in(regs);

	if (number == (compat ? 352 : 47))
		return (u32)regs->regs[1] & ~FALLOC_FL_KEEP_SIZE;
	if (number == (compat ? 393 : 287))
		return regs->regs[5] & RWF_NOAPPEND;
	return number == (compat ? 246 : 2) && has_noappend();
}

/* As above. */
static __always_inline bool is_call_to_write(struct task_struct *task)
{
	u32 number = number_in(registers_of(task));

	if (is_call_of_32_bits(task))
		return number == 4 || number == 181 || number == 146 || number == 362 || number == 393 || number == 187 ||
		       number == 239 || number == 340 || number == 246;
	return number == 64 || number == 68 || number == 66 || number == 70 || number == 287 || number == 71 ||
	       number == 76 || number == 2;
}

/* It cannot be told here: the answer comes where the first argument is. */
static __always_inline bool is_writing_call(struct task_struct *task)
{
	return false;
}

#else
#error "how does this machine number its system calls?"
#endif

static __always_inline u32 call_number(struct task_struct *task)
{
	return number_in(registers_of(task));
}

/* What any of the tables could mean. */
static __always_inline bool is_namespace_call(u32 number)
{
	return number == NR_UNSHARE || number == NR_SETNS || number == NR_UNSHARE_32 || number == NR_SETNS_32 ||
	       number == NR_OPEN_TREE || number == NR_FSMOUNT || number == NR_OPEN_TREE_ATTR;
}

#endif
