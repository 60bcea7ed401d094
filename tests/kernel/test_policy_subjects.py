# SPDX-License-Identifier: Apache-2.0
"""Whom a policy applies to: the file that a link points to, how many tasks there are, until the last of them ends;
and a policy that applies to nobody is not accepted."""

import contextlib
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bpflock.confine.engine import Engine
from bpflock.errors import UsageError
from bpflock.policy.model import PolicySet

from .conftest import Locks
from .redteam import DENIED, WORKED, RedTeam
from .running import Daemon
from .tools import BPFLOCK, Cli

HERE = Path("/tmp/policy-subjects")
BIN = HERE / "usr/bin"
BOX = BIN / "box"  # a shell that is linked as redis-server is
POLICY = HERE / "box.bpfbox"
_RULES = f"""#![use base]
fs("/usr/**", read|exec)
fs("/{{etc,dev,root}}{{,/**}}", read|write|ioctl)
fs("{HERE}{{,/**}}", getattr)
fs("{HERE}/open", read)
fs("{HERE}/out", read|write|rm)
fs("/tmp/cli-{{out,err}}", read|write)
fs("{BIN}/*", read|exec)
"""


def text(executable: object) -> str:
    return f'// SPDX-License-Identifier: Apache-2.0\n#![profile "{executable}"]\n{_RULES}'


def reads(program: object, name: str) -> bool:
    """Whether the shell can read a file: a builtin, so that it is the shell itself."""
    script = f"read line < {HERE}/{name}"
    return subprocess.run([str(program), "-c", script], capture_output=True, check=False).returncode == 0


@pytest.fixture
def place(kept_engine: Engine) -> Iterator[Path]:
    shutil.rmtree(HERE, ignore_errors=True)
    BIN.mkdir(parents=True)
    shutil.copy(os.path.realpath("/bin/sh"), BOX)
    (BIN / "server").symlink_to("box")
    (HERE / "bin").symlink_to("usr/bin")
    for name in ("open", "closed"):
        (HERE / name).write_text(name + "\n")
    yield HERE
    if kept_engine.state():
        kept_engine.load(PolicySet())


def listed(cli: Cli) -> dict[str, dict[str, Any]]:
    return {found["profile"]: found for found in cli("policy", "list", "--json").check().json}


def test_links_are_loaded_for_what_they_point_to(place: Path, cli: Cli) -> None:
    for name in (BIN / "server", HERE / "bin/box", HERE / "bin/server"):
        POLICY.write_text(text(name))
        assert f"{name} -> {BOX}: enforce" in cli("policy", "load", str(POLICY)).check().out
        for program in (BOX, BIN / "server", HERE / "bin/server"):
            assert reads(program, "open") and not reads(program, "closed")
    cli("policy", "mode", "complain", str(BIN / "server")).check()
    assert reads(BOX, "closed")
    cli("policy", "unload", str(BIN / "server")).check()
    assert listed(cli) == {}


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("usr/bin/bxo", f"{BIN}/bxo does not exist", f"did you mean '{BOX}'?"),
        ("usr/bin/none*", f"no file matches {BIN}/none*", "--allow-missing"),
        ("usr/bin", f"{BIN} is a directory", "/*"),
        ("open", f"{HERE}/open is not executable", "name the program"),
        ("text", f"{HERE}/text is neither an ELF file nor a script", "a shell reads it"),
        ("bad", f"{HERE}/bad is a script, but its interpreter /no/such cannot run it", ""),
        ("loop", f"{HERE}/loop is a symbolic link that leads to itself", ""),
    ],
)
def test_what_applies_to_nobody_is_an_error(place: Path, cli: Cli, name: str, message: str, hint: str) -> None:
    for script, line in (("text", "echo hello\n"), ("bad", "#!/no/such\n")):
        (HERE / script).write_text(line)
        (HERE / script).chmod(0o755)
    (HERE / "loop").symlink_to("loop")
    POLICY.write_text(text(HERE / name))
    cli("policy", "load", str(POLICY)).failed(2, f"{POLICY}:2:4: error: {message}", hint)
    cli("confine", str(POLICY), "--", str(BOX), "-c", "true").failed(2)


def test_one_that_comes_later_is_confined_when_it_is_there(place: Path, cli: Cli) -> None:
    later = BIN / "later"
    POLICY.write_text(text(later))
    out = cli("policy", "load", "--allow-missing", str(POLICY)).check().out
    assert f"{later}: enforce" in out and f"note: {later} does not exist" in out
    assert "no task" in cli("policy", "list").check().out
    shutil.copy(BOX, later)
    assert reads(later, "open") and not reads(later, "closed")


