// SPDX-License-Identifier: GPL-2.0
/*
 * policy: a confined program does with files only what its profile allows, by the path of the file.
 *
 * A task is confined from the exec of an executable that a profile names, with all its children, until an exec that a
 * rule lets change the profile. The path is that of the resolved file, from the root of the mount namespace: symbolic
 * links, chroot, /proc/self/fd, descriptors passed between processes make no difference.
 *
 * Subject:
 *  lsm/task_alloc            inherited by every child, io_uring's and other kernel-made threads too. If that fails, so
 *                            does the fork.
 *  tp_btf/task_newtask       what changed during the fork, attached only while it is needed.
 *  lsm/bprm_*                an exec: policy_exec.bpf.h.
 *  iter/task                 tasks that were there before the policy, and their descriptors: policy_descriptors.bpf.h.
 *
 * Files:
 *  lsm/file_open             every open, through whatever system call or ring. Rights are derived here; reading and
 *                            writing what is open is not asked again, unless another policy has come in between.
 *  lsm/file_receive          a descriptor that another process sent.
 *  lsm/mmap_file, lsm/file_mprotect
 *                            executable mappings need the right to execute (a loader is no way round), shared writable
 *                            ones of files opened to append only need the right to write.
 *  lsm/file_fcntl            giving up O_APPEND needs the right to write.
 *  lsm/path_*, lsm/inode_getattr, lsm/file_ioctl, lsm/file_ioctl_compat
 *                            names made and removed, attributes.
 *  lsm/path_rename           policy_gains.bpf.h
 *  lsm/path_notify           watching a file or directory needs the right to read it.
 *  lsm/inode_rename, fexit/vfs_rename
 *                            count renames of directories: policy_renames.bpf.h.
 *
 * Not done here: searching a directory needs no right. What was mapped before the policy stays so.
 * Times, extended attributes, socket files: policy_attributes.bpf.h. Anything but files: policy_objects.bpf.h,
 * policy_process.bpf.h, policy_calls.bpf.h. Files that procfs or an io_uring lead to: policy_foreign.bpf.h.
 */
#include "policy_calls.bpf.h"
#include "policy_process.bpf.h"

#include "ioctl.bpf.h"

#define S_IFMT 00170000
#define S_IFDIR 0040000
#define S_IFCHR 0020000
#define S_IFBLK 0060000
#define S_IFREG 0100000
#define S_IFIFO 0010000
#define S_IFSOCK 0140000
#define FMODE_READ 1
#define FMODE_WRITE 2
#define FMODE_CREATED 0x100000
#define FMODE_EXEC_FLAG 0x20 /* __FMODE_EXEC, in f_flags */
#define O_ACCMODE 3
#define O_CREAT 0100
#define O_TRUNC 01000
#define O_APPEND 02000
#define O_TMPFILE_ALONE 020000000 /* __O_TMPFILE: without O_DIRECTORY */
#define PROT_WRITE 2
#define PROT_EXEC 4
#define MAP_SHARED 1
#define VM_SHARED 8
#define CLONE_VM 0x100
#define CLONE_VFORK 0x4000
#define CLONE_PARENT 0x8000
#define CLONE_THREAD 0x10000
#define F_SETFL 4

const volatile struct policy_detail detail_type; /* in BTF, for user space */

#include "policy_renames.bpf.h"

/*
 * The label of a file and, if a subject is given, its rights on it, into scratch: from what is kept for the inode if
 * that holds, else by a walk, and kept. `fresh`: nothing is kept, as was just seen.
 */
static __always_inline void look_up(struct policy_scratch *scratch, struct vfsmount *mnt, struct dentry *dentry,
				    struct inode *inode, u64 who, bool fresh)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct policy_label *kept = inode && !fresh ? bpf_inode_storage_get(&policy_labels, inode, 0, 0) : 0;
	bool holds = false, directory_only = false;
	u64 of = 0;

	scratch->profile = who;
	scratch->who = who;
	if (kept) {
		u64 seq = kept->seq;

		barrier();
		holds = !(seq & 1) && label_holds(kept, task, mnt, dentry);
		scratch->generation = kept->generation;
		scratch->tree = kept->tree;
		scratch->tree_renames = kept->renames;
		scratch->renaming = scratch->crossed = 0;
		scratch->name = kept->name;
		scratch->event = kept->event;
		scratch->ns = kept->ns;
		scratch->moves = kept->moves;
		scratch->label = kept->label;
		scratch->state = kept->state;
		scratch->length = kept->length;
		of = kept->who;
		scratch->rights = kept->rights;
		barrier();
		holds = holds && kept->seq == seq;
	}
	if (holds && (of == who || !who))
		return;
	if (!holds)
		directory_only = walk_label(scratch, task, mnt, dentry, true) && !kept;
	policy_rights_of(scratch);
	/* To make a storage is the dearest part of all this: one for the directory now, one for the file at its next use. */
	if (directory_only)
		return;
	/* For a message queue nothing is kept: its open is decided as IPC, whatever its path. */
	if (inode && scratch->label < LABEL_BAD && !is_queue(inode)) {
		/* What is of a process has further rights: nothing is settled by these alone. */
		if (is_of_process(inode))
			scratch->who = 0;
		keep_label(inode, mnt, dentry, scratch, false);
	}
}

