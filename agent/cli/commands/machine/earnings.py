"""`aitbc-agent earnings`: this miner's earnings, reputation and latest payments."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from agent.cli import agent_file
from agent.cli.options import AsJson, DataDir, print_json, settings_from
from agent.core.errors import ConfigurationError
from aitbc import AITBCClient
from aitbc.cli._terminal.output import SafeConsole, moment, print_rows

_AMOUNTS = ("available", "on_hold", "pending", "paid_out")
"""Where the money is that the miner has earned."""


def earnings(
    limit: Annotated[int, typer.Option(min=1, max=500, help="Number of payments to show.")] = 20,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show the total earnings, the reputation and the latest payments of the running agent's miner."""
    agent = agent_file.read(settings_from(data_dir))
    if agent.miner_id is None or agent.miner_key is None:
        raise ConfigurationError("This agent has no earnings: it runs no miner with a key of its own.")
    with AITBCClient(agent.miner_key, agent.url) as client:
        wallet = client.wallet.get()
        summary = {
            **client.miners.stats(agent.miner_id).to_dict(),
            **{name: wallet.get(name, "0") for name in _AMOUNTS},
            "payments": client.wallet.transactions(limit=limit).to_dict()["transactions"],
        }
    if as_json:
        print_json(summary)
    else:
        _print(summary)


def _print(earnings: dict[str, Any]) -> None:
    console = SafeConsole(highlight=True)
    console.print(
        Text.assemble((earnings["total_earned"], "bold"), f" earned since {earnings['active_since']}")
    )
    console.print(
        f"  available {earnings['available']}, on hold {earnings['on_hold']}, on its way {earnings['pending']}, paid out {earnings['paid_out']}"
    )
    console.print(
        f"  reputation {earnings['reputation']:.2f} of 5, {earnings['total_jobs']} jobs, "
        f"{100 * earnings['success_rate']:.3g} % successful, {earnings['average_completion_time']:.1f} s on average"
    )
    if not earnings["payments"]:
        return
    rows = [
        (
            payment.get("job_id", ""),
            payment["amount"],
            payment.get("fee", "0"),
            moment(payment.get("settled_at")),
        )
        for payment in earnings["payments"]
        if payment["type"] == "payment"
    ]
    print_rows(("JOB", "PAID", "FEE", "SETTLED"), rows)
