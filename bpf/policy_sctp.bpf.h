/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The part of the policy engine for what only SCTP does: one call that names several addresses. Each must be allowed.
 *
 *  lsm/sctp_bind_connect   sctp_connectx(3) and sctp_bindx(3). The kernel asks the hook also about what the peer wishes, and then
 *                          the current task is anybody: that, the choice among addresses that are there already, and what
 *                          lsm/socket_sendmsg was asked about is not decided here.
 *  names_destinations()    for lsm/socket_sendmsg: further addresses of the peer in control messages.
 */
#ifndef BPFLOCK_POLICY_SCTP_BPF_H
#define BPFLOCK_POLICY_SCTP_BPF_H

#define SCTP_SOCKOPT_BINDX_ADD 100
#define SCTP_SOCKOPT_CONNECTX 110
#define SCTP_DSTADDRV4 7
#define SCTP_DSTADDRV6 8
#define SOCKADDR_IN6 28
#define ADDRESSES_MAX 16 /* what names more is asked about as if it named none */
#define CONTROL_MESSAGES_MAX 8

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct sock___socket {
	struct socket *sk_socket;
};
struct msghdr___control {
	void *msg_control;
	unsigned long msg_controllen;
};
#pragma clang attribute pop

struct control_message {
	u64 length;
	u32 level;
	u32 type;
};

SEC("lsm/sctp_bind_connect")
int BPF_PROG(policy_sctp_bind_connect, struct sock *sk, int option, struct sockaddr *addresses, int length, int ret)
{
	u32 access = option == SCTP_SOCKOPT_CONNECTX ? NET_CONNECT : option == SCTP_SOCKOPT_BINDX_ADD ? NET_BIND : 0;
	u64 at = 0, end;
	struct socket *sock;

	if (ret)
		return ret;
	if (likely(!access || !confined(bpf_get_current_task_btf())))
		return 0;
	/* Not the argument as such: the verifier does not calculate with pointers to the kernel's types. */
	bpf_get_func_arg(ctx, 2, &at);
	end = at + (u32)length;
	sock = ((struct sock___socket *)sk)->sk_socket;
	if (!sock)
		return 0;
	for (u32 i = 0; i < ADDRESSES_MAX; i++) {
		u16 family = 0;
		u32 size;

		if (at >= end)
			return 0;
		bpf_probe_read_kernel(&family, sizeof(family), (void *)at);
		size = family == AF_INET ? SOCKADDR_IN : SOCKADDR_IN6;
		ret = decide_socket(sock, EVENT_LSM_SCTP_BIND_CONNECT, SOCKET_ASK(access, ADDRESS_GIVEN), at, size);
		if (ret)
			return ret;
		at += size;
	}
	if (at >= end)
		return 0;
	return decide_socket(sock, EVENT_LSM_SCTP_BIND_CONNECT, SOCKET_ASK(access, ADDRESS_NONE), 0, 0);
}

/* Whether a message names more destinations than one, as far as can be told. */
static __always_inline bool names_destinations(struct msghdr *message)
{
	struct msghdr___control *with = (void *)message;
	u64 at = (u64)with->msg_control, end = at + with->msg_controllen;

	for (u32 i = 0; i < CONTROL_MESSAGES_MAX; i++) {
		struct control_message found = {};

		if (!at || at + sizeof(found) > end)
			return false;
		bpf_probe_read_kernel(&found, sizeof(found), (void *)at);
		if (found.level == IPPROTO_SCTP && (found.type == SCTP_DSTADDRV4 || found.type == SCTP_DSTADDRV6))
			return true;
		if (found.length < sizeof(found))
			return false; /* the kernel will not take it */
		at += (found.length + 7) & ~7ULL;
	}
	return true;
}

#endif
