// SPDX-License-Identifier: GPL-2.0
/*
 * privsnoop: privileged operations are seen, with how they ended.
 *
 * fexit programs on the functions that ask all security modules, and on those that make namespaces: they see the final
 * verdict, whoever denied (the kernel's own rules, another security module, a lock). A hook of its own would see only
 * what the modules before it let pass. Functions are called from other files of the kernel, so they are never inlined.
 *
 *  security_capable               each use of a capability. Checks that only look, without a denial in the audit log
 *                                 (CAP_OPT_NOAUDIT), are no use.
 *  security_sb_mount, security_move_mount, security_sb_umount, security_ptrace_access_check (attaching, not reading),
 *  security_task_fix_setuid, security_task_fix_setgid, security_kernel_load_data and
 *  security_kernel_read_file (modules), security_bpf, security_settime64
 *  copy_namespaces, unshare_nsproxy_namespaces, security_create_user_ns
 *
 * reboot(2), setns(2) and the rest show as the capability they take.
 */
#include "common.bpf.h"

#define CAP_OPT_NOAUDIT 2
#define PTRACE_MODE_ATTACH 2
#define CLONE_NEW 0x206e020080ULL /* all types but user namespaces, which security_create_user_ns() sees: nslock.bpf.c */
#define UNSHARE_EMPTY_MNTNS 0x00100000
#define CAPABILITIES 41
#define BPF_CMD_MASK 0xffff

const volatile enum privsnoop_op operations; /* their names, for user space */

struct user_namespace;
struct super_block;

/* Off the hot path: count it and tell it, and how it ended; limited as the decisions of locks are. */
static __noinline int tell(enum bpflock_event_type type, u32 op, u64 object, int result)
{
	struct access access = { .lock = LOCK_PRIVSNOOP, .type = type, .op = op, .object = object };
	struct task_struct *task = bpf_get_current_task_btf();
	struct bpflock_own *own = canary(task);
	enum bpflock_reason reason = result ? REASON_DENIED_KERNEL : REASON_PERMITTED;
	struct bpflock_counter *counter;

	if (own) {
		answer_canary(own, LOCK_PRIVSNOOP);
		return 0;
	}
	if (config.profile == PROFILE_FILTER && (!shared.cgroups || search_cgroups() == PROFILE_NONE))
		return 0;
	counter = counter_of(op);
	if (!result && repeats_in(counter, task, object, reason))
		return 0;
	if (own_task(task)) /* what bpflock itself does is not told */
		return 0;
	if (result) {
		__sync_fetch_and_add(&counter->denied, 1);
	} else {
		__sync_fetch_and_add(&counter->allowed, 1);
		counter->last = who(task, object, reason);
	}
	report(counter, &access, false, reason, result);
	return 0;
}

/* What the process does again and again is counted here, in each program, and that is all. */
static __always_inline int trace(enum bpflock_event_type type, u32 op, u64 object, int result)
{
	if (likely(!result && !shared.canary && config.profile != PROFILE_FILTER) &&
	    likely(repeats(bpf_get_current_task_btf(), op, object, REASON_PERMITTED)))
		return 0;
	return tell(type, op, object, result);
}

/* The result lies behind the arguments, whose number differs between kernels. */
static __always_inline int result_of(void *ctx)
{
	u64 result = 0;

	bpf_get_func_ret(ctx, &result);
	return (int)result;
}

SEC("fexit/security_capable")
int BPF_PROG(privsnoop_capable, const struct cred *cred, struct user_namespace *ns, int cap, unsigned int opts)
{
	if (opts & CAP_OPT_NOAUDIT || (u32)cap >= CAPABILITIES)
		return 0;
	return trace(EVENT_SECURITY_CAPABLE, cap, 0, result_of(ctx));
}

SEC("fexit/security_sb_mount")
int BPF_PROG(privsnoop_sb_mount)
{
	return trace(EVENT_SECURITY_SB_MOUNT, PRIVSNOOP_MOUNT, 0, result_of(ctx));
}

SEC("fexit/security_move_mount")
int BPF_PROG(privsnoop_move_mount)
{
	return trace(EVENT_SECURITY_MOVE_MOUNT, PRIVSNOOP_MOUNT, 1, result_of(ctx));
}

