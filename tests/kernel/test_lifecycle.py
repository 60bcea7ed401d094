# SPDX-License-Identifier: Apache-2.0
"""`bpflock lock` and `unlock`: the kernel enforces without a process of bpflock, and what is undone leaves nothing."""

import subprocess
import time
from collections.abc import Iterator

import pytest

from bpflock.kernel import pins
from bpflock.locks.model import Profile

from .conftest import CONTAINER, HOST, Attacker, Locks
from .tools import BPFLOCK, Cli, all_links, bpflock, links, pinned, processes


@pytest.fixture(autouse=True)
def nothing_before(all_locks: Locks) -> Iterator[None]:
    all_locks.unload_all()
    assert pinned() == []
    yield
    all_locks.unload_all()


def test_enforcement_outlives_the_command(attacker: Attacker) -> None:
    """Then removing the directory by hand ends it, and unlock removes what is left."""
    ended = bpflock("lock", "kimglock", "--profile=baseline").check()
    assert ended.out == "kimglock: baseline (loaded)\n"
    assert processes(str(BPFLOCK)) == []
    assert attacker.attack("dev_mem", CONTAINER).denied
    assert attacker.attack("dev_mem", HOST).worked
    subprocess.run(["rm", "-r", pins.directory("kimglock")], check=True)
    assert attacker.attack("dev_mem", CONTAINER).worked
    assert bpflock("unlock", "kimglock").check().out == "kimglock: was not enforced\n"
    assert not pins.ROOT.exists()


def test_unlock_ends_it_and_leaves_nothing(attacker: Attacker, cli: Cli) -> None:
    cli("lock", "kimglock", "--profile=baseline", "--block=kexec").check()
    cli("lock", "bpfrestrict", "--profile=restricted").check()
    cli("lock", "execsnoop", "--profile=all").check()
    assert attacker.attack("dev_mem", CONTAINER).denied
    assert attacker.attack("map_create").denied
    assert cli("unlock", "kimglock").check().out == "kimglock: no longer enforced\n"
    assert attacker.attack("dev_mem", CONTAINER).worked
    assert attacker.attack("map_create").denied
    assert cli("unlock", "--all", "--json").check().json == {"removed": ["bpfrestrict", "execsnoop"]}
    assert attacker.attack("map_create").worked
    assert not pins.ROOT.exists()
    assert cli("unlock", "--all").check().out == "nothing was enforced\n"
    assert not pins.ROOT.exists()


def test_status(attacker: Attacker, cli: Cli) -> None:
    assert cli("status", "--json").check().json == {"locks": [], "policies": [], "uncovered": []}
    before = time.time()
    cli("lock", "kimglock", "--profile=baseline", "--block=kexec,msr", environment={"BPFLOCK_KIMGLOCK_ALLOW": "perf"})
    for where in (CONTAINER, CONTAINER, HOST):
        attacker.attack("dev_mem", where)
    (lock,) = cli("status", "--json").check().json["locks"]
    since = lock.pop("since")
    assert before - 1 <= since <= time.time()
    assert lock == {
        "name": "kimglock",
        "profile": "baseline",
        "block": ["kexec", "msr"],
        "allow": ["perf"],
        "origins": {
            "profile": "command line",
            "block": "command line",
            "allow": "environment BPFLOCK_KIMGLOCK_ALLOW",
            "allow-session": "default",
        },
        "hooks": ["lsm/file_open", "lsm/kernel_load_data", "lsm/kernel_read_file", "lsm/locked_down"],
        "counters": [{"operation": "dev_mem", "allowed": 1, "denied": 2, "limited": 0, "dropped": 0}],
    }
    text = cli("status").check().out.splitlines()
    assert text[1].split() == ["profile", "baseline", "(command", "line)"]
    assert text[-1].split() == ["dev_mem", "1", "2", "0", "0"]


def test_status_does_not_change_anything(cli: Cli) -> None:
    """Not even where nothing is loaded."""
    cli("status").check()
    assert not pins.ROOT.exists()


