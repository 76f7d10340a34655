"""`aitbc-agent audits`: checks of results by other miners, and second opinions about them."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from agent.cli import agent_file, local_api
from agent.cli.options import AsJson, DataDir, print_json, settings_from
from agent.core.errors import ConfigurationError
from agent.settings import Settings
from aitbc.cli._terminal.output import moment, print_rows

app = typer.Typer(help="Show audits of results, and ask for second opinions.", no_args_is_help=True)

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
    if every:
        found = local_api.call(settings, "GET", f"audits?limit={limit}")
    else:
        found = local_api.call_as_owner(settings, "GET", f"{_miner(settings)}/audits?limit={limit}")
    if as_json:
        print_json(found)
        return
    rows = [
        (
            audit["audit_id"],
            audit["job_id"],
            *([audit["miner_id"]] if every else []),
            audit["kind"],
            audit["verdict"] or audit["status"],
            "yes" if audit["enforced"] else "",
            moment(audit["created_at"]),
            audit["reason"],
        )
        for audit in found["audits"]
    ]
    miner = ["MINER"] if every else []
    print_rows(
        ("AUDIT", "JOB", *miner, "KIND", "VERDICT", "FORFEITED", "CREATED", "REASON"), rows, free=("REASON",)
    )
    for known in found.get("proofs", []):
        model = f" with {known['model']}" if known["model"] else ""
        unproven = _UNPROVEN[known["role"]].format(
            known.get("unproven", 0), known.get("unproven_at_fault", 0)
        )
        typer.echo(
            f"As {known['role']} of {known['service']}{model}: {known['failed']} of {known['checked']} audits and "
            f"{known['canaries_failed']} of {known['canaries_checked']} canaries failed; {known['passes']} consecutive passes. "
            f"{unproven}"
        )


@app.command("show")
def show(audit: AuditArgument, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show one audit of this agent's miner: what was compared, how far it differs, and where."""
    found = _find(settings_from(data_dir), audit)
    if as_json:
        print_json(found)
        return
    typer.echo(f"{found['audit_id']}: {found['verdict'] or found['status']} ({found['kind']})")
    typer.echo(f"  job {found['job_id']}, {found['service']} {found['model'] or ''}".rstrip())
    for name, distance in found["distances"].items():
        limit = found["limits"].get(name)
        typer.echo(f"  {name}: {distance:g}" + ("" if limit is None else f", at most {limit:g}"))
    if found["where"]:
        typer.echo(f"  worst position: {found['where']}")
    typer.echo(f"  {found['reason']}")
    if found.get("contradiction"):
        typer.echo(f"  {found['contradiction']}")
    elif found.get("cause") == "miner":
        typer.echo("  What the miner sent or stated could not be compared.")
    if found["probability"] is not None:
        typer.echo(
            f"  An honest miner has such a record with a probability of at most {found['probability']:.1e}."
        )
    if found["enforced"]:
        typer.echo(f"  Forfeited pay: {found['forfeited']}.")
    if found["second_opinion_until"]:
        typer.echo(
            f"  To have another auditor check the result, run until {moment(found['second_opinion_until'])}: "
            f"aitbc-agent audits second-opinion {found['audit_id']}"
        )


@app.command("second-opinion")
def second_opinion(audit: AuditArgument, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Ask for a second opinion about a failed audit from another auditor. Possible once, before the sanction."""
    settings = settings_from(data_dir)
    found = _find(settings, audit)
    path = f"{_miner(settings)}/audits/{quote(found['audit_id'], safe='')}/second-opinion"
    asked = local_api.call_as_owner(settings, "POST", path)
    if as_json:
        print_json(asked)
        return
    typer.echo(f"{asked['audit_id']} waits for another auditor. `aitbc-agent audits list` shows its opinion.")


def _miner(settings: Settings) -> str:
    agent = agent_file.read(settings)
    if agent.miner_id is None:
        raise ConfigurationError(
            "This agent runs no miner. The operator of a coordinator uses `audits list --all`."
        )
    return f"miners/{quote(agent.miner_id, safe='')}"


def _find(settings: Settings, audit_id: str) -> dict[str, Any]:
    """Return an audit by its id, or the end of it."""
    before = ""
    while True:
        page = local_api.call_as_owner(settings, "GET", f"{_miner(settings)}/audits?limit=500{before}")
        for audit in page["audits"]:
            if audit["audit_id"].endswith(audit_id):
                found: dict[str, Any] = audit
                return found
        if page["next"] is None:
            raise ConfigurationError(
                f"This miner has no decided audit {audit_id}. `aitbc-agent audits list` shows all."
            )
        before = f"&before={page['next']}"
