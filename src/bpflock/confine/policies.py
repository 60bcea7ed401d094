# SPDX-License-Identifier: Apache-2.0
"""The profiles in force, one by one: the engine knows only all of them together.

They are kept with the engine's state, each as text of the bpfbox language in its normal form, with the place it was
loaded from.
"""

import functools
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from bpflock.confine.engine import Engine, State, Usage
from bpflock.confine.functions import Probe, kept
from bpflock.confine.resolve import Resolved, resolve
from bpflock.confine.services import Service, uncovered
from bpflock.errors import UsageError, nearest
from bpflock.policy.bpfbox.load import parse
from bpflock.policy.bpfbox.show import show
from bpflock.policy.model import Origin, PolicySet, Profile
from bpflock.policy.pattern import escape


def pack(profiles: Iterable[Profile]) -> str:
    """Profiles as the engine keeps them."""
    return json.dumps(
        [
            {
                "file": profile.origin.file,
                "line": profile.origin.line,
                "column": profile.origin.column,
                "text": show(PolicySet((profile,))),
            }
            for profile in profiles
        ]
    )


def unpack(source: str) -> list[Profile]:
    """What pack() made. Rules have the lines of their normal form, profiles the place they were loaded from."""
    found = []
    for entry in json.loads(source or "[]"):
        (profile,) = parse(entry["text"], f"<in force, from {entry['file']}>")
        found.append(replace(profile, origin=Origin(entry["file"], entry["line"], entry["column"])))
    return found


def merged(before: Iterable[Profile], policy: PolicySet) -> list[Profile]:
    """A policy instead of what the same files said, and of what there is for the same executables."""
    files = {profile.origin.file for profile in policy.profiles}
    executables = {profile.executable for profile in policy.profiles}
    kept = [p for p in before if p.origin.file not in files and p.executable not in executables]
    return [*kept, *policy.profiles]


@dataclass(frozen=True)
class Loaded:
    """A profile that was loaded. `replaces`: where the profile of another file is from that it took the place of."""

    resolved: Resolved
    replaces: Origin | None = None

    @property
    def profile(self) -> Profile:
        return self.resolved.profile


@dataclass(frozen=True)
class InForce:
    """A profile in force. `since`: when its rules and its mode came into force, in seconds since the epoch; None if
    another version of bpflock loaded it."""

    profile: Profile
    usage: Usage
    since: float | None


@functools.lru_cache(maxsize=1)
def _unpacked(source: str) -> tuple[Profile, ...]:
    """The daemon is asked for its status time and again."""
    return tuple(unpack(source))


