"""Reads values of unknown shape strictly: what is signed has exactly the named fields, and nothing else is let in."""

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
    """`value` as an object with exactly these keys. Raises `FormatError` that names `where`."""
    if not isinstance(value, Mapping):
        raise FormatError(f"{where} is not an object.")
    wanted, found = set(keys), set(value)
    if missing := sorted(wanted - found):
        raise FormatError(f"{where} lacks {', '.join(missing)}.")
    if extra := sorted(map(str, found - wanted)):
        raise FormatError(f"{where} has fields that do not belong there: {', '.join(extra)}.")
    return value


def items(value: object, where: str) -> Sequence[Any]:
    """`value` as a list. Raises `FormatError` that names `where`."""
    if not isinstance(value, (list, tuple)):
        raise FormatError(f"{where} is not a list.")
    return value


def text(value: object, where: str, pattern: re.Pattern[str] | None = None) -> str:
    """`value` as a non-empty string that matches `pattern` as a whole. Raises `FormatError` that names `where`."""
    if not isinstance(value, str) or not value:
        raise FormatError(f"{where} is not a non-empty string.")
    if pattern is not None and pattern.fullmatch(value) is None:
        raise FormatError(f"{where} is malformed.")
    return value


def utc_time(value: object, where: str) -> str:
    """`value` as an RFC 3339 time in UTC with `Z`. Raises `FormatError` that names `where`."""
    result = text(value, where, _TIME)
    try:
        datetime.fromisoformat(result)
    except ValueError as error:
        raise FormatError(f"{where} is not a time that exists.") from error
    return result
