# SPDX-License-Identifier: Apache-2.0
"""netlock: every kind of socket, ordinary sockets, what a container runtime needs."""

import asyncio
import subprocess

from bpflock.locks import LOCKS
from bpflock.locks.model import Level, Profile

from .conftest import ATTACK, CONTAINER, Attacker, Locks

# Modules that not every kernel has.
_MAY_BE_MISSING = {"bluetooth", "tipc", "key", "udplite", "l2tp", "appletalk", "can_raw", "sctp", "vsock", "alg"}


def _attacks() -> dict[str, str]:
    """The operation of each of netlock's attacks."""
    listed = subprocess.run([ATTACK, "LIST"], check=True, capture_output=True, text=True).stdout
    lines = [line.split("\t") for line in listed.splitlines()]
    return {name: operation for name, lock, operation, _ in lines if lock == "netlock"}


def test_every_kind_is_its_operation(locks: Locks, attacker: Attacker) -> None:
    """Each works before; denied to the host by name, it is denied as what it is, whether its module is there or not."""
    attacks = _attacks()
    before = {name: attacker.attack(name) for name in attacks}
    missing = {name for name, attempt in before.items() if not attempt.worked}
    assert missing <= _MAY_BE_MISSING, {name: before[name].output for name in missing}
    everything = tuple(operation.name for operation in LOCKS["netlock"].operations)
    locks.load("netlock", Profile.ALLOW, block=tuple(set(everything) - {"bind_privileged"}))
    for name, operation in attacks.items():
        if operation == "bind_privileged":
            continue
        locks.events()
        attempt = attacker.attack(name)
        assert attempt.denied, (name, attempt)
        assert {event.op for event in locks.events() if event.denied} == {operation}, name


async def _talk() -> bytes:
    """Over a Unix socket pair, TCP to nobody, UDP to itself."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0))
    transport.sendto(b"x", transport.get_extra_info("sockname"))
    transport.close()
    assert protocol is not None
    try:
        await asyncio.open_connection("127.0.0.1", 9)
    except ConnectionRefusedError:
        return b"refused"
    return b""


def test_ordinary_sockets_are_not_concerned(locks: Locks) -> None:
    locks.load("netlock", Profile.RESTRICTED)
    assert asyncio.run(_talk()) == b"refused"
    assert not locks.counters("netlock")


def test_what_the_level_grants_outside_the_host(locks: Locks, attacker: Attacker) -> None:
    wanted = LOCKS["netlock"].levels[Level.BASELINE]
    locks.load("netlock", wanted.profile, wanted.block, wanted.allow)
    for name in ("listen_privileged", "bind_privileged", "netlink_route", "raw"):
        assert attacker.attack(name, CONTAINER).worked, name
    for name in ("packet", "netlink_audit", "alg", "xdp"):
        assert attacker.attack(name, CONTAINER).denied, name
