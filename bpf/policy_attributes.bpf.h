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
 * several, each of its paths must be allowed; if by none, or if there are too many mounts, it is denied. What overlayfs
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

/* A walk over the mounts of a superblock; without the kernel's lock, a change meanwhile may end it early. */
struct mount_search {
	struct policy_scratch *scratch;
	u64 head; /* the end of the list; 0 on a chain */
	u64 next;
	u32 ended;
};

static long find_mount(u32 index, struct mount_search *search)
{
	struct policy_scratch *scratch = search->scratch;
	u64 next = search->next;
	struct mount *mount = (void *)next;
	u32 count = scratch->mount_count;

	if (next == search->head) {
		search->ended = true;
		return 1;
	}
	if (!bpf_core_field_exists(struct mount___chain, mnt_next_for_sb))
		mount = (void *)next - bpf_core_field_offset(struct mount___list, mnt_instance);
	if ((u64)BPF_CORE_READ(mount, mnt_ns) == scratch->ns) {
		if (count >= MOUNTS_KEPT)
			return 1;
		asm volatile("%0 &= 3" : "+r"(count));
		scratch->mounts[count] = (u64)mount;
		scratch->mount_count = count + 1;
	}
	if (bpf_core_field_exists(struct mount___chain, mnt_next_for_sb))
		search->next = (u64)BPF_CORE_READ((struct mount___chain *)mount, mnt_next_for_sb);
	else
		search->next = (u64)BPF_CORE_READ((struct list_head *)next, next);
	return 0;
}

/* The mounts of the file system of from_dentry in the namespace of scratch. Not 0 if there are too many. */
__noinline u32 policy_find_mounts(struct policy_scratch *scratch)
{
	struct mount_search search = { .scratch = scratch };
	struct list_head *head;
	struct super_block *sb;
	struct dentry *dentry;

	if (!scratch)
		return 1;
	dentry = (void *)scratch->from_dentry;
	sb = BPF_CORE_READ(dentry, d_sb);
	scratch->mount_count = 0;
	if (bpf_core_field_exists(struct mount___chain, mnt_next_for_sb)) {
		search.next = (u64)BPF_CORE_READ((struct super_block___chain *)sb, s_mounts);
	} else {
		head = (void *)sb + bpf_core_field_offset(struct super_block___list, s_mounts);
		search.head = (u64)head;
		search.next = (u64)BPF_CORE_READ(head, next);
	}
	bpf_loop(MOUNTS_LOOKED_AT, find_mount, &search, 0);
	return !search.ended;
}

/* An access to the file whose dentry is from_dentry of scratch. own: the process created it. Inlined: a walk goes deep. */
static __always_inline int decide_everywhere(struct policy_task *subject, struct policy_scratch *scratch,
					     const struct query *query, bool own)
{
	struct nsproxy *proxy = bpf_get_current_task_btf()->nsproxy;
	struct dentry *dentry = (void *)scratch->from_dentry;
	bool exe = runs(subject, (u64)BPF_CORE_READ(dentry, d_inode)), seen = false, too_many;
	u32 told;

	scratch->ns = (u64)proxy->mnt_ns;
	scratch->request.kind = 0;
	too_many = policy_find_mounts(scratch);
	scratch->profile = subject->profile;
	for (u32 i = 0; i < MOUNTS_KEPT; i++) {
		struct mount *mount;

		if (i >= scratch->mount_count || too_many)
			break;
		mount = (void *)scratch->mounts[i];
		scratch->from_mount = (u64)mount;
		scratch->from_root = (u64)BPF_CORE_READ(mount, mnt.mnt_root);
		note(scratch);
		begin(scratch);
		policy_walk(scratch, false);
		if (scratch->label == LABEL_NO_PATH)
			continue; /* this mount shows another part */
		seen = true;
		policy_rights_of(scratch);
		told = policy_judge(subject, scratch, query->access, own, exe);
		if (likely(!told))
			continue;
		begin(scratch);
		policy_tell(query, scratch, told, true);
		if (denies(told))
			return -EPERM;
	}
	if (seen)
		return 0;
	scratch->generation = policy_versions.generation;
	scratch->label = too_many ? LABEL_TOO_DEEP : is_of_kernel(scratch) ? LABEL_INTERNAL : LABEL_NO_PATH;
	policy_rights_of(scratch);
	told = policy_judge(subject, scratch, query->access, own, exe);
	if (told)
		policy_tell(query, scratch, told, false);
	return denies(told) ? -EPERM : 0;
}

static __noinline int decide_attributes(struct dentry *dentry, enum bpflock_event_type type, u32 access)
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
static __noinline int decide_socket_file(struct unix_sock *other, enum bpflock_event_type type)
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
