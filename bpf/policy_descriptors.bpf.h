/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The part of the policy engine for descriptors that a confined program has, and may not have opened under the policy in
 * force: from before it was confined, or from before a policy that allows less.
 *
 *  iter/task              when a policy set comes, all descriptors of tasks that it confines anew, or by a profile that is
 *                         not the one it was, are looked at once: see find_descriptors(). What the profile would not let
 *                         them open with that mode is noted in policy_stale, and told apart by file and profile.
 *  lsm/file_permission    what is noted is asked about when it is read or written, by path, as at open. User space attaches
 *                         this program only while something is noted.
 *                         It is attached, too, while a profile allows to append to files that it does not allow to write:
 *                         what else than appending can be done with such a descriptor, by calls that have no hook of
 *                         their own, needs the right to write.
 *  lsm/mmap_file, lsm/file_mprotect
 *                         the same for new mappings.
 *
 * As at exec, standard input, output and error are what the program was given, and not asked about: the files that they
 * were at exec, or when the process was marked, whatever their descriptors are now. What may be opened within some function
 * may have been opened there.
 *
 * An open that the earlier policy decided may not have its descriptor yet. User space looks again until there are none,
 * and in the end has all descriptors of a process asked about that still is in such an open; the same if files are
 * registered with an io_uring of it, which need no descriptor then, or if there is no room to note one.
 */
#ifndef BPFLOCK_POLICY_DESCRIPTORS_BPF_H
#define BPFLOCK_POLICY_DESCRIPTORS_BPF_H

#define STALE_MAX 65536
#define LOOKED_AT_MAX (1 << 16) /* descriptors of one task */
#define REGISTERED_RINGS 16

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct file___private {
	void *private_data;
};
struct io_rsrc_data___counted {
	unsigned int nr;
};
struct io_file_table___data { /* 7.3 */
	struct io_rsrc_data___counted data;
};
struct io_ring_ctx___data {
	struct io_file_table___data file_table;
};
struct io_ring_ctx___counted { /* 6.1 */
	unsigned int nr_user_files;
};
struct io_uring_task {
	struct file *registered_rings[REGISTERED_RINGS];
};
struct task_struct___ring {
	struct io_uring_task *io_uring;
};
struct seccomp___mode {
	int mode;
};
struct task_struct___filtered {
	struct seccomp___mode seccomp;
};
#pragma clang attribute pop

struct policy_descriptor {
	u64 file; /* struct file */
	u64 profile;
};

struct policy_noted {
	u64 inode; /* or the struct file is another one's now */
	u32 generation; /* when somebody had it last */
	u32 missing; /* enum policy_file_access */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, STALE_MAX);
	__type(key, struct policy_descriptor);
	__type(value, struct policy_noted);
} policy_stale SEC(".maps");

/* Between user space and the passes of iter/task. */
struct policy_pass {
	u64 first; /* told: of this policy set */
	u64 last; /* told: opens that are still under way have taken too long */
	u64 found; /* rises with each thing that was not known before */
	u64 opening; /* tasks in an open that an earlier policy decided, perhaps */
	u64 asked; /* tasks all of whose descriptors are asked about */
	u64 any; /* something is noted, or the canary is to be asked about what it uses */
	u64 failed; /* tasks that could not be marked, for lack of memory */
	u64 forking; /* tasks that were marked in the middle of a fork, perhaps */
};
struct policy_pass policy_pass SEC(".data.pass");

struct descriptor_search {
	struct policy_scratch *scratch;
	struct policy_task *subject;
	struct policy_task *process; /* its leader's, if that is confined by the same profile */
	u64 files; /* address of the kernel's array */
	u32 count;
	u32 changed; /* also those not noted yet */
};

/* The task's process is asked about all its descriptors from now on. */
static __always_inline void ask_all(struct policy_task *subject)
{
	if (__sync_fetch_and_or(&subject->flags, TASK_ASKED) & TASK_ASKED)
		return;
	__sync_fetch_and_add(&policy_pass.found, 1);
	policy_pass.any = true;
}

/* Whether a file is an io_uring with which files are registered, as far as can be told. */
static __always_inline bool holds_files(struct file *file)
{
	void *ring = BPF_CORE_READ((struct file___private *)file, private_data);

	if (!is_ring(BPF_CORE_READ(file, f_path.dentry)))
		return false;
	if (bpf_core_field_exists(struct io_ring_ctx___counted, nr_user_files))
		return BPF_CORE_READ((struct io_ring_ctx___counted *)ring, nr_user_files) != 0;
	if (bpf_core_field_exists(struct io_file_table___data, data))
		return BPF_CORE_READ((struct io_ring_ctx___data *)ring, file_table.data.nr) != 0;
	return true;
}

