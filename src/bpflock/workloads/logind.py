# SPDX-License-Identifier: Apache-2.0
"""Who is logged in at a seat of this machine, as systemd-logind tells over D-Bus.

Import this only where sessions are granted something. The bus is the system's, or the one that
$DBUS_SYSTEM_BUS_ADDRESS names. Interface: org.freedesktop.login1(5).
"""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bpflock.errors import BpflockError, UnsupportedError
from bpflock.locks.model import Sessions

try:
    from jeepney import DBusAddress, DBusErrorResponse, MatchRule, MessageFlag
    from jeepney import new_method_call as method_call
    from jeepney.bus_messages import message_bus
    from jeepney.io.blocking import DBusConnection, open_dbus_connection
    from jeepney.wrappers import unwrap_msg
except ImportError as error:
    raise UnsupportedError(
        f"sessions are granted nothing: {error}", hint="install bpflock[session], or Debian's python3-jeepney"
    ) from None

_NAME = "org.freedesktop.login1"
_MANAGER = DBusAddress("/org/freedesktop/login1", _NAME, "org.freedesktop.login1.Manager")
_SESSION = "org.freedesktop.login1.Session"
# Of people. Not greeter and lock-screen, nor background (cron), nor the manager of a user.
_CLASSES = ("user", "user-early", "user-light", "user-early-light")
_SCOPE = re.compile(r"session-[A-Za-z0-9]+\.scope")
# Seconds: for each answer; between attempts to connect; until we ask though nothing was signalled.
_ANSWER, _RETRY, _ASK = 5.0, 2.0, 30.0


@dataclass(frozen=True)
class Session:
    """A session at a seat. `cgroup` is relative to the cgroup mount."""

    cgroup: str
    kinds: frozenset[Sessions]


class Logind:
    """Follows the sessions, in a thread of its own that uses no kernel interface. `changed` is called from there.

    What is not known is no session: while the bus or logind does not answer, there are none.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._lock = threading.Lock()
        self._sessions: frozenset[Session] = frozenset()
        self._problem: str | None = None
        self._closed = threading.Event()
        threading.Thread(target=self._run, name="logind", daemon=True).start()

    def sessions(self) -> tuple[frozenset[Session], str | None]:
        """Those there are, and what is wrong if that is not known."""
        with self._lock:
            return self._sessions, self._problem

    def close(self) -> None:
        """The thread ends when it notices."""
        self._closed.set()

    def _publish(self, sessions: frozenset[Session], problem: str | None) -> None:
        with self._lock:
            news = (sessions, problem) != (self._sessions, self._problem)
            self._sessions, self._problem = sessions, problem
        if news:
            self._changed()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                with open_dbus_connection("SYSTEM", auth_timeout=_ANSWER) as connection:
                    self._follow(connection)
            except Exception as error:  # also what jeepney raises for a bus that answers nonsense
                self._publish(
                    frozenset(), f"systemd-logind cannot be asked over D-Bus: {error or type(error).__name__}"
                )
            self._closed.wait(_RETRY)

    def _follow(self, connection: DBusConnection) -> None:
        with _signals(connection) as signals:
            while not self._closed.is_set():
                signals.clear()
                self._publish(_read(connection), None)
                end = time.monotonic() + _ASK
                while not signals and time.monotonic() < end and not self._closed.is_set():
                    try:
                        connection.recv_messages(timeout=1)
                    except TimeoutError:
                        continue


@contextmanager
def _signals(connection: DBusConnection) -> Iterator[Any]:
    """A queue that is not empty once something may have changed, also logind's coming and going."""
    rules = [
        MatchRule(type="signal", sender=_NAME),
        MatchRule(
            type="signal", sender="org.freedesktop.DBus", interface="org.freedesktop.DBus", member="NameOwnerChanged"
        ),
    ]
    rules[1].add_arg_condition(0, _NAME)
    for rule in rules:
        unwrap_msg(connection.send_and_get_reply(message_bus.AddMatch(rule), timeout=_ANSWER))
    # Senders are unique names in messages: what the bus lets through is what was asked for.
    with connection.filter(MatchRule(type="signal")) as queue:
        yield queue


def _call(connection: DBusConnection, address: DBusAddress, method: str, *arguments: str) -> Any:
    """The body of the answer. Never starts logind: a machine without it has no sessions."""
    message = method_call(address, method, "s" * len(arguments) or None, arguments)
    message.header.flags |= MessageFlag.no_auto_start
    return unwrap_msg(connection.send_and_get_reply(message, timeout=_ANSWER))


def _read(connection: DBusConnection) -> frozenset[Session]:
    found = set()
    for _, _, _, _, path in _call(connection, _MANAGER, "ListSessions")[0]:
        address = DBusAddress(path, _NAME, "org.freedesktop.DBus.Properties")
        try:
            values = _call(connection, address, "GetAll", _SESSION)[0]
        except DBusErrorResponse as error:
            if error.name == "org.freedesktop.DBus.Error.UnknownObject":
                continue  # it has ended
            raise
        if session := session_of({name: value for name, (_, value) in values.items()}):
            found.add(session)
    return frozenset(found)


def session_of(properties: dict[str, Any]) -> Session | None:
    """A session that may be granted something, from its properties; None if it is not one.

    `local` is who sits at a seat, as polkit has it: not who came by ssh, and no session without a seat.
    """
    try:
        seat, user, scope = properties["Seat"][0], properties["User"][0], properties["Scope"]
        here = bool(seat) and not properties["Remote"] and properties["Class"] in _CLASSES
        state, active = properties["State"], properties["Active"]
    except (KeyError, IndexError, TypeError) as error:
        raise BpflockError(f"systemd-logind says of a session nothing of {error}") from error
    if not here or state not in ("online", "active"):
        return None
    if not isinstance(user, int) or not _SCOPE.fullmatch(str(scope)):
        raise BpflockError(f"systemd-logind names a session's scope '{scope}'")
    kinds = {Sessions.LOCAL, Sessions.ACTIVE} if active is True and state == "active" else {Sessions.LOCAL}
    return Session(f"user.slice/user-{user}.slice/{scope}", frozenset(kinds))
