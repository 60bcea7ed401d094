/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What every part of the policy engine shares: who a task is, which label a file has, what a label allows.
 *
 *  who     struct policy_task in task storage: a task without one is not confined, and pays for nothing else.
 *  what    struct policy_label in inode storage: the rights on the file, valid as long as nothing changed that could
 *          give it another path. Else its path is walked once, through the automaton. Of a directory, the state of the
 *          automaton after its path is kept, too: what is in it is one component away.
 *
 * A path cannot change unnoticed. The label names what it was made from: dentry and its sequence count (the kernel raises
 * it when the file is renamed), the name's hash and the number of the directory (a dentry that is freed may come back at the
 * same address, with the same count, for another name of the file), mount, mount namespace and its event number (mounts,
 * moves, pivots; the kernel counts them), the count of directory renames, of which none may be under way, and the generation
 * of the policy. All are read before the walk, and whatever changes during a walk makes it start again.
 */
#ifndef BPFLOCK_POLICY_BPF_H
#define BPFLOCK_POLICY_BPF_H

#include "common.bpf.h"

#include "policy.h"
#include "policy_task.bpf.h"

#define EAGAIN 11
#define EEXIST 17
#define GENERATIONS 4	/* table slots: the one in force, and those that running programs may still look at */
#define DEPTH 64	/* components collected at a time */
#define DEPTH_MAX 4096	/* components of a path: no name is shorter than 1 byte and a slash, and longer paths are denied */
#define CLIMB 16	/* components of most paths */
#define NAME_LEN 256
#define PATH_PART 512	/* bytes of a path that are collected before they go through the automaton */
#define WALKS 4		/* a path that changes this often while it is walked is denied */
#define CONTEXTS_MAX 255
#define MOUNTS_MAX 4096	/* mounts of one file system in one namespace; with more, what is not told a path denies */
#define TREES 256	/* counts of directory renames */

#define SB_KERNMOUNT (1 << 22)
#define PROC_SUPER_MAGIC 0x9fa0
#define S_CASEFOLD (1 << 15)
#define HUGETLBFS_MAGIC 0x958458f6
#define MNT_NS_INTERNAL ((u64)-22) /* ERR_PTR(-EINVAL): fs/mount.h */

#define POLICY_CANARY 0xffffffffU /* the profile of bpflock's own test: denied everything */

#define LABEL_BAD 0x80000000U /* labels from here on are none */
#define LABEL_NO_PATH (LABEL_BAD + 1)
#define LABEL_TOO_DEEP (LABEL_BAD + 2)
#define LABEL_INTERNAL (LABEL_BAD + 3) /* pipes, sockets, memfds: on a mount of the kernel's own */
#define LABEL_LAYER (LABEL_BAD + 4) /* what overlayfs opens underneath: decided on already, by the name the task used */
#define LABEL_FOLDS (LABEL_BAD + 5) /* another spelling of a name would do as well, and has other rights */

/* Which of all names of its file system a name is, whatever dentry stands for it: numbers that are not given again. */
struct policy_name {
	u64 directory; /* inode number and generation */
	u32 directory_generation;
	u32 hash; /* of the name: the kernel's */
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct task_struct___vfork {
	struct completion *vfork_done;
};
#pragma clang attribute pop

struct policy_label {
	u64 seq; /* odd while it is written */
	u32 generation; /* of the policy; 0 while the rest is written */
	u32 label;
	u64 tree; /* which count of directory renames the path depends on, */
	u64 renames; /* and what it was */
	u64 dentry;
	u64 mnt;
	u64 ns;
	u64 event;
	struct policy_name name;
	u64 who; /* who_of() the subject whose rights these are; 0: nobody's */
	u32 moves; /* d_seq of the dentry */
	u32 state; /* of the automaton, after the path */
	u32 length; /* of the path */
	u32 pad;
	u64 unsettled;
	struct policy_rights rights;
	u64 owner; /* the program that created the file: not part of what seq protects */
};

/*
 * policy_label.unsettled: accesses that take a decision, as they are denied, or told of, or depend on functions. Low half: by an
 * enforced subject. High half: those that must be told of, so that all others pass if the subject is not enforced yet.
 */
#define UNSETTLED(told, denied) ((u64)(told) << 32 | (u32)((told) | (denied)))

struct policy_component {
	u64 name; /* address of the name in the kernel */
	u64 len; /* and NAME_FOLDS */
};
#define NAME_FOLDS (1ULL << 32) /* its directory takes other spellings of it, too */
#define NAME_FOLDS_MORE (1ULL << 33) /* short names, and what follows dots and spaces at the end, as well */

/* What a walk needs of a struct mount, and of a struct dentry. Where the kernel has it side by side, it is read by one call. */
struct policy_mount {
	u64 parent; /* struct mount; 0: not read yet */
	u64 mountpoint;
	u64 root;
};

struct policy_dentry {
	u32 flags;
	u32 moves;
	u64 list[2];
	u64 parent;
	u32 hash;
	u32 len;
	u64 name;
};

/* What is to be told: follows struct bpflock_event in records of the policy engine; then the path. */
struct policy_detail {
	u32 generation;
	u32 profile;
	u32 label;
	u32 access;
	u32 functions[2];
	u32 peer; /* tgid of the other process, for signals, ptrace and procfs */
	u16 family;
	u16 port;
	u8 addr[16];
	u8 kind; /* enum policy_kind, 0 for files. Then `access` is a mask as for struct policy_object, but one number for signals and capabilities */
	u8 who; /* what the other process is to the subject: 1 << enum policy_who */
	u16 type;
	u32 protocol;
};

/* What is asked of the rules on anything but files, and what they say. */
struct policy_request {
	u64 asked; /* accesses; the signal, the capability, the operation as a mask */
	u64 allow; /* of those, what rules say */
	u64 audit;
	u64 taint;
	u64 task; /* the subject's, and the other one */
	u64 other;
	u64 socket; /* struct sock; the inode of a file below procfs */
	u64 name; /* an address that the task gave, copied by the kernel */
	u32 generation;
	u32 number; /* of the signal (or of what stands beside them), of the capability */
	u32 peer; /* tgid */
	u32 label; /* of the executable of the peer, once it was needed */
	u32 protocol;
	u16 family;
	u16 type;
	u16 port;
	u8 kind; /* enum policy_kind */
	u8 who; /* 1 << enum policy_who */
	u8 extra; /* enum policy_signal_extra, instead of a signal */
	u8 addressed; /* has an address and a port */
	u8 silent; /* the kernel only asks what would be */
	u8 by_exe; /* a rule needs the label */
	u8 by_function; /* a rule depends on functions */
	u8 labelled;
	u8 pad[6];
	u8 addr[16];
};

/* Of the arguments and the environment of an exec: see policy_environment.bpf.h. */
struct policy_strings {
	u64 at;
	u64 end;
	u32 arguments; /* that are still to come */
	u8 middle; /* the string goes on here */
	u8 dangerous;
	u8 unreadable;
	u8 pad;
};

/* One of the two names of a rename: the rights on it outside of functions, and what the file is that has it, or gets it. */
struct policy_renamed {
	struct policy_rights rights;
	u32 label;
	u32 generation;
	u32 own; /* the process created it */
	u32 exe; /* it is the process's executable */
};

/* Of a walk under way. It belongs to one task, and only one hook at a time runs for a task. */
struct policy_scratch {
	struct policy_component stack[DEPTH];
	char path[PATH_PART + NAME_LEN]; /* for the verifier, room for one more name */

