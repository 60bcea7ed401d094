# SPDX-License-Identifier: Apache-2.0
"""The tour's own verdicts: an attack that was not stopped, one that never worked, and an event that is missing."""

import dataclasses

import pytest

from tour import __main__ as tour
from tour.scenes import SCENES, Scene
from tour.stage import Seen

WORKED = Seen(0, "ok: it worked")
DENIED = Seen(1, "denied: open: EPERM (Operation not permitted)")
REFUSED = Seen(1, "the kernel itself refuses it")
FAILED = Seen(2, "failed: no such device")
STOPPED = next(scene for scene in SCENES if scene.stopped)
ALLOWED = next(scene for scene in SCENES if not scene.stopped and scene.reason)
EVENT = f'msg="event=lsm_locked_down reason={STOPPED.reason}" bpfprog=kimglock'


@pytest.mark.parametrize(
    ("seen", "worked", "denied", "refused", "word"),
    [
        (WORKED, True, False, False, "worked"),
        (Seen(0, "denied: not really"), True, False, False, "worked"),
        (DENIED, False, True, False, "denied"),
        (Seen(1, "od: /proc/kcore: Operation not permitted"), False, True, False, "denied"),
        (REFUSED, False, False, True, "refused"),
        (FAILED, False, False, False, "failed"),
        (Seen(126, "sh: Permission denied"), False, False, False, "failed"),
    ],
)
def test_what_an_attacker_saw(seen: Seen, worked: bool, denied: bool, refused: bool, word: str) -> None:
    assert (seen.worked, seen.denied, seen.refused, seen.word) == (worked, denied, refused, word)


@pytest.mark.parametrize(
    ("scene", "without", "seen", "event", "problem"),
    [
        (STOPPED, WORKED, DENIED, EVENT, ""),
        (STOPPED, REFUSED, DENIED, EVENT, ""),
        (STOPPED, WORKED, WORKED, EVENT, "it should have been denied, but worked"),
        (STOPPED, WORKED, FAILED, EVENT, "it should have been denied, but failed"),
        (STOPPED, WORKED, REFUSED, EVENT, "it should have been denied, but refused"),
        (STOPPED, DENIED, DENIED, EVENT, "it did not work without bpflock"),
        (STOPPED, FAILED, DENIED, EVENT, "it did not work without bpflock"),
        (STOPPED, WORKED, DENIED, None, "no event says so"),
        (ALLOWED, WORKED, WORKED, EVENT, ""),
        (ALLOWED, WORKED, DENIED, EVENT, "it should have worked, but was denied"),
        (ALLOWED, WORKED, FAILED, EVENT, "it should have worked, but was failed"),
        (ALLOWED, WORKED, WORKED, None, "no event says so"),
    ],
)
def test_problems(scene: Scene, without: Seen, seen: Seen, event: str | None, problem: str) -> None:
    found = tour._problems(scene, without, seen, event)
    assert [bool(problem)] == [bool(found)]
    assert problem in "; ".join(found)


def test_several_problems_are_all_told() -> None:
    assert len(tour._problems(STOPPED, FAILED, WORKED, None)) == 3


def _result(scene: Scene, *problems: str) -> tour.Result:
    return tour.Result(scene, WORKED, DENIED if scene.stopped else WORKED, EVENT, problems)


def test_the_verdicts() -> None:
    assert _result(STOPPED).verdict == "stopped"
    assert _result(ALLOWED).verdict == "allowed"
    assert _result(dataclasses.replace(ALLOWED, reason="")).verdict == "seen"
    for scene in (STOPPED, ALLOWED):
        assert _result(scene, "it worked").verdict == "WRONG"
    assert _result(STOPPED).reason == STOPPED.reason


def test_the_summary_and_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    good = [_result(scene) for scene in SCENES]
    attacks = sum(scene.stopped for scene in SCENES)
    assert tour._summary(good, 37) == 0
    assert f"{attacks} of {attacks} attacks were stopped as announced" in capsys.readouterr().out
    for place, scene in enumerate(SCENES):
        bad = [*good[:place], _result(scene, "it should have been denied, but worked"), *good[place + 1 :]]
        assert tour._summary(bad, 37) == 1
        shown = capsys.readouterr().out
        assert f"{attacks - scene.stopped} of {attacks} attacks were stopped as announced" in shown
        assert "WRONG" in shown and "it should have been denied, but worked" in shown


def test_there_is_a_scene_of_every_kind() -> None:
    """Also one that must not be stopped: a lock that denies everything is no good one."""
    assert {(scene.stopped, scene.outside) for scene in SCENES} >= {(True, True), (True, False), (False, False)}
    assert any(scene.kills_daemon for scene in SCENES)
