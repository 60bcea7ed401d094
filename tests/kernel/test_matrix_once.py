# SPDX-License-Identifier: Apache-2.0
"""The five ways of test_matrix.py, for what it cannot repeat: attacks that use their object up, and modprobe itself."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from bpflock.locks.model import Profile

from .conftest import ATTACK, CONTAINER, HOST, Attacker, Locks

_MODULE = "dummy"


@dataclass(frozen=True)
class Attack:
    command: str
    operation: str
    undo: str = ":"
    denial: str = "denied: "  # what it says then


@dataclass(frozen=True)
class Way:
    profile: Profile
    where: str
    reason: str
    block: bool = False
    allow: bool = False

    @property
    def worked(self) -> bool:
        return not self.reason.startswith("denied")


_ATTACKS = {
    "bpfrestrict": (
        Attack(f"{ATTACK} map_freeze", "map_freeze"),
        Attack(f"{ATTACK} link_detach", "link_detach"),
    ),
    "kimglock": (Attack(f"{ATTACK} hibernation_disk", "hibernation"),),
    "kmodlock": (Attack(f"modprobe {_MODULE}", "load_module", f"modprobe -r {_MODULE}", "Operation not permitted"),),
}
_WAYS = (
    Way(Profile.ALLOW, HOST, "allow (privileged)"),
    Way(Profile.BASELINE, HOST, "baseline"),
    Way(Profile.BASELINE, CONTAINER, "denied (baseline)"),
    Way(Profile.RESTRICTED, HOST, "denied (restricted)"),
    Way(Profile.RESTRICTED, CONTAINER, "denied (restricted)"),
    Way(Profile.ALLOW, HOST, "denied (blocked)", block=True),
    Way(Profile.BASELINE, CONTAINER, "baseline (allowed)", allow=True),
)


@pytest.mark.parametrize("lock", _ATTACKS)
def test_five_ways(lock: str, locks: Locks) -> None:
    operations = tuple(attack.operation for attack in _ATTACKS[lock])
    for way in (None, *_WAYS):
        locks.unload_all()
        attacker = Attacker()  # with fresh objects, made while nothing forbids it
        if way:
            locks.load(lock, way.profile, operations if way.block else (), operations if way.allow else ())
        for attack in _ATTACKS[lock]:
            _attempt(lock, attack, way, attacker, locks)
        attacker.close()


def _attempt(lock: str, attack: Attack, way: Way | None, attacker: Attacker, locks: Locks) -> None:
    """`way` is None while nothing is locked: otherwise a denial would prove nothing."""
    if way:
        locks.events()
    attempt = attacker.run((way.where if way else CONTAINER) + attack.command)
    told = f"{way}: {attack.command}: {attempt}"
    assert attempt.worked is (way is None or way.worked), told
    assert attempt.worked or attack.denial in attempt.output, told
    if lock == "kmodlock":
        assert Path(f"/sys/module/{_MODULE}").exists() is attempt.worked, told
    attacker.run(attack.undo)
    if way:
        seen = [event for event in locks.events() if event.bpfprog == lock and event.op == attack.operation]
        assert {(event.reason, event.retval) for event in seen} == {(way.reason, 0 if way.worked else -1)}, told
