// SPDX-License-Identifier: GPL-2.0
/*
 * netlock: nobody outside the host gets at the network by more than ordinary sockets, or offers a service on it.
 *
 *  lsm/socket_create     socket(2) and socketpair(2), also by io_uring, before the kernel loads a module for it: by family,
 *                        type and protocol. TCP, UDP, ping and Unix sockets are no operation: they leave at once.
 *  lsm/socket_bind       IP sockets bound to a port below 1024, also for UDP, or to one that the kernel may choose from such.
 *                        The address is the kernel's own copy.
 *  lsm/socket_listen     IP sockets that accept connections.
 *
 * Sockets that the kernel makes for itself are none of the lock's business.
 * Not done here: addresses, connecting, sending; sockets that a task was given.
 */
#define EPROTONOSUPPORT 93

/* Of a kernel without audit, as programs know it: libaudit goes on, while EPERM ends useradd, su and others. */
#define OTHER_ERROR EPROTONOSUPPORT
#define ERROR_OF(op) ((op) == NETLOCK_NETLINK_AUDIT ? OTHER_ERROR : EPERM)

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
#define CHOSEN_PRIVILEGED (1ULL << 48) /* of a socket without a port: beside its family in the object */

const volatile enum netlock_op operations; /* their names, for user space */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
/* The ports that the kernel chooses from: an array before Linux 6.8, since then one word, the highest in its upper half. */
struct local_ports___array {
	int range[2];
};
struct netns_ipv4___array {
	struct local_ports___array ip_local_ports;
};
struct net___array {
	struct netns_ipv4___array ipv4;
};
struct local_ports___word {
	u32 range;
};
struct netns_ipv4___word {
	struct local_ports___word ip_local_ports;
};
struct net___word {
	struct netns_ipv4___word ipv4;
};
typedef struct {
	struct net *net;
} possible_net_t;
struct sock_common {
	unsigned short skc_family;
	__u16 skc_num; /* the local port */
	possible_net_t skc_net;
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

/* By number; 0, which is an operation of IP's, stands for what is not among them. */
const volatile u8 netlink_ops[32] = {
	[NETLINK_ROUTE] = NETLOCK_NETLINK_ROUTE,
	[NETLINK_SOCK_DIAG] = NETLOCK_NETLINK_DIAG,
	[NETLINK_XFRM] = NETLOCK_NETLINK_XFRM,
	[NETLINK_AUDIT] = NETLOCK_NETLINK_AUDIT,
	[NETLINK_NETFILTER] = NETLOCK_NETLINK_NETFILTER,
	[NETLINK_KOBJECT_UEVENT] = NETLOCK_NETLINK_UEVENT,
	[NETLINK_GENERIC] = NETLOCK_NETLINK_GENERIC,
};

const volatile u8 family_ops[64] = {
	[AF_PACKET] = NETLOCK_PACKET,
	[AF_BLUETOOTH] = NETLOCK_BLUETOOTH,
	[AF_VSOCK] = NETLOCK_VSOCK,
	[AF_ALG] = NETLOCK_ALG,
	[AF_CAN] = NETLOCK_CAN,
	[AF_XDP] = NETLOCK_XDP,
	[AF_KEY] = NETLOCK_KEY,
	[AF_TIPC] = NETLOCK_TIPC,
	[AF_RDS] = NETLOCK_RDS,
	[AF_NFC] = NETLOCK_NFC,
	[AF_SMC] = NETLOCK_SMC,
	[AF_KCM] = NETLOCK_KCM,
	[AF_RXRPC] = NETLOCK_RXRPC,
};

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

static __always_inline bool is_ip(int family)
{
	return family == AF_INET || family == AF_INET6;
}

static __always_inline bool is_ordinary(int type, int protocol)
{
	return (type == SOCK_STREAM || type == SOCK_DGRAM) &&
	       (!protocol || protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_ICMP ||
		protocol == IPPROTO_ICMPV6);
}

static __always_inline u32 netlink_op(u32 protocol)
{
	u32 op = protocol < sizeof(netlink_ops) ? netlink_ops[protocol] : 0;

	return op ? op : NETLOCK_NETLINK_OTHER;
}

static __always_inline u32 other_op(u32 family)
{
	u32 op = family < sizeof(family_ops) ? family_ops[family] : 0;

	return op ? op : NETLOCK_FAMILY_OTHER;
}

/*
 * Whether the kernel may choose a privileged port where none is named: a network namespace has its own range, which its root
 * sets. A socket's own range (IP_LOCAL_PORT_RANGE) lies in it.
 */
static __always_inline bool chooses_privileged(struct sock *sk)
{
	struct net *net = sk->__sk_common.skc_net.net;
	u32 lowest = 0;

	if (bpf_core_field_exists(struct local_ports___array, range))
		lowest = BPF_CORE_READ((struct net___array *)net, ipv4.ip_local_ports.range[0]);
	else if (bpf_core_field_exists(struct local_ports___word, range))
		lowest = BPF_CORE_READ((struct net___word *)net, ipv4.ip_local_ports.range) & 0xffff;
	return lowest < PRIVILEGED;
}

SEC("lsm/socket_create")
int BPF_PROG(netlock_socket_create, int family, int type, int protocol, int kern, int ret)
{
	struct access access = { .lock = LOCK_NETLOCK, .type = EVENT_LSM_SOCKET_CREATE };

	if (ret)
		return ret;
	if (likely(family == AF_UNIX))
		return 0;
	if (is_ip(family)) {
		if (likely(is_ordinary(type, protocol)))
			return 0;
		access.op = forget(ip_op(type, protocol));
	} else {
		access.op = family == AF_NETLINK ? netlink_op(protocol) : other_op(family);
	}
	asm volatile("" : "+r"(kern)); /* compared as the 32 bits that it is */
	if (kern)
		return 0;
	/* The kernel has looked at the first two: they are small. */
	access.object = (u64)(u32)protocol << 32 | (u32)(type << 16 | family);
	return enforce_often(&access);
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
	if (likely(port >= PRIVILEGED || (!port && !chooses_privileged(sk))))
		return 0;
	access.object = port;
	return enforce(&access);
}

SEC("lsm/socket_listen")
int BPF_PROG(netlock_socket_listen, struct socket *sock, int backlog, int ret)
{
	struct access access = { .lock = LOCK_NETLOCK, .type = EVENT_LSM_SOCKET_LISTEN, .op = NETLOCK_LISTEN };
	u32 port, type, family;
	struct sock *sk;
	u64 object;

	if (ret)
		return ret;
	sk = sock->sk;
	if (!sk)
		return ignore(LOCK_NETLOCK);
	port = sk->__sk_common.skc_num;
	object = (u64)sk->__sk_common.skc_family << 32 | (u64)(u16)sock->type << 16 | port;
	asm volatile("" : "+r"(object)); /* the three of them from here, not from three registers that must be saved */
	if (unlikely(!port && chooses_privileged(sk)))
		object |= CHOSEN_PRIVILEGED;
	access.object = object;
	/* First the one that is not privileged again: of another kind, the object is another. */
	if (likely(passes_again(bpf_get_current_task_btf(), NETLOCK_LISTEN, access.object)))
		return 0;
	family = object >> 32 & 0xffff;
	type = object >> 16 & 0xffff;
	port = object & 0xffff;
	/* Datagram and raw sockets cannot listen. */
	if (!is_ip(family) || type == SOCK_DGRAM || type == SOCK_RAW)
		return ignore(LOCK_NETLOCK); /* the canary has Unix sockets only */
	if (port ? port < PRIVILEGED : object & CHOSEN_PRIVILEGED)
		access.op = NETLOCK_LISTEN_PRIVILEGED;
	access.op = forget(access.op);
	return enforce(&access);
}
