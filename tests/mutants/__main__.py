# SPDX-License-Identifier: Apache-2.0
"""Break the product in many ways, one at a time, and see that a test fails each time.

    python -m tests.mutants                         the changes of the list whose tests need no kernel, and the tool's
    python -m tests.mutants --kernel 6.1            those of the list that need one, a guest for each
    python -m tests.mutants T9 T14                  these of the list
    python -m tests.mutants --tool 20 --seed 3      so many of the tool's for each module; 0: none

The exit status is 1 if a change of the list survives or cannot be made, or if less than GOAL of the tool's are noticed.
"""

import argparse
import contextlib
import os
import queue
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.mutants import tool
from tests.mutants.changes import Change, ChangeError, load
from tests.mutants.checkout import ROOT, Checkout

GOAL = 0.85
_WORKERS = os.cpu_count() or 1
_PLACE = ROOT / "build" / "mutants"
_UNIT_SECONDS = 300  # a change may make a test run for ever: that is noticed, too
_GUEST_SECONDS = 1500
_CAUGHT, _SURVIVED, _BROKEN = "caught", "SURVIVED", "BROKEN"
_FAILED_TESTS = 1  # pytest's exit status; others are for what is no test result


@dataclass(frozen=True)
class Outcome:
    name: str
    what: str
    verdict: str
    by: str
    seconds: float


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="Is each fault noticed by a test?")
    parser.add_argument("ids", nargs="*", metavar="ID", help="only these of the list")
    parser.add_argument("--kernel", metavar="KERNEL", help="those whose tests need a kernel, on this one")
    parser.add_argument("--tool", type=int, default=12, metavar="COUNT", help="the tool's for each module")
    parser.add_argument("--seed", type=int, default=1, help="of the tool's choice")
    args = parser.parse_args(argv)
    try:
        listed = [change for change in load() if not args.ids or change.id in args.ids]
        wanted = [change for change in listed if bool(change.kernel) == bool(args.kernel)]
        for change in wanted:
            change.find(ROOT)
    except ChangeError as error:
        _say(f"mutants: error: {error}")
        return 2
    with _checkouts() as checkouts:
        if args.kernel:
            found = list(_all(wanted, lambda change: _in_guest(change, args.kernel, checkouts)))
        else:
            found = list(_all(wanted, lambda change: _by_unit_tests(change, checkouts)))
        generated: list[Outcome] = []
        if not args.kernel and not args.ids and args.tool:
            mutants = tool.choose(ROOT, args.tool, args.seed)
            generated = list(_all(mutants, lambda mutant: _by_unit_tests(mutant, checkouts)))
    return _summary(found, generated)


_T = TypeVar("_T")


def _all(items: Sequence[_T], run: Callable[[_T], Outcome]) -> Iterator[Outcome]:
    with ThreadPoolExecutor(_WORKERS) as pool:
        for outcome in pool.map(run, items):
            _say(f"{outcome.verdict:9} {outcome.name:24} {outcome.seconds:5.0f} s  {outcome.what}")
            yield outcome


@contextlib.contextmanager
def _checkouts() -> Iterator["queue.SimpleQueue[Checkout]"]:
    """A copy for each worker."""
    found: queue.SimpleQueue[Checkout] = queue.SimpleQueue()
    for number in range(_WORKERS):
        checkout = Checkout(_PLACE / str(number))
        checkout.make()
        found.put(checkout)
    yield found


@contextlib.contextmanager
def _changed(change: Change, checkouts: "queue.SimpleQueue[Checkout]") -> Iterator[Checkout]:
    """A copy with the change in it."""
    checkout = checkouts.get()
    try:
        path, before = change.apply(checkout.path)
        try:
            yield checkout
        finally:
            path.write_text(before)
    finally:
        checkouts.put(checkout)


def _by_unit_tests(change: Change, checkouts: "queue.SimpleQueue[Checkout]") -> Outcome:
    began = time.monotonic()
    with _changed(change, checkouts) as checkout:
        command = [str(checkout.python), "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *change.test.split()]
        status = _run(command, checkout.path, _UNIT_SECONDS)
    return _judge(change, status, change.test, began)


def _in_guest(change: Change, kernel: str, checkouts: "queue.SimpleQueue[Checkout]") -> Outcome:
    began = time.monotonic()
    with _changed(change, checkouts) as checkout:
        if change.file.startswith("bpf/") and _run(_build(checkout), checkout.path, _UNIT_SECONDS):
            return Outcome(change.id, change.what, _BROKEN, "it does not compile", time.monotonic() - began)
        report = checkout.path / "build" / "reports" / f"{kernel}.xml"
        report.unlink(missing_ok=True)
        command = [str(checkout.python), "-m", "vm.suite", "--kernel", kernel, "--", "-x", "-k", change.kernel]
        status = _run(command, checkout.path, _GUEST_SECONDS)
        # A guest that dies tells nothing; a test that fails leaves a report.
        if status == _FAILED_TESTS and not (report.exists() and _tells_of_failure(report)):
            status = 125
    if change.file.startswith("bpf/"):
        _run(_build(checkout), checkout.path, _UNIT_SECONDS)
    return _judge(change, status, change.kernel, began)


def _tells_of_failure(report: Path) -> bool:
    text = report.read_text()
    return "<failure" in text or "<error" in text


def _build(checkout: Checkout) -> list[str]:
    return [str(checkout.python), "setup.py", "-q", "build_py", "-d", "build/lib"]


def _run(command: Sequence[str], where: Path, seconds: float) -> int:
    """Its exit status; that of a failed test if it takes too long."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "CI": ""}
    try:
        with (where / "mutant.log").open("w") as log:
            done = subprocess.run(
                command, cwd=where, env=environment, stdout=log, stderr=log, timeout=seconds, check=False
            )
    except subprocess.TimeoutExpired:
        return _FAILED_TESTS
    return done.returncode


def _judge(change: Change, status: int, by: str, began: float) -> Outcome:
    verdict = {0: _SURVIVED, _FAILED_TESTS: _CAUGHT}.get(status, _BROKEN)
    return Outcome(change.id, change.what, verdict, by, time.monotonic() - began)


def _summary(found: Sequence[Outcome], generated: Sequence[Outcome]) -> int:
    bad = [outcome for outcome in found if outcome.verdict != _CAUGHT]
    _say("")
    for outcome in (*bad, *(each for each in generated if each.verdict == _SURVIVED)):
        _say(f"{outcome.verdict}: {outcome.name}: {outcome.what} ({outcome.by})")
    _say(f"{len(found) - len(bad)} of {len(found)} changes of the list were noticed")
    # What is no program any more says nothing about tests.
    counted = [outcome for outcome in generated if outcome.verdict != _BROKEN]
    caught = sum(outcome.verdict == _CAUGHT for outcome in counted)
    score = caught / len(counted) if counted else 1.0
    if counted:
        _say(f"{caught} of {len(counted)} of the tool's were noticed: {score:.0%}, at least {GOAL:.0%} are wanted")
    return 1 if bad or score < GOAL else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
