# SPDX-License-Identifier: Apache-2.0
"""rootfslock: every way to change a file system, exceptions, and what is no concern of it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpflock.errors import UsageError
from bpflock.locks.model import Profile

from .conftest import ATTACK, CONTAINER, HOST, Attacker, Locks
from .tools import Cli

# What a tmpfs cannot do: it lies on no device, and is not frozen; 6.1 has no flags there.
_NOT_ON_TMPFS = {"device", "device_mount", "device_ioctl", "loop", "freeze", "chattr"}


def _ways(shell: Attacker, place: Path, where: str = HOST) -> dict[str, str]:
    """How each way ended: ok, denied or failed, and why."""
    attempt = shell.attack("rootfs_ways", where, str(place))
    lines = [line.split("\t") for line in attempt.output.splitlines()]
    return {line[0]: " ".join(line[1:]) for line in lines if len(line) == 3}


def _not(word: str, ways: dict[str, str]) -> dict[str, str]:
    return {name: how for name, how in ways.items() if not how.startswith(word)}


@pytest.fixture
def place(rootfs: Path, locks: Locks) -> Path:
    """A directory of the guarded file system, all that the ways need in it, and no lock yet."""
    locks.unload_all()
    found = rootfs / "ways"
    found.mkdir(exist_ok=True)
    return found


@pytest.fixture
def shell(place: Path) -> Iterator[Attacker]:
    """It has a file of the file system open for reading and writing, from before any lock."""
    found = Attacker()
    assert found.attack("rootfs_write", HOST, str(place)).worked  # makes the file
    assert found.run(f"exec 7<>{place}/file").worked
    yield found
    found.close()


def _load(locks: Locks, profile: Profile, place: Path, *excepted: Path, block: tuple[str, ...] = ()) -> None:
    locks.load("rootfslock", profile, block, path=(str(place),), **{"except": tuple(map(str, excepted))})


def test_all_ways_to_change_it(shell: Attacker, place: Path, locks: Locks) -> None:
    ways = _ways(shell, place)
    assert len(ways) > 45
    assert _not("ok", ways) == {}

    _load(locks, Profile.RESTRICTED, place)
    locks.events()
    assert _not("denied", _ways(shell, place)) == {}
    # Of one process and file the limiter tells the first alone, but all is counted.
    told = {event.event for event in locks.events() if event.bpfprog == "rootfslock" and event.denied}
    assert told >= {
        "lsm_file_open",
        "lsm_file_ioctl",
        "lsm_inode_create",
        "lsm_inode_unlink",
        "lsm_inode_rename",
        "lsm_inode_setattr",
        "lsm_sb_mount",
        "lsm_move_mount",
        "lsm_sb_remount",
    }
    assert not shell.run("echo changed >&7").worked
    assert [e.event for e in locks.events() if e.bpfprog == "rootfslock"] == ["lsm_file_permission"]
    assert shell.run(f"cat {place}/file <&7 && ls -l {place} && stat {place}/file").worked  # reading goes on

    _load(locks, Profile.BASELINE, place)
    assert _not("ok", _ways(shell, place)) == {}
    assert _not("denied", _ways(shell, place, CONTAINER)) == {}

    locks.unload("rootfslock")
    assert _not("ok", _ways(shell, place)) == {}


def test_a_process_that_makes_many_files(place: Path, locks: Locks) -> None:
    """Each is another object; but of one process so many are told, and all are counted."""
    _load(locks, Profile.BASELINE, place)
    locks.events()
    files = 200
    subprocess.run(["sh", "-c", f"i=0; while [ $i -lt {files} ]; do i=$((i+1)); : >{place}/new$i; done"], check=True)
    events = [event for event in locks.events() if event.bpfprog == "rootfslock"]
    counter = locks.counters("rootfslock")["write"]
    assert (counter.allowed, counter.denied, counter.dropped) == (2 * files, 0, 0)  # made, and opened
    assert len(events) == 20  # SENT_MAX of bpf/common.bpf.h
    assert counter.limited == counter.allowed - len(events)
    for number in range(files):
        (place / f"new{number + 1}").unlink()


def test_other_file_systems_stay_writable(place: Path, locks: Locks) -> None:
    """The same ways, on a tmpfs, with the lock on."""
    elsewhere = Path("/tmp/not-rootfs")
    elsewhere.mkdir(exist_ok=True)
    shell = Attacker()
    shell.run(f"mount -t tmpfs none {elsewhere}")
    _load(locks, Profile.RESTRICTED, place)
    ways = _not("ok", _ways(shell, elsewhere))
    assert {name: how for name, how in ways.items() if name not in _NOT_ON_TMPFS} == {}
    assert _not("failed", ways) == {}  # what it cannot do is not denied, either
    assert shell.run(f"umount {elsewhere}").worked
    shell.close()


def test_exceptions(attacker: Attacker, place: Path, locks: Locks) -> None:
    free, deep, file = place / "free", place / "free/a/b/c/d", place / "settings"
    deep.mkdir(parents=True, exist_ok=True)
    (place / "guarded").mkdir(exist_ok=True)
    for path in (file, free / "old", place / "guarded/file", place / "free-not"):
        path.write_text("x")
    _load(locks, Profile.RESTRICTED, place, free, file)
    locks.events()
    worked = (
        f"echo y >{deep}/new",
        f"mv {deep}/new {free}/moved",
        f"ln {free}/moved {free}/again",
        f"rm {free}/moved {free}/again",
        f"echo y >{file}",
        f"chmod 644 {file}",
        f"mkdir {free}/m && mount -t tmpfs none {free}/m && umount {free}/m && rmdir {free}/m",
    )
    for command in worked:
        attempt = attacker.run(command)
        assert attempt.worked, f"{command}: {attempt.output}"
    assert {event.reason for event in locks.events() if event.bpfprog == "rootfslock"} == {"allow (excepted)"}
    stopped = (
        f"echo y >{place}/guarded/file",
        f"echo y >{place}/free-not",
        f"ln {place}/guarded/file {free}/linked",
        f"mv {place}/guarded/file {free}/moved",
        f"mv {free}/old {place}/old",
        f"mv {free} {place}/renamed",
        f"mv {place}/guarded {free}/guarded",
        f"rm {file}",
        f"mount --bind {free} {place}/guarded",
    )
    for command in stopped:
        attempt = attacker.run(command)
        assert not attempt.worked, command
        assert "ermission denied" in attempt.output or "not permitted" in attempt.output, attempt
    # What was moved below the exception before the lock is found by where it is now.
    assert attacker.run(f"mount --bind {free} /mnt && echo y >/mnt/a/by-another-mount && umount /mnt").worked


def test_layers_of_an_overlay_are_excepted_by_their_directory(attacker: Attacker, place: Path, locks: Locks) -> None:
    """As a container's are, whose layers are below /var/lib: its files are named by another path than the layers'."""
    for name in ("containers/upper", "containers/work", "containers/lower"):
        (place / name).mkdir(parents=True, exist_ok=True)
    layers = place / "containers"
    (layers / "lower/file").write_text("x")
    merged = Path("/tmp/merged")
    merged.mkdir(exist_ok=True)
    options = f"lowerdir={layers}/lower,upperdir={layers}/upper,workdir={layers}/work"
    assert attacker.run(f"mount -t overlay -o {options} none {merged}").worked
    try:
        _load(locks, Profile.RESTRICTED, place, layers)
        attempt = attacker.run(f"echo y >{merged}/new && echo z >>{merged}/file && rm {merged}/new {merged}/file")
        assert attempt.worked, attempt.output
        _load(locks, Profile.RESTRICTED, place)
        assert not attacker.run(f"echo y >{merged}/new2").worked
    finally:
        locks.unload("rootfslock")
        attacker.run(f"umount {merged}")


def test_the_command_line_and_its_errors(cli: Cli, place: Path, locks: Locks) -> None:
    path = f"--rootfslock-path={place}"
    cli("lock", "rootfslock", path, f"--rootfslock-except={place}/none").failed(
        2, "rootfslock-except: ", "no such file"
    )
    cli("lock", "rootfslock", path, "--rootfslock-except=/tmp").failed(2, "/tmp is on another file system (tmpfs)")
    cli("lock", "rootfslock", path, "--rootfslock-except=var").failed(2, "'var' is not an absolute path")
    cli("lock", "rootfslock", "--rootfslock-path=/dev/null").failed(2, "/dev/null is neither a file nor a directory")
    cli("lock", "kimglock", path).failed(2, "--rootfslock-path is no option of kimglock")
    assert locks.enforcer.status() == []

    (place / "free").mkdir(exist_ok=True)
    arguments = ("lock", "rootfslock", "--profile=restricted", path, f"--rootfslock-except={place}/free")
    assert "(loaded)" in cli(*arguments).check().out
    assert "(adopted)" in cli(*arguments).check().out
    [lock] = cli("status", "--json").check().json["locks"]
    assert (lock["path"], lock["except"]) == ([str(place)], [f"{place}/free"])
    assert f"except   {place}/free" in cli("status").check().out
    assert "(replaced)" in cli(*arguments[:-1]).check().out


def test_too_many_exceptions(place: Path, locks: Locks) -> None:
    many = [place / str(number) for number in range(17)]
    with pytest.raises(UsageError, match="17 paths, at most 16"):
        _load(locks, Profile.RESTRICTED, place, *many)


def test_the_root_of_this_machine(attacker: Attacker, locks: Locks, cli: Cli) -> None:
    """By default it is /. Here it is read-only anyway, but it can be found, and nothing else is concerned."""
    locks.unload_all()
    locks.load("rootfslock", Profile.RESTRICTED)
    locks.events()
    assert attacker.run("echo x >/tmp/x && rm /tmp/x && mkdir /run/x && rmdir /run/x").worked
    assert locks.events() == []
    attempt = attacker.run("mount -t tmpfs none /usr")
    assert "denied" in attempt.output or "not permitted" in attempt.output
    assert [event.op for event in locks.events()] == ["mount"]


def test_a_cgroup_may(attacker: Attacker, place: Path, locks: Locks, cli: Cli) -> None:
    _load(locks, Profile.RESTRICTED, place)
    cgroup = Path("/sys/fs/cgroup/rootfs-test")
    cgroup.mkdir(exist_ok=True)
    cli("cgroup", "set", str(cgroup), "allow").check()
    try:
        assert attacker.run(f"{ATTACK} cgroup {cgroup} -- {ATTACK} rootfs_write {place}").worked
        assert attacker.attack("rootfs_write", HOST, str(place)).denied
    finally:
        cli("cgroup", "unset", str(cgroup)).check()
        cgroup.rmdir()
