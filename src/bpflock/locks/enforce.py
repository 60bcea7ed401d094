# SPDX-License-Identifier: Apache-2.0
"""Putting locks into the kernel, taking them out, and reading what they did."""

import contextlib
import enum
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bpflock.errors import BpflockError, UnsupportedError, UsageError, explained
from bpflock.kernel import canary, host, own, pins, usb
from bpflock.kernel.bpf import Map, Object, maps_of_program, misses_of_link, program_of_link
from bpflock.kernel.btf import ObjectTypes
from bpflock.kernel.ring import Ring
from bpflock.locks import LOCKS
from bpflock.locks.model import Lock, Profile, SessionGrant, Sessions, Settings
from bpflock.locks.usblock import USBLOCK, keeps_out

EVENT_BUFFER = 1024 * 1024  # bytes; a power of two and a multiple of the page size
_OPS = 64  # bpf/bpflock.h: operations of one lock
_OTHER, _CANARY = 62, 63  # bpf/bpflock.h: OP_OTHER, OP_CANARY
_ALL_BITS = (1 << _OPS) - 1
_COUNTERS_SECTION = ".data.counters"
_CPUS_MAX = 1024  # with counters of their own: the kernel takes values of 4 MB at most
_SHOWN_SECTION = ".data.superblocks"
CONFIG_SECTION = ".rodata.config"  # of bpf/common.bpf.h; begins with struct bpflock_config
_DOOR = "lsm/task_prctl"  # of the guard
_EVENTS, _SHARED = "bpflock_events", "bpflock_shared"
_FTRACE = Path("/proc/sys/kernel/ftrace_enabled")
_LOCKDOWN = Path("/sys/kernel/security/lockdown")


class Outcome(enum.Enum):
    """What apply() found to do."""

    LOADED = "loaded"
    REPLACED = "replaced"
    ADOPTED = "adopted"
    OFF = "off"


@dataclass(frozen=True)
class Counter:
    """Of one operation, since the lock was loaded: allowed + denied = attempts = events sent + limited + dropped."""

    operation: str
    allowed: int
    denied: int
    limited: int
    dropped: int


@dataclass(frozen=True)
class LockStatus:
    """A loaded lock. `since` is in seconds since the epoch; `counters` holds the operations that occurred. `missed`:
    how often a tracer was left out, and saw and counted nothing, since it was loaded or replaced; locks never are."""

    lock: Lock
    settings: Settings
    origins: Mapping[str, str]
    since: float
    hooks: tuple[str, ...]
    counters: tuple[Counter, ...]
    missed: int = 0


@dataclass(frozen=True)
class Broken:
    """A lock whose pins are damaged: what it enforces and counts cannot be told. Loading it again repairs it."""

    name: str
    problem: str


@dataclass(frozen=True)
class Survey:
    """All that is pinned. `broken` may name the guard, too."""

    locks: tuple[LockStatus, ...] = ()
    broken: tuple[Broken, ...] = ()


def cpu_mask() -> int:
    """Of the number of a CPU: where its counters are. CPUs beyond _CPUS_MAX share those of others."""
    return min(1 << (host.possible_cpus() - 1).bit_length(), _CPUS_MAX) - 1


def operation_numbers(lock: Lock) -> dict[str, int]:
    """The number of each operation in masks, counters and events."""
    numbers = ObjectTypes.load(lock.name).enum(f"{lock.name}_op")
    return {operation.name: numbers[f"{lock.name}_{operation.name}".upper()] for operation in lock.operations}


def operation_names(lock: Lock) -> dict[int, str]:
    """The operation that a number in an event stands for."""
    return {number: name for name, number in operation_numbers(lock).items()} | {_OTHER: "other"}


