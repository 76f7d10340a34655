"""`aitbc-agent canaries`: jobs with known answers, which the coordinator submits at random moments to check its miners."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.cli import local_api
from agent.cli.options import AsJson, DataDir, print_json, settings_from
from aitbc.cli._terminal.output import moment, print_rows

app = typer.Typer(
    help="""Manage canaries, the jobs with known answers.

Examples:
  aitbc-agent canaries list
""",
    no_args_is_help=True,
)


@app.command("add")
def add(
    job_id: Annotated[str, typer.Argument(help="A completed job whose result you trust.")],
    note: Annotated[str, typer.Option(help="How you know that its result is right.")] = "",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a job a canary: submit it again at random moments, to random miners, and compare their results with its own."""
    with local_api.administrator(settings_from(data_dir)) as client:
        canary = client.audits.create_canary(job_id, note=note)
    if as_json:
        print_json(canary)
        return
    typer.echo(f"{canary.canary_id} checks miners of {canary.service} from now on.")


@app.command("list")
def list_canaries(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List all canaries, newest first."""
    with local_api.administrator(settings_from(data_dir)) as client:
        canaries = client.audits.canaries().canaries
    if as_json:
        print_json(canaries)
        return
    rows = [
        (
            canary.canary_id,
            canary.job_id,
            canary.service,
            canary.model or "",
            str(canary.submitted),
            moment(canary.created_at),
            canary.note,
        )
        for canary in canaries
    ]
    print_rows(("CANARY", "JOB", "SERVICE", "MODEL", "SUBMITTED", "SINCE", "NOTE"), rows, free=("NOTE",))


@app.command("delete")
def delete(
    canary_id: Annotated[str, typer.Argument(help="The canary's id.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Delete a canary, so that its job is no longer submitted. Its past audits remain."""
    with local_api.administrator(settings_from(data_dir)) as client:
        client.audits.delete_canary(canary_id)
    if as_json:
        print_json({"canary_id": canary_id})
        return
    typer.echo(f"{canary_id} is deleted.")
