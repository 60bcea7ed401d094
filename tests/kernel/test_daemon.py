# SPDX-License-Identifier: Apache-2.0
"""`bpflock run`: what it enforces outlives it, it adopts what it finds, and reloads without a gap."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpflock.locks.model import Profile

from .conftest import ATTACK, CONTAINER, HOST, Attacker, Locks
from .running import Daemon
from .tools import BPFLOCK, all_links, bpflock, pinned, processes

_ALL = (
    "--kimglock-profile=baseline",
    "--kmodlock-profile=baseline",
    "--bpfrestrict-profile=baseline",
    "--filelesslock-profile=baseline",
    "--exec-snoop=all",
)
_KILOBYTES = 40 * 1024


@pytest.fixture(autouse=True)
def nothing_before(all_locks: Locks) -> Iterator[None]:
    all_locks.unload_all()
    yield
    all_locks.unload_all()


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "etc"
    path.mkdir(mode=0o755)
    return path


def _say(text: str) -> None:
    """A measurement, into the test's report."""
    sys.stdout.write(f"{text}\n")


def test_enforces_and_stays_small(attacker: Attacker, all_locks: Locks, capsys: pytest.CaptureFixture[str]) -> None:
    """Many events later it takes less than 40 MB.

    How long the start took is printed, not asserted: time in a guest that shares its CPU with another says nothing.
    """
    attacker.run(f"cp {ATTACK} /tmp/dev_mem")
    with Daemon(*_ALL) as daemon:
        took = daemon.ready_after
        assert attacker.attack("dev_mem", CONTAINER).denied
        assert attacker.attack("map_create", CONTAINER).denied
        assert attacker.attack("memfd_exec", CONTAINER).denied
        daemon.wait_for("event=lsm_bprm_creds_from_file")
        # Other processes each time: none of these events is a repetition.
        attacker.run("i=0; while [ $i -lt 1500 ]; do i=$((i+1)); /tmp/dev_mem dev_mem >&-; done")
        daemon.wait_for("event=syscall_execve", "filename=/tmp/dev_mem", count=1500)
        daemon.wait_for("event=lsm_locked_down", count=1501)
        resident = daemon.resident()
    with capsys.disabled():
        _say(f"\nenforced after {took:.2f} s, {resident} kB resident")
    assert resident < _KILOBYTES


def test_killed_then_adopted(attacker: Attacker, locks: Locks) -> None:
    with Daemon("--kimglock-profile=baseline", "--exec-snoop=all") as daemon:
        assert attacker.attack("dev_mem", CONTAINER).denied
        daemon.wait_for("reason=denied (baseline)")
        before = all_links()
        assert daemon.end(signal.SIGKILL) == -signal.SIGKILL
    assert processes(str(BPFLOCK)) == []
    assert attacker.attack("dev_mem", CONTAINER).denied
    assert attacker.attack("dev_mem", HOST).worked
    with Daemon("--kimglock-profile=baseline", "--exec-snoop=all") as daemon:
        assert all_links() == before
        (adopted,) = daemon.lines("adopted", "bpfprog=kimglock")
        assert ", 2 denied, " in adopted
        # What happened without a daemon is told by the next one.
        daemon.wait_for("event=lsm_locked_down", "reason=denied (baseline)")
        daemon.wait_for("event=lsm_locked_down", "reason=baseline")
        assert attacker.attack("dev_mem", CONTAINER).denied
        daemon.wait_for("event=lsm_locked_down", "reason=denied (baseline)", count=2)
    assert locks.counters("kimglock")["dev_mem"].denied == 3
    assert daemon.status == 0
    # SIGTERM left it all.
    assert all_links() == before
    assert attacker.attack("dev_mem", CONTAINER).denied


def test_removes_what_it_loaded_if_asked_to(attacker: Attacker) -> None:
    with Daemon("--kimglock-profile=baseline", "--remove-bpf-programs") as daemon:
        assert attacker.attack("dev_mem", CONTAINER).denied
        assert daemon.end(signal.SIGTERM) == 0
    assert attacker.attack("dev_mem", CONTAINER).worked
    assert pinned() == []


def test_other_settings_replace_what_was_pinned(attacker: Attacker, locks: Locks) -> None:
    locks.load("kimglock", Profile.BASELINE)
    assert attacker.attack("dev_mem", CONTAINER).denied
    with Daemon("--kimglock-profile=restricted") as daemon:
        assert daemon.lines("replaced", "bpfprog=kimglock")
        assert attacker.attack("dev_mem", HOST).denied
    assert locks.counters("kimglock")["dev_mem"].denied == 2


def test_reload(configuration: Path, attacker: Attacker) -> None:
    main = configuration / "bpflock.yaml"
    main.write_text("kimglock-profile: baseline\n")
    with Daemon(f"--config-dir={configuration}") as daemon:
        assert attacker.attack("dev_mem", HOST).worked
        main.write_text("kimglock-profile: restricted\nbpfrestrict-profile: restricted\n")
        daemon.send(signal.SIGHUP)
        daemon.wait_for("the configuration was reloaded")
        assert attacker.attack("dev_mem", HOST).denied
        assert attacker.attack("map_create", HOST).denied
        assert daemon.lines("replaced", f"{main}:1", "bpfprog=kimglock")

        before = all_links()
        main.write_text("kimglock-profile: allow\nbpfrestrict-profile: lax\n")
        daemon.send(signal.SIGHUP)
        (error,) = daemon.wait_for("level=error")
        assert f"{main}:2:22: bpfrestrict-profile: bpfrestrict has no profile 'lax'" in error
        assert "nothing changed" in error
        assert all_links() == before
        assert attacker.attack("dev_mem", HOST).denied

        # What the configuration no longer mentions gets its default.
        main.write_text("bpfrestrict-profile: restricted\n")
        daemon.send(signal.SIGHUP)
        daemon.wait_for("the configuration was reloaded", count=2)
        assert attacker.attack("dev_mem", HOST).worked
        assert attacker.attack("map_create", HOST).denied
        assert len(daemon.lines("level=error")) == 1


def test_takes_no_configuration_for_granted(configuration: Path) -> None:
    """A daemon that cannot enforce all of it does not start, and changes nothing."""
    (configuration / "bpflock.yaml").write_text("kimglock-profile: baseline\nkimglock-block: kexecc\n")
    bpflock("run", f"--config-dir={configuration}").failed(2, "kimglock has no operation 'kexecc'")
    assert pinned() == []
