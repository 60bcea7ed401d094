/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The part of the policy engine for exec: what a task becomes, and with which descriptors it may.
 *
 *  lsm/bprm_check_security   asks about each file of an exec: a script and its interpreter are both decided. The first file
 *                            that is not a program of this machine, as a script is, may have a profile of its own.
 *  lsm/bprm_creds_from_file  finds the profile of any other file. An exec fails whose outcome cannot be kept; by which a
 *                            profile begins while a descriptor stays open that it does not allow to open; or by which a
 *                            task that is traced, or has a listener of seccomp's, changes its profile or is not enforced
 *                            any more.
 *  lsm/bprm_committed_creds  from here on the task is what was found. If others could change its descriptors, it looks at
 *                            them again, and kills a task that should not have begun.
 *
 * A profile is for files of the host: in a mount namespace of its own, a task is confined by it only if the file has the
 * same profile by a path that it has in the first task's mount namespace. Another file at the same path in a container is
 * no file of the host.
 */
#ifndef BPFLOCK_POLICY_EXEC_BPF_H
#define BPFLOCK_POLICY_EXEC_BPF_H

#define LSM_UNSAFE_PTRACE 2
#define DESCRIPTORS_GIVEN 3 /* standard input, output and error: what the program was given, and not asked about */
#define CHUNK 64 /* descriptors that are read together: the bits of a word of the kernel's */
#define SAME 8 /* descriptors of one file that are passed together */
#define DESCRIPTORS_MAX (1 << 23) /* the most that bpf_loop() takes */
#define SEEN 64
#define FILTERS_MAX 32 /* seccomp's filters of a task that are looked at: with more, it counts as directed */
#define WALKS_MAX 1024 /* files that are looked up for one exec: with more, it is denied */
#define FILE_PART 128 /* bytes of a struct file that are read by one call */
#define ELF_MAGIC 0x464c457f
#define ELF_MACHINE 18 /* offset of e_machine in a program's file */

#if defined(__TARGET_ARCH_x86)
#define EM_NATIVE 62
#elif defined(__TARGET_ARCH_arm64)
#define EM_NATIVE 183
#endif

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct linux_binprm___unsafe {
	unsigned int unsafe;
};
struct seccomp_filter {
	struct seccomp_filter *prev;
	struct notification *notif;
};
struct seccomp___filter {
	struct seccomp_filter *filter;
};
struct task_struct___filters {
	struct seccomp___filter seccomp;
};
#pragma clang attribute pop

/* A file that was looked up for this exec, and may be open. */
struct policy_seen {
	u64 dentry;
	u64 mnt;
	u32 access;
	u32 round; /* of policy_exec: of an earlier one, it says nothing */
};

/* Of an exec that begins a profile: its descriptors. */
struct policy_exec {
	u64 files[CHUNK];
	u8 file[FILE_PART];
	struct policy_seen seen[SEEN];
	u64 table; /* address of the kernel's array */
	u64 closing; /* of its bits of those that exec closes */
	u64 last; /* struct file that was looked at last */
	u32 at;
	u32 count;
	u32 walks;
	u32 round;
	u32 missing; /* a right on the file whose path begins in scratch */
	u32 reason;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct policy_exec);
} policy_execs SEC(".maps");

static __always_inline u32 start_flags(const struct policy_profile *profile)
{
	return profile && profile->flags & PROFILE_TAINTS ? 0 : TASK_ENFORCED;
}

static __always_inline u32 access_of_mode(u32 flags, u32 mode)
{
	u32 access = 0;

	if (mode & FMODE_READ)
		access |= FILE_READ;
	if (mode & FMODE_WRITE)
		access |= flags & O_APPEND ? FILE_APPEND : FILE_WRITE;
	return access;
}

static __always_inline u32 access_of_descriptor(struct file *file)
{
	return access_of_mode(BPF_CORE_READ(file, f_flags), BPF_CORE_READ(file, f_mode));
}

/* What tells a file that is given from others, with the mode in which it is open. */
static __always_inline u64 given_of(struct file *file)
{
	return (u64)BPF_CORE_READ(file, f_inode) | (BPF_CORE_READ(file, f_mode) & (FMODE_READ | FMODE_WRITE));
}

