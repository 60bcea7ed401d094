# SPDX-License-Identifier: Apache-2.0
"""A policy denies an access by whichever way a program gets into the kernel: ways.py has the table."""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpflock.confine.engine import Engine
from bpflock.events.render import logfmt
from bpflock.policy.bpfbox.load import parse
from bpflock.policy.bpfbox.names import CAPABILITIES
from bpflock.policy.model import PolicySet

from .conftest import ATTACK, RELEASE, Locks
from .ways import ACCESSES, Access, cells

HERE = Path("/tmp/policy-ways")
FREE = HERE / "bin/free"
_NET = ("create", "bind", "listen", "accept", "connect", "send", "recv", "shutdown")
_KERNEL = tuple(int(part) for part in RELEASE.replace("+", ".").split(".")[:2])


def _program(profile: str) -> Path:
    return HERE / "bin" / profile


def _policy() -> PolicySet:
    found = {
        "files": f"""
fs("{HERE}/file", read)
fs("{HERE}/log", read|append)
fs("{HERE}/mine{{,/**}}", read|write|create|rm|link|setattr)
fs("/proc/**", read)
proc(self, read)
capability({"|".join(name for name in CAPABILITIES if name != "sys_chroot")})
operation(io_uring)
""",
        "ringless": "",
    }
    for lacking in _NET:
        others = "|".join(each for each in _NET if each != lacking)
        found[f"net-{lacking}"] = f"net(unix, {others})\noperation(io_uring)"
    common = 'fs("/dev/null", read|write)\ncapability(sys_resource)\nsignal(child, any)\n'
    text = "".join(f'#![profile "{_program(name)}"]\n{common}{rules}\n' for name, rules in found.items())
    return PolicySet(parse(text))


def _make_files() -> None:
    for name in ("bin", "closed/dir", "mine"):
        (HERE / name).mkdir(parents=True)
    shutil.copy(ATTACK, FREE)
    for profile in {access.profile for access in ACCESSES}:
        os.link(FREE, _program(profile))
    shutil.copy(ATTACK, HERE / "file")
    os.setxattr(HERE / "file", "trusted.ways", b"x")
    (HERE / "closed/file").write_text("secret")
    os.setxattr(HERE / "closed/file", "trusted.ways", b"x")
    (HERE / "closed/gone").touch()
    (HERE / "log").write_text("log" * 1000)


@pytest.fixture(scope="module")
def victim(kept_engine: Engine) -> Iterator[int]:
    """A process without a profile; all files are there and the policy is in force."""
    shutil.rmtree(HERE, ignore_errors=True)
    _make_files()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(b"\0" + b"bpflock ways server".ljust(107, b"\0"))
        server.listen(1000)
        process = stack.enter_context(subprocess.Popen([FREE, "sleeper"], stdout=subprocess.DEVNULL))
        stack.callback(process.kill)
        kept_engine.load(_policy())
        stack.callback(kept_engine.load, PolicySet())
        yield process.pid


def _run(program: Path, access: Access, way: str, pid: int) -> "subprocess.CompletedProcess[str]":
    if access.target == "{pid}":
        arguments = str(pid)
    elif access.name == "connect":
        arguments = "server"
    else:
        arguments = " ".join(str(HERE / path) for path in access.target.split())
    command: list[str | Path] = [program, "by", f"{way} {access.name} {arguments}"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd="/")


@pytest.mark.parametrize(
    ("access", "way"), [pytest.param(access, way, id=f"{access.name}-{way}") for access, way in cells()]
)
def test_way(access: Access, way: str, victim: int, all_locks: Locks) -> None:
    free = _run(FREE, access, way, victim)
    first = access.first_kernel(way)
    if first > _KERNEL and free.returncode == 2:
        pytest.skip(f"io_uring can do it since Linux {first[0]}.{first[1]}: {free.stdout}")
    assert free.returncode == 0, free
    all_locks.events()
    denied = _run(_program(access.profile), access, way, victim)
    events = [event for event in all_locks.events() if event.bpfprog == "policy" and event.denied]
    shown = f"{denied}\n" + "\n".join(map(logfmt, events))
    assert denied.returncode == 1, shown
    wanted = {(f"lsm_{hook}", access.operation) for hook in access.hooks.split()}
    assert wanted & {(event.event, event.operation) for event in events}, shown
