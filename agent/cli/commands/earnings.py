"""`aitbc-agent earnings`: what this machine has earned, and how it stands with its clients."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from agent.cli import agent_file
from agent.cli.options import AsJson, DataDir, print_json, settings_from
from agent.core.errors import ConfigurationError
from aitbc import AITBCClient


def earnings(
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many of the latest payments.")] = 20,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what the running agent's miner has earned: in all, and its latest payments."""
    agent = agent_file.read(settings_from(data_dir))
    if agent.miner_id is None or agent.miner_key is None:
        raise ConfigurationError("This agent runs no miner whose key it has, so nothing is earned here.")
    with AITBCClient(agent.miner_key, agent.url) as client:
        shown = {
            **client.miners.stats(agent.miner_id).to_dict(),
            "payments": client.wallet.transactions(limit=limit).to_dict()["transactions"],
        }
    if as_json:
        print_json(shown)
    else:
        _print(shown)


def _print(shown: dict[str, Any]) -> None:
    console = Console()
    console.print(f"[bold]{shown['total_earned']}[/] earned since {shown['active_since']}")
    console.print(
        f"  reputation {shown['reputation']:.2f} of 5, {shown['total_jobs']} jobs, "
        f"{shown['success_rate']:.1%} of them well, {shown['average_completion_time']:.1f} s on average"
    )
    if not shown["payments"]:
        return
    table = Table("Settled", "Job", "Paid", "Fee", box=None, pad_edge=False)
    for payment in shown["payments"]:
        table.add_row(
            payment.get("settled_at", ""),
            payment.get("job_id", ""),
            payment["amount"],
            payment.get("fee", "0"),
        )
    console.print(table)
