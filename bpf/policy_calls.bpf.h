/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The part of the policy engine that is about privileged calls: a confined program uses only the capabilities and does only
 * the operations that its profile allows.
 *
 *  lsm/capable            every capability that the task has and the kernel asks for; and the calls that change mounts or
 *                         namespaces and have no hook of their own, by their number: all ask for CAP_SYS_ADMIN first.
 *  lsm/syslog             reading the kernel's log, for which the kernel asks no capability if dmesg_restrict is 0.
 *  mount                  lsm/sb_mount, sb_remount, sb_umount, sb_pivotroot, move_mount
 *  bpf                    lsm/bpf
 *  namespace              lsm/userns_create; clone(2) in lsm/task_alloc
 *  userfaultfd, io_uring  lsm/inode_init_security_anon: the descriptor is made as an inode of its own, also by
 *                         /dev/userfaultfd
 *  perf                   lsm/perf_event_open
 *  keyring                lsm/key_alloc, key_permission
 *  ipc                    SysV: lsm/ipc_permission and what creates, changes or removes an object; POSIX message queues:
 *                         lsm/inode_create, inode_unlink and file_open by their file system
 *  anon_exec              lsm/mmap_file, file_mprotect: executable memory that is of no file, or of one without a name in
 *                         memory, or of a file and was, or can be, written to. lsm/mmap_addr: under READ_IMPLIES_EXEC brk(2) gives such memory, with no other hook.
 *
 * Not done here: an executable stack that exec sets up because the program's file says so.
 */
#ifndef BPFLOCK_POLICY_CALLS_BPF_H
#define BPFLOCK_POLICY_CALLS_BPF_H

#include "policy_objects.bpf.h"

#define CAP_SYS_ADMIN 21
#define CAP_PERFMON 38
#define CAP_SYSLOG 34
#define CAP_OPT_NOAUDIT 2
#define PR_SET_MM 35
#define PR_SET_MM_EXE_FILE 13
#define PR_SET_MM_MAP 14
#define SYSLOG_ACTION_READ_ALL 3
#define READ_IMPLIES_EXEC 0x0400000
#define MQUEUE_MAGIC 0x19800202
#define TMPFS_MAGIC 0x01021994

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct kern_ipc_perm {
	int id;
};
struct task_struct___personality {
	unsigned int personality;
};
#pragma clang attribute pop

struct perf_event_attr;
struct user_namespace;
struct key;

static __noinline int decide_operation(enum bpflock_event_type type, enum policy_operation operation, u64 object)
{
	struct policy_task *subject = confined(bpf_get_current_task_btf());
	struct query query = { .type = type, .access = operation, .object = object };
	struct policy_scratch *scratch;

	if (likely(!subject))
		return 0;
	if (is_canary(subject))
		return answer_policy_canary(subject, type);
	scratch = ask(KIND_OPERATION, operation);
	if (!scratch)
		return -EPERM;
	query.op = OP_OPERATION + bit_number(operation);
	return answer_request(subject, scratch, &query);
}

static __noinline int decide_capability(struct policy_task *subject, enum bpflock_event_type type, u32 capability, bool silent)
{
	struct query query = { .type = type, .op = OP_CAPABILITY, .access = capability, .object = capability };
	struct policy_scratch *scratch = ask(KIND_CAPABILITY, 1ULL << (capability & 63));

	if (!scratch)
		return -EPERM;
	scratch->request.number = capability;
	scratch->request.silent = silent;
	return answer_request(subject, scratch, &query);
}

/*
 * prctl(2) makes another file the task's executable: rules on other processes go by it, so nobody may. Both ways to do that ask
 * for a capability first.
 */
static __always_inline bool is_call_to_forge(struct task_struct *task)
{
	struct call call = {};

	return is_prctl_call(task) && decode_call(task, &call) && (u32)call.first == PR_SET_MM &&
	       (call.second == PR_SET_MM_EXE_FILE || call.second == PR_SET_MM_MAP);
}

/* Whatever the rules say. */
static __noinline int deny_capability(struct policy_task *subject, u32 capability)
{
	struct query query = { .type = EVENT_LSM_CAPABLE, .op = OP_CAPABILITY, .access = capability, .object = capability };
	struct policy_scratch *scratch = ask(KIND_CAPABILITY, 1ULL << (capability & 63));

	if (!scratch)
		return -EPERM;
	scratch->request.number = capability;
	scratch->request.generation = policy_versions.generation;
	return answer_matched(subject, scratch, &query, true, false);
}

/* What the call that the task is in does to mounts and namespaces, as enum policy_operation. */
static __always_inline u32 operations_of_call(struct task_struct *task)
{
	struct call call = {};
	u32 number = call_number(task);

	if (number == NR_FSOPEN || number == NR_FSPICK || number == NR_MOUNT_SETATTR)
		return OPERATION_MOUNT;
	if (!is_namespace_call(number) || !decode_call(task, &call))
		return 0;
	if (call.number == NR_FSMOUNT)
		return OPERATION_MOUNT | (call.second & FSMOUNT_NAMESPACE ? OPERATION_NAMESPACE : 0);
	if (call.number == NR_OPEN_TREE || call.number == NR_OPEN_TREE_ATTR)
		return OPERATION_MOUNT | (call.third & OPEN_TREE_NAMESPACE ? OPERATION_NAMESPACE : 0);
	return OPERATION_NAMESPACE;
}

