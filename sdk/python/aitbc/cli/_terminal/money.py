"""Money in tables and lines: short on a terminal, and with all digits in a pipe, for programs."""

from __future__ import annotations

import sys

from aitbc.figures import amounts


def amount(value: str | None) -> str:
    """Return an amount for a column whose title names the currency; empty for None."""
    if value is None or not sys.stdout.isatty():
        return value or ""
    return amounts.amount(value)


def in_credits(value: str) -> str:
    """Return an amount with the currency behind it."""
    return amounts.in_credits(value) if sys.stdout.isatty() else amounts.with_currency(value)
