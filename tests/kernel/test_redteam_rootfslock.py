# SPDX-License-Identifier: Apache-2.0
"""Ways round rootfslock: flags of mount(2), other superblocks, and the devices beneath, past their nodes."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpflock.locks import LOCKS
from bpflock.locks.enforce import Outcome
from bpflock.locks.model import Profile

from .conftest import ATTACK, CONTAINER, HOST, Attacker, Locks
from .redteam import RedTeam
from .tools import Cli

WRITE, MOUNT, REMOUNT = "file system write", "mount over", "remount"
HERE = Path("/tmp/redteam-rootfs")
_MS_BIND, _MS_REMOUNT, _MS_MOVE = 0x1000, 0x20, 0x2000
_PROPAGATION = (1 << 17, 1 << 18, 1 << 19, 1 << 20)


def _sh(command: str) -> str:
    return subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout


def _wait_for(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, path
        time.sleep(0.1)


def _load(locks: Locks, profile: Profile, path: Path, *excepted: Path) -> None:
    locks.load("rootfslock", profile, path=(str(path),), **{"except": tuple(map(str, excepted))})
    locks.events()


class Ground:
    """A file system that everybody but the host may only read, except for one directory; and what could be done before
    that. Two shells of the host have a file, or the device, open for writing from before."""

    def __init__(self, rootfs: Path, locks: Locks) -> None:
        self.locks, self.place, self.free = locks, rootfs / "redteam", rootfs / "redteam/free"
        self.free.mkdir(parents=True, exist_ok=True)
        (self.place / "over").mkdir(exist_ok=True)
        for file in (self.place / "file", self.free / "file"):
            file.write_text("x" * 4096)
        if not (self.free / "pipe").exists():
            os.mkfifo(self.free / "pipe")
        device = _sh(f"findmnt -no SOURCE -T {self.place}").strip()
        self.shells = {"file": Attacker(), "device": Attacker()}
        assert self.shells["file"].run(f"exec 8<>{self.place}/file").worked
        assert self.shells["device"].run(f"exec 8<>{device}").worked
        _sh(f"mount -t tmpfs none {self.place}/over")
        self.without = {
            (attack, argument, of): self.shells[of].attack(attack, CONTAINER, argument)
            for attack, argument, of in (
                ("rootfs_flags", str(self.place), "file"),
                ("rootfs_beneath", f"{self.place}/over", "file"),
                ("rootfs_label", f"{self.free}/file", "file"),
                ("rootfs_freeze", f"{self.free}/file", "file"),
                ("rootfs_freeze", f"{self.free}/pipe", "file"),
                *((f"rootfs_loop_{how}", "", of) for how in ("set", "configure") for of in ("file", "device")),
            )
        }
        _load(locks, Profile.BASELINE, self.place, self.free)

    def close(self) -> None:
        self.locks.unload("rootfslock")
        for shell in self.shells.values():
            shell.close()
        _sh(f"umount {self.place}/over")


@pytest.fixture(scope="module")
def ground(rootfs: Path, all_locks: Locks) -> Iterator[Ground]:
    all_locks.unload_all()
    found = Ground(rootfs, all_locks)
    yield found
    found.close()


def _flags(output: str) -> dict[int, str]:
    return {int(flags, 16): what for flags, what in (line.split("\t") for line in output.splitlines() if "\t" in line)}


@pytest.mark.redteam("K1", "each two flags of mount(2)")
def test_flags_of_mount(ground: Ground, redteam: RedTeam) -> None:
    shell, place = ground.shells["file"], str(ground.place)
    without = ground.without["rootfs_flags", place, "file"]
    found = _flags(without.output)
    assert {found.get(_MS_BIND | flag) for flag in _PROPAGATION} <= {"covered", None}
    assert any(found.get(_MS_BIND | flag) for flag in _PROPAGATION)
    assert found[_MS_BIND] == found[_MS_MOVE] == "covered"
    assert found[_MS_BIND | _MS_REMOUNT] == "writable"
    assert found[_MS_REMOUNT] == "remounted"
    within = shell.attack("rootfs_flags", CONTAINER, place)
    assert _flags(within.output) == {}
    events = ground.locks.events()
    for operation in (MOUNT, REMOUNT):
        redteam.stopped(
            without=without.status, within=within.status, events=events, hook="sb_mount", operation=operation
        )


@pytest.mark.redteam("K1", "mount beneath another")
def test_mount_beneath(ground: Ground, redteam: RedTeam) -> None:
    shell, over = ground.shells["file"], f"{ground.place}/over"
    without = ground.without["rootfs_beneath", over, "file"]
    if "EINVAL" in without.output:
        pytest.skip(f"this kernel has no MOVE_MOUNT_BENEATH: {without.output}")
    within = shell.attack("rootfs_beneath", CONTAINER, over)
    redteam.stopped(
        without=without.status, within=within.status, events=ground.locks.events(), hook="move_mount", operation=MOUNT
    )
    # On top of the other mount, it is none of the lock's business.
    assert shell.run(f"{CONTAINER}sh -c 'mount -t tmpfs none {over} && umount {over}'").worked


@pytest.mark.parametrize(
    ("attack", "name"),
    [
        pytest.param("rootfs_label", "file", marks=pytest.mark.redteam("K5", "label, by an excepted file")),
        pytest.param("rootfs_freeze", "file", marks=pytest.mark.redteam("K5", "freeze, by an excepted file")),
        pytest.param("rootfs_freeze", "pipe", marks=pytest.mark.redteam("K5", "freeze, by an excepted pipe")),
    ],
)
def test_ioctls_of_the_file_system(attack: str, name: str, ground: Ground, redteam: RedTeam) -> None:
    shell, file = ground.shells["file"], f"{ground.free}/{name}"
    without = ground.without[attack, file, "file"]
    within = shell.attack(attack, CONTAINER, file)
    redteam.stopped(
        without=without.status, within=within.status, events=ground.locks.events(), hook="file_ioctl", operation=WRITE
    )
    assert shell.attack(attack, HOST, file).worked
    if name == "file":
        assert shell.attack("rootfs_flag", CONTAINER, file).worked
        assert shell.attack("rootfs_flag", CONTAINER, f"{ground.place}/file").denied


@pytest.mark.parametrize("attack", ["rootfs_loop_set", "rootfs_loop_configure"])
@pytest.mark.parametrize("of", ["file", "device"])
@pytest.mark.redteam("K6", "loop device on a descriptor")
def test_loop_on_a_descriptor(attack: str, of: str, ground: Ground, redteam: RedTeam) -> None:
    """Of the host, which it keeps in a container: it cannot write to it, but the loop device's worker can."""
    shell = ground.shells[of]
    within = shell.attack(attack, CONTAINER)
    redteam.stopped(
        without=ground.without[attack, "", of].status,
        within=within.status,
        events=ground.locks.events(),
        hook="file_ioctl",
        operation=WRITE,
    )
    assert shell.attack(attack, HOST).worked


