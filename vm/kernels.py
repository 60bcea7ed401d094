# SPDX-License-Identifier: Apache-2.0
"""Debian kernels in the cache: names, downloading, unpacking.

CACHE/kernels/6.1 -> 6.1.0-55-amd64         the alias, replaced atomically
CACHE/kernels/6.1.0-55-amd64/vmlinux        what QEMU boots (vmlinuz, if it has no PVH entry)
                             modules.cpio   the modules that the guest needs to reach its root
                             lib/modules/   for modprobe in the guest; with the vmlinuz
                             boot/          config-RELEASE
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from vm import cache, vmlinux
from vm.apt import Apt, Package
from vm.cpio import Archive
from vm.errors import VmError, say
from vm.process import Ticker, run

# What the guest loads before it has a root file system.
_BOOT_MODULES = ("virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay")
# And before it has a disk. Up to 6.12 or so, ext4 wants a checksum that it cannot name as a dependency; then it is no
# module any more.
_CHECKSUM = "crc32c_generic"
_DISK_MODULES = ("virtio_blk", "ext4")


@dataclass(frozen=True)
class Spec:
    """How to find a kernel in Debian.

    `pattern` matches the release, the part of the package name between `linux-image-` (or, since
    7.x, `linux-binary-`) and the end. Flavours such as -cloud- and -rt- lack what we need.
    """

    name: str
    suites: tuple[str, ...]
    pattern: str
    minimum: tuple[int, ...] = ()


SPECS = {
    spec.name: spec
    for spec in (
        Spec("6.1", ("bookworm", "bookworm-security"), r"6\.1\.0-[0-9]+-amd64"),
        Spec("6.12", ("bookworm-backports",), r"6\.12\.[0-9]+\+[a-z0-9]+-amd64"),
        Spec("newest", ("trixie-backports",), r"[0-9.]+\+[a-z0-9]+-amd64", minimum=(7, 3, 4)),
        Spec("5.10", ("bullseye",), r"5\.10\.0-[0-9]+-amd64"),
    )
}


@dataclass(frozen=True)
class Kernel:
    """A kernel that is ready to boot."""

    name: str
    directory: Path

    @property
    def release(self) -> str:
        """What `uname -r` says in the guest."""
        return self.directory.name

    @property
    def image(self) -> Path:
        direct = self.directory / "vmlinux"
        return direct if direct.exists() else self.directory / "vmlinuz"

    @property
    def boot_modules(self) -> Path:
        """A cpio archive of the modules for the initramfs, and their order."""
        return self.directory / "modules.cpio"

    @property
    def modules(self) -> Path:
        return self.directory / "lib/modules" / self.release

    @property
    def boot(self) -> Path:
        return self.directory / "boot"


def spec(name: str) -> Spec:
    try:
        return SPECS[name]
    except KeyError:
        raise VmError(f"unknown kernel '{name}'", hint=f"choose from {', '.join(SPECS)}") from None


def cached(name: str, root: Path | None = None) -> Kernel | None:
    """The kernel if it is in the cache."""
    alias = (root or cache.directory()) / "kernels" / spec(name).name
    return Kernel(name, alias.resolve()) if alias.is_dir() else None


def fetch(name: str, *, refresh: bool = False) -> Kernel:
    """The kernel, downloaded if it is not cached (or if `refresh` asks for a newer one)."""
    wanted = spec(name)
    root = cache.directory()
    if not refresh and (kernel := cached(name, root)):
        return kernel
    with cache.locked(root):
        # Somebody else may have fetched it while we waited for the lock.
        if not refresh and (kernel := cached(name, root)):
            return kernel
        apt = Apt(root / "apt" / wanted.name, wanted.suites)
        apt.update()
        release, packages = _choose(apt, wanted)
        destination = root / "kernels" / release
        if not destination.is_dir():
            with cache.staging(root) as stage:
                _build(apt, release, packages, stage)
                destination.parent.mkdir(exist_ok=True)
                (stage / "kernel").rename(destination)
        _point(root / "kernels" / wanted.name, release)
        say(f"kernel {wanted.name} is {release}")
        return Kernel(wanted.name, destination)


def _point(alias: Path, release: str) -> None:
    """Make `alias` a symbolic link to `release`, atomically."""
    temporary = alias.with_name(f".{alias.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(release)
    temporary.rename(alias)


def _choose(apt: Apt, wanted: Spec) -> tuple[str, list[Package]]:
    """The newest release of `wanted` and the packages that make it up."""
    prefixes = ("linux-binary-", "linux-image-")
    names = apt.search(f"linux-(binary|image)-{wanted.pattern}")
    releases = {name.removeprefix(prefix) for prefix in prefixes for name in names} - set(names)
    if not releases:
        raise VmError(f"no package of kernel {wanted.name} in {', '.join(wanted.suites)}")
    release = max(releases, key=_version)
    if _version(release) < wanted.minimum:
        least = ".".join(map(str, wanted.minimum))
        raise VmError(f"the newest kernel in {wanted.suites[0]} is {release}, older than {least}")
    if f"linux-binary-{release}" in names:
        # Since 7.x an image package only pulls in these three.
        parts = [f"linux-{part}-{release}" for part in ("binary", "modules", "base")]
    else:
        parts = [f"linux-image-{release}"]
    return release, [apt.show(part) for part in parts]


def _version(release: str) -> tuple[int, ...]:
    """The numbers of `6.1.0-55-amd64` or `7.3.4+deb13-amd64` that order releases."""
    return tuple(int(number) for number in re.findall(r"\d+", release.removesuffix("-amd64")))


def _build(apt: Apt, release: str, packages: list[Package], stage: Path) -> None:
    """Download and unpack, leaving a finished tree in STAGE/kernel."""
    debs, tree, kernel = stage / "debs", stage / "tree", stage / "kernel"
    for directory in (debs, tree, kernel):
        directory.mkdir()
    for deb in apt.download(packages, debs):
        say(f"unpacking {deb.name}")
        run(["dpkg-deb", "-x", deb, tree], what=f"unpacking {deb.name}", tick=_still("unpacking"))
        deb.unlink()

    modules = kernel / "lib/modules"
    modules.mkdir(parents=True)
    for place in ("lib/modules", "usr/lib/modules"):
        if (tree / place / release).is_dir():
            (tree / place / release).rename(modules / release)
            break
    else:
        raise VmError(f"the packages of {release} hold no modules")
    (kernel / "boot").mkdir()
    for file in (tree / "boot").glob(f"config-{release}"):
        file.rename(kernel / "boot" / file.name)
    # Where the split packages keep it.
    config = modules / release / "config"
    if config.is_file():
        shutil.copyfile(config, kernel / "boot" / f"config-{release}")

    say("preparing the modules")
    run(["depmod", "-b", kernel, release], what="depmod", tick=_still("preparing"))
    (kernel / "modules.cpio").write_bytes(_boot_modules(kernel, release, _BOOT_MODULES))
    image = _find_image(tree, modules / release, release)
    if image.parent != modules / release:
        # Where tests find it, whichever way its package keeps it.
        shutil.copyfile(image, modules / release / "vmlinuz")
    _store_image(image, kernel)


def _still(doing: str) -> Ticker:
    return Ticker(lambda spent: say(f"  still {doing} ({spent:.0f} s)"))


def _find_image(tree: Path, modules: Path, release: str) -> Path:
    for image in (tree / f"boot/vmlinuz-{release}", modules / "vmlinuz"):
        if image.is_file():
            return image
    raise VmError(f"the packages of {release} hold no kernel image")


def _store_image(image: Path, kernel: Path) -> None:
    say("extracting the uncompressed kernel")
    packed = image.read_bytes()
    elf = vmlinux.extract(packed)
    if vmlinux.has_pvh_note(elf):
        (kernel / "vmlinux").write_bytes(elf)
    else:
        say("this kernel has no PVH entry: it will boot more slowly, through its decompressor")
        (kernel / "vmlinuz").write_bytes(packed)


def disk_modules(kernel: Kernel) -> bytes:
    """As `boot_modules`, for a guest whose root is a disk."""
    known = (kernel.modules / "modules.dep").read_text()
    checksum = (_CHECKSUM,) if f"/{_CHECKSUM}.ko" in known else ()
    return _boot_modules(kernel.directory, kernel.release, (*_BOOT_MODULES, *checksum, *_DISK_MODULES))


def _boot_modules(kernel: Path, release: str, wanted: tuple[str, ...]) -> bytes:
    """The modules with their dependencies, in `modules/`, listed in order."""
    files: dict[str, Path] = {}
    for name in wanted:
        command = ["modprobe", "-d", str(kernel), "-S", release, "--show-depends", name]
        out = run(command, what=f"looking for the kernel module {name}").decode()
        for line in out.splitlines():
            # "insmod PATH [options]" or "builtin NAME"
            if line.startswith("insmod "):
                path = Path(line.split()[1])
                files.setdefault(path.name.removesuffix(".xz"), path)
    archive = Archive()
    for name, path in files.items():
        content = path.read_bytes()
        archive.file(f"modules/{name}", vmlinux.unxz(content) if path.suffix == ".xz" else content)
    archive.file("modules/order", "".join(f"{name}\n" for name in files).encode())
    return archive.finish()
