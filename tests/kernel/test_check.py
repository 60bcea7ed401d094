# SPDX-License-Identifier: Apache-2.0
"""`bpflock check`: nothing is missing here; for who may not, or from where it cannot work, it names what is missing."""

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from bpflock.kernel import pins

from .conftest import Locks
from .tools import BPFLOCK, NOBODY, Cli, Result, bpflock, pinned


@pytest.fixture(autouse=True)
def nothing_before(all_locks: Locks) -> Iterator[None]:
    all_locks.unload_all()
    yield
    all_locks.unload_all()


def _missing(result: Result) -> dict[str, dict[str, Any]]:
    document = result.json
    missing = {found["name"]: found for found in document["findings"] if found["required"] and not found["ok"]}
    assert document["ok"] is not bool(missing)
    return missing


def test_a_good_machine() -> None:
    ended = bpflock("check").check()
    lines = ended.out.splitlines()
    assert lines[-1] == "This machine has all that bpflock requires."
    assert all(line.startswith("ok ") for line in lines[:-1])
    assert not ended.err
    assert pinned() == []


def test_it_loads_nothing(cli: Cli, locks: Locks) -> None:
    before = _programs()
    assert not _missing(cli("check", "--json").check())
    assert _programs() == before
    assert not pins.ROOT.exists()


def _programs() -> str:
    return subprocess.run(["ls", "/sys/fs/bpf"], check=True, capture_output=True, text=True).stdout


def test_an_unprivileged_user(cli: Cli) -> None:
    result = cli("check", "--json", uid=NOBODY)
    assert result.status == 3
    assert _missing(result) == {
        "root": {
            "name": "root",
            "ok": False,
            "required": True,
            "detail": f"user id {NOBODY} is not root",
            "hint": "run it with sudo",
        }
    }
    text = cli("check", uid=NOBODY)
    assert text.status == 3
    assert f"MISSING  root                   user id {NOBODY} is not root" in text.out
    assert text.out.splitlines()[-1] == "This machine lacks 1 of what bpflock requires."
    assert not text.err


@pytest.mark.parametrize(
    "command",
    [
        ("lock", "kimglock", "--profile=baseline"),
        ("run", "--kimglock-profile=baseline", "--runtime-dir=/tmp/nobody"),
        ("unlock", "kimglock"),
        ("status",),
        ("cgroup", "set", "/sys/fs/cgroup", "allow"),
    ],
    ids=lambda command: command[0],
)
def test_commands_of_an_unprivileged_user(command: tuple[str, ...], cli: Cli) -> None:
    cli(*command, uid=NOBODY).failed(4, "root", "hint: run it with sudo")
    assert pinned() == []


def test_an_unprivileged_user_where_something_is_locked(cli: Cli, locks: Locks) -> None:
    cli("lock", "kimglock", "--profile=baseline").check()
    for command in (("status",), ("events",), ("cgroup", "list"), ("cgroup", "unset", "1"), ("unlock", "--all")):
        cli(*command, uid=NOBODY).failed(4, "hint: ")
    assert [lock["name"] for lock in cli("status", "--json").check().json["locks"]] == ["kimglock"]


def _program(*command: str) -> Result:
    ended = subprocess.run([*command], capture_output=True, text=True, check=False)
    return Result(ended.returncode, ended.stdout, ended.stderr)


def test_root_of_a_container() -> None:
    """In a pid namespace of its own, and without what the runtime takes away."""
    result = _program("unshare", "-f", "-p", "--mount-proc", str(BPFLOCK), "check", "--json")
    assert result.status == 3
    assert list(_missing(result)) == ["pid namespace"]
    assert "--pid=host" in _missing(result)["pid namespace"]["hint"]
    _program("unshare", "-f", "-p", "--mount-proc", str(BPFLOCK), "lock", "kimglock", "--profile=baseline").failed(
        3, "pid namespace", "--pid=host"
    )
    result = _program("setpriv", "--bounding-set=-sys_admin,-net_admin", str(BPFLOCK), "check", "--json")
    assert result.status == 3
    detail = _missing(result)["capabilities"]["detail"]
    assert "CAP_SYS_ADMIN" in detail
    assert "CAP_NET_ADMIN" in detail
    assert pinned() == []
