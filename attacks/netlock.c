/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets of every kind that netlock knows, and services on them. */
#include "attack.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* What it got is a socket of that family, and of that type if the kernel has not another idea of it. */
static enum result check_socket(const char *what, int fd, int family)
{
	int domain = -1;
	socklen_t size = sizeof(domain);
	enum result result;

	if (fd < 0)
		return refused("%s", what);
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 || domain != family)
		result = failed("%s: it is of family %d", what, domain);
	else
		result = ok("%s gave a socket", what);
	shut(fd);
	return result;
}

static enum result get_socket(const char *what, int family, int type, int protocol)
{
	return check_socket(what, socket(family, type | SOCK_CLOEXEC, protocol), family);
}

#define SOCKET(name, family, type, protocol) \
	static enum result name(const char *arg) \
	{ \
		(void)arg; \
		return get_socket("socket(" #family ", " #type ", " #protocol ")", family, type, protocol); \
	}
SOCKET(raw, AF_INET, SOCK_RAW, IPPROTO_ICMP)
SOCKET(raw6, AF_INET6, SOCK_RAW, IPPROTO_RAW)
SOCKET(packet, AF_PACKET, SOCK_RAW, 0)
SOCKET(netlink_diag, AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG)
SOCKET(netlink_xfrm, AF_NETLINK, SOCK_RAW, NETLINK_XFRM)
SOCKET(netlink_netfilter, AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER)
SOCKET(netlink_uevent, AF_NETLINK, SOCK_DGRAM, NETLINK_KOBJECT_UEVENT)
SOCKET(netlink_generic, AF_NETLINK, SOCK_RAW, NETLINK_GENERIC)
SOCKET(netlink_other, AF_NETLINK, SOCK_RAW, NETLINK_USERSOCK)
SOCKET(bluetooth, AF_BLUETOOTH, SOCK_RAW, 1)
SOCKET(vsock, AF_VSOCK, SOCK_STREAM, 0)
SOCKET(alg, AF_ALG, SOCK_SEQPACKET, 0)
SOCKET(can_raw, AF_CAN, SOCK_RAW, 1)
SOCKET(xdp, AF_XDP, SOCK_RAW, 0)
SOCKET(key, AF_KEY, SOCK_RAW, 2)
SOCKET(tipc, AF_TIPC, SOCK_RDM, 0)
SOCKET(mptcp, AF_INET, SOCK_STREAM, IPPROTO_MPTCP)
SOCKET(sctp, AF_INET, SOCK_SEQPACKET, 0)
SOCKET(udplite, AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE)
SOCKET(l2tp, AF_INET, SOCK_DGRAM, 115)
SOCKET(appletalk, AF_APPLETALK, SOCK_DGRAM, 0)

/* It is denied as by a kernel without audit. */
static enum result netlink_audit(const char *arg)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_AUDIT);

	(void)arg;
	if (fd < 0 && errno == EPROTONOSUPPORT)
		return denied("socket(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT): EPROTONOSUPPORT");
	return check_socket("socket(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT)", fd, AF_NETLINK);
}

/* Before Linux 2.2 packet sockets were asked for so, and they still are. */
static enum result sock_packet(const char *arg)
{
	(void)arg;
	return check_socket("socket(AF_INET, SOCK_PACKET, 0)", socket(AF_INET, 10 | SOCK_CLOEXEC, 0), AF_PACKET);
}

/* Has the kernel list its interfaces. */
static enum result netlink_route(const char *arg)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg body;
	} request = { { sizeof(request), RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0 }, { .ifi_family = AF_UNSPEC } };
	char answer[8192];
	enum result result;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	(void)arg;
	if (fd < 0)
		return refused("socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)");
	if (send(fd, &request, sizeof(request), 0) < 0 ||
	    recv(fd, answer, sizeof(answer), 0) < (ssize_t)sizeof(struct nlmsghdr))
		result = refused("listing the interfaces");
	else if (((struct nlmsghdr *)answer)->nlmsg_type != RTM_NEWLINK)
		result = failed("the kernel listed no interface");
	else
		result = ok("the kernel listed its interfaces");
	shut(fd);
	return result;
}

