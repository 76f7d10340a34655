"""Values with units: which are accepted, which are refused, and that they survive a round trip."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from agent.core.values.quantities import (
    Bytes,
    Money,
    format_bytes,
    format_money,
    format_time,
    from_units,
    make_id,
    parse_decimal,
    parse_money,
    parse_quantity,
    parse_time,
    to_units,
)

SQL_BIGINT = 2**63 - 1


class Holder(BaseModel):
    money: Money = Money("0")
    size: Bytes = Bytes(0)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", "2"), ("1.5", "1.5"), ("500m", "0.5"), ("1000m", "1"), ("1k", "1000"), ("2M", "2000000"), ("4Gi", "4294967296"),
        ("2Ki", "2048"), ("1.5Mi", "1572864"), ("1Ti", "1099511627776"),
    ],
)  # fmt: skip
def test_quantities_are_read_as_kubernetes_writes_them(text: str, value: str) -> None:
    assert parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize(
    "text", ["", " 1", "1 Gi", "1gi", "-1", "+1", "1e3", "Gi", "1.", ".5", "0x10", "1GiB", "inf", "٣", "1\n"]
)
def test_an_invalid_quantity_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match='write it like "2", "500m" or "2Gi"'):
        parse_quantity(text)


def test_the_javascript_sdks_vectors_are_parsed_alike() -> None:
    path = Path(__file__).parents[1] / "vectors" / "quantities.json"
    vectors = json.loads(path.read_text())
    assert [str(parse_quantity(item["text"]).normalize()) for item in vectors["good"]] == [
        str(Decimal(item["value"]).normalize()) for item in vectors["good"]
    ]
    for text in vectors["bad"]:
        with pytest.raises(ValueError, match="is not a quantity"):
            parse_quantity(text)


@pytest.mark.parametrize("text", ["0", "0.1", "1.00", "9999999999.99999999", "0.00000001"])
def test_money_survives_the_database(text: str) -> None:
    """Every accepted amount fits a 64-bit integer of 1e-8 units and is restored exactly."""
    amount = parse_money(text)
    assert 0 <= to_units(amount) <= SQL_BIGINT
    assert from_units(to_units(amount)) == amount


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "+1",
        "1e3",
        "0.123456789",
        ".5",
        "1.",
        "10000000000",
        "999999999999999",
        "NaN",
        "Infinity",
        "1,5",
        " 1",
        "1\n",
        "٣",
    ],
)
def test_an_invalid_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be an amount"):
        parse_money(text)


@given(st.integers(0, 10**18 - 1))
def test_money_is_formatted_as_short_as_possible_and_parsed_back(units: int) -> None:
    text = format_money(from_units(units))
    assert to_units(parse_money(text)) == units
    assert "E" not in text.upper()
    assert not ("." in text and text.endswith(("0", ".")))


def test_fractions_beyond_the_eighth_decimal_round_up() -> None:
    """A positive amount never becomes zero."""
    assert format_money(Decimal("0.000000001")) == "0.00000001"
    assert to_units(Decimal("0.000000001")) == 1


@pytest.mark.parametrize("value", [0.1, 1, None, True, "1.5e1", "-0.1", [], Decimal("NaN"), Decimal(-1)])
def test_money_on_the_wire_is_a_string(value: Any) -> None:
    """JSON numbers are floats to most programs, and money must be exact."""
    with pytest.raises(ValidationError):
        Holder(money=value)


def test_money_is_written_as_a_string() -> None:
    assert Holder.model_validate({"money": "0.10"}).model_dump(mode="json")["money"] == "0.1"
    assert Holder.model_validate({"money": Money("0.10")}).money == Decimal("0.1")


@pytest.mark.parametrize(
    ("value", "size"), [(0, 0), (4096, 4096), ("4096", 4096), ("4Mi", 4 * 2**20), ("1.5Ki", 1536)]
)
def test_sizes_are_numbers_or_quantities(value: Any, size: int) -> None:
    assert Holder.model_validate({"size": value}).size == size


@pytest.mark.parametrize("value", [-1, "-1", "many", 1.5, True, None, [], "0.5", "500m", ""])
def test_an_invalid_size_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        Holder.model_validate({"size": value})


@pytest.mark.parametrize(
    "text", ["2024-01-01T12:00:00Z", "2024-01-01T13:00:00+01:00", "2024-01-01T12:00:00.000Z"]
)
def test_times_need_a_time_zone(text: str) -> None:
    assert format_time(parse_time(text)) == "2024-01-01T12:00:00.000Z"
    with pytest.raises(ValueError, match="has no time zone"):
        parse_time("2024-01-01T12:00:00")


@given(
    st.integers(0, 2**51),
    st.integers(0, 2**51),
    st.binary(min_size=10, max_size=10),
    st.binary(min_size=10, max_size=10),
)
def test_ids_sort_by_time(first: int, second: int, one: bytes, other: bytes) -> None:
    """Those of consecutive microseconds, too."""
    for earlier, later in (sorted((first, second)), (first, first + 1)):
        ids = make_id("job", earlier / 1e6, one), make_id("job", later / 1e6, other)
        assert earlier == later or ids[0] < ids[1]
    assert all(made.startswith("job_") and len(made) == 30 for made in ids)


def test_an_id_takes_ten_random_bytes() -> None:
    with pytest.raises(ValueError, match="10 random bytes"):
        make_id("job", 0, b"short")


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-1", "", "many", "-Infinity", "sNaN"])
def test_metered_units_are_finite_and_not_negative(text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        parse_decimal(text)


@pytest.mark.parametrize(
    ("size", "text"), [(4 * 2**30, "4Gi"), (1536 * 2**20, "1536Mi"), (10**9, "1G"), (1001, "1001"), (0, "0")]
)
def test_sizes_are_written_as_short_exact_quantities(size: int, text: str) -> None:
    assert format_bytes(size) == text
    assert parse_quantity(text) == size