SEC("lsm/capable")
int BPF_PROG(policy_capable, const struct cred *cred, struct user_namespace *ns, int capability, unsigned int options, int ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct policy_task *subject;
	u32 operations;

	if (ret)
		return ret;
	subject = confined(task);
	if (likely(!subject))
		return 0;
	if (is_canary(subject))
		return answer_policy_canary(subject, EVENT_LSM_CAPABLE);
	/* The capabilities of whoever mounted an overlay, not the task's. */
	if (CAPABILITIES_ON_FILES >> (capability & 63) & 1 && is_inner(task))
		return 0;
	if (unlikely(is_call_to_forge(task)))
		return deny_capability(subject, capability);
	/* Newer kernels take it for the right to read another process: mm_access(), after ptrace_access_check was asked. */
	if (unlikely(subject->denied_read) && (capability == CAP_PERFMON || capability == CAP_SYS_ADMIN) &&
	    subject->denied_read == (u16)(call_number(task) + 1))
		return deny_capability(subject, capability);
	ret = decide_capability(subject, EVENT_LSM_CAPABLE, capability, options & CAP_OPT_NOAUDIT);
	if (ret || capability != CAP_SYS_ADMIN)
		return ret;
	operations = operations_of_call(task);
	if (operations & OPERATION_MOUNT)
		ret = decide_operation(EVENT_LSM_CAPABLE, OPERATION_MOUNT, 0);
	if (!ret && operations & OPERATION_NAMESPACE)
		ret = decide_operation(EVENT_LSM_CAPABLE, OPERATION_NAMESPACE, 0);
	return ret;
}

/* syslog(2), and an open of /dev/kmsg to read it. For all other actions on the log the kernel asks for the capability itself. */
SEC("lsm/syslog")
int BPF_PROG(policy_syslog, int action, int ret)
{
	struct policy_task *subject;

	if (ret)
		return ret;
	subject = confined(bpf_get_current_task_btf());
	if (likely(!subject) || action != SYSLOG_ACTION_READ_ALL)
		return 0;
	if (is_canary(subject))
		return answer_policy_canary(subject, EVENT_LSM_SYSLOG);
	return decide_capability(subject, EVENT_LSM_SYSLOG, CAP_SYSLOG, false);
}

SEC("lsm/sb_mount")
int BPF_PROG(policy_sb_mount, const char *device, struct path *path, const char *type, unsigned long flags, void *data, int ret)
{
	return ret ? ret : decide_operation(EVENT_LSM_SB_MOUNT, OPERATION_MOUNT, flags);
}

SEC("lsm/sb_remount")
int BPF_PROG(policy_sb_remount, struct super_block *sb, void *options, int ret)
{
	return ret ? ret : decide_operation(EVENT_LSM_SB_REMOUNT, OPERATION_MOUNT, 0);
}

SEC("lsm/sb_umount")
int BPF_PROG(policy_sb_umount, struct vfsmount *mnt, int flags, int ret)
{
	return ret ? ret : decide_operation(EVENT_LSM_SB_UMOUNT, OPERATION_MOUNT, 0);
}

SEC("lsm/sb_pivotroot")
int BPF_PROG(policy_sb_pivotroot, struct path *old, struct path *new, int ret)
{
	return ret ? ret : decide_operation(EVENT_LSM_SB_PIVOTROOT, OPERATION_MOUNT, 0);
}

SEC("lsm/move_mount")
int BPF_PROG(policy_move_mount, struct path *from, struct path *to, int ret)
{
	return ret ? ret : decide_operation(EVENT_LSM_MOVE_MOUNT, OPERATION_MOUNT, 0);
}

/* The arguments behind the command differ between kernels. An earlier denial would have ended it before this program. */
SEC("lsm/bpf")
int BPF_PROG(policy_bpf, int command)
{
	return decide_operation(EVENT_LSM_BPF, OPERATION_BPF, command);
}

SEC("lsm/userns_create")
int BPF_PROG(policy_userns_create, const struct cred *cred, int ret)
{
	return ret ? ret : decide_operation(EVENT_LSM_USERNS_CREATE, OPERATION_NAMESPACE, 0);
}