static __always_inline void note_given(struct policy_task *subject, struct task_struct *task)
{
	struct fdtable *table = BPF_CORE_READ((struct task_struct___files *)task, files, fdt);
	struct file *files[DESCRIPTORS_GIVEN] = {};

	bpf_probe_read_kernel(files, sizeof(files), BPF_CORE_READ(table, fd));
	for (u32 i = 0; i < DESCRIPTORS_GIVEN; i++)
		subject->given[i] = files[i] ? given_of(files[i]) : 0;
}

/* The label of a file by its path in the mount namespace scratch->ns. For a file that no hook was handed. */
static __always_inline void walk_by_address(struct policy_scratch *scratch, struct dentry *dentry, struct vfsmount *mnt)
{
	scratch->from_dentry = (u64)dentry;
	scratch->from_mount = (u64)mount_of((u64)mnt);
	scratch->from_root = (u64)BPF_CORE_READ(mnt, mnt_root);
	note(scratch);
	begin(scratch);
	policy_walk(scratch, false);
}

/* Whether a file without a path is an io_uring. */
static __always_inline bool is_ring(struct dentry *dentry)
{
	const unsigned char *name = BPF_CORE_READ(dentry, d_name.name);
	char text[12] = {};

	bpf_probe_read_kernel_str(text, sizeof(text), name);
	return text[0] == '[' && text[1] == 'i' && text[2] == 'o' && text[3] == '_' && text[4] == 'u';
}

struct check {
	struct policy_scratch *scratch;
	struct policy_exec *exec;
};

/* What of a struct file says which it is, and how it is open. */
struct opened_file {
	u64 dentry;
	u64 mnt;
	u32 access;
};

static __always_inline void read_opened(struct opened_file *opened, struct file *file, u8 *part)
{
	u32 path = bpf_core_field_offset(struct file, f_path), mnt = path + bpf_core_field_offset(struct path, mnt);
	u32 dentry = path + bpf_core_field_offset(struct path, dentry);
	u32 flags = bpf_core_field_offset(struct file, f_flags), mode = bpf_core_field_offset(struct file, f_mode);

	if (mnt > FILE_PART - 8 || dentry > FILE_PART - 8 || flags > FILE_PART - 4 || mode > FILE_PART - 4 ||
	    bpf_probe_read_kernel(part, FILE_PART, file)) {
		opened->dentry = (u64)BPF_CORE_READ(file, f_path.dentry);
		opened->mnt = (u64)BPF_CORE_READ(file, f_path.mnt);
		opened->access = access_of_descriptor(file);
		return;
	}
	opened->dentry = *(u64 *)(part + dentry);
	opened->mnt = *(u64 *)(part + mnt);
	opened->access = access_of_mode(*(u32 *)(part + flags), *(u32 *)(part + mode));
}

/* Whether the next descriptors are all of the file that was looked at last, or all closed: many descriptors are of few files. */
static __always_inline bool are_same(const u64 *files, u64 last)
{
	u64 differ = 0, any = 0;

	for (u32 i = 0; i < SAME; i++) {
		differ |= files[i] ^ last;
		any |= files[i];
	}
	return !differ || !any;
}

