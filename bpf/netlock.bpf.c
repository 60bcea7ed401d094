// SPDX-License-Identifier: GPL-2.0
/*
 * netlock: nobody outside the host gets at the network by more than ordinary sockets, or offers a service on it.
 *
 *  lsm/socket_create     socket(2) and socketpair(2), also by io_uring, before the kernel loads a module for it: by family,
 *                        type and protocol. TCP, UDP, ping and Unix sockets are no operation: they leave at once.
 *  lsm/socket_bind       IP sockets bound to a port below 1024, also for UDP. The address is the kernel's own copy.
 *  lsm/socket_listen     IP sockets that accept connections.
 *
 * Sockets that the kernel makes for itself are none of the lock's business.
 * Not done here: addresses, connecting, sending; sockets that a task was given.
 */
#include "common.bpf.h"

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AF_KEY 15
#define AF_NETLINK 16
#define AF_PACKET 17
#define AF_RDS 21
#define AF_CAN 29
#define AF_TIPC 30
#define AF_BLUETOOTH 31
#define AF_RXRPC 33
#define AF_ALG 38
#define AF_NFC 39
#define AF_VSOCK 40
#define AF_KCM 41
#define AF_SMC 43
#define AF_XDP 44

#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_RAW 3
#define SOCK_SEQPACKET 5

#define IPPROTO_ICMP 1
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_ICMPV6 58
#define IPPROTO_SCTP 132
#define IPPROTO_MPTCP 262

#define NETLINK_ROUTE 0
#define NETLINK_SOCK_DIAG 4
#define NETLINK_XFRM 6
#define NETLINK_AUDIT 9
#define NETLINK_NETFILTER 12
#define NETLINK_KOBJECT_UEVENT 15
#define NETLINK_GENERIC 16

#define PRIVILEGED 1024

const volatile enum netlock_op operations; /* their names, for user space */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct sock_common {
	unsigned short skc_family;
	__u16 skc_num; /* the local port */
};
struct sock {
	struct sock_common __sk_common;
};
struct socket {
	short type;
	struct sock *sk;
};
#pragma clang attribute pop

#define ADDRESS_MIN 4 /* the family, and what is the port for IPv4 and for IPv6 */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct sockaddr {
	unsigned char sa_data[14];
};
#pragma clang attribute pop

static __always_inline u32 netlink_op(int protocol)
{
	switch (protocol) {
	case NETLINK_ROUTE:
		return NETLOCK_NETLINK_ROUTE;
	case NETLINK_SOCK_DIAG:
		return NETLOCK_NETLINK_DIAG;
	case NETLINK_XFRM:
		return NETLOCK_NETLINK_XFRM;
	case NETLINK_AUDIT:
		return NETLOCK_NETLINK_AUDIT;
	case NETLINK_NETFILTER:
		return NETLOCK_NETLINK_NETFILTER;
	case NETLINK_KOBJECT_UEVENT:
		return NETLOCK_NETLINK_UEVENT;
	case NETLINK_GENERIC:
		return NETLOCK_NETLINK_GENERIC;
	default:
		return NETLOCK_NETLINK_OTHER;
	}
}

static __always_inline u32 ip_op(int type, int protocol)
{
	if (type == SOCK_RAW)
		return NETLOCK_RAW;
	if (protocol == IPPROTO_MPTCP)
		return NETLOCK_MPTCP;
	if (protocol == IPPROTO_SCTP || (type == SOCK_SEQPACKET && !protocol))
		return NETLOCK_SCTP;
	return NETLOCK_PROTOCOL_OTHER;
}

static __always_inline u32 op_of(int family, int type, int protocol)
{
	switch (family) {
	case AF_INET:
	case AF_INET6:
		return ip_op(type, protocol);
	case AF_NETLINK:
		return netlink_op(protocol);
	case AF_PACKET:
		return NETLOCK_PACKET;
	case AF_BLUETOOTH:
		return NETLOCK_BLUETOOTH;
	case AF_VSOCK:
		return NETLOCK_VSOCK;
	case AF_ALG:
		return NETLOCK_ALG;
	case AF_CAN:
		return NETLOCK_CAN;
	case AF_XDP:
		return NETLOCK_XDP;
	case AF_KEY:
		return NETLOCK_KEY;
	case AF_TIPC:
		return NETLOCK_TIPC;
	case AF_RDS:
		return NETLOCK_RDS;
	case AF_NFC:
		return NETLOCK_NFC;
	case AF_SMC:
		return NETLOCK_SMC;
	case AF_KCM:
		return NETLOCK_KCM;
	case AF_RXRPC:
		return NETLOCK_RXRPC;
	default:
		return NETLOCK_FAMILY_OTHER;
	}
}

static __always_inline bool is_ip(int family)
{
	return family == AF_INET || family == AF_INET6;
}

static __always_inline bool is_ordinary(int family, int type, int protocol)
{
	if (family == AF_UNIX)
		return true;
	return is_ip(family) && (type == SOCK_STREAM || type == SOCK_DGRAM) &&
	       (!protocol || protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_ICMP ||
		protocol == IPPROTO_ICMPV6);
}

SEC("lsm/socket_create")
int BPF_PROG(netlock_socket_create, int family, int type, int protocol, int kern, int ret)
{
	struct access access = { .lock = LOCK_NETLOCK, .type = EVENT_LSM_SOCKET_CREATE };

	if (ret)
		return ret;
	if (likely(is_ordinary(family, type, protocol)) || kern)
		return 0;
	access.op = forget(op_of(family, type, protocol));
	access.object = (u64)(u32)protocol << 32 | (u32)type << 16 | (u16)family;
	return enforce(&access);
}

SEC("lsm/socket_bind")
int BPF_PROG(netlock_socket_bind, struct socket *sock, struct sockaddr *name, int length, int ret)
{
	struct access access = { .lock = LOCK_NETLOCK, .type = EVENT_LSM_SOCKET_BIND, .op = NETLOCK_BIND_PRIVILEGED };
	struct sock *sk; /* NULL only while the socket is closed: nothing to bind or to listen on */
	u32 port;

	if (ret)
		return ret;
	sk = sock->sk;
	if (likely(!sk || !is_ip(sk->__sk_common.skc_family)))
		return ignore(LOCK_NETLOCK); /* the canary has Unix sockets only */
	/* What is shorter is no address of IP's. It is the kernel's copy. */
	if (length < ADDRESS_MIN)
		return 0;
	port = name->sa_data[0] << 8 | name->sa_data[1];
	if (likely(!port || port >= PRIVILEGED))
		return 0;
	access.object = port;
	return enforce(&access);
}

SEC("lsm/socket_listen")
int BPF_PROG(netlock_socket_listen, struct socket *sock, int backlog, int ret)
{
	struct access access = { .lock = LOCK_NETLOCK, .type = EVENT_LSM_SOCKET_LISTEN, .op = NETLOCK_LISTEN };
	struct sock *sk;
	u32 port;

	if (ret)
		return ret;
	sk = sock->sk;
	/* Datagram and raw sockets cannot listen. */
	if (!sk || !is_ip(sk->__sk_common.skc_family) || sock->type == SOCK_DGRAM || sock->type == SOCK_RAW)
		return ignore(LOCK_NETLOCK); /* the canary has Unix sockets only */
	port = sk->__sk_common.skc_num;
	if (port && port < PRIVILEGED)
		access.op = NETLOCK_LISTEN_PRIVILEGED;
	access.op = forget(access.op);
	access.object = port;
	return enforce(&access);
}
