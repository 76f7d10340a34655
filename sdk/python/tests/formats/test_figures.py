"""Amounts, prices and quantities as people read them."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from aitbc.answers.registry import SaleUnit
from aitbc.figures import amounts, sale_units

VECTORS: Any = json.loads((Path(__file__).parents[4] / "tests/vectors/amounts.json").read_text())

SALE_UNITS = [
    SaleUnit(name="second of audio", plural="seconds of audio", detail=None, units="1"),
    SaleUnit(name="hour of audio", plural="hours of audio", detail=None, units="3600"),
]


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0.00029512", "< 0.01 credits"),
        ("-0.00029512", "\N{MINUS SIGN}< 0.01 credits"),
        ("999.9997", "1,000 credits"),
        ("0.0123456", "0.01235 credits"),
        ("-12.3451", "\N{MINUS SIGN}12.35 credits"),
        ("1", "1 credit"),
        ("1234567.2", "1,234,568 credits"),
        ("0", "0 credits"),
    ],
)
def test_amounts(amount: str, text: str) -> None:
    assert amounts.in_credits(amount) == text


def test_nobody_sees_less_than_there_is() -> None:
    """Rounding goes up, and at most the fraction is shortened, to four digits in all."""
    for item in VECTORS["amounts"]:
        exact = abs(Decimal(item["amount"]))
        shown = amounts.amount(exact).removeprefix("< ").replace(",", "")
        assert Decimal(shown) >= exact
        assert "." not in shown or len(shown.replace(".", "").lstrip("0")) <= amounts.SIGNIFICANT
        # One step of the last digit at most, except that small amounts are only said to be small.
        assert (
            Decimal(shown) - exact < max(Decimal(1), exact)
            if exact >= amounts.LEAST
            else shown == "0.01" or not exact
        )


def test_small_prices_can_be_compared() -> None:
    assert (amounts.price("0.00043001"), amounts.price("0.00029512")) == ("0.00044", "0.0003")


def test_work_is_counted_in_what_people_buy() -> None:
    texts = [sale_units.quantity(units, SALE_UNITS) for units in ("1", "12.44", "3600", "9000", "0.001")]
    assert texts == [
        "1 second of audio", "12.4 seconds of audio", "1 hour of audio", "2.5 hours of audio", "< 0.01 seconds of audio",
    ]  # fmt: skip
    assert sale_units.price("0.0001", SALE_UNITS) == "0.36 credits per hour of audio"


def test_a_service_without_a_declaration_has_the_name_of_its_unit() -> None:
    declared = sale_units.sale_units_of([], "cat")
    assert sale_units.price("0.5", declared) == "0.5 credits per cat"
    assert sale_units.quantity(3, declared) == "3 cats"
