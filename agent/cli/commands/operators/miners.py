"""`aitbc-agent miners`: list, exclude, include and remove the miners of this coordinator."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.cli import local_api
from agent.cli.lookups import find_miner
from agent.cli.options import AsJson, DataDir, print_json, print_result, settings_from
from agent.cli.terminal.activity import counted
from aitbc.answers.miners import MinerSummary
from aitbc.cli._terminal.output import moment, print_rows

app = typer.Typer(
    help="""Manage the miners of this coordinator.

Examples:
  aitbc-agent miners list
  aitbc-agent miners exclude attic --reason "wrong results"
  aitbc-agent miners remove attic
""",
    no_args_is_help=True,
)

MinerArgument = Annotated[
    str,
    typer.Argument(help="The miner: its name, its id or a part of it, or `last` for the one seen last."),
]


@app.command("list")
def list_miners(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List all miners, most recently seen first, with the versions of their agents and which need an update, the number of their faults, and why any of them is excluded or refused."""
    with local_api.administrator(settings_from(data_dir)) as client:
        overview = client.admin.overview()
    miners = overview.miners
    if as_json:
        print_json(miners)
        return
    rows = [
        (
            miner.miner_id,
            miner.name,
            *_state(miner),
            miner.agent_version or "unknown",
            moment(miner.seen_at),
            str(miner.failed_runs + miner.refused_results),
            ", ".join(miner.services),
        )
        for miner in miners
    ]
    titles = ("MINER", "NAME", "STATE", "REASON", "VERSION", "LAST SEEN", "FAULTS", "SERVICES")
    print_rows(titles, rows, free=("NAME", "REASON"))
    # Apart from the table, which programs read.
    for version in overview.versions or ():
        advice = f": {version.advice}" if version.advice else ""
        words = f"{version.miners} of {len(miners)} with version {version.version or 'unknown'}{advice}"
        typer.echo(words, err=True)


def _state(miner: MinerSummary) -> tuple[str, str]:
    if miner.excluded_at is not None:
        return "excluded", miner.excluded_reason or ""
    if miner.version_problem is not None:
        return "refused", miner.version_problem
    if not miner.online:
        return "offline", ""
    return ("online", "") if miner.paused is None else ("paused", miner.paused)


@app.command("exclude")
def exclude(
    miner: MinerArgument,
    reason: Annotated[str, typer.Option(help="Reason; the miner's owner can see it.")] = "",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """End a miner's session, return its running jobs to the queue, and refuse it until `include`."""
    with local_api.administrator(settings_from(data_dir)) as client:
        miner_id = find_miner(client, miner)
        exclusion = client.admin.exclude_miner(miner_id, reason=reason)
    words = (
        f"{miner_id} is excluded. {counted(exclusion.requeued_jobs, 'running job')} returned to the queue."
    )
    print_result(exclusion, words, as_json=as_json)


@app.command("include")
def include(miner: MinerArgument, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Readmit an excluded miner. Its agent joins again within five minutes."""
    with local_api.administrator(settings_from(data_dir)) as client:
        miner_id = find_miner(client, miner)
        client.admin.include_miner(miner_id)
    print_result({"miner_id": miner_id}, f"{miner_id} is included again.", as_json=as_json)


@app.command("remove")
def remove(miner: MinerArgument, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Remove a miner: its running jobs return to the queue and its offers end. Its receipts and earnings stay.

    It can join again with an enrolment token. To keep it out, use `exclude`.
    """
    with local_api.administrator(settings_from(data_dir)) as client:
        miner_id = find_miner(client, miner)
        removal = client.admin.remove_miner(miner_id)
    words = f"{miner_id} is removed. {counted(removal.requeued_jobs, 'running job')} returned to the queue."
    print_result(removal, words, as_json=as_json)
