"""`aitbc-agent calibrate`: measure how honest runs differ, so that this machine can audit others."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Final

import typer

from agent.cli.options import AsJson, ConfigFile, DataDir, print_json, reading_from
from agent.cli.terminal import logs
from agent.miner.machine.calibrations import calibrations_file
from agent.miner.measuring.calibrate import Calibrate

DEFAULT_RUNS: Final = 20


def calibrate(
    data_dir: DataDir = None,
    config: ConfigFile = None,
    service: Annotated[
        list[str] | None, typer.Option("--service", help="Calibrate only this service; may be repeated.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="Calibrate only this model; may be repeated.")
    ] = None,
    runs: Annotated[
        int,
        typer.Option("--runs", min=2, max=10_000, help="Number of honest runs on each variant of a device."),
    ] = DEFAULT_RUNS,
    as_json: AsJson = False,
) -> None:
    """Measure how far honest runs differ, for the limits of audits on this machine. Stop the agent first; run again to continue.

    Examples:
      aitbc-agent calibrate
      aitbc-agent calibrate --service whisper_transcription
    """
    settings = reading_from(data_dir, config).settings
    logs.configure_quietly(settings.log)
    measuring = Calibrate(
        settings,
        services=service or (),
        models=model or (),
        runs=runs,
        on_step=logs.step,
    )
    report = asyncio.run(measuring.measure())
    if as_json:
        skipped = [{"subject": subject, "reason": reason} for subject, reason in report.skipped]
        print_json({"calibrations": [asdict(calibration) for calibration in report.made], "skipped": skipped})
    else:
        for calibration in report.made:
            of = f"{calibration.service} {calibration.model}".strip()
            typer.echo(
                f"{of} in {calibration.audited.engine} {calibration.audited.precision} on {calibration.audited.device}:"
            )
            for name, honest_range in calibration.ranges.items():
                typer.echo(
                    f"  {name}: {honest_range.least:.4g} to {honest_range.greatest:.4g} in {honest_range.count} runs, limit {honest_range.limit:.4g}"
                )
        for subject, reason in report.skipped:
            typer.echo(f"{subject} was not calibrated: {reason}")
        if report.made:
            typer.echo(
                f"\nThe limits are in {calibrations_file(settings.data_dir)}. Audits use them from now on."
            )
    if not report.made:
        raise typer.Exit(1)
