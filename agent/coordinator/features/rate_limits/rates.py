"""Rates as settings: how many requests in how many seconds."""

from __future__ import annotations

import re
from typing import Any, Final, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

from agent.sections import WordedText

_RATE: Final = re.compile(r"([1-9][0-9]{0,8}) per (?:([1-9][0-9]{0,5}) )?(s|seconds?|minutes?|hours?)")
_SECONDS: Final = {"": 1, "second": 1, "minute": 60, "hour": 3600}
_SIMILAR: Final = re.compile(
    r"\s*0*([1-9]\d*)\s*(?:(?:/|per|a)\s*([smhd])(?:ec|econd|in|inute|our|ay)?s?\s*)?", re.IGNORECASE
)
_SECONDS_BY_LETTER: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Rate(WordedText):
    """At most `amount` requests in `seconds`. Settings write it "600 per minute" or "1000 per 10 seconds"."""

    __slots__ = ()
    words = "rate"
    sample = '"600 per minute"'
    unit = "calls per time"

    @property
    def amount(self) -> int:
        """The number of requests."""
        return int(_parsed(self)[1])

    @property
    def seconds(self) -> int:
        """The time in which they may be made."""
        _, count, unit = _parsed(self).groups()
        return int(count or 1) * _SECONDS[unit.rstrip("s")]

    @classmethod
    def similar(cls, value: Any) -> str | None:
        """Return the rate that was most likely meant: a number alone is one per minute, and "5/h" is written out."""
        match = _SIMILAR.fullmatch(str(value))
        if match is None:
            return None
        amount, unit = match.groups()
        return f"{amount} per {_SECONDS_BY_LETTER[unit.lower()]} seconds" if unit else f"{amount} per minute"

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def _validate(cls, value: Any) -> Self:
        _parsed(value)
        return cls(value)


def _parsed(value: Any) -> re.Match[str]:
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('write a rate like "600 per minute" or "1000 per 10 seconds"')
    return match