def _with_required(lock: Lock, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """The allow list with what its operations cannot happen without."""
    named = lock.names()
    return tuple(sorted({*allowed, *(name for word in allowed if word in named for name in named[word].requires)}))


def _mask(numbers: Mapping[str, int], operations: tuple[str, ...]) -> int:
    """Of the operations; selectors are none."""
    return sum(1 << numbers[name] for name in operations if name in numbers)


def _all(lock: Lock) -> tuple[str, ...]:
    return tuple(operation.name for operation in lock.operations)


def _selectors(lock: Lock, settings: Settings) -> dict[str, object]:
    """What of the lists the kernel does not decide on, kept beside the pins."""
    known = lock.names()
    lists = {"block": settings.block, "allow": settings.allow}
    return {name: [word for word in words if word not in known] for name, words in lists.items()}


class Enforcer:
    """The locks in the kernel. Every method finishes what it does before it returns: nothing is half applied.

    `progress` is told of what takes long, `waiting` of who is waited for; `event_buffer` is the size in bytes of the
    ring buffer, if it is not there yet. Methods raise BpflockError.
    """

    def __init__(
        self,
        progress: Callable[[str], None] | None = None,
        event_buffer: int = EVENT_BUFFER,
        waiting: Callable[[str], None] | None = None,
    ) -> None:
        self._progress = progress
        self._event_buffer = event_buffer
        # How to wait while another process changes what is pinned.
        self.wait = pins.Wait(tell=waiting or progress)
        # Which pinned guard is known to be the one that we would load: an inode, and the hooks it is on.
        self._guard: tuple[int, tuple[str, ...]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def say(self, text: str) -> None:
        """Tell whoever waits what takes long."""
        if self._progress:
            self._progress(text)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Alone with what is pinned, and let in by the guard if there is one."""
        with pins.exclusive(self.wait):
            self._enter()
            yield

    def _key(self) -> bytes | None:
        return own.read_key(pins.directory(pins.GUARD) / "key")

    def _enter(self) -> None:
        """Pass the guard's door, if there is a guard. One whose door is gone cannot answer: it is loaded again."""
        key = self._key()
        if key and not own.enter(key) and _DOOR in pins.hooks(pins.GUARD):
            _require_ftrace()
            raise BpflockError(
                "the guard does not answer: its program does not run",
                hint=f"look at 'bpflock check'; rm -r {pins.ROOT} ends all locks",
            )

    def apply(self, lock: Lock, settings: Settings, origins: Mapping[str, str]) -> Outcome:
        """Enforce the lock with these settings, without a moment in which a lock that was there is not.

        Adopts what is pinned if it is the same. A tracer that traces nothing is taken out.
        """
        with self.exclusive():
            if settings.profile is Profile.NONE:
                self._remove(lock.name)
                return Outcome.OFF
            self.require_lsm()
            try:
                self.ensure_guard()
                if lock is USBLOCK and keeps_out(settings):
                    usb.require_core()
                outcome = self._load(lock.name, settings, origins)
                if lock is USBLOCK:
                    self._set_hubs(settings, outcome)
                return outcome
            except BpflockError:
                self.remove_unused_pins()  # a guard that guards nothing
                raise

    def remove(self, lock: Lock) -> bool:
        """End the lock, and the guard with the last one. False if it was not loaded."""
        with self.exclusive():
            return self._remove(lock.name)

    def _set_hubs(self, settings: Settings, outcome: Outcome) -> None:
        """Make the kernel keep new USB devices out, or not; remember what it did before."""
        before = pins.read_link(USBLOCK.name, pins.USB_BEFORE)
        if not keeps_out(settings):
            if before:
                self._restore_hubs(before)
                pins.write_link(pins.directory(USBLOCK.name), pins.USB_BEFORE, {})
            return
        if not before:
            pins.write_link(pins.directory(USBLOCK.name), pins.USB_BEFORE, usb.defaults())
        try:
            usb.close_hubs()
        except BpflockError:
            if outcome is Outcome.LOADED:
                self._remove(USBLOCK.name)
            raise

    def _restore_hubs(self, before: Mapping[str, object]) -> None:
        usb.restore_hubs({name: str(value) for name, value in before.items()})

    def _remove(self, name: str) -> bool:
        # Before the programs go: if it fails, they stay.
        if name == USBLOCK.name and (before := pins.read_link(name, pins.USB_BEFORE)):
            self._restore_hubs(before)
        removed = pins.remove(name)
        self.remove_unused_pins()
        return removed

    def remove_unused(self) -> None:
        """Without a lock, take the guard and the shared maps out too."""
        with self.exclusive():
            self.remove_unused_pins()

    def remove_unused_pins(self) -> None:
        """Without a lock or policy, take the guard and the shared maps out. Exceptions for cgroups stay until they are
        unset, and the hooks of the next lock find them."""
        if any(pins.exists(name) for name in (*LOCKS, pins.POLICY)):
            return
        keep = False
        if pins.shared("bpflock_cgroupmap").exists():
            with Map.open(pins.shared("bpflock_cgroupmap")) as exceptions:
                ours = (exceptions.key_size, exceptions.value_size) == (8, 4)  # or another version's
                keep = ours and next(iter(exceptions), None) is not None
        pins.remove(pins.GUARD)
        pins.remove_shared(pin for pin in pins.SHARED_MAPS if not (keep and pin in pins.CGROUP_MAPS))

    def ensure_base(self) -> None:
        """Load the guard and the shared maps, for what needs them before the first lock."""
        with self.exclusive():
            self.require_lsm()
            self.ensure_guard()

    def require_lsm(self) -> None:
        """Raises UnsupportedError where LSM programs would have no effect."""
        active = Path("/sys/kernel/security/lsm")
        if active.exists() and "bpf" not in active.read_text().split(","):
            raise UnsupportedError(
                "BPF programs are not among this kernel's security modules: no lock would have an effect",
                hint="'bpflock check' shows how to switch them on",
            )
        _require_ftrace()

    def ensure_guard(self) -> None:
        """Load the guard, and pass its door."""
        if self._guard and self._guard == self._pinned_guard() and not self._damage(pins.GUARD):
            return
        self._load(pins.GUARD, Settings(Profile.RESTRICTED), {})
        self._enter()
        self._guard = self._pinned_guard()

    def _pinned_guard(self) -> tuple[int, tuple[str, ...]] | None:
        with contextlib.suppress(FileNotFoundError):
            return (pins.directory(pins.GUARD) / pins.CONFIG).stat().st_ino, pins.hooks(pins.GUARD)
        return None

    def _load(self, name: str, settings: Settings, origins: Mapping[str, str]) -> Outcome:
        replacing = pins.exists(name)
        with Object(name) as program:
            program.take_optional()
            self._configure(program, name, settings)
            needless = () if name == pins.GUARD else LOCKS[name].needless(LOCKS[name].parameter_values(settings))
            for each in program.programs:
                if each.hook in needless:
                    each.use(False)
            parameters = dict(settings.parameters)
            selectors = _selectors(LOCKS[name], settings) if name != pins.GUARD and LOCKS[name].selector else {}
            if replacing and self._same(program, name) and pins.read_link(name, pins.SELECTORS) == selectors:
                pins.write_parameters(pins.directory(name), parameters)
                pins.write_origins(pins.directory(name), origins)
                return Outcome.ADOPTED
            with pins.staging(name) as stage:
                if name == pins.GUARD:
                    key = self._key() or own.new_key()  # a new guard lets in whom the old one let in
                    program.set_constant(".rodata", "key", key)
                    own.write_key(stage / "key", key)
                self.load_with_shared_maps(program, name)
                self.attach(program, stage)
                if name != pins.GUARD and (show := LOCKS[name].show):
                    with program.map(_SHOWN_SECTION) as shown:
                        show(LOCKS[name].parameter_values(settings), shown)
                        shown.pin(stage / pins.SHOWN)
                pins.write_parameters(stage, parameters)
                if selectors:
                    pins.write_link(stage, pins.SELECTORS, selectors)
                for kept in (pins.USB_BEFORE, pins.USB_BLOCKED):
                    if found := pins.read_link(name, kept):
                        pins.write_link(stage, kept, found)
                pins.write_origins(stage, origins)
            pins.publish(name)
        try:
            self.canary(name)
        except BpflockError:
            if not replacing:
                pins.remove(name)
            raise
        return Outcome.REPLACED if replacing else Outcome.LOADED

    def _configure(self, program: Object, name: str, settings: Settings) -> None:
        """Set the constants: `config` of bpf/bpflock.h, and what a lock's own parameters come to."""
        numbers = {} if name == pins.GUARD else operation_numbers(LOCKS[name])
        allowed, kinds = settings.allow, 0
        granted: tuple[str, ...] = ()
        if name != pins.GUARD:
            allowed = _with_required(LOCKS[name], settings.allow)
        if settings.session:
            granted = _with_required(LOCKS[name], settings.session.operations or _all(LOCKS[name]))
            kinds = ObjectTypes.load().enum("bpflock_session_kind")[settings.session.sessions.symbol]
        config = program.types.struct("bpflock_config").pack(
            block=_mask(numbers, settings.block),
            allow=_mask(numbers, allowed),
            session=_mask(numbers, granted),
            kinds=kinds,
            build=program.build,
            profile=ObjectTypes.load().enum("bpflock_profile")[settings.profile.symbol],
            init_net=host.initial_network_namespace(),
            cpu_mask=cpu_mask(),
        )
        program.set_constant(CONFIG_SECTION, "config", config)
        plain = ~_mask(numbers, settings.block) if settings.profile in (Profile.ALLOW, Profile.BASELINE) else 0
        program.set_constant(".rodata", "plain_ops", struct.pack("=Q", plain & _ALL_BITS))
        resolve = None if name == pins.GUARD else LOCKS[name].resolve
        if resolve:
            target = program.types.struct(f"{name}_target").pack(**resolve(LOCKS[name].parameter_values(settings)))
            program.set_constant(CONFIG_SECTION, "target", target)

    def _same(self, program: Object, name: str) -> bool:
        """Whether what is pinned is what we would load, and whole."""
        if set(pins.hooks(name)) != {found.hook for found in program.programs if found.used}:
            return False
        if self._damage(name):
            return False
        try:
            if name != pins.GUARD and LOCKS[name].show:
                with Map.open(pins.directory(name) / pins.SHOWN) as shown:
                    if any(shown.values()[-8:]):
                        return False
            with Map.open(pins.directory(name) / pins.CONFIG) as pinned:
                return pinned.values() == program.constants(CONFIG_SECTION)
        except BpflockError:
            return False

    def load_with_shared_maps(self, program: Object, name: str) -> None:
        """Load an object with the maps that all objects share, made and pinned if they are not there yet."""
        with contextlib.ExitStack() as stack:
            missing = {}
            for pin, name_in_object in pins.SHARED_MAPS.items():
                if pins.shared(pin).exists():
                    program.reuse(name_in_object, stack.enter_context(Map.open(pins.shared(pin))), pin)
                else:
                    missing[pin] = name_in_object
            if "bpflock_events" in missing:
                program.set_max_entries("bpflock_events", self._event_buffer)
            self._keep_counters(program, name, stack)
            program.load()
            for pin, name_in_object in missing.items():
                with program.map(name_in_object) as created:
                    created.pin(pins.shared(pin))

    def _keep_counters(self, program: Object, name: str, stack: contextlib.ExitStack) -> None:
        """Counts go on when a lock is replaced, unless their layout changed."""
        size = (cpu_mask() + 1) * _OPS * ObjectTypes.load("kimglock").struct("bpflock_counter").size
        path = pins.directory(name) / pins.COUNTERS
        if path.exists():
            with contextlib.suppress(BpflockError):
                counters = stack.enter_context(Map.open(path))
                if (counters.value_size, counters.max_entries) == (size, 1):
                    program.replace(_COUNTERS_SECTION, counters)
                    return
        program.replace(_COUNTERS_SECTION, stack.enter_context(Map.block(pins.COUNTERS, size)))

    def attach(self, program: Object, stage: Path, without: tuple[str, ...] = ()) -> None:
        """Attach all programs but for some, by hook or name, and pin their links; then only the pins hold them."""
        with contextlib.ExitStack() as stack:
            cgroup = stack.enter_context(host.root_cgroup()) if _needs_cgroup(program) else None
            for found in program.programs:
                if not found.used or found.hook in without or found.name in without:
                    continue
                link = found.attach(cgroup)
                stack.callback(link.close)
                link.pin(pins.link_path(stage, found.hook))
        for name, pin in ((_COUNTERS_SECTION, pins.COUNTERS), (CONFIG_SECTION, pins.CONFIG)):
            with program.map(name) as kept:
                kept.pin(stage / pin)

    def canary(self, name: str) -> None:
        """Prove for every hook of a loaded lock that its program fires. Raises BpflockError for one that does not."""
        key = self._key()
        if key is None:
            raise BpflockError("there is no guard", hint="load a lock first")
        if name == pins.GUARD:
            if not own.enter(key):
                _require_ftrace()
                raise BpflockError("lsm/task_prctl: the program is attached but does not fire")
            return
        own.enter(key)
        with Map.open(pins.directory(name) / pins.COUNTERS) as counters:
            for hook in pins.hooks(name):
                before = self.canary_count(counters)
                reached = canary.provoke(hook, key, LOCKS[name].symbol)
                if reached and self.canary_count(counters) == before and not _refused_before(hook):
                    _require_ftrace()
                    raise BpflockError(
                        f"{name}: the program on {hook} is attached but does not fire",
                        hint="another security module may refuse first: see /sys/kernel/security/lsm",
                    )

    def canary_count(self, counters: Map) -> int:
        """How often a canary was denied, by a lock's counters."""
        layout = ObjectTypes.load("kimglock").struct("bpflock_counter")
        denied = next(field.offset for field in layout.fields if field.name == "denied")
        values = counters.values()
        canaries = range(_CANARY * layout.size, len(values), _OPS * layout.size)  # one for each CPU
        return sum(struct.unpack_from("=Q", values, start + denied)[0] for start in canaries)

    def _damage(self, name: str) -> str | None:
        """What is wrong with the pins of a lock or the guard."""
        programs = {path: program_of_link(path) for path in pins.link_paths(name)}
        if not programs:
            return "no program is attached"
        for path, program in programs.items():
            if program is None:
                return f"{path} is not the pin of an attached program"
        try:
            if name == pins.GUARD:
                if self._key() is None:
                    return f"its key is gone from {pins.directory(name)}"
                if _DOOR not in pins.hooks(name):
                    return f"the program on {_DOOR} was taken out"
            for pin in (pins.CONFIG, pins.COUNTERS):
                Map.open(pins.directory(name) / pin).close()
            used = frozenset[int]().union(*(maps_of_program(program) for program in programs.values() if program))
            for pin in (_SHARED,) if name == pins.GUARD else (_SHARED, _EVENTS):
                with Map.open(pins.shared(pin)) as pinned:
                    if used and pinned.id not in used:
                        return f"it does not use the pinned map {pin}, but one that was removed"
        except BpflockError as error:
            return error.message
        return None

    def status(self) -> list[LockStatus]:
        """The loaded locks that are whole, in their usual order."""
        return list(self.survey().locks)

    def survey(self) -> Survey:
        """The loaded locks, in their usual order, and what of them and of the guard is damaged."""
        host.require_root()
        if not pins.ROOT.exists():
            return Survey()
        locks, broken = [], []
        with self.exclusive():
            if pins.exists(pins.GUARD) and (problem := self._damage(pins.GUARD)):
                broken.append(Broken(pins.GUARD, problem))
            for lock in LOCKS.values():
                if not pins.exists(lock.name):
                    continue
                try:
                    if problem := self._damage(lock.name):
                        raise BpflockError(problem)
                    locks.append(self._status(lock))
                except Exception as error:  # whatever it is, the other locks are told of
                    broken.append(Broken(lock.name, explained(error).message))
        return Survey(tuple(locks), tuple(broken))

    def _status(self, lock: Lock) -> LockStatus:
        types = ObjectTypes.load(lock.name)
        with Map.open(pins.directory(lock.name) / pins.CONFIG) as pinned:
            layout = types.struct("bpflock_config")
            config = layout.unpack(pinned.values()[: layout.size])
        numbers = operation_numbers(lock)
        profiles = {value: name for name, value in ObjectTypes.load().enum("bpflock_profile").items()}
        lists = {
            part: {name for name, bit in numbers.items() if config[part] >> bit & 1}
            | {str(word) for word in pins.read_words(lock.name, pins.SELECTORS, part)}
            for part in ("block", "allow")
        }
        granted = tuple(sorted(name for name, bit in numbers.items() if config["session"] >> bit & 1))
        kinds = ObjectTypes.load().enum("bpflock_session_kind")
        session = next(
            (
                SessionGrant(sessions, () if len(granted) == len(numbers) else granted)
                for sessions in Sessions
                if config["kinds"] == kinds[sessions.symbol]
            ),
            None,
        )
        settings = Settings(
            Profile(profiles[config["profile"]].removeprefix("PROFILE_").lower()),
            tuple(sorted(lists["block"])),
            tuple(sorted(lists["allow"])),
            tuple(pins.read_parameters(lock.name).items()),
            session,
        )
        return LockStatus(
            lock,
            settings,
            pins.read_origins(lock.name),
            pins.since(lock.name),
            pins.hooks(lock.name),
            self._counters(lock),
            sum(misses_of_link(path) for path in pins.link_paths(lock.name)) if lock.is_tracer else 0,
        )

    def _counters(self, lock: Lock) -> tuple[Counter, ...]:
        layout = ObjectTypes.load(lock.name).struct("bpflock_counter")
        allowed, denied, limited, dropped, repeated = (
            [field.name for field in layout.fields].index(name)
            for name in ("allowed", "denied", "limited", "dropped", "repeated")
        )
        names = operation_names(lock)
        totals: dict[int, list[int]] = {}
        with Map.open(pins.directory(lock.name) / pins.COUNTERS) as counters:
            for index, values in enumerate(layout.compile().iter_unpack(counters.values())):
                number = index % _OPS
                if number == _CANARY or not (values[allowed] or values[denied]):
                    continue
                total = totals.setdefault(number, [0, 0, 0, 0])
                # What is repeated was allowed, and not sent.
                total[0] += values[allowed] + values[repeated]
                total[1] += values[denied]
                total[2] += values[limited] + values[repeated]
                total[3] += values[dropped]
        return tuple(Counter(names.get(number, f"operation_{number}"), *totals[number]) for number in sorted(totals))

    def guard_denials(self) -> int:
        """How often the guard refused to let BPF LSM programs be switched off."""
        with self.exclusive(), Map.open(pins.directory(pins.GUARD) / pins.COUNTERS) as counters:
            layout = ObjectTypes.load(pins.GUARD).struct("bpflock_counter")
            return sum(values[1] for values in layout.compile().iter_unpack(counters.values()))

    def operation_names(self, lock: Lock) -> dict[int, str]:
        """The operation that a number in an event stands for."""
        return operation_names(lock)

    def ring(self) -> Ring:
        """The reader of the events. Raises UsageError while nothing is loaded."""
        with self.exclusive():
            if not pins.shared("bpflock_events").exists():
                raise UsageError("no lock is loaded: there are no events", hint="bpflock lock NAME, or bpflock run")
            with Map.open(pins.shared("bpflock_events")) as events:
                return Ring(events)


def _needs_cgroup(program: Object) -> bool:
    return any(found.hook.startswith("cgroup/") for found in program.programs)


def _require_ftrace() -> None:
    if _FTRACE.exists() and _FTRACE.read_text().strip() == "0":
        raise UnsupportedError(
            "kernel.ftrace_enabled is 0: on this kernel no BPF LSM program runs",
            hint="sysctl kernel.ftrace_enabled=1",
        )


def _refused_before(hook: str) -> bool:
    """Whether the kernel's own lockdown refuses before any BPF program is asked."""
    if hook != "lsm/locked_down" or not _LOCKDOWN.exists():
        return False
    return "[none]" not in _LOCKDOWN.read_text()
