"""`aitbc models`, `aitbc services` and `aitbc miners`: what can be had now, from what price, and how fast."""

from __future__ import annotations

from typing import Annotated

import typer

from aitbc.answers.market import MarketMiner, ModelSupply, ServiceSupply
from aitbc.cli._arguments import complete
from aitbc.cli._arguments.lookup import NamedCandidate, find
from aitbc.cli._arguments.options import JsonOption, client_of
from aitbc.cli._terminal.output import moment, print_json, print_rows, print_status

ServiceOption = Annotated[
    str | None,
    typer.Option(
        "--service",
        "-s",
        metavar="SERVICE",
        help="Only this service: its id or the beginning of it, such as llm.",
        autocompletion=complete.services,
    ),
]
AvailableOption = Annotated[bool, typer.Option("--available", "-a", help="Only what a miner would run now.")]


def models(
    context: typer.Context,
    service: ServiceOption = None,
    available: AvailableOption = False,
    as_json: JsonOption = False,
) -> None:
    """List the models: which of them a miner would run now, from what price, and how long a run takes.

    "after download": a miner that is online has to download the model first.
    """
    offered = [
        (supply, model)
        for supply in _services(context, service)
        for model in supply.models
        if model.available or not available
    ]
    # Stable, so that models of the same kind stay in the order of their services.
    offered.sort(key=lambda pair: (not pair[1].available, not pair[1].downloadable))
    if as_json:
        print_json(
            {"models": [{"service_id": supply.service_id, **model.to_dict()} for supply, model in offered]}
        )
        return
    rows = [
        (
            model.name,
            _state(model),
            model.price or "",
            model.unit or "",
            _seconds(model.typical_seconds),
            str(model.miners),
            supply.service_id,
        )
        for supply, model in offered
    ]
    print_rows(("MODEL", "AVAILABLE", "FROM", "UNIT", "TYPICAL RUN", "MINERS", "SERVICE"), rows)


def services(context: typer.Context, available: AvailableOption = False, as_json: JsonOption = False) -> None:
    """List the services: which of them a miner would run now, from what price, and how fast."""
    supplies = [supply for supply in _services(context, None) if supply.available or not available]
    if as_json:
        print_json({"services": [supply.to_dict() for supply in supplies]})
        return
    rows = [
        (
            supply.service_id,
            "yes" if supply.available else "no",
            supply.price or "",
            supply.unit or "",
            "" if supply.speed is None else f"{supply.speed.typical:.4g} {supply.speed.metric}",
            str(supply.miners),
            str(sum(model.available for model in supply.models)) if supply.models else "",
        )
        for supply in supplies
    ]
    print_rows(("SERVICE", "AVAILABLE", "FROM", "UNIT", "SPEED", "MINERS", "MODELS"), rows)


def miners(
    context: typer.Context,
    service: ServiceOption = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="The maximum number of miners.")] = 50,
    offset: Annotated[int, typer.Option(min=0, help="How many miners to skip.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """List the miners with their services, prices and speeds, and when they were last seen. Available miners come first."""
    with client_of(context) as client:
        service_id = None if service is None else _service_id(service, client.marketplace.services().services)
        page = client.marketplace.miners(service=service_id, limit=limit, offset=offset)
    if as_json:
        print_json(page.to_dict())
        return
    rows = [row for miner in page.miners for row in _rows(miner, service_id)]
    titles = (
        "NAME",
        "SERVICE",
        "PRICE",
        "STATE",
        "LAST SEEN",
        "UNIT",
        "SPEED",
        "REPUTATION",
        "MINER",
        "MODELS",
    )
    print_rows(titles, rows, free=("NAME",))
    if offset + len(page.miners) < page.total:
        last = offset + len(page.miners)
        print_status(f"{last} of {page.total} miners shown; --offset {last} shows the next ones.")


def _rows(miner: MarketMiner, service_id: str | None) -> list[tuple[str, ...]]:
    state = "available" if miner.available else "paused" if miner.online else "offline"
    about = (state, moment(miner.seen_at))
    offered = [offer for offer in miner.services if service_id in (None, offer.service_id)]
    rows: list[tuple[str, ...]] = [
        (
            miner.name,
            offer.service_id,
            offer.price,
            *about,
            offer.unit,
            "" if offer.speed is None else f"{offer.speed['value']:.4g} {offer.speed['metric']}",
            f"{miner.reputation:.2f}",
            miner.miner_id,
            ", ".join(offer.models),
        )
        for offer in offered
    ]
    # A miner without services is shown too: its owner looks for it here.
    return rows or [(miner.name, "", "", *about, "", "", f"{miner.reputation:.2f}", miner.miner_id, "")]


def _services(context: typer.Context, named: str | None) -> list[ServiceSupply]:
    with client_of(context) as client:
        supplies = client.marketplace.services().services
    service_id = None if named is None else _service_id(named, supplies)
    return [supply for supply in supplies if service_id in (None, supply.service_id)]


def _service_id(named: str, supplies: list[ServiceSupply]) -> str:
    candidates = [NamedCandidate(supply.service_id) for supply in supplies]
    return find("service", named.replace("-", "_"), lambda: candidates, "aitbc services")


def _state(model: ModelSupply) -> str:
    return "yes" if model.available else "after download" if model.downloadable else "no"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.3g} s"
