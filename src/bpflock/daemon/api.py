# SPDX-License-Identifier: Apache-2.0
"""The local API: HTTP on a unix socket, JSON or lines of events as answers, only GET.

    /v1/healthz     200 {"healthy": true}, or 503 with the reasons
    /v1/status      as `bpflock status --json`
    /v1/events      a line for each event, as they come
        follow=0        end after those that are kept
        recent=N        begin with up to N of those that are kept (with follow=0: all)
        lock=NAME       of one lock only
        denied=1        denials only
        format=F        json (the default), logfmt or text; colour=1 for text on a terminal

Imported only once all is enforced: http.server takes its time.
"""

import contextlib
import errno
import json
import select
import socket
import socketserver
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from bpflock import __version__
from bpflock.daemon.peer import peer_uid, trusted
from bpflock.daemon.state import Health, Questions
from bpflock.errors import BpflockError, explained
from bpflock.events.model import Entry, Filter, only
from bpflock.events.render import Format, Renderer, renderer
from bpflock.events.stream import Stream
from bpflock.locks import LOCKS

_CLIENTS = 16
_REQUEST_TIMEOUT = 10.0  # seconds for a client to say what it wants
_ANSWER_TIMEOUT = 20.0  # seconds for the main thread to read the status: a slow machine, a reload
_CHECK_CLIENT = 2.0  # seconds after which we look whether a client that hears nothing is still there
_EVERYTHING = 1 << 31
_LINES = {Format.JSON: "application/x-ndjson", Format.LOGFMT: "text/plain", Format.TEXT: "text/plain"}


@dataclass(frozen=True)
class Service:
    """What the API tells of."""

    health: Health
    questions: Questions
    stream: Stream


class _BadRequest(Exception):
    """Explained to the client with status 400."""


@dataclass(frozen=True)
class _EventsQuery:
    """What /v1/events was asked for."""

    follow: bool
    recent: int
    wanted: Filter | None
    render: Renderer
    kind: str

    @classmethod
    def parse(cls, query: str) -> "_EventsQuery":
        try:
            given = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=16))
        except ValueError:
            raise _BadRequest("the query is not one of key=value") from None
        follow = _switch(given, "follow", default=True)
        recent = given.pop("recent", "0" if follow else str(_EVERYTHING))
        if not (recent.isascii() and recent.isdecimal() and len(recent) < 12):
            raise _BadRequest("recent is not a number")
        lock = given.pop("lock", "")
        if lock and lock not in LOCKS and lock != "guard":
            raise _BadRequest("there is no such lock")
        denied = _switch(given, "denied")
        form = given.pop("format", Format.JSON.value)
        if form not in set(Format):
            raise _BadRequest(f"format is none of {', '.join(Format)}")
        colour = _switch(given, "colour")
        if given:
            raise _BadRequest("an unknown key is in the query: known are follow, recent, lock, denied, format, colour")
        render = renderer(Format(form), colour=colour)
        return cls(follow, int(recent), only(lock=lock, denied=denied), render, _LINES[Format(form)])


def _switch(given: dict[str, str], name: str, *, default: bool = False) -> bool:
    word = given.pop(name, "1" if default else "0")
    if word not in ("0", "1"):
        raise _BadRequest(f"{name} is neither 0 nor 1")
    return word == "1"


class _Handler(BaseHTTPRequestHandler):
    """One request. HTTP/1.0: the end of the connection is the end of the answer."""

    server: "_Server"
    server_version = f"bpflock/{__version__}"
    sys_version = ""
    error_content_type = "text/plain"
    error_message_format = "%(code)d %(message)s\n"
    timeout: ClassVar[float] = _REQUEST_TIMEOUT

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: who asks for the status is no event."""

    def do_GET(self) -> None:
        if not trusted(peer_uid(self.connection)):
            self._answer(HTTPStatus.FORBIDDEN, {"error": "only root may ask"})
            return
        parts = urlsplit(self.path)
        try:
            if parts.path == "/v1/healthz":
                self._healthz()
            elif parts.path == "/v1/status":
                self._answer(HTTPStatus.OK, self.server.service.questions.ask(_ANSWER_TIMEOUT))
            elif parts.path == "/v1/events":
                self._events(_EventsQuery.parse(parts.query))
            else:
                self._answer(HTTPStatus.NOT_FOUND, {"error": "known are /v1/healthz, /v1/status and /v1/events"})
        except _BadRequest as error:
            self._answer(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        except BpflockError as error:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, {"error": str(error)})
        except OSError:
            raise  # the client hung up
        except Exception as error:
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": explained(error).message})

    def _answer(self, status: HTTPStatus, document: Mapping[str, object]) -> None:
        body = json.dumps(document).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _healthz(self) -> None:
        problems = self.server.service.health.problems()
        if problems:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, {"healthy": False, "problems": problems})
        else:
            self._answer(HTTPStatus.OK, {"healthy": True})

    def _events(self, query: _EventsQuery) -> None:
        stream = self.server.service.stream
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", query.kind)
        self.end_headers()
        if not query.follow:
            self._write(query, stream.recent(query.recent, query.wanted))
            return
        # A client may be slow for as long as it likes: it loses events, and is told.
        self.connection.settimeout(None)
        subscription = stream.subscribe(query.wanted, recent=query.recent)
        try:
            while not subscription.closed:
                entries = subscription.get(_CHECK_CLIENT)
                if entries:
                    self._write(query, entries)
                elif self._gone():
                    return
        finally:
            stream.unsubscribe(subscription)

    def _write(self, query: _EventsQuery, entries: list[Entry]) -> None:
        self.wfile.write("".join([f"{query.render(entry)}\n" for entry in entries]).encode())

    def _gone(self) -> bool:
        """Whether the client has hung up."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1024)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, listener: socket.socket, service: Service) -> None:
        super().__init__("", _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.service = service
        self.ended = False
        self._places = threading.BoundedSemaphore(_CLIENTS)

    def get_request(self) -> tuple[Any, Any]:
        try:
            return super().get_request()
        except OSError as error:
            self.ended = error.errno == errno.EINVAL  # the listener was shut down: it would be readable for ever
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            with contextlib.suppress(OSError):
                request.sendall(b"HTTP/1.0 503 Too many clients\r\n\r\n")
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that hangs up in the middle is no error of ours."""


def serve(listener: socket.socket, service: Service) -> None:
    """Answer clients until the listener is shut down."""
    server = _Server(listener, service)
    while not server.ended:
        server.handle_request()
