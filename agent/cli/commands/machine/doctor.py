"""`aitbc-agent doctor`: diagnose problems of this machine and show their remedies."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import asdict
from typing import Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from agent.cli.options import AsJson, ConfigFile, DataDir, print_json, settings_from
from agent.cli.terminal import logs
from agent.core.errors import ConfigurationError
from agent.diagnostics import Diagnostic, feature_checks, ok
from agent.miner.doctor.diagnostics import found
from agent.miner.settings import MinerSettings
from agent.sections import section_of
from agent.settings import Settings
from aitbc.cli._terminal.output import SafeConsole

COLORS: Final = {"fault": "red", "warning": "yellow", "ok": "green"}
"""In the order of the output, the worst first."""


def doctor(
    data_dir: DataDir = None,
    config: ConfigFile = None,
    coordinator: Annotated[
        str | None, typer.Option("--coordinator", help="Also check this coordinator, before joining it.")
    ] = None,
    enroll: Annotated[
        str | None, typer.Option("--enroll", help="Check this enrolment token there; it stays valid.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Diagnose problems and show remedies. Exit code 1: a problem prevents work."""
    try:
        settings = settings_from(
            data_dir, config, miner={"coordinator": coordinator, "enrolment_token": enroll}
        )
    except ConfigurationError as error:
        diagnostics = [found("configuration_wrong", fault=line) for line in str(error).splitlines()]
    else:
        diagnostics = asyncio.run(_examine(settings))
    if as_json:
        print_json([asdict(diagnostic) for diagnostic in diagnostics])
    else:
        _print(diagnostics)
    if any(diagnostic.severity == "fault" for diagnostic in diagnostics):
        raise typer.Exit(1)


async def _examine(settings: Settings) -> list[Diagnostic]:
    from agent.miner.doctor import examine  # noqa: PLC0415 - the other commands start faster without it

    logs.configure(settings.log.model_copy(update={"level": "error"}))
    diagnostics = await examine(settings)
    has_coordinator = section_of(settings, MinerSettings).coordinator is None
    if has_coordinator and settings.artifacts.url is not None:
        diagnostics.append(await asyncio.to_thread(_artifacts, settings))
    if has_coordinator:
        for checks in feature_checks():
            diagnostics += await asyncio.to_thread(checks.check, settings)
    return diagnostics


def _artifacts(settings: Settings) -> Diagnostic:
    """Check that the coordinator can use its store of files."""
    from agent.coordinator.installed import open_blobs  # noqa: PLC0415 - as above

    try:
        open_blobs(settings).open()
    except ConfigurationError as error:
        return found("artifacts_unusable", fault=error)
    return ok("artifacts", f"The store of files, {settings.artifacts.url}, can be read and written.")


def _print(diagnostics: list[Diagnostic]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column()
    # A truncated path in a command would be useless.
    table.add_column(overflow="fold")
    ranks = list(COLORS)
    for diagnostic in sorted(diagnostics, key=lambda diagnostic: ranks.index(diagnostic.severity)):
        text = Text(diagnostic.message)
        if diagnostic.remedy is not None:
            text = Text.assemble(text, (f" ({diagnostic.id})", "dim"), (f"\n→ {diagnostic.remedy}", "bold"))
        table.add_row(Text(diagnostic.severity, COLORS[diagnostic.severity]), text)
    console = SafeConsole()
    console.print(table)
    console.print(Text(f"\n{_summary(diagnostics)}", "bold"))


def _summary(diagnostics: list[Diagnostic]) -> str:
    counted = Counter(diagnostic.severity for diagnostic in diagnostics)
    if not counted["fault"] and not counted["warning"]:
        return "No problems found."
    words = [
        f"{counted[severity]} {severity}{'s' if counted[severity] > 1 else ''}"
        for severity in ("fault", "warning")
        if counted[severity]
    ]
    end = "Faults prevent this machine from working." if counted["fault"] else "Warnings do not prevent work."
    return f"{' and '.join(words)}. {end}"
