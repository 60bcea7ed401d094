# SPDX-License-Identifier: Apache-2.0
"""filelesslock: what just-in-time compilers do, layers of overlayfs, memory that is anonymous in all but name."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpflock.locks import LOCKS
from bpflock.locks.model import Level, Profile

from .conftest import CONTAINER, Attacker, Attempt, Locks
from .redteam import RedTeam

_MEMORY = Path(__file__).parent / "memory.py"
_MISC = Path("/proc/sys/fs/binfmt_misc")
# Exit status 126 is that of a program that may not be executed.
_LAYERS = """mount -t tmpfs none /mnt && mkdir /mnt/other /mnt/all /dev/shm/layer && cp /bin/true /dev/shm/layer/run &&
mount -t overlay -o lowerdir=/dev/shm/layer:/mnt/other none /mnt/all || exit 2
{run}; status=$?; rm -r /dev/shm/layer; case $status in 0) exit 0;; 126|127) exit 1;; *) exit 2;; esac"""
_LOADER = "/lib64/ld-linux-x86-64.so.2"


def _way(attacker: Attacker, way: str, where: str = "") -> Attempt:
    return attacker.run(f"{where}{sys.executable} -S -E {_MEMORY} {way}")


def _load_level(locks: Locks) -> None:
    wanted = LOCKS["filelesslock"].levels[Level.BASELINE]
    locks.load("filelesslock", wanted.profile, wanted.block, wanted.allow)
    locks.events()


@pytest.mark.redteam("C4", "loader's mapping of a memfd, where compilers may map one")
def test_compilers_under_the_level(redteam: RedTeam, locks: Locks, attacker: Attacker) -> None:
    """PHP, .NET; a memfd that is mapped as a library is denied as before."""
    locks.unload_all()
    without = _way(attacker, "loaded", CONTAINER)
    _load_level(locks)
    for way in ("shared_anonymous", "twice"):
        attempt = _way(attacker, way, CONTAINER)
        assert attempt.worked, (way, attempt)
    within = _way(attacker, "loaded", CONTAINER)
    redteam.stopped(
        without=without.status, within=within.status, events=locks.events(), hook="mmap_file", operation="memfd"
    )


@pytest.mark.redteam("C4", "shared memfd under baseline without the level, and where memfd is blocked")
def test_compilers_without_the_level(redteam: RedTeam, locks: Locks, attacker: Attacker) -> None:
    locks.unload_all()
    without = _way(attacker, "twice")
    for profile, block, where, operation in (
        (Profile.BASELINE, (), CONTAINER, "shared memfd"),
        (Profile.ALLOW, ("memfd",), "", "memfd"),
    ):
        locks.load("filelesslock", profile, block)
        locks.events()
        within = _way(attacker, "twice", where)
        redteam.stopped(
            without=without.status, within=within.status, events=locks.events(), hook="mmap_file", operation=operation
        )


@pytest.mark.redteam("K9", "file of /dev/shm through overlayfs")
def test_layers(redteam: RedTeam, locks: Locks, attacker: Attacker) -> None:
    subprocess.run(["modprobe", "overlay"], check=True)
    where = f"{CONTAINER}-m sh -c "
    ways = {"bprm_creds_from_file": "/mnt/all/run", "mmap_file": f"{_LOADER} /mnt/all/run 2>/dev/null"}
    for hook, run in ways.items():
        command = f"{where}'{_LAYERS.format(run=run)}'"
        locks.unload_all()
        without = attacker.run(command)
        _load_level(locks)
        within = attacker.run(command)
        redteam.stopped(without=without.status, within=within.status, events=locks.events(), hook=hook, operation="shm")
    # What is in no memory is executed by overlayfs as ever.
    usual = _LAYERS.replace("/dev/shm/layer:", "/bin:").format(run="/mnt/all/true")
    attempt = attacker.run(f"{where}'{usual}'")
    assert attempt.worked, attempt


@pytest.mark.redteam("K10", "memory that becomes anonymous, of a private mapping and of /dev/zero")
def test_anonymous_in_all_but_name(redteam: RedTeam, locks: Locks, attacker: Attacker) -> None:
    ways = {
        "private_file": "mmap_file",
        "private_zero": "mmap_file",
        "shared_zero": "mmap_file",
        "zero_later": "file_mprotect",
        "unwritten": "file_mprotect",
        "shared_anonymous": "file_mprotect",
    }
    locks.unload_all()
    without = {way: _way(attacker, way) for way in ways}
    locks.load("filelesslock", Profile.ALLOW, block=("anon_map",))
    for way, hook in ways.items():
        locks.events()
        within = _way(attacker, way)
        redteam.stopped(
            without=without[way].status,
            within=within.status,
            events=locks.events(),
            hook=hook,
            operation="anon_map",
        )


@pytest.fixture
def registered() -> Iterator[None]:
    """A program for a foreign kind of programs."""
    subprocess.run(["modprobe", "binfmt_misc"], check=True)
    if not (_MISC / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "none", _MISC], check=True)
    (_MISC / "register").write_text(":redteam:M:0:\\x7fELFzz::/bin/true:\n", encoding="ascii")
    yield
    (_MISC / "redteam").write_text("-1", encoding="ascii")


@pytest.mark.redteam("K11", "memfd that is no program of this machine's, for binfmt_misc")
@pytest.mark.usefixtures("registered")
def test_foreign(redteam: RedTeam, locks: Locks, attacker: Attacker) -> None:
    locks.unload_all()
    without = _way(attacker, "foreign", CONTAINER)
    _load_level(locks)
    within = _way(attacker, "foreign", CONTAINER)
    redteam.stopped(
        without=without.status,
        within=within.status,
        events=locks.events(),
        hook="bprm_check_security",
        operation="memfd",
    )
