/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The part of the policy engine that is about sockets and other processes, and what all rules on anything but files share:
 * a confined program does with them only what its profile allows. Privileged calls: policy_calls.bpf.h.
 *
 * Sockets: by the socket's own family, type and protocol, and the kernel's copy of an address.
 *  lsm/socket_create      socket(2) and socketpair(2), before a module is loaded for it. The kernel's own sockets are not asked.
 *  lsm/socket_bind, _listen, _accept, _connect, _shutdown
 *  lsm/sctp_bind_connect  policy_sctp.bpf.h
 *  lsm/socket_sendmsg     every way to send but sendfile(2) before 6.5. The destination is the one that is given, or else the
 *                         peer; a TCP fast open is a connect, too. What a connected socket may send is kept with it. A raw
 *                         socket sends to no address: the header that counts may be in the data.
 *  lsm/socket_recvmsg     every way to receive but splice(2).
 *
 * Other processes:
 *  lsm/task_kill          whatever signal a process sends, 0 too. What the kernel sends (to a child whose parent ended, to
 *                         the owner of a USB request) is nobody's act.
 *  lsm/file_fcntl, lsm/file_ioctl
 *                         who the signals of a descriptor go to, and which: when they are sent, the sender may be anybody
 *                         who made the descriptor ready, so that is decided here, not in lsm/file_send_sigiotask.
 *  lsm/ptrace_access_check, lsm/ptrace_traceme
 *                         ptrace(2), process_vm_readv(2), pidfd_getfd(2), kcmp(2), perf_event_open(2), the files of a process
 *                         that show its memory: the one who does it, and the one to whom it is done.
 *  procfs                 the files of a process below /proc: see policy_proc().
 *
 * Not done here: options of sockets.
 */
#ifndef BPFLOCK_POLICY_OBJECTS_BPF_H
#define BPFLOCK_POLICY_OBJECTS_BPF_H

#include "policy.bpf.h"

#include "syscall.bpf.h"

#include <bpf/bpf_endian.h>

#define OBJECTS_MAX (1 << 20)
#define BIT(n) (1U << (n))

#define AF_UNSPEC 0
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_RAW 3
#define SOCK_SEQPACKET 5
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_SCTP 132
#define MSG_FASTOPEN 0x20000000

#define PF_EXITING 4
#define PF_IO_WORKER 0x10
#define SIGIO 29
#define F_SETOWN 8
#define F_SETSIG 10
#define F_SETOWN_EX 15
#define FIOSETOWN 0x8901
#define SIOCSPGRP 0x8902

#define PTRACE_MODE_ATTACH 2
#define PTRACE_MODE_NOAUDIT 4

/* Operations of the counters: behind those of files. */
enum {
	OP_NET = 16, /* and enum policy_net_access, as a number */
	OP_SIGNAL = 24,
	OP_PTRACE = 25, /* and enum policy_ptrace_access */
	OP_CAPABILITY = 28,
	OP_OPERATION = 32, /* and enum policy_operation */
};

#define BPF_MAP_TYPE_SK_STORAGE 24

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct in6_addr {
	u8 bytes[16];
};
struct sock_common {
	unsigned short skc_family;
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	u16 skc_num; /* the own port */
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};
struct sock {
	struct sock_common __sk_common;
	u16 sk_protocol;
};
struct socket {
	short type;
	struct file *file;
	struct sock *sk;
};
struct msghdr {
	void *msg_name;
	int msg_namelen;
	unsigned int msg_flags;
};
struct fown_struct {
	struct pid *pid;
	int signum;
};
struct file___embedded { /* 6.1 */
	struct fown_struct f_owner;
};
struct file___pointer { /* 6.12 and later; NULL while there is none */
	struct fown_struct *f_owner;
};
struct proc_inode {
	struct pid *pid;
	struct inode vfs_inode;
};
struct pid___tasks {
	struct hlist_head tasks[1];
};
struct task_struct___flags {
	unsigned int flags;
};
struct task_struct___links {
	struct hlist_node pid_links[1];
};
#pragma clang attribute pop

struct sockaddr;
struct kernel_siginfo;

/* What a profile may do with a connected socket: sending and receiving is asked again and again. */
struct policy_socket {
	u64 seq; /* odd while it is written */
	u32 generation;
	u32 profile;
	u8 known; /* enum policy_net_access: what the following is about */
	u8 allow;
	u8 audit;
	u8 taint;
	u16 family;
	u16 port;
	u64 addr[2]; /* of the peer, for NET_SEND */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct policy_socket);
} policy_sockets SEC(".maps");

/* The rules. */

#include "policy_inner.bpf.h"

struct object_search {
	struct policy_task *subject;
	struct policy_scratch *scratch;
	u32 generation;
	u32 next; /* index in the objects table */
	u32 left;
	u32 here; /* the subject is the current task */
};

static __always_inline bool in_network(const u8 *one, const u8 *other, u32 prefix)
{
	const u32 *a = (const u32 *)one, *b = (const u32 *)other;

	for (u32 i = 0; i < 4; i++) {
		u32 bits = prefix > 32 * i ? prefix - 32 * i : 0;
		u32 mask;

		if (!bits)
			break;
		mask = bits >= 32 ? ~0U : ~0U << (32 - bits);
		if ((a[i] ^ b[i]) & bpf_htonl(mask))
			return false;
	}
	return true;
}

