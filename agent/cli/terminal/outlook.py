"""Shows what a machine like this one earns, before and after electricity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from agent.cli.terminal.activity import counted
from aitbc.figures import amounts


def in_one_line(outlook: Mapping[str, Any], energy: Mapping[str, Any] | None) -> str:
    """Return the line of `status`: "a machine like this earns 0.1 to 0.2 credits an hour ...", or why that is unknown."""
    if outlook["per_hour"] is None:
        return f"a machine like this: {outlook['missing']}"
    remainder = left(energy)
    after = "" if remainder is None else f"; after electricity {_span(outlook['per_hour'], remainder)}"
    return f"a machine like this earns {_span(outlook['per_hour'])} an hour online{after} ({_basis(outlook)})"


def lines(outlook: Mapping[str, Any], energy: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the lines of `earnings`."""
    yield f"A machine like this ({outlook['hardware']}):"
    if outlook["per_hour"] is None:
        yield f"  {outlook['missing']}"
        return
    yield f"  {_span(outlook['per_hour'])} an hour online, on average {amounts.in_credits(outlook['per_hour']['typical'])}"
    yield f"  {_span(outlook['per_day'])} a day online, on average {amounts.in_credits(outlook['per_day']['typical'])}"
    remainder = left(energy)
    if remainder is None:
        yield "  after electricity: unknown until miner.energy.price is set and this machine has been paid for jobs"
    else:
        yield f"  after electricity: {_span(outlook['per_hour'], remainder)} an hour, {_span(outlook['per_day'], remainder)} a day"
    yield f"  from {_basis(outlook)}"


def left(energy: Mapping[str, Any] | None) -> Decimal | None:
    """Return which share of its earnings this machine's electricity has left this month, negative for a loss; None if that is unknown."""
    month = None if energy is None else energy["month"]
    # Without measured electricity of a known price, nothing was taken off.
    if month is None or month["net"] is None or not month["kwh"] or not Decimal(month["earned"]):
        return None
    return Decimal(month["net"]) / Decimal(month["earned"])


def _span(earned: Mapping[str, str], share: Decimal = Decimal(1)) -> str:
    low, high = sorted(Decimal(earned[name]) * share for name in ("low", "high"))
    if amounts.amount(low) == amounts.amount(high):
        return amounts.in_credits(high)
    return f"{amounts.amount(low)} to {amounts.in_credits(high)}"


def _basis(outlook: Mapping[str, Any]) -> str:
    return (
        f"{outlook['jobs']} paid jobs of {counted(outlook['machines'], 'machine')} in {outlook['days']} days"
    )
