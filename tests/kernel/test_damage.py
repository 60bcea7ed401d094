# SPDX-License-Identifier: Apache-2.0
"""Damaged pins, broken configurations, locks that somebody holds: each is told, all else goes on, SIGHUP repairs it."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpflock.daemon import client
from bpflock.errors import BpflockError
from bpflock.kernel import pins
from bpflock.locks.model import Profile

from .conftest import CONTAINER, Attacker, Locks
from .running import RUNTIME, Daemon, wait
from .tools import Cli, all_links, replace_link

_CONFIGURATION = Path("/tmp/damage")
_MAIN = _CONFIGURATION / "bpflock.yaml"
_GOOD = "kimglock-profile: baseline\nkmodlock-profile: baseline\nbpfrestrict-profile: baseline\n"


@pytest.fixture(scope="module")
def daemon(all_locks: Locks) -> Iterator[Daemon]:
    all_locks.unload_all()
    _CONFIGURATION.mkdir(mode=0o755)
    (_CONFIGURATION / "bpf.d").mkdir(mode=0o755)
    _MAIN.write_text(_GOOD)
    with Daemon(f"--config-dir={_CONFIGURATION}") as found:
        yield found
        assert found.end(signal.SIGTERM) == 0
    all_locks.unload_all()


def _health() -> tuple[int, str]:
    with client.ask(RUNTIME, "/v1/healthz") as answer:
        assert answer is not None
        return answer.status, answer.text()


def _reload(daemon: Daemon) -> None:
    """The configuration, which is good again; waits until all is well."""
    count = len(daemon.lines('msg="the configuration was reloaded"'))
    _MAIN.write_text(_GOOD)
    daemon.send(signal.SIGHUP)
    daemon.wait_for('msg="the configuration was reloaded"', count=count + 1)
    wait(lambda: _health()[0] == 200, lambda: f"{_health()}\n{daemon.output()}")


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("bpflock.yaml", 'debug: no\nkimglock-profile: "\\UFFFFFFFF"\n', "bpflock.yaml:2: broken YAML"),
        ("bpflock.yaml", f"%YAML {'9' * 6000}.1\n---\n", "bpflock.yaml:1: broken YAML"),
        ("bpflock.yaml", "[" * 60000, "bpflock.yaml:1:17: nested too deeply"),
        ("bpf.d/x.yaml", '"\\UFFFFFFFF"', "bpf.d/x.yaml:1: broken YAML"),
        ("bpflock.d/event-buffer", "9" * 6000, "bpflock.d/event-buffer: "),
    ],
    ids=["no such character", "version", "deep", "bpf.d", "digits"],
)
def test_a_broken_file_changes_nothing(daemon: Daemon, attacker: Attacker, file: str, text: str, told: str) -> None:
    before, count = all_links(), len(daemon.lines("the configuration was not reloaded"))
    path = _CONFIGURATION / file
    path.parent.mkdir(mode=0o755, exist_ok=True)
    path.write_text(text)
    daemon.send(signal.SIGHUP)
    line = daemon.wait_for("the configuration was not reloaded", count=count + 1)[-1]
    assert told in line and "nothing changed" in line
    assert all_links() == before
    assert attacker.attack("dev_mem", CONTAINER).denied
    if path != _MAIN:
        path.unlink()
    _reload(daemon)


@pytest.mark.parametrize(
    ("removed", "broken"),
    [
        # Without one of several programs a lock is whole, and is not what it was: the daemon knows.
        (("kimglock/config", "bpfrestrict/counters", "kmodlock/lsm__kernel_read_file"), {"kimglock", "bpfrestrict"}),
        (("guard/key",), {"guard"}),
        (("guard/lsm__task_prctl",), {"guard"}),
        (("bpflock_events",), {"kimglock", "kmodlock", "bpfrestrict", "nslock"}),
    ],
    ids=["locks", "key", "door", "events"],
)
def test_a_pin_that_was_removed(
    daemon: Daemon, attacker: Attacker, cli: Cli, removed: tuple[str, ...], broken: set[str]
) -> None:
    """The damage is told, by status and by the daemon; all else is, too; SIGHUP repairs it, and nothing was open."""
    loaded = {lock["name"] for lock in cli("status", "--json").check().json["locks"]}
    assert loaded > {"kimglock", "kmodlock", "bpfrestrict"}
    for pin in removed:
        (pins.ROOT / pin).unlink()
    result = cli("status", "--json")
    document = json.loads(result.out)
    assert set(document["broken"]) >= broken and result.status == 1
    assert all(name in result.err for name in broken)
    assert {lock["name"] for lock in document["locks"]} == loaded - set(document["broken"])
    wait(lambda: _health()[0] == 503, daemon.output)
    assert all(pin.partition("/")[0] in _health()[1] for pin in removed)
    assert attacker.attack("dev_mem", CONTAINER).denied
    _reload(daemon)
    document = cli("status", "--json").check().json
    assert "broken" not in document and {lock["name"] for lock in document["locks"]} == loaded
    assert attacker.attack("dev_mem", CONTAINER).denied
    assert attacker.attack("unsafe_module_parameters", CONTAINER).denied
    denied = len(daemon.lines("event=lsm_bpf", "reason=denied (baseline)"))
    assert attacker.attack("prog_get_next_id", CONTAINER).denied
    daemon.wait_for("event=lsm_bpf", "reason=denied (baseline)", count=denied + 1)  # the events are read again


def test_a_program_that_does_not_fire(daemon: Daemon, locks_of: Locks, attacker: Attacker) -> None:
    """Only the canary can tell: the link that is pinned in its place is another lock's."""
    link = pins.link_path(pins.directory("kimglock"), "lsm/file_open")
    replace_link(link, pins.link_path(pins.directory("kimglock"), "lsm/locked_down"))
    with locks_of.enforcer.exclusive(), pytest.raises(BpflockError) as caught:
        locks_of.enforcer.canary("kimglock")
    assert "kimglock: the program on lsm/file_open is attached but does not fire" in str(caught.value)
    locks_of.enforcer.canary("kmodlock")  # the others do
    daemon.send(signal.SIGHUP)  # which tests the canaries, too, and finds nothing else to do
    daemon.wait_for("NOT ENFORCED", "the program on lsm/file_open", "bpfprog=kimglock")
    wait(lambda: _health()[0] == 503, daemon.output)
    assert "the program on lsm/file_open is attached but does not fire" in _health()[1]
    link.unlink()
    _reload(daemon)
    daemon.wait_for("enforced again: the canary was denied", "bpfprog=kimglock")
    locks_of.enforcer.canary("kimglock")


