"""`aitbc-agent miners`: list, exclude, include and remove the miners of this coordinator."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Table

from agent.cli import local_api
from agent.cli.options import AsJson, DataDir, print_json, settings_from

app = typer.Typer(help="Manage the miners of this coordinator.", no_args_is_help=True)

MinerId = Annotated[str, typer.Argument(help="The miner's id, from `miners list`.")]


@app.command("list")
def list_miners(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List all miners, most recently seen first, and why any of them is excluded."""
    miners = local_api.call(settings_from(data_dir), "GET", "admin/overview")["miners"]
    if as_json:
        print_json(miners)
        return
    table = Table("Miner", "Name", "State", "Last seen", "Services", "Reason")
    for miner in miners:
        state, reason = _state(miner)
        services = ", ".join(miner["services"])
        table.add_row(miner["miner_id"], miner["name"], state, miner["seen_at"], services, reason)
    Console().print(table)


def _state(miner: dict[str, Any]) -> tuple[str, str]:
    if miner["excluded_at"] is not None:
        return "excluded", miner["excluded_reason"] or ""
    if not miner["online"]:
        return "offline", ""
    return ("online", "") if miner["paused"] is None else ("paused", miner["paused"])


@app.command("exclude")
def exclude(
    miner_id: MinerId,
    reason: Annotated[str, typer.Option(help="Reason; the miner's owner can see it.")] = "",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """End a miner's session, return its running jobs to the queue, and refuse it until `include`."""
    path = f"admin/miners/{quote(miner_id, safe='')}/exclude"
    answer = local_api.call(settings_from(data_dir), "POST", path, {"reason": reason})
    if as_json:
        print_json(answer)
        return
    jobs = answer["requeued_jobs"]
    typer.echo(f"{miner_id} is excluded. {jobs} running job{'s' * (jobs != 1)} returned to the queue.")


@app.command("include")
def include(miner_id: MinerId, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Readmit an excluded miner. Its agent joins again within five minutes."""
    path = f"admin/miners/{quote(miner_id, safe='')}/include"
    answer = local_api.call(settings_from(data_dir), "POST", path)
    if as_json:
        print_json(answer)
        return
    typer.echo(f"{miner_id} is included again.")


@app.command("remove")
def remove(miner_id: MinerId, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Remove a miner: its running jobs return to the queue and its offers end. Its receipts and earnings stay.

    It can join again with an enrolment token. To keep it out, use `exclude`.
    """
    path = f"admin/miners/{quote(miner_id, safe='')}"
    answer = local_api.call(settings_from(data_dir), "DELETE", path)
    if as_json:
        print_json(answer)
        return
    jobs = answer["requeued_jobs"]
    typer.echo(f"{miner_id} is removed. {jobs} running job{'s' * (jobs != 1)} returned to the queue.")
