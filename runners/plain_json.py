"""The JSON that runners may return: it can be canonicalised, and output files are marked in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MAX_INTEGER = 2**53 - 1
"""The largest integer that canonical JSON (RFC 8785) can hold."""

MAX_DEPTH = 64
"""Levels of nesting in results; far below Python's recursion limit on either side."""

MAX_VALUES = 900_000
"""Values in results: every number, text, list and object counts. Coordinators accept a million in a message with all that is around them."""

FILE_KEY = "$file"
"""The key of the object that represents an output file in the results of `Done`."""


def check_json(value: Any, depth: int = 0) -> None:
    """Raise `ValueError` unless `value` is plain JSON that can be canonicalised (RFC 8785) and holds no file mark.

    Refused: NaN and infinities, integers beyond 2^53 - 1, lone surrogates, keys that are not strings, the key
    `$file`, nesting deeper than `MAX_DEPTH`, and every other Python type.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
    match value:
        case None | bool() | int() | float() | str():
            _check_scalar(value)
        case list() | tuple():
            for item in value:
                check_json(item, depth + 1)
        case dict():
            _check_object(value, depth)
        case _:
            raise ValueError(f"it holds a {type(value).__name__}, which is not JSON")


def has_more_values(value: Any, limit: int) -> bool:
    """Return whether JSON has more than `limit` values, without looking at more of them. Keys do not count."""
    remaining, parts = limit, [value]
    while parts and remaining >= 0:
        part = parts.pop()
        remaining -= 1
        if isinstance(part, (list, tuple, dict)):
            # Counted before its values are added, so that a large list costs no memory.
            if len(part) > remaining:
                return True
            parts += part.values() if isinstance(part, dict) else part
    return remaining < 0


def _check_scalar(value: bool | float | str | None) -> None:
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise ValueError("it holds an integer beyond 2^53 - 1; send it as a string")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("it holds NaN or an infinity, which JSON does not have")


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("it holds text that is not valid Unicode") from None


def _check_object(value: Mapping[Any, Any], depth: int) -> None:
    for key, item in value.items():
        if not isinstance(key, str):
            raise ValueError(f"it holds a key that is a {type(key).__name__}, not text")  # noqa: TRY004 - one error type for every unfit value
        if key == FILE_KEY:
            raise ValueError(f"it holds the reserved key {FILE_KEY!r}")
        _check_text(key)
        check_json(item, depth + 1)