/* The next descriptor. Not 0 ends the search: there is none, or the program must not have it. */
static long check_descriptor(u32 index, struct check *check)
{
	struct policy_scratch *scratch = check->scratch;
	struct policy_exec *exec = check->exec;
	struct opened_file opened = {};
	struct policy_seen *seen;
	u32 at = exec->at, slot;
	u64 closing = 0, file;

	if (at >= exec->count)
		return 1;
	if (!(at % CHUNK))
		bpf_probe_read_kernel(exec->files, sizeof(exec->files), (void *)exec->table + 8ULL * at);
	slot = at;
	asm volatile("%0 &= %1" : "+r"(slot) : "i"(CHUNK - SAME));
	if (!(at % SAME) && are_same(exec->files + slot, exec->last)) {
		exec->at = at + SAME;
		return 0;
	}
	exec->at = at + 1;
	file = exec->files[at % CHUNK];
	if (!file || file == exec->last || at < DESCRIPTORS_GIVEN)
		return 0;
	bpf_probe_read_kernel(&closing, sizeof(closing), (void *)exec->closing + 8ULL * (at / 64));
	if (closing >> at % 64 & 1)
		return 0;
	exec->last = file;
	read_opened(&opened, (void *)file, exec->file);
	if (!opened.access)
		return 0;
	seen = &exec->seen[(opened.dentry >> 6 ^ opened.access) % SEEN];
	if (seen->dentry == opened.dentry && seen->mnt == opened.mnt && seen->access == opened.access &&
	    seen->round == exec->round)
		return 0;
	exec->missing = opened.access;
	if (exec->walks >= WALKS_MAX) {
		exec->reason = REASON_DENIED_TOO_MANY;
		return 1;
	}
	exec->walks++;
	walk_by_address(scratch, (void *)opened.dentry, (void *)opened.mnt);
	if (scratch->label == LABEL_INTERNAL || scratch->label == LABEL_LAYER) {
		/* With a ring files may be registered, now or later, by others who have it. */
		exec->reason = REASON_DENIED_NO_PATH;
		if (scratch->label == LABEL_INTERNAL && is_ring((void *)opened.dentry))
			return 1;
	} else {
		policy_rights_of(scratch);
		exec->missing = opened.access & ~scratch->rights.allow;
		exec->reason = REASON_DENIED_POLICY;
		if (exec->missing)
			return 1;
	}
	exec->missing = 0;
	seen->dentry = opened.dentry;
	seen->mnt = opened.mnt;
	seen->access = opened.access;
	seen->round = exec->round;
	return 0;
}

/*
 * Whether the program that the task executes, or has just begun to execute, has a descriptor that the profile would not let
 * it open. Which and why is in the task's policy_exec; without that there was no memory to look.
 */
static __always_inline bool has_forbidden_descriptor(struct policy_scratch *scratch, u32 profile)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct policy_exec *exec = bpf_task_storage_get(&policy_execs, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	struct fdtable *table = BPF_CORE_READ((struct task_struct___files *)task, files, fdt);
	struct check check = { scratch, exec };

	if (!exec)
		return true;
	exec->table = (u64)BPF_CORE_READ(table, fd);
	exec->closing = (u64)BPF_CORE_READ(table, close_on_exec);
	exec->count = BPF_CORE_READ(table, max_fds);
	exec->last = exec->at = exec->walks = exec->missing = exec->reason = 0;
	exec->round++;
	scratch->ns = (u64)task->nsproxy->mnt_ns;
	scratch->profile = profile;
	bpf_loop(DESCRIPTORS_MAX, check_descriptor, &check, 0);
	if (unlikely(exec->at < exec->count && !exec->missing)) {
		exec->missing = FILE_READ;
		exec->reason = REASON_DENIED_TOO_MANY;
	}
	return exec->missing;
}

/* Report that a program must not begin. The path begins in scratch. */
static __noinline u32 tell_start(struct policy_scratch *scratch, u32 profile, u32 access, u32 reason)
{
	struct query query = { .type = EVENT_LSM_BPRM_CREDS_FROM_FILE, .op = bit_number(access), .access = access };

	scratch->detail = (struct policy_detail){
		.generation = policy_versions.generation,
		.profile = profile,
		.label = scratch->label,
		.access = access,
	};
	begin(scratch);
	policy_tell(&query, scratch, reason, true);
	return 0;
}

/* Whether a profile complains only. */
static __always_inline bool complains(u32 profile)
{
	struct policy_profile *found = profile_of(policy_versions.generation, profile);

	return found && found->flags & PROFILE_COMPLAINS;
}

