"""Canonical JSON has the bytes of RFC 8785, whichever library encodes it."""

from __future__ import annotations

import enum
import struct
import uuid
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aitbc import canonical
from aitbc.canonical import canonical_json
from aitbc.errors import FormatError


class Colour(enum.StrEnum):
    RED = "red"


class Plain(enum.Enum):
    ONE = 1


@dataclass
class Pair:
    a: int


Point = namedtuple("Point", "x y")  # noqa: PYI024 - a type that callers may use

LETTERS = st.characters(codec=None) | st.sampled_from(
    '\x7f\u2028\ud7ff\ue000\uffff\U00010000\U0001f600"\\\b\x00'
)
TEXT = st.text(LETTERS, max_size=8)
FLOATS = (
    st.floats()
    | st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0])
    | st.integers(-(10**12), 10**12).map(lambda number: number / 10**6)
    | st.sampled_from(
        [0.0, -0.0, 1e-4, 9.999e-5, 1e15, 1e15 + 0.125, 1e16, 1e21, 5e-324, 0.1 + 0.2, 1.0, 2**53 + 2.0]
    )
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**54), 2**54)
    | FLOATS
    | TEXT
    | st.sampled_from(
        [
            Colour.RED,
            Plain.ONE,
            uuid.UUID(int=1),
            datetime(2026, 1, 1, tzinfo=UTC),
            Pair(1),
            Point(1, 2.5),
            b"x",
            {1},
        ]
    )
)
KEYS = TEXT | st.integers(0, 3) | st.just(Colour.RED)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.dictionaries(TEXT, inner, max_size=4).map(OrderedDict)
    ),
    max_leaves=12,
)


def by_reference(value: Any) -> bytes | None:
    """Return what the library for RFC 8785 returns; None if it refuses the value."""
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        return None


@settings(max_examples=5 * settings().max_examples, deadline=None)
@example({"\uffff": 1, "\U00010000": 2})
@example([float("nan")])
@given(VALUES)
def test_every_value_has_the_bytes_of_the_reference(value: Any) -> None:
    try:
        encoded: bytes | None = canonical_json(value)
    except FormatError:
        encoded = None
    assert encoded == by_reference(value)


@given(FLOATS)
@settings(max_examples=10 * settings().max_examples, deadline=None)
def test_floats_have_the_digits_of_the_reference(number: float) -> None:
    quick = canonical._encoded([number])
    assert quick is None or quick == by_reference([number])


def test_every_character_has_the_bytes_of_the_reference() -> None:
    for code in [*range(0xD800), *range(0xE000, 0x10000)]:
        assert canonical._encoded(chr(code)) == by_reference(chr(code))


def test_what_is_signed_is_encoded_quickly() -> None:
    """Otherwise the tests above would compare the reference with itself."""
    signed = {
        "text": "Grüße \u2028",
        "units": 48,
        "seconds": 0.25,
        "seed": None,
        "files": [],
        "inner": [{"b": True, "a": -1}],
    }
    assert canonical._encoded(signed) == by_reference(signed) == canonical_json(signed)


@pytest.mark.parametrize("depth", [100, 200, 300])
def test_deep_values_have_the_bytes_of_the_reference(depth: int) -> None:
    """The fast encoder has fewer levels."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    assert canonical_json(value) == by_reference(value)
