"""Money as people read it: few digits, and never less than there is.

Answers and `--json` have all digits. Rounding goes away from zero, so that nobody sees less than they have, earn or pay.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, ROUND_UP, Context, Decimal
from typing import Final

CURRENCY: Final = "credits"
"""The unit of all amounts: money of the network, which its operator issues."""
SIGNIFICANT: Final = 4
"""Digits of an amount that has a fraction. Those before the point are never rounded off, since a balance is not approximate."""
LEAST: Final = Decimal("0.01")
"""Amounts and quantities below it are only said to be so."""
FINE: Final = 2
"""Digits of a price below `LEAST`, which is not clipped, so that prices can be compared."""
QUANTITY: Final = 3
"""Digits of a quantity of work."""

_MINUS: Final = "\N{MINUS SIGN}"
# Exact for all amounts and products of them.
_EXACT: Final = Context(prec=80)


def amount(value: Decimal | str) -> str:
    """Return an amount without its currency: "1,235", "12.35", "0.5", "< 0.01". Negative amounts are alike, with a minus."""
    number = Decimal(value)
    text = f"< {LEAST}" if 0 < abs(number) < LEAST else rounded(abs(number), SIGNIFICANT)
    return f"{_MINUS}{text}" if number < 0 else text


def price(value: Decimal | str) -> str:
    """Return a price without its currency. Like an amount, but a small one has two digits: "0.00043"."""
    number = Decimal(value)
    return rounded(number, SIGNIFICANT if abs(number) >= LEAST else FINE)


def in_credits(value: Decimal | str) -> str:
    """Return an amount with its currency: "12.35 credits", "1 credit", "< 0.01 credits"."""
    return with_currency(amount(value))


def with_currency(text: str) -> str:
    """Return the text of an amount or a price with the currency behind it."""
    return f"{text} {CURRENCY[:-1] if text == '1' else CURRENCY}"


def quantity(value: Decimal | str | float) -> str:
    """Return a number of what people count: "12.4", "3", "1,234", "< 0.01"."""
    number = Decimal(str(value))
    return f"< {LEAST}" if 0 < number < LEAST else rounded(number, QUANTITY, ROUND_HALF_UP)


def rounded(number: Decimal, digits: int, rounding: str = ROUND_UP) -> str:
    """Return a number with at most so many significant digits, but all of its whole part, in groups of three and without zeros at the end."""
    step = Decimal(1).scaleb(min(0, number.adjusted() - digits + 1)) if number else Decimal(1)
    text = f"{number.quantize(step, rounding=rounding, context=_EXACT):,f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace("-", _MINUS)
