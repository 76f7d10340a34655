"""`aitbc-agent accounts`: who may spend how much."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from agent.cli import local_api
from agent.cli.options import AsJson, DataDir, print_json, settings_from

app = typer.Typer(help="Clients' accounts and their money.", no_args_is_help=True)


@app.command("list")
def list_accounts(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """All accounts with what they can spend, and what is held for their unfinished jobs."""
    settings = settings_from(data_dir)
    found = []
    page = local_api.call(settings, "GET", "admin/accounts?limit=500")
    found += page["accounts"]
    while "next" in page:
        page = local_api.call(settings, "GET", f"admin/accounts?limit=500&after={page['next']}")
        found += page["accounts"]
    if as_json:
        print_json(found)
        return
    table = Table("Account", "Name", "Balance", "Held", "Created")
    for account in found:
        table.add_row(*(account[name] for name in ("account_id", "name", "balance", "held", "created_at")))
    Console().print(table)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Whose account it is, in your words.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make an account. It needs money (`accounts credit`) and a key (`keys create --account`)."""
    answer = local_api.call(settings_from(data_dir), "POST", "admin/accounts", {"name": name})
    if as_json:
        print_json(answer)
    else:
        typer.echo(answer["account_id"])


@app.command("credit")
def credit(
    account_id: Annotated[str, typer.Argument(help="The account, as `accounts list` shows it.")],
    amount: Annotated[str, typer.Argument(help='How much, like "12.50".')],
    note: Annotated[str, typer.Option(help="What it is for; the client sees it.")] = "",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Give an account money."""
    body = {"amount": amount, "note": note}
    answer = local_api.call(settings_from(data_dir), "POST", f"admin/accounts/{account_id}/credit", body)
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"{account_id} has {answer['balance']} now.")