@pytest.mark.redteam("K7", "network namespace that is no service's of the host")
def test_services_of_the_host(ground: Ground, redteam: RedTeam, cli: Cli) -> None:
    """As hostnamectl, localectl and fstrim, whose services have one of their own: to files, and to devices."""
    shell, groups = ground.shells["device"], Path("/sys/fs/cgroup")
    service, other = groups / "system.slice/systemd-hostnamed.service", groups / "redteam-rootfs"
    device = _sh(f"findmnt -no SOURCE -T {ground.place}").strip()
    write = f"unshare -n sh -c 'echo x >{ground.place}/file && exec 9<>{device}'"
    for group in (service, other):
        group.mkdir(parents=True, exist_ok=True)
    try:
        attempt = shell.run(f"{ATTACK} cgroup {service} -- {write}")
        assert attempt.worked, attempt
        ground.locks.events()
        within = shell.run(f"{ATTACK} cgroup {other} -- {write}")
        redteam.stopped(
            without=shell.run(write.removeprefix("unshare -n ")).status,
            within=min(within.status, 1),
            events=ground.locks.events(),
            hook="file_open",
            operation=WRITE,
        )
        assert not shell.run(f"{ATTACK} cgroup {other} -- unshare -n sh -c 'exec 9<>{device}'").worked
        assert [event.event for event in ground.locks.events() if event.denied] == ["cgroup_device"]
        for profile, worked in (("allow", True), ("restricted", False)):
            cli("cgroup", "set", str(other), profile).check()
            attempt = shell.run(f"{ATTACK} cgroup {other} -- unshare -n sh -c 'exec 9<>{device}'")
            assert attempt.worked is worked, (profile, attempt)
        told = {event.reason for event in ground.locks.events() if event.denied}
        assert told == {"denied (cgroup restricted)"}, told
    finally:
        cli("cgroup", "unset", str(other))
        for group in (service, other, service.parent):
            group.rmdir()