	/* The way up. */
	u64 dentry;
	u64 mount; /* struct mount */
	struct policy_mount at; /* of this mount */
	u32 count; /* components so far */
	u32 skip; /* of those nearest to the file: not to be put on the stack now */
	u32 result; /* enum walk_result */

	/* The way down. */
	u32 left; /* components on the stack */
	u32 length; /* bytes of the path so far */
	u32 state;
	u32 slot; /* which automaton */
	u32 writes; /* the path goes into the task's message, not through the automaton */
	u32 bad; /* a label, or 0 */
	u32 folds; /* the mount's file system compares names by itself */
	u32 folding; /* the name that is run through the automaton may be spelled otherwise; the bytes left of it */
	u32 folded; /* and would have other rights then */
	u32 crossed; /* the path goes over a mount point whose name may change */
	u32 spelled; /* the label of the path as it is spelled */
	u32 part; /* bytes in path[] */
	u32 fed; /* of them, how many went through the automaton */
	u32 from_directory; /* state and length are those of the directory: feed only the name */

	/* Where it began, and what of a deep path is not fed yet. */
	u64 from_dentry;
	u64 from_mount;
	u64 from_root;
	u64 directory; /* the dentry that from_dentry is in */
	u32 rest;

	/* What the label is made from, and what was found. */
	u64 ns;
	u64 ns_root; /* its mount that all others are below */
	u64 event;
	u64 tree; /* of the file's file system */
	u64 tree_renames;
	u64 renames_anywhere;
	u64 renaming; /* directories, on the file's file system */
	u64 renaming_anywhere;
	struct policy_name name;
	u32 renames; /* of anything */
	u32 moves;
	u32 generation;
	u32 label;
	u32 profile; /* whose rights are wanted, or 0 */
	u64 who; /* for whom they can be kept, or 0 */
	struct policy_rights rights;

	/* The same of its directory, without rights: whatever that directory is on this mount. */
	u32 directory_moves;
	u32 directory_state;
	u32 directory_length;
	u32 directory_label;

	/* Where a file may be seen: a search for the mounts of its file system in the task's mount namespace. */
	u64 mounts; /* the end of the list; 0 on a chain */
	u64 first_mount;
	u64 next_mount;
	u64 found_mount;
	u64 mounts_event; /* of the namespace, when it began */
	u32 mounts_left; /* to look at */
	u32 mounts_again; /* how often it began again */
	u32 ended;
	u32 seen; /* the file, on some mount */
	u32 denied;

	struct policy_request request;
	struct policy_detail detail;
	struct policy_strings strings;

	struct policy_renamed old, new;
};

enum walk_result { WALKING, WALKED, WALK_FULL, WALK_LOST };

#define MESSAGE_PATH (PATH_LONG + NAME_LEN)
struct policy_message {
	struct bpflock_event event;
	struct policy_detail detail;
	char path[MESSAGE_PATH];
};

/*
 * Renames of directories. A path that lies on one file system depends on the renames there; one that goes over mount points
 * depends on those of all. By the superblock's address, several may share a count; the first one is that of all.
 */
struct policy_tree {
	u64 renames; /* rises twice with each */
	/*
	 * Those under way: meanwhile nothing is kept. It is raised before `renames` is, and lowered after it, so whoever reads
	 * `renames` and then none under way here will see the next one by `renames`. Counting afterwards is not enough: a
	 * preemptible kernel leaves out a tracing program that another task is in the middle of on the same CPU. Hooks are never
	 * left out, so such a rename stays under way, and until the same thread renames again every path is walked.
	 */
	u64 renaming;
};

/*
 * What is kept of a path holds as long as these are the same. User space switches to a generation when the tables of its
 * slot are there; 0: none is in force.
 */
struct policy_versions {
	u32 generation;
	u32 pad;
	struct policy_tree trees[TREES];
} __attribute__((aligned(8))) policy_versions SEC(".data.versions");

_Static_assert(__builtin_offsetof(struct policy_versions, generation) == 0, "where user space stores it");

#define TREE_ANY 0

static __always_inline u32 generation_now(void)
{
	return *(volatile u32 *)&policy_versions.generation;
}

static __always_inline volatile struct policy_tree *tree_at(u64 tree)
{
	asm volatile("%0 &= 255" : "+r"(tree));
	return &policy_versions.trees[tree];
}

/* By the superblock's address: a number, not what the verifier knows as a pointer, with which it lets nobody calculate. */
static __always_inline u64 tree_of(u64 sb)
{
	u64 tree = sb * 0x9e3779b97f4a7c15ULL >> 56;

	return tree == TREE_ANY ? 1 : tree;
}

/* By the number of the profile: what was decided under it, exact; `last` as event times are. User space makes the entries. */
struct policy_stat {
	u64 denied;
	u64 reported; /* and allowed */
	u64 last;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, u32);
	__type(value, struct policy_stat);
} policy_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct policy_scratch);
} policy_scratches SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct policy_message);
} policy_messages SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_INODE_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct policy_label);
} policy_labels SEC(".maps");

#define TABLE(name, inner_type)                                                                                       \
	struct name##_inner {                                                                                         \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                                     \
		__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);                                                  \
		__uint(max_entries, 1);                                                                               \
		/* By size: user space makes the tables without BTF, and with it they would not be equal. */                \
		__uint(key_size, sizeof(u32));                                                                        \
		__uint(value_size, sizeof(inner_type));                                                               \
	};                                                                                                            \
	struct {                                                                                                      \
		__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);                                                             \
		__uint(max_entries, GENERATIONS);                                                                     \
		__type(key, u32);                                                                                     \
		__array(values, struct name##_inner);                                                                 \
	} name SEC(".maps")

TABLE(policy_automata, struct policy_block);
TABLE(policy_rights_tables, struct policy_rights_block);
TABLE(policy_objects, struct policy_object);

extern const void rename_lock __ksym; /* seqlock_t: its first word counts renames of all dentries */

static __always_inline u32 rename_count(void)
{
	u32 count = 1;

	bpf_probe_read_kernel(&count, sizeof(count), &rename_lock);
	return count;
}

static __always_inline struct policy_task *confined(struct task_struct *task)
{
	struct policy_task *subject = bpf_task_storage_get(&policy_tasks, task, 0, 0);

	return subject && subject->profile ? subject : 0;
}

/* The profile, and whether and why it is enforced: flags in the high half. One load, where it matters most. */
static __always_inline u64 who_of(const struct policy_task *subject)
{
	return *(const u64 *)subject;
}

_Static_assert(__builtin_offsetof(struct policy_task, profile) == 0 && __builtin_offsetof(struct policy_task, flags) == 4,
	       "who_of() reads both");

static __always_inline bool is_enforced(u64 who)
{
	return who >> 32 & TASK_ENFORCED;
}

/*
 * bpflock's own processes are not confined, whatever runs them: a policy for Python must not keep anybody from taking it
 * back. It is the first thread that has passed the guard's door; the others are the same program.
 */
