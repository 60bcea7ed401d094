# SPDX-License-Identifier: Apache-2.0
"""The life of the daemon: enforce, then report until asked to stop.

What is enforced does not depend on it. It may be killed at any moment: the pinned programs go on, events wait in the
ring buffer, counters count, and the next daemon adopts all three.
"""

import select
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from bpflock.config import Config, LogFormat, load
from bpflock.daemon import peer, plan
from bpflock.daemon.instance import only_daemon
from bpflock.daemon.notify import Notifier
from bpflock.daemon.report import read_report, status_document
from bpflock.daemon.sessions import SessionKeeper
from bpflock.daemon.signals import Signals
from bpflock.daemon.source import EventSource
from bpflock.daemon.state import Health, Questions
from bpflock.daemon.summary import Summaries
from bpflock.daemon.usb import UsbDevices
from bpflock.errors import BusyError, explained
from bpflock.events.model import Level, Notice
from bpflock.events.render import Format
from bpflock.events.sinks import Writer, renderer_for
from bpflock.events.stream import Stream
from bpflock.kernel import pins
from bpflock.kernel.btf import KernelTypes
from bpflock.locks import LOCKS
from bpflock.locks.enforce import Enforcer, LockStatus, Outcome, Survey
from bpflock.locks.model import Lock
from bpflock.locks.usblock import USBLOCK

_STDOUT = 1
# Records are written without wake-ups, which would cost the producers: we look this often (seconds).
_LOOK = 0.2
_SUMMARY = 10.0
_CANARY = 60.0
# How long one turn of the main loop waits for another process, and how long that may go on before it is a problem.
_PATIENCE = 1.0
_BUSY = 10.0
_LONGEST = 600  # characters of an error, which may quote anything
_STOPPING = 3.0  # how long each last step may wait


def run(config: Config) -> int:
    """Be the daemon until SIGTERM or SIGINT; the exit status. Raises BpflockError if not all can be enforced."""
    with Signals() as signals, only_daemon(config.runtime_dir):
        stream = Stream()
        form = None if config.log_format is LogFormat.AUTO else Format(config.log_format.value)
        writer = Writer(stream, _STDOUT, renderer_for(_STDOUT, form))
        try:
            progress = (lambda text: stream.publish([Notice(text)])) if config.debug else None
            with Enforcer(progress, config.event_buffer) as enforcer:
                daemon = _Daemon(config, enforcer, stream, signals)
                daemon.start()
                daemon.serve()
                daemon.stop()
        finally:
            writer.close()
    return 0


def _explain(error: Exception) -> str:
    found = explained(error)
    message = found.message[:_LONGEST]
    return f"{message} ({found.hint})" if found.hint else message


