# SPDX-License-Identifier: Apache-2.0
"""Puts the sources together: command line, environment, bpflock.d, bpflock.yaml, bpf.d; the first that sets wins."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from bpflock.config.files import exists, is_directory
from bpflock.config.model import DEFAULT, Config, LockConfig
from bpflock.config.options import (
    OPTIONS,
    Reach,
    lock_options,
    parse_buffer,
    parse_level,
    parse_log_format,
)
from bpflock.config.sources import (
    Given,
    Layer,
    from_directory,
    from_environment,
    from_flags,
    from_programs,
    from_yaml,
)
from bpflock.errors import BpflockError, UsageError, explained
from bpflock.locks import LOCKS
from bpflock.locks.model import Level, Lock, Profile, parse_switch

_RUNTIME = (Path("/run"), Path("/var/run"))


def load(
    flags: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    spelling: Mapping[str, str] | None = None,
) -> Config:
    """The effective configuration.

    `flags` are the values on the command line by option, `environ` is os.environ unless given, `spelling` has the
    flags that a command calls otherwise than the option (`{"kimglock-profile": "--profile"}`). Raises BpflockError
    for the first thing that is wrong anywhere, also in a value that another source overrides, and nothing else.
    """
    try:
        return _load(dict(flags or {}), os.environ if environ is None else environ, spelling or {})
    except BpflockError:
        raise
    except Exception as error:
        raise UsageError(f"the configuration cannot be read: {explained(error).message}") from error


def _load(flags: dict[str, str], environ: Mapping[str, str], spelling: Mapping[str, str]) -> Config:
    command = from_flags(flags, spelling)
    environment = from_environment(environ)
    places = _Merged([command, environment])
    config_dir = _config_dir(places.given("config-dir"))
    with _naming(config_dir / "bpflock.d"):
        files = from_directory(config_dir / "bpflock.d")
    main = _place(places.given("config"), config_dir / "bpflock.yaml")
    with _naming(main):
        yaml = from_yaml(main)
    directory = _place(places.given("bpf-config-dir"), config_dir / "bpf.d")
    with _naming(directory):
        programs, ignored = from_programs(directory)
    layers = [command, environment, files, yaml, programs]
    merged = _Merged(layers)
    level = parse_level(merged.word("level"))
    locks = {name: _lock(merged, lock, level) for name, lock in LOCKS.items()}
    origins = {
        name: merged.origin(name)
        for name, option in OPTIONS.items()
        if not option.lock and option.reach is not Reach.WITHOUT_EFFECT
    }
    state_dir, runtime_dir = _directories(merged, origins)
    return Config(
        level=level,
        debug=parse_switch(merged.word("debug")),
        remove_bpf_programs=parse_switch(merged.word("remove-bpf-programs")),
        policy_allow_missing=parse_switch(merged.word("policy-allow-missing")),
        log_format=parse_log_format(merged.word("log-format")),
        event_buffer=parse_buffer(merged.word("event-buffer")),
        state_dir=state_dir,
        runtime_dir=runtime_dir,
        config_dir=config_dir,
        locks=locks,
        origins=origins,
        notes=tuple(_notes(layers, ignored, locks)),
        flags=flags,
    )


@contextlib.contextmanager
def _naming(source: Path) -> Iterator[None]:
    """Where something comes from that none of the checks expected."""
    try:
        yield
    except BpflockError:
        raise
    except Exception as error:
        raise UsageError(f"{source}: cannot be read: {explained(error).message}") from error


class _Merged:
    """The layers as one, the first before the second."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._given: Layer = {}
        for layer in reversed(layers):
            self._given |= layer

    def given(self, name: str) -> Given | None:
        return self._given.get(name)

    def word(self, name: str) -> str:
        given = self.given(name)
        return given.word if given else OPTIONS[name].default

    def origin(self, name: str) -> str:
        given = self.given(name)
        return given.origin if given else DEFAULT


