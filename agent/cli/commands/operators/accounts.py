"""`aitbc-agent accounts`: list, create, credit and debit clients' accounts."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.cli import local_api
from agent.cli.lookups import accounts, deposits, find_account
from agent.cli.options import AsJson, DataDir, print_json, print_result, settings_from
from aitbc.answers.accounts import Booked
from aitbc.cli._terminal.output import amount_cell, credits_text, moment, print_rows

app = typer.Typer(
    help="""Manage clients' accounts.

Examples:
  aitbc-agent accounts list
  aitbc-agent accounts create ada
  aitbc-agent accounts credit ada 10
""",
    no_args_is_help=True,
)

AccountName = Annotated[
    str, typer.Argument(help="The account: its name, its id or a part of it, or `last` for the newest one.")
]
Amount = Annotated[str, typer.Argument(metavar="CREDITS", help="How many, such as 12.50.")]
Note = Annotated[str, typer.Option(help="Purpose; the client can see it.")]


@app.command("list")
def list_accounts(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List all accounts with their balances and the amounts held for unfinished jobs."""
    with local_api.administrator(settings_from(data_dir)) as client:
        listed = accounts(client)
    if as_json:
        print_json(listed)
        return
    rows = [
        (
            account.account_id,
            account.name,
            amount_cell(account.balance),
            amount_cell(account.held),
            moment(account.created_at),
        )
        for account in listed
    ]
    print_rows(("ACCOUNT", "NAME", "BALANCE (CREDITS)", "HELD (CREDITS)", "CREATED"), rows, free=("NAME",))


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="A name for the account, such as its owner's.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Create an account. It then needs money (`accounts credit`) and a key (`keys create --account`)."""
    with local_api.administrator(settings_from(data_dir)) as client:
        account = client.admin.create_account(name)
    print_result(account, account.account_id, as_json=as_json)


@app.command("credit")
def credit(
    account: AccountName,
    amount: Amount,
    note: Note = "",
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Credit money to an account."""
    with local_api.administrator(settings_from(data_dir)) as client:
        booked = client.admin.credit(find_account(client, account), amount, note=note)
    _print_booked(booked, as_json=as_json)


@app.command("debit")
def debit(
    account: AccountName,
    amount: Amount,
    note: Note = "",
    force: Annotated[
        bool, typer.Option("--force", help="Allow a negative balance if the account has less.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Take money back from an account. Money held for unfinished jobs is not touched."""
    with local_api.administrator(settings_from(data_dir)) as client:
        booked = client.admin.debit(find_account(client, account), amount, note=note, force=force)
    _print_booked(booked, as_json=as_json)


@app.command("deposits")
def list_deposits(
    account: Annotated[
        str | None,
        typer.Argument(
            help="Show only the deposits of this account: its name or id.", show_default="all accounts"
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List deposits, the credits for payments received outside the coordinator, newest first."""
    with local_api.administrator(settings_from(data_dir)) as client:
        listed = deposits(client, None if account is None else find_account(client, account))
    if as_json:
        print_json(listed)
        return
    rows = [
        (
            deposit.external_id,
            deposit.source,
            deposit.account_id,
            amount_cell(deposit.amount),
            f"{deposit.external_amount} {deposit.currency or ''}".strip(),
            moment(deposit.created_at),
        )
        for deposit in listed
    ]
    print_rows(("PAYMENT", "SOURCE", "ACCOUNT", "CREDITED (CREDITS)", "RECEIVED", "CREATED"), rows)


def _print_booked(booked: Booked, *, as_json: bool) -> None:
    words = f"The balance of {booked.account_id} is now {credits_text(booked.balance)}."
    print_result(booked, words, as_json=as_json)
