# SPDX-License-Identifier: Apache-2.0
"""A lock that cannot be loaded fails with one clear error and changes nothing."""

import subprocess
from collections.abc import Iterator

import pytest

from bpflock.kernel import pins
from bpflock.kernel.bpf import Map
from bpflock.locks.enforce import Enforcer
from bpflock.locks.model import Profile

from .conftest import ATTACK, CONTAINER, Attacker, Locks
from .tools import BPFLOCK, Cli, Result, all_links, pinned


@pytest.fixture(autouse=True)
def nothing_before(all_locks: Locks) -> Iterator[None]:
    all_locks.unload_all()
    yield
    subprocess.run(["rm", "-rf", pins.ROOT], check=False)
    all_locks.unload_all()


@pytest.fixture
def loaded(locks: Locks) -> dict[str, dict[str, int]]:
    locks.load("kimglock", Profile.BASELINE)
    return all_links()


@pytest.mark.parametrize("name", pins.SHARED_MAPS)
def test_a_shared_map_of_another_version(
    name: str, loaded: dict[str, dict[str, int]], attacker: Attacker, cli: Cli
) -> None:
    """What is in force stays so; status, unlock and starting anew work."""
    # The map of another layout that is at hand.
    other = pins.directory("kimglock") / (pins.CONFIG if name != "bpflock_limits" else pins.COUNTERS)
    with Enforcer().exclusive(), Map.open(other) as layout:
        pins.shared(name).unlink()
        layout.pin(pins.shared(name))
    before = pinned()
    for command in (("lock", "kmodlock", "--profile=baseline"), ("lock", "kimglock", "--profile=restricted")):
        cli(*command).failed(1, name, "another version of bpflock", "hint: ")
        assert pinned() == before
        assert all_links() == loaded
    assert attacker.attack("dev_mem", CONTAINER).denied
    assert attacker.attack("dev_mem").worked
    told = cli("status", "--json").json
    assert told["locks"][0]["name"] == "kimglock"
    assert set(told.get("broken", ())) == ({"guard"} if name == "bpflock_shared" else set())  # whose own it is not
    cli("unlock", "--all").check()
    assert pinned() == []
    cli("lock", "kmodlock", "--profile=baseline").check()


def test_a_directory_in_the_place_of_a_map(attacker: Attacker, cli: Cli) -> None:
    pins.ROOT.mkdir(mode=0o700)
    pins.shared("bpflock_events").mkdir()
    cli("lock", "kimglock", "--profile=baseline").failed(1, str(pins.shared("bpflock_events")))
    assert pinned() == ["bpflock_events"]
    assert attacker.attack("dev_mem", CONTAINER).worked


def test_a_directory_that_others_may_enter(attacker: Attacker, cli: Cli) -> None:
    pins.ROOT.mkdir(mode=0o755)
    for command in (("lock", "kimglock", "--profile=baseline"), ("unlock", "kimglock"), ("status",)):
        cli(*command).failed(1, f"{pins.ROOT} is not root's alone", "chmod 0700")
    assert pinned() == []


def test_foreign_things_in_the_directory_of_a_lock(attacker: Attacker, cli: Cli) -> None:
    """An empty directory is no lock, and must not look like one."""
    pins.ROOT.mkdir(mode=0o700)
    pins.directory("kimglock").mkdir()
    result = cli("status", "--json").failed(1, "the pins are damaged of: kimglock")
    assert result.json["locks"] == [] and "no program is attached" in result.json["broken"]["kimglock"]
    cli("lock", "kimglock", "--profile=baseline").check()
    assert attacker.attack("dev_mem", CONTAINER).denied
    assert len(all_links()["kimglock"]) == 4
    # Whatever somebody puts there.
    (pins.directory("kimglock") / "subdirectory").mkdir()
    cli("lock", "kimglock", "--profile=restricted").check()
    assert attacker.attack("dev_mem").denied
    cli("unlock", "--all").check()
    assert attacker.attack("dev_mem").worked
    assert pinned() == []


def test_no_bpffs() -> None:
    """It is mounted. In a mount namespace of its own, and gone with it: the pins are, and so is the lock."""
    script = (
        f"umount /sys/fs/bpf && {BPFLOCK} lock kimglock --profile=baseline && "
        f"grep -c ' /sys/fs/bpf bpf ' /proc/mounts && ls -d {pins.ROOT}/kimglock && "
        f"! {CONTAINER}{ATTACK} dev_mem"
    )
    ended = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended
    lines = ended.stdout.splitlines()
    assert lines[:3] == ["kimglock: baseline (loaded)", "1", f"{pins.ROOT}/kimglock"]
    assert lines[3].startswith("denied: ")
    assert pinned() == []


def test_root_without_the_capabilities() -> None:
    """What cannot be done halfway is not begun."""
    for missing in ("-sys_admin", "-bpf,-perfmon,-sys_admin"):
        command = ["setpriv", f"--bounding-set={missing}", str(BPFLOCK), "lock", "kimglock", "--profile=baseline"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        result = Result(ended.returncode, ended.stdout, ended.stderr)
        assert result.failed(result.status, "hint: ").status in (3, 4)
        assert pinned() == [], missing
