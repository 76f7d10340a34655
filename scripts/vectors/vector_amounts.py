"""Vectors of amounts, prices and quantities as people read them: the Python SDK and the dashboard write them alike."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any, Final

from aitbc.figures import amounts, sale_units
from aitbc.statement import decimal_text
from runners.registry import installed

AMOUNTS: Final = (
    "0", "1", "5", "0.2", "0.5", "0.01", "0.01000001", "0.00999999", "0.009", "0.00000001", "0.00029512", "0.00000081", "0.0123456", "0.01234567", "0.99999", "0.99994", "1.0001", "9.9996",
    "12.345", "99.995", "100", "123.4567", "999.97633719", "999.9997", "999.99892218", "1000", "1234.5", "9999.00000001", "12345", "123456.78", "1234567.5", "1234567890.12345678",
)  # fmt: skip
RANDOM: Final = 300
"""Further amounts of all sizes."""


def amounts_and_sale_units() -> dict[str, Any]:
    """Return amounts with their texts, and metered work and prices of units in the units of sale of each service."""
    # Always the same ones.
    random_numbers = random.Random(30)  # noqa: S311 - no secret
    numbers = [*map(Decimal, AMOUNTS), *(_number(random_numbers, 17, 8) for _ in range(RANDOM))]
    numbers += [-number for number in numbers if number]
    return {
        "amounts": [
            {
                "amount": decimal_text(number),
                "text": amounts.in_credits(number),
                "price": amounts.price(number),
            }
            for number in numbers
        ],
        "services": [
            _service(service_id, runner.definition.sale_units_on("cuda"), random_numbers)
            for service_id, runner in installed().items()
            if runner.__module__.startswith("runners.")
        ],
    }


def _number(random_numbers: random.Random, digits: int, decimals: int) -> Decimal:
    """Return a number of any size, with at most so many digits."""
    return Decimal(random_numbers.randrange(1, 10 ** random_numbers.randint(1, digits))).scaleb(-decimals)


def _service(service_id: str, declared: Any, random_numbers: random.Random) -> dict[str, Any]:
    work = [Decimal(1), *(sale_unit.units for sale_unit in declared), Decimal("0.000001")]
    work += [_number(random_numbers, 14, 6) for _ in range(12)]
    prices = [_number(random_numbers, 9, 8) for _ in range(8)]
    return {
        "service_id": service_id,
        "sale_units": [
            {
                "name": sale_unit.name,
                "plural": sale_unit.plural,
                "detail": sale_unit.detail,
                "units": decimal_text(sale_unit.units),
            }
            for sale_unit in declared
        ],
        "work": [
            {"units": decimal_text(units), "text": sale_units.quantity(units, declared)} for units in work
        ],
        "prices": [
            {"unit_price": decimal_text(price), "text": sale_units.price(price, declared)} for price in prices
        ],
    }
