# SPDX-License-Identifier: Apache-2.0
"""What a confined program brings to one that runs under a profile of its own: variables by which the loader takes
code."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpflock.confine.engine import Engine
from bpflock.events.model import Event
from bpflock.policy.bpfbox.load import parse
from bpflock.policy.model import PolicySet

from .conftest import ATTACK, Locks
from .redteam import RedTeam

HERE = Path("/tmp/redteam-environment")
FREE = HERE / "busybox-free"  # the same shell, without a profile
BOX = HERE / "busybox"
PROGRAM = HERE / "program"  # /bin/false
LAX = HERE / "lax"  # the same, and its profile complains
TAINTED = HERE / "busybox-tainted"  # the same shell, confined from its first kill(2) on, and free again by the program
LIBRARY = HERE / "preload.so"  # ends what loads it with status 0
VARIABLES = [
    pytest.param(f"{name}={value}", marks=pytest.mark.redteam("E23", f"{name} of a transition"))
    for name, value in (("LD_PRELOAD", LIBRARY), ("LD_AUDIT", LIBRARY))
]
_FILES = f'fs("/{{usr/,}}lib{{,64}}/**", read|exec) fs("/etc/ld.so.*", read) fs("{LIBRARY}", read|exec)'


@pytest.fixture(scope="module")
def engine(kept_engine: Engine) -> Iterator[Engine]:
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir()
    shutil.copy(f"{ATTACK}-login/preload.so", LIBRARY)
    for place in (FREE, BOX, TAINTED):
        shutil.copy(os.path.realpath("/bin/busybox"), place)
    for place in (PROGRAM, LAX):
        shutil.copy(os.path.realpath("/bin/false"), place)
    box = f'#![profile "{BOX}"]\n{_FILES} fs("/dev/null", read|write)\n#[transition] fs("{HERE}/*", exec)\n'
    tainted = f'#![profile "{TAINTED}"]\n#[taint] signal(self, check)\n#[untaint] fs("{PROGRAM}", exec)\n'
    lax = f'#![profile "{LAX}" complain]\n{_FILES}\n'
    kept_engine.load(PolicySet(parse(f'{box}#![profile "{PROGRAM}"]\n{_FILES}\n{lax}{tainted}')))
    yield kept_engine
    kept_engine.load(PolicySet())


def _run(shell: Path, variables: str, *command: str | Path) -> int:
    script = [f"{variables} exec", *(f"'{word}'" for word in command)]
    return subprocess.run([shell, "sh", "-c", " ".join(script)], env={}, check=False, timeout=60).returncode


def _told(locks: Locks) -> list[Event]:
    return [event for event in locks.events() if event.bpfprog == "policy"]


@pytest.mark.parametrize("variable", VARIABLES)
def test_no_code_by_the_environment(variable: str, engine: Engine, all_locks: Locks, redteam: RedTeam) -> None:
    without = _run(FREE, variable, PROGRAM)
    all_locks.events()
    within = _run(BOX, variable, PROGRAM)
    event = redteam.stopped(
        without=without,
        within=within,
        events=_told(all_locks),
        hook="bprm_creds_from_file",
        operation="exec",
        expected=-signal.SIGKILL,
    )
    assert (event.reason, event.filename) == ("denied (environment)", os.fsencode(PROGRAM))


@pytest.mark.parametrize("variable", ["GLIBC_TUNABLES=a", "GCONV_PATH=/", "MALLOC_ARENA_MAX=1", "LD_X=1"])
@pytest.mark.parametrize("length", [0, 1, 254, 255, 256, 510, 5000])
def test_it_is_found_behind_other_strings(variable: str, length: int, engine: Engine, all_locks: Locks) -> None:
    words = "a" * length
    assert _run(BOX, f"B={words} {variable} C=1", PROGRAM, words) == -signal.SIGKILL
    assert _run(BOX, f"B={words}", PROGRAM, words, variable) == 1  # false: a word is no variable


def test_what_is_told_where_the_profile_complains(engine: Engine, all_locks: Locks) -> None:
    all_locks.events()
    assert _run(BOX, f"LD_PRELOAD={LIBRARY}", LAX) == 0
    assert "complain (policy)" in {event.reason for event in _told(all_locks)}


@pytest.mark.redteam("E23", "LD_PRELOAD of a program that is not tainted")
def test_no_code_where_taint_ends(engine: Engine, all_locks: Locks, redteam: RedTeam) -> None:
    variable = f"LD_PRELOAD={LIBRARY}"
    without = _run(TAINTED, variable, PROGRAM)
    all_locks.events()
    within = _run(TAINTED, f"kill -0 $$; {variable}", PROGRAM)
    redteam.stopped(
        without=without,
        within=within,
        events=_told(all_locks),
        hook="bprm_creds_from_file",
        operation="exec",
        expected=-signal.SIGKILL,
    )
    assert _run(TAINTED, "kill -0 $$;", PROGRAM) == 1


def test_without_a_transition_it_is_the_programs_own_matter(engine: Engine) -> None:
    assert _run(BOX, "GLIBC_TUNABLES=a", BOX, "true") == 0
    assert _run(FREE, f"LD_PRELOAD={LIBRARY}", PROGRAM) == 0