static __always_inline bool is_own(struct task_struct *task)
{
	return own_task(task->group_leader);
}

static __always_inline u32 spare_own(u32 told)
{
	return denies(told) && is_own(bpf_get_current_task_btf()) ? 0 : told;
}

static __always_inline u64 process_of(struct task_struct *task)
{
	/* A leader's start is unique enough with its number: a pid is not given again within the same nanosecond. */
	return task->group_leader->start_boottime << 22 ^ (u64)task->tgid;
}

/* The rights of a generation. In their first block are the header and, for most policy sets, all the rest. */
struct rights_table {
	void *blocks;
	struct policy_rights_block *first;
};

static __always_inline bool open_rights(struct rights_table *table, u32 generation)
{
	u32 slot = generation & (GENERATIONS - 1), number = 0;

	table->blocks = bpf_map_lookup_elem(&policy_rights_tables, &slot);
	if (!table->blocks)
		return false;
	table->first = bpf_map_lookup_elem(table->blocks, &number);
	return table->first;
}

static __always_inline const struct policy_header *header_of(const struct rights_table *table)
{
	return (void *)table->first;
}

static __always_inline struct policy_rights *cell(const struct rights_table *table, u32 index)
{
	struct policy_rights_block *block = table->first;
	u32 number = index / BLOCK_RIGHTS;

	if (unlikely(number)) {
		block = bpf_map_lookup_elem(table->blocks, &number);
		if (!block)
			return 0;
	}
	return &block->cells[index % BLOCK_RIGHTS];
}

/* The second index of a table of four-byte words. */
static __always_inline u32 word(struct policy_rights *four, u32 index)
{
	switch (index & 3) {
	case 0:
		return four->allow;
	case 1:
		return four->audit;
	case 2:
		return four->taint;
	default:
		return four->contexts;
	}
}

/* The rights of a row on a label; false if there is no such row, or no tables. */
static __always_inline bool rights_of_row(u32 generation, u32 row, u32 label, struct policy_rights *rights)
{
	const struct policy_header *header;
	struct policy_rights *found;
	struct rights_table table;
	u32 index;

	if (!open_rights(&table, generation))
		return false;
	header = header_of(&table);
	if (label >= header->labels || row >= header->rows)
		return false;
	index = row * header->pages_per_row + label / PAGE_CELLS;
	found = cell(&table, header->pages + index / 4);
	if (!found)
		return false;
	found = cell(&table, word(found, index) + label % PAGE_CELLS);
	if (!found)
		return false;
	*rights = *found;
	return true;
}

/*
 * The profile's rights on the label, in scratch; none without a profile.
 *
 * Not static, as other functions here: the verifier looks at a global function once, whatever leads to it.
 */
__noinline u32 policy_rights_of(struct policy_scratch *scratch)
{
	if (!scratch)
		return 0;
	__builtin_memset(&scratch->rights, 0, sizeof(scratch->rights));
	/* No such row, no tables: no rights. */
	if (scratch->profile && scratch->label < LABEL_BAD)
		rights_of_row(scratch->generation, scratch->profile, scratch->label, &scratch->rights);
	return 0;
}

static __always_inline struct policy_profile *profile_in(const struct rights_table *table, u32 profile)
{
	const struct policy_header *header = header_of(table);
	struct policy_profile *found;

	/* Numbers beyond are of profiles that were unloaded. */
	if (profile >= header->executables - header->profiles)
		return 0;
	found = (void *)cell(table, header->profiles + profile);
	return found && found->used ? found : 0;
}

static __always_inline struct policy_profile *profile_of(u32 generation, u32 profile)
{
	struct rights_table table;

	return open_rights(&table, generation) ? profile_in(&table, profile) : 0;
}

/* The profile of an executable with this label, or 0. */
static __always_inline u32 profile_of_executable(u32 generation, u32 label)
{
	struct rights_table table;
	struct policy_rights *four;

	if (label >= LABEL_BAD || !open_rights(&table, generation))
		return 0;
	four = cell(&table, header_of(&table)->executables + label / 4);
	return four ? word(four, label) : 0;
}