@dataclass
class Policies:
    """Changes of what is in force. Each is done as a whole or, with a BpflockError, not at all.

    Profiles are loaded for the files that their executables resolve to on this machine. `allow_missing`: also those
    whose executable is not there (yet).
    """

    engine: Engine
    allow_missing: bool = False

    def loaded(self) -> list[Profile]:
        """What is in force."""
        state = self.engine.state()
        return unpack(state.source) if state else []

    def status(self) -> list[InForce]:
        """What is in force, and what there is of it."""
        state, usage = self.engine.usage()
        if state is None:
            return []
        found = []
        for profile in _unpacked(state.source):
            number = state.numbering.profiles[profile.executable]
            found.append(InForce(profile, usage.get(number, Usage({})), state.since.get(number)))
        return found

    def uncovered(self) -> list[Service]:
        """The services that listen on the host's network, and that nothing in force is for."""
        _, usage = self.engine.usage()
        return uncovered({process for of in usage.values() for process in of.processes})

    def processes(self, executables: Iterable[str]) -> list[int]:
        """The processes that run under these profiles, by tgid."""
        state, usage = self.engine.usage()
        numbers = {state.numbering.profiles.get(executable, 0) for executable in executables} if state else set()
        return sorted({process for number in numbers if number in usage for process in usage[number].processes})

    def load(self, policy: PolicySet) -> list[Loaded]:
        """Enforce a policy, along with the others. Raises PolicyError for profiles that apply to nothing here."""
        return self._load(policy, lambda before: before)

    def replace(self, policy: PolicySet) -> list[Loaded]:
        """Enforce a policy, and no other."""
        return self._load(policy, lambda _: [])

    def sync(self, directory: Path, policy: PolicySet) -> list[Loaded] | None:
        """Enforce a policy instead of all that was loaded from a directory; others stay. None if that is the case
        already: as long as the functions that it needs are where they were."""

        def from_there(profile: Profile) -> bool:
            return Path(profile.origin.file).parent == directory

        state = self.engine.state()
        before = unpack(state.source) if state else []
        current = state is None or all(probe.current for probe in state.probes)
        wanted = [found.profile for found in self._resolve(policy)]
        if current and pack(filter(from_there, before)) == pack(wanted):
            return None
        return self._load(policy, lambda found: [p for p in found if not from_there(p)])

    def add(self, policy: PolicySet) -> list[Loaded]:
        """Enforce a policy for executables that none is for yet. Raises UsageError if there is one."""
        resolved = self._resolve(policy)
        policy = PolicySet(tuple(found.profile for found in resolved))

        def change(before: list[Profile]) -> list[Profile]:
            known = {profile.executable: profile for profile in before}
            for profile in policy.profiles:
                if profile.executable in known:
                    origin = known[profile.executable].origin
                    raise UsageError(
                        f"{profile.origin}: {profile.executable} has a profile in force already, of {origin}",
                        hint="bpflock policy unload PROFILE, or change that one",
                    )
            return [*before, *policy.profiles]

        self._change(change)
        return [Loaded(found) for found in resolved]

    def unload(self, executables: Iterable[str]) -> None:
        """Confine these no more. Raises UsageError if there is no such profile."""
        unwanted = list(executables)

        def change(before: list[Profile]) -> list[Profile]:
            found = [_find(before, executable) for executable in unwanted]
            return [profile for profile in before if profile not in found]

        self._change(change, only_less=True)

    def unload_all(self) -> bool:
        """Confine nobody any more. False if nobody was."""
        return self.engine.unload()

    def set_mode(self, executable: str, *, complain: bool) -> None:
        """Enforce a profile, or let it complain. Raises UsageError if there is no such profile."""

        def change(before: list[Profile]) -> list[Profile]:
            chosen = _find(before, executable)
            return [replace(p, complain=complain) if p is chosen else p for p in before]

        self._change(change, only_less=True)

    def functions(self, profile: Profile) -> tuple[Probe, ...]:
        """The functions that the rules of a profile in force depend on, and where they are."""
        state = self.engine.state()
        probes = kept(state.probes, PolicySet((profile,)), state.numbering) if state else ()
        return tuple(probe for probe in probes if probe.number)

    def _resolve(self, policy: PolicySet) -> list[Resolved]:
        return resolve(policy, allow_missing=self.allow_missing)

    def _load(self, policy: PolicySet, keep: Callable[[list[Profile]], list[Profile]]) -> list[Loaded]:
        """Enforce a policy, along with what `keep` keeps of what is in force."""
        resolved = self._resolve(policy)
        wanted = PolicySet(tuple(found.profile for found in resolved))
        replaced: dict[str, Origin] = {}

        def change(before: list[Profile]) -> list[Profile]:
            replaced.update({profile.executable: profile.origin for profile in before})
            return merged(keep(before), wanted)

        self._change(change)
        return [
            Loaded(found, origin if origin and origin.file != found.profile.origin.file else None)
            for found in resolved
            for origin in [replaced.get(found.profile.executable)]
        ]

    def _change(self, change: Callable[[list[Profile]], list[Profile]], *, only_less: bool = False) -> None:
        def update(state: State | None) -> tuple[PolicySet, str]:
            profiles = change(unpack(state.source) if state else [])
            return PolicySet(tuple(profiles)), pack(profiles)

        self.engine.update(update, only_less=only_less)


def _find(profiles: list[Profile], executable: str) -> Profile:
    for name in (executable, escape(os.path.realpath(executable))):
        for profile in profiles:
            if profile.executable == name:
                return profile
    known = [profile.executable for profile in profiles]
    hint = nearest(executable, known) if known else "no policy is loaded"
    raise UsageError(f"no profile is in force for {executable}", hint=hint)
