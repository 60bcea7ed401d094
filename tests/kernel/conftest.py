# SPDX-License-Identifier: Apache-2.0
"""Kernel tests run as root in a guest whose kernel has BPF LSM: see vm/README.md. They never run on the host."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bpflock.confine.engine import Engine, profile_names
from bpflock.events.decode import Decoder
from bpflock.events.model import Event
from bpflock.locks import LOCKS, Lock
from bpflock.locks.enforce import Counter, Enforcer, operation_names
from bpflock.locks.model import Profile
from bpflock.policy.model import PolicySet

from .redteam import RedTeam, name_rows
from .tools import ROOT, Cli

ATTACK = ROOT / "build" / "attack"
HOST = ""
CONTAINER = "unshare -f -p -n "  # not the host: pid and network namespaces of its own
RELEASE = os.uname().release


def pytest_configure() -> None:
    if not os.environ.get("BPFLOCK_VM"):
        pytest.exit("kernel tests lock the machine they run on: run 'make kernel-test'", returncode=2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    name_rows(items)


@dataclass(frozen=True)
class Attempt:
    """What an attack saw: status 0 it worked, 1 it was denied, 2 something else was wrong."""

    status: int
    output: str

    @property
    def worked(self) -> bool:
        return self.status == 0

    @property
    def denied(self) -> bool:
        return self.status == 1


class Attacker:
    """A shell that attacks. It was started before any lock, and holds the BPF objects that some attacks need.

    It is no task of bpflock's: what the locks stop, they stop it from doing.
    """

    _END = "--end-of-attack--"

    def __init__(self) -> None:
        self._shell = subprocess.Popen(
            [ATTACK, "with-all", "--", "/bin/sh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd="/tmp",
        )

    def run(self, command: str) -> Attempt:
        """Run a command line in the shell."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{{ {command}; }} </dev/null; echo {self._END} $?\n")
        self._shell.stdin.flush()
        lines: list[str] = []
        while line := self._shell.stdout.readline():
            if self._END in line:
                head, _, status = line.partition(self._END)
                return Attempt(int(status), "".join(lines) + head)
            lines.append(line)
        raise AssertionError("the attacker's shell ended: " + "".join(lines))

    def attack(self, name: str, where: str = HOST, argument: str = "") -> Attempt:
        return self.run(f"{where}{ATTACK} {name} {argument}")

    def close(self) -> None:
        self._shell.kill()
        self._shell.wait()


class Locks:
    """The locks, for tests: load, unload, look at the events and the counters."""

    def __init__(self) -> None:
        self.enforcer = Enforcer()
        self._decoder = Decoder.load({name: operation_names(lock) for name, lock in LOCKS.items()}, profile_names)

    def load(
        self,
        name: str,
        profile: Profile,
        block: tuple[str, ...] = (),
        allow: tuple[str, ...] = (),
        **parameters: tuple[str, ...],
    ) -> None:
        lock = LOCKS[name]
        self.enforcer.apply(lock, lock.settings(profile, block, allow, parameters), {"profile": "test"})

    def unload(self, name: str) -> None:
        self.enforcer.remove(LOCKS[name])

    def unload_all(self) -> None:
        for lock in LOCKS.values():
            self.enforcer.remove(lock)

    def events(self) -> list[Event]:
        """All events since the last call."""
        ring = self.enforcer.ring()
        found: list[Event] = []
        try:
            while len(data := ring.drain(0)):
                found += self._decoder.decode(data)
        finally:
            ring.close()
        return found

    def counters(self, lock: Lock | str) -> dict[str, Counter]:
        name = lock if isinstance(lock, str) else lock.name
        status = next(status for status in self.enforcer.status() if status.lock.name == name)
        return {counter.operation: counter for counter in status.counters}


@pytest.fixture(scope="session")
def attacker() -> Iterator[Attacker]:
    found = Attacker()
    yield found
    found.close()


@pytest.fixture(scope="session")
def all_locks() -> Iterator[Locks]:
    found = Locks()
    yield found
    found.unload_all()


@pytest.fixture(scope="module")
def kept_engine(all_locks: Locks, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine. To load its programs takes long: they stay loaded, without a policy, if the next module begins with a
    test that has this fixture, too."""
    all_locks.unload_all()
    engine = Engine(all_locks.enforcer)
    yield engine
    if _next_wants("kept_engine", request):
        engine.load(PolicySet())
    else:
        engine.unload()


def _next_wants(fixture: str, request: pytest.FixtureRequest) -> bool:
    items = request.session.items
    own = [number for number, item in enumerate(items) if item.path == request.path]
    following = items[own[-1] + 1 :]
    return bool(following) and fixture in getattr(following[0], "fixturenames", ())


@pytest.fixture
def redteam(record_property: Callable[[str, object], None]) -> RedTeam:
    """For tests with the marker `redteam`: what a row of `make redteam` has to show."""
    return RedTeam(record_property)


@pytest.fixture(scope="session")
def cli() -> Iterator[Cli]:
    found = Cli()
    yield found
    found.close()


@pytest.fixture
def locks(all_locks: Locks) -> Iterator[Locks]:
    """The locks; unloaded when the test ends."""
    yield all_locks
    all_locks.unload_all()


@pytest.fixture(scope="session")
def modules() -> Path:
    """Kernel modules to load: signed.ko, unsigned.ko. They are on tmpfs."""
    target = Path("/tmp/modules")
    subprocess.run(["modprobe", "msr"], check=True)
    subprocess.run(
        [ROOT / "attacks" / "modules.sh", RELEASE, f"/lib/modules/{RELEASE}", target], check=True, capture_output=True
    )
    return target


@pytest.fixture(scope="session")
def rootfs() -> Path:
    """A file system of its own (ext4 on a loop device) that plays the root: the guest's is read-only."""
    place, image = Path("/tmp/rootfs"), Path("/tmp/rootfs.img")
    place.mkdir(exist_ok=True)
    if not place.is_mount():
        for command in (
            "modprobe loop",
            "modprobe ext4",
            f"truncate -s 32M {image}",
            f"mkfs.ext4 -q -E lazy_itable_init=0,nodiscard {image}",
            f"mount -o loop {image} {place}",
        ):
            subprocess.run(command.split(), check=True, capture_output=True)
    return place


def wait_until(condition: str, timeout: float = 30.0) -> None:
    """Wait for a shell condition."""
    end = time.monotonic() + timeout
    while subprocess.run(condition, shell=True, check=False).returncode:
        assert time.monotonic() < end, f"never came true: {condition}"
        time.sleep(0.05)
