# SPDX-License-Identifier: Apache-2.0
"""Putting policies into the kernel, and taking them out. See bpf/policy.bpf.c and docs/policy-engine.md.

Pinned in /sys/fs/bpf/bpflock/policy/, beside the links: the maps, and `state`, what later commands must know of what is
in force: it lives exactly as long.
"""

import contextlib
import functools
import hashlib
import json
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path

from bpflock.confine import canary
from bpflock.confine import functions as probing
from bpflock.errors import BpflockError
from bpflock.kernel import host, pins, preemption
from bpflock.kernel.bpf import Map, Object, attach_pinned, build_of, iterate, iterate_program
from bpflock.kernel.btf import KernelTypes, ObjectTypes
from bpflock.locks.enforce import CONFIG_SECTION, Enforcer, cpu_mask
from bpflock.policy.model import Effect, FileAccess, FileObject, Origin, PolicySet, Profile
from bpflock.policy.tables import (
    AUTOMATON_BLOCK,
    BLOCK_STATES,
    OBJECT,
    RIGHTS_BLOCK,
    Numbering,
    Tables,
    compile_policy,
    in_blocks,
)

_GENERATIONS = 4  # GENERATIONS of bpf/policy.bpf.h
_STATE_BLOCK = 4096
# Maps that stay when the programs are replaced: pins, and what they are called in the object.
_MAPS = {
    "tasks": "policy_tasks",
    "labels": "policy_labels",
    "automata": "policy_automata",
    "rights": "policy_rights_tables",
    "objects": "policy_objects",
    "versions": ".data.versions",
    "renames": "policy_renames",
    "marked": ".data.marked",
    "stale": "policy_stale",
    "pass": ".data.pass",
    "stats": "policy_stats",
}
# Of these, all are kept or none: what is in them is of the same generations.
_OF_PATHS = ("labels", "automata", "rights", "objects", "versions", "renames")
_STATE = "state"
_MARK = "iter/task"
_ALWAYS = ("lsm/file_open",)
# Attached only while there are descriptors to be asked about, or files that may only be appended to:
# bpf/policy_descriptors.bpf.h.
_DESCRIPTORS = "lsm/file_permission"
# Attached only while a fork may be under way that began before its parent was confined, or while there are taint rules.
_FORKS = "tp_btf/task_newtask"
ON_DEMAND = {_DESCRIPTORS: "descriptors", _FORKS: "forks"}  # pins of the programs: until then, there is only the pin
# The iterator that lists confined tasks is not attached: it is only pinned.
_LIST = "policy_list"
_LIST_PIN = "list"
_LISTED = struct.Struct("=4I")  # struct policy_listed
_NUMBER = struct.Struct("=I")
_STAT = struct.Struct("=3Q")  # struct policy_stat
_NOTED = struct.Struct("=Q2I")  # struct policy_noted
_OPENING_SECONDS = 2.0  # how long to wait for opens that the policy before has decided
_LOOK_AGAIN_SECONDS = 0.01


@dataclass
class _Pass:
    """struct policy_pass of bpf/policy_descriptors.bpf.h: between us and the passes over all tasks."""

    first: int
    last: int
    found: int
    opening: int
    asked: int
    any: int
    failed: int = 0
    forking: int = 0

    _LAYOUT = struct.Struct("=8Q")

    @classmethod
    def read(cls, pinned: Map) -> "_Pass":
        return cls(*cls._LAYOUT.unpack_from(pinned.values()))

    def write(self, pinned: Map) -> None:
        pinned.update(bytes(4), self._LAYOUT.pack(*astuple(self)))


@contextlib.contextmanager
def _asking(base: Path) -> Iterator[None]:
    """Meanwhile the program on file_permission leaves nothing out, so that the canary reaches it."""
    with Map.open(base / "pass") as passes:
        before = _Pass.read(passes)
        replace(before, any=1).write(passes)
        try:
            yield
        finally:
            before.write(passes)


