# SPDX-License-Identifier: Apache-2.0
"""Keeps the sessions that locks grant something in the kernel, for as long as somebody is there.

Closed are they at once when one becomes inactive or ends, or when systemd-logind does not answer any more; within
LEASE seconds when the daemon is killed; and when it is stopped.
"""

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from bpflock.errors import BpflockError
from bpflock.locks.enforce import Enforcer, LockStatus
from bpflock.locks.model import Sessions
from bpflock.workloads import sessions as kernel
from bpflock.workloads.cgroup import cgroup_id

if TYPE_CHECKING:
    from bpflock.workloads.logind import Logind, Session

_RENEW = kernel.LEASE / 5
Tell = Callable[[str], None]


class SessionKeeper:
    """`wake` is called from another thread when keep() has something to do."""

    def __init__(self, enforcer: Enforcer, tell: Tell, wake: Callable[[], None]) -> None:
        self._enforcer = enforcer
        self._tell = tell
        self._wake = wake
        self._logind: Logind | None = None
        self._entries: dict[int, frozenset[Sessions]] | None = None  # in the kernel; None: what somebody left there
        self._renewed = 0.0

    def follow(self, statuses: Iterable[LockStatus]) -> None:
        """Ask logind if, and only if, a lock grants sessions anything. Raises UnsupportedError if it cannot."""
        wanted = any(status.settings.session for status in statuses)
        if wanted and self._logind is None:
            from bpflock.workloads.logind import Logind

            self._logind = Logind(self._wake)
        elif not wanted and self._logind is not None:
            self._logind.close()
            self._logind = None

    def keep(self) -> str | None:
        """Write to the kernel what is known; what is wrong, if it is not known. Raises BpflockError."""
        sessions, problem = self._logind.sessions() if self._logind else (frozenset(), None)
        entries = _entries(sessions)
        now = time.monotonic()
        if entries == self._entries and (not entries or now - self._renewed < _RENEW):
            return problem
        kernel.write(self._enforcer, entries)
        if entries != (self._entries or {}):
            names = ", ".join(sorted(_describe(session) for session in sessions))
            self._tell(f"sessions: {names or 'none'}")
        self._entries, self._renewed = entries, now
        return problem

    def close(self) -> None:
        """Grant nothing any more."""
        self.follow(())
        self.keep()


def _entries(sessions: "Iterable[Session]") -> dict[int, frozenset[Sessions]]:
    found = {}
    for session in sessions:
        try:
            found[cgroup_id(session.cgroup)] = session.kinds
        except BpflockError:
            continue  # it has just ended: logind will say so
    return found


def _describe(session: "Session") -> str:
    return f"{session.cgroup} ({Sessions.ACTIVE if Sessions.ACTIVE in session.kinds else 'inactive'})"
