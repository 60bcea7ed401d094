# SPDX-License-Identifier: Apache-2.0
"""Ways to use a file under a path that is not its own, or no longer: kept labels, mounts, overlayfs, folded case."""

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bpflock.confine.engine import Engine
from bpflock.events.model import Event
from bpflock.events.render import logfmt
from bpflock.kernel import pins
from bpflock.kernel.bpf import Map
from bpflock.policy.bpfbox.load import parse
from bpflock.policy.model import PolicySet

from .conftest import ATTACK, Locks
from .redteam import DENIED, WORKED, RedTeam

HERE = Path("/tmp/redteam-paths")
FREE = HERE / "bin/free"
CONFINED = HERE / "bin/confined"
ALONE = Path("/tmp/redteam-alone/confined")  # in a mount namespace of one file system, and by a bind mount in the first
FILES = 3000
ROUNDS = 3
FOLDING = {"ext4": HERE / "ext4/folding", "fat": HERE / "fat"}
_LIBC = ctypes.CDLL(None, use_errno=True)
_IN_ATTRIB = 4
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_MS_BIND = 4096
_MNT_DETACH = 2
_RETURN_42 = b"\xb8\x2a\0\0\0\xc3"

_POLICY = f"""
fs("/dev/null", read|write)
fs("/proc/**", read)
fs("{HERE}/bin/**", read|exec)
fs("{HERE}/disk/open/**", read)
fs("{HERE}/mine/open{{,/**}}", read)
fs("{HERE}/mounts/{{open,inner}}/**", read|setattr|getattr)
fs("{HERE}/merged/{{code,log}}", read)
fs("{HERE}/merged/log", append)
fs("{HERE}/merged/allowed", read|exec)
fs("{HERE}/{{ext4/folding,fat}}/*.KEY", read)
fs("{HERE}/{{ext4/folding,fat}}/exact.txt", read)
fs("{HERE}/{{ext4/folding,fat}}/[bB][oO][tT][hH]*", read)
fs("{HERE}/{{ext4/folding,fat}}/[xX]/**", read)
fs("{HERE}/ext4/plain/exact.txt", read)
"""


@dataclass(frozen=True)
class Place:
    """The files, and a mount namespace in which all below / is on one file system."""

    locks: Locks
    namespace: int  # a process in it

    def run(self, attack: str, *, program: Path = CONFINED) -> int:
        command = f"{program} {attack}"
        return subprocess.run(command, shell=True, capture_output=True, cwd="/", check=False, timeout=300).returncode

    def within(self, process: int, attack: str, *, program: Path = CONFINED) -> int:
        """In the mount namespace of a process."""
        return self.run(attack, program=Path(f"nsenter -m -t {process} {program}"))

    def denials(self) -> list[Event]:
        return [event for event in self.locks.events() if event.bpfprog == "policy" and event.denied]


def _sh(command: str) -> str:
    ended = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended
    return ended.stdout.strip()


def _mounted(stack: contextlib.ExitStack, command: str, at: Path) -> None:
    at.mkdir(parents=True, exist_ok=True)
    _sh(f"{command} {at}")
    stack.callback(_sh, f"umount -R {at}")