static enum result bind_to(int fd, int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	int on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return refused("bind(port %d)", port);
	return ok("bound to port %d", port);
}

static enum result listen_on(int port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), listening = 0;
	socklen_t size = sizeof(listening);
	enum result result;

	if (fd < 0)
		return refused("socket");
	result = port ? bind_to(fd, port) : OK;
	if (result == OK && listen(fd, 1) < 0)
		result = refused("listen(port %d)", port);
	else if (result == OK && (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0 || !listening))
		result = failed("listen(port %d): it does not listen", port);
	else if (result == OK)
		result = ok("it listens on port %d", port);
	shut(fd);
	return result;
}

static enum result listen_any(const char *arg)
{
	(void)arg;
	return listen_on(0);
}

static enum result listen_privileged(const char *arg)
{
	(void)arg;
	return listen_on(7);
}

static enum result bind_privileged(const char *arg)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	enum result result = fd < 0 ? refused("socket") : bind_to(fd, 7);

	(void)arg;
	shut(fd);
	return result;
}

const struct attack netlock_attacks[] = {
	{ "raw", "netlock", "raw", "a raw socket", raw },
	{ "raw6", "netlock", "raw", "a raw socket of IPv6", raw6 },
	{ "packet", "netlock", "packet", "a packet socket", packet },
	{ "sock_packet", "netlock", "packet", "a packet socket as it was asked for before Linux 2.2", sock_packet },
	{ "netlink_route", "netlock", "netlink_route", "list the interfaces by netlink", netlink_route },
	{ "netlink_diag", "netlock", "netlink_diag", "a netlink socket that lists sockets", netlink_diag },
	{ "netlink_xfrm", "netlock", "netlink_xfrm", "a netlink socket of IPsec", netlink_xfrm },
	{ "netlink_audit", "netlock", "netlink_audit", "a netlink socket of audit", netlink_audit },
	{ "netlink_netfilter", "netlock", "netlink_netfilter", "a netlink socket of netfilter", netlink_netfilter },
	{ "netlink_uevent", "netlock", "netlink_uevent", "a netlink socket of device events", netlink_uevent },
	{ "netlink_generic", "netlock", "netlink_generic", "a generic netlink socket", netlink_generic },
	{ "netlink_other", "netlock", "netlink_other", "a netlink socket of user space", netlink_other },
	{ "bluetooth", "netlock", "bluetooth", "a Bluetooth HCI socket", bluetooth },
	{ "vsock", "netlock", "vsock", "a vsock socket", vsock },
	{ "alg", "netlock", "alg", "an AF_ALG socket", alg },
	{ "can_raw", "netlock", "can", "a CAN socket", can_raw },
	{ "xdp", "netlock", "xdp", "an AF_XDP socket", xdp },
	{ "key", "netlock", "key", "an AF_KEY socket", key },
	{ "tipc", "netlock", "tipc", "a TIPC socket", tipc },
	{ "mptcp", "netlock", "mptcp", "a Multipath TCP socket", mptcp },
	{ "sctp", "netlock", "sctp", "an SCTP socket", sctp },
	{ "udplite", "netlock", "protocol_other", "a UDP-Lite socket", udplite },
	{ "l2tp", "netlock", "protocol_other", "an L2TP socket", l2tp },
	{ "appletalk", "netlock", "family_other", "an AppleTalk socket", appletalk },
	{ "listen_any", "netlock", "listen", "listen(2) on any port", listen_any },
	{ "listen_privileged", "netlock", "listen_privileged", "listen(2) on port 7", listen_privileged },
	{ "bind_privileged", "netlock", "bind_privileged", "bind(2) of a UDP socket to port 7", bind_privileged },
	{},
};
