# SPDX-License-Identifier: Apache-2.0
"""nslock: several namespaces at once, entering by type, ordinary tasks."""

import subprocess

from bpflock.locks.model import Profile

from .conftest import CONTAINER, HOST, Attacker, Locks


def _denied(locks: Locks) -> list[tuple[str, str]]:
    return [(event.op, event.event) for event in locks.events() if event.denied]


def test_several_at_once_need_every_type(locks: Locks, attacker: Attacker) -> None:
    locks.load("nslock", Profile.ALLOW, block=("ipc", "net"))
    locks.events()
    assert attacker.run("unshare -m -u -i true").denied
    assert _denied(locks) == [("ipc", "lsm_capable")]
    assert attacker.attack("nobody_net").denied
    assert _denied(locks) == [("net", "lsm_capable")]
    assert attacker.attack("clone_net").denied
    assert _denied(locks) == [("net", "lsm_task_alloc")]
    assert attacker.run("unshare -U -i true").denied
    assert _denied(locks) == [("ipc", "lsm_capable")]
    counters = locks.counters("nslock")
    # What was not made because of another type was not allowed. User namespaces are decided on before the others.
    assert not {"mnt", "uts"} & counters.keys()
    assert counters["user"].allowed == 2
    assert attacker.run("unshare -m -u true").worked


def test_a_blocked_type_cannot_be_entered(locks: Locks, attacker: Attacker) -> None:
    locks.load("nslock", Profile.ALLOW, block=("ipc",))
    locks.events()
    assert attacker.attack("setns_net").worked
    # It could be an IPC namespace: the kernel is not told, and so the lock is not.
    assert attacker.attack("setns_any").denied
    assert attacker.attack("setns_32").worked
    assert _denied(locks) == [("ipc", "lsm_capable")]


def test_what_makes_no_namespace_is_not_concerned(locks: Locks, attacker: Attacker) -> None:
    locks.load("nslock", Profile.RESTRICTED)
    locks.events()
    subprocess.run(["sh", "-c", "(true); mount -t tmpfs none /mnt && umount /mnt && unshare --version"], check=True)
    assert not locks.counters("nslock")
    for where in (HOST, CONTAINER):
        assert attacker.attack("nobody_net", where).denied
