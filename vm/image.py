# SPDX-License-Identifier: Apache-2.0
"""A disk with a whole Debian on it, for what needs systemd as process 1 or real containers.

CACHE/images/RELEASE-HASH/disk      ext4; QEMU boots it with a snapshot, so it never changes

Podman on the disk has BASE, and wheels() is what bpflock needs of PyPI: a guest without a network can then do what a
machine with one does.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from vm import cache
from vm.apt import mirrors
from vm.errors import VmError, say
from vm.process import Ticker, run

# In the guest.
EXTRAS = Path("/usr/local/share/bpflock-test")
BASE = "localhost/debian"  # what containers are built from

_PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "udev",
    "kmod",
    "procps",
    "util-linux",
    "man-db",
    "podman",
    "podman-docker",
    "netavark",
    "crun",
    "python3-pytest",
    # What the package of bpflock depends on: scripts/deb.
    "python3-cffi-backend",
    "python3-click",
    "python3-jeepney",
    "python3-lark",
    "python3-pyelftools",
    "python3-yaml",
)
# What deploy/container/Containerfile installs.
_BASE_PACKAGES = ("python3", "python3-pip", "libbpf1")
_REPOSITORY = Path(__file__).resolve().parents[1]
_RELEASES = {"bookworm": "3.11", "trixie": "3.13"}
_SIZE = "3G"
# Raise it if what this module does to the tree changes.
_VERSION = 4
# What no test looks at.
_EXCLUDED = ("usr/share/doc", "usr/share/locale", "usr/share/man")
_DROPPED = ("var/cache/apt", "var/lib/apt/lists")


@dataclass(frozen=True)
class Image:
    disk: Path


def release() -> str:
    """The Debian release of images: this machine's, whose libraries our wheel was linked with."""
    try:
        found = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    except OSError:
        found = ""
    return found if found in _RELEASES else next(iter(_RELEASES))


def cached(root: Path | None = None) -> Image | None:
    """The image if it is in the cache."""
    disk = _directory(root or cache.directory()) / "disk"
    return Image(disk) if disk.is_file() else None


def make() -> Image:
    """The image; the first time it is made, in a minute or two."""
    root = cache.directory()
    if found := cached(root):
        return found
    with cache.locked(root):
        if found := cached(root):
            return found
        _require()
        with cache.staging(root) as stage:
            _build(stage)
            destination = _directory(root)
            destination.parent.mkdir(exist_ok=True)
            for old in destination.parent.glob(f"{release()}-*"):
                shutil.rmtree(old)  # of another list of packages
            (stage / "image").rename(destination)
    return Image(destination / "disk")


def _directory(root: Path) -> Path:
    key = repr((_VERSION, release(), _PACKAGES, _BASE_PACKAGES, _EXCLUDED, _SIZE))
    return root / "images" / f"{release()}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def _require() -> None:
    if os.geteuid() != 0:
        raise VmError("a disk image can be made by root only", hint="make it once as root: sudo make image-test")
    for program in ("debootstrap", "mkfs.ext4"):
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            raise VmError(f"'{program}' is not installed", hint="scripts/setup image")


def _build(stage: Path) -> None:
    image, tree, base = (stage / name for name in ("image", "tree", "base.tar"))
    image.mkdir()
    say(f"making a disk image of Debian {release()}; it is kept in the cache")
    _debootstrap(tree)
    # As it is now, before systemd and Podman.
    run(["tar", "-C", tree, "--exclude=./dev/*", "-cf", base, "."], what="packing the base of containers")
    _install(tree)
    extras = tree / EXTRAS.relative_to("/")
    extras.mkdir(parents=True)
    _store(tree, base, extras)
    _prepare(tree)
    say("writing the disk")
    disk = image / "disk"
    with disk.open("wb") as file:
        file.truncate(int(_SIZE.removesuffix("G")) << 30)
    run(
        ["mkfs.ext4", "-q", "-E", "lazy_itable_init=0", "-O", "^has_journal", "-d", tree, disk],
        what="writing the disk",
        tick=Ticker(lambda spent: say(f"  still writing ({spent:.0f} s)")),
    )


def _debootstrap(tree: Path) -> None:
    _configure_dpkg(tree)
    # It cannot choose between alternatives: only packages with simple dependencies.
    command: list[str | Path] = [
        "debootstrap",
        "--variant=minbase",
        f"--include={','.join(_BASE_PACKAGES)}",
        release(),
        tree,
    ]
    for mirror in mirrors():
        try:
            run([*command, mirror.main], what="debootstrap", tick=_progress(tree))
            break
        except VmError as error:
            say(f"  {error}; trying the next mirror")
            shutil.rmtree(tree, ignore_errors=True)
            _configure_dpkg(tree)
    else:
        raise VmError("no mirror gave us a Debian", hint="is the network up?")
    _drop(tree)


