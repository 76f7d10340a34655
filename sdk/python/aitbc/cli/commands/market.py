"""`aitbc models`, `aitbc services` and `aitbc miners`: what can be had now, from what price, and how fast."""

from __future__ import annotations

from typing import Annotated

import typer

from aitbc.cli._arguments import complete
from aitbc.cli._arguments.lookup import Candidate, find
from aitbc.cli._arguments.options import JsonOption, client_of
from aitbc.cli._terminal.output import moment, print_json, print_rows, print_status
from aitbc.models import MarketMiner, ModelSupply, ServiceSupply

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
    found = [
        (one, model)
        for one in _services(context, service)
        for model in one.models
        if model.available or not available
    ]
    found.sort(key=lambda pair: (not pair[1].available, not pair[1].downloadable))
    if as_json:
        print_json({"models": [{"service_id": one.service_id, **model.to_dict()} for one, model in found]})
        return
    rows = [
        (
            model.name,
            _state(model),
            model.price or "",
            model.unit or "",
            _seconds(model.typical_seconds),
            str(model.miners),
            one.service_id,
        )
        for one, model in found
    ]
    print_rows(("MODEL", "AVAILABLE", "FROM", "UNIT", "TYPICAL RUN", "MINERS", "SERVICE"), rows)


def services(context: typer.Context, available: AvailableOption = False, as_json: JsonOption = False) -> None:
    """List the services: which of them a miner would run now, from what price, and how fast."""
    found = [one for one in _services(context, None) if one.available or not available]
    if as_json:
        print_json({"services": [one.to_dict() for one in found]})
        return
    rows = [
        (
            one.service_id,
            "yes" if one.available else "no",
            one.price or "",
            one.unit or "",
            "" if one.speed is None else f"{one.speed.typical:.4g} {one.speed.metric}",
            str(one.miners),
            str(sum(model.available for model in one.models)) if one.models else "",
        )
        for one in found
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
        wanted = None if service is None else _service_id(service, client.marketplace.services().services)
        page = client.marketplace.miners(service=wanted, limit=limit, offset=offset)
    if as_json:
        print_json(page.to_dict())
        return
    rows = [row for miner in page.miners for row in _rows(miner, wanted)]
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


def _rows(miner: MarketMiner, wanted: str | None) -> list[tuple[str, ...]]:
    state = "available" if miner.available else "paused" if miner.online else "offline"
    about = (state, moment(miner.seen_at))
    offered = [one for one in miner.services if wanted in (None, one.service_id)]
    rows: list[tuple[str, ...]] = [
        (
            miner.name,
            one.service_id,
            one.price,
            *about,
            one.unit,
            "" if one.speed is None else f"{one.speed['value']:.4g} {one.speed['metric']}",
            f"{miner.reputation:.2f}",
            miner.miner_id,
            ", ".join(one.models),
        )
        for one in offered
    ]
    return rows or [(miner.name, "", "", *about, "", "", f"{miner.reputation:.2f}", miner.miner_id, "")]


def _services(context: typer.Context, named: str | None) -> list[ServiceSupply]:
    with client_of(context) as client:
        found = client.marketplace.services().services
    wanted = None if named is None else _service_id(named, found)
    return [one for one in found if wanted in (None, one.service_id)]


def _service_id(named: str, known: list[ServiceSupply]) -> str:
    candidates = [Candidate(one.service_id) for one in known]
    return find("service", named.replace("-", "_"), lambda: candidates, "aitbc services")


def _state(model: ModelSupply) -> str:
    return "yes" if model.available else "after download" if model.downloadable else "no"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.3g} s"
