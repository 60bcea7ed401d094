# SPDX-License-Identifier: Apache-2.0
"""netlock: sockets that are more than ordinary, and services. See bpf/netlock.bpf.c."""

from bpflock.locks.model import Level, Lock, Operation, Profile, Settings

_NETLINK = (
    Operation("netlink_route", "netlink: interfaces, addresses, routes, traffic control", "netlink route socket"),
    Operation("netlink_diag", "netlink: list sockets", "netlink sock_diag socket"),
    Operation("netlink_xfrm", "netlink: IPsec", "netlink xfrm socket"),
    Operation("netlink_audit", "netlink: the audit system", "netlink audit socket"),
    Operation("netlink_netfilter", "netlink: firewall, connection tracking", "netlink netfilter socket"),
    Operation("netlink_uevent", "netlink: events of devices", "netlink uevent socket"),
    Operation(
        "netlink_generic", "netlink: what registers itself there (WireGuard, Wi-Fi, ...)", "netlink generic socket"
    ),
    Operation("netlink_other", "netlink: any other protocol", "netlink socket"),
)
_FAMILIES = (
    Operation("bluetooth", "a Bluetooth socket", "bluetooth socket"),
    Operation("vsock", "a socket to virtual machines and the hypervisor", "vsock socket"),
    Operation("alg", "a socket of the kernel's cryptography (AF_ALG)", "alg socket"),
    Operation("can", "a CAN bus socket", "can socket"),
    Operation("xdp", "a socket past the network stack (AF_XDP)", "xdp socket"),
    Operation("key", "a socket of IPsec's keys (AF_KEY)", "key socket"),
    Operation("tipc", "a TIPC socket", "tipc socket"),
    Operation("rds", "an RDS socket", "rds socket"),
    Operation("nfc", "an NFC socket", "nfc socket"),
    Operation("smc", "an SMC socket", "smc socket"),
    Operation("kcm", "a KCM socket", "kcm socket"),
    Operation("rxrpc", "an RxRPC socket", "rxrpc socket"),
    Operation("family_other", "a socket of any other family than IP, Unix and those above", "socket of a rare family"),
)
_SERVICES = (
    Operation("listen", "accept connections on a port from 1024 on", "listening"),
    Operation(
        "listen_privileged",
        "accept connections on a port below 1024",
        "listening on a privileged port",
        requires=("bind_privileged",),
    ),
    Operation("bind_privileged", "bind an IP socket, TCP or UDP, to a port below 1024", "binding a privileged port"),
)
_NAMES = {
    "@netlink": tuple(operation.name for operation in _NETLINK),
    "@families": tuple(operation.name for operation in _FAMILIES),
    "@services": tuple(operation.name for operation in _SERVICES),
}
# What images expect: services, looking at interfaces and sockets, events of devices (libusb), ping.
_ORDINARY = (
    *_NAMES["@services"],
    "netlink_diag",
    "netlink_generic",
    "netlink_route",
    "netlink_uevent",
    "raw",
    "sctp",
    "mptcp",
)
_STRICT = (*_NAMES["@services"], "netlink_route")

NETLOCK = Lock(
    name="netlock",
    summary="sockets that are more than ordinary, and services",
    operations=(
        Operation("raw", "a raw IP socket", "raw socket"),
        Operation("packet", "a socket that sees and sends whole frames", "packet socket"),
        *_NETLINK,
        *_FAMILIES,
        Operation("mptcp", "a Multipath TCP socket", "mptcp socket"),
        Operation("sctp", "an SCTP socket", "sctp socket"),
        Operation(
            "protocol_other",
            "an IP socket that is not TCP, UDP, ping or one of those above",
            "socket of a rare protocol",
        ),
        *_SERVICES,
    ),
    levels={
        Level.PRIVILEGED: Settings(Profile.ALLOW),
        Level.BASELINE: Settings(Profile.BASELINE, allow=tuple(sorted(_ORDINARY))),
        Level.RESTRICTED: Settings(Profile.BASELINE, allow=tuple(sorted(_STRICT))),
    },
    groups=_NAMES,
)
