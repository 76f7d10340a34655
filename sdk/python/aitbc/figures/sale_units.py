"""The work of services in what people buy: prices for an hour of audio, and quantities such as 12.4 minutes of audio.

Miners meter in small units (`unit`), which prices, receipts and settings have. Each service declares its units of sale as multiples of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Protocol, TypeVar

from aitbc.answers.registry import SaleUnit
from aitbc.figures import amounts


class AnySaleUnit(Protocol):
    """A `SaleUnit` of an answer, or one in a runner's definition."""

    @property
    def name(self) -> str:
        """One of it, such as "hour of audio"."""

    @property
    def plural(self) -> str:
        """Several of it."""

    @property
    def detail(self) -> str | None:
        """Which kind of it, such as "of 1024x1024 at 20 steps"."""

    @property
    def units(self) -> Decimal | str:
        """How many metered units it is."""


SaleUnitT = TypeVar("SaleUnitT", bound=AnySaleUnit)


def sale_units_of(declared: Sequence[SaleUnit] | None, unit: str | None) -> Sequence[SaleUnit]:
    """Return a service's units of sale; without a declaration, such as from an older coordinator, its metering unit."""
    name = unit or "unit"
    return declared or [SaleUnit(name=name, plural=f"{name}s", detail=None, units="1")]


def priced(sale_units: Sequence[SaleUnitT]) -> SaleUnitT:
    """Return the unit that prices are for, the largest."""
    return sale_units[-1]


def thing(sale_unit: AnySaleUnit) -> str:
    """Return what a price is for: "hour of audio", "picture of 1024x1024 at 20 steps"."""
    return " ".join(filter(None, (sale_unit.name, sale_unit.detail)))


def price_of(unit_price: Decimal | str, sale_units: Sequence[AnySaleUnit]) -> Decimal:
    """Return the exact price of what people buy, from that of a metered unit."""
    return Decimal(unit_price) * Decimal(priced(sale_units).units)


def price(unit_price: Decimal | str, sale_units: Sequence[AnySaleUnit]) -> str:
    """Return a price in words: "0.42 credits per hour of audio"."""
    number = amounts.price(price_of(unit_price, sale_units))
    return f"{amounts.with_currency(number)} per {thing(priced(sale_units))}"


def bare_price(unit_price: Decimal | str, sale_units: Sequence[AnySaleUnit]) -> str:
    """Return a price in words without the currency, which a column's title names: "0.42 per hour of audio"."""
    return f"{amounts.price(price_of(unit_price, sale_units))} per {thing(priced(sale_units))}"


def quantity(units: Decimal | str | float, sale_units: Sequence[AnySaleUnit]) -> str:
    """Return metered work in words, in the largest unit of which there is at least one: "12.4 minutes of audio"."""
    work = Decimal(str(units))
    fitting = [sale_unit for sale_unit in sale_units if work >= Decimal(sale_unit.units)]
    sale_unit = fitting[-1] if fitting else sale_units[0]
    number = amounts.quantity(work / Decimal(sale_unit.units))
    words = sale_unit.name if number == "1" else sale_unit.plural
    return " ".join(filter(None, (number, words, sale_unit.detail)))