/* A profile begins: whether the program may have its descriptors. */
static __always_inline int check_descriptors(struct policy_scratch *scratch, struct policy_task *subject, u32 profile)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct policy_exec *exec;
	u32 reason;

	subject->was_shared = BPF_CORE_READ((struct task_struct___files *)task, files, count.counter) != 1;
	if (likely(!has_forbidden_descriptor(scratch, profile))) {
		if (!subject->was_shared)
			bpf_task_storage_delete(&policy_execs, task);
		return 0;
	}
	exec = bpf_task_storage_get(&policy_execs, task, 0, 0);
	if (!exec)
		return -EPERM;
	reason = complains(profile) ? REASON_COMPLAIN_POLICY : exec->reason;
	tell_start(scratch, profile, exec->missing, reason);
	/* What only complains has been reported, and needs no second look. */
	subject->was_shared = false;
	return denies(reason) ? -EPERM : 0;
}

/*
 * What is kept for the executable tells that no profile is for it, as of most programs. Without a walk, the task needs no
 * storage: making it is most of what an exec would cost, and a task that has some pays for it in every hook.
 */
static __always_inline bool known_without_profile(struct task_struct *task, struct file *file)
{
	struct policy_label *kept = bpf_inode_storage_get(&policy_labels, file->f_inode, 0, 0);
	u32 generation, label;
	u64 seq;

	if (!kept)
		return false;
	seq = kept->seq;
	barrier();
	if (seq & 1 || !label_holds(kept, task, file->f_path.mnt, file->f_path.dentry))
		return false;
	generation = kept->generation;
	label = kept->label;
	barrier();
	return kept->seq == seq && !profile_of_executable(generation, label);
}

#define HOST_MOUNTS 64 /* looked at; what has more is the host's, too */

/* Begin at the mount that was found last. Functions of their own: the verifier looks at them once, not for each mount. */
__noinline u32 policy_start_on_mount(struct policy_scratch *scratch)
{
	struct mount *mount;

	if (!scratch)
		return 0;
	mount = (void *)scratch->found_mount;
	scratch->from_mount = (u64)mount;
	scratch->from_root = (u64)BPF_CORE_READ(mount, mnt.mnt_root);
	note(scratch);
	begin(scratch);
	return 0;
}

/* The profile of the executable whose label was found last. */
__noinline u32 policy_profile_of_label(struct policy_scratch *scratch)
{
	return scratch ? profile_of_executable(scratch->generation, label_of_executable(scratch)) : 0;
}

/*
 * Whether an executable has the profile also by a path in the first task's mount namespace; dentry: an address. Where that
 * namespace is not known, every file is the host's.
 */
static __always_inline bool is_of_host(struct policy_scratch *scratch, struct task_struct *task, u64 dentry, u32 profile)
{
	struct nsproxy *first = (void *)shared.init_nsproxy;
	u64 ns = shared.init_nsproxy == NO_NAMESPACE ? 0 : (u64)BPF_CORE_READ(first, mnt_ns);

	if (likely(!ns || (u64)task->nsproxy->mnt_ns == ns))
		return true;
	scratch->from_dentry = dentry;
	scratch->ns = ns;
	start_mounts(scratch);
	for (u32 i = 0; i < HOST_MOUNTS; i++) {
		if (!policy_next_mount(scratch))
			return !scratch->ended;
		policy_start_on_mount(scratch);
		policy_walk(scratch, false);
		if (policy_profile_of_label(scratch) == profile)
			return true;
	}
	return true;
}

static __always_inline void forget_next(struct policy_task *subject)
{
	subject->next_profile = subject->profile;
	subject->next_flags = subject->flags;
	subject->next_script = 0;
	subject->by_script = false;
}

/*
 * What the task becomes by executing a file, noted with it; `subject` is 0 if it is not confined. Whether it becomes
 * something else than it is; an error number if that cannot be noted.
 */
