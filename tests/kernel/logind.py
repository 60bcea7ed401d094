# SPDX-License-Identifier: Apache-2.0
"""A systemd-logind that says what a test wants, on a bus of its own."""

import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jeepney import DBusAddress, Message, MessageType, new_error, new_method_return, new_signal
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection
from jeepney.low_level import HeaderFields

_NAME = "org.freedesktop.login1"
_PATH = "/org/freedesktop/login1/session/_3"
_CONFIGURATION = """
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>{address}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default"><allow own="*"/><allow send_destination="*"/><allow eavesdrop="false"/></policy>
</busconfig>
"""


class Bus:
    """A D-Bus daemon, while the block runs."""

    def __init__(self, directory: Path) -> None:
        self._socket = directory / "bus"
        self._configuration = directory / "bus.conf"
        self._configuration.write_text(_CONFIGURATION.format(address=self.address).lstrip())

    @property
    def address(self) -> str:
        return f"unix:path={self._socket}"

    def __enter__(self) -> Self:
        self._socket.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            ["dbus-daemon", f"--config-file={self._configuration}", "--nofork", "--print-address"],
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "the bus did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()


def session(**changed: Any) -> dict[str, tuple[str, Any]]:
    """Properties of a session, of which these are changed: active, at a seat, session-1.scope of user 1000."""
    values = {
        "User": ("(uo)", (1000, "/org/freedesktop/login1/user/_1000")),
        "Seat": ("(so)", ("seat0", "/org/freedesktop/login1/seat/seat0")),
        "Scope": ("s", "session-1.scope"),
        "Class": ("s", "user"),
        "Remote": ("b", False),
        "Active": ("b", True),
        "State": ("s", "active"),
    }
    return values | {name: (values[name][0], value) for name, value in changed.items()}


class FakeLogind:
    """Has these sessions, until others are told."""

    def __init__(self, bus: Bus, *sessions: dict[str, tuple[str, Any]]) -> None:
        self._sessions = list(sessions)
        self._connection = open_dbus_connection(bus.address)
        self._send = threading.Lock()
        self._connection.send_and_get_reply(message_bus.RequestName(_NAME))
        threading.Thread(target=self._serve, daemon=True).start()

    def change(self, *sessions: dict[str, tuple[str, Any]]) -> None:
        """Have these sessions from now on, and signal it."""
        self._sessions = list(sessions)
        emitter = DBusAddress(f"{_PATH}0", _NAME, "org.freedesktop.DBus.Properties")
        body: tuple[str, dict[str, Any], list[str]] = ("org.freedesktop.login1.Session", {}, ["Active"])
        with self._send:
            self._connection.send(new_signal(emitter, "PropertiesChanged", "sa{sv}as", body))

    def end(self) -> None:
        self._connection.sock.shutdown(2)

    def _serve(self) -> None:
        try:
            while True:
                message = self._connection.receive()
                if message.header.message_type is MessageType.method_call:
                    answer = self._answer(message)
                    with self._send:
                        self._connection.send(answer)
        except OSError:
            return  # the bus, or end()

    def _answer(self, message: Message) -> Message:
        sessions = list(self._sessions)
        method, path = message.header.fields[HeaderFields.member], message.header.fields[HeaderFields.path]
        if method == "ListSessions":
            rows = [
                (str(number), values["User"][1][0], "user", values["Seat"][1][0], f"{_PATH}{number}")
                for number, values in enumerate(sessions)
            ]
            return new_method_return(message, "a(susso)", (rows,))
        number = int(path.removeprefix(_PATH))
        if method == "GetAll" and number < len(sessions):
            return new_method_return(message, "a{sv}", (sessions[number],))
        return new_error(message, "org.freedesktop.DBus.Error.UnknownObject", "s", ("there is no such session",))