/*
 * What look_up() found decides: the reason to tell, or 0 if there is nothing to tell. own: the file is the process's own
 * creation; exe: it is the subject's executable.
 */
__noinline u32 policy_judge(struct policy_task *subject, struct policy_scratch *scratch, u32 access, bool own, bool exe)
{
	enum bpflock_reason reason = REASON_DENIED_POLICY;
	struct policy_profile *profile;
	struct rights_table table;
	u32 told = 0, access_told = 0, label;
	bool was_enforced;

	if (!subject || !scratch)
		return REASON_DENIED_NO_MEMORY;
	/* Without tables nothing can be allowed. */
	if (!open_rights(&table, policy_versions.generation))
		return REASON_DENIED_NO_MEMORY;
	/* Taken out of force: its tasks are not confined any more. */
	profile = profile_in(&table, subject->profile);
	if (!profile)
		return 0;
	label = scratch->label;
	/* Nobody else than overlayfs has such a file. It does not act as the task, and was asked for it before. */
	if (label == LABEL_LAYER && has_other_creds(bpf_get_current_task_btf()))
		return 0;
	/* A pipe, a socket, memory of its own: it was got by other calls. But none of it is executed. */
	if (label == LABEL_INTERNAL && !(access & FILE_EXEC))
		return 0;
	if (label == LABEL_TOO_DEEP)
		reason = REASON_DENIED_TOO_DEEP;
	else if (label == LABEL_FOLDS)
		reason = REASON_DENIED_FOLDS;
	else if (label >= LABEL_BAD)
		reason = REASON_DENIED_NO_PATH;
	if (scratch->rights.contexts)
		policy_add_contexts(subject, scratch, false);
	if (own)
		scratch->rights.allow |= scratch->rights.allow >> FILE_OWN_SHIFT;
	/* Its own executable is there already: mapping and reading it needs no rule. */
	if (exe)
		scratch->rights.allow |= FILE_EXEC | FILE_READ | FILE_GETATTR;
	was_enforced = subject->flags & TASK_ENFORCED || enforced(subject);
	if (access & scratch->rights.taint && !(subject->flags & TASK_TAINTED)) {
		/* What taints is itself allowed, unless the subject was enforced already. */
		taint(subject);
		told = REASON_TAINT_POLICY;
		access_told = access & scratch->rights.taint;
	}
	if (was_enforced) {
		if (access & ~scratch->rights.allow) {
			access_told = access & ~scratch->rights.allow;
			told = profile->flags & PROFILE_COMPLAINS ? REASON_COMPLAIN_POLICY : reason;
		} else if (access & scratch->rights.audit) {
			access_told = access & scratch->rights.audit;
			told = REASON_AUDIT_POLICY;
		}
	}
	if (likely(!told))
		return 0;
	scratch->detail = (struct policy_detail){
		.generation = scratch->generation,
		.profile = subject->profile,
		.label = label,
		.access = access_told,
	};
	if (scratch->request.kind) {
		scratch->detail.kind = KIND_PROC;
		scratch->detail.peer = scratch->request.peer;
		scratch->detail.who = scratch->request.who;
	}
	return spare_own(told);
}

#include "policy_attributes.bpf.h"
#include "policy_backing.bpf.h"

/* All that is not settled at once by what is kept for the inode. */
static __noinline int decide_path(struct policy_task *subject, struct vfsmount *mnt, struct dentry *dentry,
				  struct inode *inode, const struct query *query)
{
	struct policy_scratch *scratch = scratch_of_task();
	bool own = false;
	u32 told;