static __always_inline struct mount *mount_of(u64 vfsmount)
{
	return (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
}

static __always_inline void push(struct policy_scratch *scratch, u32 index, u64 name, u64 len)
{
	asm volatile("%0 &= 63" : "+r"(index));
	scratch->stack[index].name = name;
	scratch->stack[index].len = len;
}

static __always_inline void read_mount(struct policy_mount *read, struct mount *mount)
{
	if (bpf_core_field_offset(struct mount, mnt_mountpoint) == bpf_core_field_offset(struct mount, mnt_parent) + 8 &&
	    bpf_core_field_offset(struct mount, mnt.mnt_root) == bpf_core_field_offset(struct mount, mnt_parent) + 16) {
		bpf_probe_read_kernel(read, sizeof(*read), (void *)mount + bpf_core_field_offset(struct mount, mnt_parent));
		return;
	}
	read->parent = (u64)BPF_CORE_READ(mount, mnt_parent);
	read->mountpoint = (u64)BPF_CORE_READ(mount, mnt_mountpoint);
	read->root = (u64)BPF_CORE_READ(mount, mnt.mnt_root);
}

static __always_inline void read_dentry(struct policy_dentry *read, struct dentry *dentry)
{
	if (bpf_core_field_offset(struct dentry, d_flags) == 0 && bpf_core_field_offset(struct dentry, d_parent) == 24 &&
	    bpf_core_field_offset(struct dentry, d_name) == 32) {
		bpf_probe_read_kernel(read, sizeof(*read), dentry);
		return;
	}
	read->flags = BPF_CORE_READ(dentry, d_flags);
	read->parent = (u64)BPF_CORE_READ(dentry, d_parent);
	read->len = BPF_CORE_READ(dentry, d_name.len);
	read->name = (u64)BPF_CORE_READ(dentry, d_name.name);
}

_Static_assert(__builtin_offsetof(struct policy_dentry, parent) == 24 &&
	       __builtin_offsetof(struct policy_dentry, len) == 32 + __builtin_offsetof(struct qstr, len) &&
	       __builtin_offsetof(struct policy_dentry, name) == 32 + __builtin_offsetof(struct qstr, name),
	       "struct policy_dentry is what the kernel's struct dentry begins with, where read_dentry() reads both");

/* bpf_loop() hands on what lies on the stack only. */
struct way {
	struct policy_scratch *scratch;
};

/* The flag of dentries of file systems that compare names in their own way. */
static __always_inline u32 compares_names(void)
{
	return bpf_core_enum_value_exists(enum dentry_flags, DCACHE_OP_COMPARE) ?
		       bpf_core_enum_value(enum dentry_flags, DCACHE_OP_COMPARE) :
		       DCACHE_OP_COMPARE;
}

/* Which other spellings of a name lead to the file as well. Of a file system that compares names itself. */
__noinline u64 policy_spelling(u64 name, u64 parent)
{
	struct dentry *dentry = (void *)name, *directory = (void *)parent;
	struct super_block *sb = BPF_CORE_READ(dentry, d_sb);
	struct super_block___encoding *encoded = (void *)sb;
	struct inode___flags *inode = (void *)BPF_CORE_READ(directory, d_inode);

	/* Below /proc/sys, names are compared to hide some: but byte by byte. */
	if (BPF_CORE_READ(sb, s_magic) == PROC_SUPER_MAGIC)
		return 0;
	/* Where the file system has an encoding, directories fold case that are marked so. */
	if (bpf_core_field_exists(struct super_block___encoding, s_encoding) && BPF_CORE_READ(encoded, s_encoding))
		return BPF_CORE_READ(inode, i_flags) & S_CASEFOLD ? NAME_FOLDS : 0;
	return NAME_FOLDS | NAME_FOLDS_MORE;
}

/* One step up: to the parent, or over a mount point. */
static long step_up(u32 index, struct way *way)
{
	struct policy_scratch *scratch = way->scratch;
	struct policy_dentry dentry = {};
	u64 len;

	if (scratch->dentry == scratch->at.root) {
		u64 mount = scratch->mount;

		if (!scratch->at.parent)
			read_mount(&scratch->at, (void *)mount);
		if (scratch->at.parent == mount || !scratch->at.parent) {
			scratch->result = WALKED;
			return 1;
		}
		scratch->dentry = scratch->at.mountpoint;
		mount = scratch->at.parent;
		scratch->mount = mount;
		scratch->at.parent = scratch->at.root = 0;
		read_mount(&scratch->at, (void *)mount);
		/* What is mounted on the root of a mount, as systems are on their first file system: no name to change. */
		if (scratch->dentry != scratch->at.root)
			scratch->crossed = true;
		scratch->folds = false;
		return 0;
	}
	read_dentry(&dentry, (void *)scratch->dentry);
	if (dentry.parent == scratch->dentry || !dentry.parent) {
		/* The mount shows a part of the file system that this is not in (any more). */
		scratch->result = WALK_LOST;
		return 1;
	}
	if (scratch->count >= scratch->skip) {
		if (scratch->count - scratch->skip >= DEPTH) {
			scratch->result = WALK_FULL;
			return 1;
		}
		len = dentry.len;
		if (unlikely(scratch->folds || dentry.flags & compares_names()))
			len |= policy_spelling(scratch->dentry, dentry.parent);
		push(scratch, scratch->count - scratch->skip, dentry.name, len);
	}
	scratch->count++;
	scratch->dentry = dentry.parent;
	if (dentry.parent != scratch->at.root || scratch->at.parent != scratch->mount)
		return 0;
	scratch->result = WALKED;
	return 1;
}

/* The cells of a state and of its neighbours. */
static __always_inline struct policy_block *block_of(void *automaton, u32 state)
{
	u32 index = state / BLOCK_STATES;

	return bpf_map_lookup_elem(automaton, &index);
}

/* The state after the byte. `cells`: from the state's own cell on. */
static __always_inline u32 transition(const u32 *cells, u8 byte)
{
	u32 cell = cells[byte];

	if (likely(CELL_BYTE(cell) == byte))
		return CELL_NEXT(cell);
	cell = cells[1];
	return likely(CELL_BYTE(cell) == 1) ? CELL_NEXT(cell) : STATE_DEAD;
}

/*
 * Up to BYTES of what was collected: the verifier has fewer turns to follow, the machine fewer calls to make. No farther than
 * the states are in one block.
 */
#define BYTES 16

static long run_bytes(u32 index, struct way *way)
{
	struct policy_scratch *scratch = way->scratch;
	u32 slot = scratch->slot;
	void *automaton = bpf_map_lookup_elem(&policy_automata, &slot);
	u32 state = scratch->state, at = scratch->fed, left = scratch->part - at, count;
	u32 first = state & ~(BLOCK_STATES - 1); /* of the block */
	const struct policy_block *block = automaton ? block_of(automaton, state) : 0;
	const char *path;

	if (!block) {
		scratch->bad = LABEL_TOO_DEEP; /* never: the states of a policy set in force have all their blocks */
		return 1;
	}
	asm volatile("%0 &= %1" : "+r"(at) : "i"(PATH_PART - 1));
	path = scratch->path + at;
	for (count = 0; count < BYTES; count++) {
		u32 offset = state - first;
		u8 byte;

		if (count >= left || unlikely(offset >= BLOCK_STATES))
			break;
		byte = path[count];
		if (unlikely(byte == 1))
			byte = 2;
		state = transition(&block->cells[offset], byte);
	}
	scratch->state = state;
	scratch->fed = at + count;
	return count >= left;
}

/*
 * Whether helpers take the inode of a file's directory. Since 6.4, the verifier trusts no pointer that is two steps away from
 * a hook's argument; before, there is nothing that tells it, so this stops two versions earlier.
 */
static __always_inline bool directories_can_be_kept(void)
{
	return !bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_cgrp_storage_get);
}

static __always_inline u8 other_case(u8 byte)
{
	u8 letter = byte | 0x20;

	return letter >= 'a' && letter <= 'z' ? byte ^ 0x20 : byte;
}

/*
 * A byte of a name that may be spelled otherwise. All spellings must lead to the same state, byte by byte: then they have the
 * same rights. Beyond ASCII one name may have several lengths, so that it is not looked into.
 */
static long run_folding(u32 index, struct way *way)
{
	struct policy_scratch *scratch = way->scratch;
	u32 slot = scratch->slot;
	void *automaton = bpf_map_lookup_elem(&policy_automata, &slot);
	u32 state = scratch->state, at = scratch->fed, left = scratch->part - at, next;
	const struct policy_block *block = automaton ? block_of(automaton, state) : 0;
	const u32 *cells;
	u8 byte;

	if (!block) {
		scratch->bad = LABEL_TOO_DEEP; /* never, as above */
		return 1;
	}
	if (!left)
		return 1;
	asm volatile("%0 &= %1" : "+r"(at) : "i"(PATH_PART - 1));
	byte = scratch->path[at];
	cells = &block->cells[state % BLOCK_STATES];
	if (unlikely(byte == 1))
		byte = 2;
	next = transition(cells, byte);
	if (byte >= 0x80 || next != transition(cells, other_case(byte)))
		scratch->folded = true;
	/* ABCDEF~1 is another name of a longer one, and a name with dots or spaces at its end of the one without. */
	if (scratch->folding == 2 && (byte == '~' || (left == 1 && (byte == '.' || byte == ' '))))
		scratch->folded = true;
	scratch->state = next;
	scratch->fed = at + 1;
	return left == 1;
}

/* What was collected goes through the automaton. */
__noinline u32 policy_run(struct policy_scratch *scratch)
{
	struct way way = { scratch };

	if (!scratch)
		return 0;
	scratch->fed = 0;
	scratch->length += scratch->part;
	if (scratch->length >= PATH_LONG)
		scratch->bad = LABEL_TOO_DEEP;
	else if (unlikely(scratch->folding))
		bpf_loop(PATH_PART, run_folding, &way, 0);
	else if (scratch->part && scratch->state != STATE_DEAD)
		bpf_loop(PATH_PART, run_bytes, &way, 0);
	scratch->part = 0;
	return 0;
}

