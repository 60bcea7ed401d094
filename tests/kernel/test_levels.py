# SPDX-License-Identifier: Apache-2.0
"""A level locks everything by one word, in the kernel."""

import pytest

from bpflock.locks import LOCKS
from bpflock.locks.enforce import LockStatus
from bpflock.locks.model import Level, Profile

from .conftest import CONTAINER, HOST, Attacker, Locks
from .running import Daemon
from .tools import Cli, all_links

# Attack; under which levels it works on the host, and outside.
_ATTACKS = {
    "kcore": (("privileged", "baseline"), ("privileged",)),
    "map_create": (("privileged", "baseline", "restricted"), ("privileged",)),
    "memfd_exec": (("privileged", "baseline", "restricted"), ("privileged",)),
}


def _enforced(locks: Locks) -> dict[str, LockStatus]:
    return {status.lock.name: status for status in locks.enforcer.status()}


@pytest.mark.parametrize("level", Level)
def test_a_level_locks_what_it_says(level: Level, cli: Cli, attacker: Attacker, locks: Locks) -> None:
    cli("lock", "--all", f"--level={level}").check()
    enforced = _enforced(locks)
    for name, lock in LOCKS.items():
        wanted = lock.levels[level]
        if wanted.profile is Profile.NONE:
            assert name not in enforced
            continue
        assert enforced[name].settings == wanted
        assert enforced[name].origins["profile"] == f"level {level} (command line)"
    for attack, works in _ATTACKS.items():
        for where, levels in zip((HOST, CONTAINER), works, strict=True):
            attempt = attacker.attack(attack, where)
            assert attempt.worked if level in levels else attempt.denied, (attack, where, attempt)


def test_a_daemon_adopts_what_the_same_level_pinned_and_respects_exceptions(
    cli: Cli, attacker: Attacker, locks: Locks
) -> None:
    cli("lock", "--all", "--level=baseline").check()
    before = all_links()
    with Daemon("--level=baseline", "--kmodlock-profile=restricted") as daemon:
        assert (
            len(daemon.lines("adopted: profile=", "profile: level baseline (command line)"))
            == sum(lock.levels[Level.BASELINE].profile is not Profile.NONE for lock in LOCKS.values()) - 1
        )
        after = all_links()
        assert {name for name in before if before[name] != after[name]} == {"kmodlock"}
        assert attacker.attack("kcore").worked
        assert attacker.attack("kcore", CONTAINER).denied
