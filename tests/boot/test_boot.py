# SPDX-License-Identifier: Apache-2.0
"""Kernels on which no lock can work: bpflock names what is missing and what to do, and leaves nothing behind.

BPFLOCK_BOOT tells which machine this is: `nolsm`, without bpf among the security modules, or `5.10`, too old.
"""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from vm.guest import DEFAULT_LSM

_BPFLOCK = Path(__file__).resolve().parents[2] / ".venv" / "bin" / "bpflock"
_PINS = Path("/sys/fs/bpf/bpflock")
_RUNTIME = Path("/run/bpflock")
_ACTIVE = Path("/sys/kernel/security/lsm")
_BOOT = os.environ.get("BPFLOCK_BOOT", "")
_LACKS = 3  # the exit status

nolsm = pytest.mark.skipif(_BOOT != "nolsm", reason="bpf is among the security modules")
old = pytest.mark.skipif(_BOOT != "5.10", reason="this kernel is not too old")


def _run(*args: str) -> "subprocess.CompletedProcess[str]":
    ended = subprocess.run([_BPFLOCK, *args], capture_output=True, text=True, check=False, cwd="/tmp", timeout=200)
    assert "Traceback" not in ended.stdout + ended.stderr, ended
    return ended


def _missing() -> dict[str, dict[str, Any]]:
    ended = _run("check", "--json")
    assert ended.returncode == _LACKS
    document = json.loads(ended.stdout)
    assert document["ok"] is False
    return {found["name"]: found for found in document["findings"] if found["required"] and not found["ok"]}


def test_this_is_such_a_machine() -> None:
    assert _BOOT in ("nolsm", "5.10")
    assert ("bpf" in _ACTIVE.read_text().split(",")) == (_BOOT != "nolsm")


@nolsm
def test_check_names_the_security_module() -> None:
    """Nothing else is missing; the remedy keeps every module that is active now."""
    missing = _missing()
    assert list(missing) == ["active LSMs"]
    active = _ACTIVE.read_text().strip()
    assert active in missing["active LSMs"]["detail"]
    assert "'CONFIG_LSM=\"...,bpf\"'" in missing["active LSMs"]["detail"]
    match = re.fullmatch(
        r'set GRUB_CMDLINE_LINUX="lsm=([a-z,]+)" in /etc/default/grub, run update-grub, reboot',
        missing["active LSMs"]["hint"],
    )
    assert match, missing
    assert match[1] == f"{active},bpf"
    # With this very list the other suites boot, where check finds nothing missing (tests/kernel/test_check.py).
    assert match[1] == DEFAULT_LSM


@nolsm
def test_check_for_people() -> None:
    ended = _run("check")
    assert ended.returncode == _LACKS
    lines = ended.stdout.splitlines()
    (place,) = (number for number, line in enumerate(lines) if line.startswith("MISSING"))
    assert lines[place].split()[1:3] == ["active", "LSMs"]
    assert lines[place + 1].split()[0] == "hint:"
    assert lines[-1] == "This machine lacks 1 of what bpflock requires."


@old
def test_check_names_what_an_old_kernel_lacks() -> None:
    missing = _missing()
    assert "task storage" in missing
    assert "task storage maps" in missing["task storage"]["detail"]
    for found in missing.values():
        assert found["hint"], found


@pytest.mark.parametrize(
    "command",
    [
        ("lock", "kimglock", "--profile=baseline"),
        ("lock", "filelesslock", "--profile=baseline"),
        ("run", "--kimglock-profile=baseline"),
        ("cgroup", "set", "/sys/fs/cgroup", "allow"),
    ],
    ids=" ".join,
)
def test_commands_refuse_and_leave_nothing(command: tuple[str, ...]) -> None:
    ended = _run(*command)
    assert ended.returncode == _LACKS, ended
    assert ended.stderr.count("bpflock: error: ") == 1, ended
    assert "hint: " in ended.stderr
    assert "bpflock check" in ended.stderr or _BOOT == "5.10", ended
    assert not _PINS.exists()
    left = [path.name for path in _RUNTIME.iterdir()] if _RUNTIME.exists() else []
    assert "bpflock.sock" not in left


def test_what_needs_no_lock_works() -> None:
    assert json.loads(_run("status", "--json").stdout) == {"locks": [], "policies": [], "uncovered": []}
    assert _run("unlock", "--all").returncode == 0
    assert _run("config", "show", "--origin").returncode == 0
    assert not _PINS.exists()