	if (is_canary(subject))
		return answer_policy_canary(subject, query->type);
	if (!scratch)
		return -EPERM;
	look_up(scratch, mnt, dentry, inode, who_of(subject), query->fresh);
	if (inode && scratch->rights.allow >> FILE_OWN_SHIFT) {
		struct policy_label *kept = bpf_inode_storage_get(&policy_labels, inode, 0, 0);

		own = kept && kept->owner && kept->owner == subject->program;
	}
	scratch->request.kind = 0;
	if (unlikely(inode && is_of_process(inode)))
		add_proc(subject, scratch, inode, query->access);
	told = policy_judge(subject, scratch, query->access, own, inode && runs(subject, (u64)inode));
	if (likely(!told))
		return 0;
	start_from(scratch, mnt, dentry);
	policy_tell(query, scratch, told, true);
	return denies(told) ? -EPERM : 0;
}

/* Before anything is decided on an open: then it is decided by this generation, or by a later one. */
static __always_inline void note_open(struct policy_task *subject, u32 generation)
{
	subject->opened = generation;
}

/*
 * The short way: whether what is kept for the inode is the subject's and holds; then what is not settled by it. `subject` is
 * read when it is needed: where registers are scarce, it may lie on the stack.
 */
static __always_inline bool settles(const struct policy_label *kept, struct policy_task *volatile *subject,
				    struct task_struct *task, struct vfsmount *mnt, struct dentry *dentry, u64 *unsettled,
				    bool opens)
{
	u64 seq = kept->seq;
	struct policy_task *now;
	u32 generation;

	barrier();
	generation = generation_now();
	if (!versions_hold(kept, generation))
		return false;
	barrier();
	now = *subject;
	if (opens)
		note_open(now, generation);
	if (kept->who != who_of(now) || !path_holds(kept, task, mnt, dentry))
		return false;
	*unsettled = kept->unsettled;
	barrier();
	return kept->seq == seq;
}

/* What is not settled for an enforced subject may be for one that is not. */
static __always_inline bool passes_untainted(u64 unsettled, u64 who, struct task_struct *task, u32 access)
{
	return !is_enforced(who) && is_alone(task) && !(access & unsettled >> 32);
}

static __always_inline bool settled(const struct policy_label *kept, struct policy_task *subject, struct task_struct *task,
				    struct vfsmount *mnt, struct dentry *dentry, u32 access)
{
	struct policy_task *volatile of = subject;
	u64 unsettled;

	if (!kept || !settles(kept, &of, task, mnt, dentry, &unsettled, false))
		return false;
	return likely(!(access & (u32)unsettled)) || passes_untainted(unsettled, who_of(subject), task, access);
}

/* An access to a file that is there. */
static __always_inline int decide_known(struct policy_task *subject, struct task_struct *task, struct vfsmount *mnt,
					struct dentry *dentry, struct inode *inode, enum bpflock_event_type type, u32 access)
{
	struct policy_label *kept = bpf_inode_storage_get(&policy_labels, inode, 0, 0);
	struct query query = { .type = type, .access = access };

	if (likely(settled(kept, subject, task, mnt, dentry, access)))
		return 0;
	query.op = bit_number(access);
	query.object = inode->i_ino;
	return decide_path(subject, mnt, dentry, inode, &query);
}

static __always_inline int decide_file(struct file *file, enum bpflock_event_type type, u32 access)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct policy_task *subject = confined(task);

	if (likely(!subject || !access))
		return 0;
	return decide_known(subject, task, file->f_path.mnt, file->f_path.dentry, file->f_inode, type, access);
}

/* An access to a name: there may be no file of that name yet. */
static __always_inline int decide_name(struct vfsmount *mnt, struct dentry *dentry, enum bpflock_event_type type,
				       u32 access)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct policy_task *subject = confined(task);
	struct query query = { .type = type, .access = access };
	struct policy_label *kept;
	struct inode *inode;

	if (likely(!subject))
		return 0;
	inode = inode_of(dentry);
	kept = inode ? bpf_inode_storage_get(&policy_labels, inode, 0, 0) : 0;
	if (settled(kept, subject, task, mnt, dentry, access))
		return 0;
	query.op = bit_number(access);
	query.object = name_of(dentry);
	return decide_path(subject, mnt, dentry, inode, &query);
}

