# SPDX-License-Identifier: Apache-2.0
"""Which services listen on the network without a policy: what `aa-unconfined` shows for AppArmor."""

import contextlib
import ipaddress
import struct
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

# proc(5), net/tcp and net/udp. A UDP socket that is not connected is in the state that a closed TCP socket is in.
_TABLES = (("tcp", "tcp", "0A"), ("tcp6", "tcp", "0A"), ("udp", "udp", "07"), ("udp6", "udp", "07"))
_SOCKET = "socket:["


@dataclass(frozen=True)
class Service:
    """A process that listens. `addresses`: such as `tcp 0.0.0.0:80`, in the network namespace of the caller."""

    executable: str
    process: int
    addresses: tuple[str, ...]


def uncovered(confined: Container[int], proc: Path = Path("/proc")) -> list[Service]:
    """The services that no policy covers, by executable. `confined`: the tgids of all tasks that run under a policy.

    A process that ends meanwhile is left out.
    """
    listening = dict(_listening(proc))
    found = []
    for directory in proc.iterdir() if listening else ():
        if not directory.name.isdecimal() or int(directory.name) in confined:
            continue
        with contextlib.suppress(OSError):
            if addresses := sorted({listening[inode] for inode in _sockets(directory) if inode in listening}):
                executable = str((directory / "exe").readlink())
                found.append(Service(executable, int(directory.name), tuple(addresses)))
    return sorted(found, key=lambda service: (service.executable, service.process))


def _listening(proc: Path) -> Iterator[tuple[str, str]]:
    """The inode and the address of each socket."""
    for name, protocol, state in _TABLES:
        with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
            for line in (proc / "self/net" / name).read_text().splitlines()[1:]:
                _, local, _, is_in, *others = line.split()
                if is_in == state:
                    yield others[5], f"{protocol} {_address(local)}"


def _address(text: str) -> str:
    """`0100007F:0050` is 127.0.0.1:80: the words of the address are in the machine's own byte order."""
    words, _, port = text.partition(":")
    packed = b"".join(struct.pack("=I", int(words[at : at + 8], 16)) for at in range(0, len(words), 8))
    address = ipaddress.ip_address(packed)
    host = f"[{address}]" if address.version == 6 else str(address)
    return f"{host}:{int(port, 16)}"


def _sockets(process: Path) -> Iterator[str]:
    """The inodes of the sockets that a process has open."""
    for descriptor in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            target = str(descriptor.readlink())
            if target.startswith(_SOCKET):
                yield target[len(_SOCKET) : -1]
