# SPDX-License-Identifier: Apache-2.0
"""Outside the host is who has another pid namespace or another network namespace: one of the two is enough."""

import pytest

from bpflock.locks.model import Profile

from .conftest import ATTACK, CONTAINER, HOST, Attacker, Locks

PID, NET = "unshare -f -p ", "unshare -n "
# For each lock one attack that works on any machine.
_ATTACKS = {"kimglock": "kcore", "kmodlock": "unsafe_module_parameters", "bpfrestrict": "map_get_next_id"}
_ATTACKS |= {"filelesslock": "memfd_exec"}


@pytest.fixture(scope="module", autouse=True)
def loaded(all_locks: Locks) -> None:
    all_locks.unload_all()
    for name in _ATTACKS:
        all_locks.load(name, Profile.BASELINE)


@pytest.mark.parametrize("where", [PID, NET, CONTAINER, f"{PID}{NET}"], ids=["pid", "net", "both", "one by one"])
@pytest.mark.parametrize("name", _ATTACKS)
def test_one_namespace_is_enough(name: str, where: str, attacker: Attacker, all_locks: Locks) -> None:
    assert attacker.attack(_ATTACKS[name], HOST).worked
    all_locks.events()
    attempt = attacker.attack(_ATTACKS[name], where)
    assert attempt.denied, f"{where}: {attempt.output}"
    events = [event for event in all_locks.events() if event.bpfprog == name]
    assert events and {event.reason for event in events if event.denied} == {"denied (baseline)"}


@pytest.mark.parametrize("where", [PID, NET], ids=["pid", "net"])
def test_who_repeats_itself_stays_outside(where: str, attacker: Attacker) -> None:
    """Also by the short way that repeated accesses of the host take."""
    attempt = attacker.run(f"{ATTACK} loop 50 kcore")
    assert "ok=50" in attempt.output
    attempt = attacker.run(f"{where}{ATTACK} loop 50 kcore")
    assert attempt.output.strip() == "attempts=50 denied=50 ok=0"


def test_other_namespaces_are_the_hosts(attacker: Attacker) -> None:
    """Mount, UTS, IPC and cgroup namespaces are what services of the host have."""
    for where in ("unshare -m ", "unshare -u ", "unshare -i ", "unshare -C "):
        assert attacker.attack("kcore", where).worked, where
