/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The part of the policy engine for hooks that are told a file, and not by which path: a confined program changes the
 * attributes only of files that it may change, and talks to a socket file only if it may write to it.
 *
 *  lsm/inode_setattr                        times: mode, owner and size are asked about by path
 *  lsm/inode_setxattr, inode_removexattr    extended attributes; access control lists, too, where they have no hook
 *  lsm/inode_set_acl, inode_remove_acl      of their own
 *  lsm/inode_file_setattr                   file_setattr(2)
 *  lsm/inode_getxattr, inode_listxattr, inode_get_acl, inode_file_getattr
 *  lsm/unix_stream_connect, unix_may_send   a socket that has a file: this needs the right to write to it
 *
 * The path is found from the mounts of the file's file system in the task's mount namespace: if the file is to be seen by
 * several, each of its paths must be allowed; if by none, or by thousands, it is denied. What overlayfs
 * does to a layer is done as somebody else, and was decided on by the name that the task used.
 */
#ifndef BPFLOCK_POLICY_ATTRIBUTES_BPF_H
#define BPFLOCK_POLICY_ATTRIBUTES_BPF_H

#include "policy_objects.bpf.h"

#include "files.bpf.h"

#define MOUNTS_LOOKED_AT 65536
#define ATTR_TIMES (1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 17) /* ATIME, MTIME, both _SET, TOUCH */
#define ATTR_OTHERS (1 << 0 | 1 << 1 | 1 << 2 | 1 << 3) /* MODE, UID, GID, SIZE */
#define ATTR_FORCE (1 << 9)

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct iattr {
	unsigned int ia_valid;
};
struct unix_sock {
	struct path path;
};
#pragma clang attribute pop

/* One step over the mounts of a superblock. Without the kernel's lock, a change meanwhile may end it early. */
static long find_mount(u32 index, struct way *way)
{
	struct policy_scratch *scratch = way->scratch;
	u64 next = scratch->next_mount;
	struct mount *mount = (void *)next;

	if (next == scratch->mounts) {
		scratch->ended = true;
		return 1;
	}
	if (!scratch->mounts_left)
		return 1;
	scratch->mounts_left--;
	if (!bpf_core_field_exists(struct mount___chain, mnt_next_for_sb))
		mount = (void *)next - bpf_core_field_offset(struct mount___list, mnt_instance);
	if (bpf_core_field_exists(struct mount___chain, mnt_next_for_sb))
		scratch->next_mount = (u64)BPF_CORE_READ((struct mount___chain *)mount, mnt_next_for_sb);
	else
		scratch->next_mount = (u64)BPF_CORE_READ((struct list_head *)next, next);
	if ((u64)BPF_CORE_READ(mount, mnt_ns) != scratch->ns)
		return 0;
	scratch->found_mount = (u64)mount;
	return 1;
}

/* The next mount of the file system of from_dentry in the namespace of scratch. */
__noinline bool policy_next_mount(struct policy_scratch *scratch)
{
	struct way way = { scratch };

	if (!scratch)
		return false;
	scratch->found_mount = 0;
	bpf_loop(MOUNTS_LOOKED_AT, find_mount, &way, 0);
	return scratch->found_mount;
}

static __always_inline u64 event_of(const struct policy_scratch *scratch)
{
	struct mnt_namespace *ns = (void *)scratch->ns;

	return BPF_CORE_READ(ns, event);
}

static __always_inline void restart_mounts(struct policy_scratch *scratch)
{
	scratch->mounts_event = event_of(scratch);
	scratch->next_mount = scratch->first_mount;
	scratch->ended = scratch->seen = 0;
}

/* Begin the search. */
static __always_inline void start_mounts(struct policy_scratch *scratch)
{
	struct dentry *dentry = (void *)scratch->from_dentry;
	struct super_block *sb = BPF_CORE_READ(dentry, d_sb);
	struct list_head *head;

	scratch->mounts = 0;
	if (bpf_core_field_exists(struct mount___chain, mnt_next_for_sb)) {
		scratch->first_mount = (u64)BPF_CORE_READ((struct super_block___chain *)sb, s_mounts);
	} else {
		head = (void *)sb + bpf_core_field_offset(struct super_block___list, s_mounts);
		scratch->mounts = (u64)head;
		scratch->first_mount = (u64)BPF_CORE_READ(head, next);
	}
	scratch->mounts_left = MOUNTS_LOOKED_AT;
	scratch->mounts_again = WALKS;
	scratch->denied = 0;
	restart_mounts(scratch);
}