def _sleeper(stack: contextlib.ExitStack, setup: str, program: Path = FREE) -> int:
    """A process in a mount namespace of its own, after a shell command there."""
    process = subprocess.Popen(
        ["unshare", "-m", "--propagation", "private", "sh", "-ec", f"{setup}\necho ready; exec {program} sleeper"],
        stdout=subprocess.PIPE,
        text=True,
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process.pid


def _make_overlay(stack: contextlib.ExitStack) -> None:
    for name in ("lower", "upper", "work"):
        (HERE / "layers" / name).mkdir(parents=True)
    for name in ("code", "allowed", "log"):
        (HERE / "layers/lower" / name).write_bytes(_RETURN_42 + bytes(4090))
    layers = ",".join(f"{name}dir={HERE}/layers/{name}" for name in ("lower", "upper", "work"))
    _mounted(stack, f"mount -t overlay -o {layers} none", HERE / "merged")


def _make_folding(stack: contextlib.ExitStack) -> None:
    """Directories that fold case: one of ext4, and a whole FAT. Names as they are stored."""
    _sh(f"truncate -s 32M {HERE}/ext4.image; mkfs.ext4 -q -O casefold {HERE}/ext4.image")
    _mounted(stack, f"mount -o loop {HERE}/ext4.image", HERE / "ext4")
    _sh(f"truncate -s 8M {HERE}/fat.image; busybox mkdosfs {HERE}/fat.image")
    _sh("modprobe -a vfat nls_cp437 nls_ascii || true")
    _mounted(stack, f"mount -t vfat -o loop {HERE}/fat.image", HERE / "fat")
    FOLDING["ext4"].mkdir()
    _sh(f"chattr +F {FOLDING['ext4']}")
    for directory in FOLDING.values():
        (directory / "x").mkdir()
        for name in ("secret.key", "exact.txt", "both", "both that is long.txt", "x/Some"):
            (directory / name).write_text(name)
    (HERE / "ext4/plain").mkdir()
    (HERE / "ext4/plain/exact.txt").write_text("exact")


@pytest.fixture(scope="module")
def place(all_locks: Locks, kept_engine: Engine) -> Iterator[Place]:
    shutil.rmtree(HERE, ignore_errors=True)
    with contextlib.ExitStack() as stack:
        _mounted(stack, "mount -t tmpfs -o mode=755 none", HERE)
        _sh(f"mount --make-private {HERE}; modprobe -a loop ext4 overlay || true")
        for name in (
            "bin",
            "mine/open",
            "mine/closed",
            "mounts/file",
            "neighbour/a",
            "root/open",
            "root/closed",
            "root/old",
        ):
            (HERE / name).mkdir(parents=True)
        for program in (FREE, CONFINED):
            shutil.copy(ATTACK, program)
        _make_overlay(stack)
        _make_folding(stack)
        _mounted(stack, "mount -t tmpfs none", HERE / "neighbour")
        # More inodes than a file system of this size has by itself.
        _sh(f"truncate -s 256M {HERE}/disk.image; mkfs.ext4 -q -N 16384 {HERE}/disk.image")
        _mounted(stack, f"mount -o loop {HERE}/disk.image", HERE / "disk")
        _mounted(stack, "mount -t tmpfs none", HERE / "root")
        for name in ("open", "closed", "old", "proc"):
            (HERE / "root" / name).mkdir()
        within_root = HERE / "root" / ALONE.relative_to("/")
        within_root.parent.mkdir(parents=True)
        shutil.copy(ATTACK, within_root)
        _mounted(stack, f"mount --bind {within_root.parent}", ALONE.parent)
        shutil.copy(ATTACK, HERE / "root/free")
        shutil.copy("/bin/busybox", HERE / "root")
        for name in ("open/file", "closed/file"):
            (HERE / "root" / name).write_text(name)
        namespace = _sleeper(stack, f"cd {HERE}/root; pivot_root . old; /busybox umount -l old", Path("/free"))
        kept_engine.load(
            PolicySet(parse(f'#![profile "{CONFINED}"]\n{_POLICY}#![profile "{ALONE}"]\nfs("/open{{,/**}}", read)\n'))
        )
        stack.callback(kept_engine.load, PolicySet())
        yield Place(all_locks, namespace)


def _pin(stack: contextlib.ExitStack, directory: Path) -> None:
    """The inodes of all files stay in memory, whatever becomes of their names."""
    watch = _LIBC.inotify_init1(0)
    assert watch >= 0
    stack.callback(os.close, watch)
    for number in range(FILES):
        path = os.fsencode(directory / str(number))
        assert _LIBC.inotify_add_watch(watch, path, _IN_ATTRIB) >= 0, os.strerror(ctypes.get_errno())


@contextlib.contextmanager
def _watches() -> Iterator[None]:
    limit = Path("/proc/sys/fs/inotify/max_user_watches")
    before = limit.read_text()
    limit.write_text("100000")
    yield
    limit.write_text(before)


def _forget_names() -> None:
    Path("/proc/sys/vm/drop_caches").write_text("2")


@pytest.mark.redteam("E3", "a name at the address of an earlier one")
@pytest.mark.parametrize("how", ["moved", "linked"])
def test_a_dentry_that_comes_back(how: str, place: Place, redteam: RedTeam) -> None:
    """The inodes stay, and with them what is kept of them; their names are forgotten and made anew, some at the same
    addresses. Moved into another directory meanwhile, or known there by another link."""
    here, there = HERE / "disk/open", HERE / "disk/closed"
    shutil.rmtree(here, ignore_errors=True)
    shutil.rmtree(there, ignore_errors=True)
    here.mkdir()
    there.mkdir()
    for number in range(FILES):
        (here / str(number)).touch()
        if how == "linked":
            os.link(here / str(number), there / str(number))
    within = DENIED
    with contextlib.ExitStack() as stack:
        stack.enter_context(_watches())
        _pin(stack, here)
        for _ in range(ROUNDS):
            assert place.run(f"open_numbered '{here} {FILES}'") == WORKED
            if how == "moved":
                for number in range(FILES):
                    (here / str(number)).rename(there / str(number))
            _forget_names()
            place.denials()
            within = min(within, place.run(f"open_numbered '{there} {FILES}'"))
            events = place.denials()
            if how == "moved":
                for number in range(FILES):
                    (there / str(number)).rename(here / str(number))
            _forget_names()
        if how == "moved":
            shutil.rmtree(there)
            here.rename(there)
        redteam.stopped(
            without=place.run(f"open_numbered '{there} {FILES}'", program=FREE),
            within=within,
            events=events,
            hook="file_open",
            operation="read",
        )


def _kept_seq(path: Path) -> int:
    """Rises by two whenever something is kept for the file."""
    with Map.open(pins.directory(pins.POLICY) / "labels") as labels, path.open("rb") as file:
        value = labels.lookup(file.fileno().to_bytes(4, "little"))
    return int.from_bytes(value[:8], "little") if value else 0


def test_renames_elsewhere_leave_what_is_kept(place: Place) -> None:
    """A neighbour renames directories on another file system: nothing is made anew. On the own one it is."""
    file, read = HERE / "root/open/file", "read_file /open/file"

    def opens() -> int:
        assert place.within(place.namespace, read, program=ALONE) == WORKED
        return _kept_seq(file)

    for _ in range(2):
        opens()
    kept = opens()
    assert kept
    assert opens() == kept
    one, other = HERE / "neighbour/a", HERE / "neighbour/b"
    one.mkdir(exist_ok=True)
    for _ in range(10):
        one.rename(other)
        other.rename(one)
        assert opens() == kept
    (HERE / "root/some").mkdir()
    (HERE / "root/some").rename(HERE / "root/other")
    assert opens() > kept


@pytest.mark.redteam("E27", "a directory renamed on the only file system of a namespace")
def test_a_rename_on_the_own_file_system(place: Place, redteam: RedTeam) -> None:
    inner = HERE / "root/open/inner"
    inner.mkdir()
    (inner / "file").write_text("inner")
    for _ in range(3):
        assert place.within(place.namespace, "read_file /open/inner/file", program=ALONE) == WORKED
    inner.rename(HERE / "root/closed/inner")
    place.denials()
    attack = "read_file /closed/inner/file"
    within = place.within(place.namespace, attack, program=ALONE)
    redteam.stopped(
        without=place.within(place.namespace, attack, program=Path("/free")),
        within=within,
        events=place.denials(),
        hook="file_open",
        operation="read",
    )


@pytest.mark.redteam("E27", "a directory renamed above a mount point")
def test_a_rename_above_a_mount(place: Place, redteam: RedTeam) -> None:
    with contextlib.ExitStack() as stack:
        above = HERE / "mine/open/above"
        _mounted(stack, "mount -t tmpfs none", above / "mount")
        (above / "mount/file").write_text("mounted")
        for _ in range(3):
            assert place.run(f"read_file {above}/mount/file") == WORKED
        moved = HERE / "mine/closed/above"
        above.rename(moved)
        stack.callback(moved.rename, above)
        place.denials()
        attack = f"read_file {moved}/mount/file"
        within = place.run(attack)
        redteam.stopped(
            without=place.run(attack, program=FREE),
            within=within,
            events=place.denials(),
            hook="file_open",
            operation="read",
        )


@pytest.mark.redteam("E21", "a file that is a mount point elsewhere is renamed from outside")
@pytest.mark.parametrize("way", ["rename", "exchange"])
def test_a_mount_point_renamed_from_outside(way: str, place: Place, redteam: RedTeam) -> None:
    one, other = HERE / "mine/open/point", HERE / f"mine/closed/{way}"
    one.write_text("mounted over")
    source = HERE / "mine/closed/source"
    source.write_text("what is mounted")
    with contextlib.ExitStack() as stack:
        inside = _sleeper(stack, f"mount --bind {source} {one}")
        for _ in range(3):
            assert place.within(inside, f"read_file {one}") == WORKED
        if way == "rename":
            one.rename(other)
        else:
            other.write_text("exchanged")
            names = os.fsencode(other), os.fsencode(one)
            assert not _LIBC.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
        place.denials()
        within = place.within(inside, f"read_file {other}")
        redteam.stopped(
            without=place.within(inside, f"read_file {other}", program=FREE),
            within=within,
            events=place.denials(),
            hook="file_open",
            operation="read",
        )


@pytest.mark.redteam("E16", "one of many mounts shows the file where it may not be changed")
def test_a_file_on_many_mounts(place: Place, redteam: RedTeam) -> None:
    """What is told no path may be done if it may be done on each mount, however many there are."""
    attack = f"set_times {HERE}/mounts/inner/file"
    with contextlib.ExitStack() as stack:
        _mounted(stack, "mount -t tmpfs none", HERE / "mounts/inner")
        (HERE / "mounts/inner/file").write_text("file")
        for number in range(40):
            _mounted(stack, f"mount --bind {HERE}/mounts/inner", HERE / f"mounts/open/{number}")
        place.denials()
        assert place.run(attack) == WORKED, "\n".join(map(logfmt, place.denials()))
        _mounted(stack, f"mount --bind {HERE}/mounts/inner", HERE / "mounts/closed")
        within = place.run(attack)
        redteam.stopped(
            without=place.run(attack, program=FREE),
            within=within,
            events=place.denials(),
            hook="inode_setattr",
            operation="setattr",
        )


def test_more_mounts_than_are_looked_at(place: Place) -> None:
    """Thousands: denied, for a reason of its own."""
    with contextlib.ExitStack() as stack:
        _mounted(stack, "mount -t tmpfs none", HERE / "mounts/inner")
        (HERE / "mounts/inner/file").write_text("file")
        point = HERE / "mounts/open/many"
        point.mkdir(parents=True)
        _sh(f"mount -t tmpfs none {point}; mount --make-private {point}")
        stack.callback(_LIBC.umount2, os.fsencode(point), _MNT_DETACH)
        for number in range(4200):
            (point / str(number)).touch()
            names = os.fsencode(HERE / "mounts/inner/file"), os.fsencode(point / str(number))
            assert not _LIBC.mount(*names, None, _MS_BIND, None)
        place.denials()
        assert place.run(f"set_times {HERE}/mounts/inner/file") == DENIED
        assert {event.reason for event in place.denials()} == {"denied (too deep)"}


@pytest.mark.redteam("E4", "what is read on overlayfs is executed by mprotect")
def test_mprotect_to_execute_on_overlayfs(place: Place, redteam: RedTeam) -> None:
    place.denials()
    assert place.run(f"mprotect_exec {HERE}/merged/allowed") == WORKED, "\n".join(map(logfmt, place.denials()))
    attack = f"mprotect_exec {HERE}/merged/code"
    within = place.run(attack)
    redteam.stopped(
        without=place.run(attack, program=FREE),
        within=within,
        events=place.denials(),
        hook="file_mprotect",
        operation="exec",
    )


@pytest.mark.redteam("E4", "what is appended to on overlayfs is overwritten by mprotect")
def test_mprotect_to_write_on_overlayfs(place: Place, redteam: RedTeam) -> None:
    place.denials()
    attack = f"mprotect_write {HERE}/merged/log"
    within = place.run(attack)
    redteam.stopped(
        without=place.run(attack, program=FREE),
        within=within,
        events=place.denials(),
        hook="file_mprotect",
        operation="write",
    )


@pytest.mark.redteam("E18", "another spelling of a name in a directory that folds case")
@pytest.mark.parametrize(
    ("system", "name"), [("ext4", "secret.KEY"), ("fat", "secret.KEY"), ("ext4", "EXACT.txt"), ("fat", "eXact.txt")]
)
def test_another_spelling(system: str, name: str, place: Place, redteam: RedTeam) -> None:
    """Stored are `secret.key` and `exact.txt`; rules allow `*.KEY` and `exact.txt`."""
    attack = f"read_file {FOLDING[system]}/{name}"
    place.denials()
    within = place.run(attack)
    found = redteam.stopped(
        without=place.run(attack, program=FREE),
        within=within,
        events=place.denials(),
        hook="file_open",
        operation="read",
    )
    assert found.reason == "denied (folds)"


@pytest.mark.redteam("E18", "the short name of a file on a FAT")
def test_a_short_name(place: Place, redteam: RedTeam) -> None:
    attack = f"read_file {FOLDING['fat']}/BOTHTH~1.TXT"
    place.denials()
    within = place.run(attack)
    redteam.stopped(
        without=place.run(attack, program=FREE),
        within=within,
        events=place.denials(),
        hook="file_open",
        operation="read",
    )


def test_spellings_that_all_have_the_same_rights(place: Place) -> None:
    place.denials()
    for system, directory in FOLDING.items():
        for name in ("both", "Both", "x/Some", "X/sOME"):
            for _ in range(3):
                ended = place.run(f"read_file {directory}/{name}")
                assert ended == WORKED, (system, name, "\n".join(map(logfmt, place.denials())))
    assert place.run(f"read_file {HERE}/ext4/plain/exact.txt") == WORKED, "a directory that does not fold"
    assert place.run("read_file /proc/sys/kernel/ostype") == WORKED
