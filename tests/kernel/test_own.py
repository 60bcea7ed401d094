# SPDX-License-Identifier: Apache-2.0
"""bpfrestrict's `restricted` denies bpf(2) to everybody but bpflock itself: its tasks, not their names or children."""

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bpflock.kernel import own, pins
from bpflock.kernel._libbpf import lib
from bpflock.locks.model import Profile

from .conftest import ATTACK, Attacker, Locks
from .tools import NOBODY, Cli, bpflock

_CGROUP = Path("/sys/fs/cgroup/own")


@pytest.fixture(autouse=True)
def restricted(all_locks: Locks) -> Iterator[None]:
    """Everything that could get in bpflock's own way."""
    all_locks.unload_all()
    all_locks.load("bpfrestrict", Profile.RESTRICTED)
    all_locks.load("kimglock", Profile.RESTRICTED)
    yield
    all_locks.unload_all()


def _key() -> bytes:
    key = own.read_key(pins.directory(pins.GUARD) / "key")
    assert key
    return key


def _open_pin() -> bool:
    """Use bpf(2) in this task."""
    fd = lib.bpf_obj_get(os.fsencode(pins.shared("bpflock_events")))
    if fd >= 0:
        os.close(fd)
    return bool(fd >= 0)


def _in_child(function: Callable[[], bool]) -> bool:
    """What it gives in a forked process."""
    pid = os.fork()
    if not pid:
        status = 2
        try:
            status = 0 if function() else 1
        finally:
            os._exit(status)
    _, waited = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(waited) in (0, 1)
    return waited == 0


def test_commands_work(attacker: Attacker, cli: Cli) -> None:
    assert attacker.attack("map_create").denied
    assert len(cli("status", "--json").check().json["locks"]) == 2
    assert cli("lock", "kimglock", "--profile=baseline", "--json").check().json["outcome"] == "replaced"
    assert cli("lock", "kmodlock", "--profile=baseline", "--json").check().json["outcome"] == "loaded"
    assert cli("lock", "bpfrestrict", "--profile=restricted", "--block=map_create").check()
    _CGROUP.mkdir(exist_ok=True)
    cli("cgroup", "set", str(_CGROUP), "allow").check()
    assert len(cli("cgroup", "list", "--json").check().json["cgroups"]) == 1
    cli("cgroup", "unset", str(_CGROUP)).check()
    _CGROUP.rmdir()
    assert "operation=map_create" in cli("events", "--denied").check().out
    assert attacker.attack("map_create").denied
    cli("unlock", "kimglock", "kmodlock").check()
    assert attacker.attack("map_create").denied
    # The installed program itself, not only its code.
    assert "bpfrestrict" in bpflock("status").check().out
    cli("unlock", "bpfrestrict").check()
    assert attacker.attack("map_create").worked


def test_its_children_and_threads_are_not_exempt() -> None:
    assert own.enter(_key())
    assert _open_pin()
    assert not _in_child(_open_pin)
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(_open_pin()))
    thread.start()
    thread.join()
    assert found == [False]
    assert _open_pin()


def test_exec_ends_the_exemption() -> None:
    def enter_and_exec() -> bool:
        assert own.enter(_key())
        assert _open_pin()
        os.execv(ATTACK, [str(ATTACK), "map_create"])

    assert not _in_child(enter_and_exec)


def test_a_wrong_key_does_not_open() -> None:
    key = _key()
    wrong = [
        bytes(24),
        b"\xff" * 24,
        bytes([key[0] ^ 1]) + key[1:],
        key[:8] + bytes(8) + key[16:],
        key[:23] + bytes([key[23] ^ 128]),
    ]
    for guess in wrong:
        assert not _in_child(lambda guess=guess: own.enter(guess) or _open_pin()), guess  # type: ignore[misc]
    assert _in_child(lambda: own.enter(key) and _open_pin())


def test_the_key_is_for_root_alone() -> None:
    """Not for another user, and not for one who is root in a user namespace of his own."""
    path = str(pins.directory(pins.GUARD) / "key")
    nobody = ["setpriv", f"--reuid={NOBODY}", "--clear-groups"]
    for user in (nobody, [*nobody, "unshare", "-U", "-r"]):
        assert subprocess.run([*user, "true"], check=True)
        for command in (["readlink", path], ["ls", str(pins.ROOT)]):
            ended = subprocess.run([*user, *command], capture_output=True, check=False)
            assert ended.returncode, ended
            assert not ended.stdout, ended
    assert subprocess.run(["readlink", path], capture_output=True, check=False).stdout.strip()


def test_every_load_has_a_key_of_its_own(locks: Locks) -> None:
    before = _key()
    locks.unload_all()
    locks.load("bpfrestrict", Profile.RESTRICTED)
    assert _key() != before
    assert not _in_child(lambda: own.enter(before))


@pytest.mark.parametrize("name", ["bpflock", "python3", "python"])
def test_a_name_does_not_exempt(name: str, attacker: Attacker, locks: Locks) -> None:
    locks.events()
    assert attacker.run(f"mkdir -p /tmp/named; cp {ATTACK} /tmp/named/{name}; /tmp/named/{name} map_create").denied
    event = next(event for event in locks.events() if event.op == "map_create")
    assert event.comm == name.encode()


def test_bpflock_itself_is_not_counted(locks: Locks, cli: Cli) -> None:
    """What it allows itself is no attempt of anybody."""
    before = locks.counters("bpfrestrict")
    cli("status").check()
    after = locks.counters("bpfrestrict")
    assert {name: counter.denied for name, counter in after.items()} == {
        name: counter.denied for name, counter in before.items()
    }