static __always_inline bool is_socket(const struct policy_object *rule, const struct policy_request *request)
{
	if (rule->family != ANY_FAMILY && rule->family != request->family)
		return false;
	if (rule->type && rule->type != request->type)
		return false;
	if (rule->protocol != ANY_PROTOCOL && rule->protocol != request->protocol)
		return false;
	if (!rule->addressed)
		return true;
	if (!request->addressed || request->port < rule->port_first || request->port > rule->port_last)
		return false;
	return in_network(rule->addr, request->addr, rule->prefix);
}

static long match_object(u32 index, struct object_search *search)
{
	struct policy_scratch *scratch = search->scratch;
	struct policy_request *request = &scratch->request;
	u32 slot = search->generation & (GENERATIONS - 1), at;
	struct policy_object *rule;
	void *table;
	u64 found;

	if (!search->left)
		return 1;
	search->left--;
	table = bpf_map_lookup_elem(&policy_objects, &slot);
	if (!table)
		return 1;
	at = search->next++;
	rule = bpf_map_lookup_elem(table, &at);
	if (!rule)
		return 1;
	if (rule->kind != request->kind)
		return 0;
	if (request->extra)
		found = rule->extra & request->extra ? request->asked : 0;
	else
		found = rule->mask & request->asked;
	if (!found)
		return 0;
	if (rule->kind == KIND_NET) {
		if (!is_socket(rule, request))
			return 0;
	} else if (rule->who == WHO_EXE) {
		struct policy_rights rights = {};

		if (!request->labelled) {
			request->by_exe = true;
			return 0;
		}
		if (request->label >= LABEL_BAD ||
		    !rights_of_row(search->generation, rule->target, request->label, &rights) || !rights.allow)
			return 0;
	} else if (!(request->who & BIT(rule->who & 7))) {
		return 0;
	}
	if (rule->functions[0]) {
		u32 functions[2] = { rule->functions[0], rule->functions[1] };

		request->by_function = true;
		/* Of another task nobody knows where it is. */
		if (!search->here || !in_functions(search->subject, functions))
			return 0;
	}
	if (rule->effect & EFFECT_ALLOW)
		request->allow |= found;
	if (rule->effect & EFFECT_AUDIT)
		request->audit |= found;
	if (rule->effect & EFFECT_TAINT)
		request->taint |= found;
	return 0;
}

/*
 * What the rules of the subject's profile say about the request in scratch: under the policy set that a label in it is of,
 * or the one in force.
 */
__noinline u32 policy_match(struct policy_task *subject, struct policy_scratch *scratch, u32 here)
{
	struct object_search search = { .subject = subject, .scratch = scratch, .here = here };
	struct policy_request *request;
	struct policy_profile *profile;

	if (!subject || !scratch)
		return 0;
	request = &scratch->request;
	if (!request->labelled)
		request->generation = policy_versions.generation;
	request->allow = request->audit = request->taint = 0;
	request->by_exe = request->by_function = false;
	search.generation = request->generation;
	profile = profile_of(search.generation, subject->profile);
	if (!profile)
		return 0;
	search.next = profile->first;
	search.left = profile->count;
	bpf_loop(OBJECTS_MAX, match_object, &search, 0);
	return 0;
}

/* The label of the other process's executable, by its path in the subject's mount namespace. */
static __always_inline void label_peer(struct policy_scratch *scratch)
{
	struct task_struct *task = (void *)scratch->request.task;
	struct dentry *dentry = (void *)scratch->from_dentry;

	scratch->request.labelled = true;
	scratch->request.label = LABEL_NO_PATH;
	if (!dentry)
		return;
	scratch->ns = (u64)BPF_CORE_READ(task, nsproxy, mnt_ns);
	note(scratch);
	begin(scratch);
	policy_walk(scratch, false);
	scratch->request.label = scratch->label;
	scratch->request.generation = scratch->generation;
}

/* All rules about another process: the label is made only if one needs it. Not to be called deeper than a walk may be. */
static __always_inline void match_peer(struct policy_task *subject, struct policy_scratch *scratch, u32 here)
{
	policy_match(subject, scratch, here);
	if (unlikely(scratch->request.by_exe)) {
		label_peer(scratch);
		policy_match(subject, scratch, here);
	}
}

static __always_inline u32 told_access(const struct policy_request *request, u64 bits)
{
	return request->kind == KIND_SIGNAL || request->kind == KIND_CAPABILITY ? request->number : bits;
}

/*
 * What the matched request in scratch comes to: the reason to tell, or 0 if there is nothing to tell. here: the
 * subject is the current task; else it is one to which the current task does something.
 */
