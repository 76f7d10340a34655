"""`aitbc wallet`: balance and transactions."""

from __future__ import annotations

from typing import Annotated

import typer

from aitbc.cli._arguments.options import JsonOption, client_of
from aitbc.cli._terminal.output import (
    amount_cell,
    credits_text,
    moment,
    print_fields,
    print_json,
    print_rows,
    print_status,
)

app = typer.Typer(help="Show the account's balance and transactions.", no_args_is_help=True)


@app.command()
def balance(context: typer.Context, as_json: JsonOption = False) -> None:
    """Show the available balance and the amount held for unfinished jobs.

    Examples:
      aitbc wallet balance
      aitbc wallet balance --json
    """
    with client_of(context) as client:
        wallet = client.wallet.get().to_dict()
    amounts = {"balance", "held"}
    fields = {name: credits_text(value) if name in amounts else value for name, value in wallet.items()}
    print_json(wallet) if as_json else print_fields(fields)


@app.command()
def transactions(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="The maximum number of transactions.")] = 50,
    before: Annotated[
        str | None, typer.Option(metavar="TRANSACTION", help="Only transactions older than this one.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List credits and payments, newest first.

    Examples:
      aitbc wallet transactions
      aitbc wallet transactions --limit 500 --json
    """
    with client_of(context) as client:
        page = client.wallet.transactions(limit=limit, before=before)
    if as_json:
        print_json(page.to_dict())
        return
    rows = [
        (
            transaction.transaction_id,
            transaction.get("type", ""),
            transaction.status,
            amount_cell(transaction.get("amount", "")),
            transaction.job_id or "",
            moment(transaction.created_at),
        )
        for transaction in page.transactions
    ]
    print_rows(("TRANSACTION", "TYPE", "STATUS", "CREDITS", "JOB", "CREATED"), rows)
    if page.next is not None:
        print_status(f"There are more transactions; --before {page.next} shows them.")
