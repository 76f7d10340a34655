"""`aitbc-agent accounts`: list, create, credit and debit clients' accounts."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from agent.cli import local_api
from agent.cli.options import AsJson, DataDir, print_json, settings_from

app = typer.Typer(help="Manage clients' accounts.", no_args_is_help=True)

AccountId = Annotated[str, typer.Argument(help="The account's id, from `accounts list`.")]
Amount = Annotated[str, typer.Argument(help='Amount, such as "12.50".')]
Note = Annotated[str, typer.Option(help="Purpose; the client can see it.")]


@app.command("list")
def list_accounts(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List all accounts with their balances and the amounts held for unfinished jobs."""
    settings = settings_from(data_dir)
    page = local_api.call(settings, "GET", "admin/accounts?limit=500")
    accounts = page["accounts"]
    while "next" in page:
        page = local_api.call(settings, "GET", f"admin/accounts?limit=500&after={page['next']}")
        accounts += page["accounts"]
    if as_json:
        print_json(accounts)
        return
    table = Table("Account", "Name", "Balance", "Held", "Created")
    for account in accounts:
        table.add_row(*(account[name] for name in ("account_id", "name", "balance", "held", "created_at")))
    Console().print(table)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="A name for the account, such as its owner's.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Create an account. It then needs money (`accounts credit`) and a key (`keys create --account`)."""
    answer = local_api.call(settings_from(data_dir), "POST", "admin/accounts", {"name": name})
    if as_json:
        print_json(answer)
    else:
        typer.echo(answer["account_id"])


@app.command("credit")
def credit(
    account_id: AccountId,
    amount: Amount,
    note: Note = "",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Credit money to an account."""
    body = {"amount": amount, "note": note}
    answer = local_api.call(settings_from(data_dir), "POST", f"admin/accounts/{account_id}/credit", body)
    _print_booked(answer, as_json)


@app.command("debit")
def debit(
    account_id: AccountId,
    amount: Amount,
    note: Note = "",
    force: Annotated[
        bool, typer.Option("--force", help="Allow a negative balance if the account has less.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Take money back from an account. Money held for unfinished jobs is not touched."""
    body = {"amount": amount, "note": note, "force": force}
    answer = local_api.call(settings_from(data_dir), "POST", f"admin/accounts/{account_id}/debits", body)
    _print_booked(answer, as_json)


def _print_booked(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"The balance of {answer['account_id']} is now {answer['balance']}.")
