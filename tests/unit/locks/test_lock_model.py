# SPDX-License-Identifier: Apache-2.0
"""The tables of the locks are consistent, and a user's words become operations."""

import itertools
import re
from pathlib import Path

import pytest

from bpflock.errors import UsageError
from bpflock.locks import LOCKS, find_lock
from bpflock.locks.model import Level, Lock, Profile, Settings

_BPF = Path(__file__).parents[3] / "bpf"
_ALL = pytest.mark.parametrize("lock", LOCKS.values(), ids=list(LOCKS))


@_ALL
def test_names_of_operations_are_unique_words(lock: Lock) -> None:
    words = [word for op in lock.operations for word in (op.name, *op.aliases)]
    assert len(words) == len(set(words))
    for word in words:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", word)


@_ALL
def test_groups_and_requirements_name_operations(lock: Lock) -> None:
    names = {op.name for op in lock.operations}
    for group, members in lock.groups.items():
        assert group.startswith("@")
        assert members
        assert set(members) <= names
        assert len(members) == len(set(members))
    for operation in lock.operations:
        assert set(operation.requires) <= names - {operation.name}


@_ALL
def test_the_kernel_side_knows_the_lock_and_every_operation(lock: Lock) -> None:
    """Operations are enumerators LOCK_OPERATION of the lock's BPF program, or of the header."""
    header = (_BPF / "bpflock.h").read_text()
    assert re.search(rf"\b{lock.symbol}\b", header)
    source = header + (_BPF / f"{lock.name}.bpf.c").read_text()
    for operation in lock.operations:
        assert re.search(rf"\b{lock.name.upper()}_{operation.name.upper()}\b", source), operation.name


@_ALL
def test_the_kernel_side_knows_every_profile(lock: Lock) -> None:
    header = (_BPF / "bpflock.h").read_text()
    for profile in lock.profiles.values():
        assert re.search(rf"\b{profile.symbol}\b", header)


@pytest.mark.parametrize("word", ["dev_mem", " dev_mem ", "DEV_MEM", "dev_mem,", ",dev_mem,dev_mem"])
def test_spellings_of_one_operation(word: str) -> None:
    assert LOCKS["kimglock"].parse_operations(word) == ("dev_mem",)


def test_operations_are_sorted_and_groups_expanded() -> None:
    assert LOCKS["kmodlock"].parse_operations(["unsigned_module,load_module", "autoload_module"]) == (
        "autoload_module",
        "load_module",
        "unsigned_module",
    )
    everything = LOCKS["kmodlock"].parse_operations("@modules")
    assert everything == tuple(sorted(op.name for op in LOCKS["kmodlock"].operations))


def test_nothing_is_no_operation() -> None:
    assert LOCKS["kimglock"].parse_operations("") == ()
    assert LOCKS["kimglock"].parse_operations([]) == ()


@pytest.mark.parametrize(
    ("lock", "words", "message", "hint"),
    [
        ("kimglock", "dev_men", "kimglock has no operation 'dev_men'", "'dev_mem'"),
        ("kimglock", "perf, kexecc", "kimglock has no operation 'kexecc'", "'kexec'"),
        ("bpfrestrict", "prog-load", "bpfrestrict has no operation 'prog-load'", "'prog_load'"),
        ("kimglock", "@hardwear", "kimglock has no operation group '@hardwear'", "'@hardware'"),
        ("filelesslock", "zzz", "filelesslock has no operation 'zzz'", "valid: memfd, shm"),
    ],
)
def test_unknown_operations(lock: str, words: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        LOCKS[lock].parse_operations(words)
    assert caught.value.message == message
    assert caught.value.hint
    assert hint in caught.value.hint


def test_profiles() -> None:
    kimglock, execsnoop = LOCKS["kimglock"], LOCKS["execsnoop"]
    assert {kimglock.parse_profile(word) for word in ("allow", "none", "privileged", " Allow")} == {Profile.ALLOW}
    assert kimglock.parse_profile("restricted") is Profile.RESTRICTED
    assert execsnoop.parse_profile("none") is Profile.NONE
    with pytest.raises(UsageError, match="execsnoop has no profile 'baseline'"):
        execsnoop.parse_profile("baseline")


def test_settings_refuse_an_operation_in_both_lists_also_through_a_group() -> None:
    lock = LOCKS["kmodlock"]
    with pytest.raises(UsageError, match="kmodlock: load_module is in both"):
        lock.settings(Profile.BASELINE, ["@modules"], ["load_module"])
    settings = lock.settings(Profile.BASELINE, ["unsigned_module"], ["load_module"])
    assert (settings.block, settings.allow) == (("unsigned_module",), ("load_module",))


def test_a_tracer_has_no_lists() -> None:
    with pytest.raises(UsageError, match="traces only"):
        LOCKS["execsnoop"].settings(Profile.ALL, ["execve"])


def test_find_lock() -> None:
    assert find_lock("kimglock") is LOCKS["kimglock"]
    with pytest.raises(UsageError) as caught:
        find_lock("kimglok")
    assert caught.value.hint == "did you mean 'kimglock'?"


@_ALL
def test_every_level_says_what_the_lock_is(lock: Lock) -> None:
    assert list(lock.levels) == list(Level)
    for settings in lock.levels.values():
        assert lock.settings(settings.profile, settings.block, settings.allow) == settings
    assert lock.levels[Level.PRIVILEGED] == Settings(lock.default)


@_ALL
def test_no_level_is_laxer_than_the_one_before(lock: Lock) -> None:
    strictness = [Profile.NONE, Profile.ALLOW, Profile.BASELINE, Profile.RESTRICTED, Profile.FILTER, Profile.ALL]
    settings = [lock.levels[level] for level in Level]
    for laxer, stricter in itertools.pairwise(settings):
        assert strictness.index(laxer.profile) <= strictness.index(stricter.profile)
        assert set(laxer.block) <= set(stricter.block)
        assert laxer.profile is not Profile.BASELINE or set(stricter.allow) <= set(laxer.allow)


def test_parameters_of_one_lock() -> None:
    lock = LOCKS["rootfslock"]
    path, excepted = lock.parameters
    assert path.parse(" /srv ") == ("/srv",)
    assert excepted.parse("/a, /b,,/a") == ("/a", "/b")
    with pytest.raises(UsageError, match="'var' is not an absolute path"):
        excepted.parse("/a,var")
    settings = lock.settings(Profile.BASELINE, parameters={"path": ("/",), "except": ("/a",)})
    assert settings.parameters == (("except", ("/a",)),)  # what differs from the default
    assert lock.parameter_values(settings) == {"path": ("/",), "except": ("/a",)}
    assert lock.value_of(settings, "except") == ("/a",)
    assert lock.value_of(settings, "profile") is Profile.BASELINE
