# SPDX-License-Identifier: Apache-2.0
"""All tests that need a kernel: each kernel in its own guest, a few guests at a time.

    python -m vm.suite                      everything
    python -m vm.suite --kernel 6.1         tests/kernel on this kernel only
    python -m vm.suite --image              tests/image, in a guest with a Debian of its own
    python -m vm.suite -- -k kimglock       with arguments for pytest
    python -m vm.suite --force              also what has passed and has not changed since
    python -m vm.suite --fetch              only download what the guests need

A suite that passed as a whole is not run again while nothing has changed that it depends on (`vm.passed`),
except with --force, with arguments for pytest, and in CI ($CI is set).
Lines of output carry the name of their guest. Results are left as JUnit XML in build/reports/.
"""

from __future__ import annotations

import argparse
import compileall
import dataclasses
import os
import shlex
import shutil
import sys
import tempfile
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vm import guest, image, kernels, passed, qemu
from vm.cli import terminal_environment
from vm.errors import VmError, say

REPORTS = Path("build/reports")

_KERNEL_TESTS = Path("tests/kernel")
_BOOT_TESTS = Path("tests/boot")
_IMAGE_TESTS = Path("tests/image")
_PREPARE = _IMAGE_TESTS / "prepare.sh"
_KERNELS = ("6.1", "newest")
_TIMEOUT = 5100.0
_BOOT_TIMEOUT = 300.0