SEC("fexit/security_sb_umount")
int BPF_PROG(privsnoop_sb_umount)
{
	return trace(EVENT_SECURITY_SB_UMOUNT, PRIVSNOOP_UMOUNT, 0, result_of(ctx));
}

SEC("fexit/security_ptrace_access_check")
int BPF_PROG(privsnoop_ptrace_access_check, struct task_struct *child, unsigned int mode)
{
	if (!(mode & PTRACE_MODE_ATTACH))
		return 0;
	return trace(EVENT_SECURITY_PTRACE_ACCESS_CHECK, PRIVSNOOP_PTRACE, child->tgid, result_of(ctx));
}

SEC("fexit/security_task_fix_setuid")
int BPF_PROG(privsnoop_task_fix_setuid, struct cred *new)
{
	return trace(EVENT_SECURITY_TASK_FIX_SETUID, PRIVSNOOP_SETUID, new->uid.val, result_of(ctx));
}

SEC("fexit/security_task_fix_setgid")
int BPF_PROG(privsnoop_task_fix_setgid)
{
	return trace(EVENT_SECURITY_TASK_FIX_SETGID, PRIVSNOOP_SETGID, 0, result_of(ctx));
}

SEC("fexit/security_kernel_read_file")
int BPF_PROG(privsnoop_kernel_read_file, struct file *file, enum kernel_read_file_id id)
{
	if (id != bpf_core_enum_value(enum kernel_read_file_id, READING_MODULE) &&
	    !(bpf_core_enum_value_exists(enum kernel_read_file_id, READING_MODULE_COMPRESSED) &&
	      id == bpf_core_enum_value(enum kernel_read_file_id, READING_MODULE_COMPRESSED)))
		return 0;
	return trace(EVENT_SECURITY_KERNEL_READ_FILE, PRIVSNOOP_MODULE, 0, result_of(ctx));
}

SEC("fexit/security_kernel_load_data")
int BPF_PROG(privsnoop_kernel_load_data, enum kernel_load_data_id id)
{
	if (id != bpf_core_enum_value(enum kernel_load_data_id, LOADING_MODULE) &&
	    !(bpf_core_enum_value_exists(enum kernel_load_data_id, LOADING_MODULE_COMPRESSED) &&
	      id == bpf_core_enum_value(enum kernel_load_data_id, LOADING_MODULE_COMPRESSED)))
		return 0;
	return trace(EVENT_SECURITY_KERNEL_LOAD_DATA, PRIVSNOOP_MODULE, 0, result_of(ctx));
}

SEC("fexit/security_bpf")
int BPF_PROG(privsnoop_bpf, int cmd)
{
	return trace(EVENT_SECURITY_BPF, PRIVSNOOP_BPF, cmd & BPF_CMD_MASK, result_of(ctx));
}

SEC("fexit/security_settime64")
int BPF_PROG(privsnoop_settime64)
{
	return trace(EVENT_SECURITY_SETTIME64, PRIVSNOOP_SETTIME, 0, result_of(ctx));
}

SEC("fexit/copy_namespaces")
int BPF_PROG(privsnoop_copy_namespaces, u64 flags)
{
	flags &= CLONE_NEW;
	return likely(!flags) ? 0 : trace(EVENT_MAKE_NAMESPACE, PRIVSNOOP_NAMESPACE, flags, result_of(ctx));
}

SEC("fexit/unshare_nsproxy_namespaces")
int BPF_PROG(privsnoop_unshare_nsproxy_namespaces, u64 flags)
{
	flags &= CLONE_NEW | UNSHARE_EMPTY_MNTNS;
	/* The canary asks for none. */
	if (!flags && !canary(bpf_get_current_task_btf()))
		return 0;
	return trace(EVENT_MAKE_NAMESPACE, PRIVSNOOP_NAMESPACE, flags, result_of(ctx));
}

SEC("fexit/security_create_user_ns")
int BPF_PROG(privsnoop_create_user_ns)
{
	return trace(EVENT_MAKE_NAMESPACE, PRIVSNOOP_NAMESPACE, 0, result_of(ctx));
}
