"""`aitbc wallet`: balance, transactions."""

from __future__ import annotations

from typing import Annotated

import typer

from aitbc.cli._options import JsonOption, client_of
from aitbc.cli._output import print_fields, print_json, print_rows, say

app = typer.Typer(help="What the account can spend, and where it went.", no_args_is_help=True)


@app.command()
def balance(context: typer.Context, as_json: JsonOption = False) -> None:
    """Show what can be spent, and what is held for unfinished jobs."""
    with client_of(context) as client:
        wallet = client.wallet.get().to_dict()
    print_json(wallet) if as_json else print_fields(wallet)


@app.command()
def transactions(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    before: Annotated[
        str | None, typer.Option(metavar="TRANSACTION", help="Only those before this one.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List credits and payments, the newest first."""
    with client_of(context) as client:
        page = client.wallet.transactions(limit=limit, before=before)
    if as_json:
        print_json(page.to_dict())
        return
    rows = [
        (one.transaction_id, one.type or "", one.status, one.amount or "", one.job_id or "", one.created_at)
        for one in page.transactions
    ]
    print_rows(("TRANSACTION", "TYPE", "STATUS", "AMOUNT", "JOB", "CREATED"), rows)
    if page.next is not None:
        say(f"there are more; --before {page.next} shows them")
