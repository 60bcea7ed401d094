# SPDX-License-Identifier: Apache-2.0
"""Events on standard output: from the daemon, or from the kernel itself while no daemon runs."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from bpflock.daemon.client import copy_events
from bpflock.daemon.instance import daemon_pid
from bpflock.events.model import Event, only
from bpflock.events.render import Format, renderer
from bpflock.events.sinks import wants_colour

_STDOUT = 1
_LOOK = 0.2  # seconds
# What `-f` begins with, as `tail -f` does.
_LINES_BEFORE = 10


class Show:
    """What to show, and how. `form` None: for people on a terminal, else logfmt."""

    def __init__(self, runtime_dir: Path, form: Format | None, *, lock: str = "", denied: bool = False) -> None:
        self._runtime_dir = runtime_dir
        self._form = form or (Format.TEXT if os.isatty(_STDOUT) else Format.LOGFMT)
        self._colour = wants_colour(_STDOUT)
        self._lock = lock
        self._denied = denied

    def run(self, *, follow: bool) -> int:
        """Show what there is, or go on until interrupted. Raises BpflockError."""
        recent = _LINES_BEFORE
        while True:
            query = f"follow=1&recent={recent}" if follow else "follow=0"
            if not copy_events(self._runtime_dir, f"{query}&{self._query()}", _STDOUT):
                self._read_kernel(follow=follow)
            if not follow:
                return 0
            # The daemon ended, or one began: go on with what comes, without what was shown.
            recent = 0
            time.sleep(_LOOK)

    def _query(self) -> str:
        parts = [f"format={self._form}", f"colour={int(self._colour)}", f"denied={int(self._denied)}"]
        return "&".join(parts + ([f"lock={self._lock}"] if self._lock else []))

    def _read_kernel(self, *, follow: bool) -> None:
        """Until nothing is left, or with `follow` until a daemon reads them."""
        wanted = only(lock=self._lock, denied=self._denied)
        render = renderer(self._form, colour=self._colour)
        for events in self._batches(follow=follow):
            lines = [f"{render(event)}\n" for event in events if wanted is None or wanted(event)]
            rest = memoryview("".join(lines).encode())
            while rest:
                rest = rest[os.write(_STDOUT, rest) :]

    def _batches(self, *, follow: bool) -> Iterator[list[Event]]:
        # Not needed, and slow to import, where a daemon answers.
        from bpflock.daemon.source import EventSource
        from bpflock.locks.enforce import Enforcer

        with Enforcer() as enforcer, contextlib.closing(EventSource(enforcer)) as source:
            enforcer.ring().close()  # says what is wrong if there is none, or we may not read it
            while daemon_pid(self._runtime_dir) is None:
                yield from source.read()
                if not follow:
                    return
                time.sleep(_LOOK)