/* Into the message of the task, in which the path is told. */
static __always_inline bool write_component(struct policy_scratch *scratch, u64 address, u32 len)
{
	struct policy_message *message = bpf_task_storage_get(&policy_messages, bpf_get_current_task_btf(), 0, 0);
	u32 to = scratch->length;

	if (!message || to + len + 1 >= PATH_LONG)
		return false;
	scratch->length = to + len + 1;
	asm volatile("%0 &= 4095" : "+r"(to));
	message->path[to] = '/';
	bpf_probe_read_kernel(&message->path[to + 1], len, (void *)address);
	return true;
}

/* Down: feed the component nearest to the root that has not been fed yet. Not 0 when there is none, or it cannot be. */
static long feed_component(u32 index, struct way *way)
{
	struct policy_scratch *scratch = way->scratch;
	u32 at = scratch->left - 1, len, to;
	u64 address, folds;

	if (at >= DEPTH)
		return 1;
	scratch->left = at;
	folds = scratch->stack[at].len;
	len = folds;
	folds >>= 32;
	address = scratch->stack[at].name;
	if (len >= NAME_LEN) {
		scratch->bad = LABEL_TOO_DEEP;
		return 1;
	}
	if (unlikely(scratch->writes))
		return !write_component(scratch, address, len);
	to = scratch->part;
	if (unlikely(to + len >= PATH_PART - 1))
		policy_run(scratch);
	if (unlikely(folds))
		policy_run(scratch);
	if (directories_can_be_kept() && !at) {
		/* The last one: the state before it is the directory's. */
		policy_run(scratch);
		scratch->directory_state = scratch->state;
		scratch->directory_length = scratch->length;
	}
	to = scratch->part;
	asm volatile("%0 &= %1" : "+r"(to) : "i"(PATH_PART - 1));
	scratch->path[to] = '/';
	scratch->part = to + len + 1;
	if (unlikely(bpf_probe_read_kernel(scratch->path + to + 1, len, (void *)address))) {
		scratch->bad = LABEL_TOO_DEEP;
		return 1;
	}
	if (unlikely(folds)) {
		scratch->folding = folds & NAME_FOLDS_MORE >> 32 ? 2 : 1;
		policy_run(scratch);
		scratch->folding = 0;
	}
	return 0;
}

/* A path deeper than the stack: from the root down, DEPTH components at a time, each time walked up from the file. */
static long feed_chunk(u32 index, struct way *way)
{
	struct policy_scratch *scratch = way->scratch;
	struct way on = { scratch };
	u32 rest = scratch->rest;

	scratch->skip = rest > DEPTH ? rest - DEPTH : 0;
	scratch->count = 0;
	scratch->result = WALKING;
	scratch->dentry = scratch->from_dentry;
	scratch->mount = scratch->from_mount;
	scratch->at.root = scratch->from_root;
	scratch->at.parent = 0;
	bpf_loop(DEPTH_MAX, step_up, &on, 0);
	scratch->left = rest - scratch->skip;
	scratch->rest = scratch->skip;
	bpf_loop(DEPTH, feed_component, &on, 0);
	return scratch->bad || !scratch->rest;
}

/* Feed what is on the stack, and a path too deep for it in parts. Gives 0 or a bad label. */
__noinline u32 policy_feed_path(struct policy_scratch *scratch)
{
	struct way way = { scratch };
	u64 top;

	if (!scratch)
		return LABEL_TOO_DEEP;
	if (scratch->result == WALK_FULL) {
		scratch->skip = DEPTH_MAX;
		scratch->result = WALKING;
		bpf_loop(DEPTH_MAX, step_up, &way, 0);
		if (scratch->result != WALKED)
			return scratch->result == WALK_LOST ? LABEL_NO_PATH : LABEL_TOO_DEEP;
		scratch->rest = scratch->count;
		top = scratch->mount;
		bpf_loop(DEPTH_MAX / DEPTH, feed_chunk, &way, 0);
		scratch->mount = top; /* the last chunk did not go up to it */
		if (scratch->rest)
			return LABEL_TOO_DEEP;
	} else {
		if (scratch->result != WALKED)
			return LABEL_NO_PATH;
		scratch->left = scratch->count;
		bpf_loop(DEPTH, feed_component, &way, 0);
	}
	if (!scratch->writes)
		policy_run(scratch);
	return scratch->bad;
}

/* Put the components from here up on the stack, and find the top. */
__noinline u32 policy_climb(struct policy_scratch *scratch)
{
	struct way way = { scratch };

	if (scratch)
		bpf_loop(DEPTH_MAX, step_up, &way, 0);
	return 0;
}

static __always_inline void begin(struct policy_scratch *scratch)
{
	scratch->dentry = scratch->from_dentry;
	scratch->mount = scratch->from_mount;
	scratch->at.root = scratch->from_root;
	scratch->at.parent = 0;
	scratch->skip = scratch->length = scratch->part = scratch->bad = scratch->writes = scratch->count = scratch->from_directory = 0;
	scratch->folds = scratch->folding = scratch->folded = scratch->crossed = 0;
	scratch->result = WALKING;
}

static __always_inline void note_generation(struct policy_scratch *scratch)
{
	scratch->generation = generation_now();
	scratch->slot = scratch->generation & (GENERATIONS - 1);
}

/* What the path may turn out to depend on. */
static __always_inline void note_trees(struct policy_scratch *scratch, struct super_block *sb)
{
	volatile struct policy_tree *tree;

	*(volatile u64 *)&scratch->tree = (u64)sb;
	scratch->tree = tree_of(*(volatile u64 *)&scratch->tree);
	tree = tree_at(scratch->tree);
	scratch->tree_renames = tree->renames;
	scratch->renaming = tree->renaming;
	tree = tree_at(TREE_ANY);
	scratch->renames_anywhere = tree->renames;
	scratch->renaming_anywhere = tree->renaming;
}

/* What must be the same after a walk as before it. Of the directory nothing will be kept. */
static __always_inline void note(struct policy_scratch *scratch)
{
	struct mnt_namespace *ns = (void *)scratch->ns;
	struct dentry *dentry = (void *)scratch->from_dentry;

	scratch->renames = rename_count();
	scratch->moves = BPF_CORE_READ(dentry, d_seq.seqcount.sequence);
	scratch->directory = 0;
	scratch->event = BPF_CORE_READ(ns, event);
	scratch->ns_root = (u64)BPF_CORE_READ(ns, root);
	note_generation(scratch);
}

static __always_inline bool changed_since(struct policy_scratch *scratch, u64 event)
{
	return scratch->renames & 1 || rename_count() != scratch->renames || event != scratch->event ||
	       policy_versions.generation != scratch->generation;
}

static __always_inline bool changed(struct policy_scratch *scratch)
{
	struct mnt_namespace *ns = (void *)scratch->ns;

	return changed_since(scratch, BPF_CORE_READ(ns, event));
}

static __always_inline void start_from(struct policy_scratch *scratch, struct vfsmount *mnt, struct dentry *dentry)
{
	scratch->from_dentry = (u64)dentry;
	scratch->from_mount = (u64)mount_of((u64)mnt);
	scratch->from_root = (u64)mnt->mnt_root;
	begin(scratch);
}

/*
 * The same as policy_climb() would, with plain loads instead of calls, as long as the path stays on its own mount and is not
 * unusually deep: policy_climb() does the rest.
 */
