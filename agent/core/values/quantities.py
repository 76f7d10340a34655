"""Values with units on the wire: money, Kubernetes quantities, times, ids.

Money is a decimal string with at most 8 decimals on the wire and an integer of 1e-8 units inside, so that sums are exact.
"""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from decimal import ROUND_UP, Decimal, InvalidOperation
from functools import lru_cache
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, GetCoreSchemaHandler
from pydantic_core import core_schema

GIBIBYTE: Final = 2**30
MONEY_DECIMALS: Final = 8
MAX_BYTES: Final = 2**63 - 1
"""The largest size that the database can store."""
MAX_QUANTITY: Final = 2**53
"""The largest quantity of a resource that a request or an offer may name."""
UNIT_DECIMALS: Final = 6
"""Decimals of metered units."""

_SUFFIXES: Final = {
    "m": Decimal("0.001"), "": Decimal(1), "k": Decimal(10) ** 3, "M": Decimal(10) ** 6, "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12, "P": Decimal(10) ** 15, "Ki": Decimal(2) ** 10, "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30, "Ti": Decimal(2) ** 40, "Pi": Decimal(2) ** 50,
}  # fmt: skip
_QUANTITY: Final = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?", re.ASCII)
_SHOWN: Final = 40
"""Characters of a wrong value that an error repeats."""
# So many digits that the amount in units of 1e-8 fits 64 bits.
_MONEY: Final = re.compile(r"\d{1,10}(\.\d{1,8})?", re.ASCII)


def parse_quantity(text: str) -> Decimal:
    """Parse a Kubernetes quantity ("1000m", "2Gi", "1.5"). Raises `ValueError` with examples of valid quantities."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f'{text!r} is not a quantity; write it like "2", "500m" or "2Gi"')
    return Decimal(match[1]) * _SUFFIXES[match[2] or ""]


def _possible(text: str) -> str:
    if parse_quantity(text) > MAX_QUANTITY:
        raise ValueError("no machine has that much")
    return text


Quantity = Annotated[str, AfterValidator(_possible)]
"""A Kubernetes quantity of a resource in a request."""


def format_bytes(size: int) -> str:
    """Return a size as the shortest exact quantity: "4Gi", "1500M", "1001"."""
    units = ((suffix, int(factor)) for suffix, factor in reversed(_SUFFIXES.items()) if factor > 1)
    exact = [f"{size // factor}{suffix}" for suffix, factor in units if size and size % factor == 0]
    return min((*exact, str(size)), key=len)


def gibibytes(size: int) -> str:
    """Return a size for people."""
    return f"{size / GIBIBYTE:.1f} GiB"


def parse_money(text: str) -> Decimal:
    """Parse a decimal string ("0.10") with at most 8 decimals. Raises `ValueError` with the valid format."""
    if _MONEY.fullmatch(text) is None:
        raise ValueError(
            f'must be an amount of credits below 10000000000 with at most 8 decimals, such as "0.10", not {json.dumps(text[:_SHOWN])}'
        )
    return Decimal(text)


def format_money(amount: Decimal) -> str:
    """Return a decimal string without exponent or trailing zeros. Digits beyond the eighth decimal are rounded up."""
    rounded = amount.quantize(Decimal(1).scaleb(-MONEY_DECIMALS), rounding=ROUND_UP)
    text = f"{rounded:f}".rstrip("0").rstrip(".")
    return text or "0"


def format_units(units: int) -> str:
    """Return units of 1e-8 as a decimal string."""
    return format_money(from_units(units))


def to_units(amount: Decimal) -> int:
    """Return money as an integer of 1e-8 units, for the database."""
    return int(amount.quantize(Decimal(1).scaleb(-MONEY_DECIMALS), rounding=ROUND_UP).scaleb(MONEY_DECIMALS))


def from_units(units: int) -> Decimal:
    """Return the inverse of `to_units`."""
    return Decimal(units).scaleb(-MONEY_DECIMALS)


class Money(Decimal):
    """Money in settings and on the wire: a decimal string with at most 8 decimals."""

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(
                format_money, return_schema=core_schema.str_schema()
            ),
            json_schema_input_schema=core_schema.str_schema(pattern=rf"^{_MONEY.pattern}$"),
        )

    @classmethod
    def _validate(cls, value: Any) -> Money:
        if isinstance(value, Decimal):
            value = format(value, "f")
        if not isinstance(value, str):
            raise ValueError('must be an amount in quotes, such as "0.10", not a number')  # noqa: TRY004 - pydantic's way
        return cls(parse_money(value))


class Bytes(int):
    """A size in settings: a number of bytes, or a quantity ("4Mi")."""

    def __new__(cls, value: int | str) -> Self:
        """Parse `value`. Raises `ValueError` with the valid range."""
        size = parse_quantity(value) if isinstance(value, str) else value
        if not 0 <= size <= MAX_BYTES or size != int(size):
            raise ValueError(f"a size is a whole number of bytes, from 0 to {MAX_BYTES}")
        return super().__new__(cls, size)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.plain_serializer_function_ser_schema(int)
        )

    @classmethod
    def _validate(cls, value: Any) -> Bytes:
        if not isinstance(value, int | str) or isinstance(value, bool):
            raise ValueError('a size is a number of bytes or a quantity like "4Mi"')  # noqa: TRY004 - pydantic's way
        return cls(value)


# A change of a job formats the same time about six times.
@lru_cache(256)
def format_time(moment: float) -> str:
    """Return seconds since the epoch as RFC 3339 UTC with milliseconds and `Z`."""
    text = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def format_optional_time(moment: float | None) -> str | None:
    """Return a time as `format_time` does, None for None."""
    return None if moment is None else format_time(moment)


def parse_time(text: str) -> float:
    """Parse RFC 3339 with an offset or `Z` to seconds since the epoch. Raises `ValueError`."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; end it with Z")
    return moment.timestamp()


def make_id(prefix: str, now: float, random: bytes) -> str:
    """Return `prefix_` plus a time-ordered unguessable suffix: 48 bits of milliseconds, 10 of microseconds, 70 random bits, in base32hex.

    `random` is 10 bytes. Base32hex preserves the order of the bytes, so ids sort by time, also those of requests that follow each
    other within a millisecond.
    """
    if len(random) != 10:  # noqa: PLR2004 - 80 bits, of which 10 are not used
        raise ValueError("an id takes 10 random bytes")
    # Microseconds too, so that ids that one process makes one after the other sort in that order.
    milliseconds, microseconds = divmod(round(now * 1_000_000), 1000)
    raw = milliseconds << 80 | microseconds << 70 | int.from_bytes(random) & (1 << 70) - 1
    return f"{prefix}_{base64.b32hexencode(raw.to_bytes(16)).decode().rstrip('=').lower()}"


def parse_decimal(text: str) -> Decimal:
    """Parse a non-negative finite decimal string, e.g. metered units. Raises `ValueError`."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a decimal number") from None
    if not value.is_finite() or value < 0:
        raise ValueError(f"{text!r} is not a number of zero or more")
    return value
