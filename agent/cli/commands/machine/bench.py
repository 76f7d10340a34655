"""`aitbc-agent bench`: measure this machine's speed and suggest prices."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from agent.cli.options import AsJson, ConfigFile, DataDir, print_json, reading_from
from agent.cli.terminal import logs
from agent.configuring.editing import write_values
from agent.core.values.quantities import format_money, parse_money
from agent.miner.machine.scores import BenchScore, suggested_prices
from agent.miner.measuring.bench import Bench, BenchReport
from agent.miner.settings import MinerSettings
from agent.sections import section_of
from aitbc.cli._terminal.output import print_rows
from aitbc.figures import amounts, sale_units
from runners.registry import find

DEFAULT_SECONDS: Final = 5.0


def _money(text: str) -> Decimal:
    try:
        amount = parse_money(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--per-hour") from None
    if amount == 0:
        raise typer.BadParameter("it must be more than zero", param_hint="--per-hour")
    return amount


def bench(
    data_dir: DataDir = None,
    config: ConfigFile = None,
    service: Annotated[
        list[str] | None,
        typer.Option("--service", help="Measure only this service; may be repeated."),
    ] = None,
    seconds: Annotated[
        float,
        typer.Option("--seconds", min=0, max=600, help="Duration of each measurement, after a warm-up run."),
    ] = DEFAULT_SECONDS,
    per_hour: Annotated[
        str | None,
        typer.Option(
            "--per-hour",
            metavar="CREDITS",
            help="Target earnings of this machine in a busy hour.",
            show_default="miner.hourly_earnings",
        ),
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Write the suggested settings to the settings file.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure every runner on every device, save the scores, and suggest prices. The agent must not be running.

    Examples:
      aitbc-agent bench
      aitbc-agent bench --service llm_inference --apply
    """
    reading = reading_from(data_dir, config)
    settings = reading.settings
    target = section_of(settings, MinerSettings).hourly_earnings if per_hour is None else _money(per_hour)
    logs.configure_quietly(settings.log)
    measuring = Bench(
        settings,
        services=service or (),
        seconds=seconds,
        on_step=logs.step,
    )
    report = asyncio.run(measuring.measure())
    prices = suggested_prices(report.scores, target)
    suggestion = _suggestion(report.scores, prices)
    if apply and report.scores:
        _write(reading.file, prices, _batch(report.scores))
    if as_json:
        print_json(
            {
                "scores": [score.model_dump() for score in report.scores],
                "skipped": [asdict(skipped) for skipped in report.skipped],
                "per_hour": format_money(target),
                "prices": prices,
                "batch": _batch(report.scores),
                "toml": suggestion,
                "applied": str(reading.file) if apply and report.scores else None,
            }
        )
    else:
        _print(report, prices)
        if report.scores and apply:
            typer.echo(f"\nThese prices were written to {reading.file}. They apply from the next start.")
        elif report.scores:
            typer.echo(
                f"\nTo earn {amounts.with_currency(format_money(target))} in a busy hour, run the command with --apply, or add this to {reading.file}:\n"
            )
            typer.echo(suggestion)
    if not report.scores:
        raise typer.Exit(1)


def _write(path: Path, prices: dict[str, str], batch: int | None) -> None:
    """Add the settings to the file. Other settings and comments stay as they are."""
    values: dict[tuple[str, ...], Any] = {("miner", "prices", name): price for name, price in prices.items()}
    if batch is not None:
        values["runners", "batch"] = batch
    write_values(path, values)


def _batch(scores: list[BenchScore]) -> int | None:
    """Return the best number of concurrent runs, or None if no measured runner supports more than one."""
    return max((score.concurrency for score in scores if len(score.levels) > 1), default=None)


def _suggestion(scores: list[BenchScore], prices: dict[str, str]) -> str:
    """Return the suggested settings as TOML."""
    lines = ["[miner.prices]", *(f'{service} = "{price}"' for service, price in prices.items())]
    batch = _batch(scores)
    return "\n".join(lines if batch is None else [*lines, "", "[runners]", f"batch = {batch}"])


def _print(report: BenchReport, prices: dict[str, str]) -> None:
    """Print a table on a terminal, otherwise a line per score."""
    rows = [_row(score, prices) for score in report.scores]
    if sys.stdout.isatty() and rows:
        print_rows(
            ("SERVICE", "SPEED", "PRICE", "MODEL", "CONCURRENCY", "DEVICE"),
            [(row[0], row[3], row[5], row[2], row[4], row[1]) for row in rows],
        )
    else:
        for name, device, model, speed, number, price in rows:
            typer.echo(f"{name} on {device}, model {model}: {speed}, concurrency {number}, {price}")
    for skipped in report.skipped:
        device = f" on {skipped.device}" if skipped.device is not None else ""
        typer.echo(f"{skipped.service}{device} was not measured: {skipped.reason}")


def _row(score: BenchScore, prices: dict[str, str]) -> tuple[Any, ...]:
    sold = find(score.service).definition.sale_units_on(score.device_kind)
    price = sale_units.price(prices[score.service], sold)
    speed = f"{score.speed:.4g} {score.metric}"
    return score.service, score.device_name, score.model or "-", speed, str(score.concurrency), price