# Guests at a time, and CPUs for each. One guest more than there are cores, as guests wait for their kernel at times
# (6.1 takes 0.1 s to take a program out): two cores took 1,470 s for all suites, by two guests at a time 1,700 s. More
# emulated CPUs of one guest cost more than they do: two guests of two CPUs took twice as long as two of one.
_CORES = os.cpu_count() or 1
_GUESTS = min(3, _CORES + 1)
_CPUS = max(1, min(2, _CORES // _GUESTS))


@dataclass(frozen=True)
class Suite:
    """Tests for one boot. `boot` tells tests/boot what is special about it; `image`: the guest has a disk; `chosen`:
    not all of the tests."""

    name: str
    kernel: str
    tests: Path
    lsm: str = guest.DEFAULT_LSM
    boot: str = ""
    timeout: float = _TIMEOUT
    image: bool = False
    chosen: tuple[str, ...] = ()  # arguments for pytest


_IMAGE = Suite(name="image", kernel="6.1", tests=_IMAGE_TESTS, image=True)
# What differs most between kernels: hooks, the verifier, names without a file.
_BETWEEN = Suite(
    name="6.12",
    kernel="6.12",
    tests=_KERNEL_TESTS,
    chosen=("-k", "redteam or coverage or verifier or rootfslock or sysfslock or filelesslock"),
)
_BOOTS = (
    Suite(
        name="nolsm",
        kernel="6.1",
        tests=_BOOT_TESTS,
        lsm=guest.DEFAULT_LSM.removesuffix(",bpf"),
        boot="nolsm",
        timeout=_BOOT_TIMEOUT,
    ),
    Suite(name="5.10", kernel="5.10", tests=_BOOT_TESTS, boot="5.10", timeout=_BOOT_TIMEOUT),
)


@dataclass(frozen=True)
class Counts:
    """What the JUnit report of one pytest run says."""

    tests: int
    failed: int
    errors: int
    skipped: int

    def __str__(self) -> str:
        passed = self.tests - self.failed - self.errors - self.skipped
        parts = ((passed, "passed"), (self.failed, "failed"), (self.errors, "errors"))
        words = [f"{number} {what}" for number, what in (*parts, (self.skipped, "skipped")) if number]
        return ", ".join(words) or "no tests"


@dataclass(frozen=True)
class Outcome:
    suite: Suite
    passed: bool
    summary: str
    release: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Plan:
    """What was asked for, for all suites."""

    extra: Sequence[str]  # arguments for pytest
    cpus: int  # of each guest
    force: bool  # run also what passed and has not changed since


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m vm.suite", description="Test on real kernels.")
    parser.add_argument("--kernel", action="append", default=[], help="only tests/kernel, on this one")
    parser.add_argument("--image", action="store_true", help="only tests/image")
    parser.add_argument("--smp", type=int, default=_CPUS, help="CPUs of a guest (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="run also what passed and has not changed since")
    parser.add_argument("--fetch", action="store_true", help="only download what the guests need")
    parser.add_argument("pytest", nargs="*", metavar="ARG", help="for pytest, after --")
    args = parser.parse_args(argv)
    if args.image:
        suites = [dataclasses.replace(_IMAGE, name=f"image-{name}", kernel=name) for name in args.kernel] or [_IMAGE]
    else:
        suites = [Suite(name, name, _KERNEL_TESTS) for name in args.kernel or _KERNELS]
        if not args.kernel and not args.pytest:
            suites += [_BETWEEN, _IMAGE, *_BOOTS]
    try:
        if args.fetch:
            _fetch(suites)
            return 0
        outcomes = _run_all(suites, Plan(args.pytest, args.smp, args.force or bool(os.environ.get("CI"))))
    except VmError as error:
        sys.stderr.write(error.render() + "\n")
        return 125
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    _summarise(outcomes)
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def _fetch(suites: Sequence[Suite]) -> dict[str, kernels.Kernel]:
    """By name. One after the other: downloads do not get faster side by side, only less readable."""
    found = {name: kernels.fetch(name) for name in dict.fromkeys(suite.kernel for suite in suites)}
    if any(suite.image for suite in suites):
        image.make()
        image.wheels()
    return found


def _run_all(suites: Sequence[Suite], plan: Plan) -> list[Outcome]:
    found = _fetch(suites)
    # The guest cannot write bytecode, and compiling is slow in there.
    compileall.compile_dir("src", quiet=2)
    REPORTS.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    output = Output(width=max(len(suite.name) for suite in suites))
    with ThreadPoolExecutor(max_workers=_GUESTS) as pool:
        futures = [pool.submit(_run, suite, found[suite.kernel], plan, output, stop) for suite in suites]
        try:
            return [future.result() for future in futures]
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _run(
    suite: Suite,
    kernel: kernels.Kernel,
    plan: Plan,
    output: Output,
    stop: threading.Event,
) -> Outcome:
    if not suite.tests.is_dir():
        return Outcome(suite, False, f"there is no directory {suite.tests}", kernel.release)
    if plan.extra:
        return _boot(suite, kernel, plan, output, stop)
    before = _key(suite, kernel, plan)
    if not plan.force and (kept := passed.recall(passed.PASSED, suite.name, before)):
        output.line(suite.name, f"unchanged since it passed at {kept.when}: not run again (make test FORCE=1 runs it)")
        return Outcome(suite, True, f"{kept.summary}, at {kept.when}; unchanged since, not run again", kernel.release)
    outcome = _boot(suite, kernel, plan, output, stop)
    if not outcome.passed:
        passed.forget(passed.PASSED, suite.name)
    elif before is not None and _key(suite, kernel, plan) == before:
        # Else something changed meanwhile: who knows what the suite saw of it.
        passed.keep(passed.PASSED, suite.name, before, outcome.summary)
    return outcome


def _key(suite: Suite, kernel: kernels.Kernel, plan: Plan) -> str | None:
    return passed.key(Path.cwd(), repr(suite), kernel.release, f"{plan.cpus} CPUs")


def _boot(
    suite: Suite,
    kernel: kernels.Kernel,
    plan: Plan,
    output: Output,
    stop: threading.Event,
) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="bpflock-suite-") as directory:
        share = Path(directory)
        # One -v lifts a configured -q to a line for each file: that is the progress.
        disk = image.make().disk if suite.image else None
        python = sys.executable if disk is None else "/usr/bin/python3"
        command = [python, "-m", "pytest", str(suite.tests), "-v", "-p", "no:cacheprovider"]
        command += [f"--junit-xml={guest.SHARE}/junit.xml", *suite.chosen, *plan.extra]
        job = guest.Job(
            command,
            lsm=suite.lsm,
            machine=qemu.Machine(plan.cpus, usb=suite.image or suite.tests == _KERNEL_TESTS),
            timeout=suite.timeout,
            env={**terminal_environment(), "BPFLOCK_BOOT": suite.boot},
            share=share,
            image=disk,
            prepare=f"ROOT={shlex.quote(str(Path.cwd()))}\n{_PREPARE.read_text()}" if disk else "",
        )
        report = REPORTS / f"{suite.name}.xml"
        report.unlink(missing_ok=True)  # or that of an earlier run would be taken for this one's
        output.line(suite.name, f"booting {kernel.release}")
        try:
            with output.prefixed(suite.name) as sink:
                result = guest.run(kernel, job, stdout=sink, stderr=sink, stop=stop)
        except VmError as error:
            for line in error.render().splitlines():
                output.line(suite.name, line)
            return Outcome(suite, False, str(error), kernel.release)
        counts = _keep_report(share / "junit.xml", report)
        summary = str(counts) if counts else f"pytest left no report (exit status {result.status})"
        ok = result.status == 0 and counts is not None and not counts.failed and not counts.errors
        return Outcome(suite, ok, summary, kernel.release, result.command_seconds)


def _keep_report(source: Path, destination: Path) -> Counts | None:
    try:
        root = ET.parse(source).getroot()
    except (OSError, ET.ParseError):
        return None
    shutil.copyfile(source, destination)
    suites = list(root.iter("testsuite"))

    def total(name: str) -> int:
        return sum(int(suite.get(name, "0")) for suite in suites)

    return Counts(total("tests"), total("failures"), total("errors"), total("skipped"))


def _summarise(outcomes: Sequence[Outcome]) -> None:
    say("summary")
    for outcome in outcomes:
        verdict = "ok" if outcome.passed else "FAILED"
        where = f"{outcome.suite.name:<8}{outcome.release:<20}"
        say(f"  {where}{verdict:<8}{outcome.summary} ({outcome.seconds:.0f} s)")


class Output:
    """Lines of several guests on one stdout, each with the name of its guest in front."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._lock = threading.Lock()

    def line(self, name: str, text: str) -> None:
        with self._lock:
            sys.stdout.write(f"{name:>{self._width}} | {text}\n")
            sys.stdout.flush()

    @contextmanager
    def prefixed(self, name: str) -> Iterator[guest.Sink]:
        """A sink for raw output that prints whole lines."""
        held = b""

        def sink(data: bytes) -> None:
            nonlocal held
            *lines, held = (held + data).split(b"\n")
            for line in lines:
                self.line(name, line.decode(errors="replace").rstrip("\r"))

        yield sink
        if held:
            self.line(name, held.decode(errors="replace"))


if __name__ == "__main__":
    sys.exit(main())
