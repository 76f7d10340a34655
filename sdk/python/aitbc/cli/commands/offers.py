"""`aitbc offers`: list, show and accept; make and withdraw with the key of a miner's owner."""

from __future__ import annotations

from typing import Annotated

import typer

from aitbc._http.flow import present
from aitbc.answers.market import MarketMiner, Offer
from aitbc.cli._arguments import complete
from aitbc.cli._arguments.ids import PAGE, find_job, find_offer, offers
from aitbc.cli._arguments.options import JsonOption, client_of
from aitbc.cli._terminal.output import print_fields, print_json, print_rows, print_status, service_name
from aitbc.errors import OfferNotAvailable
from aitbc.figures import sale_units

app = typer.Typer(help="List miners' offers, and assign jobs to them.", no_args_is_help=True)

OfferArgument = Annotated[
    str,
    typer.Argument(
        metavar="OFFER",
        help="The offer: its id or a part of it, or its miner's name (rig-1/llm_inference).",
        autocompletion=complete.offers,
    ),
]
_HTTP_GONE = 410


@app.command("list")
def list_offers(
    context: typer.Context,
    job_type: Annotated[
        str | None,
        typer.Option(
            "--type",
            metavar="SERVICE",
            help="Only for jobs of this service.",
            autocompletion=complete.services,
        ),
    ] = None,
    max_price: Annotated[
        str | None, typer.Option(metavar="CREDITS", help="The maximum price of a metered unit.")
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
    """List the available offers, cheapest first.

    Examples:
      aitbc offers list --type llm_inference
      aitbc offers list --mine
    """
    with client_of(context) as client:
        # The miners are only asked for their names, which programs that read JSON do not need.
        page = client.marketplace.offers(
            job_type=job_type, max_price=max_price, limit=limit, mine=mine, before=before
        )
        miners = (
            {}
            if as_json
            else {miner.miner_id: miner for miner in client.marketplace.miners(limit=PAGE).miners}
        )
    if as_json:
        print_json(page.to_dict())
        return
    titles = ("OFFER", "FOR", "CREDITS", "PRICE", "BY", "UNIT", "LEFT", "REPUTATION", "STATUS", "MINER")
    rows = [_row(offer, miners.get(offer.miner_id)) for offer in page.offers]
    print_rows(titles, rows, free=("BY",), for_people=("CREDITS",), piped=("PRICE", "UNIT"))
    if page.next is not None:
        print_status(f"There are more offers; --before {page.next} shows them.")


def _row(offer: Offer, miner: MarketMiner | None) -> tuple[str, ...]:
    services = {service.service_id: service for service in miner.services} if miner is not None else {}
    service = services.get(service_name(offer.job_type))
    declared, unit = (None, None) if service is None else (service.sale_units, service.unit)
    return (
        offer.offer_id,
        service_name(offer.job_type),
        sale_units.bare_price(offer.price, sale_units.sale_units_of(declared, unit)),
        offer.price,
        "" if miner is None else miner.name,
        unit or "",
        "" if offer.jobs_left is None else str(offer.jobs_left),
        "" if offer.reputation is None else f"{offer.reputation:.2f}",
        offer.get("status", ""),
        offer.miner_id,
    )


@app.command()
def show(context: typer.Context, offer: OfferArgument, as_json: JsonOption = False) -> None:
    """Show an offer: its type of jobs, its price, and its miner's minimum hardware.

    Examples:
      aitbc offers show rig-1/llm_inference
      aitbc offers show offer_06h3 --json
    """
    with client_of(context) as client:
        offer_id = find_offer(client, offer)
        named_offer = next(
            (candidate for candidate in offers(client) if candidate.offer_id == offer_id), None
        )
    if named_offer is None:
        # The coordinator has no call for a single offer, so its error for a missing one is made here.
        raise OfferNotAvailable(
            _HTTP_GONE, OfferNotAvailable.wire_code, f"The offer {offer_id} is not available."
        )
    print_json(named_offer.to_dict()) if as_json else print_fields(named_offer.to_dict())


@app.command()
def accept(
    context: typer.Context,
    offer: OfferArgument,
    job: Annotated[
        str,
        typer.Argument(
            metavar="JOB",
            help="A submitted job: its id or a part of it, its name, or `last`.",
            autocompletion=complete.jobs,
        ),
    ],
    bid: Annotated[str, typer.Option(metavar="CREDITS", help="The maximum price of a metered unit.")],
    as_json: JsonOption = False,
) -> None:
    """Assign a job to an offer. You pay the offer's price, which may be lower than the bid.

    Examples:
      aitbc offers accept rig-1/llm_inference last --bid 0.0001
      aitbc offers accept offer_06h3 job_06h3 --bid 0.0001
    """
    with client_of(context) as client:
        payment = client.marketplace.accept(
            find_offer(client, offer), find_job(client, job), bid_price=bid
        ).to_dict()
    print_json(payment) if as_json else print_fields(payment)


@app.command()
def make(
    context: typer.Context,
    job_type: Annotated[
        str,
        typer.Argument(
            metavar="TYPE", help="The type or name of the jobs.", autocompletion=complete.services
        ),
    ],
    price: Annotated[str, typer.Option(metavar="CREDITS", help="The price of each metered unit.")],
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
    """Offer to run jobs at a price. Needs the key of a miner's owner (--api-key, before the command).

    Examples:
      aitbc --api-key KEY offers make llm_inference --price 0.0001
      aitbc --api-key KEY offers make blender_rendering --price 0.001 -n 20
    """
    requirements = present({"min_gpu_memory": min_gpu_memory, "min_cpu": min_cpu})
    with client_of(context) as client:
        created = client.marketplace.create_offer(
            job_type, price, max_jobs=number, duration=duration, requirements=requirements or None
        ).to_dict()
    print_json(created) if as_json else print_fields(created)


@app.command()
def withdraw(context: typer.Context, offer: OfferArgument, as_json: JsonOption = False) -> None:
    """Withdraw one of your offers. Jobs that have accepted it still run.

    Examples:
      aitbc --api-key KEY offers withdraw offer_06h3
      aitbc --api-key KEY offers withdraw rig-1/llm_inference
    """
    with client_of(context) as client:
        withdrawn = client.marketplace.withdraw(find_offer(client, offer)).to_dict()
    print_json(withdrawn) if as_json else print_fields(withdrawn)