def test_the_same_settings_are_adopted_and_others_replace(attacker: Attacker, locks: Locks, cli: Cli) -> None:
    lock = ("lock", "kimglock", "--json")
    assert cli(*lock, "--profile=baseline", "--block=kexec,msr").check().json["outcome"] == "loaded"
    assert attacker.attack("dev_mem", CONTAINER).denied
    before = all_links()
    assert before["kimglock"]
    assert before["guard"]
    assert cli(*lock, "--profile=baseline", "--block=msr,kexec").check().json["outcome"] == "adopted"
    assert all_links() == before
    assert cli(*lock, "--profile=baseline", "--block=kexec").check().json["outcome"] == "replaced"
    after = all_links()
    assert after["guard"] == before["guard"]
    assert set(after["kimglock"]) == set(before["kimglock"])
    assert not set(after["kimglock"].values()) & set(before["kimglock"].values())
    # Counting goes on where it was.
    assert attacker.attack("dev_mem", CONTAINER).denied
    assert locks.counters("kimglock")["dev_mem"].denied == 2


def test_a_lock_leaves_the_others_alone(locks: Locks, cli: Cli) -> None:
    locks.load("kmodlock", Profile.BASELINE)
    before = links("kmodlock")
    cli("lock", "kimglock", "--profile=restricted").check()
    cli("unlock", "kimglock").check()
    assert links("kmodlock") == before


def test_what_a_crash_left_is_put_in_order(attacker: Attacker, locks: Locks, cli: Cli) -> None:
    locks.load("kimglock", Profile.BASELINE)
    # Between the two renames of a publication: here the old pins are empty.
    pins.directory("kimglock").rename(pins.ROOT / "new-kimglock")
    (pins.ROOT / "old-kimglock").mkdir()
    # While a lock that was not there before is staged.
    (pins.ROOT / "new-kmodlock").mkdir()
    assert attacker.attack("dev_mem", CONTAINER).denied
    assert [lock["name"] for lock in cli("status", "--json").check().json["locks"]] == ["kimglock"]
    assert attacker.attack("dev_mem", CONTAINER).denied
    assert {path.name for path in pins.ROOT.iterdir() if path.is_dir()} == {"guard", "kimglock"}
    cli("unlock", "--all").check()
    assert not pins.ROOT.exists()


def test_killed_at_any_moment(attacker: Attacker, cli: Cli) -> None:
    """The lock is in force, as before or as wanted, and whoever comes next finds everything in order."""
    cli("lock", "kimglock", "--profile=baseline").check()
    started = time.monotonic()
    cli("lock", "kimglock", "--profile=restricted").check()
    took = time.monotonic() - started
    killed = 0
    for step in range(10):
        profile = ("baseline", "restricted")[step % 2]
        ended = cli("lock", "kimglock", f"--profile={profile}", kill_after=took * (step + 1) / 11)
        killed += ended.status == -14
        assert attacker.attack("dev_mem", CONTAINER).denied
        (lock,) = cli("status", "--json").check().json["locks"]
        assert lock["profile"] in ("baseline", "restricted")
        assert len(lock["hooks"]) == 4
    assert killed > 0  # how many depends on how even the machine's speed is
    # The first load of a lock, too.
    for step in range(4):
        ended = cli("lock", "bpfrestrict", "--profile=restricted", kill_after=took * (step + 1) / 5)
        names = [lock["name"] for lock in cli("status", "--json").check().json["locks"]]
        assert names in (["kimglock"], ["kimglock", "bpfrestrict"])
        assert attacker.attack("map_create").denied == ("bpfrestrict" in names)
        cli("unlock", "bpfrestrict").check()
    cli("unlock", "--all").check()
    assert not pins.ROOT.exists()


@pytest.mark.parametrize("name", ["kimglok", ""])
def test_unknown_lock(name: str, cli: Cli) -> None:
    cli("lock", name, "--profile=baseline").failed(2, f"'{name}'")
    cli("unlock", name).failed(2, f"'{name}'")
    assert not pins.ROOT.exists()
