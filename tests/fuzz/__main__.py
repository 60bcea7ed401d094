# SPDX-License-Identifier: Apache-2.0
"""Look for inputs that break what holds for all inputs: `make fuzz`.

    python -m tests.fuzz                          all targets, a minute each
    python -m tests.fuzz kernel                   only the decisions of a kernel, in a virtual machine
    python -m tests.fuzz --seconds 600 language   ten minutes of one
    python -m tests.fuzz --seed 7                 the same inputs again, as far as the time reaches

Exit status 1: something was found. The input is left in build/fuzz, with the command that repeats it.
"""

import argparse
import importlib.util
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

WHERE = Path("build/fuzz")
_GRAMMAR = "grammar"
_LANGUAGE = "language"
_READERS = ("numbering", "state", "state_text", "events", "tables")
_KERNEL = "kernel"
_KERNEL_TESTS = ("tests/kernel/test_policy_generated.py", "tests/kernel/test_policy_generated_objects.py")
_BOOT_SECONDS = 1200  # and to load policies before the time begins
_EXAMPLES_A_SECOND = 10  # of hypothesis, each of four tests
_MEGABYTES = 2048
_SECONDS_FOR_ONE = 60
# What libFuzzer tells of each module and each input that reaches something new.
_CHATTER = re.compile(r"INFO: Instrumenting|WARNING: Failed to find|#[0-9]+\t(NEW|REDUCE|RELOAD) |.*# Uses: |#{6} ")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(1, 1 << 31), help="to repeat a run")
    parser.add_argument("--kernel", default="6.1", help="for the target kernel (default: %(default)s)")
    known = (_GRAMMAR, _LANGUAGE, *_READERS, _KERNEL)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(known))
    options = parser.parse_args()
    targets: list[str] = options.targets or [*known]
    if unknown := set(targets) - {*known}:
        parser.error(f"no target is called {', '.join(sorted(unknown))}")
    if not importlib.util.find_spec("atheris"):
        _say("atheris is not installed (it has no package for this Python or machine): bytes are changed at random")
    found = []
    for target in targets:
        _say(f"{target}: {options.seconds} s, SEED={options.seed}")
        if target == _KERNEL:
            passed = _in_kernel(options.kernel, options.seconds, options.seed)
        else:
            passed = _run(target, options.seconds, options.seed)
        if not passed:
            found.append(target)
    if found:
        _say(f"found something: {', '.join(found)}; the same again: SEED={options.seed}, inputs in {WHERE}/")
    return 1 if found else 0


def _say(text: str) -> None:
    sys.stdout.write(f"fuzz: {text}\n")
    sys.stdout.flush()


def _run(target: str, seconds: int, seed: int) -> bool:
    """Whether nothing was found."""
    if target == _GRAMMAR:
        return _by_grammar(seconds, seed)
    if importlib.util.find_spec("atheris"):
        return _under_atheris(target, seconds, seed)
    return _at_random(target, seconds, seed)


def _by_grammar(seconds: int, seed: int) -> bool:
    environment = {**os.environ, "FUZZ_EXAMPLES": str(seconds * _EXAMPLES_A_SECOND)}
    command = [sys.executable, "-m", "pytest", "tests/unit/fuzz/test_language.py", f"--hypothesis-seed={seed}"]
    return subprocess.run(command, env=environment, check=False).returncode == 0


def _under_atheris(target: str, seconds: int, seed: int) -> bool:
    WHERE.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-artifact_prefix={WHERE}/{target}-",
        f"-rss_limit_mb={_MEGABYTES}",
        f"-timeout={_SECONDS_FOR_ONE}",
        "-max_len=8192",
        "-print_final_stats=1",
    ]
    command = [sys.executable, "-m", "tests.fuzz.harness", target, str(WHERE / target)]
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if not _CHATTER.match(line):
                sys.stdout.write(line)
                sys.stdout.flush()
    return process.returncode == 0


def _in_kernel(kernel: str, seconds: int, seed: int) -> bool:
    """Generated policies and accesses, half of the time files and half of it all else, after the same seed."""
    command = [sys.executable, "-m", "vm", "run", "--kernel", kernel, "--timeout", str(seconds + _BOOT_SECONDS)]
    for name, value in (("BPFLOCK_FUZZ_SECONDS", max(1, seconds // 2)), ("BPFLOCK_FUZZ_SEED", seed)):
        command += ["--env", f"{name}={value}"]
    command += ["--", sys.executable, "-m", "pytest", "-v", "-x", "-p", "no:cacheprovider", *_KERNEL_TESTS]
    return subprocess.run(command, check=False).returncode == 0


def _at_random(target: str, seconds: int, seed: int) -> bool:
    import time

    from tests.fuzz import language, readers
    from tests.fuzz.limits import TooLong, cpu_time

    def as_text(data: bytes) -> None:
        language.check(data.decode(errors="replace"))

    source = random.Random(seed)
    seeds = language.corpus() if target == _LANGUAGE else readers.seeds()[target]
    check: Callable[[bytes], object] = as_text if target == _LANGUAGE else readers.TARGETS[target]
    until, runs = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        data = readers.mutated(source.choice(seeds), source)
        try:
            with cpu_time(_SECONDS_FOR_ONE):
                check(data)
        except (Exception, TooLong) as error:
            WHERE.mkdir(parents=True, exist_ok=True)
            (WHERE / f"{target}-crash").write_bytes(data)
            _say(f"{target}: {type(error).__name__}: {error}; the input is {WHERE / target}-crash")
            return False
        runs += 1
    _say(f"{target}: {runs} inputs")
    return True


if __name__ == "__main__":
    sys.exit(main())
