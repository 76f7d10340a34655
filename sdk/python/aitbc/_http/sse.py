"""Parses server-sent events from bytes (section 9.2 of the HTML standard).

`httpx-sse` does not fit here: it limits neither the length of a line nor that of an event, and it drops the comments that keep a
connection alive, at which a blocking client checks its time limit. See docs/explanation/architecture.md.
"""

from __future__ import annotations

from typing import NamedTuple

from aitbc.errors import TransportError

_LONGEST_EVENT = 2**20
"""Bytes."""


class ServerSentEvent(NamedTuple):
    """One event. `event_id` is empty if it has none."""

    name: str
    data: str
    event_id: str


class EventReader:
    """Incremental parser. Comments and the field `retry` are ignored. Lines end with LF or CR LF."""

    def __init__(self) -> None:
        self._rest = b""
        self._name = ""
        self._data: list[str] = []
        self._event_id = ""
        self._size = 0

    def feed(self, piece: bytes) -> list[ServerSentEvent]:
        """Return the events that end in this piece.

        Raises `TransportError` for an event that is not UTF-8 or longer than 1 MiB.
        """
        # A piece ends anywhere, also within a character, so bytes are decoded only in whole lines.
        *lines, self._rest = (self._rest + piece).split(b"\n")
        events = []
        for line in lines:
            if line := line.removesuffix(b"\r"):
                self._field(line)
                continue
            # An event without data is none, says the standard; comments that keep the connection alive end here.
            if self._data:
                events.append(ServerSentEvent(self._name or "message", "\n".join(self._data), self._event_id))
            self._name, self._data, self._event_id, self._size = "", [], "", 0
        # A server that never ends a line must not fill the memory.
        if self._size + len(self._rest) > _LONGEST_EVENT:
            raise TransportError(f"The coordinator sent an event of more than {_LONGEST_EVENT} bytes.")
        return events

    def _field(self, line: bytes) -> None:
        self._size += len(line)
        try:
            field, _, value = line.decode("utf-8").partition(":")
        except UnicodeDecodeError as error:
            raise TransportError("The coordinator sent an event that is not UTF-8.") from error
        value = value.removeprefix(" ")
        if field == "event":
            self._name = value
        elif field == "data":
            self._data.append(value)
        # The standard ignores such an id, because it could not be sent back in a header.
        elif field == "id" and "\0" not in value:
            self._event_id = value