struct everywhere {
	struct policy_task *subject;
	struct policy_scratch *scratch;
	const struct query *query;
	u32 own; /* the process created the file */
	u32 exe; /* it is the subject's executable */
};

/* What the search comes to is in scratch: Linux 6.1 verifies a callback for its first turn only. */
static long decide_on_mount(u32 index, struct everywhere *at)
{
	struct policy_scratch *scratch = at->scratch;
	struct mount *mount;
	u32 told;

	if (!policy_next_mount(scratch)) {
		/* The namespace's own mounts, at which the search stopped each time, may have left the list: once more. */
		if (likely(event_of(scratch) == scratch->mounts_event))
			return 1;
		scratch->ended = false;
		if (!scratch->mounts_again)
			return 1;
		scratch->mounts_again--;
		restart_mounts(scratch);
		return 0;
	}
	mount = (void *)scratch->found_mount;
	scratch->from_mount = (u64)mount;
	scratch->from_root = (u64)BPF_CORE_READ(mount, mnt.mnt_root);
	note(scratch);
	begin(scratch);
	policy_walk(scratch, false);
	if (scratch->label == LABEL_NO_PATH)
		return 0; /* this mount shows another part */
	scratch->seen = true;
	policy_rights_of(scratch);
	told = policy_judge(at->subject, scratch, at->query->access, at->own, at->exe);
	if (likely(!told))
		return 0;
	begin(scratch);
	policy_tell(at->query, scratch, told, true);
	scratch->denied = denies(told);
	return scratch->denied;
}

/* An access to the file whose dentry is from_dentry of scratch. own: the process created it. Inlined: a walk goes deep. */
static __always_inline int decide_everywhere(struct policy_task *subject, struct policy_scratch *scratch,
					     const struct query *query, bool own)
{
	struct nsproxy *proxy = bpf_get_current_task_btf()->nsproxy;
	struct dentry *dentry = (void *)scratch->from_dentry;
	struct everywhere at = { .subject = subject, .scratch = scratch, .query = query, .own = own };
	u32 told;

	at.exe = runs(subject, (u64)BPF_CORE_READ(dentry, d_inode));
	scratch->ns = (u64)proxy->mnt_ns;
	scratch->request.kind = 0;
	scratch->profile = subject->profile;
	start_mounts(scratch);
	bpf_loop(MOUNTS_MAX, decide_on_mount, &at, 0);
	if (scratch->denied)
		return -EPERM;
	if (likely(scratch->seen && scratch->ended))
		return 0;
	scratch->generation = policy_versions.generation;
	scratch->label = !scratch->ended ? LABEL_TOO_DEEP : is_of_kernel(scratch) ? LABEL_INTERNAL : LABEL_NO_PATH;
	policy_rights_of(scratch);
	told = policy_judge(subject, scratch, query->access, own, at.exe);
	if (told)
		policy_tell(query, scratch, told, false);
	return denies(told) ? -EPERM : 0;
}

/* Inlined, as the hook calls nothing else: a walk goes deep. */
static __always_inline int decide_attributes(struct dentry *dentry, enum bpflock_event_type type, u32 access)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct policy_task *subject = confined(task);
	struct query query = { .type = type, .access = access };
	struct policy_scratch *scratch;
	struct policy_label *kept;
	struct inode *inode;

	if (likely(!subject))
		return 0;
	if (is_canary(subject))
		return answer_policy_canary(subject, type);
	inode = inode_of(dentry);
	if (!inode || is_inner(task))
		return 0;
	scratch = scratch_of_task();
	if (!scratch)
		return -EPERM;
	query.op = bit_number(access);
	query.object = inode->i_ino;
	scratch->from_dentry = (u64)dentry;
	kept = bpf_inode_storage_get(&policy_labels, inode, 0, 0);
	return decide_everywhere(subject, scratch, &query, kept && kept->owner && kept->owner == subject->program);
}

