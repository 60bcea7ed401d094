# SPDX-License-Identifier: Apache-2.0
"""Policies in the bpfbox language, from the text to the denial: load, list, mode, unload, confine, explain."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpflock.confine.engine import Engine
from bpflock.events.render import Format, renderer
from bpflock.policy.model import PolicySet

from .conftest import Locks
from .running import Daemon
from .tools import Cli

HERE = Path("/tmp/policy-commands")
CAT = HERE / "cat"
POLICY = HERE / "cat.bpfbox"

_TEXT = f"""// SPDX-License-Identifier: Apache-2.0
#![profile "{CAT}"]
#![use base]
fs("/usr/lib/**", read|exec)
fs("{HERE}/open", read)
"""


def cat(name: str) -> bool:
    return subprocess.run([CAT, HERE / name], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def engine(all_locks: Locks) -> Iterator[Engine]:
    found = Engine(all_locks.enforcer)
    yield found
    found.unload()


@pytest.fixture
def policy(engine: Engine) -> Iterator[str]:
    """A policy for a program of our own, which really needs its libraries. The engine stays from test to test."""
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir()
    shutil.copy(os.path.realpath("/usr/bin/cat"), CAT)
    for name in ("open", "closed"):
        (HERE / name).write_text(name)
    POLICY.write_text(_TEXT)
    assert cat("open") and cat("closed")
    yield str(POLICY)
    if engine.state():
        engine.load(PolicySet())
    assert cat("open") and cat("closed")


def test_load_mode_unload(policy: str, cli: Cli, all_locks: Locks) -> None:
    cli("policy", "load", policy).check()
    assert cat("open") and not cat("closed")
    (listed,) = cli("policy", "list", "--json").check().json
    assert (listed["profile"], listed["mode"], listed["origin"]) == (str(CAT), "enforce", f"{policy}:2:4")

    cli("policy", "mode", "complain", str(CAT)).check()
    assert cat("closed")
    cli("policy", "mode", "enforce", str(CAT)).check()
    assert not cat("closed")
    cli("policy", "mode", "complain", "/usr/bin/cta").failed(2, "no profile is in force for /usr/bin/cta")

    # Another file adds to it; the same one again replaces what it said.
    other = HERE / "other.bpfbox"
    other.write_text('#![profile "/usr/bin/nothing"]\nfs("/a", read)\n')
    cli("policy", "load", str(other)).failed(2, f"{other}:1:4: error: /usr/bin/nothing does not exist")
    assert len(cli("policy", "list", "--json").check().json) == 1
    cli("policy", "load", "--allow-missing", str(other)).check()
    assert len(cli("policy", "list", "--json").check().json) == 2
    POLICY.write_text(_TEXT + f'fs("{HERE}/closed", read)\n')
    cli("policy", "load", policy).check()
    assert cat("closed")
    POLICY.write_text(_TEXT)
    cli("policy", "load", "--only", policy).check()
    assert len(cli("policy", "list", "--json").check().json) == 1
    assert not cat("closed")

    cli("policy", "unload", str(CAT)).check()
    assert cat("closed")
    assert cli("policy", "list", "--json").check().json == []


def test_what_is_wrong_changes_nothing(policy: str, cli: Cli) -> None:
    cli("policy", "load", policy).check()
    bad = HERE / "bad.bpfbox"
    for text, message in (
        ('fs("/a", raed)', "no access is called 'raed'"),
        ('#[func "f"] fs("/a", read)', "no function is called 'f'"),
    ):
        bad.write_text(f'#![profile "{CAT}"]\n{text}\n')
        cli("policy", "load", str(bad)).failed(2, f"{bad}:2:", message)
        assert cat("open") and not cat("closed")


def test_confine(policy: str, cli: Cli) -> None:
    # cat looks at its standard output, which is a file here: see Cli.
    POLICY.write_text(_TEXT + 'fs("/tmp/cli-{out,err}", write)\n')
    assert cli("confine", policy, "--", str(CAT), f"{HERE}/open").check().out == "open"
    denied = cli("confine", policy, "--", str(CAT), f"{HERE}/closed")
    assert denied.status == 1 and "Operation not permitted" in denied.err
    assert cat("closed")
    cli("confine", policy, "--", "/usr/bin/true").failed(2, "no profile is for")


def test_explain(policy: str, cli: Cli, all_locks: Locks) -> None:
    cli("policy", "load", policy).check()
    all_locks.events()
    assert not cat("closed")
    (denial,) = [e for e in all_locks.events() if e.bpfprog == "policy" and e.denied and e.filename]
    line = renderer(Format.LOGFMT)(denial)
    text = cli("explain", "--policy", policy, line).check().out
    assert f"wanted: read {HERE}/closed" in text
    assert f'would allow it: fs("{HERE}/closed", read)' in text


def test_the_daemon_loads_its_directory(policy: str, engine: Engine, cli: Cli, tmp_path: Path) -> None:
    inside = tmp_path / "etc" / "policy.d"
    inside.mkdir(parents=True, mode=0o755)
    shutil.copy(policy, inside)
    with Daemon(f"--config-dir={tmp_path}/etc") as daemon:
        assert cat("open") and not cat("closed")
        daemon.wait_for("event=lsm_file_open", f"filename={HERE}/closed", f"profile={CAT}")
        (inside / POLICY.name).write_text(_TEXT + f'fs("{HERE}/closed", raed)\n')
        daemon.send(signal.SIGHUP)
        daemon.wait_for("policies were not changed")
        assert not cat("closed")
        (inside / POLICY.name).write_text(_TEXT + f'fs("{HERE}/closed", read)\n')
        daemon.send(signal.SIGHUP)
        daemon.wait_for("policies loaded", count=2)
        assert cat("closed")
    assert cat("open")
    (inside / POLICY.name).write_text(_TEXT)
    with Daemon(f"--config-dir={tmp_path}/etc"):
        assert not cat("closed")
    cli("policy", "unload", "--all").check()
    assert engine.state() is None
    assert cat("closed")
