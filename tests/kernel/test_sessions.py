# SPDX-License-Identifier: Apache-2.0
"""What sessions are granted: a logind that says who is there opens and closes hibernation, and nothing else."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpflock.daemon.sessions import SessionKeeper
from bpflock.locks import LOCKS
from bpflock.locks.model import Profile, Sessions
from bpflock.workloads import sessions

from .conftest import ATTACK, CONTAINER, HOST, Attacker, Attempt, Locks
from .logind import Bus, FakeLogind, session
from .running import Daemon, wait
from .tools import Cli

_MOUNT = Path("/sys/fs/cgroup")
_SESSION = _MOUNT / "user.slice/user-1000.slice/session-1.scope"
_REMOTE = _MOUNT / "user.slice/user-1000.slice/session-2.scope"
_SLEEP = _MOUNT / "system.slice/systemd-hibernate.service"
_SERVICE = _MOUNT / "system.slice/another.service"
_FALSE = _MOUNT / "user.slice/user-1000.slice/systemd-hibernate.service"
_PLACES = (_SESSION, _REMOTE, _SLEEP, _SERVICE, _FALSE)
_SETTINGS = ("--kimglock-profile=restricted", "--kimglock-allow-session=active:hibernation")
_INACTIVE = session(Active=False, State="online")


@pytest.fixture(autouse=True)
def cgroups() -> Iterator[None]:
    for path in _PLACES:
        path.mkdir(parents=True)
    yield
    for path in (*_PLACES, _SESSION.parent, _SESSION.parent.parent, _SLEEP.parent):
        path.rmdir()


class Scene:
    """Attacks from cgroups."""

    def __init__(self, attacker: Attacker, locks: Locks) -> None:
        self.attacker, self.locks = attacker, locks

    def _try(self, place: Path, attack: str = "hibernation_disk", where: str = HOST) -> Attempt:
        return self.attacker.run(f"{ATTACK} cgroup {place} -- {where}{ATTACK} {attack}")

    def works(self, place: Path, attack: str = "hibernation_disk", where: str = HOST) -> bool:
        attempt = self._try(place, attack, where)
        assert attempt.status in (0, 1), attempt
        return attempt.worked

    def becomes(self, place: Path, allowed: bool) -> None:
        """An attack that a change overtakes is neither allowed nor denied: it gives up before it would hibernate."""
        status = 0 if allowed else 1
        wait(lambda: self._try(place).status == status, lambda: f"never became {allowed} in {place}")


@pytest.fixture
def scene(attacker: Attacker, locks: Locks) -> Scene:
    return Scene(attacker, locks)


def test_a_session_opens_and_closes_hibernation_only(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    bus = Bus(tmp_path)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    assert scene.works(_SESSION)
    assert scene.works(_SESSION, "kcore")
    remote = session(Scope="session-2.scope", Remote=True, Seat=("", "/"))
    with bus:
        logind = FakeLogind(bus, _INACTIVE, remote)
        with Daemon(*_SETTINGS) as daemon:
            daemon.wait_for("sessions: user.slice/user-1000.slice/session-1.scope (inactive)")
            assert [place for place in _PLACES if scene.works(place)] == []
            # Active: the session, whatever its namespaces, and the services that hibernate for it. Hibernation only.
            logind.change(session(), remote)
            daemon.wait_for("sessions: user.slice/user-1000.slice/session-1.scope (active)")
            scene.becomes(_SESSION, True)
            assert [place for place in _PLACES if scene.works(place)] == [_SESSION, _SLEEP]
            assert scene.works(_SESSION, where=CONTAINER)
            assert [place for place in _PLACES if scene.works(place, "kcore")] == []
            daemon.wait_for("operation=hibernation", "retval=0 reason=allow (session)")
            # What the administrator says of a cgroup goes first, and sessions are no exceptions of his.
            assert cli("cgroup", "list", "--json").check().json["cgroups"] == []
            cli("cgroup", "set", str(_SESSION.parent), "restricted").check()
            assert not scene.works(_SESSION)
            cli("cgroup", "unset", str(_SESSION.parent)).check()
            scene.becomes(_SESSION, True)
            # Inactive again; and gone.
            logind.change(_INACTIVE, remote)
            scene.becomes(_SESSION, False)
            assert not scene.works(_SLEEP)
            logind.change(session(), remote)
            scene.becomes(_SESSION, True)
            # logind ends, then the bus: nobody knows who is there.
            logind.end()
            scene.becomes(_SESSION, False)
            FakeLogind(bus, session())
            scene.becomes(_SESSION, True)
            bus.__exit__(None, None, None)
            scene.becomes(_SESSION, False)
            daemon.wait_for("level=warning", "systemd-logind cannot be asked over D-Bus")
            # Killed: what it granted ends by itself.
            bus.__enter__()
            FakeLogind(bus, session())
            scene.becomes(_SESSION, True)
            killed = time.monotonic()
            assert daemon.end(signal.SIGKILL) == -signal.SIGKILL
            scene.becomes(_SESSION, False)
            assert time.monotonic() - killed < 60  # and not because a test gave up
            assert not scene.works(_SLEEP)


def _load(locks: Locks, profile: Profile, granted: str, block: tuple[str, ...] = ()) -> None:
    lock = LOCKS["kimglock"]
    locks.enforcer.apply(lock, lock.settings(profile, block, session=granted), {"profile": "test"})


def test_baseline_and_what_a_dead_daemon_left(scene: Scene, locks: Locks) -> None:
    inside = _SESSION / "child"
    inside.mkdir()
    try:
        _load(locks, Profile.BASELINE, "local")
        assert not scene.works(inside, "kcore", CONTAINER)
        sessions.write(locks.enforcer, {_SESSION.stat().st_ino: [Sessions.LOCAL]})
        assert scene.works(inside, "kcore", CONTAINER)
        assert not scene.works(_REMOTE, "kcore", CONTAINER)
        assert scene.works(_REMOTE, "kcore")
        # The keeper of a new daemon has seen nobody yet.
        SessionKeeper(locks.enforcer, lambda text: None, lambda: None).keep()
        assert not scene.works(inside, "kcore", CONTAINER)
        # A session in the background is not an active one; blocked is blocked for everyone.
        _load(locks, Profile.RESTRICTED, "active", block=("kcore",))
        sessions.write(locks.enforcer, {_SESSION.stat().st_ino: [Sessions.LOCAL]})
        assert not scene.works(inside)
        sessions.write(locks.enforcer, {_SESSION.stat().st_ino: [Sessions.LOCAL, Sessions.ACTIVE]})
        assert scene.works(inside)
        assert not scene.works(inside, "kcore")
        (status,) = [status for status in locks.enforcer.status() if status.lock.name == "kimglock"]
        assert str(status.settings.session) == "active"
    finally:
        inside.rmdir()
