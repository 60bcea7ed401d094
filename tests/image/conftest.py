# SPDX-License-Identifier: Apache-2.0
"""Tests in a guest with a whole Debian: systemd is process 1, bpflock is installed as a package. See vm/image.py."""

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ATTACK = ROOT / "build" / "attack"
EXTRAS = Path("/usr/local/share/bpflock-test")
OUTSIDE = ("unshare", "-f", "-p", "-n")  # namespaces of its own: not the host
# Emulated machines, beside others: no test depends on how long something takes.
PATIENCE = 120.0


def pytest_configure() -> None:
    if not os.environ.get("BPFLOCK_VM"):
        pytest.exit("these tests lock the machine they run on: run 'make image-test'", returncode=2)


def run(*command: str | Path, check: bool = True) -> "subprocess.CompletedProcess[str]":
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/tmp", timeout=5 * PATIENCE)
    assert not check or ended.returncode == 0, ended
    return ended


def denied(*command: str | Path) -> bool:
    """Whether the attack is denied; it works otherwise, and nothing else may happen."""
    ended = run(*command, check=False)
    assert ended.returncode in (0, 1), ended
    return ended.returncode == 1


@contextlib.contextmanager
def attacked(directory: Path) -> Iterator[None]:
    """Somebody goes on attacking all the time; not one attempt may get through. `directory`: of the test."""
    stop = directory / "stop"
    attacker = subprocess.Popen(
        [*OUTSIDE, ATTACK, "until", stop, "kcore"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield
    finally:
        stop.touch()
    output, _ = attacker.communicate(timeout=PATIENCE)
    found = re.search(r"attempts=(\d+) denied=(\d+) ok=0", output)
    assert found, output
    assert found[1] == found[2]
    assert int(found[1]) > 100


def wait(condition: Callable[[], bool], explain: Callable[[], str]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, explain()
        time.sleep(0.2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The first wants the machine as it booted, the last removes bpflock.
    order = ("test_systemd.py", "test_container.py", "test_package.py")
    items.sort(key=lambda item: order.index(item.path.name))
