"""`aitbc-agent audits`: checks of results by other miners, and second opinions about them."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.cli import agent_file, local_api
from agent.cli.options import AsJson, DataDir, print_json, settings_from
from agent.core.errors import ConfigurationError
from agent.settings import Settings
from aitbc.answers.audits import Audit, AuditList, MinerAudits
from aitbc.cli._terminal.output import moment, print_rows

app = typer.Typer(
    help="""Show audits of results, and ask for second opinions.

Examples:
  aitbc-agent audits list
  aitbc-agent audits second-opinion JOB
""",
    no_args_is_help=True,
)

_UNPROVEN = {
    "miner": "{} audits proved nothing, {} of them because of what the miner sent or stated.",
    "auditor": "{} opinions proved nothing, {} of them refuted by two others.",
}
"""Numbers of a record, in words, by role."""

AuditArgument = Annotated[str, typer.Argument(help="The audit's id, as `audits list` shows it.")]


@app.command("list")
def list_audits(
    every: Annotated[
        bool, typer.Option("--all", help="Show the audits of all miners; for the coordinator's operator.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=500, help="Number of audits to show.")] = 50,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the decided audits of this agent's miner, newest first, and its record for each service and model."""
    settings = settings_from(data_dir)
    page: AuditList | MinerAudits
    if every:
        with local_api.administrator(settings) as client:
            page = client.audits.list(limit=limit)
    else:
        miner_id = _miner(settings)
        with local_api.owner(settings) as client:
            page = client.audits.of_miner(miner_id, limit=limit)
    if as_json:
        print_json(page)
        return
    rows = [
        (
            audit.audit_id,
            audit.job_id,
            *([audit.miner_id] if every else []),
            audit.kind,
            audit.verdict or audit.status,
            "yes" if audit.enforced else "",
            moment(audit.created_at),
            audit.reason,
        )
        for audit in page.audits
    ]
    miner = ["MINER"] if every else []
    print_rows(
        ("AUDIT", "JOB", *miner, "KIND", "VERDICT", "FORFEITED", "CREATED", "REASON"), rows, free=("REASON",)
    )
    for standing in page.proofs if isinstance(page, MinerAudits) else ():
        model = f" with {standing.model}" if standing.model else ""
        unproven = _UNPROVEN[standing.role].format(standing.unproven, standing.unproven_at_fault)
        typer.echo(
            f"As {standing.role} of {standing.service}{model}: {standing.failed} of {standing.checked} audits and "
            f"{standing.canaries_failed} of {standing.canaries_checked} canaries failed; {standing.passes} consecutive passes. "
            f"{unproven}"
        )


@app.command("show")
def show(audit: AuditArgument, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show one audit of this agent's miner: what was compared, how far it differs, and where."""
    details = _find(settings_from(data_dir), audit)
    if as_json:
        print_json(details)
        return
    typer.echo(f"{details.audit_id}: {details.verdict or details.status} ({details.kind})")
    typer.echo(f"  job {details.job_id}, {details.service} {details.model or ''}".rstrip())
    for name, distance in details.distances.items():
        limit = details.limits.get(name)
        typer.echo(f"  {name}: {distance:g}" + ("" if limit is None else f", at most {limit:g}"))
    if details.where:
        typer.echo(f"  worst position: {details.where}")
    typer.echo(f"  {details.reason}")
    if details.contradiction:
        typer.echo(f"  {details.contradiction}")
    elif details.cause == "miner":
        typer.echo("  What the miner sent or stated could not be compared.")
    if details.probability is not None:
        typer.echo(
            f"  An honest miner has such a record with a probability of at most {details.probability:.1e}."
        )
    if details.enforced:
        typer.echo(f"  Forfeited pay: {details.forfeited}.")
    if details.second_opinion_until:
        typer.echo(
            f"  To have another auditor check the result, run until {moment(details.second_opinion_until)}: "
            f"aitbc-agent audits second-opinion {details.audit_id}"
        )


@app.command("second-opinion")
def second_opinion(audit: AuditArgument, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Ask for a second opinion about a failed audit from another auditor. Possible once, before the sanction."""
    settings = settings_from(data_dir)
    failed_audit = _find(settings, audit)
    miner_id = _miner(settings)
    with local_api.owner(settings) as client:
        opinion = client.audits.ask_for_second_opinion(miner_id, failed_audit.audit_id)
    if as_json:
        print_json(opinion)
        return
    typer.echo(f"{opinion.audit_id} waits for another auditor. `aitbc-agent audits list` shows its opinion.")


def _miner(settings: Settings) -> str:
    agent = agent_file.read(settings)
    if agent.miner_id is None:
        raise ConfigurationError(
            "This agent runs no miner. The operator of a coordinator uses `audits list --all`."
        )
    return agent.miner_id


def _find(settings: Settings, audit_id: str) -> Audit:
    """Return an audit by its id, or the end of it."""
    miner_id = _miner(settings)
    page_end = None
    with local_api.owner(settings) as client:
        while True:
            page = client.audits.of_miner(miner_id, limit=local_api.PAGE, before=page_end)
            for audit in page.audits:
                if audit.audit_id.endswith(audit_id):
                    return audit
            if page.next is None:
                raise ConfigurationError(
                    f"This miner has no decided audit {audit_id}. `aitbc-agent audits list` shows all."
                )
            page_end = page.next