/* What a new task has of its parent, but for the functions that it is in. */
static __always_inline void inherit(struct policy_task *child, const struct policy_task *parent)
{
	child->flags = parent->flags;
	child->exe = parent->exe;
	child->script = parent->script;
	child->marked = parent->marked;
	__builtin_memcpy(child->given, parent->given, sizeof(child->given));
	child->canary = parent->canary;
	child->program = parent->program;
	child->profile = parent->profile;
}

/*
 * Whether the new task uses the memory of another process without that one waiting for it: nobody could follow what taints
 * one of them into the other. Of a child of vfork(2) that makes another one, the chain would have to be followed; a thread of
 * it, such as a worker of an io_uring, may be there when the parent goes on.
 */
static __always_inline bool shares_memory_for_good(struct task_struct *task, unsigned long flags)
{
	if (!(flags & CLONE_VM))
		return false;
	if (borrows_memory(task))
		return true;
	return !(flags & CLONE_THREAD) && (!(flags & CLONE_VFORK) || flags & CLONE_PARENT);
}

/* Both are tainted from the start. */
static __noinline void taint_by_sharing(struct policy_task *subject)
{
	struct policy_profile *profile = profile_of(policy_versions.generation, subject->profile);
	struct query query = { .type = EVENT_LSM_TASK_ALLOC, .op = OP_OPERATION };
	struct policy_scratch *scratch;

	if (!profile)
		return;
	taint(subject);
	scratch = ask(KIND_OPERATION, OPERATION_SHARED_MEMORY);
	if (!scratch)
		return;
	scratch->detail = (struct policy_detail){
		.generation = policy_versions.generation,
		.profile = subject->profile,
		.access = OPERATION_SHARED_MEMORY,
		.kind = KIND_OPERATION,
	};
	policy_tell_no_path(&query, scratch, REASON_TAINT_POLICY);
}

SEC("lsm/task_alloc")
int BPF_PROG(policy_task_alloc, struct task_struct *child, unsigned long flags, int ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct policy_task *subject, *inherited;

	if (ret)
		return ret;
	subject = confined(task);
	if (likely(!subject))
		return 0;
	if (flags & CLONE_NEW) {
		ret = decide_operation(EVENT_LSM_TASK_ALLOC, OPERATION_NAMESPACE, 0);
		if (ret)
			return ret;
	}
	if (unlikely(!(subject->flags & TASK_ENFORCED)) && !enforced(subject) && unlikely(shares_memory_for_good(task, flags)))
		taint_by_sharing(subject);
	inherited = bpf_task_storage_get(&policy_tasks, child, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!inherited)
		return -EAGAIN;
	inherit(inherited, subject);
	/* The copy of a process is where the process was. */
	if (!(flags & CLONE_VM) && subject->user.depth)
		inherited->user = subject->user;
	return 0;
}

#include "policy_exec.bpf.h"

#include "policy_descriptors.bpf.h"
#include "policy_foreign.bpf.h"

/*
 * Tasks that are there already: marked when a policy comes, freed when it goes. Counted: the next pass may find more. Then
 * the descriptors of those that are confined are looked at.
 */
u64 policy_marked SEC(".data.marked");

/* The first thread of a process has ended, but its record is the one of the process. */
static __always_inline void mark_ended(struct task_struct *leader, const struct policy_task *thread)
{
	struct policy_task *subject = bpf_task_storage_get(&policy_tasks, leader, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!subject) {
		__sync_fetch_and_add(&policy_pass.failed, 1);
		return;
	}
	if (subject->profile == thread->profile)
		return;
	subject->exe = thread->exe;
	subject->program = thread->program;
	subject->flags = thread->flags;
	subject->marked = thread->marked;
	subject->profile = thread->profile;
}

/*
 * The end of a fork, before the new task runs. Attached only while it is needed: as long as a fork may be under way that
 * began before its parent was marked, and while there are taint rules, as what taints the parent may be in the memory that
 * was copied after policy_task_alloc() had copied the flags.
 */
SEC("tp_btf/task_newtask")
int BPF_PROG(policy_task_newtask, struct task_struct *child, unsigned long flags)
{
	struct policy_task *subject = confined(bpf_get_current_task_btf()), *inherited;

	if (likely(!subject))
		return 0;
	inherited = bpf_task_storage_get(&policy_tasks, child, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!inherited) {
		__sync_fetch_and_add(&policy_pass.failed, 1);
		return 0;
	}
	if (likely(inherited->profile)) {
		enforced(subject);
		add_taint(inherited, subject);
		return 0;
	}
	inherit(inherited, subject);
	__sync_fetch_and_add(&policy_marked, 1);
	return 0;
}

