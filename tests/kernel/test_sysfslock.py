# SPDX-License-Identifier: Apache-2.0
"""sysfslock: what the matrix cannot show: descriptors from before, what is no sysfs, bpflock's own use of it."""

from collections.abc import Iterator

import pytest

from bpflock.locks.model import Profile

from .conftest import CONTAINER, HOST, Attacker, Locks
from .tools import Cli


@pytest.fixture
def shell(locks: Locks) -> Iterator[Attacker]:
    """A shell that has an attribute open, from before any lock: 9 for writing, 8 for reading."""
    locks.unload_all()
    found = Attacker()
    assert found.run("exec 9>/sys/kernel/rcu_expedited 8</sys/kernel/rcu_expedited").worked
    yield found
    found.close()


def test_a_descriptor_from_before_writes_no_more(shell: Attacker, locks: Locks) -> None:
    assert shell.attack("sysfs_opened", HOST, "9").worked
    locks.load("sysfslock", Profile.BASELINE)
    assert shell.attack("sysfs_opened", HOST, "9").worked
    locks.events()
    assert shell.attack("sysfs_opened", CONTAINER, "9").denied
    locks.load("sysfslock", Profile.RESTRICTED)
    assert shell.attack("sysfs_opened", HOST, "9").denied
    reasons = [(event.event, event.op, event.filename, event.reason) for event in locks.events() if event.denied]
    assert [
        ("lsm_file_permission", "write", b"rcu_expedited", why) for why in ("denied (baseline)", "denied (restricted)")
    ] == reasons
    locks.unload("sysfslock")
    assert shell.attack("sysfs_opened", HOST, "9").worked


def test_a_descriptor_from_before_reads_no_more_where_reading_is_blocked(shell: Attacker, locks: Locks) -> None:
    locks.load("sysfslock", Profile.RESTRICTED)
    assert shell.run("head -c 1 <&8").worked
    locks.load("sysfslock", Profile.ALLOW, block=("read",))
    assert "Operation not permitted" in shell.run("head -c 1 <&8").output
    assert shell.run("ls /sys/kernel").worked  # names stay


def test_only_sysfs(attacker: Attacker, locks: Locks) -> None:
    """Other file systems below /sys, and everything else, are not concerned."""
    locks.load("sysfslock", Profile.RESTRICTED, block=("read",))
    for command in (
        "mkdir /sys/fs/cgroup/bpflock-test",
        "echo 0 >/sys/fs/cgroup/bpflock-test/cgroup.freeze",
        "rmdir /sys/fs/cgroup/bpflock-test",
        "cat /sys/kernel/security/lsm",
        "echo x >/tmp/sysfslock-test",
        "rm /tmp/sysfslock-test",
    ):
        attempt = attacker.run(command)
        assert attempt.worked, f"{command}: {attempt.output}"


def test_bpflock_goes_on_where_nobody_reads_sysfs(cli: Cli, locks: Locks) -> None:
    """It reads there the types of the kernel and the number of CPUs."""
    locks.load("sysfslock", Profile.RESTRICTED, block=("read",))
    cli("lock", "filelesslock", "--profile=baseline").check()
    assert [lock["name"] for lock in cli("status", "--json").check().json["locks"]] == ["filelesslock", "sysfslock"]
    cli("lock", "sysfslock", "--profile=baseline").check()