static __always_inline int choose(struct policy_task *subject, struct policy_scratch *scratch, struct file *file)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u32 profile, generation, rights;

	look_up(scratch, file->f_path.mnt, file->f_path.dentry, file->f_inode, subject ? who_of(subject) : 0, false);
	generation = scratch->generation;
	/* A file without a label has no profile of its own. */
	profile = profile_of_executable(generation, label_of_executable(scratch));
	if (profile && !is_of_host(scratch, task, (u64)file->f_path.dentry, profile))
		profile = 0;
	scratch->generation = generation; /* that of the rights in scratch */
	if (!subject) {
		if (likely(!profile)) {
			/* Nor what an exec that failed would have made of it. */
			subject = bpf_task_storage_get(&policy_tasks, task, 0, 0);
			if (unlikely(subject))
				forget_next(subject);
			return 0;
		}
		subject = bpf_task_storage_get(&policy_tasks, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (!subject)
			return -EPERM;
		forget_next(subject);
		subject->kernel.depth = 0; /* of when it was confined before */
		subject->next_profile = profile;
		subject->next_flags = start_flags(profile_of(generation, profile));
		return true;
	}
	enforced(subject);
	forget_next(subject);
	if (scratch->rights.contexts)
		policy_add_contexts(subject, scratch, false);
	rights = scratch->rights.taint | scratch->rights.audit;
	if (rights & EXEC_UNTAINT)
		subject->next_flags = start_flags(profile_of(generation, subject->profile)) | (subject->flags & TASK_ASKED);
	if (profile && rights & EXEC_TRANSITION) {
		subject->next_profile = profile;
		subject->next_flags = start_flags(profile_of(generation, profile)) |
				      (subject->next_flags & TASK_TAINTED ? TASK_TAINTED | TASK_ENFORCED : 0);
	}
	return subject->next_profile != subject->profile || subject->next_flags != subject->flags;
}

/* Whether the file is a program of this machine, and no script or anything else that an interpreter runs. */
static __always_inline bool is_program(struct linux_binprm *bprm)
{
	return *(const u32 *)bprm->buf == ELF_MAGIC && *(const u16 *)(bprm->buf + ELF_MACHINE) == EM_NATIVE;
}

static __always_inline bool is_interpreted(struct linux_binprm *bprm)
{
	return bprm->interp != bprm->filename;
}

/* The file that was executed, before an interpreter takes its place: it may have a profile. */
static __noinline int choose_script(struct linux_binprm *bprm)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct policy_task *subject = confined(task);
	struct policy_scratch *scratch;
	int chosen;

	if (!subject && known_without_profile(task, bprm->file)) {
		subject = bpf_task_storage_get(&policy_tasks, task, 0, 0);
		if (unlikely(subject))
			forget_next(subject);
		return 0;
	}
	scratch = scratch_of_task();
	if (!scratch)
		return -EPERM;
	chosen = choose(subject, scratch, bprm->file);
	if (chosen <= 0)
		return chosen;
	subject = bpf_task_storage_get(&policy_tasks, task, 0, 0);
	if (!subject)
		return -EPERM;
	subject->by_script = true;
	subject->next_script = (u64)bprm->file->f_inode;
	return 0;
}

SEC("lsm/bprm_check_security")
int BPF_PROG(policy_bprm_check_security, struct linux_binprm *bprm, int ret)
{
	if (ret)
		return ret;
	if (unlikely(!is_program(bprm)) && !is_interpreted(bprm)) {
		ret = choose_script(bprm);
		if (ret)
			return -EPERM;
	}
	return decide_file(bprm->file, EVENT_LSM_BPRM_CHECK_SECURITY, FILE_EXEC);
}

/* Whether a process may answer system calls of the task in place of the kernel: SECCOMP_RET_USER_NOTIF. */
static __always_inline bool has_listener(struct task_struct *task)
{
	struct task_struct___filters *filtered = (void *)task;
	struct seccomp_filter *filter;

	if (!bpf_core_field_exists(filtered->seccomp.filter) || !bpf_core_field_exists(struct seccomp_filter, notif))
		return false;
	filter = filtered->seccomp.filter;
	for (u32 i = 0; i < FILTERS_MAX && filter; i++) {
		if (BPF_CORE_READ(filter, notif))
			return true;
		filter = BPF_CORE_READ(filter, prev);
	}
	return filter;
}

/* Whether a task that is confined may do what it could not before: under another profile, or untainted. */
static __always_inline bool gains_by_exec(const struct policy_task *subject)
{
	return subject->next_profile != subject->profile || (subject->flags & ~subject->next_flags & TASK_ENFORCED);
}