static __always_inline void climb_own_mount(struct policy_scratch *scratch, struct vfsmount *mnt, struct dentry *dentry)
{
	struct dentry *root = mnt->mnt_root;
	u32 count;

	if (unlikely(dentry->d_flags & compares_names())) {
		scratch->folds = true; /* policy_climb() looks at each name */
		return;
	}
	for (count = 0; count < CLIMB; count++) {
		struct dentry *parent;

		if (dentry == root)
			break;
		parent = dentry->d_parent;
		if (parent == dentry)
			break; /* policy_climb() finds it lost */
		scratch->stack[count].name = (u64)dentry->d_name.name;
		scratch->stack[count].len = dentry->d_name.len;
		dentry = parent;
	}
	scratch->dentry = (u64)dentry;
	scratch->count = count;
}

/* The label that the automaton has for a path that ends in this state. */
static __always_inline u32 label_of_state(void *automaton, u32 state, u32 length)
{
	struct policy_block *block = block_of(automaton, state);

	if (block && !length) { /* the root itself */
		state = transition(&block->cells[state % BLOCK_STATES], '/');
		block = block_of(automaton, state);
	}
	return block ? CELL_NEXT(block->cells[state % BLOCK_STATES]) : 0;
}

/* Whether the file is on a file system that only the kernel mounts: pipes, sockets, memory. */
static __always_inline bool is_of_kernel(struct policy_scratch *scratch)
{
	struct dentry *dentry = (void *)scratch->from_dentry;

	return BPF_CORE_READ(dentry, d_sb, s_flags) & SB_KERNMOUNT;
}

/* Whether a mount is the kernel's own: those of huge pages have no mark of it, but no namespace. */
static __always_inline bool is_internal(struct mount *mount, struct super_block *sb)
{
	u64 ns = (u64)BPF_CORE_READ(mount, mnt_ns);

	return ns == MNT_NS_INTERNAL ||
	       (!ns && BPF_CORE_READ(sb, s_magic) == HUGETLBFS_MAGIC && BPF_CORE_READ(sb, s_flags) & SB_KERNMOUNT);
}

/* From what is on the stack to the label. Bad labels all deny. */
static __always_inline u32 label_of_stack(struct policy_scratch *scratch)
{
	struct way way = { scratch };
	u32 slot = scratch->slot, bad;
	void *automaton = bpf_map_lookup_elem(&policy_automata, &slot);
	struct mount *mount;

	if (!automaton)
		return LABEL_TOO_DEEP;
	if (scratch->from_directory) {
		scratch->left = 1;
		feed_component(0, &way);
		policy_run(scratch);
		return scratch->bad ? scratch->bad : label_of_state(automaton, scratch->state, scratch->length);
	}
	policy_climb(scratch);
	scratch->state = STATE_START;
	bad = policy_feed_path(scratch);
	if (bad == LABEL_TOO_DEEP)
		return bad;
	if (bad || scratch->mount != scratch->ns_root) {
		struct dentry *dentry = (void *)scratch->from_dentry; /* not within BPF_CORE_READ: `scratch` has no relocations */

		/* On no mount of the task's namespace: the kernel's own, a layer, or somebody else's. */
		mount = (void *)scratch->from_mount;
		if (!is_internal(mount, BPF_CORE_READ(dentry, d_sb)))
			return LABEL_NO_PATH;
		return is_of_kernel(scratch) ? LABEL_INTERNAL : LABEL_LAYER;
	}
	if (directories_can_be_kept())
		scratch->directory_label = label_of_state(automaton, scratch->directory_state, scratch->directory_length);
	scratch->spelled = label_of_state(automaton, scratch->state, scratch->length);
	return unlikely(scratch->folded) ? LABEL_FOLDS : scratch->spelled;
}

/*
 * The label by which a profile is for an executable: where names are folded, as it is spelled. Nobody could be confined by a
 * file there if that had no label.
 */
static __always_inline u32 label_of_executable(const struct policy_scratch *scratch)
{
	return unlikely(scratch->label == LABEL_FOLDS) ? scratch->spelled : scratch->label;
}

/*
 * The label of the path that is on the stack; begins again if it may have changed meanwhile. `once`: the caller looks whether
 * it has.
 */
__noinline u32 policy_walk(struct policy_scratch *scratch, bool once)
{
	if (!scratch)
		return 0;
	for (int i = 0; i < WALKS; i++) {
		scratch->label = label_of_stack(scratch);
		if (once || !changed(scratch))
			return 0;
		note(scratch);
		begin(scratch);
	}
	scratch->label = LABEL_TOO_DEEP;
	return 0;
}

static __always_inline void note_name(struct policy_name *name, struct dentry *dentry)
{
	struct inode *directory = dentry->d_parent->d_inode;

	name->hash = dentry->d_name.hash;
	name->directory = directory->i_ino;
	name->directory_generation = directory->i_generation;
}