__noinline u32 policy_judge_object(struct policy_task *subject, struct policy_scratch *scratch, u32 here)
{
	struct policy_request *request;
	struct policy_profile *profile;
	struct rights_table table;
	u32 generation, flags, told = 0;
	bool was_enforced;
	u64 missing;

	if (!subject || !scratch)
		return REASON_DENIED_NO_MEMORY;
	/* Without tables nothing can be allowed. */
	request = &scratch->request;
	generation = request->generation;
	if (!open_rights(&table, generation))
		return REASON_DENIED_NO_MEMORY;
	profile = profile_in(&table, subject->profile);
	/* Taken out of force: its tasks are not confined any more. */
	if (!profile) {
		request->by_function = true;
		return 0;
	}
	flags = profile->flags;
	scratch->detail = (struct policy_detail){
		.generation = generation,
		.profile = subject->profile,
		.peer = request->peer,
		.family = request->family,
		.port = request->port,
		.kind = request->kind,
		.who = request->who,
		.type = request->type,
		.protocol = request->protocol,
	};
	__builtin_memcpy(scratch->detail.addr, request->addr, sizeof(request->addr));
	was_enforced = subject->flags & TASK_ENFORCED || (here && enforced(subject)); /* else decide_ptrace() has looked */
	if (request->taint && !(subject->flags & TASK_TAINTED)) {
		/* What taints is itself allowed, unless the subject was enforced already. */
		if (here)
			taint(subject);
		else
			__sync_fetch_and_or(&subject->flags, TASK_ENFORCED | TASK_TAINTED);
		scratch->detail.access = told_access(request, request->taint);
		told = REASON_TAINT_POLICY;
	}
	if (was_enforced) {
		missing = request->asked & ~request->allow;
		if (missing) {
			scratch->detail.access = told_access(request, missing);
			told = flags & PROFILE_COMPLAINS ? REASON_COMPLAIN_POLICY : REASON_DENIED_POLICY;
		} else if (request->audit) {
			scratch->detail.access = told_access(request, request->audit);
			told = REASON_AUDIT_POLICY;
		}
	}
	return spare_own(told);
}

/* An empty request, in the current task's scratch. 0 if there is no memory for it: that denies. */
static __always_inline struct policy_scratch *ask(enum policy_kind kind, u64 asked)
{
	struct policy_scratch *scratch = scratch_of_task();

	if (!scratch)
		return 0;
	__builtin_memset(&scratch->request, 0, sizeof(scratch->request));
	scratch->request.kind = kind;
	scratch->request.asked = asked;
	scratch->request.who = BIT(WHO_ANY); /* also of rules that are about no process */
	scratch->from_dentry = 0;
	return scratch;
}

/* Decide what was matched, and tell: the hook's answer. peer: with the path of the other process's executable. */
static __always_inline int answer_matched(struct policy_task *subject, struct policy_scratch *scratch,
					  const struct query *query, u32 here, bool peer)
{
	u32 told = policy_judge_object(subject, scratch, here);

	if (likely(!told))
		return 0;
	if (scratch->request.silent && denies(told)) {
		__sync_fetch_and_add(&counter_of(query->op)->denied, 1);
		return -EPERM;
	}
	if (peer && scratch->from_dentry) {
		begin(scratch);
		policy_tell(query, scratch, told, true);
	} else {
		policy_tell_no_path(query, scratch, told);
	}
	return denies(told) ? -EPERM : 0;
}

static __always_inline int answer_request(struct policy_task *subject, struct policy_scratch *scratch,
					  const struct query *query)
{
	policy_match(subject, scratch, true);
	return answer_matched(subject, scratch, query, true, false);
}

static __always_inline int answer_peer(struct policy_task *subject, struct policy_scratch *scratch,
				       const struct query *query, u32 here)
{
	match_peer(subject, scratch, here);
	return answer_matched(subject, scratch, query, here, true);
}

/* Sockets. */

static __always_inline bool is_ip(u32 family)
{
	return family == AF_INET || family == AF_INET6;
}

/* The protocol that a socket will have that is made with protocol 0. */
static __always_inline u32 protocol_of(u32 family, u32 type, u32 protocol)
{
	if (family == AF_UNIX)
		return 0;
	if (protocol || !is_ip(family))
		return protocol;
	return type == SOCK_STREAM	? IPPROTO_TCP :
	       type == SOCK_DGRAM	? IPPROTO_UDP :
	       type == SOCK_SEQPACKET	? IPPROTO_SCTP :
					  0;
}

enum address_of { ADDRESS_NONE, ADDRESS_PEER, ADDRESS_OWN, ADDRESS_GIVEN };

/* struct sockaddr_in and sockaddr_in6, up to the address. */
struct given_address {
	u16 family;
	u16 port;
	u32 v4; /* of an IPv6 address: the flow */
	u8 v6[16];
};
#define SOCKADDR_IN 16

