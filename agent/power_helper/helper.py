#!/usr/bin/python3 -I
"""Sets the power limits of NVIDIA GPUs for the agent, which is not root, and restores them when the agent has ended.

It serves one Unix socket, and only one user (and root) may use it. Each line of a connection is a request:

    limit GPU-UUID WATTS    -> ok WATTS            the card takes at most so much, until the connection ends
    restore GPU-UUID        -> ok WATTS            the limit that it had before
    range GPU-UUID          -> ok LEAST MOST NOW   the limits that the card accepts

or "error" with the reason. When a connection ends, in whichever way the agent has ended, the limits that it set are what they were before.
They are also restored when this program ends, and when it starts after it was killed, from the file beside the socket.

This file needs no package, only Python 3.9 and the driver's library, so that root runs nothing that another user could change.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import pwd
import re
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MAX_LINE = 128
"""Bytes of a request."""
UUID = re.compile(r"GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
WATTS = re.compile(r"[0-9]{1,5}(\.[0-9]{1,3})?")
_LIBRARY = "libnvidia-ml.so.1"
_UUID_SIZE = 96


class Refused(Exception):
    """A request cannot be carried out, for the reason in the message."""


class Ended(Exception):
    """The program was asked to end."""


class Nvml:
    """The few calls of NVIDIA's management library. Limits are in milliwatts. Every method raises `Refused`."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(_LIBRARY)
        except OSError as error:
            raise Refused(f"the NVIDIA driver is not installed ({error})") from None
        self._library.nvmlErrorString.restype = ctypes.c_char_p

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        if code != 0:
            text = self._library.nvmlErrorString(code) or b""
            raise Refused(f"{name}: {text.decode(errors='replace')} ({code})")

    @contextmanager
    def card(self, uuid: str) -> Iterator[Card]:
        """Yield a card while connected to the driver, which may have been loaded again since the last call."""
        self._call("nvmlInit_v2")
        try:
            count = ctypes.c_uint()
            self._call("nvmlDeviceGetCount_v2", ctypes.byref(count))
            for index in range(count.value):
                handle, name = ctypes.c_void_p(), ctypes.create_string_buffer(_UUID_SIZE)
                try:
                    self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
                    self._call("nvmlDeviceGetUUID", handle, name, ctypes.c_uint(_UUID_SIZE))
                except Refused:  # another card, which is lost
                    continue
                if name.value.decode(errors="replace").lower() == uuid.lower():
                    yield Card(self._call, handle)
                    return
            raise Refused(f"the driver finds no {uuid}")
        finally:
            self._library.nvmlShutdown()


class Card:
    """A card, and its power limit in milliwatts. Every method raises `Refused`."""

    def __init__(self, call: Callable[..., None], handle: Any) -> None:
        self._call = call
        self._handle = handle

    def limit(self) -> int:
        """Return the limit that was set last, or the driver's own."""
        value = ctypes.c_uint()
        self._call("nvmlDeviceGetPowerManagementLimit", self._handle, ctypes.byref(value))
        return value.value

    def limits(self) -> tuple[int, int]:
        """Return the least and the largest limit that the card accepts."""
        least, most = ctypes.c_uint(), ctypes.c_uint()
        self._call(
            "nvmlDeviceGetPowerManagementLimitConstraints",
            self._handle,
            ctypes.byref(least),
            ctypes.byref(most),
        )
        return least.value, most.value

    def set_limit(self, milliwatts: int) -> None:
        """Set the limit."""
        self._call("nvmlDeviceSetPowerManagementLimit", self._handle, ctypes.c_uint(milliwatts))


