# SPDX-License-Identifier: Apache-2.0
"""netlock: a denial that programs live with, ports that the kernel chooses, what the level grants."""

import sys
from pathlib import Path

import pytest

from bpflock.locks import LOCKS
from bpflock.locks.model import Level, Profile

from .conftest import CONTAINER, Attacker, Attempt, Locks
from .redteam import RedTeam

_SOCKETS = Path(__file__).parent / "sockets.py"


def _way(attacker: Attacker, way: str, where: str = CONTAINER) -> Attempt:
    return attacker.run(f"{where}{sys.executable} -S -E {_SOCKETS} {way}")


@pytest.mark.redteam("C1", "socket of audit")
def test_audit(redteam: RedTeam, locks: Locks, attacker: Attacker) -> None:
    """useradd and su go on after EPROTONOSUPPORT, and after nothing else."""
    locks.unload_all()
    without = _way(attacker, "audit")
    wanted = LOCKS["netlock"].levels[Level.BASELINE]
    locks.load("netlock", wanted.profile, wanted.block, wanted.allow)
    # libusb and udev listen to the events of devices.
    assert attacker.attack("netlink_uevent", CONTAINER).worked
    assert _way(attacker, "audit", "").worked
    locks.events()
    within = _way(attacker, "audit")
    event = redteam.stopped(
        without=without.status,
        within=within.status,
        events=locks.events(),
        hook="socket_create",
        operation="netlink audit socket",
    )
    assert event.retval == -93


@pytest.mark.redteam("K12", "privileged port that the kernel chooses")
@pytest.mark.parametrize(
    ("way", "hook", "operation"),
    [
        ("bind_chosen", "socket_bind", "binding a privileged port"),
        ("listen_chosen", "socket_listen", "listening on a privileged port"),
    ],
)
def test_chosen_port(redteam: RedTeam, locks: Locks, attacker: Attacker, way: str, hook: str, operation: str) -> None:
    locks.unload_all()
    without = _way(attacker, way)
    locks.load("netlock", Profile.BASELINE, allow=("listen",))
    assert _way(attacker, "listen_any").worked
    locks.events()
    within = _way(attacker, way)
    redteam.stopped(without=without.status, within=within.status, events=locks.events(), hook=hook, operation=operation)
