# SPDX-License-Identifier: Apache-2.0
"""The API and its client, over a real socket."""

import json
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bpflock.daemon import api, client, peer
from bpflock.daemon.state import Health, Questions
from bpflock.errors import BpflockError, PermissionsError
from bpflock.events.model import Event, Notice
from bpflock.events.stream import Stream

EVENT = Event(
    time=1644213442.5,
    bpfprog="kimglock",
    event="lsm_locked_down",
    op="dev_mem",
    operation="/dev/mem,kmem,port",
    reason="denied (baseline)",
    denied=True,
    tgid=1,
    pid=1,
    ppid=1,
    uid=0,
    cgroupid=7014,
    comm=b"he ad\xff",
    pcomm=b"bash",
    filename=None,
    retval=-1,
    repeats=0,
)


@dataclass
class Running:
    directory: Path
    health: Health
    questions: Questions
    stream: Stream

    def get(self, path: str) -> tuple[int, str]:
        with client.ask(self.directory, path) as answer:
            assert answer is not None
            return answer.status, answer.text()

    def raw(self, request: bytes) -> bytes:
        connection = peer.connect(self.directory)
        assert connection is not None
        with connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            received = b""
            while piece := connection.recv(65536):
                received += piece
            return received


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Running]:
    asked = threading.Event()
    health, stream = Health(), Stream()
    questions = Questions(asked.set)
    listener = peer.listen(tmp_path)
    threading.Thread(target=api.serve, args=(listener, api.Service(health, questions, stream)), daemon=True).start()
    yield Running(tmp_path, health, questions, stream)
    listener.shutdown(socket.SHUT_RDWR)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_healthz_tells_why_not(daemon: Running) -> None:
    assert daemon.get("/v1/healthz")[0] == 503  # nothing is enforced yet
    assert daemon.health.report("start", None)
    assert daemon.get("/v1/healthz") == (200, '{"healthy": true}\n')
    assert daemon.health.report("canary of kimglock", "lsm/file_open does not fire")
    assert not daemon.health.report("canary of kimglock", "lsm/file_open does not fire")
    status, text = daemon.get("/v1/healthz")
    assert (status, json.loads(text)["problems"]) == (503, ["lsm/file_open does not fire"])
    daemon.health.report("canary of kimglock", None)
    assert daemon.get("/v1/healthz")[0] == 200


