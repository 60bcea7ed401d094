# SPDX-License-Identifier: Apache-2.0
"""bpflock lock, unlock, status."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bpflock.errors import BpflockError
from bpflock.locks import LOCKS
from bpflock.locks.enforce import Broken, Counter, LockStatus, Outcome
from bpflock.locks.model import Level, Profile, Settings

from .conftest import FakeEnforcer, Result

Run = Callable[..., Result]


def test_lock_with_flags(bpflock: Run, enforcer: FakeEnforcer) -> None:
    result = bpflock("lock", "kimglock", "--profile=baseline", "--block=msr,kexec", "--allow", "debugfs")
    assert result.status == 0
    assert enforcer.applied == [
        (
            "kimglock",
            Settings(Profile.BASELINE, ("kexec", "msr"), ("debugfs",)),
            {"profile": "command line", "block": "command line", "allow": "command line", "allow-session": "default"},
        )
    ]
    assert result.out == (
        "kimglock: baseline; denied to everyone: kexec, msr; granted outside the host: debugfs (loaded)\n"
    )
    assert result.err == ""


def test_lock_takes_what_flags_do_not_say_from_the_configuration(
    bpflock: Run, enforcer: FakeEnforcer, etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (etc / "bpflock.yaml").write_text("kimglock-profile: restricted\nkimglock-block: msr\nkmodlock-profile: baseline\n")
    monkeypatch.setenv("BPFLOCK_KIMGLOCK_ALLOW", "perf")
    enforcer.outcome = Outcome.REPLACED
    result = bpflock("lock", "kimglock", "--profile=baseline")
    assert result.status == 0
    assert enforcer.applied == [
        (
            "kimglock",
            Settings(Profile.BASELINE, ("msr",), ("perf",)),
            {
                "profile": "command line",
                "block": f"{etc}/bpflock.yaml:2",
                "allow": "environment BPFLOCK_KIMGLOCK_ALLOW",
                "allow-session": "default",
            },
        )
    ]
    assert "(replaced)" in result.out


def test_lock_all_does_what_the_daemon_does_at_its_start(bpflock: Run, enforcer: FakeEnforcer, etc: Path) -> None:
    (etc / "bpflock.yaml").write_text("level: baseline\nkmodlock-profile: restricted\n")
    result = bpflock("lock", "--all")
    assert result.status == 0
    assert [name for name, _, _ in enforcer.applied] == [
        name for name, lock in LOCKS.items() if lock.levels[Level.BASELINE].profile is not Profile.NONE
    ]
    assert ("kmodlock", Settings(Profile.RESTRICTED)) in [(name, settings) for name, settings, _ in enforcer.applied]
    assert "kimglock: baseline (loaded)\nusblock: allow (loaded)\nkmodlock: restricted (loaded)\n" in result.out
    documents = bpflock("lock", "--all", "--json").json
    assert documents[0] == {"lock": "kimglock", "profile": "baseline", "block": [], "allow": [], "outcome": "loaded"}


def test_lock_all_keeps_what_was_put_on_by_hand(bpflock: Run, enforcer: FakeEnforcer) -> None:
    settings = Settings(Profile.RESTRICTED)
    enforcer.statuses = [LockStatus(LOCKS["kimglock"], settings, {"profile": "command line"}, 0.0, (), ())]
    assert bpflock("lock", "--all").status == 0
    assert "kimglock" not in [name for name, _, _ in enforcer.applied]


def test_lock_json(bpflock: Run, enforcer: FakeEnforcer) -> None:
    expected = {"lock": "kmodlock", "profile": "allow", "block": ["load_module"], "allow": [], "outcome": "adopted"}
    enforcer.outcome = Outcome.ADOPTED
    assert bpflock("lock", "kmodlock", "--block=load_module", "--json").json == expected
    assert bpflock("--json", "lock", "kmodlock", "--block=load_module").json == expected


def test_lock_a_tracer(bpflock: Run, enforcer: FakeEnforcer) -> None:
    result = bpflock("lock", "execsnoop", "--profile=all")
    assert result.out == "execsnoop: traces all (loaded)\n"
    origins = {"profile": "command line", "args": "default", "exit": "default"}
    assert enforcer.applied == [("execsnoop", Settings(Profile.ALL), origins)]


def test_lock_a_tracer_with_parameters(bpflock: Run, enforcer: FakeEnforcer) -> None:
    result = bpflock("lock", "execsnoop", "--profile=all", "--exec-snoop-args=0", "--exec-snoop-exit=no")
    assert result.out == "execsnoop: traces all; args: 0; exit: no (loaded)\n"
    assert enforcer.applied[0][1] == Settings(Profile.ALL, parameters=(("args", ("0",)), ("exit", ("no",))))


def test_lock_with_nothing_configured_says_what_that_means(bpflock: Run, enforcer: FakeEnforcer) -> None:
    result = bpflock("lock", "kimglock")
    assert result.status == 0
    assert result.err == "bpflock: note: nothing is configured for kimglock, so its profile is allow\n"
    assert enforcer.applied[0][1] == Settings(Profile.ALLOW)


def test_lock_passes_the_size_of_the_event_buffer(bpflock: Run, enforcer: FakeEnforcer) -> None:
    bpflock("lock", "kimglock", "--event-buffer=4M")
    assert enforcer.event_buffer == 4 * 1024 * 1024


@pytest.mark.parametrize(
    ("args", "message", "hint"),
    [
        (["kimlock"], "there is no lock 'kimlock'", "did you mean 'kimglock'?"),
        (["kimglock", "--profile=basline"], "--profile: kimglock has no profile 'basline'", "did you mean 'baseline'?"),
        (["kimglock", "--block=kexek"], "--block: kimglock has no operation 'kexek'", "did you mean 'kexec'?"),
        (["execsnoop", "--block=execve"], "--block: execsnoop traces only: it has no block or allow list", ""),
        (["execsnoop", "--exec-snoop-args=4097"], "--exec-snoop-args: '4097' is out of range", "valid: 0 to 4096"),
        (["execsnoop", "--exec-snoop-args=1K"], "--exec-snoop-args: '1K' is not a number", "valid: 0 to 4096"),
        (["kimglock", "--exec-snoop-exit=no"], "--exec-snoop-exit is no option of kimglock", ""),
        (["kimglock", "--profile=allow", "--profile=baseline"], "--profile is given 2 times", "give it once"),
        (["kimglock", "kmodlock"], "got unexpected extra argument (kmodlock)", "see 'bpflock lock --help'"),
        ([], "no lock is named", f"name one of {', '.join(LOCKS)}, or give --all"),
        (["--all", "kimglock"], "--all is given together with what is for one lock", "give one or the other"),
        (["--all", "--profile=baseline"], "--all is given together with what is for one lock", "give one or the other"),
        (["--all", "--level=restrict"], "--level: there is no level 'restrict'", "did you mean 'restricted'?"),
        (
            ["kimglock", "--block=msr", "--allow=msr"],
            "kimglock: msr is in both the block and the allow list "
            "(kimglock-block: command line, kimglock-allow: command line)",
            "take it out of one of them",
        ),
    ],
)
def test_lock_refuses_and_changes_nothing(
    bpflock: Run, enforcer: FakeEnforcer, args: list[str], message: str, hint: str
) -> None:
    result = bpflock("lock", *args)
    assert result.status == 2
    assert result.err == f"bpflock: error: {message}\n" + (f"hint: {hint}\n" if hint else "")
    assert result.out == ""
    assert enforcer.applied == []


def test_an_error_in_the_configuration_of_another_lock_stops_it(
    bpflock: Run, enforcer: FakeEnforcer, etc: Path
) -> None:
    (etc / "bpflock.yaml").write_text("kmodlock-profile: lax\n")
    assert bpflock("lock", "kimglock", "--profile=baseline").status == 2
    assert enforcer.applied == []


def test_failures_keep_their_exit_status(bpflock: Run, enforcer: FakeEnforcer, failure: BpflockError) -> None:
    enforcer.error = failure
    result = bpflock("lock", "kimglock", "--profile=baseline")
    assert (result.status, result.out) == (3, "")
    assert result.err == "bpflock: error: it does not work\nhint: do something\n"


def test_unlock(bpflock: Run, enforcer: FakeEnforcer) -> None:
    enforcer.loaded = {"kimglock"}
    result = bpflock("unlock", "kmodlock", "kimglock", "kimglock")
    assert result.status == 0
    assert enforcer.removed == ["kmodlock", "kimglock"]
    assert result.out == "kmodlock: was not enforced\nkimglock: no longer enforced\n"


def test_unlock_all(bpflock: Run, enforcer: FakeEnforcer) -> None:
    assert bpflock("unlock", "--all").out == "nothing was enforced\n"
    assert enforcer.removed == list(LOCKS)
    enforcer.loaded = {"bpfrestrict"}
    assert bpflock("unlock", "--all").out == "bpfrestrict: no longer enforced\n"
    assert bpflock("unlock", "--all", "--json").json == {"removed": ["bpfrestrict"]}


def test_unlock_works_with_a_broken_configuration(bpflock: Run, enforcer: FakeEnforcer, etc: Path) -> None:
    (etc / "bpflock.yaml").write_text("]broken[")
    enforcer.loaded = {"kimglock"}
    assert bpflock("unlock", "kimglock").out == "kimglock: no longer enforced\n"
    assert bpflock("status").status == 0


@pytest.mark.parametrize("args", [[], ["--all", "kimglock"], ["kimglock", "kimlock"]])
def test_unlock_refuses_before_it_removes_anything(bpflock: Run, enforcer: FakeEnforcer, args: list[str]) -> None:
    result = bpflock("unlock", *args)
    assert result.status == 2
    assert result.err.startswith("bpflock: error: ")
    assert enforcer.removed == []


_STATUS = LockStatus(
    LOCKS["kimglock"],
    Settings(Profile.BASELINE, ("kexec", "msr"), ()),
    {"profile": "/etc/bpflock/bpflock.yaml:3", "block": "command line", "allow": "default"},
    1_700_000_000.5,
    ("lsm/locked_down", "lsm/file_open"),
    (Counter("dev_mem", 3, 12345, 2, 0), Counter("kexec", 0, 0, 0, 0)),
)


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("utc")
def test_status(bpflock: Run, enforcer: FakeEnforcer) -> None:
    enforcer.statuses = [_STATUS]
    result = bpflock("status")
    assert result.status == 0
    assert result.out == (
        "kimglock: reading or changing the running kernel image\n"
        "  profile  baseline  (/etc/bpflock/bpflock.yaml:3)\n"
        "  block    kexec, msr  (command line)\n"
        "  hooks    lsm/locked_down, lsm/file_open\n"
        "  since    2023-11-14 22:13:20\n"
        "  operation  allowed  denied  limited  dropped\n"
        "  dev_mem          3   12345        2        0\n"
    )


def test_status_tells_what_a_tracer_missed(bpflock: Run, enforcer: FakeEnforcer) -> None:
    counters = (Counter("bpf", 5, 0, 0, 0),)
    enforcer.statuses = [LockStatus(LOCKS["privsnoop"], Settings(Profile.ALL), {}, 0.0, (), counters, missed=3)]
    assert "  missed   3  (it was interrupted by what it would have traced)\n" in bpflock("status").out
    (lock,) = bpflock("status", "--json").json["locks"]
    assert lock["missed"] == 3


def test_status_json_has_everything(bpflock: Run, enforcer: FakeEnforcer) -> None:
    enforcer.statuses = [_STATUS]
    (lock,) = bpflock("status", "--json").json["locks"]
    assert lock == {
        "name": "kimglock",
        "profile": "baseline",
        "block": ["kexec", "msr"],
        "allow": [],
        "origins": {"profile": "/etc/bpflock/bpflock.yaml:3", "block": "command line", "allow": "default"},
        "since": 1_700_000_000.5,
        "hooks": ["lsm/locked_down", "lsm/file_open"],
        "counters": [
            {"operation": "dev_mem", "allowed": 3, "denied": 12345, "limited": 2, "dropped": 0},
            {"operation": "kexec", "allowed": 0, "denied": 0, "limited": 0, "dropped": 0},
        ],
    }


def test_status_of_nothing(bpflock: Run, enforcer: FakeEnforcer) -> None:
    assert bpflock("status").out == "nothing is enforced\n"
    assert bpflock("status", "--json").json == {"locks": [], "policies": [], "uncovered": []}


def test_a_damaged_lock_is_told_beside_the_others(bpflock: Run, enforcer: FakeEnforcer) -> None:
    enforcer.statuses = [_STATUS]
    enforcer.broken = [Broken("kmodlock", "cannot open the pinned map\nx"), Broken("guard", "its key is gone")]
    result = bpflock("status")
    assert result.status == 1
    assert "kimglock: " in result.out
    assert "kmodlock: BROKEN: cannot open the pinned map\\nx" in result.out
    assert "guard: BROKEN: its key is gone" in result.out
    assert "the pins are damaged of: kmodlock, guard" in result.err
    result = bpflock("status", "--json")
    assert result.status == 1
    assert result.json["broken"] == {"kmodlock": "cannot open the pinned map\nx", "guard": "its key is gone"}
    assert [lock["name"] for lock in result.json["locks"]] == ["kimglock"]


def test_status_does_not_pass_on_terminal_escapes(bpflock: Run, enforcer: FakeEnforcer) -> None:
    enforcer.statuses = [dataclasses.replace(_STATUS, origins={"profile": "/tmp/\x1b[2J\nx.yaml:1"})]
    out = bpflock("status").out
    assert "\x1b" not in out
    assert "/tmp/\\x1b[2J\\nx.yaml:1" in out