/* The same for the rings that a task has registered, which need no descriptor either. */
static __always_inline bool has_ring_with_files(struct task_struct *task)
{
	struct io_uring_task *rings = BPF_CORE_READ((struct task_struct___ring *)task, io_uring);
	u32 at = bpf_core_field_offset(struct io_uring_task, registered_rings);

	if (likely(!rings))
		return false;
	for (u32 i = 0; i < REGISTERED_RINGS; i++) {
		struct file *file = 0;

		bpf_probe_read_kernel(&file, sizeof(file), (void *)rings + at + 8 * i);
		if (file && holds_files(file))
			return true;
	}
	return false;
}

static __always_inline bool is_given(const struct policy_task *subject, u64 given)
{
	return subject->given[0] == given || subject->given[1] == given || subject->given[2] == given;
}

static long find_descriptor(u32 index, struct descriptor_search *search)
{
	struct policy_scratch *scratch = search->scratch;
	struct policy_task *subject = search->subject;
	struct policy_descriptor key = {};
	struct policy_noted *known;
	struct inode *inode;
	struct file *file = 0;
	u32 access, missing;

	if (index >= search->count)
		return 1;
	if (index >= LOOKED_AT_MAX - 1) {
		ask_all(search->process);
		return 1;
	}
	bpf_probe_read_kernel(&file, sizeof(file), (void *)search->files + 8ULL * index);
	if (!file)
		return 0;
	key.file = (u64)file;
	key.profile = subject->profile;
	known = bpf_map_lookup_elem(&policy_stale, &key);
	if (likely(!known && !search->changed))
		return 0;
	access = access_of_descriptor(file);
	inode = BPF_CORE_READ(file, f_inode);
	if (known && known->inode != (u64)inode) {
		known = 0;
		if (!search->changed)
			return 0;
	}
	/* A message queue is opened as IPC, whatever its path. */
	if (!access || is_given(subject, given_of(file)) || BPF_CORE_READ(inode, i_sb, s_magic) == MQUEUE_MAGIC)
		return 0;
	walk_by_address(scratch, BPF_CORE_READ(file, f_path.dentry), BPF_CORE_READ(file, f_path.mnt));
	if (scratch->label == LABEL_INTERNAL && holds_files(file))
		ask_all(search->process);
	if (scratch->label == LABEL_INTERNAL || scratch->label == LABEL_LAYER)
		return 0;
	policy_rights_of(scratch);
	policy_add_contexts(subject, scratch, true);
	missing = access & ~scratch->rights.allow;
	if (runs(subject, (u64)inode))
		missing &= ~FILE_READ;
	if (!missing)
		return 0;
	if (known) {
		known->generation = policy_versions.generation;
		known->missing = missing;
	} else {
		struct policy_noted noted = { (u64)inode, policy_versions.generation, missing };

		if (bpf_map_update_elem(&policy_stale, &key, &noted, BPF_ANY))
			ask_all(search->process);
		else
			__sync_fetch_and_add(&policy_pass.found, 1);
	}
	policy_pass.any = true;
	return 0;
}

/* The descriptors of a task that is confined. */
static __always_inline void find_descriptors(struct task_struct *task, struct policy_task *subject,
					     struct policy_scratch *scratch)
{
	struct descriptor_search search = { .scratch = scratch, .subject = subject };
	struct policy_profile *profile = profile_of(policy_versions.generation, subject->profile);
	struct policy_task *of_process = bpf_task_storage_get(&policy_tasks, task->group_leader, 0, 0);
	struct files_struct *files = BPF_CORE_READ((struct task_struct___files *)task, files), *of_leader;
	struct task_struct *leader = task->group_leader;
	u32 flags = subject->flags;

	if (!profile)
		return;
	if (of_process && of_process->profile == subject->profile)
		flags |= of_process->flags;
	else
		of_process = subject;
	search.process = of_process;
	/* What a process opens before it is tainted, it may use afterwards. */
	if (!(flags & TASK_ENFORCED))
		return;
	search.changed = profile->flags & PROFILE_CHANGED || subject->marked == policy_versions.generation;
	if (search.changed) {
		if (policy_pass.first)
			__sync_fetch_and_and(&subject->flags, ~TASK_ASKED);
		if (subject->opened != policy_versions.generation && is_open_call(task)) {
			__sync_fetch_and_add(&policy_pass.opening, 1);
			if (policy_pass.last)
				ask_all(of_process);
		}
		if (has_ring_with_files(task))
			ask_all(of_process);
	}
	if (of_process->flags & TASK_ASKED)
		ask_all(subject);
	if (subject->flags & TASK_ASKED)
		__sync_fetch_and_add(&policy_pass.asked, 1);
	of_leader = BPF_CORE_READ((struct task_struct___files *)leader, files);
	if (!files || (of_process != subject && files == of_leader))
		return;
	scratch->ns = (u64)BPF_CORE_READ(task, nsproxy, mnt_ns);
	if (!scratch->ns)
		return; /* it ends */
	scratch->profile = subject->profile;
	search.files = (u64)BPF_CORE_READ(files, fdt, fd);
	search.count = BPF_CORE_READ(files, fdt, max_fds);
	bpf_loop(LOOKED_AT_MAX, find_descriptor, &search, 0);
}

