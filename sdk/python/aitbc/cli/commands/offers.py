"""`aitbc offers`: list, show and accept; make and withdraw with the key of a miner's owner."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from aitbc._client import AITBCClient
from aitbc.cli import _complete
from aitbc.cli._options import JsonOption, client_of
from aitbc.cli._output import print_fields, print_json, print_rows, print_status
from aitbc.errors import Forbidden, OfferNotAvailable
from aitbc.models import Offer

app = typer.Typer(help="List miners' offers, and assign jobs to them.", no_args_is_help=True)

OfferArgument = Annotated[
    str, typer.Argument(metavar="OFFER", help="The offer's id.", autocompletion=_complete.offers)
]
_PAGE = 500
_HTTP_GONE = 410


@app.command("list")
def list_offers(
    context: typer.Context,
    job_type: Annotated[
        str | None,
        typer.Option("--type", help="Only for jobs of this type or name.", autocompletion=_complete.services),
    ] = None,
    max_price: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="The maximum price of a metered unit.")
    ] = None,
    mine: Annotated[
        bool,
        typer.Option("--mine", help="Your miner's offers in any state, newest first (for a miner's owner)."),
    ] = False,
    before: Annotated[
        str | None, typer.Option(metavar="OFFER", help="With --mine: only offers older than this one.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The maximum number of offers.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List the available offers, cheapest first."""
    with client_of(context) as client:
        page = client.marketplace.offers(
            job_type=job_type, max_price=max_price, limit=limit, mine=mine, before=before
        )
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
            (offer.status or "") if mine else offer.miner_id,
        )
        for offer in page.offers
    ]
    print_rows(("OFFER", "FOR", "PRICE", "LEFT", "REPUTATION", "STATUS" if mine else "MINER"), rows)
    if page.next is not None:
        print_status(f"There are more offers; --before {page.next} shows them.")


@app.command()
def show(context: typer.Context, offer: OfferArgument, as_json: JsonOption = False) -> None:
    """Show an offer: its type of jobs, its price, and its miner's minimum hardware."""
    with client_of(context) as client:
        found = _find(client, offer).to_dict()
    print_json(found) if as_json else print_fields(found)


def _find(client: AITBCClient, offer_id: str) -> Offer:
    """Find an offer among the available ones and the caller's own. Raises `OfferNotAvailable`."""
    pages = [client.marketplace.offers(limit=_PAGE)]
    with suppress(Forbidden):  # a client has no offers of its own
        pages.append(client.marketplace.offers(limit=_PAGE, mine=True))
    for page in pages:
        for offer in page.offers:
            if offer.offer_id == offer_id:
                return offer
    raise OfferNotAvailable(
        _HTTP_GONE, OfferNotAvailable.wire_code, f"The offer {offer_id} is not available."
    )


@app.command()
def accept(
    context: typer.Context,
    offer: OfferArgument,
    job: Annotated[
        str,
        typer.Argument(metavar="JOB", help="The id of a submitted job.", autocompletion=_complete.jobs),
    ],
    bid: Annotated[str, typer.Option(metavar="AMOUNT", help="The maximum price of a metered unit.")],
    as_json: JsonOption = False,
) -> None:
    """Assign a job to an offer. You pay the offer's price, which may be lower than the bid."""
    with client_of(context) as client:
        payment = client.marketplace.accept(offer, job, bid_price=bid).to_dict()
    print_json(payment) if as_json else print_fields(payment)


@app.command()
def make(
    context: typer.Context,
    job_type: Annotated[
        str,
        typer.Argument(
            metavar="TYPE", help="The type or name of the jobs.", autocompletion=_complete.services
        ),
    ],
    price: Annotated[str, typer.Option(metavar="AMOUNT", help="The price of each metered unit.")],
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many jobs.")] = 1,
    duration: Annotated[
        int, typer.Option(min=1, metavar="SECONDS", help="How long the offer can be accepted.")
    ] = 3600,
    min_gpu_memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="The miner's minimum GPU memory, such as 8Gi.")
    ] = None,
    min_cpu: Annotated[
        str | None, typer.Option(metavar="CORES", help="The miner's minimum CPU, such as 2000m.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Offer to run jobs at a price. Needs the key of a miner's owner (--api-key, before the command)."""
    given = {"min_gpu_memory": min_gpu_memory, "min_cpu": min_cpu}
    requirements = {name: value for name, value in given.items() if value is not None}
    with client_of(context) as client:
        made = client.marketplace.create_offer(
            job_type, price, max_jobs=number, duration=duration, requirements=requirements or None
        ).to_dict()
    print_json(made) if as_json else print_fields(made)


@app.command()
def withdraw(context: typer.Context, offer: OfferArgument, as_json: JsonOption = False) -> None:
    """Withdraw one of your offers. Jobs that have accepted it still run."""
    with client_of(context) as client:
        withdrawn = client.marketplace.withdraw(offer).to_dict()
    print_json(withdrawn) if as_json else print_fields(withdrawn)
