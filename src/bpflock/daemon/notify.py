# SPDX-License-Identifier: Apache-2.0
"""Telling the service manager how we are: the protocol of sd_notify(3)."""

import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Sends states to the service manager; without one, and when it does not listen, nothing happens."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the zero byte of an abstract address.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog = _watchdog(environ) if address else None

    def send(self, **states: object) -> None:
        """For example send(READY=1, STATUS="enforcing")."""
        if not self._address:
            return
        text = "".join(f"{name}={str(value).replace(chr(10), ' ')}\n" for name, value in states.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(text.encode("utf-8", "replace"), self._address)
        except OSError:
            pass  # it must not stop us that nobody listens

    def ready(self, status: str) -> None:
        self.send(READY=1, STATUS=status)

    def reloading(self) -> None:
        """Type=notify-reload goes by the time, to tell this message from older ones."""
        self.send(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000, STATUS="reloading the configuration")


def _watchdog(environ: Mapping[str, str]) -> float | None:
    """Seconds within which the service manager wants to hear WATCHDOG=1, if it does."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) > 0 else None