/* The address that is asked about, into the request: of its socket, or the kernel's copy of what the task gave. */
__noinline u32 policy_address(struct policy_scratch *scratch, u32 of, u32 length)
{
	struct given_address given = {};
	struct policy_request *request;
	struct sock *sk;

	if (!scratch)
		return 0;
	request = &scratch->request;
	sk = (void *)request->socket;
	if (!is_ip(request->family))
		return 0;
	if (of == ADDRESS_GIVEN) {
		if (length > sizeof(given))
			length = sizeof(given);
		asm volatile("%0 &= 31" : "+r"(length));
		if (length > sizeof(given))
			return 0;
		bpf_probe_read_kernel(&given, length, (void *)request->name);
		if (given.family == AF_UNSPEC) {
			/* IPv4 takes it for its own; to IPv6 it is none, and the peer's is meant. */
			if (request->family == AF_INET)
				given.family = AF_INET;
			else
				of = ADDRESS_PEER;
		}
	}
	if (of == ADDRESS_GIVEN) {
		if (given.family == AF_INET && length >= SOCKADDR_IN) {
			/* An IPv6 socket can be told to use IPv4. */
			request->family = AF_INET;
			__builtin_memcpy(request->addr, &given.v4, 4);
		} else if (given.family == AF_INET6 && length == sizeof(given)) {
			__builtin_memcpy(request->addr, given.v6, 16);
		} else {
			return 0; /* no address: the kernel will not take it */
		}
		request->port = bpf_ntohs(given.port);
	} else if (request->family == AF_INET) {
		u32 v4 = of == ADDRESS_PEER ? BPF_CORE_READ(sk, __sk_common.skc_daddr) :
					      BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);

		__builtin_memcpy(request->addr, &v4, 4);
	} else if (of == ADDRESS_PEER) {
		bpf_core_read(request->addr, 16, &sk->__sk_common.skc_v6_daddr);
	} else {
		bpf_core_read(request->addr, 16, &sk->__sk_common.skc_v6_rcv_saddr);
	}
	if (of == ADDRESS_PEER)
		request->port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	else if (of == ADDRESS_OWN)
		request->port = BPF_CORE_READ(sk, __sk_common.skc_num);
	request->addressed = true;
	if (request->family == AF_INET6) {
		u32 *words = (u32 *)request->addr;

		/* ::ffff:10.0.0.1 is IPv4. */
		if (!words[0] && !words[1] && words[2] == bpf_htonl(0xffff)) {
			request->family = AF_INET;
			words[0] = words[3];
			words[2] = words[3] = 0;
		}
	}
	return 0;
}

/* Whether what is kept with the socket allows it, and nothing is to be told. */
static __always_inline bool settled_socket(struct policy_task *subject, struct sock *sk, u32 access)
{
	struct policy_socket *kept = bpf_sk_storage_get(&policy_sockets, sk, 0, 0);
	struct task_struct *task = bpf_get_current_task_btf();
	u32 allow;
	u64 seq;

	if (!kept)
		return false;
	seq = kept->seq;
	barrier();
	if (seq & 1 || kept->generation != policy_versions.generation || kept->profile != subject->profile ||
	    !(kept->known & access) || kept->audit & access ||
	    (kept->taint & access && !(subject->flags & TASK_TAINTED)))
		return false;
	allow = kept->allow;
	if (access & NET_SEND) {
		u32 family = sk->__sk_common.skc_family;

		if (family != kept->family)
			return false;
		if (is_ip(family) && sk->__sk_common.skc_dport != kept->port)
			return false;
		if (family == AF_INET && sk->__sk_common.skc_daddr != (u32)kept->addr[0])
			return false;
		if (family == AF_INET6) {
			u64 addr[2] = {};

			bpf_core_read(addr, 16, &sk->__sk_common.skc_v6_daddr);
			if (addr[0] != kept->addr[0] || addr[1] != kept->addr[1])
				return false;
		}
	}
	barrier();
	if (kept->seq != seq)
		return false;
	if (likely(subject->flags & TASK_ENFORCED))
		return allow & access;
	/* Not tainted; but others with the same memory may be. */
	return is_alone(task);
}

/* Keep what was found, unless it holds for a moment only: in a function. Never more than one access at a time. */
static __always_inline void keep_socket(struct policy_task *subject, struct sock *sk, u32 access,
					const struct policy_scratch *scratch)
{
	const struct policy_request *request = &scratch->request;
	struct policy_socket *kept;
	u64 seq;

	if (request->by_function)
		return;
	kept = bpf_sk_storage_get(&policy_sockets, sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!kept)
		return;
	seq = kept->seq;
	if (seq & 1 || __sync_val_compare_and_swap(&kept->seq, seq, seq + 1) != seq)
		return;
	if (kept->generation != scratch->detail.generation || kept->profile != subject->profile)
		kept->known = kept->allow = kept->audit = kept->taint = 0;
	kept->generation = scratch->detail.generation;
	kept->profile = subject->profile;
	kept->known |= access;
	kept->allow = (kept->allow & ~access) | (request->allow & access);
	kept->audit = (kept->audit & ~access) | (request->audit & access);
	kept->taint = (kept->taint & ~access) | (request->taint & access);
	if (access & NET_SEND) {
		u32 family = sk->__sk_common.skc_family;

		/* As the socket has it: not what policy_address() made of it. */
		kept->family = family;
		kept->port = sk->__sk_common.skc_dport;
		kept->addr[0] = kept->addr[1] = 0;
		if (family == AF_INET)
			kept->addr[0] = sk->__sk_common.skc_daddr;
		else if (family == AF_INET6)
			bpf_core_read(kept->addr, 16, &sk->__sk_common.skc_v6_daddr);
	}
	__sync_fetch_and_add(&kept->seq, 1);
}