def _digest(profile: Profile) -> str:
    """Equal for profiles that say the same, wherever they are from."""
    rules = sorted({repr((rule.object, rule.effect, rule.functions)) for rule in profile.rules})
    said = repr((profile.executable, profile.complain, rules))
    return hashlib.sha256(said.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class State:
    """What is in force: the number of the policy set, the numbers of its profiles and functions, its source (a document
    that belongs to the caller), which hooks it is on, which functions it has probes on, digests of the profiles
    under which the descriptors of all tasks have been looked at, by number, and since when each profile says what it
    says, in seconds since the epoch."""

    generation: int
    numbering: Numbering
    source: str
    hooks: tuple[str, ...]
    probes: tuple[probing.Probe, ...] = ()
    looked_at: Mapping[int, str] = field(default_factory=dict)
    since: Mapping[int, float] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        text = json.dumps(
            {
                "generation": self.generation,
                "numbering": self.numbering.to_json(),
                "source": self.source,
                "hooks": self.hooks,
                "probes": [astuple(probe) for probe in self.probes],
                "looked_at": {str(number): digest for number, digest in self.looked_at.items()},
                "since": {str(number): since for number, since in self.since.items()},
            }
        ).encode()
        content = struct.pack("=Q", len(text)) + text
        return content + bytes(-len(content) % _STATE_BLOCK)

    @classmethod
    def from_bytes(cls, content: bytes) -> "State":
        """Raises ValueError for anything but what to_bytes() gave."""
        try:
            (length,) = struct.unpack_from("=Q", content)
            found = json.loads(content[8 : 8 + length].decode())
            numbering = Numbering.from_json(found["numbering"])
            probes = tuple(probing.Probe(*fields) for fields in found["probes"])
            looked_at = {int(number): str(digest) for number, digest in found.get("looked_at", {}).items()}
            since = {int(number): float(time) for number, time in found.get("since", {}).items()}
            hooks = tuple(map(str, found["hooks"]))
            return cls(int(found["generation"]), numbering, str(found["source"]), hooks, probes, looked_at, since)
        except (struct.error, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(f"not a state of the policy engine: {error}") from error


@dataclass(frozen=True)
class Usage:
    """What there is of a profile: its tasks, by process, how often it denied, how often it allowed and reported, and
    when it last did either, in seconds since the epoch."""

    processes: Mapping[int, int]  # threads by tgid
    denied: int = 0
    reported: int = 0
    last: float | None = None

    @property
    def threads(self) -> int:
        return sum(self.processes.values())


def _appends(profile: Profile) -> bool:
    """Whether there are files that it may append to and not write."""
    allowed: dict[str, FileAccess] = {}
    for rule in profile.rules:
        if isinstance(rule.object, FileObject) and Effect.ALLOW in rule.effect:
            pattern = rule.object.pattern
            allowed[pattern] = allowed.get(pattern, FileAccess(0)) | rule.object.access
    return any(FileAccess.APPEND in access and FileAccess.WRITE not in access for access in allowed.values())


def _taints(profile: Profile) -> bool:
    return any(Effect.TAINT in rule.effect for rule in profile.rules)


def profile_names() -> Mapping[int, str]:
    """The executables of the profiles in force by number, for events; none if there is no policy, or no way to know."""
    with contextlib.suppress(OSError):
        return _profile_names((pins.directory(pins.POLICY) / _STATE).stat().st_ino)
    return {}


@functools.lru_cache(maxsize=1)
def _profile_names(inode: int) -> Mapping[int, str]:
    """Of the pin with this inode: every state has one of its own."""
    with contextlib.suppress(BpflockError, ValueError):
        if state := _read_state():
            return {number: executable for executable, number in state.numbering.profiles.items()}
    return {}


def _read_state() -> State | None:
    path = pins.directory(pins.POLICY) / _STATE
    if not path.exists():
        return None
    with Map.open(path) as pinned:
        content = pinned.values()
    try:
        return State.from_bytes(content)
    except ValueError as error:
        raise BpflockError(
            f"policy: {error}", hint="bpflock policy unload --all, and load the policies again"
        ) from None


def _usage(state: State) -> dict[int, Usage]:
    base = pins.directory(pins.POLICY)
    # Programs of an earlier version have neither.
    if not (base / _LIST_PIN).exists() or not (base / "stats").exists():
        return {number: Usage({}) for number in state.since}
    threads: dict[int, dict[int, int]] = {number: {} for number in state.since}
    for number, _, process, _ in _LISTED.iter_unpack(iterate_program(base / _LIST_PIN)):
        if number in threads:
            threads[number][process] = threads[number].get(process, 0) + 1
    started = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    found = {}
    with Map.open(base / "stats") as stats:
        for number, processes in threads.items():
            value = stats.lookup(_NUMBER.pack(number)) or bytes(_STAT.size)
            denied, reported, last = _STAT.unpack(value)
            found[number] = Usage(processes, denied, reported, started + last / 1e9 if last else None)
    return found


class Engine:
    """The policy engine in the kernel. Every method finishes what it does: nothing is half applied, and there is no
    moment without the policy that was in force. Methods raise BpflockError."""

    def __init__(self, enforcer: Enforcer) -> None:
        self._enforcer = enforcer

    def state(self) -> State | None:
        """What is in force, or None."""
        host.require_root()
        if not pins.exists(pins.POLICY):
            return None
        with self._enforcer.exclusive():
            return _read_state()

    def usage(self) -> tuple[State | None, dict[int, Usage]]:
        """What is in force, and what there is of each of its profiles, by number."""
        host.require_root()
        if not pins.exists(pins.POLICY):
            return None, {}
        with self._enforcer.exclusive():
            state = _read_state()
            return state, _usage(state) if state else {}

    def load(self, policy: PolicySet, source: str = "") -> Tables:
        """Enforce these profiles and no others, on tasks too that run already. Returns when they are enforced.

        Raises CompileError, with the rule's origin, for what cannot be enforced: then nothing has changed.
        """
        return self.update(lambda _: (policy, source))

    def update(self, change: Callable[[State | None], tuple[PolicySet, str]], *, only_less: bool = False) -> Tables:
        """As load(), of what `change` makes of the state that is in force; no other process comes in between.

        `only_less`: it makes no rules that were not there before. Then functions are not looked up again: what became
        of their files is no reason to fail.
        """
        with self._enforcer.exclusive():
            before = _read_state()
            policy, source = change(before)
            numbering = before.numbering if before else Numbering()
            numbering.extend(policy)
            generation = before.generation + 1 if before else 1
            digests = {numbering.profiles[profile.executable]: _digest(profile) for profile in policy.profiles}
            known = before.looked_at if before else {}
            changed = {number for number, digest in digests.items() if known.get(number) != digest}
            earlier, now = before.since if before else {}, time.time()
            since = {number: now if number in changed else earlier.get(number, now) for number in digests}
            tables = compile_policy(policy, numbering, generation, changed)
            probes: dict[probing.Probe, Origin | None]
            if only_less and before:
                probes = dict.fromkeys(probing.kept(before.probes, policy, numbering))
            else:
                probes = {**probing.wanted(policy, numbering)}
            self._enforcer.require_lsm()
            if not only_less:
                preemption.require()
            try:
                self._enforcer.ensure_guard()
                loaded = not before or not self._is_loaded(before)
                if before and not loaded:
                    base = pins.directory(pins.POLICY)
                    # New probes come before the rules that need them, old ones go after.
                    with probing.attached(base, probes):
                        now_in_force = State(generation, numbering, source, before.hooks, tuple(probes), since=since)
                        self._switch(base, tables, now_in_force)
                    probing.remove_others(base, tuple(probes))
                else:
                    self._load_programs(tables, numbering, source, probes, since)
            except BpflockError:
                self._enforcer.remove_unused_pins()
                raise
            asked, forking = self._mark()
            hooks: tuple[str, ...] = _ALWAYS
            self._attach(_FORKS, wanted=forking or any(map(_taints, policy.profiles)))
            if self._attach(_DESCRIPTORS, wanted=asked or any(map(_appends, policy.profiles))):
                hooks = (*hooks, _DESCRIPTORS)
            if state := _read_state():
                # Only now: what ends before has another look taken at all of them.
                self._keep(pins.directory(pins.POLICY), replace(state, looked_at=digests))
                self._forget_counts(state)
            # New programs are all tried. Those that were there may have been switched off, but only all together.
            self._test(pins.hooks(pins.POLICY) if loaded else hooks)
        return tables

    def _test(self, hooks: tuple[str, ...]) -> None:
        """The canary. Raises BpflockError if a program is attached but does not fire."""
        base = pins.directory(pins.POLICY)
        with Map.open(base / "tasks") as tasks, Map.open(base / pins.COUNTERS) as counters, _asking(base):
            silent = canary.silent_hooks(hooks, tasks, lambda: self._enforcer.canary_count(counters))
        if silent:
            self._enforcer.require_lsm()
            raise BpflockError(
                f"policy: the program on {', '.join(silent)} is attached but does not fire",
                hint="another security module may refuse first: see /sys/kernel/security/lsm",
            )

    def test(self) -> None:
        """Prove again that each program fires. Raises BpflockError for one that does not."""
        with self._enforcer.exclusive():
            self._test(pins.hooks(pins.POLICY))

    def unload(self) -> bool:
        """Confine nobody any more. False if there was no policy."""
        with self._enforcer.exclusive():
            if pins.exists(pins.POLICY):
                self._enforcer.say("policy: taking its programs out of the kernel")
            removed = pins.remove(pins.POLICY)
            self._enforcer.remove_unused_pins()
            return removed

    def _is_loaded(self, state: State) -> bool:
        """Whether the programs in the kernel are all there, and those that we would load."""
        if tuple(hook for hook in pins.hooks(pins.POLICY) if hook not in ON_DEMAND) != state.hooks:
            return False
        with contextlib.suppress(BpflockError), Map.open(pins.directory(pins.POLICY) / pins.CONFIG) as pinned:
            layout = ObjectTypes.load(pins.POLICY).struct("bpflock_config")
            return bool(layout.unpack(pinned.values())["build"] == build_of(pins.POLICY))
        return False

    def _load_programs(
        self,
        tables: Tables,
        numbering: Numbering,
        source: str,
        probes: dict[probing.Probe, Origin | None],
        since: Mapping[int, float],
    ) -> None:
        with Object(pins.POLICY) as program:
            for found in program.programs:
                found.use(not found.optional or _exists(found.hook))
            config = program.types.struct("bpflock_config").pack(build=program.build, cpu_mask=cpu_mask())
            program.set_constant(CONFIG_SECTION, "config", config)
            hooks = tuple(
                sorted({found.hook for found in program.programs if found.used and found.hook not in ON_DEMAND})
            )
            base = pins.directory(pins.POLICY)
            waiting = tuple(hook for hook in ON_DEMAND if not pins.link_path(base, hook).exists())
            with pins.staging(pins.POLICY) as stage:
                self._enforcer.say("policy: loading its programs into the kernel")
                self._load(program)
                for pin, name in _MAPS.items():
                    with program.map(name) as made:
                        made.pin(stage / pin)
                state = State(tables.generation, numbering, source, hooks, tuple(probes), since=since)
                self._switch(stage, tables, state)
                with probing.attached(stage, probes):
                    self._enforcer.attach(program, stage, (_LIST, *waiting))
                for found in program.programs:
                    if found.hook in ON_DEMAND:
                        found.pin(stage / ON_DEMAND[found.hook])
                    elif found.name == _LIST:
                        found.pin(stage / _LIST_PIN)
                pins.write_origins(stage, {})
            pins.publish(pins.POLICY)

    def _load(self, program: Object) -> None:
        """With the maps of the programs that are there, if any: their tasks stay confined.

        Labels are made anew where another version kept others: of a file, only who created it is lost with them.
        """
        base = pins.directory(pins.POLICY)
        with contextlib.ExitStack() as stack:
            kept = {pin: stack.enter_context(Map.open(base / pin)) for pin in _MAPS if (base / pin).exists()}
            if not all(pin in kept and program.has_layout(_MAPS[pin], kept[pin]) for pin in _OF_PATHS):
                kept = {pin: found for pin, found in kept.items() if pin not in _OF_PATHS}
            for pin, found in kept.items():
                program.reuse(_MAPS[pin], found, pin)
            self._enforcer.load_with_shared_maps(program, pins.POLICY)

    def _keep(self, base: Path, state: State) -> None:
        fresh = base / f"{_STATE}-new"
        fresh.unlink(missing_ok=True)
        with Map.table("policy_state", _STATE_BLOCK, state.to_bytes()) as content:
            content.pin(fresh)
        fresh.rename(base / _STATE)

    def _switch(self, base: Path, tables: Tables, state: State) -> None:
        """Fill the slot of the new generation, then name it: one store decides which policy set is in force. The state
        comes just before: no task may have a number that a later command does not know."""
        slot = struct.pack("=I", tables.generation % _GENERATIONS)
        automaton = in_blocks(tables.automaton, 4 * BLOCK_STATES, AUTOMATON_BLOCK.size)
        for pin, size, content in (
            ("automata", AUTOMATON_BLOCK.size, automaton),
            ("rights", RIGHTS_BLOCK.size, in_blocks(tables.rights, RIGHTS_BLOCK.size, RIGHTS_BLOCK.size)),
            ("objects", OBJECT.size, tables.objects or bytes(OBJECT.size)),
        ):
            with Map.open(base / pin) as outer, Map.table(f"policy_{pin}", size, content) as table:
                outer.update(slot, struct.pack("=i", table.fd))
        with Map.open(base / "stats") as stats:
            for number in state.since:
                if stats.lookup(_NUMBER.pack(number)) is None:
                    stats.update(_NUMBER.pack(number), bytes(_STAT.size))
        self._keep(base, state)
        with Map.open(base / "versions") as versions:
            versions.store(0, tables.generation)

    def _forget_counts(self, state: State) -> None:
        """Of profiles that are not in force any more."""
        with Map.open(pins.directory(pins.POLICY) / "stats") as stats:
            for key in list(stats):
                if _NUMBER.unpack(key)[0] not in state.since:
                    stats.delete(key)

    def _mark(self) -> tuple[bool, bool]:
        """Confine the tasks that run already, and look at the descriptors of all that are confined. A task may fork, or
        hand them on, while we look: until a pass finds nothing that is new.

        Whether any descriptor is to be asked about, and whether a fork may still be under way that began before."""
        base = pins.directory(pins.POLICY)
        with Map.open(base / "pass") as passes:
            found = _Pass.read(passes).found
            _Pass(first=1, last=0, found=found, opening=0, asked=0, any=_Pass.read(passes).any).write(passes)
            end = time.monotonic() + _OPENING_SECONDS
            start = self._marked(base)
            before = -1, -1
            while True:
                iterate(pins.link_path(base, _MARK))
                seen = _Pass.read(passes)
                now = self._marked(base), seen.found
                if now[0] != start:
                    # Before the next pass: what is not on the list of tasks by then meets this program.
                    self._attach(_FORKS, wanted=True)
                if seen.failed and time.monotonic() > end:
                    raise BpflockError(
                        f"the policy is in force, but {seen.failed} running tasks could not be confined: no memory",
                        hint="free some, then load it again",
                    )
                busy = seen.opening or seen.forking
                if now == before and not seen.failed and (not busy or seen.last):
                    return self._forget_stale(base, passes, seen), bool(seen.forking)
                if now == before:
                    time.sleep(_LOOK_AGAIN_SECONDS)
                before = now
                late = int(time.monotonic() > end)
                replace(seen, first=0, last=late, opening=0, asked=0, failed=0, forking=0).write(passes)

    def _forget_stale(self, base: Path, passes: Map, seen: _Pass) -> bool:
        """What nobody has any more is not asked about. Whether anything is."""
        with Map.open(base / "versions") as pinned:
            (generation,) = struct.unpack_from("=I", pinned.values())
        left = 0
        with Map.open(base / "stale") as stale:
            for key in list(stale):
                value = stale.lookup(key)
                if value and _NOTED.unpack(value)[1] == generation:
                    left += 1
                else:
                    stale.delete(key)
        any_ = bool(left or seen.asked)
        replace(seen, any=int(any_)).write(passes)
        return any_

    def _attach(self, hook: str, *, wanted: bool) -> bool:
        """Attach a program of ON_DEMAND, or take it out. Whether it is attached newly."""
        base = pins.directory(pins.POLICY)
        link = pins.link_path(base, hook)
        if wanted and not link.exists():
            attach_pinned(base / ON_DEMAND[hook], link)
            return True
        if not wanted:
            link.unlink(missing_ok=True)
        return False

    def _marked(self, base: Path) -> int:
        with Map.open(base / "marked") as marked:
            return int.from_bytes(marked.values()[:8], "little")


def _exists(hook: str) -> bool:
    """Whether this kernel has an LSM hook; other hooks are taken to exist."""
    kind, _, name = hook.partition("/")
    return kind != "lsm" or KernelTypes.load().has_function(f"bpf_lsm_{name}")
