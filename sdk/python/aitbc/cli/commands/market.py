"""`aitbc models`, `aitbc services` and `aitbc miners`: what can be had now, from what price, and how fast."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from aitbc.answers.market import MarketMiner, ModelSupply, OfferedService, ServiceSupply
from aitbc.answers.registry import SaleUnit
from aitbc.cli._arguments import complete
from aitbc.cli._arguments.ids import PAGE, find_miner
from aitbc.cli._arguments.lookup import NamedCandidate, NoSuchName, find
from aitbc.cli._arguments.options import JsonOption, client_of
from aitbc.cli._terminal.output import moment, print_json, print_next_page, print_rows, print_text, short_id
from aitbc.figures import sale_units

_FROM = "CREDITS FROM"
_FORM = "x-aitbc-form"
_SHOWN_VALUES = 5
"""More values to choose from do not fit into a row."""
_ABOUT = ("NAME", "MINER", "STATE", "LAST SEEN", "REPUTATION")
_OFFER = ("CREDITS", "PRICE", "UNIT", "SPEED", "MODELS")
_EXACT = ("PRICE", "UNIT")
_COMMANDS = {
    "whisper_transcription": "transcribe",
    "image_generation": "imagine",
    "llm_inference": "chat",
    "video_transcoding": "transcode",
    "blender_rendering": "render",
    "ai_inference": "run",
    "text_embedding": "embed",
    "text_reranking": "rerank",
    "speech_synthesis": "speak",
}
"""The commands that people type for the services."""

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

    Examples:
      aitbc models --available
      aitbc models --service llm
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
            _price(model.price, model.unit, supply.sale_units),
            model.price or "",
            model.unit or "",
            _seconds(model.typical_seconds),
            str(model.miners),
            supply.service_id,
        )
        for supply, model in offered
    ]
    titles = ("MODEL", "AVAILABLE", _FROM, "FROM", "UNIT", "TYPICAL RUN", "MINERS", "SERVICE")
    print_rows(titles, rows, for_people=(_FROM,), piped=("FROM", "UNIT"))


def services(
    context: typer.Context,
    named: Annotated[
        str | None,
        typer.Argument(
            metavar="SERVICE",
            help="Show the parameters of this service: its id or the beginning of it.",
            autocompletion=complete.services,
        ),
    ] = None,
    available: AvailableOption = False,
    as_json: JsonOption = False,
) -> None:
    """List the services: which of them a miner would run now, from what price, and how fast. With a name: that service's parameters.

    `aitbc jobs rerun --set` changes the parameters.

    Examples:
      aitbc services
      aitbc services image_generation
      aitbc services --available --json
    """
    if named is not None:
        _print_parameters(context, named, as_json=as_json)
        return
    supplies = [supply for supply in _services(context, None) if supply.available or not available]
    if as_json:
        print_json({"services": [supply.to_dict() for supply in supplies]})
        return
    rows = [
        (
            supply.service_id,
            "yes" if supply.available else "no",
            _price(supply.price, supply.unit, supply.sale_units),
            supply.price or "",
            supply.unit or "",
            "" if supply.speed is None else f"{supply.speed.typical:.4g} {supply.speed.metric}",
            str(supply.miners),
            str(sum(model.available for model in supply.models)) if supply.models else "",
        )
        for supply in supplies
    ]
    titles = ("SERVICE", "AVAILABLE", _FROM, "FROM", "UNIT", "SPEED", "MINERS", "MODELS")
    # A service with miners is available, so people need not read that twice.
    print_rows(titles, rows, for_people=(_FROM,), piped=("AVAILABLE", "FROM", "UNIT"))


def miners(
    context: typer.Context,
    miner: Annotated[
        str | None,
        typer.Argument(metavar="MINER", help="Show what this miner offers: its name or id, or a part of it."),
    ] = None,
    service: ServiceOption = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="The maximum number of miners.")] = 50,
    offset: Annotated[int, typer.Option(min=0, help="How many miners to skip.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """List the miners, available ones first. With a name: that miner's services, prices and speeds.

    The last column names the commands that a miner runs. With --service, there is the price of that service instead.

    Examples:
      aitbc miners
      aitbc miners --service llm
      aitbc miners rig-1
    """
    if miner is not None:
        _show_miner(context, miner, as_json=as_json)
        return
    with client_of(context) as client:
        service_id = None if service is None else _service_id(service, client.marketplace.services().services)
        page = client.marketplace.miners(service=service_id, limit=limit, offset=offset)
    if as_json:
        print_json(page.to_dict())
        return
    if service_id is None:
        rows = [(*_about(listed), _commands_of(listed)) for listed in page.miners]
        print_rows((*_ABOUT, "SERVICES"), rows, free=("NAME", "SERVICES"))
    else:
        offers = [
            (*_about(listed)[:2], *_offer(offer)[:-1], *_about(listed)[2:], _offer(offer)[-1])
            for listed in page.miners
            for offer in listed.services
            if offer.service_id == service_id
        ]
        titles = (*_ABOUT[:2], *_OFFER[:-1], *_ABOUT[2:], _OFFER[-1])
        print_rows(titles, offers, free=("NAME", "MODELS"), for_people=("CREDITS",), piped=_EXACT)
    print_next_page(offset + len(page.miners), page.total, "miners")


def _show_miner(context: typer.Context, named: str, *, as_json: bool) -> None:
    with client_of(context) as client:
        miner_id = find_miner(client, named)
        listed = client.marketplace.miners(limit=PAGE).miners
    miner = next((candidate for candidate in listed if candidate.miner_id == miner_id), None)
    if miner is None:
        raise NoSuchName(f"There is no miner {miner_id} in the market. `aitbc miners` lists them.")
    if as_json:
        print_json(miner.to_dict())
        return
    seen_at = moment(miner.seen_at)
    print_text(f"{miner.name} ({miner.miner_id}): {_availability(miner)}, last seen {seen_at}")
    print_text(f"Reputation: {miner.reputation:.2f} of 5")
    if miner.gpus:
        print_text(f"GPUs: {', '.join(miner.gpus)}")
    if miner.services:
        print_text("")
    rows = [(offer.service_id, *_offer(offer)) for offer in miner.services]
    print_rows(("SERVICE", *_OFFER), rows, free=("MODELS",), for_people=("CREDITS",), piped=_EXACT)


def _about(miner: MarketMiner) -> tuple[str, ...]:
    return (
        miner.name,
        short_id(miner.miner_id),
        _availability(miner),
        moment(miner.seen_at),
        f"{miner.reputation:.2f}",
    )


def _availability(miner: MarketMiner) -> str:
    return "available" if miner.available else "paused" if miner.online else "offline"


def _commands_of(miner: MarketMiner) -> str:
    """Return what a miner runs: on a terminal the commands of this program, otherwise the ids of the services."""
    services = [offer.service_id for offer in miner.services]
    if not sys.stdout.isatty():
        return ",".join(services)
    return ", ".join(_COMMANDS.get(service, service) for service in services)


def _offer(offer: OfferedService) -> tuple[str, ...]:
    return (
        _price(offer.price, offer.unit, offer.sale_units),
        offer.price,
        offer.unit,
        "" if offer.speed is None else f"{offer.speed['value']:.4g} {offer.speed['metric']}",
        ", ".join(offer.models),
    )


def _price(price: str | None, unit: str | None, declared: list[SaleUnit] | None) -> str:
    """Return a price of what people buy, without the currency, which the column's title names."""
    if price is None:
        return ""
    return sale_units.bare_price(price, sale_units.sale_units_of(declared, unit))


def _print_parameters(context: typer.Context, named: str, *, as_json: bool) -> None:
    with client_of(context) as client:
        service_id = _service_id(named, client.marketplace.services().services)
        schema = client.registry.schema(service_id)
    if as_json:
        print_json(schema)
        return
    fields = [field for group in schema.get(_FORM, {}).get("groups", ()) for field in group["fields"]]
    if not fields:
        # A service of somebody else may have no words for people.
        fields = [{"name": name, **field} for name, field in schema.get("properties", {}).items()]
    rows = [
        (
            field["name"],
            _values(list(field.get("choices", ()))),
            f"{field.get('label') or field.get('title', '')}. {field.get('help') or field.get('description', '')}".strip(),
        )
        for field in fields
    ]
    print_rows(("PARAMETER", "VALUES", "MEANING"), rows, free=("MEANING",))


def _values(choices: list[str]) -> str:
    return ", ".join([*choices[:_SHOWN_VALUES], *(["..."] if len(choices) > _SHOWN_VALUES else [])])


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
