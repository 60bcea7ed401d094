/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The part of the policy engine that is about what a program brings to one that runs under another profile, or untainted: its
 * environment. By some variables the loader and the C library take code, or files, of whoever set them. For set-uid programs
 * they are ignored; a security module in BPF cannot have that done for others. So a program that would begin with one of them
 * ends before its first instruction.
 *
 * It is decided in lsm/bprm_committed_creds: there the strings lie in the program's own memory, and nobody else can write to that.
 */
#ifndef BPFLOCK_POLICY_ENVIRONMENT_BPF_H
#define BPFLOCK_POLICY_ENVIRONMENT_BPF_H

#define SIGKILL 9
#define PIECE 256 /* bytes of a string that are read at a time */
#define PIECES_MAX (1 << 22) /* the kernel takes 6 MB of strings */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct linux_binprm___strings {
	unsigned long p; /* where the arguments begin; the environment follows */
	unsigned long exec; /* where it ends */
	int argc;
};
#pragma clang attribute pop

static __always_inline bool begins_with(const char *text, const char *name, u32 length)
{
	for (u32 i = 0; i < length; i++)
		if (text[i] != name[i])
			return false;
	return true;
}

#define IS(text, name) begins_with(text, name, sizeof(name) - 1)

static __always_inline bool is_dangerous(const char *variable)
{
	return IS(variable, "LD_") || IS(variable, "GCONV_PATH=") || IS(variable, "GLIBC_TUNABLES=") ||
	       IS(variable, "HOSTALIASES=") || IS(variable, "LOCPATH=") || IS(variable, "MALLOC_") ||
	       IS(variable, "NLSPATH=") || IS(variable, "RESOLV_HOST_CONF=");
}

/* All that changes is in the scratch: Linux 6.1 verifies one round. */
static long read_piece(u32 index, struct policy_scratch **of)
{
	struct policy_scratch *scratch = *of;
	struct policy_strings *strings = &scratch->strings;
	long length;
	bool begins;

	if (strings->at >= strings->end)
		return 1;
	length = bpf_probe_read_user_str(scratch->path, PIECE, (void *)strings->at);
	if (length < 0) {
		strings->unreadable = true;
		return 1;
	}
	/* With its end, but for the empty string. */
	if (!length)
		length = 1;
	begins = !strings->middle;
	if (begins && !strings->arguments && is_dangerous(scratch->path)) {
		strings->dangerous = true;
		return 1;
	}
	/* If the piece is full, the string goes on; perhaps only its end does. */
	strings->middle = length == PIECE;
	strings->at += strings->middle ? PIECE - 1 : length;
	if (!strings->middle && strings->arguments)
		strings->arguments--;
	return 0;
}

/* Whether it is certain that nothing dangerous is in the environment of the exec that has just been committed. */
static __noinline bool is_clean(struct linux_binprm *bprm, struct policy_scratch *scratch)
{
	struct linux_binprm___strings *given = (void *)bprm;
	struct policy_strings *strings = &scratch->strings;
	struct policy_scratch *of = scratch;

	strings->at = BPF_CORE_READ(given, p);
	strings->end = BPF_CORE_READ(given, exec);
	strings->arguments = BPF_CORE_READ(given, argc);
	strings->middle = strings->dangerous = strings->unreadable = false;
	bpf_loop(PIECES_MAX, read_piece, &of, 0);
	return !strings->dangerous && !strings->unreadable && strings->at >= strings->end;
}

/* The program begins under another profile than the one that the task had, which was enforced; or untainted. */
static __noinline int check_environment(struct policy_task *subject, struct linux_binprm *bprm)
{
	struct query query = { .type = EVENT_LSM_BPRM_CREDS_FROM_FILE, .op = bit_number(FILE_EXEC), .access = FILE_EXEC };
	struct policy_scratch *scratch = scratch_of_task();
	struct file *file = bprm->file;
	struct policy_profile *profile;
	u32 reason = REASON_DENIED_ENVIRONMENT;

	if (!scratch) {
		bpf_send_signal(SIGKILL);
		return 0;
	}
	if (likely(is_clean(bprm, scratch)))
		return 0;
	profile = profile_of(policy_versions.generation, subject->next_profile);
	if (profile && profile->flags & PROFILE_COMPLAINS)
		reason = REASON_COMPLAIN_POLICY;
	else
		bpf_send_signal(SIGKILL);
	query.object = file->f_inode->i_ino;
	scratch->detail = (struct policy_detail){
		.generation = policy_versions.generation,
		.profile = subject->next_profile,
		.label = LABEL_NO_PATH,
		.access = FILE_EXEC,
	};
	start_from(scratch, file->f_path.mnt, file->f_path.dentry);
	policy_tell(&query, scratch, reason, true);
	return 0;
}

#endif