SEC("iter/task")
int policy_mark(struct bpf_iter__task *context)
{
	struct task_struct *task = context->task;
	struct policy_scratch *scratch = scratch_of_task();
	struct policy_task *subject;
	u32 profile, generation;
	struct file *exe;

	if (!task || is_own(task))
		return 0;
	if (!scratch) {
		__sync_fetch_and_add(&policy_pass.failed, 1);
		return 0;
	}
	subject = bpf_task_storage_get(&policy_tasks, task, 0, 0);
	if (subject && subject->profile) {
		if (profile_of(policy_versions.generation, subject->profile)) {
			if (subject->marked == policy_versions.generation && is_fork_call(task))
				__sync_fetch_and_add(&policy_pass.forking, 1);
			if (!task->group_leader->mm)
				mark_ended(task->group_leader, subject);
			find_descriptors(task, subject, scratch);
			return 0;
		}
		subject->profile = 0;
	}
	if (!task->mm)
		return 0;
	exe = task->mm->exe_file;
	if (!exe)
		return 0;
	walk_label(scratch, task, exe->f_path.mnt, exe->f_path.dentry, false);
	profile = profile_of_executable(scratch->generation, label_of_executable(scratch));
	if (!profile || !is_of_host(scratch, task, (u64)exe->f_path.dentry, profile))
		return 0;
	subject = bpf_task_storage_get(&policy_tasks, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!subject) {
		__sync_fetch_and_add(&policy_pass.failed, 1);
		return 0;
	}
	generation = policy_versions.generation;
	subject->exe = (u64)exe->f_inode;
	subject->script = 0;
	subject->program = process_of(task);
	subject->user.depth = subject->kernel.depth = 0;
	subject->flags = start_flags(profile_of(generation, profile));
	subject->marked = generation;
	subject->opened = 0;
	note_given(subject, task);
	subject->profile = profile;
	__sync_fetch_and_add(&policy_marked, 1);
	if (!task->group_leader->mm)
		mark_ended(task->group_leader, subject);
	return 0;
}

_Static_assert(FILE_READ == 1 && FILE_WRITE == 2, "access_of_open() takes what open(2) was asked for, and adds 1");

/* From the flags: the mode says the same, and is another load, needed only where a file may have been created. */
static __always_inline u32 access_of_open(struct file *file)
{
	u32 flags = file->f_flags, access = (flags + 1) & (FILE_READ | FILE_WRITE);

	barrier_var(access);
	/* Mode 3, for ioctl(2) only: to the kernel that is reading and writing. Never appending. */
	if (unlikely(!access))
		return FILE_READ | FILE_WRITE | (file->f_mode & FMODE_CREATED ? FILE_CREATE : 0);
	if (unlikely(flags & (FMODE_EXEC_FLAG | O_APPEND | O_TRUNC | O_CREAT | O_TMPFILE_ALONE))) {
		if (flags & FMODE_EXEC_FLAG)
			access &= ~FILE_READ;
		if (flags & O_APPEND && access & FILE_WRITE)
			access ^= FILE_WRITE | FILE_APPEND;
		if (flags & O_TRUNC)
			access |= FILE_WRITE;
		if (file->f_mode & FMODE_CREATED)
			access |= FILE_CREATE;
	}
	return access;
}

#define UNDECIDED 1

/* What is to be decided by the path: then UNDECIDED, else the verdict. */
static __noinline int query_open(struct policy_task *subject, struct file *file, struct query *query, bool fresh)
{
	u32 access = access_of_open(file);

	if (access & FILE_CREATE) {
		struct policy_label *kept = bpf_inode_storage_get(&policy_labels, file->f_inode, 0,
								  BPF_LOCAL_STORAGE_GET_F_CREATE);

		/* Whether it may make the name was asked by path_mknod. */
		if (kept)
			kept->owner = subject->program;
	}
	if (!access)
		return 0;
	/* What mq_open(3) opens is of no path: nothing is kept for it. */
	if (is_queue(file->f_inode))
		return decide_operation(EVENT_LSM_FILE_OPEN, OPERATION_IPC, file->f_inode->i_ino);
	if (unlikely(is_reopened(file, access)))
		return decide_reopened(subject, file);
	*query = (struct query){
		.type = EVENT_LSM_FILE_OPEN,
		.access = access,
		.op = bit_number(access),
		.object = file->f_inode->i_ino,
		.fresh = fresh,
	};
	return UNDECIDED;
}