class Limits:
    """Sets limits. The former ones of all changed cards are in `file` before they change."""

    def __init__(self, nvml: Nvml, file: Path) -> None:
        self._nvml = nvml
        self._file = file
        self._former: dict[str, int] = {}
        if file.exists():
            self._former = {uuid: int(limit) for uuid, limit in json.loads(file.read_text()).items()}

    def answer(self, request: str) -> str:
        """Carry out a request and return the answer. Raises `Refused`."""
        name, _, argument = request.partition(" ")
        uuid, space, watts = argument.partition(" ")
        uuid = uuid.lower().replace("gpu-", "GPU-")
        if UUID.fullmatch(uuid):
            if name == "limit" and WATTS.fullmatch(watts):
                return self._limit(uuid, round(float(watts) * 1000))
            if name == "restore" and not space:
                return self._restore(uuid)
            if name == "range" and not space:
                with self._nvml.card(uuid) as card:
                    return " ".join(map(_watts, (*card.limits(), card.limit())))
        raise Refused("a request is: limit GPU-UUID WATTS, restore GPU-UUID, or range GPU-UUID")

    def _limit(self, uuid: str, milliwatts: int) -> str:
        with self._nvml.card(uuid) as card:
            least, most = card.limits()
            if not least <= milliwatts <= most:
                raise Refused(f"this card accepts limits from {_watts(least)} to {_watts(most)} W")
            if uuid not in self._former:
                self._former[uuid] = card.limit()
                self._save()
            card.set_limit(milliwatts)
            return _watts(card.limit())

    def _restore(self, uuid: str) -> str:
        with self._nvml.card(uuid) as card:
            if uuid in self._former:
                card.set_limit(self._former[uuid])
                del self._former[uuid]
                self._save()
            return _watts(card.limit())

    def restore_all(self) -> None:
        """Restore all cards that can be found. A lost one has its limit of before when the driver is loaded again."""
        for uuid in list(self._former):
            try:
                self._restore(uuid)
            except Refused as error:
                _log(f"{uuid} was not restored: {error}")

    def _save(self) -> None:
        temporary = self._file.with_suffix(".new")
        temporary.write_text(json.dumps(self._former))
        temporary.replace(self._file)


def _watts(milliwatts: int) -> str:
    return f"{milliwatts / 1000:g}"


def serve(listener: socket.socket, user: int, limits: Limits) -> None:
    """Serve one connection after the other until `Ended`."""
    while True:
        connection, _ = listener.accept()
        with connection:
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            _, peer, _ = struct.unpack("3i", credentials)
            if peer not in (0, user):
                connection.sendall(b"error only the agent's user may use this socket\n")
                continue
            try:
                _converse(connection, limits)
            except OSError as error:
                _log(f"the connection has failed: {error}")
            finally:
                limits.restore_all()


def _converse(connection: socket.socket, limits: Limits) -> None:
    """Answer requests until the other side closes the connection, as the kernel does for a program that was killed."""
    with connection.makefile("rb") as lines:
        while line := lines.readline(MAX_LINE):
            try:
                answer = f"ok {limits.answer(line.decode('ascii', 'replace').rstrip())}"
            except Refused as error:
                answer = f"error {error}"
            connection.sendall(answer.encode() + b"\n")


def _log(text: str) -> None:
    sys.stderr.write(f"aitbc-power-helper: {text}\n")
    sys.stderr.flush()


def _end(*_: object) -> None:
    raise Ended


def main() -> None:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser(description="Sets the power limits of NVIDIA GPUs for the AITBC agent.")
    parser.add_argument("--user", required=True, help="The agent's user.")
    parser.add_argument("--socket", type=Path, default=Path("/run/aitbc-power/socket"))
    arguments = parser.parse_args()
    try:
        user = pwd.getpwnam(arguments.user).pw_uid
        limits = Limits(Nvml(), arguments.socket.with_name("limits.json"))
    except (KeyError, Refused) as error:
        sys.exit(f"aitbc-power-helper: {error}")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    arguments.socket.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        # Who connects is checked, so everybody may try; the directory is root's.
        umask = os.umask(0o111)
        listener.bind(str(arguments.socket))
        os.umask(umask)
        listener.listen(4)
        try:
            # Those of an agent whose helper was killed.
            limits.restore_all()
            serve(listener, user, limits)
        except Ended:
            pass
        finally:
            # A second signal must not end this.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            limits.restore_all()


if __name__ == "__main__":
    main()