class _Every:
    """A timer that is due each so many seconds, for the first time after `first`."""

    def __init__(self, period: float, first: float | None = None) -> None:
        self._period = period
        self._next = time.monotonic() + (period if first is None else first)

    def due(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._period
        return True


class _Daemon:
    """All of it in the main thread, which alone may use bpf(2)."""

    def __init__(self, config: Config, enforcer: Enforcer, stream: Stream, signals: Signals) -> None:
        self._config = config
        self._enforcer = enforcer
        enforcer.wait = pins.Wait(tell=self._tell_of_wait, cancelled=lambda: signals.stop)
        self._stream = stream
        self._signals = signals
        self._notifier = Notifier()
        self._health = Health()
        self._questions = Questions(signals.wake)
        self._source = EventSource(enforcer)
        # What we enforced, and what of it somebody else has removed since.
        self._enforced: dict[str, LockStatus] = {}
        self._removed: set[str] = set()
        self._broken: dict[str, str] = {}
        self._busy_since: float | None = None
        self._summaries = Summaries(())
        self._sessions = SessionKeeper(enforcer, self._tell, signals.wake)
        # Before the locks: no device is plugged in between and missed.
        self._usb = UsbDevices(lambda text: self._tell(text, lock=USBLOCK))

    def _tell(self, text: str, level: Level = Level.INFO, lock: Lock | None = None) -> None:
        self._stream.publish([Notice(text, level, lock.name if lock else "")])

    def _attempt(self, about: str, step: Callable[[], object]) -> None:
        """A step of the main loop, which no exception passes: whatever it is, it is told once, /v1/healthz tells it as
        long as it lasts, and the other steps go on. That somebody holds the lock is a problem only after a while."""
        problem = None
        try:
            step()
        except BusyError as error:
            now = time.monotonic()
            self._busy_since = self._busy_since or now
            if now - self._busy_since > _BUSY and self._health.report("lock", error.message):
                self._tell(_explain(error), Level.ERROR)
            return
        except Exception as error:
            problem = _explain(error)
        if self._health.report(about, problem) and problem:
            self._tell(problem, Level.ERROR)

    def _tell_of_wait(self, text: str) -> None:
        """While a start or a reload waits for somebody, who may never let go."""
        self._busy_since = self._busy_since or time.monotonic()
        self._health.report("lock", text)
        self._tell(text, Level.WARNING)

    # Start

    def start(self) -> None:
        started = time.monotonic()
        loaded = {status.lock.name: status for status in self._enforcer.status()}
        pinned = {name: plan.Pinned(status.settings, status.origins) for name, status in loaded.items()}
        for step in plan.at_start(self._config, pinned):
            self._take(step, loaded.get(step.lock.name))
        self._load_policies(self._config)
        self._remember()
        self._compare(self._enforcer.survey())
        self._summaries = Summaries(self._enforced.values())
        self._health.report("start", None)
        self._tell(f"{self._headline()} after {time.monotonic() - started:.2f} s")
        self._listen()
        self._notifier.ready(self._headline())

    def _take(self, step: plan.Step, before: LockStatus | None) -> None:
        """One step of a plan; a line says what is enforced now, from where."""
        outcome = Outcome.ADOPTED
        if step.action is plan.Action.APPLY:
            outcome = self._enforcer.apply(step.lock, step.settings, step.origins)
        word = outcome.value if step.action is plan.Action.APPLY else "kept, nothing else is configured"
        history = _history(before) if before and outcome is Outcome.ADOPTED else ""
        self._tell(f"{word}: {plan.describe(step.settings, step.origins)}{history}", lock=step.lock)

    def _load_policies(self, config: Config) -> None:
        """Those of the configuration directory. Raises BpflockError if they are not all accepted: nothing changed."""
        directory = config.config_dir / "policy.d"
        files = sorted(directory.glob("*.bpfbox"))
        if not files and not pins.exists(pins.POLICY):
            return
        # They take their time to import, and most machines have no policies.
        from bpflock.confine.engine import Engine
        from bpflock.confine.policies import Policies
        from bpflock.policy.bpfbox.load import load as load_policies

        policy = load_policies(files)
        loaded = Policies(Engine(self._enforcer), config.policy_allow_missing).sync(directory, policy)
        word = "adopted" if loaded is None else "loaded"
        names = [profile.executable for profile in policy.profiles]
        if loaded is not None:
            names = [found.resolved.names for found in loaded]
        self._tell(f"policies {word} from {directory}: {', '.join(names) or 'none'}")
        for found in loaded or ():
            if found.replaces:
                self._tell(f"{found.profile.origin}: replaces the profile of {found.replaces}")
            for note in found.resolved.notes:
                self._tell(f"{found.profile.origin}: {note}", Level.WARNING)

    def _remember(self) -> None:
        """What is in the kernel now is what should stay there."""
        KernelTypes.release()
        self._enforced = {status.lock.name: status for status in self._enforcer.status()}
        self._follow_sessions(self._enforced.values())
        self._removed = set()
        for name in LOCKS:
            self._health.report(f"{name} in the kernel", None)

    def _headline(self) -> str:
        names = [name for name in self._enforced if name not in self._removed and name not in self._broken]
        return f"enforcing {', '.join(names)}" if names else "enforcing nothing"

    def _listen(self) -> None:
        listener = peer.listen(self._config.runtime_dir)

        def serve() -> None:
            try:
                # Takes its time to import, so only now: all is enforced, and clients wait in the socket's queue.
                from bpflock.daemon.api import Service
                from bpflock.daemon.api import serve as serve_clients

                serve_clients(listener, Service(self._health, self._questions, self._stream))
            except Exception as error:
                self._health.report("api", f"the local API does not work: {error}")
                self._tell(f"the local API does not work: {error}", Level.ERROR)

        threading.Thread(target=serve, name="api", daemon=True).start()

    # Serve

    def serve(self) -> None:
        # What was adopted has not been tested yet: soon, but not before the first clients got their answers.
        summary, canary = _Every(_SUMMARY), _Every(_CANARY, first=1)
        watchdog = _Every(self._notifier.watchdog / 2) if self._notifier.watchdog else None
        patient = self._enforcer.wait
        while not self._signals.stop:
            self._enforcer.wait = replace(patient, seconds=_PATIENCE, tell=None)
            self._attempt("waiting for events", self._wait)
            self._health.beat()
            self._attempt("reading events", self._drain)
            self._attempt("USB", self._decide_on_usb)
            self._attempt("writing sessions", self._keep_sessions)
            if self._signals.reload:
                self._signals.reload = False
                self._enforcer.wait = patient
                self._attempt("reload", self._reload)
                self._enforcer.wait = replace(patient, seconds=_PATIENCE, tell=None)
            if summary.due() or self._busy_since is not None:
                self._attempt("status", self._summarise)
            if canary.due():
                self._attempt("canaries", self._test_canaries)
            self._questions.answer(lambda: status_document(read_report(self._enforcer)))
            if watchdog and watchdog.due():
                self._notifier.send(WATCHDOG=1)

    def _wait(self) -> None:
        """Until it is time to look, or something happens that cannot wait: a ring that fills up is one."""
        if self._health.has("waiting for events"):
            time.sleep(_LOOK)  # nothing else would keep the loop from spinning
        poller = select.poll()
        poller.register(self._signals.fileno(), select.POLLIN)
        ring = self._source.fileno()
        if ring is not None:
            poller.register(ring, select.POLLIN)
        poller.register(self._usb.fileno(), select.POLLIN)
        poller.poll(_LOOK * 1000)
        self._signals.clear()

    def _decide_on_usb(self) -> None:
        """On devices that were plugged in, unless somebody else has removed the lock."""
        if not self._usb.due() or not pins.exists(USBLOCK.name) or USBLOCK.name not in self._enforced:
            return
        problem = None
        try:
            with self._enforcer.exclusive():
                self._usb.decide(self._enforced[USBLOCK.name].settings)
        except BusyError:
            raise
        except Exception as error:
            problem = _explain(error)
        if self._health.report("USB devices", problem) and problem:
            self._tell(problem, Level.ERROR, USBLOCK)

    def _follow_sessions(self, statuses: Iterable[LockStatus]) -> None:
        problem = None
        try:
            self._sessions.follow(statuses)
        except Exception as error:
            problem = _explain(error)
        if self._health.report("sessions", problem) and problem:
            self._tell(problem, Level.ERROR)

    def _keep_sessions(self) -> None:
        try:
            problem = self._sessions.keep()
        except BusyError:
            raise
        except Exception as error:
            problem = _explain(error)
        if self._health.report("logind", problem):
            self._tell(problem or "systemd-logind answers", Level.WARNING if problem else Level.INFO)

    def _drain(self) -> None:
        malformed = self._source.malformed
        for events in self._source.read():
            self._stream.publish(events)
        if self._source.malformed != malformed:
            self._tell("events could not be read: another version of bpflock wrote them", Level.ERROR)

    def _summarise(self) -> None:
        survey = self._enforcer.survey()
        self._busy_since = None
        if self._health.report("lock", None):
            self._tell("nobody holds the lock of the pins any more")
        self._stream.publish(self._summaries.since_last(survey.locks))
        self._compare(survey)
        if not self._signals.stop:
            self._follow_sessions(survey.locks)

    def _compare(self, survey: Survey) -> None:
        """Tell if somebody else removed, changed or damaged a lock: it is theirs to do, but must not go unnoticed."""
        found = {status.lock.name: status for status in survey.locks}
        self._broken = {broken.name: broken.problem for broken in survey.broken}
        self._removed = {name for name in self._enforced if name not in found and name not in self._broken}
        for name in (pins.GUARD, *LOCKS):
            problem = f"the pins of {name} are damaged: {self._broken[name]}" if name in self._broken else None
            if self._health.report(f"pins of {name}", problem):
                told = f"{problem}; SIGHUP loads it again" if problem else "its pins are whole again"
                self._tell(told, Level.ERROR if problem else Level.INFO, LOCKS.get(name))
        unguarded = bool(found) and not pins.exists(pins.GUARD)
        problem = (
            "the guard was removed by somebody else: kernel.ftrace_enabled=0 ends all locks" if unguarded else None
        )
        if self._health.report("guard in the kernel", problem) and problem:
            self._tell(f"{problem}; SIGHUP loads it again", Level.ERROR)
        for name, expected in self._enforced.items():
            problem = None
            if name in self._broken:
                continue
            if name in self._removed:
                problem = "was removed by somebody else"
            elif found[name].settings != expected.settings:
                problem = f"was changed by somebody else: {plan.describe(found[name].settings, found[name].origins)}"
            elif found[name].hooks != expected.hooks:
                problem = f"was changed by somebody else: it is on {', '.join(found[name].hooks) or 'no hook'} only"
            if self._health.report(f"{name} in the kernel", f"{name} {problem}" if problem else None):
                hint = "; SIGHUP enforces the configuration again" if self._config.locks[name].configured else ""
                told = f"{problem}{hint}" if problem else "as configured again"
                self._tell(told, Level.WARNING if problem else Level.INFO, LOCKS[name])

    def _test_canaries(self) -> None:
        if not pins.exists(pins.GUARD):
            return  # it makes the canaries; _compare() tells that it is gone
        for name in (pins.GUARD, *self._enforced):
            if pins.exists(name):  # or _compare() tells of it
                self._test_canary(name, self._test_lock)
        if pins.exists(pins.POLICY):
            self._test_canary(pins.POLICY, self._test_policies)

    def _test_lock(self, name: str) -> None:
        with self._enforcer.exclusive():
            self._enforcer.canary(name)

    def _test_policies(self, _name: str) -> None:
        from bpflock.confine.engine import Engine

        Engine(self._enforcer).test()

    def _test_canary(self, name: str, test: Callable[[str], None]) -> None:
        problem = None
        try:
            test(name)
        except BusyError:
            raise
        except Exception as error:
            problem = _explain(error)
        news = self._health.report(f"canary of {name}", problem)
        # A lock without effect is told again at each test, not only once.
        if problem:
            self._tell(f"NOT ENFORCED: {problem}", Level.ERROR, LOCKS.get(name))
        elif news:
            self._tell("enforced again: the canary was denied", lock=LOCKS.get(name))

    # Reload

    def _reload(self) -> None:
        self._notifier.reloading()
        try:
            config = load(self._config.flags)
        except Exception as error:
            self._tell(f"the configuration was not reloaded, nothing changed: {_explain(error)}", Level.ERROR)
        else:
            self._apply(config)
        self._notifier.ready(self._headline())

    def _apply(self, config: Config) -> None:
        for text in config.notes:
            self._tell(text, Level.WARNING)
        survey = self._enforcer.survey()
        loaded = {status.lock.name: status for status in survey.locks}
        failed = []
        steps = plan.at_reload(config, self._config, loaded)
        steps += self._repairs(config, {broken.name for broken in survey.broken} - {step.lock.name for step in steps})
        for step in steps:
            try:
                self._take(step, loaded.get(step.lock.name))
                problem = None
            except Exception as error:
                failed.append(step.lock.name)
                problem = f"{step.lock.name} could not be changed: {explained(error).message}"
                self._tell(f"not changed: {_explain(error)}", Level.ERROR, step.lock)
            self._health.report(f"reload of {step.lock.name}", problem)
        try:
            self._load_policies(config)
            problem = None
        except Exception as error:
            failed.append("the policies")
            problem = f"the policies were not changed: {explained(error).message}"
            self._tell(f"the policies were not changed: {_explain(error)}", Level.ERROR)
        self._health.report("reload of the policies", problem)
        fixed = [
            name
            for name in ("log_format", "event_buffer", "runtime_dir", "debug")
            if getattr(config, name) != getattr(self._config, name)
        ]
        if fixed:
            names = ", ".join(name.replace("_", "-") for name in fixed)
            self._tell(f"{names}: takes effect at the next start", Level.WARNING)
        self._config = config
        self._remember()
        self._compare(self._enforcer.survey())
        self._usb.reconsider()
        but = f", but not for {', '.join(failed)}" if failed else ""
        self._tell(f"the configuration was reloaded{but}")
        self._test_canaries()

    def _repairs(self, config: Config, broken: set[str]) -> list[plan.Step]:
        """For damaged locks that nothing is configured for: what they were, as far as we know it."""
        steps = []
        for name in broken & set(LOCKS):
            known, wanted = self._enforced.get(name), config.locks[name]
            settings, origins = (known.settings, known.origins) if known else (wanted.settings, wanted.origins)
            steps.append(plan.Step(LOCKS[name], plan.Action.APPLY, settings, origins))
        return steps

    # Stop

    def stop(self) -> None:
        self._notifier.send(STOPPING=1, STATUS="stopping")
        # Whoever holds the lock keeps us from counting, not from ending.
        self._enforcer.wait = pins.Wait(_STOPPING)
        self._attempt("sessions", self._sessions.close)
        self._attempt("reading events", self._drain)
        self._attempt("status", self._summarise)
        if self._config.remove_bpf_programs:
            for lock in LOCKS.values():
                if self._enforcer.remove(lock):
                    self._tell("removed", lock=lock)
            if pins.exists(pins.POLICY):
                from bpflock.confine.engine import Engine

                Engine(self._enforcer).unload()
                self._tell("policies removed")
            self._drain()
        else:
            self._tell(f"stopped; the kernel goes on {self._headline()}")
        (self._config.runtime_dir / peer.SOCKET_FILE).unlink(missing_ok=True)
        self._source.close()
        self._usb.close()


def _history(status: LockStatus) -> str:
    """The counters of a lock that was there before us: `; since 2022-02-07 06:57:22: 12 allowed, 3 denied, ...`."""
    counts = {
        name: sum(getattr(counter, name) for counter in status.counters)
        for name in ("allowed", "denied", "limited", "dropped")
    }
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status.since))
    return f"; since {since}: {', '.join(f'{count} {name}' for name, count in counts.items())}"