def _config_dir(given: Given | None) -> Path:
    if given is None:
        path = Path(OPTIONS["config-dir"].default)
        is_directory(path)
        return path
    path = Path(given.word).absolute()
    # Nothing there would mean nothing locked: no default must hide a mistake in the name.
    if not is_directory(path):
        raise UsageError(f"{given.where}: {path}: does not exist")
    if path.name == "bpflock.d":
        raise UsageError(f"{given.where}: {path}: name the directory above it", hint=f"--config-dir={path.parent}")
    return path


def _place(given: Given | None, default: Path) -> Path:
    if given is None:
        return default
    path = Path(given.word).absolute()
    if not exists(path):
        raise UsageError(f"{given.where}: {path}: does not exist")
    return path


def _lock(merged: _Merged, lock: Lock, level: Level | None) -> LockConfig:
    names = {option.part: option.name for option in lock_options(lock)}
    words = {part: merged.word(name) for part, name in names.items()}
    origins = {part: merged.origin(name) for part, name in names.items()}
    # A profile of its own takes a lock out of the level altogether: nobody expects the level's lists to stay then.
    if level and not merged.given(names["profile"]):
        chosen = lock.levels[level]
        defaults = {
            "profile": chosen.profile.value,
            "block": ",".join(chosen.block),
            "allow": ",".join(chosen.allow),
        }
        for part in names:
            if defaults.get(part) and not merged.given(names[part]):
                words[part] = defaults[part]
                origins[part] = f"level {level} ({merged.origin('level')})"
    # A lock that is not loaded unless somebody asks for it: a block list is not to be without effect.
    asked = not merged.given(names["profile"]) and any(merged.given(name) for name in names.values())
    if asked and not lock.is_tracer and lock.parse_profile(words["profile"]) is Profile.NONE:
        words["profile"] = Profile.ALLOW
    try:
        settings = lock.settings(
            lock.parse_profile(words["profile"]),
            [words.get("block", "")],
            [words.get("allow", "")],
            {parameter.name: parameter.parse(words[parameter.name]) for parameter in lock.parameters},
            words.get("allow-session", ""),
        )
    except UsageError as error:
        # Each value is fine by itself: it is the lists together.
        lists = [part for part in ("block", "allow", "allow-session") if words.get(part)]
        places = ", ".join(f"{names[part]}: {origins[part]}" for part in lists)
        raise UsageError(f"{error.message} ({places})", hint=error.hint) from None
    return LockConfig(
        settings,
        origins,
        # A level that does not load a lock says nothing of one that was put on by hand.
        (level is not None and (lock.is_tracer or lock.levels[level].profile is not Profile.NONE))
        or any(merged.given(name) for name in names.values()),
    )


def _directories(merged: _Merged, origins: dict[str, str]) -> tuple[Path, Path]:
    """The state and the runtime directory.

    The Go implementation calls them lib-dir and state-dir. Its files must not make us keep lasting state in /run:
    there a state-dir is the runtime directory.
    """
    state, lib, runtime = (merged.given(name) for name in ("state-dir", "lib-dir", "runtime-dir"))
    if state and any(Path(state.word).is_relative_to(parent) for parent in _RUNTIME):
        state, runtime = None, runtime or state
    state = state or lib
    del origins["lib-dir"]
    for name, given in (("state-dir", state), ("runtime-dir", runtime)):
        origins[name] = given.origin if given else DEFAULT
    return (
        Path(state.word if state else OPTIONS["state-dir"].default),
        Path(runtime.word if runtime else OPTIONS["runtime-dir"].default),
    )


def _notes(layers: Iterable[Layer], ignored: list[str], locks: Mapping[str, LockConfig]) -> Iterable[str]:
    without = [
        f"{given.option.name} ({given.origin})"
        for layer in layers
        for given in layer.values()
        if given.option.reach is Reach.WITHOUT_EFFECT
    ]
    if without or ignored:
        yield f"without effect here: {', '.join(without + ignored)}"
    for name, lock in locks.items():
        if lock.settings.allow and lock.settings.profile is not Profile.BASELINE:
            yield f"{name}-allow has no effect under the profile {lock.settings.profile}"
        if lock.settings.session and lock.settings.profile not in (Profile.BASELINE, Profile.RESTRICTED):
            yield f"{name}-allow-session has no effect under the profile {lock.settings.profile}"