/* Keep what a walk found. Namespaces that were never changed have no event number of their own: theirs is not kept. */
static __always_inline void keep_label(struct inode *inode, struct vfsmount *mnt, struct dentry *dentry,
				       const struct policy_scratch *scratch, bool of_directory)
{
	struct policy_label *kept = bpf_inode_storage_get(&policy_labels, inode, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	u64 seq;

	if (!kept || !scratch->event || (scratch->crossed ? scratch->renaming_anywhere : scratch->renaming))
		return;
	seq = kept->seq;
	if (seq & 1 || __sync_val_compare_and_swap(&kept->seq, seq, seq + 1) != seq)
		return;
	/* Generation first and last: who reads the one in force reads nothing older after it, even while seq is odd. */
	kept->generation = 0;
	barrier();
	kept->tree = scratch->crossed ? TREE_ANY : scratch->tree;
	kept->renames = scratch->crossed ? scratch->renames_anywhere : scratch->tree_renames;
	kept->dentry = (u64)dentry;
	kept->mnt = (u64)mnt;
	kept->ns = scratch->ns;
	kept->event = scratch->event;
	if (of_directory) {
		note_name(&kept->name, dentry); /* it cannot change without a rename that is counted */
		kept->moves = scratch->directory_moves;
		kept->label = scratch->directory_label;
		kept->state = scratch->directory_state;
		kept->length = scratch->directory_length;
		kept->who = 0;
	} else {
		u32 told = scratch->rights.audit | scratch->rights.taint;

		kept->name = scratch->name;
		kept->moves = scratch->moves;
		kept->label = scratch->label;
		kept->state = scratch->state;
		kept->length = scratch->length;
		kept->who = scratch->who;
		kept->rights = scratch->rights;
		/* Of what creates, the owner is to be kept, too. */
		told = scratch->rights.contexts ? ~0U : told | FILE_CREATE;
		kept->unsettled = UNSETTLED(told, is_enforced(scratch->who) ? ~scratch->rights.allow : ~0U);
	}
	barrier();
	kept->generation = scratch->generation;
	__sync_fetch_and_add(&kept->seq, 1);
}

/*
 * Whether what is kept is of this dentry, in this place. A dentry that was freed may have come back at the same address as
 * another name of a file, but not as another of a directory: it has one only, and its renames are counted. So this is all that
 * is to be asked of directories. The reader checks versions and seq around it.
 */
static __always_inline bool place_holds(const struct policy_label *kept, struct task_struct *task, struct vfsmount *mnt,
					struct dentry *dentry)
{
	struct mnt_namespace *ns;

	if (kept->dentry != (u64)dentry || kept->moves != dentry->d_seq.seqcount.sequence || kept->mnt != (u64)mnt)
		return false;
	ns = task->nsproxy->mnt_ns;
	return kept->ns == (u64)ns && kept->event == ns->event;
}

/* Whether what is kept is of the path as it is now. The reader checks versions and seq around it. */
static __always_inline bool path_holds(const struct policy_label *kept, struct task_struct *task, struct vfsmount *mnt,
				       struct dentry *dentry)
{
	struct inode *directory;

	if (!place_holds(kept, task, mnt, dentry) || kept->name.hash != dentry->d_name.hash)
		return false;
	directory = dentry->d_parent->d_inode;
	return kept->name.directory == directory->i_ino && kept->name.directory_generation == directory->i_generation;
}

/* Whether the policy is the one that it was made by, and no directory was renamed above. */
static __always_inline bool versions_hold(const struct policy_label *kept, u32 generation)
{
	return kept->generation == generation && kept->renames == tree_at(kept->tree)->renames;
}

/* Whether what is kept is (still) the label of this path. The reader checks seq around it, and reads nothing before. */
static __always_inline bool label_holds(const struct policy_label *kept, struct task_struct *task, struct vfsmount *mnt,
					struct dentry *dentry)
{
	if (!versions_hold(kept, generation_now()))
		return false;
	barrier();
	return path_holds(kept, task, mnt, dentry);
}

/* Whether the walk can begin at the directory: then its name alone is put on the stack. */
static __always_inline bool start_from_directory(struct policy_scratch *scratch, struct task_struct *of,
						 struct vfsmount *mnt, struct dentry *dentry)
{
	struct dentry *directory = dentry->d_parent;
	struct policy_label *kept;
	bool holds;
	u64 seq;

	if (dentry == mnt->mnt_root || directory == dentry || dentry->d_flags & compares_names())
		return false;
	kept = bpf_inode_storage_get(&policy_labels, directory->d_inode, 0, 0);
	if (!kept)
		return false;
	seq = kept->seq;
	barrier();
	holds = !(seq & 1) && versions_hold(kept, generation_now());
	barrier();
	holds = holds && place_holds(kept, of, mnt, directory);
	scratch->crossed = kept->tree == TREE_ANY;
	scratch->state = kept->state;
	scratch->length = kept->length;
	barrier();
	if (!holds || kept->seq != seq) {
		scratch->crossed = false;
		return false;
	}
	scratch->stack[0].name = (u64)dentry->d_name.name;
	scratch->stack[0].len = dentry->d_name.len;
	return true;
}

/*
 * The label of a path, by a walk, into scratch. Consistent: that was the path at one moment, in the mount namespace of
 * that task. `keeps`: begin at the directory if its state is kept, and keep it if not: then the answer is true. Programs that
 * are no hooks cannot.
 */
static __always_inline bool walk_label(struct policy_scratch *scratch, struct task_struct *of, struct vfsmount *mnt,
				       struct dentry *dentry, bool keeps)
{
	struct mnt_namespace *ns = of->nsproxy->mnt_ns;
	struct dentry *directory;

	keeps = keeps && directories_can_be_kept();
	scratch->ns = (u64)ns;
	start_from(scratch, mnt, dentry);
	/* As note() does, with plain loads. */
	scratch->renames = rename_count();
	scratch->moves = dentry->d_seq.seqcount.sequence;
	note_name(&scratch->name, dentry);
	scratch->directory = 0;
	if (keeps) {
		directory = dentry->d_parent;
		scratch->directory = (u64)directory;
		scratch->directory_moves = directory->d_seq.seqcount.sequence;
	}
	scratch->event = ns->event;
	scratch->ns_root = (u64)ns->root;
	note_generation(scratch);
	note_trees(scratch, dentry->d_sb);
	if (keeps && start_from_directory(scratch, of, mnt, dentry)) {
		scratch->from_directory = true;
	} else {
		scratch->length = 0;
		climb_own_mount(scratch, mnt, dentry);
	}
	policy_walk(scratch, true);
	if (unlikely(changed_since(scratch, ns->event))) {
		note(scratch);
		begin(scratch);
		policy_walk(scratch, false);
		scratch->event = 0; /* not noted again was what is kept besides */
		return false;
	}
	/* The mount point's directory is on another mount. */
	if (!keeps || scratch->from_directory || scratch->label >= LABEL_BAD || dentry == mnt->mnt_root)
		return false;
	directory = dentry->d_parent;
	if ((u64)directory != scratch->directory)
		return false;
	keep_label(directory->d_inode, mnt, directory, scratch, true);
	return true;
}

/* What tells the name of a file from others in its directory: the kernel's hash of it, and its length. */
static __always_inline u64 name_of(struct dentry *dentry)
{
	return (u64)dentry->d_name.len << 32 | dentry->d_name.hash;
}

/* Where the kernel makes functions of this process return to while they have a return probe; 0 if it has none. */
static __always_inline u64 return_trampoline(struct task_struct *task)
{
	if (!bpf_core_field_exists(struct mm_struct, uprobes_state))
		return 0;
	return BPF_CORE_READ(task, mm, uprobes_state.xol_area, vaddr);
}

/* Whether a frame is the function's and still there. Functions of their own: the verifier looks at them once, not at each frame. */
__noinline bool policy_is_user_frame(const struct policy_frames *frames, u32 at, u32 function, u64 trampoline)
{
	struct pt_regs *regs = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
	const struct policy_frame *frame;
	u64 sp = regs->sp, slot;

	if (!frames)
		return false;
	frame = &frames->frames[at & (FRAMES - 1)];
	/* Farther away is another stack: a signal handler's or a coroutine's. */
	if (frame->function != function || sp > frame->sp || frame->sp - sp > STACK_SPAN)
		return false;
	return !bpf_probe_read_user(&slot, sizeof(slot), (void *)frame->sp) && slot == trampoline;
}

__noinline bool policy_is_kernel_frame(const struct policy_frames *frames, u32 at, u32 function)
{
	const struct policy_frame *frame;
	u64 slot;

	if (!frames)
		return false;
	frame = &frames->frames[at & (FRAMES - 1)];
	return frame->function == function &&
	       !bpf_probe_read_kernel(&slot, sizeof(slot), (void *)(frame->sp - KERNEL_SLOT)) && slot == frame->slot;
}

/*
 * Whether the thread is in the function, of user space or of the kernel: its frame is above the stack pointer, and what
 * lay there when it was entered still lies there. A function that was left without its return probe (longjmp) leaves a
 * frame behind, but whatever uses the place next is not the trampoline.
 */
__noinline bool policy_in_function(struct policy_task *subject, u32 function)
{
	u64 trampoline = return_trampoline(bpf_get_current_task_btf());
	u32 depth;

	if (!subject)
		return false;
	depth = subject->user.depth;
	for (u32 i = 0; i < FRAMES; i++) {
		if (i >= depth || !trampoline)
			break;
		if (policy_is_user_frame(&subject->user, i, function, trampoline))
			return true;
	}
	depth = subject->kernel.depth;
	for (u32 i = 0; i < FRAMES; i++) {
		if (i >= depth)
			break;
		if (policy_is_kernel_frame(&subject->kernel, i, function))
			return true;
	}
	return false;
}

static __always_inline bool in_functions(struct policy_task *subject, const u32 *functions)
{
	return (!functions[0] || policy_in_function(subject, functions[0])) &&
	       (!functions[1] || policy_in_function(subject, functions[1]));
}

/* Adds what the functions that the thread is in allow and audit; `anywhere`: what any functions do. */
struct context_search {
	struct policy_task *subject;
	u32 anywhere;
	u32 generation;
	u32 next; /* index in the rights table */
	u32 left;
	u32 allow;
	u32 audit;
};

static long add_context(u32 index, struct context_search *search)
{
	struct policy_context *context;
	struct rights_table table;

	if (!search->left || !open_rights(&table, search->generation))
		return 1;
	search->left--;
	context = (void *)cell(&table, search->next++);
	if (!context)
		return 1;
	if (search->anywhere || in_functions(search->subject, context->functions)) {
		search->allow |= context->allow;
		search->audit |= context->audit;
	}
	return 0;
}

__noinline u32 policy_add_contexts(struct policy_task *subject, struct policy_scratch *scratch, bool anywhere)
{
	struct context_search search = { .subject = subject, .anywhere = anywhere };
	struct rights_table table;

	if (!subject || !scratch || !open_rights(&table, scratch->generation))
		return 0;
	search.generation = scratch->generation;
	search.left = scratch->rights.contexts >> 24;
	search.next = header_of(&table)->contexts + (scratch->rights.contexts & 0xffffff);
	bpf_loop(CONTEXTS_MAX, add_context, &search, 0);
	scratch->rights.allow |= search.allow;
	scratch->rights.audit |= search.audit;
	return 0;
}

/* What is asked: one access of a task to one object. */
struct query {
	enum bpflock_event_type type;
	u32 op;
	u32 access;
	u32 fresh; /* nothing is kept for the inode */
	u64 object;
};

static __always_inline void count_by_profile(u32 profile, bool denied)
{
	struct policy_stat *stat = bpf_map_lookup_elem(&policy_stats, &profile);

	if (!stat)
		return;
	__sync_fetch_and_add(denied ? &stat->denied : &stat->reported, 1);
	stat->last = bpf_ktime_get_boot_ns();
}

static __always_inline u32 tell(const struct query *query, struct policy_scratch *scratch, u32 reason, bool has_path)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct access access = { .lock = LOCK_POLICY };
	struct bpflock_counter *counter;
	struct policy_message *message;
	int retval = denies(reason) ? -EPERM : 0;
	u32 repeats = 0, size = 0;
	u64 quiet = 0;

	if (!query || !scratch)
		return 0;
	access.type = query->type;
	access.op = query->op;
	access.object = query->object;
	counter = counter_of(access.op);
	if (retval)
		__sync_fetch_and_add(&counter->denied, 1);
	else
		__sync_fetch_and_add(&counter->allowed, 1);
	count_by_profile(scratch->detail.profile, retval);
	if (!limit(&access, reason, task->tgid, &repeats, &quiet)) {
		__sync_fetch_and_add(&counter->limited, 1);
		return 0;
	}
	message = bpf_task_storage_get(&policy_messages, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!message) {
		__sync_fetch_and_add(&counter->dropped, 1);
		return 0;
	}
	fill(&message->event, &access, reason, retval, repeats);
	message->detail = scratch->detail;
	if (has_path) {
		policy_climb(scratch);
		scratch->writes = true;
		policy_feed_path(scratch);
		size = scratch->length;
		if (!size) {
			message->path[0] = '/';
			size = 1;
		}
	}
	asm volatile("%0 &= 4095" : "+r"(size));
	message->event.path_len = size;
	size += sizeof(message->event) + sizeof(message->detail);
	/* Records are read back to back: they begin at multiples of 8. */
	size = (size + 7) & ~7U;
	message->event.size = size;
	if (bpf_ringbuf_output(&bpflock_events, message, size, wakeup()))
		__sync_fetch_and_add(&counter->dropped, 1);
	return 0;
}

