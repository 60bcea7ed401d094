# SPDX-License-Identifier: Apache-2.0
"""The profiles in force, one by one: the engine knows only all of them together.

They are kept with the engine's state, each as text of the bpfbox language in its normal form, with the place it was
loaded from.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from bpflock.confine.engine import Engine, State
from bpflock.confine.functions import Probe, kept
from bpflock.errors import UsageError, nearest
from bpflock.policy.bpfbox.load import parse
from bpflock.policy.bpfbox.show import show
from bpflock.policy.model import Origin, PolicySet, Profile


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


@dataclass
class Policies:
    """Changes of what is in force. Each is done as a whole or, with a BpflockError, not at all."""

    engine: Engine

    def loaded(self) -> list[Profile]:
        """What is in force."""
        state = self.engine.state()
        return unpack(state.source) if state else []

    def load(self, policy: PolicySet) -> None:
        """Enforce a policy, along with the others."""
        self._change(lambda before: merged(before, policy))

    def replace(self, policy: PolicySet) -> None:
        """Enforce a policy, and no other."""
        self._change(lambda _: list(policy.profiles))

    def sync(self, directory: Path, policy: PolicySet) -> bool:
        """Enforce a policy instead of all that was loaded from a directory; others stay. False if that is the case
        already: as long as the functions that it needs are where they were."""

        def from_there(profile: Profile) -> bool:
            return Path(profile.origin.file).parent == directory

        state = self.engine.state()
        before = unpack(state.source) if state else []
        current = state is None or all(probe.current for probe in state.probes)
        if current and pack(filter(from_there, before)) == pack(policy.profiles):
            return False
        self._change(lambda found: merged((p for p in found if not from_there(p)), policy))
        return True

    def add(self, policy: PolicySet) -> None:
        """Enforce a policy for executables that none is for yet. Raises UsageError if there is one."""

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

    def unload(self, executables: Iterable[str]) -> None:
        """Confine these no more. Raises UsageError if there is no such profile."""
        unwanted = list(executables)

        def change(before: list[Profile]) -> list[Profile]:
            for executable in unwanted:
                _find(before, executable)
            return [profile for profile in before if profile.executable not in unwanted]

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

    def _change(self, change: Callable[[list[Profile]], list[Profile]], *, only_less: bool = False) -> None:
        def update(state: State | None) -> tuple[PolicySet, str]:
            profiles = change(unpack(state.source) if state else [])
            return PolicySet(tuple(profiles)), pack(profiles)

        self.engine.update(update, only_less=only_less)


def _find(profiles: list[Profile], executable: str) -> Profile:
    for profile in profiles:
        if profile.executable == executable:
            return profile
    known = [profile.executable for profile in profiles]
    hint = nearest(executable, known) if known else "no policy is loaded"
    raise UsageError(f"no profile is in force for {executable}", hint=hint)