def test_what_replaces_the_profile_of_another_file_is_said(place: Path, cli: Cli) -> None:
    other = HERE / "other.bpfbox"
    POLICY.write_text(text(BOX))
    other.write_text(text(BIN / "server"))
    assert "replaces" not in cli("policy", "load", str(POLICY)).check().out
    out = cli("policy", "load", str(other)).check().out
    assert out == f"{BIN}/server -> {BOX}: enforce (replaces the profile of {POLICY}:2)\n"
    (found,) = cli("policy", "load", "--json", str(POLICY)).check().json
    assert (found["profile"], found["replaces"]) == (str(BOX), f"{other}:2:4")
    both = [str(POLICY), str(other)]
    cli("policy", "load", *both).failed(2, f"{other}:2:4: error: a second profile for {BOX}")


def test_tasks_denials_and_times(place: Path, cli: Cli) -> None:
    begin = time.time()
    POLICY.write_text(text(BOX))
    # It runs already when the policy comes.
    with waiting(), waiting():
        cli("policy", "load", str(POLICY)).check()
        _of_two(cli, begin)
    assert listed(cli)[str(BOX)]["tasks"] == {"processes": 0, "threads": 0}
    assert "no task" in cli("policy", "list").check().out
    assert "no task" in cli("status").check().out


def test_services_that_no_policy_covers(place: Path, cli: Cli) -> None:
    complaining = text(BOX).replace(f'"{BOX}"', f'"{BOX}" complain')
    POLICY.write_text(complaining)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)

    def uncovered() -> dict[int, dict[str, Any]]:
        return {each["process"]: each for each in cli("status", "--json").check().json["uncovered"]}

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp 127.0.0.1:{server.getsockname()[1]}"
        with waiting(server.fileno()) as held:
            cli("policy", "load", str(POLICY)).check()
            assert held not in uncovered()
            cli("policy", "unload", str(BOX)).check()
        # They are listed while there is any policy.
        assert uncovered() == {}
        cli("policy", "load", str(POLICY)).check()
        own = uncovered()[os.getpid()]
        assert address in own["addresses"] and own["executable"] == str(Path("/proc/self/exe").readlink())
        with waiting(server.fileno(), program="/bin/sh") as free:
            assert uncovered()[free]["addresses"] == [address]
        for command in (("policy", "list"), ("status",)):
            out = cli(*command).check().out
            assert "services that listen and that no policy covers:" in out and address in out


@contextlib.contextmanager
def waiting(*descriptors: int, program: Path | str = BOX) -> Iterator[int]:
    """A shell that waits, and does nothing else."""
    command = [program, "-c", "echo ready; read x"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=descriptors) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield process.pid
        finally:
            process.kill()


def _of_two(cli: Cli, begin: float) -> None:
    found = listed(cli)[str(BOX)]
    assert found["tasks"] == {"processes": 2, "threads": 2}
    assert (found["denied"], found["last"]) == (0, None)
    assert begin - 1 <= found["since"] <= time.time() + 1
    before = time.time()
    for _ in range(150):  # more than are reported: counts are exact
        assert not reads(BOX, "closed")
    after = listed(cli)[str(BOX)]
    assert after["denied"] == 150 and after["since"] == found["since"]
    assert before - 1 <= after["last"] <= time.time() + 1
    assert cli("policy", "list").check().out.splitlines()[1].split()[4] == "2"
    # The same policy again, and another one: counts stay. A change of the mode is a change of the profile.
    cli("policy", "load", str(POLICY)).check()
    assert (listed(cli)[str(BOX)]["denied"], listed(cli)[str(BOX)]["since"]) == (150, found["since"])
    cli("policy", "mode", "complain", str(BOX)).check()
    assert reads(BOX, "closed")
    complaining = listed(cli)[str(BOX)]
    assert (complaining["denied"], complaining["reported"]) == (150, 1)
    assert complaining["since"] > found["since"]
    (shown,) = cli("status", "--json").check().json["policies"]
    assert shown["tasks"] == {"processes": 2, "threads": 2} and shown["denied"] == 150
    assert str(BOX) in cli("status").check().out


def test_the_daemon_refuses_what_applies_to_nobody(place: Path, kept_engine: Engine, cli: Cli, tmp_path: Path) -> None:
    inside = tmp_path / "etc" / "policy.d"
    inside.mkdir(parents=True, mode=0o755)
    file = inside / "box.bpfbox"
    file.write_text(text(BIN / "server"))
    missing = inside / "missing.bpfbox"
    with Daemon(f"--config-dir={tmp_path}/etc") as daemon:
        daemon.wait_for("policies loaded", f"{BIN}/server -> {BOX}")
        assert not reads(BOX, "closed")
        missing.write_text(text(BIN / "missing"))
        daemon.send(signal.SIGHUP)
        daemon.wait_for("policies were not changed", f"{missing}:2:4", f"{BIN}/missing does not exist")
        assert not reads(BOX, "closed")
    with Daemon(f"--config-dir={tmp_path}/etc", "--policy-allow-missing") as daemon:
        daemon.wait_for("policies loaded", f"{BIN}/missing")
        daemon.wait_for(f"{missing}:2:4", "does not exist")
    assert set(listed(cli)) == {str(BOX), str(BIN / "missing")}


