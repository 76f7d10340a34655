"""`aitbc-agent enroll`: create, list and revoke enrolment tokens."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

import typer

from agent.cli import agent_file, local_api
from agent.cli.lookups import enrolments, find_enrolment
from agent.cli.options import AsJson, DataDir, print_json, print_result, settings_from
from aitbc.answers.accounts import Enrolment
from aitbc.cli._terminal.output import moment, print_rows

app = typer.Typer(
    help="""Let miners on other machines join this coordinator.

Examples:
  aitbc-agent enroll
  aitbc-agent enroll --uses 5 --hours 48 --owner ada
  aitbc-agent enroll list
"""
)


@app.callback(invoke_without_command=True)
def create(
    context: typer.Context,
    data_dir: DataDir = None,
    uses: Annotated[int, typer.Option(min=1, help="Number of miners that may join with the token.")] = 1,
    hours: Annotated[float, typer.Option(min=0.01, help="Validity in hours.")] = 24,
    note: Annotated[str, typer.Option(help="Purpose, for the list of tokens.")] = "",
    owner: Annotated[
        str | None,
        typer.Option(help="Whose machines these are: all miners that join for one owner form a fleet."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create an enrolment token, with which miners on other machines join this coordinator."""
    # This function also runs before `enroll list` and `enroll revoke`.
    if context.invoked_subcommand is not None:
        return
    settings = settings_from(data_dir)
    with local_api.administrator(settings) as client:
        enrolment = client.admin.create_enrolment(
            uses=uses, valid_seconds=hours * 3600, note=note, owner=owner
        )
    url = agent_file.read(settings).shown_url
    if as_json:
        print_json({**enrolment, "coordinator": url})
        return
    # The output is the token alone, for scripts that join machines of older versions too.
    typer.echo(enrolment.enrolment_token)
    typer.echo(f"Valid until {enrolment.expires_at}. On the other machine, run these two commands:", err=True)
    typer.echo(f"  aitbc-agent join {enrolment.join_code}", err=True)
    typer.echo("  aitbc-agent start", err=True)
    # Said now: on the other machine, the error would look like a problem of its network.
    if _only_this_machine(url):
        typer.echo(
            f"Other machines cannot reach {url}. Let the coordinator listen on their network (--host), or forward a public address "
            "to it, and set coordinator.public_url to the address that they use.",
            err=True,
        )


def _only_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@app.command("list")
def list_tokens(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List all tokens without their secrets, newest first, with the miners that joined with them."""
    with local_api.administrator(settings_from(data_dir)) as client:
        tokens = enrolments(client)
    if as_json:
        print_json(tokens)
        return
    titles = ("TOKEN", "STATUS", "USES LEFT", "EXPIRES", "NOTE", "OWNER", "CREATED", "BY", "MINERS")
    print_rows(titles, [_row(token) for token in tokens], free=("NOTE", "MINERS"))


def _row(token: Enrolment) -> tuple[str, ...]:
    return (
        token.enrolment_id,
        token.status,
        f"{token.uses_left} of {token.uses}",
        moment(token.expires_at),
        token.note,
        token.owner or "-",
        moment(token.created_at),
        token.created_by_name or "the agent",
        ", ".join(miner.name for miner in token.miners),
    )


@app.command("revoke")
def revoke(
    token: Annotated[
        str,
        typer.Argument(help="The token: its note, its id or a part of it, or `last` for the newest one."),
    ],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a token with immediate effect. Miners that have joined with it stay."""
    with local_api.administrator(settings_from(data_dir)) as client:
        enrolment_id = find_enrolment(client, token)
        client.admin.revoke_enrolment(enrolment_id)
    result = {"enrolment_id": enrolment_id, "revoked": True}
    print_result(result, f"{enrolment_id} is revoked.", as_json=as_json)