@pytest.fixture
def locks_of(all_locks: Locks) -> Locks:
    """Not unloaded when the test ends: the daemon's."""
    return all_locks


_HOLD = """
import fcntl, os, sys, time
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(fd, fcntl.LOCK_EX)
os.set_inheritable(fd, True)
if sys.argv[2] == "child" and os.fork():
    os._exit(0)
print("held", flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def _held(how: str) -> Iterator[int]:
    """Somebody holds the lock; whose pid. `child`: who took it is gone, and its child keeps the descriptor."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, pins.ROOT, how], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        pid = holder.pid
        if how == "child":
            (pid,) = (
                int(path.name)
                for path in Path("/proc").iterdir()
                if path.name.isdecimal() and os.getsid(int(path.name)) == holder.pid and int(path.name) != holder.pid
            )
        try:
            yield pid
        finally:
            os.killpg(holder.pid, signal.SIGKILL)


@pytest.mark.parametrize("how", ["self", "child"])
def test_who_holds_the_lock_is_named(daemon: Daemon, locks_of: Locks, how: str) -> None:
    """A command gives up after its deadline; the daemon goes on, /v1/healthz tells, and all is well afterwards."""
    with _held(how) as pid:
        before = locks_of.enforcer.wait
        locks_of.enforcer.wait = pins.Wait(0.5)
        try:
            with pytest.raises(
                BpflockError, match=rf"^process {pid} \(.+\) holds the lock of {pins.ROOT}, and did not"
            ):
                locks_of.enforcer.status()
        finally:
            locks_of.enforcer.wait = before
        if how == "self":
            wait(lambda: f"process {pid} (" in _health()[1], daemon.output)
            line = daemon.wait_for("level=error", f"process {pid} (")[0]
            assert "wait for that process, or end it" in line
    wait(lambda: _health()[0] == 200, daemon.output)


def test_sigterm_ends_a_daemon_that_waits(all_locks: Locks, daemon: Daemon) -> None:
    """The last test of this daemon. Also in the middle of a reload."""
    with _held("self") as pid:
        daemon.send(signal.SIGHUP)
        daemon.wait_for(f"waiting for process {pid} (")
        began = time.monotonic()
        assert daemon.end(signal.SIGTERM) == 0
        assert time.monotonic() - began < 60  # steps of 3 s, on a slow machine
    assert daemon.lines("stopped; the kernel goes on enforcing")


def test_the_start_does_not_wait_for_ever(all_locks: Locks, cli: Cli) -> None:
    """A command that is asked to end while it waits ends."""
    with _held("self") as pid:
        result = cli("status", kill_after=8)
        assert result.status == -14
        assert f"waiting for process {pid} (" in result.err


def test_damage_without_a_daemon(all_locks: Locks, cli: Cli, attacker: Attacker) -> None:
    """A command repairs, or ends, what is damaged."""
    all_locks.unload_all()
    all_locks.load("kimglock", Profile.BASELINE)
    all_locks.load("kmodlock", Profile.BASELINE)
    (pins.directory("kimglock") / pins.CONFIG).unlink()
    cli("status").failed(1, "the pins are damaged of: kimglock")
    cli("lock", "kimglock", "--profile=baseline").check()
    assert attacker.attack("dev_mem", CONTAINER).denied
    assert len(cli("status", "--json").check().json["locks"]) == 2
    (pins.directory("kimglock") / pins.CONFIG).unlink()
    cli("unlock", "kimglock").check()
    assert attacker.attack("dev_mem", CONTAINER).worked
    assert [lock["name"] for lock in cli("status", "--json").check().json["locks"]] == ["kmodlock"]
    # A file lock of flock(2) is all that commands share.
    fd = os.open(pins.ROOT, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fd)
