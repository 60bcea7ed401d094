# SPDX-License-Identifier: Apache-2.0
"""Asking the daemon. HTTP by hand: http.client would take longer to import than the answer to come."""

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bpflock.daemon.peer import connect
from bpflock.errors import BpflockError

_PIECE = 64 * 1024
_LONGEST_HEAD = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """The status of an answer, and its body as it comes."""

    status: int
    _connection: socket.socket
    _begin: bytes

    def pieces(self) -> Iterator[bytes]:
        """The body, without waiting for its end."""
        if self._begin:
            yield self._begin
        # Events may take as long to come as they like.
        self._connection.settimeout(None)
        # A server that hangs up without having read all of a request looks like a reset.
        with contextlib.suppress(ConnectionResetError):
            while piece := self._connection.recv(_PIECE):
                yield piece

    def text(self) -> str:
        return b"".join(self.pieces()).decode("utf-8", "replace")


@contextlib.contextmanager
def ask(directory: Path, path: str) -> Iterator[Answer | None]:
    """The daemon's answer to `GET path`; None if no daemon runs. Raises BpflockError."""
    connection = connect(directory)
    if connection is None:
        yield None
        return
    with connection:
        try:
            # A server that turns us away may have hung up already; its answer can be read all the same.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode("ascii"))
            head, begin = _head(connection)
        except OSError as error:
            raise BpflockError(f"the daemon does not answer: {error.strerror or error}") from error
        words = head.split(b"\r\n", 1)[0].split()
        if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
            raise BpflockError("the daemon's answer is not HTTP")
        yield Answer(int(words[1]), connection, begin)


def _head(connection: socket.socket) -> tuple[bytes, bytes]:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(_PIECE)
        if not piece or len(received) > _LONGEST_HEAD:
            raise BpflockError("the daemon hung up")
        received += piece
    head, _, begin = received.partition(b"\r\n\r\n")
    return head, begin


def copy_events(directory: Path, query: str, fd: int) -> bool:
    """Write the daemon's events to a descriptor until they end; False if no daemon runs. Raises BpflockError."""
    with ask(directory, f"/v1/events?{query}") as answer:
        if answer is None:
            return False
        if answer.status != 200:
            raise BpflockError(f"the daemon refuses: {answer.text().strip()}")
        for piece in answer.pieces():
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(fd, rest) :]
        return True