SEC("lsm/inode_setattr")
int policy_inode_setattr(u64 *ctx)
{
	struct iattr *change = setattr_has_idmap() ? (struct iattr *)CONTEXT(ctx, 2) : (struct iattr *)CONTEXT(ctx, 1);
	u32 valid;

	valid = change->ia_valid;
	if (likely(!(valid & ATTR_TIMES) || valid & (ATTR_OTHERS | ATTR_FORCE)))
		return 0;
	return decide_attributes(setattr_dentry(ctx), EVENT_LSM_INODE_SETATTR, FILE_SETATTR);
}

SEC("lsm/inode_setxattr")
int BPF_PROG(policy_inode_setxattr, void *idmap, struct dentry *dentry, const char *name)
{
	return decide_attributes(dentry, EVENT_LSM_INODE_SETXATTR, FILE_SETATTR);
}

SEC("lsm/inode_removexattr")
int BPF_PROG(policy_inode_removexattr, void *idmap, struct dentry *dentry)
{
	return decide_attributes(dentry, EVENT_LSM_INODE_REMOVEXATTR, FILE_SETATTR);
}

SEC("?lsm/inode_set_acl")
int BPF_PROG(policy_inode_set_acl, void *idmap, struct dentry *dentry)
{
	return decide_attributes(dentry, EVENT_LSM_INODE_SET_ACL, FILE_SETATTR);
}

SEC("?lsm/inode_remove_acl")
int BPF_PROG(policy_inode_remove_acl, void *idmap, struct dentry *dentry)
{
	return decide_attributes(dentry, EVENT_LSM_INODE_REMOVE_ACL, FILE_SETATTR);
}

SEC("?lsm/inode_file_setattr")
int BPF_PROG(policy_inode_file_setattr, struct dentry *dentry)
{
	return decide_attributes(dentry, EVENT_LSM_INODE_FILE_SETATTR, FILE_SETATTR);
}

SEC("lsm/inode_getxattr")
int BPF_PROG(policy_inode_getxattr, struct dentry *dentry)
{
	return decide_attributes(dentry, EVENT_LSM_INODE_GETXATTR, FILE_GETATTR);
}

SEC("lsm/inode_listxattr")
int BPF_PROG(policy_inode_listxattr, struct dentry *dentry)
{
	return decide_attributes(dentry, EVENT_LSM_INODE_LISTXATTR, FILE_GETATTR);
}

SEC("?lsm/inode_get_acl")
int BPF_PROG(policy_inode_get_acl, void *idmap, struct dentry *dentry)
{
	return decide_attributes(dentry, EVENT_LSM_INODE_GET_ACL, FILE_GETATTR);
}

SEC("?lsm/inode_file_getattr")
int BPF_PROG(policy_inode_file_getattr, struct dentry *dentry)
{
	return decide_attributes(dentry, EVENT_LSM_INODE_FILE_GETATTR, FILE_GETATTR);
}

/* The socket at the other end may have a file; whether to connect or send at all is asked by other hooks. */
static __always_inline int decide_socket_file(struct unix_sock *other, enum bpflock_event_type type)
{
	struct policy_task *subject = confined(bpf_get_current_task_btf());
	struct query query = { .type = type, .op = 1, .access = FILE_WRITE };
	struct policy_scratch *scratch;

	if (likely(!subject))
		return 0;
	if (is_canary(subject))
		return answer_policy_canary(subject, type);
	scratch = scratch_of_task();
	if (!scratch)
		return -EPERM;
	scratch->from_dentry = (u64)BPF_CORE_READ(other, path.dentry);
	if (!scratch->from_dentry)
		return 0;
	query.object = scratch->from_dentry;
	return decide_everywhere(subject, scratch, &query, false);
}

SEC("lsm/unix_stream_connect")
int BPF_PROG(policy_unix_stream_connect, struct sock *sk, struct sock *other)
{
	return decide_socket_file((void *)other, EVENT_LSM_UNIX_STREAM_CONNECT);
}

SEC("lsm/unix_may_send")
int BPF_PROG(policy_unix_may_send, struct socket *sock, struct socket *other)
{
	struct sock *peer = other->sk;

	return peer ? decide_socket_file((void *)peer, EVENT_LSM_UNIX_MAY_SEND) : 0;
}

#endif
