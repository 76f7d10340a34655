"""`aitbc-agent doctor`: what keeps this machine from working, and what to do."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

import typer
from rich.console import Console
from rich.table import Table

from agent.cli import logs
from agent.cli.options import AsJson, ConfigFile, DataDir, print_json, settings_from

MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "fault": "[red]fault[/]"}


def doctor(data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Look for faults. Ends with exit code 1 if there is one."""
    from agent.miner.doctor import examine  # noqa: PLC0415 - the other commands start sooner without it

    settings = settings_from(data_dir, config)
    logs.configure(settings.log.model_copy(update={"level": "error"}))
    findings = asyncio.run(examine(settings))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        table = Table("Check", "", "Finding", box=None, pad_edge=False)
        for finding in findings:
            message = (
                finding.message
                if finding.remedy is None
                else f"{finding.message}\n[bold]→ {finding.remedy}[/]"
            )
            table.add_row(finding.check, MARKS[finding.status], message)
        Console().print(table)
    if any(finding.status == "fault" for finding in findings):
        raise typer.Exit(1)