static __always_inline u32 bit_number(u32 bit)
{
	u32 number = 0;

	bit &= -bit;
	if (bit & 0xff00)
		number |= 8;
	if (bit & 0xf0f0)
		number |= 4;
	if (bit & 0xcccc)
		number |= 2;
	if (bit & 0xaaaa)
		number |= 1;
	return number;
}

/* The canary is denied by one hook at a time, to prove that it fires. */
static __noinline int answer_policy_canary(struct policy_task *subject, enum bpflock_event_type type)
{
	if (subject->canary != type)
		return 0;
	__sync_fetch_and_add(&counter_of(OP_CANARY)->denied, 1);
	return -ECANCELED;
}

static __always_inline bool is_canary(struct policy_task *subject)
{
	return unlikely(subject->profile == POLICY_CANARY);
}

/* The rest of what is asked about a socket is in the request. */
static __always_inline int answer_socket(struct policy_task *subject, struct policy_scratch *scratch,
					 enum bpflock_event_type type)
{
	struct policy_request *request = &scratch->request;
	struct query query = { .type = type, .op = OP_NET + bit_number(request->asked) };
	u32 *words = (u32 *)request->addr;

	query.access = request->asked;
	query.object = (u64)request->family << 48 | (u64)request->port << 32 |
		       (words[0] ^ words[1] ^ words[2] ^ words[3] ^ request->protocol ^ (u32)request->type << 16);
	return answer_request(subject, scratch, &query);
}

/* What is asked about a socket, and about which address. */
#define SOCKET_ASK(access, of) ((access) | (of) << 8)

static __always_inline struct policy_scratch *ask_socket(struct socket *sock, struct sock *sk, u32 what, u64 name, u32 length)
{
	struct policy_scratch *scratch = ask(KIND_NET, what & 0xff);

	if (!scratch)
		return 0;
	scratch->request.family = sk->__sk_common.skc_family;
	scratch->request.type = sock->type;
	scratch->request.protocol = protocol_of(scratch->request.family, sock->type, sk->sk_protocol);
	scratch->request.socket = (u64)sk;
	scratch->request.name = name;
	/* What is sent by a raw socket may bring its own header, with another address than the kernel is told. */
	if (what & NET_SEND && sock->type == SOCK_RAW)
		return scratch;
	if (what >> 8)
		policy_address(scratch, what >> 8, length);
	return scratch;
}

/* An access to a socket of user space; the kernel's own have no file. */
static __noinline int decide_socket(struct socket *sock, enum bpflock_event_type type, u32 what, u64 name, u32 length)
{
	struct policy_task *subject = confined(bpf_get_current_task_btf());
	struct policy_scratch *scratch;
	struct sock *sk;

	if (likely(!subject))
		return 0;
	sk = sock->sk;
	if (!sk || !sock->file)
		return 0;
	if (is_canary(subject))
		return answer_policy_canary(subject, type);
	scratch = ask_socket(sock, sk, what, name, length);
	return scratch ? answer_socket(subject, scratch, type) : -EPERM;
}

SEC("lsm/socket_create")
int BPF_PROG(policy_socket_create, int family, int type, int protocol, int kern, int ret)
{
	struct policy_task *subject;
	struct policy_scratch *scratch;

	if (ret)
		return ret;
	subject = confined(bpf_get_current_task_btf());
	if (likely(!subject) || kern)
		return 0;
	if (is_canary(subject))
		return answer_policy_canary(subject, EVENT_LSM_SOCKET_CREATE);
	scratch = ask(KIND_NET, NET_CREATE);
	if (!scratch)
		return -EPERM;
	scratch->request.family = family;
	scratch->request.type = type;
	scratch->request.protocol = protocol_of(family, type, protocol);
	return answer_socket(subject, scratch, EVENT_LSM_SOCKET_CREATE);
}

SEC("lsm/socket_bind")
int BPF_PROG(policy_socket_bind, struct socket *sock, struct sockaddr *name, int length, int ret)
{
	return ret ? ret : decide_socket(sock, EVENT_LSM_SOCKET_BIND, SOCKET_ASK(NET_BIND, ADDRESS_GIVEN), (u64)name, length);
}

#include "policy_sctp.bpf.h"

/* An IP socket without a port gets one from the kernel here, of all addresses: that is a bind to port 0. */
static __always_inline u32 access_of_listen(struct socket *sock)
{
	struct sock *sk = sock->sk;

	return sk && is_ip(sk->__sk_common.skc_family) && !sk->__sk_common.skc_num ? NET_LISTEN | NET_BIND : NET_LISTEN;
}

SEC("lsm/socket_listen")
int BPF_PROG(policy_socket_listen, struct socket *sock, int backlog, int ret)
{
	if (ret)
		return ret;
	return decide_socket(sock, EVENT_LSM_SOCKET_LISTEN, SOCKET_ASK(access_of_listen(sock), ADDRESS_OWN), 0, 0);
}

