// SPDX-License-Identifier: GPL-2.0
/*
 * policy_func: a rule within a function counts only while the thread is in that function.
 *
 * These programs only note where a confined thread is; policy_in_function() decides. A frame that is missing or that
 * cannot be told from what is there now does not count: rules within functions only ever widen rights.
 *
 *  uprobe, uretprobe         a function of an executable or library, by file and offset: every process that runs the file.
 *  fentry, fexit             a function of the kernel. One instance for each: it is told its number before load.
 *
 *  uprobe/jump               longjmp of the C library, which leaves functions without their return probe.
 *
 * A thread may leave a function by other ways: it abandons a stack, it jumps by code of its own. What it enters next
 * therefore removes first all frames that are not above it. The kernel may skip fentry and fexit (not nested on one
 * CPU), and 6.1 may find the task's storage busy: then the function is not counted, or its frame does not hold what it
 * held.
 *
 * Threads have frames of their own: a new thread begins in no function. The copy of a process (fork) is where the process
 * was. vfork() shares the memory and with it the stack: the child is in no function.
 */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "policy_task.bpf.h"

char LICENSE[] SEC("license") = "GPL";

const volatile __u32 function; /* the kernel's: its number */

static __always_inline struct policy_task *subject_of_task(void)
{
	struct policy_task *subject = bpf_task_storage_get(&policy_tasks, bpf_get_current_task_btf(), 0, 0);

	return subject && subject->profile ? subject : 0;
}

/* Remove the frames below sp. */
static __always_inline void leave(struct policy_frames *in, u64 sp)
{
	u32 depth = in->depth;

	for (u32 i = 0; i < FRAMES; i++) {
		u32 last = depth - 1;

		if (!depth)
			break;
		asm volatile("%0 &= 15" : "+r"(last));
		if (in->frames[last].sp >= sp)
			break;
		depth--;
	}
	in->depth = depth;
}

static __always_inline void enter(struct policy_frames *in, u32 number, u64 sp, u64 slot)
{
	u32 depth;

	leave(in, sp);
	for (u32 i = 0; i < FRAMES; i++) {
		struct policy_frame *frame = &in->frames[i];

		if (i >= in->depth)
			break;
		if (frame->sp != sp)
			continue;
		if (frame->slot != slot) {
			/* Another function has been there, and is no more. */
			leave(in, sp + 1);
			break;
		}
		if (frame->function == number)
			return;
		/* The same function by another name: it is in both. */
	}
	depth = in->depth;
	if (depth >= FRAMES)
		return;
	asm volatile("%0 &= 15" : "+r"(depth)); /* for the verifier */
	in->frames[depth].sp = sp;
	in->frames[depth].slot = slot;
	in->frames[depth].function = number;
	in->depth = depth + 1;
}

/* The cookie: the number of the function, and above it that of the profile whose executable this is; 0 for a library. */
SEC("uprobe")
int policy_enter(struct pt_regs *regs)
{
	struct policy_task *subject = subject_of_task();
	u64 cookie;

	if (!subject)
		return 0;
	cookie = bpf_get_attach_cookie(regs);
	if (cookie >> 32 && cookie >> 32 != subject->profile)
		return 0;
	enter(&subject->user, cookie, regs->sp, regs->ip);
	return 0;
}

SEC("uretprobe")
int policy_leave(struct pt_regs *regs)
{
	struct policy_task *subject = subject_of_task();

	if (subject)
		leave(&subject->user, regs->sp);
	return 0;
}

#define JUMP_SP 48 /* in jmp_buf of x86-64: the stack pointer, and what the C library hides it with, below %fs */
#define JUMP_GUARD 0x30

static __always_inline bool is_above(u64 to, u64 sp)
{
	return to > sp && to - sp <= STACK_SPAN;
}

/* Where the stack pointer will be after a longjmp; beyond all frames if that cannot be told. */
static __always_inline u64 jump_target(struct pt_regs *regs)
{
	u64 to, guard, fs = BPF_CORE_READ(bpf_get_current_task_btf(), thread.fsbase);

	if (bpf_probe_read_user(&to, sizeof(to), (void *)regs->di + JUMP_SP))
		return -1ULL;
	if (is_above(to, regs->sp))
		return to;
	if (bpf_probe_read_user(&guard, sizeof(guard), (void *)fs + JUMP_GUARD))
		return -1ULL;
	to = (to >> 17 | to << 47) ^ guard;
	return is_above(to, regs->sp) ? to : -1ULL;
}

SEC("uprobe/jump")
int policy_jump(struct pt_regs *regs)
{
	struct policy_task *subject = subject_of_task();

	if (subject && subject->user.depth)
		leave(&subject->user, jump_target(regs));
	return 0;
}

SEC("fentry")
int policy_kernel_enter(u64 *arguments)
{
	struct policy_task *subject = subject_of_task();
	u64 slot = 0;

	if (!subject)
		return 0;
	if (bpf_probe_read_kernel(&slot, sizeof(slot), (void *)arguments - KERNEL_SLOT) ||
	    slot != bpf_get_func_ip(arguments))
		return 0;
	enter(&subject->kernel, function, (u64)arguments, slot);
	return 0;
}

SEC("fexit")
int policy_kernel_leave(u64 *arguments)
{
	struct policy_task *subject = subject_of_task();

	if (subject)
		leave(&subject->kernel, (u64)arguments + 1);
	return 0;
}