def test_a_main_loop_that_stands_still_is_not_healthy(daemon: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon.health.report("start", None)
    monkeypatch.setattr(daemon.health, "_alive", time.monotonic() - 100)
    assert daemon.get("/v1/healthz")[0] == 503
    daemon.health.beat()
    assert daemon.get("/v1/healthz")[0] == 200


def test_status_is_read_by_the_main_thread_once_for_all_who_wait(daemon: Running) -> None:
    answers: list[tuple[int, str]] = []
    clients = [threading.Thread(target=lambda: answers.append(daemon.get("/v1/status"))) for _ in range(3)]
    for thread in clients:
        thread.start()
    wait_for(lambda: daemon.questions._waiting.qsize() == 3)
    read_by = []

    def read() -> dict[str, object]:
        read_by.append(threading.current_thread())
        return {"locks": []}

    daemon.questions.answer(read)
    for thread in clients:
        thread.join()
    assert answers == [(200, '{"locks": []}\n')] * 3
    assert read_by == [threading.main_thread()]
    daemon.questions.answer(read)
    assert len(read_by) == 1


def test_a_status_that_cannot_be_read_is_told(daemon: Running) -> None:
    answers: list[tuple[int, str]] = []
    thread = threading.Thread(target=lambda: answers.append(daemon.get("/v1/status")))
    thread.start()
    wait_for(lambda: not daemon.questions._waiting.empty())

    def read() -> dict[str, object]:
        raise BpflockError("the guard does not answer")

    daemon.questions.answer(read)
    thread.join()
    assert answers == [(503, '{"error": "the guard does not answer"}\n')]


def test_recent_events(daemon: Running) -> None:
    daemon.stream.publish([replace(EVENT, pid=number) for number in range(5)] + [Notice("x")])
    status, text = daemon.get("/v1/events?follow=0")
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    assert status == 200 and [line.get("pid") for line in lines] == [0, 1, 2, 3, 4, None]
    assert lines[0]["comm"] == "he ad%FF"
    assert len(daemon.get("/v1/events?follow=0&recent=2")[1].splitlines()) == 2
    assert len(daemon.get("/v1/events?follow=0&denied=1&lock=kimglock")[1].splitlines()) == 5
    assert daemon.get("/v1/events?follow=0&lock=kmodlock")[1] == ""
    assert 'msg="event=lsm_locked_down' in daemon.get("/v1/events?follow=0&format=logfmt")[1]
    assert "\x1b[" in daemon.get("/v1/events?follow=0&format=text&colour=1")[1]


def test_events_are_followed_until_the_client_hangs_up(daemon: Running) -> None:
    daemon.stream.publish([replace(EVENT, pid=number) for number in range(3)])
    with client.ask(daemon.directory, "/v1/events?recent=1&denied=1") as answer:
        assert answer is not None
        pieces = answer.pieces()
        assert json.loads(next(pieces))["pid"] == 2
        daemon.stream.publish([replace(EVENT, denied=False), replace(EVENT, pid=77)])
        assert json.loads(next(pieces))["pid"] == 77
    # Without an event, too, the server notices.
    wait_for(lambda: not daemon.stream._subscriptions)


def test_a_slow_client_is_told_what_it_lost(daemon: Running) -> None:
    connection = peer.connect(daemon.directory)
    assert connection is not None
    with connection:
        connection.settimeout(60)
        connection.sendall(b"GET /v1/events HTTP/1.0\r\n\r\n")
        wait_for(lambda: daemon.stream._subscriptions)
        started = time.monotonic()
        for _ in range(150):
            daemon.stream.publish([EVENT] * 100)
        assert time.monotonic() - started < 10
        lost = received = 0
        with connection.makefile("rb") as lines:
            while lines.readline().strip():
                pass  # the headers
            while lost + received < 15000:
                line = json.loads(lines.readline())
                if line["event"] == "lost":
                    lost += line["lines"]
                else:
                    received += 1
        assert lost > 0
        assert lost + received == 15000


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 404),
        ("/v1/events/", 404),
        ("/v1/events?follow=2", 400),
        ("/v1/events?follow", 400),
        ("/v1/events?recent=-1", 400),
        ("/v1/events?recent=99999999999999999999", 400),
        ("/v1/events?lock=nolock", 400),
        ("/v1/events?format=xml", 400),
        ("/v1/events?colour=red", 400),
        ("/v1/events?x=1", 400),
        ("/v1/events?" + "&".join(f"a{n}=1" for n in range(50)), 400),
        ("/../etc/passwd", 404),
    ],
)
def test_what_the_api_does_not_know(daemon: Running, path: str, status: int) -> None:
    found, text = daemon.get(path)
    assert found == status
    assert json.loads(text)["error"]


@pytest.mark.parametrize(
    "request_",
    [b"", b"\r\n", b"POST /v1/status HTTP/1.1\r\n\r\n", b"GET\r\n\r\n", b"\xff\x00" * 100, b"GET " + b"/" * 70000],
)
def test_junk_ends_only_its_own_connection(daemon: Running, request_: bytes) -> None:
    answer = daemon.raw(request_)
    assert b"200 OK" not in answer and b"Traceback" not in answer
    daemon.health.report("start", None)
    assert daemon.get("/v1/healthz")[0] == 200


def test_only_root_and_we_are_answered(daemon: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "trusted", lambda _uid: False)
    daemon.stream.publish([EVENT])
    for path in ("/v1/healthz", "/v1/status", "/v1/events?follow=0"):
        assert daemon.get(path) == (403, '{"error": "only root may ask"}\n')