SEC("lsm/socket_accept")
int BPF_PROG(policy_socket_accept, struct socket *sock, struct socket *fresh, int ret)
{
	return ret ? ret : decide_socket(sock, EVENT_LSM_SOCKET_ACCEPT, SOCKET_ASK(NET_ACCEPT, ADDRESS_NONE), 0, 0);
}

/* Without a family it takes a connection away: nothing that a rule could be about. */
SEC("lsm/socket_connect")
int BPF_PROG(policy_socket_connect, struct socket *sock, struct sockaddr *name, int length, int ret)
{
	u16 family = AF_UNSPEC;

	if (ret)
		return ret;
	bpf_probe_read_kernel(&family, sizeof(family), name);
	if (family == AF_UNSPEC)
		return 0;
	return decide_socket(sock, EVENT_LSM_SOCKET_CONNECT, SOCKET_ASK(NET_CONNECT, ADDRESS_GIVEN), (u64)name, length);
}

SEC("lsm/socket_shutdown")
int BPF_PROG(policy_socket_shutdown, struct socket *sock, int how, int ret)
{
	return ret ? ret : decide_socket(sock, EVENT_LSM_SOCKET_SHUTDOWN, SOCKET_ASK(NET_SHUTDOWN, ADDRESS_NONE), 0, 0);
}

/* Sending on a connected socket, receiving: what is kept, else the rules, and kept. */
static __noinline int decide_stream(struct policy_task *subject, struct socket *sock, struct sock *sk,
				    enum bpflock_event_type type, u32 access)
{
	struct policy_scratch *scratch;
	int answer;

	if (likely(settled_socket(subject, sk, access)))
		return 0;
	scratch = ask_socket(sock, sk, SOCKET_ASK(access, access & NET_SEND ? ADDRESS_PEER : ADDRESS_NONE), 0, 0);
	if (!scratch)
		return -EPERM;
	answer = answer_socket(subject, scratch, type);
	if (!answer)
		keep_socket(subject, sk, access, scratch);
	return answer;
}

SEC("lsm/socket_sendmsg")
int BPF_PROG(policy_socket_sendmsg, struct socket *sock, struct msghdr *message, int size, int ret)
{
	struct policy_task *subject;
	struct sock *sk;
	u32 access = NET_SEND;

	if (ret)
		return ret;
	subject = confined(bpf_get_current_task_btf());
	if (likely(!subject))
		return 0;
	sk = sock->sk;
	if (!sk || !sock->file)
		return 0;
	if (is_canary(subject))
		return answer_policy_canary(subject, EVENT_LSM_SOCKET_SENDMSG);
	if (message->msg_name) {
		/* A stream has its peer, and takes no other; unless this message connects it. */
		if (sk->sk_protocol == IPPROTO_SCTP || (sock->type == SOCK_STREAM && message->msg_flags & MSG_FASTOPEN))
			access |= NET_CONNECT;
		if (sk->sk_protocol == IPPROTO_SCTP && names_destinations(message))
			ret = decide_socket(sock, EVENT_LSM_SOCKET_SENDMSG, SOCKET_ASK(access, ADDRESS_NONE), 0, 0);
		if (ret)
			return ret;
		if (access & NET_CONNECT || sock->type != SOCK_STREAM)
			return decide_socket(sock, EVENT_LSM_SOCKET_SENDMSG, SOCKET_ASK(access, ADDRESS_GIVEN),
					     (u64)message->msg_name, message->msg_namelen);
	}
	return decide_stream(subject, sock, sk, EVENT_LSM_SOCKET_SENDMSG, NET_SEND);
}

SEC("lsm/socket_recvmsg")
int BPF_PROG(policy_socket_recvmsg, struct socket *sock, struct msghdr *message, int size, int flags, int ret)
{
	struct policy_task *subject;
	struct sock *sk;

	if (ret)
		return ret;
	subject = confined(bpf_get_current_task_btf());
	if (likely(!subject))
		return 0;
	sk = sock->sk;
	if (!sk || !sock->file)
		return 0;
	if (is_canary(subject))
		return answer_policy_canary(subject, EVENT_LSM_SOCKET_RECVMSG);
	return decide_stream(subject, sock, sk, EVENT_LSM_SOCKET_RECVMSG, NET_RECV);
}

/* Other processes. */

/*
 * What the other process of the request is to the subject's, and where its executable is, into scratch. instance: it runs
 * under the same profile, and the same executable. Without another it is not known, and only rules about any process match.
 */