def test_loop_on_what_is_not_guarded(ground: Ground) -> None:
    shell = Attacker()
    try:
        assert shell.run(f"exec 8<>{ground.free}/file").worked
        assert shell.attack("rootfs_loop_configure", CONTAINER).worked
        assert shell.run("truncate -s 1M /tmp/other && exec 8<>/tmp/other").worked
        assert shell.attack("rootfs_loop_configure", CONTAINER).worked
    finally:
        shell.close()


@contextlib.contextmanager
def _loop(name: str, size: str) -> Iterator[str]:
    """A loop device over a new file."""
    HERE.mkdir(exist_ok=True)
    image = HERE / name
    _sh(f"modprobe loop; truncate -s {size} {image}")
    device = _sh(f"losetup --find --show {image}").strip()
    try:
        yield device
    finally:
        _sh(f"losetup -d {device}")
        image.unlink()


@pytest.mark.redteam("K4", "btrfs, mounted again")
def test_mounted_again(locks: Locks, redteam: RedTeam) -> None:
    """Another file system has its number then, and may have the address of its superblock."""
    locks.unload_all()
    place, other = HERE / "btrfs", HERE / "other"
    ways = f"{place}/ways"
    with _loop("btrfs.img", "128M") as device:
        for directory in (place, other):
            directory.mkdir(exist_ok=True)
        _sh(f"modprobe btrfs; mkfs.btrfs -q {device}; mount {device} {place}; mkdir {ways}")
        shell = Attacker()
        try:
            without = shell.attack("rootfs_write", CONTAINER, ways)
            _load(locks, Profile.BASELINE, place)
            assert shell.attack("rootfs_write", CONTAINER, ways).denied
            assert shell.run(f"umount {place} && mount -t tmpfs none {other} && mount {device} {place}").worked
            locks.events()
            within = shell.attack("rootfs_write", CONTAINER, ways)
            redteam.stopped(
                without=without.status, within=within.status, events=locks.events(), hook="file_open", operation=WRITE
            )
            for _ in range(10):
                change = f"sh -c 'echo x >{other}/file && mount -o remount,rw {other}'"
                assert shell.run(f"{CONTAINER}{change} && umount {other} && mount -t tmpfs none {other}").worked
            # What is loaded guards what is there now, but not what it was loaded for.
            settings = LOCKS["rootfslock"].settings(Profile.BASELINE, (), (), {"path": (str(place),)})
            assert locks.enforcer.apply(LOCKS["rootfslock"], settings, {}) is Outcome.REPLACED
            assert locks.enforcer.apply(LOCKS["rootfslock"], settings, {}) is Outcome.ADOPTED
            assert shell.attack("rootfs_write", CONTAINER, ways).denied
        finally:
            shell.close()
            locks.unload("rootfslock")
            _sh(f"umount {place}; umount {other}")