@pytest.mark.parametrize("uid", [1, 4711, 65534])
def test_who_is_neither_is_not(daemon: Running, monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    """By the real check; the kernel says who it is."""
    monkeypatch.setattr(api, "peer_uid", lambda _connection: uid)
    monkeypatch.setattr("bpflock.daemon.peer.os.geteuid", lambda: 1000)
    assert daemon.get("/v1/healthz") == (403, '{"error": "only root may ask"}\n')


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.parametrize(
    ("ids", "status"),
    [
        ((65534, 65534, 65534), 403),
        # The real user alone is root, or the group: the kernel tells the effective user.
        ((0, 65534, 65534), 403),
        ((65534, 0, 65534), 503),
    ],
    ids=["nobody", "only the real user is root", "the effective user is root"],
)
def test_a_real_client_of_another_user(
    daemon: Running, monkeypatch: pytest.MonkeyPatch, ids: tuple[int, int, int], status: int
) -> None:
    """Whoever reaches the socket: file modes are not what keeps others out."""
    daemon.directory.chmod(0o777)
    (daemon.directory / peer.SOCKET_FILE).chmod(0o666)
    monkeypatch.chdir(daemon.directory)  # nobody may pass the directories above it
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setresuid(*ids)  # the group stays root's
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.connect(peer.SOCKET_FILE)
            connection.sendall(b"GET /v1/healthz HTTP/1.0\r\n\r\n")
            os.write(writer, connection.recv(100))
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as answer:
        assert answer.read().split()[1] == b"%d" % status


def test_too_many_clients_are_turned_away_and_places_come_back(daemon: Running) -> None:
    daemon.health.report("start", None)
    held = [peer.connect(daemon.directory) for _ in range(api._CLIENTS)]
    for connection in held:
        assert connection is not None
        connection.sendall(b"GET /v1/events HTTP/1.0\r\n\r\n")
        connection.recv(100)
    assert daemon.get("/v1/healthz")[0] == 503
    for connection in held:
        assert connection is not None
        connection.close()
    wait_for(lambda: daemon.get("/v1/healthz")[0] == 200)


def test_the_socket_is_ours_alone_and_replaces_what_a_daemon_left(tmp_path: Path) -> None:
    first = peer.listen(tmp_path)
    path = tmp_path / peer.SOCKET_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    old = path.stat().st_ino
    first.close()
    assert peer.connect(tmp_path) is None  # left behind, and nobody listens
    second = peer.listen(tmp_path)
    assert path.stat().st_ino != old
    connection = peer.connect(tmp_path)
    assert connection is not None
    connection.close()
    second.close()
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_not_a_socket_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / peer.SOCKET_FILE
    path.write_text("precious")
    with pytest.raises(BpflockError, match="in the way"):
        peer.listen(tmp_path)
    assert path.read_text() == "precious"


def test_no_daemon(tmp_path: Path) -> None:
    with client.ask(tmp_path, "/v1/status") as answer:
        assert answer is None
    assert not client.copy_events(tmp_path, "follow=0", 1)


def test_a_socket_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = peer.listen(tmp_path)
    monkeypatch.setattr(peer, "peer_uid", lambda _connection: 4711)
    with pytest.raises(PermissionsError, match="user 4711 listens"):
        peer.connect(tmp_path)
    listener.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_real_socket_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / peer.SOCKET_FILE
    child = os.fork()
    if not child:
        os.chdir(tmp_path)
        tmp_path.chmod(0o777)
        os.setresuid(65534, 65534, 65534)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind("new")
        listener.listen()
        Path("new").rename(peer.SOCKET_FILE)  # who finds it can connect
        time.sleep(30)
        os._exit(0)
    try:
        wait_for(path.exists)
        with pytest.raises(PermissionsError, match="user 65534 listens"):
            peer.connect(tmp_path)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
