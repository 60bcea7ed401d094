/* SPDX-License-Identifier: GPL-2.0 */
/* Who a task is to the policy engine, and which functions it is in. */
#ifndef BPFLOCK_POLICY_TASK_BPF_H
#define BPFLOCK_POLICY_TASK_BPF_H

#define FRAMES 16 /* functions that a thread may be in at a time: those that it enters beyond that do not count */
#define STACK_SPAN (8 << 20) /* bytes of stack below a frame that belong to it: the default limit of a stack */
/* Below the arguments that a BPF trampoline keeps, there is the address of the function: where bpf_get_func_ip() looks. */
#define KERNEL_SLOT 16

enum policy_task_flags {
	TASK_ENFORCED = 1, /* tainted, or of a profile without taint rules */
	TASK_TAINTED = 2,
	TASK_ASKED = 4, /* about each descriptor that it reads or writes */
};

/* A function that a thread has entered: the number of the function, and where the stack pointer was. */
struct policy_frame {
	u64 sp;
	u64 slot; /* the address of the function; of the kernel's it lies at sp - KERNEL_SLOT as long as that is there */
	u32 function;
	u32 pad;
};

/* Stacks grow downwards: each frame is below the one before. */
struct policy_frames {
	u32 depth;
	u32 pad;
	struct policy_frame frames[FRAMES];
};

/* Inherited at fork, changed at exec. */
struct policy_task {
	u32 profile; /* 0: not confined (any more) */
	u32 flags;
	u32 canary; /* of a canary: enum bpflock_event_type that it is denied; it passes all else */
	/* Of the exec under way: what the task will be when it succeeds. */
	u32 next_profile;
	u32 next_flags;
	u32 marked; /* the generation that found it running, if one did */
	u64 exe; /* inode of its executable */
	u64 script; /* inode of the script that it runs, if it does */
	u64 next_script;
	u64 program; /* tells executions apart, for the files that they created: the same for all children until they execute */
	u64 given[3]; /* standard input, output and error when the program began: given_of() */
	u32 opened; /* the generation that was in force when it opened a file last */
	u8 by_script; /* of the exec under way: a script decided what the task will be */
	u8 was_shared; /* of the exec under way: others could change its descriptors while they were checked */
	u16 denied_read; /* the system call, and 1, in which it was denied to read another process last */
	struct policy_frames user;
	struct policy_frames kernel;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct policy_task);
} policy_tasks SEC(".maps");

/* Whether a task runs this file: its executable, or the script that the executable interprets. */
static __always_inline bool runs(const struct policy_task *subject, u64 inode)
{
	return inode == subject->exe || inode == subject->script;
}

#endif