/* A task that is confined becomes something else: not while another one directs it, if it may do more by that. */
static __always_inline int check_traced(struct linux_binprm *bprm, struct policy_scratch *scratch, struct policy_task *subject)
{
	u32 reason;

	if (likely(!gains_by_exec(subject)))
		return 0;
	if (!(((struct linux_binprm___unsafe *)bprm)->unsafe & LSM_UNSAFE_PTRACE) && !has_listener(bpf_get_current_task_btf()))
		return 0;
	reason = complains(subject->profile) ? REASON_COMPLAIN_POLICY : REASON_DENIED_POLICY;
	start_from(scratch, bprm->file->f_path.mnt, bprm->file->f_path.dentry);
	tell_start(scratch, subject->profile, FILE_EXEC, reason);
	return denies(reason) ? -EPERM : 0;
}

SEC("lsm/bprm_creds_from_file")
int BPF_PROG(policy_bprm_creds_from_file, struct linux_binprm *bprm, struct file *from, int ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct policy_task *subject, *record;
	struct policy_scratch *scratch;
	bool by_script = false;
	u32 profile;

	if (ret)
		return ret;
	subject = confined(task);
	if (unlikely(is_interpreted(bprm))) {
		record = bpf_task_storage_get(&policy_tasks, task, 0, 0);
		by_script = record && record->by_script;
	}
	if (likely(!subject && !by_script) && known_without_profile(task, bprm->file)) {
		record = bpf_task_storage_get(&policy_tasks, task, 0, 0);
		if (unlikely(record))
			forget_next(record);
		return 0;
	}
	scratch = scratch_of_task();
	if (!scratch)
		return -EPERM;
	if (!by_script) {
		int chosen = choose(subject, scratch, bprm->file);

		if (chosen <= 0)
			return chosen < 0 ? -EPERM : 0;
	}
	record = bpf_task_storage_get(&policy_tasks, task, 0, 0);
	if (!record)
		return -EPERM;
	if (subject) {
		ret = check_traced(bprm, scratch, record);
		if (ret)
			return -EPERM;
	}
	profile = record->next_profile;
	record->was_shared = false;
	if (profile == record->profile || !(record->next_flags & TASK_ENFORCED))
		return 0;
	return check_descriptors(scratch, record, profile) ? -EPERM : 0;
}

#include "policy_environment.bpf.h"

/* Descriptors that others could change until the task had a table of its own. The task is what it becomes. */
static __always_inline void check_again(struct policy_task *subject)
{
	struct policy_scratch *scratch = scratch_of_task();
	struct task_struct *task = bpf_get_current_task_btf();
	bool only_reported = complains(subject->profile);
	struct policy_exec *exec;

	subject->was_shared = false;
	if (scratch && !has_forbidden_descriptor(scratch, subject->profile)) {
		bpf_task_storage_delete(&policy_execs, task);
		return;
	}
	exec = bpf_task_storage_get(&policy_execs, task, 0, 0);
	if (scratch && exec)
		tell_start(scratch, subject->profile, exec->missing, only_reported ? REASON_COMPLAIN_POLICY : exec->reason);
	/* Nothing of the program has run yet. */
	if (!only_reported)
		bpf_send_signal(SIGKILL);
}

SEC("lsm/bprm_committed_creds")
int BPF_PROG(policy_bprm_committed_creds, struct linux_binprm *bprm)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct policy_task *subject = bpf_task_storage_get(&policy_tasks, task, 0, 0);

	if (likely(!subject))
		return 0;
	if (unlikely(subject->profile && subject->flags & TASK_ENFORCED && gains_by_exec(subject)))
		check_environment(subject, bprm);
	subject->profile = subject->next_profile;
	subject->flags = subject->next_flags;
	subject->exe = (u64)bprm->file->f_inode;
	subject->script = subject->next_script;
	subject->program = process_of(task);
	subject->user.depth = 0;
	note_given(subject, task);
	if (unlikely(subject->was_shared))
		check_again(subject);
	return 0;
}

#endif
