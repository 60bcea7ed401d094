# SPDX-License-Identifier: Apache-2.0
"""Real containers: their runtimes work under the locks, what runs in them is held by the locks."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpflock.events.model import Event
from bpflock.locks.model import Profile

from .conftest import ATTACK, Locks

_MODULE = Path("/sys/module/can")


@pytest.fixture(autouse=True)
def nothing_before(all_locks: Locks) -> Iterator[None]:
    all_locks.unload_all()
    yield
    all_locks.unload_all()


class Container:
    """A container of busybox and the attacks, by a runtime alone, that sleeps until something is executed in it."""

    def __init__(self, runtime: str) -> None:
        self._runtime = runtime
        self._name = f"test-{runtime}"
        self._bundle = Path("/tmp/bundle-") / runtime
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        binaries = self._bundle / "rootfs" / "bin"
        binaries.mkdir(parents=True)
        for name in ("proc", "dev", "sys", "tmp"):
            (self._bundle / "rootfs" / name).mkdir()
        shutil.copy(shutil.which("busybox") or "busybox", binaries / "busybox")
        for name in ("sh", "sleep", "cat"):
            (binaries / name).symlink_to("busybox")
        shutil.copy(ATTACK, binaries / "attack")
        subprocess.run([self._runtime, "spec"], check=True, cwd=self._bundle)
        file = self._bundle / "config.json"
        config = json.loads(file.read_text())
        config["process"]["terminal"] = False
        config["process"]["args"] = ["sleep", "1000"]
        config["root"]["readonly"] = False
        config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"]})
        file.write_text(json.dumps(config))

    def start(self) -> None:
        subprocess.run(
            [self._runtime, "run", "--detach", "--bundle", self._bundle, self._name],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def exec(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [self._runtime, "exec", self._name, *command], capture_output=True, text=True, check=False
        )

    def remove(self) -> None:
        subprocess.run([self._runtime, "delete", "--force", self._name], check=False, capture_output=True)
        shutil.rmtree(self._bundle)


@pytest.fixture(params=["crun", "runc"])
def container(request: pytest.FixtureRequest) -> Iterator[Container]:
    found = Container(request.param)
    found.prepare()
    yield found
    found.remove()


def _of(events: list[Event], lock: str) -> list[Event]:
    return [event for event in events if event.bpfprog == lock]


def test_fileless_execution(container: Container, locks: Locks) -> None:
    """The runtime may execute itself from a memfd, on the host, and some do; nothing in the container may."""
    locks.load("filelesslock", Profile.BASELINE)
    locks.events()
    container.start()
    allowed = [event for event in _of(locks.events(), "filelesslock") if event.op == "memfd"]
    assert all((event.reason, event.retval) == ("baseline", 0) for event in allowed), allowed
    assert ATTACK.exists()
    assert subprocess.run([ATTACK, "memfd_exec"], check=False, capture_output=True).returncode == 0

    ended = container.exec("cat", "/proc/self/comm")
    assert (ended.returncode, ended.stdout) == (0, "cat\n"), ended
    locks.events()
    ended = container.exec("attack", "memfd_exec", "/bin/attack")
    assert ended.returncode == 1, ended
    assert ended.stdout.startswith("denied: ")
    denied = [event for event in _of(locks.events(), "filelesslock") if event.denied]
    assert [(event.op, event.comm, event.reason) for event in denied] == [("memfd", b"attack", "denied (baseline)")]
    assert container.exec("attack", "LIST").returncode == 0


def test_what_makes_the_kernel_load_a_module(container: Container, locks: Locks) -> None:
    """The modprobe that the kernel starts runs on the host: it is the container's socket that must be denied."""
    container.start()
    subprocess.run(["modprobe", "-r", "can-raw", "can"], check=False, capture_output=True)
    assert not _MODULE.exists()
    locks.load("kmodlock", Profile.BASELINE)
    locks.events()
    ended = container.exec("attack", "autoload_socket", "can")
    assert ended.returncode, ended
    assert not _MODULE.exists()
    events = _of(locks.events(), "kmodlock")
    assert {(event.op, event.reason) for event in events if event.comm == b"attack"} == {
        ("autoload_module", "denied (baseline)")
    }
    assert all(event.denied for event in events)
    # The same on the host, where modprobe would have run.
    assert subprocess.run([ATTACK, "autoload_socket", "can"], check=False, capture_output=True).returncode == 0


def test_the_locks_hold_its_root(container: Container, locks: Locks) -> None:
    container.start()
    assert container.exec("attack", "map_create").returncode == 1  # no capability for it, even without bpflock
    locks.load("kimglock", Profile.BASELINE)
    locks.events()
    # Reading what sleep states there are needs no capability: only the lock changes the answer.
    container.exec("cat", "/sys/power/state")
    assert [(event.op, event.comm) for event in _of(locks.events(), "kimglock") if event.denied] == [
        ("hibernation", b"cat")
    ]


def test_namespaces(container: Container, locks: Locks) -> None:
    """With what the documentation says that a runtime needs, it works; what it runs makes no namespaces."""
    locks.load("nslock", Profile.BASELINE, allow=("cgroup",))
    container.start()
    locks.events()
    attempt = container.exec("/bin/attack", "unshare_user")
    assert attempt.returncode == 1, attempt
    assert "denied" in attempt.stdout
    assert [event.op for event in _of(locks.events(), "nslock") if event.denied] == ["user"]
    locks.unload("nslock")
    assert container.exec("/bin/attack", "unshare_user").returncode == 0
