"""Asks the system's and the desktop's services by D-Bus. What is not there, or does not answer in time, is unknown."""

from __future__ import annotations

import os
from typing import Any, Final, Literal

import structlog
from jeepney import DBusAddress, HeaderFields, Message, MessageType, Properties, new_method_call
from jeepney.io.blocking import open_dbus_connection

_SECONDS: Final = 2.0
_VARIABLES: Final = frozenset({"DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY"})
_MUTTER: Final = DBusAddress(
    "/org/gnome/Mutter/IdleMonitor/Core", "org.gnome.Mutter.IdleMonitor", "org.gnome.Mutter.IdleMonitor"
)
_LOGIND: Final = DBusAddress(
    "/org/freedesktop/login1", "org.freedesktop.login1", "org.freedesktop.login1.Manager"
)
_NETWORK_MANAGER: Final = DBusAddress(
    "/org/freedesktop/NetworkManager", "org.freedesktop.NetworkManager", "org.freedesktop.NetworkManager"
)
_USER_MANAGER: Final = DBusAddress(
    "/org/freedesktop/systemd1", "org.freedesktop.systemd1", "org.freedesktop.systemd1.Manager"
)
_METERED: Final = frozenset({1, 3})
"""NetworkManager's `yes` and `guess-yes`."""

_log = structlog.get_logger(__name__)


def gnome_idle_seconds() -> float | None:
    """Return for how long neither keyboard nor mouse were used, as GNOME counts it, also under Wayland; None if it is unknown. Blocking."""
    answer = _call("SESSION", new_method_call(_MUTTER, "GetIdletime"))
    return None if answer is None else float(answer) / 1000


def login_idle_since() -> float | None:
    """Return since when all sessions are idle, in seconds since the epoch, or infinity if one is not. None if logind does not say. Blocking."""
    idle = _property(_LOGIND, "IdleHint")
    if idle is None:
        return None
    since = _property(_LOGIND, "IdleSinceHint") if idle else float("inf")
    return None if since is None else float(since) / 1e6


def desktop_environment() -> dict[str, str]:
    """Return the variables of the user's desktop. A service that is started before the desktop has none of its own. Blocking."""
    own = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    if "DISPLAY" in own:
        return own
    answer = _call("SESSION", Properties(_USER_MANAGER).get("Environment"))
    pairs = (entry.partition("=") for entry in (answer[1] if answer is not None else ()))
    return {name: value for name, _, value in pairs if name in _VARIABLES and value}


def metered() -> bool:
    """Return whether NetworkManager knows or guesses that the connection is metered. Blocking."""
    return _property(_NETWORK_MANAGER, "Metered") in _METERED


def _property(address: DBusAddress, name: str) -> Any:
    answer = _call("SYSTEM", Properties(address).get(name))
    return None if answer is None else answer[1]


def _call(bus: Literal["SESSION", "SYSTEM"], message: Message) -> Any:
    """Return the first value of the answer, None without one."""
    try:
        with open_dbus_connection(bus=bus) as connection:
            answer = connection.send_and_get_reply(message, timeout=_SECONDS)
    except (OSError, KeyError, ValueError, EOFError) as error:
        # On most servers there is no such bus. `KeyError`: no address of a session bus in the environment.
        _log.debug("bus_silent", member=message.header.fields.get(HeaderFields.member), error=str(error))
        return None
    return answer.body[0] if answer.header.message_type is MessageType.method_return else None
