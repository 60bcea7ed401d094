# SPDX-License-Identifier: Apache-2.0
"""The verdicts of the benchmarks on given numbers, on both sides of each limit, and the exit status of --check."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as bench
from bench import daemon, measure, patterns, policy, policy_report, report
from bench.measure import OPERATIONS, Sample

# The locks


def _results(added: Mapping[str, Mapping[str, float]]) -> measure.Results:
    """Every operation takes 1000 instructions with a spread of 3; in each configuration `added` to some of them."""
    names: dict[str, Mapping[str, float]] = {
        "nothing": {},
        "empty x N": {},
        "baseline": {},
        "empty p": {},
        "privsnoop": {},
        **added,
    }
    return {
        name: {each.name: Sample(1000 + more.get(each.name, 0), 3) for each in OPERATIONS}
        for name, more in names.items()
    }


def _verdict(results: measure.Results, name: str) -> report.Verdict:
    return next(verdict for verdict in report.verdicts(results) if verdict.operation == name)


@pytest.mark.parametrize(
    ("locked", "met", "ratio"),
    [(149, True, 1.49), (150, True, 1.5), (151, False, 1.51), (1000, False, 10), (-5, True, -0.05)],
)
def test_a_lock_compared_with_empty_programs(locked: float, met: bool, ratio: float) -> None:
    results = _results({"empty x N": {"prctl": 100}, "baseline": {"prctl": locked}})
    verdict = _verdict(results, "prctl")
    assert (verdict.met, verdict.ratio) == (met, ratio)
    assert verdict.text == ("within 1.5 x empty" if met else "over 1.5 x empty")
    word = "ok " if met else "MISSED "
    assert any(line.startswith(word) and " prctl " in line for line in report.as_text(_filled(results)).splitlines())


def _filled(results: measure.Results) -> measure.Results:
    return {each.name: results.get(each.name, results["nothing"]) for each in measure.CONFIGURATIONS}


@pytest.mark.parametrize("name", ["getpid", "chroot"], ids=["no hook at all", "empty programs add nothing"])
@pytest.mark.parametrize(
    ("locked", "met", "says"),
    [(0, True, "nothing is added"), (3, True, "+3, as it differs"), (4, False, "+4 where nothing may be added")],
)
def test_where_nothing_may_be_added(name: str, locked: float, met: bool, says: str) -> None:
    verdict = _verdict(_results({"baseline": {name: locked}}), name)
    assert (verdict.met, verdict.ratio) == (met, None)
    assert says in verdict.text


def test_what_empty_programs_make_cheaper_is_never_met() -> None:
    """Numbers that cannot be are no success."""
    assert not _verdict(_results({"empty x N": {"prctl": -1}}), "prctl").met


@pytest.mark.parametrize(("traced", "met"), [(150, True), (151, False)])
def test_the_tracer(traced: float, met: bool) -> None:
    results = _results({"empty p": {"setns": 100}, "privsnoop": {"setns": traced}, "empty x N": {"setns": 100}})
    assert _verdict(results, "setns (p)").met is met
    assert _verdict(results, "setns").met


def test_every_operation_has_a_verdict() -> None:
    names = [verdict.operation for verdict in report.verdicts(_results({}))]
    assert names == [each.name for each in OPERATIONS] + [f"{each.name} (p)" for each in OPERATIONS if each.tracer]


# The policy engine


def _measured(**added: Mapping[str, float]) -> policy.Measured:
    costs = {name: {each.name: 10_000.0 for each in policy.OPERATIONS} for name in ("base", "empty", "AppArmor")}
    costs |= {name: {each.name: 10_000.0 for each in policy.OPERATIONS} for name in ("unconfined", "confined")}
    for each in (policy.OPEN, policy.OPEN_DEEP):
        costs["AppArmor"][each.name] += 1000
    for name, more in added.items():
        for operation, number in more.items():
            costs[name][operation] = 10_000 + number
    return policy.Measured(
        results=costs,
        rules=dict.fromkeys(policy.COUNTS, (100.0, 100.0)),
        uses={name: [10, 10] for name in ("base", "unconfined", "confined")},
        descriptors={name: [100, 100] for name in ("unconfined", "confined")},
    )


def _missed(measured: policy.Measured) -> list[str]:
    return [verdict.what for verdict in policy_report.verdicts(measured) if not verdict.met]


def test_the_engine_at_its_limits() -> None:
    assert _missed(_measured()) == []
    shallow, deep = policy.OPEN.name, policy.OPEN_DEEP.name
    at = _measured(
        unconfined={shallow: 260, deep: 260, policy.EXEC.name: 100},
        confined={shallow: 350, deep: 350, policy.OPEN_FIRST.name: 6000},
    )
    assert _missed(at) == []


@pytest.mark.parametrize(
    ("name", "operation", "number", "missed"),
    [
        ("unconfined", policy.OPEN.name, 261, 1),
        ("unconfined", policy.OPEN_DEEP.name, 261, 1),
        ("confined", policy.OPEN.name, 351, 1),  # of AppArmor's
        ("confined", policy.OPEN_DEEP.name, 451, 2),
        ("confined", policy.OPEN_FIRST.name, 6001, 1),
        ("confined", policy.OPEN_FIRST_THERE.name, 6001, 1),
        ("unconfined", policy.EXEC.name, 101, 1),
    ],
)
def test_the_engine_over_a_limit(name: str, operation: str, number: float, missed: int) -> None:
    measured = _measured(**{name: {operation: number}})
    assert len(_missed(measured)) == missed
    assert policy_report.as_text(measured).count("MISSED") == missed
    assert sum(not verdict["met"] for verdict in policy_report.as_json(measured)["verdicts"]) == missed


def test_more_rules_and_more_descriptors_that_cost_more() -> None:
    few, many = policy.COUNTS[0], policy.COUNTS[-1]
    for costs, missed in (((105.0, 105.0), 0), ((106.0, 100.0), 1), ((106.0, 106.0), 2)):
        measured = dataclasses.replace(_measured(), rules={few: (100.0, 100.0), many: costs, **_between()})
        assert len(_missed(measured)) == missed
    for number, missed in ((300, 0), (301, 1)):
        measured = dataclasses.replace(_measured(), descriptors={"unconfined": [1, 1], "confined": [100, number]})
        assert len(_missed(measured)) == missed


def _between() -> dict[int, tuple[float, float]]:
    return dict.fromkeys(policy.COUNTS[1:-1], (100.0, 100.0))


# The daemon


@pytest.mark.parametrize(
    ("instructions", "resident", "met"),
    [
        (daemon.MAX_INSTRUCTIONS - 1, daemon.MAX_RESIDENT - 1, True),
        (daemon.MAX_INSTRUCTIONS, 1, False),
        (1, daemon.MAX_RESIDENT, False),
    ],
)
def test_the_start_of_the_daemon(instructions: int, resident: int, met: bool) -> None:
    found = {"as it is": daemon.Start(instructions, resident)}
    assert found["as it is"].met is met
    assert ("MISSED" in daemon.as_text(found)) is not met
    assert daemon.as_json(found)["starts"]["as it is"]["met"] is met


# The exit status


@pytest.fixture
def bench_main(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """`python -m bench` with given measurements."""
    monkeypatch.setattr("bench.build.WORKLOAD", tmp_path)
    monkeypatch.setattr("bpflock.kernel.pins.ROOT", tmp_path / "none")
    monkeypatch.setattr("bpflock.kernel.host.require_root", lambda: None)

    def main(*words: str, bad: str = "") -> int:
        every = {each.name: 100.0 for each in OPERATIONS}
        locks = _filled(
            _results(
                {"empty p": every, "privsnoop": every, "baseline": {"getpid": 100} if bad == "locks" else {}},
            )
        )
        start = daemon.Start(daemon.MAX_INSTRUCTIONS if bad == "daemon" else 1, 1)
        engine = _measured(unconfined={policy.OPEN.name: 1000 if bad == "policy" else 0})
        monkeypatch.setattr(measure, "measure", lambda _progress: locks)
        monkeypatch.setattr(daemon, "measure", lambda _progress: {"as it is": daemon.Start(1, 1), "all locks": start})
        monkeypatch.setattr(policy, "measure", lambda _progress: engine)
        monkeypatch.setattr("sys.argv", ["bench", *words])
        return bench.main()

    return main


def test_check_passes_only_where_every_goal_is_met(bench_main: Callable[..., int]) -> None:
    assert bench_main("--check") == 0
    for bad in ("locks", "daemon", "policy"):
        assert bench_main("--check", bad=bad) == 1, bad
        assert bench_main("--check", "--json", bad=bad) == 1, bad
        assert bench_main("--check", bad, bad=bad) == 1, bad
        assert bench_main(bad=bad) == 0, bad  # without --check it only tells
    assert bench_main("--check", "daemon", bad="locks") == 0


def test_what_cannot_be_measured_is_no_success(bench_main: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.build.WORKLOAD", Path("/nonexistent"))
    assert bench_main("--check") == 2


class _Tables:
    states, labels, rights = 1, (), b""

    def __init__(self, size: int) -> None:
        self.automaton = bytes(size)


@pytest.mark.parametrize(
    ("seconds", "size", "words", "status"),
    [
        (patterns.MAX_SECONDS, 10, ["--check"], 0),
        (patterns.MAX_SECONDS + 1, 10, ["--check"], 1),
        (1, patterns.MAX_BYTES + 1, ["--check"], 1),
        (patterns.MAX_SECONDS + 1, 10, [], 0),
    ],
)
def test_patterns(monkeypatch: pytest.MonkeyPatch, seconds: float, size: int, words: list[str], status: int) -> None:
    clock = [0.0]

    def compile_policy(*_: Any) -> _Tables:
        clock[0] += seconds
        return _Tables(size)

    monkeypatch.setattr(patterns, "compile_policy", compile_policy)
    monkeypatch.setattr("bench.patterns.time.process_time", lambda: clock[0])
    # The slow one is not the last: an earlier miss is not forgotten.
    monkeypatch.setattr("sys.argv", ["patterns", *words, "10"])
    assert patterns.main() == status


def test_a_miss_before_the_last_count_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([patterns.MAX_BYTES + 1, 1])
    monkeypatch.setattr(patterns, "compile_policy", lambda *_: _Tables(next(sizes)))
    monkeypatch.setattr("sys.argv", ["patterns", "--check", "10", "20"])
    assert patterns.main() == 1
