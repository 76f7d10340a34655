"""Shows what a machine earns and what its electricity costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.text import Text

from agent.core.values.quantities import format_time
from aitbc.cli._terminal.output import SafeConsole, amount_cell, moment, print_rows
from aitbc.figures import amounts

_UNKNOWN: Final = "?"
_MONEY: Final = ("EARNED (CREDITS)", "ELECTRICITY (CREDITS)", "LEFT (CREDITS)")


def print_energy(console: SafeConsole, energy: Mapping[str, Any]) -> None:
    """Print the energy and the net earnings of today and this month, and what is not worth its electricity."""
    today, month = energy["today"], energy["month"]
    console.print(
        f"  energy today (UTC): {_kwh(today['kwh'])} for jobs, {_kwh(today['idle_kwh'])} without; {_price(energy)}"
    )
    if today["net"] is not None and energy["price"] is not None:
        console.print(f"  left after electricity: {_net(today)} today, {_net(month)} this month")
    if energy["problem"]:
        console.print(Text.assemble("  ", ("price of electricity:", "yellow"), f" {energy['problem']}"))
    for entry in energy["unprofitable"]:
        subject = f"{entry['service']} {entry['model'] or ''}".rstrip()
        console.print(Text.assemble("  ", (f"{subject} is not worth it:", "yellow"), f" {entry['reason']}"))


def _price(energy: Mapping[str, Any]) -> str:
    if energy["price"] is None:
        return "price unknown (set miner.energy.price)"
    return f"{energy['price']:g} {energy['currency'] or amounts.CURRENCY} per kWh"


def _net(period: Mapping[str, Any]) -> str:
    earned, electricity = (amounts.amount(period[name]) for name in ("earned", "electricity"))
    words = f"{amounts.in_credits(period['net'])} ({earned} earned, {electricity} electricity)"
    if period["unpriced_kwh"]:
        words = f"{words}, without {_kwh(period['unpriced_kwh'])} of unknown price"
    return words


def _kwh(energy: float) -> str:
    return f"{energy:.3f} kWh" if energy >= 0.1 else f"{energy * 1000:.3g} Wh"  # noqa: PLR2004 - small amounts in smaller units


def print_periods(name: str, periods: Sequence[Mapping[str, Any]]) -> None:
    """Print the figures of days or months as a table."""
    print_rows((name, "JOBS", "ENERGY", *_MONEY), [_period(period) for period in periods])


def _period(period: Mapping[str, Any]) -> tuple[str, ...]:
    energy = _kwh(period["kwh"] + period["idle_kwh"])
    return (
        period["period"], str(period["jobs"]), energy, *_money(period),
    )  # fmt: skip


def _money(figures: Mapping[str, Any]) -> Iterator[str]:
    return (amount_cell(figures[name]) or _UNKNOWN for name in ("earned", "electricity", "net"))


def print_jobs(jobs: Sequence[Mapping[str, Any]]) -> None:
    """Print the figures of jobs as a table."""
    rows = [
        (
            job["job_id"], f"{job['service']} {job['model'] or ''}".rstrip(), job["outcome"],
            _UNKNOWN if job["kwh"] is None else _kwh(job["kwh"]), *_money(job),
            moment(format_time(job["ended_at"])),
        )
        for job in jobs
    ]  # fmt: skip
    print_rows(("JOB", "SERVICE", "OUTCOME", "ENERGY", *_MONEY, "ENDED"), rows)