__noinline u32 policy_peer(struct policy_scratch *scratch, u32 instance)
{
	struct task_struct *task, *peer;
	struct policy_request *request;
	struct vfsmount *mnt;
	struct file *exe;
	u32 tgid;

	if (!scratch)
		return 0;
	request = &scratch->request;
	task = (void *)request->task;
	peer = (void *)request->other;
	request->who = BIT(WHO_ANY);
	if (!peer)
		return 0;
	tgid = BPF_CORE_READ(task, tgid);
	request->peer = BPF_CORE_READ(peer, tgid);
	if (instance || request->peer == tgid)
		request->who |= BIT(WHO_SELF);
	if ((u32)BPF_CORE_READ(task, real_parent, tgid) == request->peer)
		request->who |= BIT(WHO_PARENT);
	if ((u32)BPF_CORE_READ(peer, real_parent, tgid) == tgid)
		request->who |= BIT(WHO_CHILD);
	exe = BPF_CORE_READ(peer, mm, exe_file);
	if (!exe)
		return 0;
	mnt = BPF_CORE_READ(exe, f_path.mnt);
	scratch->from_dentry = (u64)BPF_CORE_READ(exe, f_path.dentry);
	scratch->from_mount = (u64)mount_of((u64)mnt);
	scratch->from_root = (u64)BPF_CORE_READ(mnt, mnt_root);
	return 0;
}

static __always_inline bool is_instance(struct policy_task *subject, struct task_struct *peer)
{
	struct policy_task *other = bpf_task_storage_get(&policy_tasks, peer, 0, 0);

	return other && other->profile == subject->profile && other->exe == subject->exe;
}

/* A signal to a process, or to one that is not known; or, by a number above all signals, what stands beside them. */
static __noinline int decide_signal(struct policy_task *subject, struct task_struct *peer, bool instance, u32 number,
				    enum bpflock_event_type type)
{
	struct query query = { .type = type, .op = OP_SIGNAL, .access = number };
	struct policy_scratch *scratch;

	if (is_canary(subject))
		return answer_policy_canary(subject, type);
	scratch = ask(KIND_SIGNAL, number ? 1ULL << ((number - 1) & 63) : 1);
	if (!scratch)
		return -EPERM;
	scratch->request.extra = !number ? SIGNAL_CHECK : number > SIGNALS ? SIGNAL_LIMITS << (number - SIGNALS - 1) : 0;
	scratch->request.number = number;
	scratch->request.task = (u64)bpf_get_current_task_btf();
	scratch->request.other = (u64)peer;
	policy_peer(scratch, instance);
	query.object = (u64)scratch->request.peer << 8 | number;
	return answer_peer(subject, scratch, &query, true);
}

SEC("lsm/task_kill")
int BPF_PROG(policy_task_kill, struct task_struct *target, struct kernel_siginfo *info, int number,
	     const struct cred *cred, int ret)
{
	struct policy_task *subject;
	struct task_struct___flags *task = (void *)bpf_get_current_task_btf();
	u64 as = 0;

	if (ret)
		return ret;
	subject = confined(bpf_get_current_task_btf());
	if (likely(!subject))
		return 0;
	/*
	 * With credentials it is sent for somebody else than the current task; from one that ends, to a child that wished to be
	 * told. The argument is not read as such: the verifier takes it to be never NULL.
	 */
	bpf_get_func_arg(ctx, 3, &as);
	if (as || task->flags & PF_EXITING || (u32)number > SIGNALS)
		return 0;
	return decide_signal(subject, target, is_instance(subject, target), number, EVENT_LSM_TASK_KILL);
}

/* Whose signals a descriptor's are; 0 if nobody's. */
static __always_inline struct fown_struct *owner_of(struct file *file)
{
	struct file___pointer *pointer = (void *)file;

	if (bpf_core_field_exists(struct file___embedded, f_owner))
		return (void *)file + bpf_core_field_offset(struct file___embedded, f_owner);
	return BPF_CORE_READ(pointer, f_owner);
}

/*
 * Who gets the signals of a descriptor, and which one. The number of a process in the arguments is the own one, or
 * somebody's who is not looked up here; in user memory it could change.
 */
static __always_inline int decide_owner(struct file *file, enum bpflock_event_type type, bool is_number, int number)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct policy_task *subject = confined(task);
	struct fown_struct *owner;
	struct pid *pid, *own;
	u32 sends;
	bool self;

	if (likely(!subject))
		return 0;
	owner = owner_of(file);
	sends = owner ? BPF_CORE_READ(owner, signum) : 0;
	pid = owner ? BPF_CORE_READ(owner, pid) : 0;
	own = BPF_CORE_READ(task, group_leader, thread_pid);
	if (is_number) {
		/* Its number in its own pid namespace; a negative one is a group of processes. */
		u32 level = BPF_CORE_READ(own, level);
		int here = 0;

		bpf_probe_read_kernel(&here, sizeof(here),
				      (void *)own + bpf_core_field_offset(struct pid, numbers) +
					      level * bpf_core_type_size(struct upid) +
					      bpf_core_field_offset(struct upid, nr));
		self = !number || number == here;
	} else if (number >= 0) {
		/* Another signal, to whom it was. */
		self = !pid || pid == own || pid == BPF_CORE_READ(task, thread_pid);
		sends = number;
	} else {
		self = false;
	}
	/* Is above all signals: the kernel knows none. */
	if (sends > SIGNALS)
		return 0;
	return decide_signal(subject, self ? task : 0, false, sends ? sends : SIGIO, type);
}

/* By fcntl(2): true if the command is about that. */
static __always_inline bool sets_owner(u32 command)
{
	return command == F_SETOWN || command == F_SETOWN_EX || command == F_SETSIG;
}

