# SPDX-License-Identifier: Apache-2.0
"""Counts are exact: allowed + denied = attempts = events sent + limited + dropped, whatever happens."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpflock.events.model import Event
from bpflock.locks.enforce import Counter, Enforcer
from bpflock.locks.model import Profile

from .conftest import ATTACK, CONTAINER, Attacker, Locks
from .running import start

_DENIALS = 100_000
_SMALL_RING = 64 * 1024


@pytest.fixture(autouse=True)
def nothing_before(all_locks: Locks) -> Iterator[None]:
    all_locks.unload_all()
    yield
    all_locks.unload_all()


def _attempts(output: str) -> int:
    """How many there were; all denied."""
    match = re.fullmatch(r"attempts=(\d+) denied=(\d+) ok=(\d+)\n", output)
    assert match, output
    attempts, denied, ok = map(int, match.groups())
    assert (denied, ok) == (attempts, 0)
    return attempts


def _adds_up(counter: Counter, events: list[Event]) -> None:
    sent = [event for event in events if event.op == counter.operation]
    assert len(sent) + counter.limited + counter.dropped == counter.allowed + counter.denied, counter


# Denied opens of /dev/mem by one process: so many at once, and one more when it may be told again.
_REPEATS = 400
_SHELL = f"i=0; while [ $i -lt {_REPEATS} ]; do i=$((i+1)); true </dev/mem; done; sleep 11; true </dev/mem"


def test_denials_as_fast_as_can_be(locks: Locks) -> None:
    """100,000 by one attacker, and once more by two at once. Meanwhile another one repeats itself slowly."""
    locks.load("bpfrestrict", Profile.RESTRICTED)
    locks.load("kimglock", Profile.BASELINE)
    locks.events()
    slow = subprocess.Popen([*CONTAINER.split(), "sh", "-c", _SHELL], stderr=subprocess.DEVNULL)
    events: list[Event] = []
    with start([*CONTAINER.split(), ATTACK, "loop", str(_DENIALS), "map_create"]) as one:
        assert one.stdout is not None
        assert _attempts(one.stdout.read()) == _DENIALS
    events += locks.events()
    counter = locks.counters("bpfrestrict")["map_create"]
    assert (counter.allowed, counter.denied, counter.dropped) == (0, _DENIALS, 0)
    _adds_up(counter, events)

    command = [*CONTAINER.split(), str(ATTACK), "loop", str(_DENIALS // 2), "map_create"]
    with start(command) as first, start(command) as second:
        for attacker in (first, second):
            assert attacker.stdout is not None
            assert _attempts(attacker.stdout.read()) == _DENIALS // 2
    slow.wait()
    events += locks.events()
    counter = locks.counters("bpfrestrict")["map_create"]
    assert (counter.allowed, counter.denied, counter.dropped) == (0, 2 * _DENIALS, 0)
    _adds_up(counter, events)
    assert {event.reason for event in events if event.op == "map_create"} == {"denied (restricted)"}

    # An event tells how many of its kind were not sent before it.
    told = [event for event in events if event.op == "dev_mem"]
    assert [event.repeats for event in told] == [0, _REPEATS - 1]
    counter = locks.counters("kimglock")["dev_mem"]
    assert (counter.denied, counter.limited) == (_REPEATS + 1, _REPEATS - 1)
    _adds_up(counter, events)


def test_allowed_accesses_are_counted_too(locks: Locks) -> None:
    locks.load("bpfrestrict", Profile.ALLOW)
    locks.events()
    subprocess.run([ATTACK, "loop", "3000", "map_get_next_id"], check=True, capture_output=True)
    counter = locks.counters("bpfrestrict")["map_get_next_id"]
    assert (counter.allowed, counter.denied, counter.dropped) == (3000, 0, 0)
    _adds_up(counter, locks.events())


def test_more_subjects_than_the_ring_holds(all_locks: Locks) -> None:
    """Each a process of its own, so that nothing is limited: what the ring cannot hold is counted as dropped."""
    locks = Locks()
    locks.enforcer = Enforcer(event_buffer=_SMALL_RING)
    locks.load("kimglock", Profile.RESTRICTED)
    locks.events()
    subjects = 1500
    subprocess.run(
        ["sh", "-c", f"i=0; while [ $i -lt {subjects} ]; do i=$((i+1)); (true </dev/mem); done"],
        check=False,
        stderr=subprocess.DEVNULL,
    )
    counter = locks.counters("kimglock")["dev_mem"]
    events = locks.events()
    assert counter.denied == subjects
    assert counter.limited == 0
    assert counter.dropped > subjects / 4
    assert len(events) > _SMALL_RING / 512
    _adds_up(counter, events)
    # Denials do not depend on their events, and with room again there are events again.
    subprocess.run([ATTACK, "dev_mem"], check=False, capture_output=True)
    assert [event.op for event in locks.events()] == ["dev_mem"]


def test_a_storm_in_the_kernel(attacker: Attacker, locks: Locks, capsys: pytest.CaptureFixture[str]) -> None:
    """Loading a module with many tracepoints asks for each of their files: one event, and an exact count."""
    attacker.run("modprobe -r xfs")
    assert not Path("/sys/module/xfs").exists()
    locks.load("kimglock", Profile.ALLOW)
    locks.events()
    assert attacker.run("modprobe xfs").worked
    events = [event for event in locks.events() if event.op == "tracefs"]
    counter = locks.counters("kimglock").get("tracefs", Counter("tracefs", 0, 0, 0, 0))
    attacker.run("modprobe -r xfs")
    with capsys.disabled():
        sys.stdout.write(f"\nmodprobe xfs: {counter.allowed} times tracefs, {len(events)} events\n")
    _adds_up(counter, events)
    assert counter.dropped == 0
    if "eventfs_create_dir" in Path("/proc/kallsyms").read_text():
        # This kernel makes these files when somebody looks.
        assert counter.allowed < 100
        return
    assert counter.allowed > 1000
    assert [(event.comm, event.reason) for event in events if event.comm == b"modprobe"] == [
        (b"modprobe", "allow (privileged)")
    ]