def _configure_dpkg(tree: Path) -> None:
    """No fsync for each file, and nothing that nobody reads."""
    directory = tree / "etc/dpkg/dpkg.cfg.d"
    directory.mkdir(parents=True)
    excluded = "".join(f"path-exclude=/{name}/*\n" for name in _EXCLUDED)
    (directory / "image").write_text(f"force-unsafe-io\n{excluded}")


def _install(tree: Path) -> None:
    """The rest, by the apt of the tree."""
    name = Path("etc/resolv.conf")
    (tree / name).unlink(missing_ok=True)
    shutil.copyfile(Path("/") / name, tree / name)
    chroot: list[str | Path] = [
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        "chroot",
        tree,
        "apt-get",
        "-q",
        "-o",
        "Acquire::Languages=none",
    ]
    for arguments in (["update"], ["-y", "--no-install-recommends", "install", *_PACKAGES]):
        run([*chroot, *arguments], what=f"apt-get {arguments[0]} in the image", tick=_progress(tree))
    _drop(tree)


def _progress(tree: Path) -> Ticker:
    def speak(spent: float) -> None:
        done = len(list((tree / "var/lib/dpkg/info").glob("*.list")))
        say(f"  {done} packages unpacked ({spent:.0f} s)")

    return Ticker(speak)


def _drop(tree: Path) -> None:
    for name in _DROPPED:
        shutil.rmtree(tree / name, ignore_errors=True)
    (tree / "var/lib/apt/lists/partial").mkdir(parents=True)
    (tree / "var/cache/apt/archives/partial").mkdir(parents=True)


# In the tree's root, apart from this machine: Podman wants /proc, /sys, /run and a /tmp of its own.
_IMPORT = f"""set -e
mount --bind "$1" "$1" # its root has to be a mount
cd "$1"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs run run
chroot . podman --cgroup-manager=cgroupfs --events-backend=file import -q /base.tar {BASE}
"""


def _store(tree: Path, base: Path, extras: Path) -> None:
    """Give Podman the base of containers: in an emulated machine that takes minutes, here seconds."""
    there = tree / "base.tar"
    shutil.move(base, there)
    try:
        run(
            ["unshare", "--mount", "--pid", "--fork", "sh", "-c", _IMPORT, "sh", tree],
            what="giving Podman the base of containers",
            tick=Ticker(lambda spent: say(f"  still giving Podman the base of containers ({spent:.0f} s)")),
        )
        there.unlink()
    except VmError as error:
        # Without the right to mount, for one.
        say(f"  {error}; the guest has to do it, slowly")
        shutil.move(there, extras)


def wheels() -> Path:
    """A directory with what bpflock needs of PyPI, for the Python of the image, not that of this machine.

    Below the repository, so that the guest sees it; downloaded again when the requirements change.
    """
    with (_REPOSITORY / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    requirements: list[str] = [*project["dependencies"], *project["optional-dependencies"]["session"]]
    directory = _REPOSITORY / "build" / "image-wheels"
    stamp, wanted = directory / "requirements", "\n".join([release(), *requirements])
    if stamp.is_file() and stamp.read_text() == wanted:
        return directory
    shutil.rmtree(directory, ignore_errors=True)
    say("downloading wheels")
    run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-q", "-d", directory),
            *("--only-binary=:all:", "--python-version", _RELEASES[release()], "--platform", "manylinux2014_x86_64"),
            *("--platform", "manylinux_2_17_x86_64", "--platform", "manylinux_2_28_x86_64", *requirements),
        ],
        what="downloading wheels",
        hint="is the network up?",
        tick=Ticker(lambda spent: say(f"  still downloading ({spent:.0f} s)")),
    )
    stamp.write_text(wanted)
    return directory


def _prepare(tree: Path) -> None:
    """Settings without which it would boot slowly, or containers would want a network."""
    files = {
        "etc/hostname": "bpflock-image\n",
        "etc/hosts": "127.0.0.1 localhost bpflock-image\n",
        "etc/fstab": "",
        "etc/machine-id": f"{'b' * 32}\n",  # without one systemd takes it for the first boot
        "etc/containers/containers.conf": '[containers]\nnetns = "none"\n',  # one of its own, with loopback only
        "etc/containers/nodocker": "",
    }
    for name, content in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(content)
    # Each costs seconds under emulation, and no test needs it.
    for unit in (
        *("serial-getty@ttyS0.service", "getty@tty1.service", "apt-daily.timer", "apt-daily-upgrade.timer"),
        *("man-db.timer", "e2scrub_all.timer", "fstrim.timer", "dpkg-db-backup.timer", "podman-auto-update.timer"),
        *("systemd-update-utmp.service", "podman.service", "podman.socket", "podman-restart.service"),
    ):
        (tree / "etc/systemd/system" / unit).unlink(missing_ok=True)
        (tree / "etc/systemd/system" / unit).symlink_to("/dev/null")