struct peer_access {
	enum bpflock_event_type type;
	u32 access;
	bool silent;
	bool here;
};

/* What one process does to another, for one of the two. */
static __noinline int decide_ptrace(struct policy_task *subject, struct task_struct *of, struct task_struct *peer,
				    const struct peer_access *what)
{
	struct query query = { .type = what->type, .op = OP_PTRACE + bit_number(what->access), .access = what->access };
	struct policy_scratch *scratch;
	int answer;

	if (is_canary(subject))
		return what->here ? answer_policy_canary(subject, what->type) : 0;
	scratch = ask(KIND_PTRACE, what->access);
	if (!scratch)
		return -EPERM;
	scratch->request.silent = what->silent;
	scratch->request.task = (u64)of;
	scratch->request.other = (u64)peer;
	policy_peer(scratch, is_instance(subject, peer));
	/* Told is the other one than the task that the event is of. */
	if (!what->here)
		scratch->request.peer = of->tgid;
	query.object = scratch->request.peer;
	notice_taint(subject, of);
	answer = answer_peer(subject, scratch, &query, what->here);
	spread_taint(subject, of);
	if (what->here)
		subject->denied_read = answer && what->access == PTRACE_READ ? call_number(of) + 1 : 0;
	return answer;
}

/* One traces (or reads), the other is traced: both must be allowed to. */
static __always_inline int decide_tracing(struct task_struct *tracer, struct task_struct *traced, bool tracer_asks, bool attaches,
					  bool silent, enum bpflock_event_type type)
{
	struct policy_task *subject = confined(tracer);
	struct peer_access what = { .type = type, .silent = silent };
	int answer;

	if (unlikely(subject)) {
		what.access = attaches ? PTRACE_ATTACH : PTRACE_READ;
		what.here = tracer_asks;
		answer = decide_ptrace(subject, tracer, traced, &what);
		if (answer)
			return answer;
	}
	if (!attaches)
		return 0;
	subject = confined(traced);
	if (likely(!subject))
		return 0;
	what.access = PTRACE_TRACED;
	what.here = !tracer_asks;
	return decide_ptrace(subject, traced, tracer, &what);
}

SEC("lsm/ptrace_access_check")
int BPF_PROG(policy_ptrace_access_check, struct task_struct *child, unsigned int mode, int ret)
{
	if (ret)
		return ret;
	return decide_tracing(bpf_get_current_task_btf(), child, true, mode & PTRACE_MODE_ATTACH,
			      mode & PTRACE_MODE_NOAUDIT, EVENT_LSM_PTRACE_ACCESS_CHECK);
}

SEC("lsm/ptrace_traceme")
int BPF_PROG(policy_ptrace_traceme, struct task_struct *parent, int ret)
{
	if (ret)
		return ret;
	return decide_tracing(parent, bpf_get_current_task_btf(), false, true, false, EVENT_LSM_PTRACE_TRACEME);
}

/*
 * Files of a process below procfs are files, and may be allowed by their paths; besides, rules name them by what the
 * process is. The process of the inode is asked for each time: it may have ended, and its number may be another's.
 */
static __always_inline bool is_of_process(struct inode *inode)
{
	struct proc_inode *proc;

	if (likely(inode->i_sb->s_magic != PROC_SUPER_MAGIC))
		return false;
	proc = (void *)inode - bpf_core_field_offset(struct proc_inode, vfs_inode);
	return BPF_CORE_READ(proc, pid) != 0;
}

/* A request about a file of a process, at the address of its inode. */
__noinline u32 policy_ask_proc(struct policy_scratch *scratch, u32 access)
{
	struct proc_inode *proc;
	struct pid___tasks *pid;
	struct hlist_node *first;

	if (!scratch)
		return 0;
	proc = (void *)scratch->request.socket - bpf_core_field_offset(struct proc_inode, vfs_inode);
	__builtin_memset(&scratch->request, 0, sizeof(scratch->request));
	scratch->request.kind = KIND_PROC;
	scratch->request.asked = access;
	scratch->from_dentry = 0;
	pid = (void *)BPF_CORE_READ(proc, pid);
	first = pid ? BPF_CORE_READ(pid, tasks[0].first) : 0;
	scratch->request.task = (u64)bpf_get_current_task_btf();
	if (first)
		scratch->request.other = (u64)first - bpf_core_field_offset(struct task_struct___links, pid_links);
	return 0;
}

/* Adds what rules on procfs say to the rights in scratch. */
static __always_inline void add_proc(struct policy_task *subject, struct policy_scratch *scratch, struct inode *inode,
				     u32 access)
{
	u32 label = scratch->label, generation = scratch->generation;

	scratch->request.socket = (u64)inode;
	policy_ask_proc(scratch, access);
	policy_peer(scratch, 0);
	match_peer(subject, scratch, true);
	scratch->rights.allow |= scratch->request.allow;
	scratch->rights.audit |= scratch->request.audit;
	scratch->rights.taint |= scratch->request.taint;
	scratch->label = label;
	scratch->generation = generation;
}

#endif
