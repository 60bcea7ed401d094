# SPDX-License-Identifier: Apache-2.0
"""The words of the language, and what they stand for."""

import signal
import socket

from bpflock.policy.model import CHECK, LIMITS, MEMORY, PRIORITY, FileAccess, NetAccess, Operation, PtraceAccess, Who
from bpflock.policy.model import SIGNALS as ALL_SIGNALS

_CREATING = FileAccess.CREATE

# What a word allows. Whoever may write may append, and make what is not there yet.
FILE = {
    "read": FileAccess.READ,
    "write": FileAccess.WRITE | FileAccess.APPEND | _CREATING,
    "append": FileAccess.APPEND | _CREATING,
    "exec": FileAccess.EXEC,
    "setattr": FileAccess.SETATTR,
    "getattr": FileAccess.GETATTR,
    "rm": FileAccess.RM,
    "link": FileAccess.LINK,
    "ioctl": FileAccess.IOCTL,
    "create": FileAccess.CREATE,
    "any": FileAccess(1023),
}
NET = {access.name.lower(): access for access in NetAccess if access.name} | {"any": NetAccess(255)}
PTRACE = {access.name.lower(): access for access in PtraceAccess if access.name} | {"any": PtraceAccess(7)}
OPERATION = {access.name.lower(): access for access in Operation if access.name} | {"any": Operation(511)}
WHO = {who.value: who for who in Who if who is not Who.EXE}

# The accesses that have an address: the peer's, and the own one.
NET_TO = NetAccess.CONNECT | NetAccess.SEND
NET_AT = NetAccess.BIND | NetAccess.LISTEN

# AF_*: not all of them are in every Python.
FAMILIES = {
    "unix": 1,
    "inet": 2,
    "ax25": 3,
    "ipx": 4,
    "appletalk": 5,
    "x25": 9,
    "inet6": 10,
    "key": 15,
    "netlink": 16,
    "packet": 17,
    "rds": 21,
    "pppox": 24,
    "llc": 26,
    "ib": 27,
    "can": 29,
    "tipc": 30,
    "bluetooth": 31,
    "rxrpc": 33,
    "phonet": 35,
    "ieee802154": 36,
    "alg": 38,
    "nfc": 39,
    "vsock": 40,
    "kcm": 41,
    "qipcrtr": 42,
    "smc": 43,
    "xdp": 44,
    "mctp": 45,
}
TYPES = {"stream": 1, "dgram": 2, "raw": 3, "rdm": 4, "seqpacket": 5, "dccp": 6, "packet": 10}
PROTOCOLS = {
    "icmp": 1,
    "igmp": 2,
    "tcp": 6,
    "udp": 17,
    "dccp": 33,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "icmpv6": 58,
    "sctp": 132,
    "udplite": 136,
    "raw": 255,
    "mptcp": 262,
}

_HARMLESS = {"SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGWINCH"}
SIGNALS = {
    name.lower(): int(number)
    for name, number in signal.Signals.__members__.items()
    if name not in ("SIGRTMIN", "SIGRTMAX", "SIGCLD", "SIGPOLL")
} | {"sigrtmin": 32, "sigrtmax": 64}
# What ends a process that does not handle it.
FATAL = frozenset(range(1, 65)) - {int(signal.Signals[name]) for name in _HARMLESS}
# What stands beside signals: done to another process as they are.
BESIDE_SIGNALS = {"check": CHECK, "limits": LIMITS, "priority": PRIORITY, "memory": MEMORY}
SIGNAL_GROUPS = {name: frozenset({number}) for name, number in BESIDE_SIGNALS.items()} | {
    "fatal": FATAL,
    "any": ALL_SIGNALS,
}
SIGNAL_NAMES = {number: name for name, number in (*reversed(SIGNALS.items()), *BESIDE_SIGNALS.items())}

_CAPABILITIES = (
    "chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap "
    "linux_immutable net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner "
    "sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice "
    "sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap "
    "mac_override mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf "
    "checkpoint_restore"
)
CAPABILITIES = {name: number for number, name in enumerate(_CAPABILITIES.split(" "))}

# Every rule, and how it is written.
RULES = {
    "fs": 'fs("/path/glob", read|write)',
    "proc": 'proc("/path/of/executable"|self, read)',
    "net": 'net(inet, connect, to="10.0.0.0/8:443")',
    "signal": "signal(child, sigterm)",
    "ptrace": 'ptrace("/path/of/executable", read)',
    "capability": "capability(net_bind_service)",
    "operation": "operation(mount)",
}
DIRECTIVES = {
    "allow": "#[allow]",
    "audit": "#[audit]",
    "taint": "#[taint]",
    "transition": "#[transition]",
    "untaint": "#[untaint]",
    "own": "#[own]",
    "func": '#[func "NAME" ("LIBRARY")]',
    "kfunc": '#[kfunc "NAME"]',
}
HEADERS = {
    "profile": '#![profile "/path/of/executable"]',
    "complain": "#![complain]",
    "use": "#![use base]",
    "include": '#![include "FILE"]',
}

assert FAMILIES["inet6"] == socket.AF_INET6
