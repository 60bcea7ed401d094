# SPDX-License-Identifier: Apache-2.0
"""Debian packages for the cache, through apt with a private configuration.

apt checks the archive's signature, the index's and the package's hash; the host's package
database, sources and lists are neither read nor written. Proxy settings of the host still apply.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vm.errors import VmError, say
from vm.process import Ticker, run

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
DEFAULT_MIRROR = "http://deb.debian.org/debian"
DEFAULT_SECURITY = "http://deb.debian.org/debian-security"
ARCHIVE_MIRROR = "http://archive.debian.org/debian"  # where suites go after their last support
ARCHIVE_SECURITY = "http://archive.debian.org/debian-security"

_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Mirror:
    """Base addresses of one mirror: the archive proper and its security updates."""

    main: str
    security: str

    def source(self, suite: str) -> str:
        """One line of sources.list for `suite`."""
        base = self.security if suite.endswith("-security") else self.main
        return f"deb [signed-by={KEYRING}] {base} {suite} main"


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    size: int  # bytes to download


def mirrors(etc: Path = Path("/etc/apt")) -> list[Mirror]:
    """Mirrors to try, in order: the host's own if the host is Debian, then the public ones."""
    main, security = _host_mirror(etc)
    found = [
        Mirror(main or DEFAULT_MIRROR, security or DEFAULT_SECURITY),
        Mirror(DEFAULT_MIRROR, DEFAULT_SECURITY),
        Mirror(ARCHIVE_MIRROR, ARCHIVE_SECURITY),
    ]
    return list(dict.fromkeys(found))


def _host_mirror(etc: Path) -> tuple[str, str]:
    """The addresses of .../debian and .../debian-security in the host's sources, or ""."""
    main = security = ""
    files = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    for file in files:
        if file.suffix not in (".list", ".sources") or not file.is_file():
            continue
        text = "\n".join(
            line for line in file.read_text(errors="replace").splitlines() if not line.lstrip().startswith("#")
        )
        for url in re.findall(r"\bhttps?://[^\s\]]+", text):
            url = url.rstrip("/")
            if url.endswith("/debian") and not main:
                main = url
            elif url.endswith("/debian-security") and not security:
                security = url
    return main, security


class Apt:
    """An apt of our own for some suites, living below `root`."""

    def __init__(self, root: Path, suites: tuple[str, ...]) -> None:
        self._root = root
        self._suites = suites
        if not KEYRING.is_file():
            raise VmError(
                f"{KEYRING} is missing: without it no kernel package can be verified",
                hint="install the package debian-archive-keyring (scripts/setup vm does)",
            )

    def _options(self) -> list[str]:
        # On the command line, not in $APT_CONFIG: the host's apt.conf.d would override that.
        values = {
            "Dir::Etc::sourcelist": self._root / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State": self._root / "state",
            "Dir::State::lists": self._root / "lists",
            "Dir::State::status": self._root / "status",
            "Dir::Cache": self._root / "cache",
            "APT::Architecture": "amd64",
            "APT::Architectures": "amd64",
            # The download user _apt may be unable to enter the cache directory.
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::Check-Valid-Until": "false",  # archive.debian.org; signatures still count
            "Acquire::Retries": "3",
        }
        return [word for key, value in values.items() for word in ("-o", f"{key}={value}")]

    def update(self) -> None:
        """Fetch the package indexes from the first mirror that has all suites."""
        for part in ("lists/partial", "cache/archives/partial", "state"):
            (self._root / part).mkdir(parents=True, exist_ok=True)
        (self._root / "status").touch()
        candidates = mirrors()
        for index, mirror in enumerate(candidates):
            sources = "".join(mirror.source(suite) + "\n" for suite in self._suites)
            (self._root / "sources.list").write_text(sources)
            say(f"reading the package lists of {', '.join(self._suites)} from {mirror.main}")
            command = ["apt-get", *self._options(), "-q", "--error-on=any", "update"]
            try:
                run(
                    command,
                    what=f"reading the package lists from {mirror.main}",
                    hint="is the network up? Kernels that are cached already need none",
                    tick=Ticker(lambda spent: say(f"  still reading ({spent:.0f} s)")),
                )
                return
            except VmError as error:
                if index == len(candidates) - 1:
                    raise
                say(f"  {error}; trying the next mirror")

    def search(self, pattern: str) -> list[str]:
        """Names of real packages that match the regular expression as a whole."""
        command = ["apt-cache", *self._options(), "search", "--names-only", f"^{pattern}$"]
        out = run(command, what="searching the package lists").decode()
        names = [line.split()[0] for line in out.splitlines() if line.strip()]
        return [name for name in names if re.fullmatch(pattern, name)]

    def show(self, name: str) -> Package:
        command = ["apt-cache", *self._options(), "--no-all-versions", "show", name]
        out = run(command, what=f"looking up {name}").decode()
        fields = dict(re.findall(r"^(Version|Size): (.+)$", out, re.MULTILINE))
        return Package(name, fields["Version"], int(fields["Size"]))

    def download(self, packages: list[Package], into: Path) -> list[Path]:
        """Download and verify `packages`; returns the .deb files."""
        total = sum(package.size for package in packages)

        def progress(_spent: float) -> None:
            done = sum(file.stat().st_size for file in into.rglob("*") if file.is_file())
            say(f"  {done / _MEGABYTE:.0f} of {total / _MEGABYTE:.0f} MB")

        for package in packages:
            size = f"{package.size / _MEGABYTE:.0f} MB"
            say(f"downloading {package.name} {package.version} ({size})")
        names = [f"{package.name}={package.version}" for package in packages]
        run(
            ["apt-get", *self._options(), "-q", "download", *names],
            what="downloading the kernel",
            hint="is the network up?",
            cwd=into,
            tick=Ticker(progress),
        )
        return sorted(into.glob("*.deb"))