/* No look at ret: after a program that denies, the kernel runs no other. */
SEC("lsm/file_open")
int BPF_PROG(policy_file_open, struct file *file)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct policy_task *found = confined(task);
	struct policy_task *volatile subject; /* on the stack: all would save a register for it */
	struct policy_label *kept;
	struct query query;
	u64 unsettled;
	int verdict;

	if (likely(!found))
		return 0;
	subject = found;
	kept = bpf_inode_storage_get(&policy_labels, file->f_inode, 0, 0);
	if (likely(kept) && likely(settles(kept, &subject, task, file->f_path.mnt, file->f_path.dentry, &unsettled, true))) {
		u32 access = access_of_open(file);

		if (likely(!(access & (u32)unsettled)))
			return 0;
		if (passes_untainted(unsettled, who_of(subject), task, access))
			return 0;
	}
	note_open(subject, generation_now());
	verdict = query_open(subject, file, &query, !kept);
	if (verdict != UNDECIDED)
		return verdict;
	return decide_path(subject, file->f_path.mnt, file->f_path.dentry, file->f_inode, &query);
}

SEC("lsm/file_receive")
int BPF_PROG(policy_file_receive, struct file *file, int ret)
{
	if (ret)
		return ret;
	if (likely(!confined(bpf_get_current_task_btf())))
		return 0;
	if (unlikely(is_ring(file->f_path.dentry))) { /* somebody else can give files by it, with no hook asked */
		ret = decide_operation(EVENT_LSM_FILE_RECEIVE, OPERATION_IO_URING, 0);
		if (ret)
			return ret;
	}
	return decide_file(file, EVENT_LSM_FILE_RECEIVE, access_of_open(file) & ~(FILE_CREATE));
}

SEC("lsm/mmap_file")
int BPF_PROG(policy_mmap_file, struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags, int ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct policy_task *subject;
	u32 access = 0;

	if (ret)
		return ret;
	if (likely(!(prot & PROT_EXEC) && !(prot & PROT_WRITE && flags & MAP_SHARED) && !policy_pass.any))
		return 0;
	subject = confined(task);
	if (likely(!subject))
		return 0;
	if (is_null(file))
		return prot & PROT_EXEC ? decide_operation(EVENT_LSM_MMAP_FILE, OPERATION_ANON_EXEC, 0) : 0;
	if (prot & PROT_EXEC) {
		bool anonymous = is_anonymous_memory(file);

		access |= anonymous ? 0 : FILE_EXEC;
		if (anonymous || (prot & PROT_WRITE && !(flags & MAP_SHARED)))
			ret = decide_operation(EVENT_LSM_MMAP_FILE, OPERATION_ANON_EXEC, 0);
		if (ret)
			return ret;
	}
	if (prot & PROT_WRITE && flags & MAP_SHARED && file->f_flags & O_APPEND)
		access |= FILE_WRITE;
	if (unlikely(policy_pass.any))
		access |= access_of_mapping(file, flags & MAP_SHARED, prot & PROT_WRITE);
	if (!access)
		return 0;
	return decide_known(subject, task, file->f_path.mnt, file->f_path.dentry, file->f_inode, EVENT_LSM_MMAP_FILE, access);
}

SEC("lsm/file_mprotect")
int BPF_PROG(policy_file_mprotect, struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot, int ret)
{
	struct file *file;
	u32 access = 0;

	if (ret)
		return ret;
	if (likely(!(prot & PROT_EXEC) && !(prot & PROT_WRITE && vma->vm_flags & VM_SHARED) && !policy_pass.any))
		return 0;
	if (likely(!confined(bpf_get_current_task_btf())))
		return 0;
	file = vma->vm_file;
	if (!file)
		return prot & PROT_EXEC ? decide_operation(EVENT_LSM_FILE_MPROTECT, OPERATION_ANON_EXEC, 0) : 0;
	if (prot & PROT_EXEC) {
		bool anonymous = is_anonymous_memory(file);

		access |= anonymous ? 0 : FILE_EXEC;
		/* A private mapping that was written to, or may be, is anonymous memory, whatever file it began with. */
		if (anonymous || (!(vma->vm_flags & VM_SHARED) && (vma->anon_vma || prot & PROT_WRITE)))
			ret = decide_operation(EVENT_LSM_FILE_MPROTECT, OPERATION_ANON_EXEC, 0);
		if (ret)
			return ret;
	}
	if (prot & PROT_WRITE && vma->vm_flags & VM_SHARED && file->f_flags & O_APPEND)
		access |= FILE_WRITE;
	if (unlikely(is_backing(file))) {
		/* Whether the task is asked about it is noted of another struct file. */
		if (policy_pass.any)
			access |= access_of_any_mapping(file, vma->vm_flags & VM_SHARED, prot & PROT_WRITE);
		return decide_backing(file, EVENT_LSM_FILE_MPROTECT, access);
	}
	if (unlikely(policy_pass.any))
		access |= access_of_mapping(file, vma->vm_flags & VM_SHARED, prot & PROT_WRITE);
	return access ? decide_file(file, EVENT_LSM_FILE_MPROTECT, access) : 0;
}