class Mapped:
    """A file system on a linear mapping, as of LVM, guarded from all but the host."""

    def __init__(self, device: str, locks: Locks) -> None:
        self.locks, self.place = locks, HERE / "mapped"
        self.place.mkdir(exist_ok=True)
        table = f"0 65536 linear {device} 2048"
        setup = "dmsetup --noudevsync --noudevrules"
        self.second = (
            f'sh -c \'{setup} create second --table "{table}" && dmsetup mknodes && '
            "dd if=/dev/mapper/second of=/dev/mapper/second bs=512 count=1 conv=notrunc'"
        )
        self.remove = f"{setup} remove second"
        self.reload = f"{setup} reload redteam --table '{table}'"
        self.clear = f"{setup} clear redteam"
        self.shell = Attacker()
        _sh(f"modprobe dm_mod; {setup} create redteam --table '{table}'; dmsetup mknodes")
        _wait_for(Path("/dev/mapper/redteam"))
        _sh(f"mkfs.ext4 -q -E lazy_itable_init=0,nodiscard /dev/mapper/redteam; mount /dev/mapper/redteam {self.place}")
        self.without = {
            "second": self.shell.run(CONTAINER + self.second),
            "reload": self.shell.run(CONTAINER + self.reload),
        }
        _sh(f"{self.remove}; {self.clear}")
        _load(locks, Profile.BASELINE, self.place)

    def close(self) -> None:
        self.shell.close()
        self.locks.unload("rootfslock")
        _sh(f"umount {self.place}; dmsetup --noudevsync remove redteam")


@pytest.fixture(scope="module")
def mapped(all_locks: Locks) -> Iterator[Mapped]:
    all_locks.unload_all()
    with _loop("mapped.img", "64M") as device:
        found = Mapped(device, all_locks)
        try:
            yield found
        finally:
            found.close()


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param("second", marks=pytest.mark.redteam("K3", "second mapping of the same sectors")),
        pytest.param("reload", marks=pytest.mark.redteam("K3", "another table of the same mapping")),
    ],
)
def test_mappings(attack: str, mapped: Mapped, redteam: RedTeam) -> None:
    command = {"second": mapped.second, "reload": mapped.reload}[attack]
    within = mapped.shell.run(CONTAINER + command)
    redteam.stopped(
        without=mapped.without[attack].status,
        within=within.status,
        events=mapped.locks.events(),
        hook="file_ioctl",
        operation=WRITE,
    )
    assert mapped.shell.run(f"{CONTAINER}sh -c 'dmsetup ls && dmsetup table redteam && dmsetup info redteam'").worked
    assert mapped.shell.run(f"{command} && {mapped.remove if attack == 'second' else mapped.clear}").worked


COMMANDS = (
    ("rootfs_nvme", "/dev/nvme0", "file_ioctl"),  # the controller
    ("rootfs_nvme", "/dev/ng0n1", "file_ioctl"),
    ("rootfs_nvme", "/dev/nvme0n1", "file_ioctl"),
    ("rootfs_nvme_ring", "/dev/ng0n1", "uring_cmd"),
)


class Drive:
    """An NVMe drive, exported by this kernel and used by it again. Its file system is guarded from all but the host."""

    target = Path("/sys/kernel/config/nvmet")

    def __init__(self, device: str, locks: Locks) -> None:
        self.locks, self.place, self.shell = locks, HERE / "nvme", Attacker()
        self.place.mkdir(exist_ok=True)
        _sh("modprobe nvmet_tcp && modprobe nvme_tcp && ip link set lo up")
        if not Path("/sys/kernel/config").is_mount():
            _sh("mount -t configfs none /sys/kernel/config")
        _sh(export(self.target, "drive", device))
        port = self.target / "ports/1"
        port.mkdir()
        for name, value in (("adrfam", "ipv4"), ("trtype", "tcp"), ("trsvcid", "4420"), ("traddr", "127.0.0.1")):
            (port / f"addr_{name}").write_text(value)
        (port / "subsystems/drive").symlink_to(self.target / "subsystems/drive")
        with Path("/dev/nvme-fabrics").open("r+b", buffering=0) as fabrics:
            fabrics.write(b"transport=tcp,traddr=127.0.0.1,trsvcid=4420,nqn=drive")
        for node in ("nvme0", "ng0n1", "nvme0n1"):
            _wait_for(Path("/dev") / node)
        _sh(f"mkfs.ext4 -q -E lazy_itable_init=0,nodiscard /dev/nvme0n1; mount /dev/nvme0n1 {self.place}")
        self.without = [self.shell.attack(attack, CONTAINER, node) for attack, node, _ in COMMANDS]
        # Its own device, exported anew.
        self.again = f"sh -c '{export(self.target, 'again', '/dev/nvme0n1')}'"
        self.exported = self.shell.run(CONTAINER + self.again)
        _sh(unexport(self.target, "again"))
        _load(locks, Profile.BASELINE, self.place)

    def close(self) -> None:
        self.shell.close()
        _sh(f"umount {self.place}; echo 1 >/sys/class/nvme/nvme0/delete_controller")
        (self.target / "ports/1/subsystems/drive").unlink()
        (self.target / "ports/1").rmdir()
        _sh(unexport(self.target, "drive"))