SEC("lsm/inode_init_security_anon")
int BPF_PROG(policy_inode_init_security_anon, struct inode *inode, struct qstr *name, struct inode *context, int ret)
{
	char text[16] = {};

	if (ret)
		return ret;
	bpf_probe_read_kernel_str(text, sizeof(text), name->name);
	/* [userfaultfd], [io_uring]; others are of other calls. */
	if (text[1] == 'u' && text[2] == 's' && text[5] == 'f')
		return decide_operation(EVENT_LSM_INODE_INIT_SECURITY_ANON, OPERATION_USERFAULTFD, 0);
	if (text[1] == 'i' && text[2] == 'o' && text[4] == 'u')
		return decide_operation(EVENT_LSM_INODE_INIT_SECURITY_ANON, OPERATION_IO_URING, 0);
	return 0;
}

/* Its arguments differ between kernels, and none is of interest. */
SEC("lsm/perf_event_open")
int BPF_PROG(policy_perf_event_open)
{
	return decide_operation(EVENT_LSM_PERF_EVENT_OPEN, OPERATION_PERF, 0);
}

SEC("lsm/key_alloc")
int BPF_PROG(policy_key_alloc, struct key *key, const struct cred *cred, unsigned long flags, int ret)
{
	return ret ? ret : decide_operation(EVENT_LSM_KEY_ALLOC, OPERATION_KEYRING, 0);
}

SEC("lsm/key_permission")
int BPF_PROG(policy_key_permission, void *key, const struct cred *cred, unsigned int permission, int ret)
{
	return ret ? ret : decide_operation(EVENT_LSM_KEY_PERMISSION, OPERATION_KEYRING, 0);
}

SEC("lsm/ipc_permission")
int BPF_PROG(policy_ipc_permission, struct kern_ipc_perm *object, short flag, int ret)
{
	return ret ? ret : decide_operation(EVENT_LSM_IPC_PERMISSION, OPERATION_IPC, object->id);
}

/* ipc_permission is not asked to create one, nor to change or remove one's own. */
#define IPC_HOOK(hook, EVENT)                                                                                         \
	SEC("lsm/" #hook)                                                                                             \
	int BPF_PROG(policy_##hook, struct kern_ipc_perm *object, int ret)                                            \
	{                                                                                                             \
		return ret ? ret : decide_operation(EVENT, OPERATION_IPC, 0);                                         \
	}
#define IPC_HOOK_COMMAND(hook, EVENT)                                                                                 \
	SEC("lsm/" #hook)                                                                                             \
	int BPF_PROG(policy_##hook, struct kern_ipc_perm *object, int command, int ret)                               \
	{                                                                                                             \
		return ret ? ret : decide_operation(EVENT, OPERATION_IPC, command);                                   \
	}

IPC_HOOK(msg_queue_alloc_security, EVENT_LSM_MSG_QUEUE_ALLOC_SECURITY)
IPC_HOOK(shm_alloc_security, EVENT_LSM_SHM_ALLOC_SECURITY)
IPC_HOOK(sem_alloc_security, EVENT_LSM_SEM_ALLOC_SECURITY)
IPC_HOOK_COMMAND(msg_queue_msgctl, EVENT_LSM_MSG_QUEUE_MSGCTL)
IPC_HOOK_COMMAND(shm_shmctl, EVENT_LSM_SHM_SHMCTL)
IPC_HOOK_COMMAND(sem_semctl, EVENT_LSM_SEM_SEMCTL)

/*
 * Memory without a name, although the kernel has a file for it: shared anonymous memory, SysV segments, memfds, huge pages.
 * The same kinds of file system are mounted with names, too; these files are on mounts that nobody can see.
 */
static __always_inline bool is_anonymous_memory(struct file *file)
{
	struct super_block *sb = file->f_inode->i_sb;
	unsigned long magic = sb->s_magic;

	if (likely(magic != TMPFS_MAGIC && magic != HUGETLBFS_MAGIC))
		return false;
	return sb->s_flags & SB_KERNMOUNT && is_internal(mount_of((u64)file->f_path.mnt), sb);
}

static __always_inline bool is_queue(struct inode *inode)
{
	return inode->i_sb->s_magic == MQUEUE_MAGIC;
}

SEC("lsm/inode_create")
int BPF_PROG(policy_inode_create, struct inode *dir, struct dentry *dentry, unsigned short mode, int ret)
{
	if (ret)
		return ret;
	return unlikely(is_queue(dir)) ? decide_operation(EVENT_LSM_INODE_CREATE, OPERATION_IPC, 0) : 0;
}

SEC("lsm/inode_unlink")
int BPF_PROG(policy_inode_unlink, struct inode *dir, struct dentry *dentry, int ret)
{
	if (ret)
		return ret;
	return unlikely(is_queue(dir)) ? decide_operation(EVENT_LSM_INODE_UNLINK, OPERATION_IPC, 0) : 0;
}

SEC("lsm/mmap_addr")
int BPF_PROG(policy_mmap_addr, unsigned long address, int ret)
{
	struct task_struct___personality *task = (void *)bpf_get_current_task_btf();

	if (ret)
		return ret;
	if (likely(!(task->personality & READ_IMPLIES_EXEC)))
		return 0;
	return decide_operation(EVENT_LSM_MMAP_ADDR, OPERATION_ANON_EXEC, 0);
}

#endif
