"""`aitbc-agent efficiency`: find the power limits with the most work for a kilowatt-hour."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from agent.cli.options import AsJson, ConfigFile, DataDir, print_json, reading_from
from agent.cli.terminal import logs
from agent.configuring.editing import write_values
from agent.miner.measuring.efficiency import CardEfficiency, Efficiency
from aitbc.cli._terminal.output import print_rows


def efficiency(
    data_dir: DataDir = None,
    config: ConfigFile = None,
    service: Annotated[
        str | None,
        typer.Option(
            "--service", help="Run the benchmark of this service.", show_default="the first offered"
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0, max=3600, help="Duration of each measurement.")
    ] = 30,
    steps: Annotated[int, typer.Option("--steps", min=2, max=20, help="Number of power limits to try.")] = 6,
    apply: Annotated[
        bool, typer.Option("--apply", help="Write the best limits to the settings file.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Find the power limit of each card with the most work for a kilowatt-hour. Stop the agent first, and start the helper.

    Examples:
      aitbc-agent efficiency
      aitbc-agent efficiency --service llm_inference --apply
    """
    reading = reading_from(data_dir, config)
    logs.configure_quietly(reading.settings.log)
    measuring = Efficiency(
        reading.settings,
        steps=steps,
        services=() if service is None else (service,),
        seconds=seconds,
        on_step=logs.step,
    )
    cards = asyncio.run(measuring.find())
    if apply:
        write_values(
            reading.file, {("miner", "gpus", card.gpu, "power_limit"): card.best.limit for card in cards}
        )
    if as_json:
        print_json([{**asdict(card), "best": asdict(card.best)} for card in cards])
        return
    for card in cards:
        _print(card)
    if apply:
        typer.echo(f"\nThe best limits were written to {reading.file}. They apply from the next start.")
    else:
        typer.echo(
            f"\nTo use the best limits, run the command with --apply, or add this to {reading.file}:\n"
        )
        for card in cards:
            typer.echo(f"[miner.gpus.{card.gpu}]\npower_limit = {card.best.limit:g}\n")


def _print(card: CardEfficiency) -> None:
    work = f"{card.service}{f' with {card.model}' if card.model else ''}"
    typer.echo(f"GPU {card.gpu} ({card.name}), {work}:")
    fastest = max(score.speed for score in card.scores)
    rows = [
        (
            f"{score.limit:g} W{' (best)' if score is card.best else ''}",
            f"{score.watts:g} W",
            f"{score.speed:.4g} {card.unit}/s",
            f"{score.speed / fastest:.0%}",
            f"{score.units_per_kwh:.4g}",
        )
        for score in card.scores
    ]
    print_rows(("LIMIT", "TAKEN", "SPEED", "OF THE FASTEST", f"{card.unit.upper()} PER KWH"), rows)
