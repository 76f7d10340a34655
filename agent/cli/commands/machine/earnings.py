"""`aitbc-agent earnings`: this miner's earnings, reputation and latest payments."""

from __future__ import annotations

from contextlib import suppress
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.text import Text

from agent.cli import agent_file
from agent.cli.options import AsJson, DataDir, print_json, settings_from
from agent.cli.terminal.activity import counted
from agent.cli.terminal.energy import print_jobs, print_periods
from agent.cli.terminal.outlook import lines
from agent.core.errors import ConfigurationError
from agent.miner.energy.account import FILE_NAME, figures, job_figures
from agent.miner.energy.history import History
from agent.miner.settings import MinerSettings
from agent.sections import section_of
from agent.settings import Settings
from aitbc import AITBCClient
from aitbc.cli._terminal.output import SafeConsole, amount_cell, credits_text, moment, print_rows
from aitbc.errors import NotFound

_AMOUNTS = ("available", "on_hold", "pending", "paid_out")
"""Where the money is that the miner has earned."""


class Unit(StrEnum):
    """What a row of the table of net earnings is about."""

    JOB = "job"
    DAY = "day"
    MONTH = "month"


def earnings(
    limit: Annotated[
        int, typer.Option(min=1, max=500, help="Number of payments, jobs, days or months to show.")
    ] = 20,
    by: Annotated[
        Unit | None,
        typer.Option("--by", help="Show what is left after electricity, by job, day or month (UTC)."),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show the total earnings, the reputation and the latest payments of the running agent's miner.

    Examples:
      aitbc-agent earnings
      aitbc-agent earnings --by day
    """
    settings = settings_from(data_dir)
    if by is not None:
        rows = _net(settings, by, limit)
        if as_json:
            print_json(rows)
        elif by is Unit.JOB:
            print_jobs(rows)
        else:
            print_periods(by.upper(), rows)
        return
    agent = agent_file.read(settings)
    if agent.miner_id is None or agent.miner_key is None:
        raise ConfigurationError("This agent has no earnings: it runs no miner with a key of its own.")
    with AITBCClient(agent.miner_key, agent.url) as client:
        wallet = client.wallet.get()
        summary = {
            **client.miners.stats(agent.miner_id).to_dict(),
            **{name: wallet.get(name, "0") for name in _AMOUNTS},
            "payments": client.wallet.transactions(limit=limit).to_dict()["transactions"],
            "outlook": _outlook(client, agent.miner_id),
        }
    if as_json:
        print_json(summary)
    else:
        _print(summary, _this_month(settings))


def _outlook(client: AITBCClient, miner_id: str) -> dict[str, Any] | None:
    # A coordinator of an earlier version does not know it.
    with suppress(NotFound):
        return client.miners.outlook(miner_id).to_dict()
    return None


def _this_month(settings: Settings) -> dict[str, Any] | None:
    """Return what this machine's electricity left of its earnings this month, None without a history."""
    with suppress(ConfigurationError):
        months = _net(settings, Unit.MONTH, 1)
        return {"month": months[0]} if months else None
    return None


def _net(settings: Settings, by: Unit, limit: int) -> list[dict[str, Any]]:
    """Return the latest jobs, days or months from this machine's own history, which needs no running agent."""
    energy = section_of(settings, MinerSettings).energy
    path = settings.data_dir / "miner" / FILE_NAME
    if not path.is_file():
        raise ConfigurationError(
            f"There is no history of earnings in {path}. An agent with a miner creates it."
        )
    history = History(path, energy.history_jobs)
    history.open()
    try:
        if by is Unit.JOB:
            return job_figures(history.jobs(limit), energy)
        periods = history.days(limit) if by is Unit.DAY else history.months(limit)
        return [figures(period, energy) for period in periods]
    finally:
        history.close()


def _print(earnings: dict[str, Any], energy: dict[str, Any] | None) -> None:
    console = SafeConsole(highlight=True)
    console.print(
        Text.assemble(
            (credits_text(earnings["total_earned"]), "bold"),
            f" earned since {moment(earnings['active_since'])}",
        )
    )
    available, on_hold, pending, paid_out = (amount_cell(earnings[name]) for name in _AMOUNTS)
    console.print(
        f"  {available} available, {on_hold} on hold, {pending} on the way, {paid_out} paid out (credits)"
    )
    console.print(
        f"  reputation {earnings['reputation']:.2f} of 5, {counted(earnings['total_jobs'], 'job')}, "
        f"{100 * earnings['success_rate']:.3g} % successful, {earnings['average_completion_time']:.1f} s on average"
    )
    if earnings["outlook"] is not None:
        for line in lines(earnings["outlook"], energy):
            console.print(line)
    if not earnings["payments"]:
        return
    rows = [
        (
            payment.get("job_id", ""),
            amount_cell(payment["amount"]),
            amount_cell(payment.get("fee", "0")),
            moment(payment.get("settled_at")),
        )
        for payment in earnings["payments"]
        if payment["type"] == "payment"
    ]
    print_rows(("JOB", "PAID (CREDITS)", "FEE (CREDITS)", "SETTLED"), rows)