/* Tell of a decision; with a path, from where start_from() was called. */
__noinline u32 policy_tell(const struct query *query, struct policy_scratch *scratch, u32 reason, bool has_path)
{
	return tell(query, scratch, reason, has_path);
}

/* For what never has one: programs are loaded faster without all that belongs to paths. */
__noinline u32 policy_tell_no_path(const struct query *query, struct policy_scratch *scratch, u32 reason)
{
	return tell(query, scratch, reason, false);
}

/* The room that the current task's walks need; 0 if there is no memory for it: that denies. */
static __always_inline struct policy_scratch *scratch_of_task(void)
{
	return bpf_task_storage_get(&policy_scratches, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

/* A child of vfork(2) has this until it executes a program or ends. */
static __always_inline bool borrows_memory(struct task_struct *task)
{
	return ((struct task_struct___vfork *)task)->vfork_done;
}

/* The record of a process: its first thread's. It stays until the last thread has ended. */
static __always_inline struct policy_task *record_of_process(struct task_struct *task)
{
	return bpf_task_storage_get(&policy_tasks, task->group_leader, 0, 0);
}

/* That of the process whose memory the task uses until it executes a program, or 0. */
static __always_inline struct policy_task *record_of_lender(struct task_struct *task)
{
	return likely(!borrows_memory(task)) ? 0 : record_of_process(task->real_parent);
}

static __always_inline void add_taint(struct policy_task *to, const struct policy_task *from)
{
	u32 flags;

	if (!to || !from || to->profile != from->profile)
		return;
	flags = from->flags & (TASK_ENFORCED | TASK_TAINTED);
	if (flags & ~to->flags)
		__sync_fetch_and_or(&to->flags, flags);
}

/* To all that have the memory of the task: its process, and the one that waits for a child of vfork(2). */
static __always_inline void spread_taint(struct policy_task *subject, struct task_struct *task)
{
	add_taint(record_of_process(task), subject);
	add_taint(record_of_lender(task), subject);
}

/* And from them. */
static __always_inline void notice_taint(struct policy_task *subject, struct task_struct *task)
{
	add_taint(subject, record_of_process(task));
	add_taint(subject, record_of_lender(task));
}

/* The current task is tainted from now on, and so enforced. Deeper sharing of memory: see policy_task_alloc(). */
static __always_inline void taint(struct policy_task *subject)
{
	__sync_fetch_and_or(&subject->flags, TASK_ENFORCED | TASK_TAINTED);
	spread_taint(subject, bpf_get_current_task_btf());
}

/* Whether the current task is enforced. */
static __always_inline bool enforced(struct policy_task *subject)
{
	notice_taint(subject, bpf_get_current_task_btf());
	return subject->flags & TASK_ENFORCED;
}

/* Whether no other task has the memory, so that the task's own flags are all there is to know. */
static __always_inline bool is_alone(struct task_struct *task)
{
	return task->group_leader == task && !borrows_memory(task);
}

#endif