/* Whether a confined task is asked about a file that it has open. */
static __always_inline bool is_asked(struct policy_task *subject, struct file *file)
{
	struct policy_descriptor key = { (u64)file, subject->profile };
	struct policy_noted *noted;

	if (unlikely(subject->flags & TASK_ASKED))
		return !is_queue(file->f_inode) && !is_given(subject, given_of(file));
	noted = bpf_map_lookup_elem(&policy_stale, &key);
	return noted && noted->inode == (u64)file->f_inode;
}

/* Of a mapping that is asked about: whatever it is for now, that it may be read; and written, if the file is. */
static __always_inline u32 access_of_any_mapping(struct file *file, bool shared, bool written)
{
	u32 access = file->f_mode & FMODE_READ ? FILE_READ : 0;

	return shared && written ? access | FILE_WRITE : access;
}

/* The same, if the file is one that the task is asked about. */
static __noinline u32 access_of_mapping(struct file *file, bool shared, bool written)
{
	struct policy_task *subject = confined(bpf_get_current_task_btf());

	return subject && is_asked(subject, file) ? access_of_any_mapping(file, shared, written) : 0;
}

#define MAY_WRITE 2

/* Whether a filter may answer its calls with ENOSYS: as long as a call has no answer, there is that. */
static __always_inline bool is_filtered(struct task_struct *task)
{
	struct task_struct___filtered *filtered = (void *)task;

	return bpf_core_field_exists(filtered->seccomp) && filtered->seccomp.mode;
}

/*
 * Whether the task may be about to write elsewhere than at the end of a file that it has open to append. What an io_uring is
 * told is in user memory, and it is done by a thread of the kernel or on the way back from whatever call.
 */
static __always_inline bool may_overwrite(struct task_struct *task)
{
	return is_overwriting_call(task) || ((struct task_struct___flags *)task)->flags & PF_IO_WORKER ||
	       (((struct task_struct___ring *)task)->io_uring &&
		(is_filtered(task) || !is_writing_call(task)));
}

/*
 * What is to be asked about a read or write by a confined task; false if nothing. Apart from the hook, which then saves
 * fewer registers for a task that is not confined.
 */
static __noinline bool query_use(struct policy_task *subject, struct file *file, u32 mask, struct query *query)
{
	bool overwrites = false;
	u32 access = FILE_READ;

	/* The canary needs its pipes. */
	if (is_canary(subject) && (file->f_inode->i_mode & S_IFMT) != S_IFREG)
		return false;
	if (mask & MAY_WRITE) {
		overwrites = file->f_flags & O_APPEND && may_overwrite(bpf_get_current_task_btf()) &&
			     !is_given(subject, given_of(file));
		access = file->f_flags & O_APPEND && !overwrites ? FILE_APPEND : FILE_WRITE;
	}
	if (likely(!overwrites && !is_canary(subject) && !is_asked(subject, file)))
		return false;
	*query = (struct query){
		.type = EVENT_LSM_FILE_PERMISSION,
		.access = access,
		.op = bit_number(access),
		.object = file->f_inode->i_ino,
	};
	return true;
}

/* What reads or writes a descriptor by whatever call or ring comes here, what allocates, too. */
SEC("lsm/file_permission")
int policy_file_permission(u64 *ctx)
{
	struct policy_task *subject;
	struct query query;
	struct file *file = (struct file *)ctx[0];

	/* Nobody is to be asked, but about files that are open to append: then most uses leave here, without a look at the task. */
	if (likely(!policy_pass.any && !(ctx[1] & MAY_WRITE && file->f_flags & O_APPEND)))
		return 0;
	subject = confined(bpf_get_current_task_btf());
	if (likely(!subject))
		return 0;
	if (likely(!query_use(subject, file, ctx[1], &query)))
		return 0;
	/* Again: a register for it would be saved by all. */
	subject = confined(bpf_get_current_task_btf());
	if (unlikely(!subject))
		return -EPERM;
	file = (struct file *)ctx[0];
	return decide_path(subject, file->f_path.mnt, file->f_path.dentry, file->f_inode, &query);
}

#endif
