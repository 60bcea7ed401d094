# SPDX-License-Identifier: Apache-2.0
import os
import secrets
import socket
import time
from pathlib import Path

import pytest

from bpflock.daemon.notify import Notifier


@pytest.mark.parametrize("abstract", [False, True])
def test_messages_reach_the_service_manager(tmp_path: Path, abstract: bool) -> None:
    name = f"@bpflock-test-{secrets.token_hex(8)}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0", 1))
        manager.settimeout(5)
        notifier = Notifier({"NOTIFY_SOCKET": name})
        notifier.ready("enforcing\nX_FORGED=1")
        assert manager.recv(4096) == b"READY=1\nSTATUS=enforcing X_FORGED=1\n"
        before = time.monotonic_ns() // 1000
        notifier.reloading()
        states = dict(line.split("=", 1) for line in manager.recv(4096).decode().splitlines())
        assert states["RELOADING"] == "1"
        assert before <= int(states["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000


def test_nobody_listens(tmp_path: Path) -> None:
    Notifier({}).ready("x")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nothing")}).ready("x")


def test_a_manager_that_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        started = time.monotonic()
        for _ in range(1000):
            Notifier({"NOTIFY_SOCKET": path}).send(WATCHDOG=1)
        assert time.monotonic() - started < 5


def test_the_watchdog_is_ours_only_if_it_names_us() -> None:
    base = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "3000000"}
    assert Notifier(base).watchdog == 3
    assert Notifier({**base, "WATCHDOG_PID": str(os.getpid())}).watchdog == 3
    assert Notifier({**base, "WATCHDOG_PID": "1"}).watchdog is None
    assert Notifier({"NOTIFY_SOCKET": "/x"}).watchdog is None
    assert Notifier({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "x"}).watchdog is None
