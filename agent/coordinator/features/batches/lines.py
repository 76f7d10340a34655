"""Reads files of requests line by line, in pieces, so that none is held whole."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from agent.coordinator.http.large_json import limit_values
from agent.coordinator.operations.context import Context
from agent.coordinator.store.artifacts import ArtifactRecord
from agent.core.errors import PayloadTooLarge

PIECE: Final = 2**20
"""Bytes that are read at a time. Each read is one of its own, since the next one may come hours later."""
MAX_ID: Final = 512
_MARK: Final = b"\xef\xbb\xbf"
"""What some editors begin a file with."""


class LineInvalid(Exception):
    """A line is no request of its batch. `param` is the field."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param


@dataclass(frozen=True, slots=True)
class RequestLine:
    """A request: the number of its line from 1, the client's name for it, and the body as JSON."""

    number: int
    custom_id: str
    body: bytes


async def lines_of(context: Context, file: ArtifactRecord, longest: int) -> AsyncIterator[tuple[int, bytes]]:
    """Yield the lines of a file that are not empty, with their numbers from 1. Raises `LineInvalid` for one above `longest` bytes."""
    number, unfinished = 0, b""
    for start in range(0, file.size, PIECE):
        pieces = await context.files.blobs.read(file.name_in_store, start, min(PIECE, file.size - start))
        *complete, unfinished = (unfinished + b"".join([piece async for piece in pieces])).split(b"\n")
        for line in complete:
            number += 1
            if text := _clean(line, number, longest):
                yield number, text
        _clean(unfinished, number + 1, longest)
    if text := _clean(unfinished, number + 1, longest):
        yield number + 1, text


def _clean(line: bytes, number: int, longest: int) -> bytes:
    if len(line) > longest:
        raise LineInvalid(
            "line_too_long", f"Line {number} has more than {longest} bytes, which is the limit."
        )
    return (line.removeprefix(_MARK) if number == 1 else line).strip()


def read_line(number: int, text: bytes, endpoint: str, max_values: int) -> RequestLine:
    """Return the request in a line. Raises `LineInvalid`."""
    try:
        limit_values(text, max_values)
        request = json.loads(text)
    except PayloadTooLarge as error:
        raise LineInvalid("invalid_request", error.message) from None
    except (ValueError, RecursionError) as error:
        raise LineInvalid("invalid_json_line", f"The line is not valid JSON: {error}.") from None
    if not isinstance(request, dict):
        raise LineInvalid("invalid_json_line", "The line is not a JSON object.")
    custom_id = _field(request, "custom_id", str, "text that names the request")
    if not 0 < len(custom_id) <= MAX_ID:
        raise LineInvalid("invalid_request", f"custom_id has from 1 to {MAX_ID} characters.", "custom_id")
    if _field(request, "method", str, '"POST"') != "POST":
        raise LineInvalid("invalid_method", "The method must be POST.", "method")
    if _field(request, "url", str, "the endpoint of the batch").removeprefix("/api") != endpoint:
        raise LineInvalid("mismatched_url", f"The url must be the endpoint of the batch, {endpoint}.", "url")
    body = _field(request, "body", dict, "an object: the body of the request")
    if body.get("stream"):
        raise LineInvalid(
            "invalid_request", "Requests of a batch cannot stream; remove stream.", "body.stream"
        )
    return RequestLine(number, custom_id, json.dumps(body).encode())


def _field(request: dict[str, Any], name: str, kind: type[Any], meaning: str) -> Any:
    value = request.get(name)
    if not isinstance(value, kind):
        code = "missing_required_parameter" if value is None else "invalid_request"
        raise LineInvalid(code, f"{name} must be {meaning}.", name)
    return value
