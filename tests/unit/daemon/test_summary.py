# SPDX-License-Identifier: Apache-2.0
import json

from bpflock.daemon.report import Report, status_document
from bpflock.daemon.summary import Summaries
from bpflock.locks import LOCKS
from bpflock.locks.enforce import Broken, Counter, LockStatus
from bpflock.locks.model import Profile, Settings


def status(lock: str, *counters: Counter) -> LockStatus:
    settings = Settings(Profile.BASELINE, ("msr",))
    return LockStatus(LOCKS[lock], settings, {"profile": "default"}, 12.5, ("lsm/locked_down",), counters)


def limited(operation: str, limited: int, dropped: int = 0) -> Counter:
    return Counter(operation, 0, limited + dropped + 1, limited, dropped)


def test_only_what_is_new_since_the_last_summary_is_told() -> None:
    summaries = Summaries([status("kimglock", limited("tracefs", 5))])
    assert summaries.since_last([status("kimglock", limited("tracefs", 5))]) == []
    first, second = summaries.since_last(
        [status("kimglock", limited("tracefs", 4059, 1)), status("kmodlock", limited("load_module", 0, 2))]
    )
    assert (first.bpfprog, first.op, first.operation) == ("kimglock", "tracefs", "use of tracefs")
    assert (first.limited, first.dropped) == (4054, 1)
    assert (second.bpfprog, second.operation, second.limited, second.dropped) == ("kmodlock", "loading module", 0, 2)
    assert summaries.since_last([status("kimglock", limited("tracefs", 4059, 1))]) == []


def test_counters_that_begin_again_are_told_from_zero() -> None:
    summaries = Summaries([status("kimglock", limited("msr", 100))])
    [found] = summaries.since_last([status("kimglock", limited("msr", 3))])
    assert found.limited == 3
    # Also when the lock was away in between.
    assert summaries.since_last([]) == []
    [found] = summaries.since_last([status("kimglock", limited("msr", 7))])
    assert found.limited == 7


def test_the_document_for_programs() -> None:
    assert json.loads(json.dumps(status_document(Report((status("kimglock", limited("msr", 3)),))))) == {
        "locks": [
            {
                "name": "kimglock",
                "profile": "baseline",
                "block": ["msr"],
                "allow": [],
                "origins": {"profile": "default"},
                "since": 12.5,
                "hooks": ["lsm/locked_down"],
                "counters": [{"operation": "msr", "allowed": 0, "denied": 4, "limited": 3, "dropped": 0}],
            }
        ],
        "policies": [],
        "uncovered": [],
    }


def test_what_is_damaged_is_in_it() -> None:
    found = status_document(Report(broken=(Broken("kimglock", "no program is attached"),)))
    assert found == {"locks": [], "policies": [], "uncovered": [], "broken": {"kimglock": "no program is attached"}}