def export(target: Path, name: str, device: str) -> str:
    """The command that does it."""
    system = target / "subsystems" / name
    space = system / "namespaces/1"
    return (
        f"mkdir {system} && echo 1 >{system}/attr_allow_any_host && mkdir {space} && "
        f"printf %s {device} >{space}/device_path && echo 1 >{space}/enable"
    )


def unexport(target: Path, name: str) -> str:
    system = target / "subsystems" / name
    return f"echo 0 >{system}/namespaces/1/enable; rmdir {system}/namespaces/1 {system}"


@pytest.fixture(scope="module")
def drive(all_locks: Locks) -> Iterator[Drive]:
    all_locks.unload_all()
    with _loop("nvme.img", "32M") as device:
        found = Drive(device, all_locks)
        try:
            yield found
        finally:
            all_locks.unload_all()
            found.close()


@pytest.mark.parametrize("number", range(len(COMMANDS)))
@pytest.mark.redteam("K2", "commands to an NVMe drive")
def test_commands_to_a_drive(number: int, drive: Drive, redteam: RedTeam) -> None:
    attack, node, hook = COMMANDS[number]
    within = drive.shell.attack(attack, CONTAINER, node)
    redteam.stopped(
        without=drive.without[number].status,
        within=within.status,
        events=drive.locks.events(),
        hook=hook,
        operation=WRITE,
    )
    assert drive.shell.attack(attack, HOST, node).worked


@pytest.mark.redteam("K6", "device exported by nvmet")
def test_exported_by_configfs(drive: Drive, redteam: RedTeam) -> None:
    """Configfs opens it, for the task that writes to an attribute."""
    within = drive.shell.run(CONTAINER + drive.again)
    event = redteam.stopped(
        without=drive.exported.status,
        within=min(within.status, 1),
        events=drive.locks.events(),
        hook="cgroup_device",
        operation=WRITE,
    )
    numbers = Path("/sys/block/nvme0n1/dev").read_text().strip()
    assert event.filename == f"/dev/block/{numbers}".encode()
    _sh(unexport(drive.target, "again"))
    assert drive.shell.run(drive.again).worked
    _sh(unexport(drive.target, "again"))


@pytest.mark.redteam("K3", "mapping of a device that is not mounted")
def test_first_mapping(drive: Drive, redteam: RedTeam) -> None:
    """The device carries the file system itself: only while it is not mounted may device mapper have it."""
    shell, place = drive.shell, drive.place
    create = "dmsetup --noudevsync --noudevrules create first --table '0 2048 linear /dev/nvme0n1 0'"
    remove = "dmsetup --noudevsync --noudevrules remove first"
    _sh(f"modprobe dm_mod; umount {place}")
    try:
        drive.locks.events()
        within = shell.run(CONTAINER + create)
        events = drive.locks.events()
        subprocess.run(remove, shell=True, check=False, capture_output=True)
        without = shell.run(f"{create} && {remove}")  # by the host
        redteam.stopped(
            without=without.status, within=within.status, events=events, hook="cgroup_device", operation=WRITE
        )
        # Nor is it mounted to be written to; and when it is mounted to be read, it stays so.
        assert not shell.run(f"{CONTAINER}mount /dev/nvme0n1 {place}").worked
        assert shell.run(f"{CONTAINER}mount -o ro,noload /dev/nvme0n1 {place}").worked
        assert not shell.run(f"{CONTAINER}mount -o remount,rw {place}").worked
        assert shell.run(f"umount {place} && mount /dev/nvme0n1 {place}").worked
        assert shell.run(f"{CONTAINER}touch {place}/new").status != 0
    finally:
        if not place.is_mount():
            _sh(f"mount /dev/nvme0n1 {place}")
