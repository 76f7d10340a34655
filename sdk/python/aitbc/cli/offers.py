"""`aitbc offers`: list, accept."""

from __future__ import annotations

from typing import Annotated

import typer

from aitbc.cli._output import print_fields, print_json, print_rows
from aitbc.cli._state import JsonOption, client_of

app = typer.Typer(help="Look at miners' offers, and give jobs to them.", no_args_is_help=True)


@app.command("list")
def list_offers(
    context: typer.Context,
    job_type: Annotated[
        str | None, typer.Option("--type", help="Only for jobs of this type or name.")
    ] = None,
    max_price: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Only up to this price for each metered unit.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List offers that can be accepted now, the cheapest first."""
    with client_of(context) as client:
        page = client.marketplace.offers(job_type=job_type, max_price=max_price, limit=limit)
    if as_json:
        print_json(page.to_dict())
        return
    rows = [
        (
            offer.offer_id,
            offer.job_type or "",
            offer.price or "",
            "" if offer.jobs_left is None else str(offer.jobs_left),
            "" if offer.reputation is None else f"{offer.reputation:.2f}",
            offer.miner_id,
        )
        for offer in page.offers
    ]
    print_rows(("OFFER", "FOR", "PRICE", "LEFT", "REPUTATION", "MINER"), rows)


@app.command()
def accept(
    context: typer.Context,
    offer: Annotated[str, typer.Argument(metavar="OFFER", help="The offer's id.")],
    job: Annotated[str, typer.Argument(metavar="JOB", help="The id of a submitted job.")],
    bid: Annotated[str, typer.Option(metavar="AMOUNT", help="The most that a metered unit may cost.")],
    as_json: JsonOption = False,
) -> None:
    """Give a job to an offer. It costs the offer's price, which may be below the bid."""
    with client_of(context) as client:
        payment = client.marketplace.accept(offer, job, bid_price=bid).to_dict()
    print_json(payment) if as_json else print_fields(payment)
