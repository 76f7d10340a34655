"""Strict validation of untrusted values: a signed object has exactly the expected fields."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from aitbc.errors import FormatError

HEX_SHA256 = re.compile(r"[0-9a-f]{64}")
JOB_ID = re.compile(r"job_[0-9A-Za-z_-]{1,64}")
MINER_ID = re.compile(r"miner_[a-z2-7]{26}")
FENCE = re.compile(r"[1-9][0-9]{0,15}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z")


def exact(value: object, keys: Iterable[str], where: str) -> Mapping[str, Any]:
    """Return `value` if it is an object with exactly these keys. Raises `FormatError` that names `where`."""
    if not isinstance(value, Mapping):
        raise FormatError(f"{where} is not an object.")
    expected, found = set(keys), set(value)
    if missing := sorted(expected - found):
        raise FormatError(f"{where} lacks {', '.join(missing)}.")
    if extra := sorted(map(str, found - expected)):
        raise FormatError(f"{where} has fields that do not belong there: {', '.join(extra)}.")
    return value


def items(value: object, where: str) -> Sequence[Any]:
    """Return `value` if it is a list. Raises `FormatError` that names `where`."""
    if not isinstance(value, (list, tuple)):
        raise FormatError(f"{where} is not a list.")
    return value


def text(value: object, where: str, pattern: re.Pattern[str] | None = None) -> str:
    """Return `value` if it is a non-empty string that matches `pattern` completely. Raises `FormatError` that names `where`."""
    if not isinstance(value, str) or not value:
        raise FormatError(f"{where} is not a non-empty string.")
    if pattern is not None and pattern.fullmatch(value) is None:
        raise FormatError(f"{where} is malformed.")
    return value


def utc_time(value: object, where: str) -> str:
    """Return `value` if it is an RFC 3339 time in UTC with `Z`. Raises `FormatError` that names `where`."""
    result = text(value, where, _TIME)
    try:
        datetime.fromisoformat(result)
    except ValueError as error:
        raise FormatError(f"{where} is not a valid time.") from error
    return result
