# SPDX-License-Identifier: Apache-2.0
"""Writes entries to a file descriptor. However slow its reader is, whoever publishes never waits for it."""

import os
import select
import threading

from bpflock.events.render import Format, Renderer, renderer
from bpflock.events.stream import Stream, Subscription


def wants_colour(fd: int) -> bool:
    """A terminal whose user did not object: https://no-color.org."""
    return os.isatty(fd) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def renderer_for(fd: int, form: Format | None = None) -> Renderer:
    """The renderer for a descriptor: of this format, or for people on a terminal and logfmt elsewhere."""
    form = form or (Format.TEXT if os.isatty(fd) else Format.LOGFMT)
    return renderer(form, colour=wants_colour(fd))


class Writer:
    """A thread that writes what is published, a line for each entry.

    The descriptor may be shared (a terminal, a pipe of the service manager), so it cannot be made non-blocking: the
    thread blocks instead, and its queue overflows, which is counted and told once the reader goes on.
    """

    def __init__(self, stream: Stream, fd: int, render: Renderer) -> None:
        self._stream = stream
        self._fd = fd
        self._render = render
        self._torn = False  # the last line was cut off
        self._subscription: Subscription = stream.subscribe()
        self._thread = threading.Thread(target=self._run, name=f"writer-{fd}", daemon=True)
        self._thread.start()

    def close(self, timeout: float = 2.0) -> None:
        """Write what is queued, for at most this long (seconds): a reader that stands still must not stop us."""
        self._stream.unsubscribe(self._subscription)
        self._thread.join(timeout)

    def _run(self) -> None:
        while entries := self._subscription.get():
            text = "".join([f"{self._render(entry)}\n" for entry in entries])
            try:
                self._write(("\n" if self._torn else "") + text)
                self._torn = False
            except (BrokenPipeError, ConnectionResetError):
                self._stream.unsubscribe(self._subscription)  # nobody will ever read it
                return
            except OSError:  # a full disk may have room again
                self._subscription.lose(entries)

    def _write(self, text: str) -> None:
        rest = memoryview(text.encode())
        while rest:
            try:
                written = os.write(self._fd, rest)
            except BlockingIOError:  # whoever shares it made it so
                select.select([], [self._fd], [])
                continue
            self._torn = rest[written - 1] != ord("\n")
            rest = rest[written:]