#define O_ASYNC 020000
#define FIOASYNC 0x5452

/*
 * A terminal that is to signal its input gets an owner by that, if it has none: its foreground process
 * group. Other devices than terminals are taken for one.
 */
static __always_inline bool is_terminal(struct file *file)
{
	return (file->f_inode->i_mode & S_IFMT) == S_IFCHR;
}

SEC("lsm/file_fcntl")
int BPF_PROG(policy_file_fcntl, struct file *file, unsigned int command, unsigned long argument, int ret)
{
	bool foreground;

	if (ret)
		return ret;
	foreground = command == F_SETFL && argument & ~file->f_flags & O_ASYNC && is_terminal(file);
	if (unlikely(foreground || sets_owner(command))) {
		ret = decide_owner(file, EVENT_LSM_FILE_FCNTL, command == F_SETOWN,
				   foreground || command == F_SETOWN_EX ? -1 : (int)argument);
		if (ret || !foreground)
			return ret;
	}
	if (command != F_SETFL || !(file->f_flags & O_APPEND) || argument & O_APPEND || !(file->f_mode & FMODE_WRITE))
		return 0;
	return decide_file(file, EVENT_LSM_FILE_FCNTL, FILE_WRITE);
}

#define TCGETS 0x5401
#define FIONBIO 0x5421
#define FIONCLEX 0x5450
#define FIOCLEX 0x5451

/*
 * What a command needs, for a file of this kind (S_IFREG, ...). Nothing: what fcntl(2) does as well, and the question whether
 * a file is a terminal, where it is none: interpreters ask all files. With a descriptor that is open to append, what may change
 * what is there already needs the right to write.
 *
 * A global function: Linux 6.1's verifier would go through all that follows for each of the commands.
 */
__noinline u32 policy_ioctl_access(u32 command, u32 kind, u32 appends)
{
	if (command == FIOCLEX || command == FIONCLEX || command == FIONBIO || (command == TCGETS && kind == S_IFREG))
		return 0;
	if (likely(!appends) || (kind != S_IFREG && kind != S_IFBLK))
		return FILE_IOCTL;
	if (kind == S_IFREG ? ioctl_reads(command) : ioctl_asks_device(command))
		return FILE_IOCTL;
	return FILE_IOCTL | FILE_WRITE;
}

static __always_inline int decide_ioctl(struct file *file, u32 command)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct policy_task *subject = confined(task);
	struct query query = { .type = EVENT_LSM_FILE_IOCTL, .op = bit_number(FILE_IOCTL) };
	struct inode *inode = file->f_inode;
	int ret;

	if (likely(!subject))
		return 0;
	query.access = policy_ioctl_access(command, inode->i_mode & S_IFMT, file->f_flags & O_APPEND);
	if (!query.access)
		return 0;
	if (unlikely(command == FIOSETOWN || command == SIOCSPGRP || (command == FIOASYNC && is_terminal(file)))) {
		ret = decide_owner(file, EVENT_LSM_FILE_IOCTL, false, -1);
		if (ret)
			return ret;
	}
	if (likely(settled(bpf_inode_storage_get(&policy_labels, inode, 0, 0), subject, task, file->f_path.mnt,
			   file->f_path.dentry, query.access)))
		return 0;
	query.object = inode->i_ino;
	return decide_path(subject, file->f_path.mnt, file->f_path.dentry, inode, &query);
}

SEC("lsm/file_ioctl")
int BPF_PROG(policy_file_ioctl, struct file *file, unsigned int command, unsigned long argument, int ret)
{
	return ret ? ret : decide_ioctl(file, command);
}

