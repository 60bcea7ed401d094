# SPDX-License-Identifier: Apache-2.0
"""bpflock under systemd, from boot on: tests/image/prepare.sh installed and enabled it before this machine booted."""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.usb import Ports, find, in_use

from .conftest import ATTACK, OUTSIDE, attacked, denied, run, wait

_CONFIG = Path("/etc/bpflock/bpflock.yaml")


def _properties(unit: str, *names: str) -> dict[str, str]:
    out = run("systemctl", "show", unit, f"--property={','.join(names)}").stdout
    return dict(line.split("=", 1) for line in out.splitlines())


def _journal(unit: str = "bpflock.service") -> str:
    return run("journalctl", "--no-pager", "-o", "cat", "-u", unit).stdout


def _reload(configuration: str) -> None:
    before = _journal().count("the configuration was reloaded")
    _CONFIG.write_text(configuration)
    run("systemctl", "reload", "bpflock")
    wait(lambda: _journal().count("the configuration was reloaded") > before, _journal)


def test_all_of_it_is_up() -> None:
    assert run("systemctl", "is-system-running", "--wait", check=False).stdout.strip() == "running", (
        run("systemctl", "--failed", "--no-pager").stdout + _journal() + _journal("bpflock-early.service")
    )


def test_locks_are_on_before_the_first_ordinary_service_starts() -> None:
    locked = int(_properties("bpflock-early.service", "ActiveEnterTimestampMonotonic")["ActiveEnterTimestampMonotonic"])
    assert locked > 0
    listed = json.loads(run("systemctl", "list-units", "--type=service", "--all", "--output=json").stdout)
    started = {}
    for unit in (found["unit"] for found in listed):
        found = _properties(unit, "DefaultDependencies", "ExecMainStartTimestampMonotonic")
        if found.get("DefaultDependencies") == "yes" and int(found.get("ExecMainStartTimestampMonotonic", "0")):
            started[unit] = int(found["ExecMainStartTimestampMonotonic"])
    assert {"attack-at-boot.service", "dbus.service", "bpflock.service"} <= set(started)
    assert [unit for unit, when in started.items() if when <= locked] == []


def test_an_attack_by_a_service_at_boot_is_stopped() -> None:
    text = Path("/run/attack-at-boot").read_text()
    assert text.splitlines()[-1] == "1", text  # denied
    assert "EPERM" in text


def test_the_daemon_adopted_what_was_pinned_early() -> None:
    journal = _journal()
    assert "adopted: profile=baseline (profile: level baseline" in journal
    assert "loaded:" not in journal
    assert "enforcing kimglock, " in journal


@pytest.mark.parametrize("unit", ["bpflock.service", "bpflock-early.service"])
def test_the_units_score_as_announced(unit: str) -> None:
    line = run("systemd-analyze", "security", "--no-pager", unit).stdout.splitlines()[-1]
    found = re.search(r": (\d+\.\d+) ", line)
    assert found, line
    assert float(found[1]) <= 3.0, line


def test_a_denial_is_in_the_journal_and_all_canaries_are_denied_in_the_sandbox() -> None:
    assert denied(*OUTSIDE, ATTACK, "kcore")
    assert not denied(ATTACK, "kcore")
    wait(lambda: "comm=attack" in _journal() and "reason=denied (baseline)" in _journal(), _journal)
    _reload("level: restricted\n")
    assert denied(ATTACK, "kcore")
    _reload("level: baseline\n")
    assert not denied(ATTACK, "kcore")
    journal = _journal()
    assert "NOT ENFORCED" not in journal, journal
    assert "level=error" not in journal, journal


@pytest.fixture
def ports() -> Iterator[Ports]:
    found = Ports()
    yield found
    found.close()


def test_usb_devices_are_decided_on_in_the_sandbox(ports: Ports) -> None:
    ports.plug("keyboard")
    wait(lambda: in_use("keyboard"), _journal)
    _reload("level: baseline\nusblock-profile: baseline\nusblock-allow: net\n")
    assert in_use("keyboard")  # it was there before
    ports.plug("disk")
    ports.plug("card")
    wait(lambda: (card := find("card")) is not None and card.authorized, _journal)
    wait(lambda: "operation=storage" in _journal() and "operation=net" in _journal(), _journal)
    assert not in_use("disk")
    assert "bpfprog=usblock" in _journal()
    ports.unplug("disk")
    _reload("level: baseline\nusblock-profile: restricted\n")
    ports.plug("disk")
    wait(lambda: _journal().count("operation=storage") > 1, _journal)
    assert not in_use("disk")
    ports.unplug("disk")
    _reload("level: baseline\nusblock-profile: allow\n")
    ports.plug("disk")
    wait(lambda: in_use("disk"), _journal)
    _reload("level: baseline\n")
    assert "level=error" not in _journal(), _journal()


def test_privileges_are_traced_in_the_sandbox() -> None:
    _reload("level: baseline\npriv-snoop: all\n")
    run("mount", "-t", "tmpfs", "none", "/mnt")
    run("umount", "/mnt")
    wait(lambda: "event=security_sb_mount operation=mount" in _journal() and "operation=umount" in _journal(), _journal)
    assert "bpfprog=privsnoop" in _journal()
    _reload("level: baseline\n")
    assert "level=error" not in _journal(), _journal()


def test_restarts_leave_no_gap(tmp_path: Path) -> None:
    with attacked(tmp_path):
        run("systemctl", "restart", "bpflock")
        run("systemctl", "kill", f"--signal={signal.SIGKILL.name}", "bpflock")
        run("systemctl", "restart", "bpflock")
        # Another constant in the program: it is replaced.
        _CONFIG.write_text("level: baseline\nkimglock-block: kexec\n")
        run("systemctl", "restart", "bpflock")
        assert "replaced: profile=baseline block=kexec" in _journal()
        run("systemctl", "restart", "bpflock-early")


def test_stopping_the_daemon_ends_no_lock_and_unlock_does() -> None:
    run("systemctl", "stop", "bpflock")
    assert denied(*OUTSIDE, ATTACK, "kcore")
    run("bpflock", "unlock", "--all")
    assert not denied(*OUTSIDE, ATTACK, "kcore")
