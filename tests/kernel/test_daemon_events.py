# SPDX-License-Identifier: Apache-2.0
"""What a running daemon tells: lines of events, the local API, what others did to its locks."""

import json
import re
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpflock.daemon.client import ask
from bpflock.kernel import pins

from .conftest import ATTACK, CONTAINER, Attacker, Locks
from .running import RUNTIME, Daemon, start, wait
from .tools import BPFLOCK, NOBODY, Cli, all_links, bpflock

_CONFIGURATION = Path("/tmp/daemon-configuration")
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"
_SUBJECT = r"tgid=(?P<tgid>\d+) pid=(?P=tgid) ppid=\d+ uid=(?P<uid>\d+) cgroupid=(?P<cgroup>\d+)"
_DENIAL = re.compile(
    rf'time="{_TIME}" level=info msg="event=lsm_locked_down operation=/dev/mem,kmem,port {_SUBJECT} '
    r'comm=attack pcomm=unshare retval=-1 reason=denied \(baseline\)" bpfprog=kimglock subsys=bpf'
)
_EXEC = re.compile(
    rf'time="{_TIME}" level=info msg="event=syscall_execve {_SUBJECT} '
    r"comm=loader pcomm=sh filename=\./loader retval=0 parents=\d+:sh,\S+ args=\./loader LIST"
    r'" bpfprog=execsnoop subsys=bpf'
)
_HOSTILE = 'x" y\n\x1b[31mz=\\'


@pytest.fixture(scope="module", autouse=True)
def daemon(all_locks: Locks) -> Iterator[Daemon]:
    all_locks.unload_all()
    _CONFIGURATION.mkdir(mode=0o755)
    (_CONFIGURATION / "bpflock.yaml").write_text("kimglock-profile: baseline\nexec-snoop: all\n")
    with Daemon(f"--config-dir={_CONFIGURATION}") as found:
        yield found


def _attack(attacker: Attacker) -> None:
    assert attacker.attack("dev_mem", CONTAINER).denied


def test_line_of_a_denial(daemon: Daemon, attacker: Attacker) -> None:
    _attack(attacker)
    (line,) = daemon.wait_for("event=lsm_locked_down", "reason=denied")
    match = _DENIAL.fullmatch(line)
    assert match, line
    assert match["uid"] == "0"
    assert match["cgroup"] == str(Path("/sys/fs/cgroup").stat().st_ino)


def test_line_of_an_exec(daemon: Daemon, attacker: Attacker) -> None:
    attacker.run(f"cp {ATTACK} /tmp/loader; setpriv --reuid=1000 --clear-groups sh -c './loader LIST >&-; true'")
    (line,) = daemon.wait_for("event=syscall_execve", "comm=loader ")
    match = _EXEC.fullmatch(line)
    assert match, line
    assert match["uid"] == "1000"


def test_what_a_process_chose_forges_nothing(daemon: Daemon, attacker: Attacker) -> None:
    """Names with a quote, a newline and a terminal escape: one line for each event, and the bytes can be had back."""
    before = len(daemon.output().splitlines())
    program = Path("/tmp") / _HOSTILE
    program.write_bytes(ATTACK.read_bytes())
    program.chmod(0o755)
    subprocess.run([program, "LIST"], check=True, stdout=subprocess.DEVNULL)
    (line,) = daemon.wait_for("event=syscall_execve", "comm=x%22%20y%0A%1B[31mz%3D%5C ")
    assert "filename=/tmp/x%22%20y%0A%1B[31mz%3D%5C retval=0" in line
    lines = daemon.output().splitlines()[before:]
    assert all(re.match(rf'time="{_TIME}" level=info msg="', line) and line.isprintable() for line in lines), lines
    with ask(RUNTIME, "/v1/events?follow=0&format=json") as answer:
        assert answer is not None
        events = [json.loads(line) for line in answer.text().splitlines()]
    assert [event["filename"] for event in events if "%1B" in event.get("filename", "")] == ['/tmp/x" y%0A%1B[31mz=\\']


def test_api(daemon: Daemon, attacker: Attacker, cli: Cli) -> None:
    _attack(attacker)
    socket = RUNTIME / "bpflock.sock"
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    with ask(RUNTIME, "/v1/healthz") as answer:
        assert answer is not None
        assert (answer.status, json.loads(answer.text())) == (200, {"healthy": True})
    with ask(RUNTIME, "/v1/status") as answer:
        assert answer is not None
        told = json.loads(answer.text())
    (kimglock,) = (lock for lock in told["locks"] if lock["name"] == "kimglock")
    asked = cli("status", "--json").check().json
    (counter,) = (counter for counter in kimglock["counters"] if counter["operation"] == "dev_mem")
    assert counter["denied"] >= 1
    assert next(lock for lock in asked["locks"] if lock["name"] == "kimglock") == kimglock
    # Not for everybody.
    cli("events", uid=NOBODY).failed(4, str(socket))


def test_events_follow(daemon: Daemon, attacker: Attacker) -> None:
    """A denial is shown as it happens, and nothing else if only denials are wanted."""
    with start([BPFLOCK, "events", "-f", "--denied", "--json"]) as follower:
        assert follower.stdout is not None
        _attack(attacker)
        line = follower.stdout.readline()
        event = json.loads(line)
        assert (event["bpfprog"], event["comm"], event["reason"]) == ("kimglock", "attack", "denied (baseline)")
        follower.send_signal(signal.SIGINT)
        rest = follower.stdout.read()
        assert "Traceback" not in rest
        assert all(json.loads(line)["reason"].startswith("denied") for line in rest.splitlines() if line)


def test_events_without_following(daemon: Daemon, attacker: Attacker, cli: Cli) -> None:
    daemon.wait_for("event=lsm_locked_down", "reason=denied")
    shown = cli("events", "--lock=kimglock", "--denied").check().out.splitlines()
    assert shown
    assert all("bpfprog=kimglock" in line and "reason=denied" in line for line in shown)
    # It may be asked again.
    assert cli("events", "--lock=kimglock", "--denied").check().out.splitlines()[: len(shown)] == shown


def test_only_one(daemon: Daemon) -> None:
    before = all_links()
    bpflock("run", "--kimglock-profile=allow").failed(1, "another bpflock daemon runs already", str(daemon.pid))
    assert all_links() == before


def test_tells_what_somebody_else_removed(daemon: Daemon, attacker: Attacker) -> None:
    link = pins.link_path(pins.directory("kimglock"), "lsm/locked_down")
    link.unlink()
    (told,) = daemon.wait_for("level=warning", "bpfprog=kimglock")
    assert "was changed by somebody else: it is on lsm/file_open" in told
    with ask(RUNTIME, "/v1/healthz") as answer:
        assert answer is not None
        assert answer.status == 503
        assert "kimglock was changed by somebody else" in answer.text()
    daemon.send(signal.SIGHUP)
    daemon.wait_for("the configuration was reloaded")
    assert link.exists()
    _attack(attacker)
    wait(_healthy, daemon.output)


def _healthy() -> bool:
    with ask(RUNTIME, "/v1/healthz") as answer:
        return answer is not None and answer.status == 200