def test_a_script_is_confined_as_a_script(place: Path, cli: Cli, all_locks: Locks) -> None:
    """The subject is the file that was executed, not its interpreter, which others run too."""
    script, shell = BIN / "script", os.path.realpath("/bin/sh")
    script.write_text(f"#!/bin/sh\nread line < {HERE}/closed\n")
    script.chmod(0o755)

    def works() -> bool:
        return subprocess.run([script], capture_output=True, check=False).returncode == 0

    assert works()
    POLICY.write_text(text(script))
    cli("policy", "load", str(POLICY)).check()
    all_locks.events()
    assert not works()
    denied = [e.filename for e in all_locks.events() if e.bpfprog == "policy" and e.denied]
    assert os.fsencode(HERE / "closed") in denied
    assert reads(shell, "closed")
    (HERE / "link").symlink_to(script)
    assert subprocess.run([HERE / "link"], capture_output=True, check=False).returncode != 0


# A program that ends, and leaves a child behind: it waits for a file, then tries to read what is denied.
_LEAVES = f"""
( while ! read x < {HERE}/go; do :; done; if read x < {HERE}/closed; then echo 0; else echo 1; fi > {HERE}/out
  while ! read x < {HERE}/end; do :; done ) 2>/dev/null &
exit 3
"""


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def outcome() -> int:
    (HERE / "go").write_text("go\n")
    wait_for(lambda: (HERE / "out").exists() and (HERE / "out").read_text() != "")
    return int((HERE / "out").read_text())


def again() -> None:
    for name in ("go", "out", "end"):
        (HERE / name).unlink(missing_ok=True)


@pytest.mark.redteam("E7", "a child that outlives the command of bpflock confine")
def test_confine_confines_children_that_live_on(
    place: Path, cli: Cli, all_locks: Locks, kept_engine: Engine, redteam: RedTeam
) -> None:
    POLICY.write_text(text(BOX) + f'fs("{HERE}/{{go,end}}", read)\n')
    subprocess.run([BOX, "-c", _LEAVES], check=False)
    without = outcome()
    (HERE / "end").write_text("end\n")
    time.sleep(0.5)
    again()
    with contextlib.suppress(UsageError):  # nothing was ever loaded
        all_locks.events()
    with subprocess.Popen(
        [BPFLOCK, "confine", POLICY, "--", BOX, "-c", _LEAVES],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as confine:
        try:
            wait_for(
                lambda: kept_engine.state() is not None and any(u.processes for u in kept_engine.usage()[1].values())
            )
            time.sleep(3)  # the command itself has ended long since
            assert confine.poll() is None
            within = outcome()
            (HERE / "end").write_text("end\n")
            _, err = confine.communicate(timeout=120)
        finally:
            confine.kill()
    assert confine.returncode == 3 and err == ""
    assert listed(cli) == {}
    redteam.stopped(
        without=without, within=within, events=all_locks.events(), hook="file_open", operation="read", expected=DENIED
    )
    assert without == WORKED


def test_confine_says_what_it_waits_for_and_can_be_told_to_leave_it(place: Path, cli: Cli, kept_engine: Engine) -> None:
    POLICY.write_text(text(BOX) + f'fs("{HERE}/{{go,end}}", read)\n')
    controller, terminal = pty.openpty()
    confine = subprocess.Popen(
        [BPFLOCK, "confine", POLICY, "--", BOX, "-c", f"({_LEAVES}) >/dev/null 2>&1"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
    )
    os.close(terminal)
    try:
        _shows(controller, "waiting for 1 background process, PID [0-9]+; Ctrl-C leaves the policy in force")
        confine.send_signal(signal.SIGINT)
        _shows(controller, f"to end it: bpflock policy unload {BOX}")
        assert confine.wait(120) == 3
    finally:
        confine.kill()
        os.close(controller)
    assert listed(cli)[str(BOX)]["tasks"]["processes"] == 1
    assert outcome() == DENIED
    (HERE / "end").write_text("end\n")
    wait_for(lambda: listed(cli)[str(BOX)]["tasks"]["processes"] == 0)
    cli("policy", "unload", str(BOX)).check()


def _shows(controller: int, pattern: str) -> None:
    """Wait until this comes on the terminal."""
    shown = b""
    end = time.monotonic() + 240
    while not re.search(pattern.encode(), shown):
        assert time.monotonic() < end, shown
        if select.select([controller], [], [], 1)[0]:
            shown += os.read(controller, 4096)
