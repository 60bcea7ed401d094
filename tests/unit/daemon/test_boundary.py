# SPDX-License-Identifier: Apache-2.0
"""No exception passes the main loop of the daemon: it is told once, lasts in /v1/healthz, and the next step goes on."""

from collections.abc import Callable

import pytest

from bpflock.daemon import main
from bpflock.daemon.main import _Daemon
from bpflock.daemon.state import Health, Questions
from bpflock.errors import BpflockError, BusyError, explained
from bpflock.events.model import Level, Notice
from bpflock.events.stream import Stream
from bpflock.kernel import pins
from bpflock.locks import LOCKS
from bpflock.locks.enforce import LockStatus
from bpflock.locks.model import Profile, Settings

_ANYTHING = (
    OverflowError("Python int too large to convert to C int"),
    RecursionError("maximum recursion depth exceeded"),
    ValueError("Exceeds the limit (4300 digits) for integer string conversion"),
    MemoryError(),
    KeyError("lsm/bpf"),
    OSError(28, "No space left on device", "/run/x"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    AssertionError(),
    BpflockError("the kernel refuses", hint="look at it"),
)


@pytest.fixture
def daemon() -> _Daemon:
    found = _Daemon.__new__(_Daemon)
    found._health, found._stream, found._busy_since, found._enforced = Health(), Stream(), None, {}
    found._health.report("start", None)
    return found


def _raising(error: BaseException) -> Callable[[], None]:
    def step() -> None:
        raise error

    return step


def _told(daemon: _Daemon) -> list[Notice]:
    return [entry for entry in daemon._stream.recent(100) if isinstance(entry, Notice)]


@pytest.mark.parametrize("error", _ANYTHING, ids=lambda error: type(error).__name__)
def test_whatever_a_step_raises(daemon: _Daemon, error: Exception) -> None:
    for _ in range(3):
        daemon._attempt("reading events", _raising(error))
    (notice,) = _told(daemon)
    assert notice.level is Level.ERROR and explained(error).message in notice.text
    assert daemon._health.has("reading events") and len(daemon._health.problems()) == 1
    daemon._attempt("reading events", lambda: None)
    assert daemon._health.problems() == [] and not daemon._health.has("reading events")


def test_two_steps_have_two_problems(daemon: _Daemon) -> None:
    for about in ("one", "two"):
        daemon._attempt(about, _raising(ValueError(about)))
    daemon._attempt("one", lambda: None)
    assert daemon._health.problems() == ["internal error: ValueError: two"]


def test_what_is_asked_to_end_ends(daemon: _Daemon) -> None:
    for error in (KeyboardInterrupt(), SystemExit(1)):
        with pytest.raises(type(error)):
            daemon._attempt("x", _raising(error))


def test_who_holds_the_lock_is_told_after_a_while(daemon: _Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("bpflock.daemon.main.time.monotonic", lambda: now[0])
    busy = _raising(BusyError("process 7 (x) holds the lock", hint="wait"))
    for moment in (100.0, 100 + main._BUSY):
        now[0] = moment
        daemon._attempt("status", busy)
        assert not daemon._health.has("lock") and not _told(daemon)
    for moment in (101 + main._BUSY, 102 + main._BUSY):
        now[0] = moment
        daemon._attempt("status", busy)
        daemon._attempt("canaries", busy)
    assert daemon._health.has("lock")
    (notice,) = _told(daemon)
    assert notice.text == "process 7 (x) holds the lock (wait)"


def test_who_a_reload_waits_for_is_told_at_once(daemon: _Daemon) -> None:
    daemon._tell_of_wait("waiting for process 7 (x)")
    assert daemon._health.problems() == ["waiting for process 7 (x)"]
    (notice,) = _told(daemon)
    assert (notice.text, notice.level) == ("waiting for process 7 (x)", Level.WARNING)


def test_a_long_message_is_cut(daemon: _Daemon) -> None:
    daemon._attempt("x", _raising(BpflockError("9" * 100_000, hint="less")))
    (notice,) = _told(daemon)
    assert len(notice.text) < 1000 and notice.text.endswith("(less)")


def test_a_damaged_lock_is_repaired_as_it_was(daemon: _Daemon) -> None:
    """Also one that nothing is configured for."""
    known = LockStatus(LOCKS["kimglock"], Settings(Profile.RESTRICTED), {"profile": "command line"}, 0.0, (), ())
    daemon._enforced = {"kimglock": known}
    from bpflock.config import load

    config = load({}, {"BPFLOCK_CONFIG_DIR": "/"})
    steps = {step.lock.name: step for step in daemon._repairs(config, {"kimglock", "kmodlock", pins.GUARD})}
    assert set(steps) == {"kimglock", "kmodlock"}
    assert steps["kimglock"].settings.profile is Profile.RESTRICTED
    assert steps["kmodlock"].settings == config.locks["kmodlock"].settings


@pytest.mark.parametrize("error", _ANYTHING, ids=lambda error: type(error).__name__)
def test_a_question_is_always_answered(error: Exception) -> None:
    asked: list[str] = []
    questions = Questions(lambda: asked.append("x"))

    def ask() -> None:
        with pytest.raises(BpflockError) as caught:
            questions.ask(10)
        asked.append(caught.value.message)

    import threading

    thread = threading.Thread(target=ask)
    thread.start()
    while not asked:
        pass
    while questions._waiting.empty():
        pass
    questions.answer(_raising(error))  # type: ignore[arg-type]
    thread.join()
    assert asked[1] == explained(error).message
