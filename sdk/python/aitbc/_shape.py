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


def exact(value: object, keys: Iterable[str], subject: str) -> Mapping[str, Any]:
    """Return `value` if it is an object with exactly these keys. Raises `FormatError` that names `subject`."""
    if not isinstance(value, Mapping):
        raise FormatError(f"{subject} is not an object.")
    expected, present = set(keys), set(value)
    if missing := sorted(expected - present):
        raise FormatError(f"{subject} lacks {', '.join(missing)}.")
    if extra := sorted(map(str, present - expected)):
        raise FormatError(f"{subject} has fields that do not belong there: {', '.join(extra)}.")
    return value


def items(value: object, subject: str) -> Sequence[Any]:
    """Return `value` if it is a list. Raises `FormatError` that names `subject`."""
    if not isinstance(value, (list, tuple)):
        raise FormatError(f"{subject} is not a list.")
    return value


def text(value: object, subject: str, pattern: re.Pattern[str] | None = None) -> str:
    """Return `value` if it is a non-empty string that matches `pattern` completely. Raises `FormatError` that names `subject`."""
    if not isinstance(value, str) or not value:
        raise FormatError(f"{subject} is not a non-empty string.")
    if pattern is not None and pattern.fullmatch(value) is None:
        raise FormatError(f"{subject} is malformed.")
    return value


def utc_time(value: object, subject: str) -> str:
    """Return `value` if it is an RFC 3339 time in UTC with `Z`. Raises `FormatError` that names `subject`."""
    result = text(value, subject, _TIME)
    try:
        datetime.fromisoformat(result)
    except ValueError as error:
        raise FormatError(f"{subject} is not a valid time.") from error
    return result