/*
 * By the 32-bit system call, which programs of 64 bits can make, too. Kernels without this hook ask file_ioctl. The commands
 * of the two are the same, or differ in the size that they are told with.
 */
SEC("?lsm/file_ioctl_compat")
int BPF_PROG(policy_file_ioctl_compat, struct file *file, unsigned int command, unsigned long argument, int ret)
{
	return ret ? ret : decide_ioctl(file, command);
}

SEC("lsm/path_unlink")
int BPF_PROG(policy_path_unlink, struct path *dir, struct dentry *dentry, int ret)
{
	return ret ? ret : decide_name(dir->mnt, dentry, EVENT_LSM_PATH_UNLINK, FILE_RM);
}

SEC("lsm/path_rmdir")
int BPF_PROG(policy_path_rmdir, struct path *dir, struct dentry *dentry, int ret)
{
	note_removed(dentry);
	return ret ? ret : decide_name(dir->mnt, dentry, EVENT_LSM_PATH_RMDIR, FILE_RM);
}

SEC("lsm/path_mkdir")
int BPF_PROG(policy_path_mkdir, struct path *dir, struct dentry *dentry, unsigned short mode, int ret)
{
	return ret ? ret : decide_name(dir->mnt, dentry, EVENT_LSM_PATH_MKDIR, FILE_CREATE);
}

SEC("lsm/path_mknod")
int BPF_PROG(policy_path_mknod, struct path *dir, struct dentry *dentry, unsigned short mode, unsigned int dev, int ret)
{
	return ret ? ret : decide_name(dir->mnt, dentry, EVENT_LSM_PATH_MKNOD, FILE_CREATE);
}

SEC("lsm/path_symlink")
int BPF_PROG(policy_path_symlink, struct path *dir, struct dentry *dentry, const char *target, int ret)
{
	return ret ? ret : decide_name(dir->mnt, dentry, EVENT_LSM_PATH_SYMLINK, FILE_CREATE);
}

/* A second name must not give more than the first: its rights are a part of those. */
SEC("lsm/path_link")
int BPF_PROG(policy_path_link, struct dentry *old, struct path *dir, struct dentry *new, int ret)
{
	if (ret)
		return ret;
	ret = decide_name(dir->mnt, old, EVENT_LSM_PATH_LINK, FILE_LINK);
	return ret ? ret : decide_name(dir->mnt, new, EVENT_LSM_PATH_LINK, FILE_CREATE | FILE_LINK);
}

#include "policy_gains.bpf.h"

SEC("lsm/path_truncate")
int BPF_PROG(policy_path_truncate, struct path *path, int ret)
{
	return ret ? ret : decide_name(path->mnt, path->dentry, EVENT_LSM_PATH_TRUNCATE, FILE_WRITE);
}

SEC("?lsm/file_truncate")
int BPF_PROG(policy_file_truncate, struct file *file, int ret)
{
	return ret ? ret : decide_file(file, EVENT_LSM_PATH_TRUNCATE, FILE_WRITE);
}

SEC("lsm/path_chmod")
int BPF_PROG(policy_path_chmod, struct path *path, unsigned short mode, int ret)
{
	return ret ? ret : decide_name(path->mnt, path->dentry, EVENT_LSM_PATH_CHMOD, FILE_SETATTR);
}

SEC("lsm/path_chown")
int BPF_PROG(policy_path_chown, struct path *path, unsigned long uid, unsigned long gid, int ret)
{
	return ret ? ret : decide_name(path->mnt, path->dentry, EVENT_LSM_PATH_CHOWN, FILE_SETATTR);
}

/* A task that gets notifications about a file or a directory learns what reading it would tell. */
SEC("lsm/path_notify")
int BPF_PROG(policy_path_notify, struct path *path, u64 mask, unsigned int of, int ret)
{
	return ret ? ret : decide_name(path->mnt, path->dentry, EVENT_LSM_PATH_NOTIFY, FILE_READ);
}

SEC("lsm/inode_getattr")
int BPF_PROG(policy_inode_getattr, struct path *path, int ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct policy_task *subject;
	struct dentry *dentry;
	struct inode *inode;

	if (ret)
		return ret;
	subject = confined(task);
	if (likely(!subject))
		return 0;
	dentry = path->dentry;
	inode = inode_of(dentry);
	if (!inode)
		return 0;
	return decide_known(subject, task, path->mnt, dentry, inode, EVENT_LSM_INODE_GETATTR, FILE_GETATTR);
}

#include "policy_status.bpf.h"
