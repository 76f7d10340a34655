"""Notifies systemd if it started this process: sd_notify(3), without its library."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

MICROSECONDS: Final = 1_000_000


class Notifier:
    """Sends messages to the supervisor of this process; does nothing without a supervisor.

    `present` is whether there is a supervisor. `watchdog_seconds` is the time without `alive` after which it kills this process;
    None without a watchdog.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self.present = self._address is not None
        self.watchdog_seconds = _watchdog_seconds(environment) if self.present else None
        self._status = ""

    def ready(self, status: str) -> None:
        """Report that the start is complete."""
        self._send("READY=1", *self._changed(status))

    def status(self, text: str) -> None:
        """Describe the current activity in one line."""
        self._send(*self._changed(text))

    def stopping(self, status: str) -> None:
        """Report that the process has begun to stop."""
        self._send("STOPPING=1", *self._changed(status))

    def alive(self) -> None:
        """Report that the process makes progress."""
        self._send("WATCHDOG=1")

    def extend(self, seconds: float) -> None:
        """Extend the time limit of the start or stop in progress: it ends `seconds` from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * MICROSECONDS)}")

    def _changed(self, status: str) -> tuple[str, ...]:
        line = " ".join(status.split())
        if line == self._status:
            return ()
        self._status = line
        return (f"STATUS={line}",)

    def _send(self, *lines: str) -> None:
        if self._address is None or not lines:
            return
        # A supervisor that is too busy must not block the event loop. A lost message is repeated.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
            notifier.setblocking(False)
            notifier.sendto("\n".join(lines).encode(), self._address)


def _address(path: str) -> str | None:
    if path.startswith("@"):  # a name without a file
        return f"\0{path[1:]}"
    return path or None


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """Read WATCHDOG_USEC, unless it is meant for another process: a parent's variables are inherited."""
    meant_for = environment.get("WATCHDOG_PID", "")
    microseconds = environment.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or (meant_for and meant_for != str(os.getpid())):
        return None
    return int(microseconds) / MICROSECONDS
