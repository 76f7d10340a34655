"""`aitbc-agent doctor`: diagnose problems of this machine and show their remedies."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from agent.cli.options import AsJson, ConfigFile, DataDir, print_json, settings_from
from agent.cli.terminal import logs
from agent.cli.terminal.activity import counted
from agent.core.errors import ConfigurationError
from agent.diagnostics import Diagnostic, feature_checks, ok
from agent.miner.doctor.diagnostics import found
from agent.miner.settings import MinerSettings
from agent.sections import section_of
from agent.settings import Settings
from aitbc.cli._terminal.output import SafeConsole

_COLORS: Final = {"fault": "red", "warning": "yellow", "ok": "green"}
"""In the order of the output, the worst first."""
_WORDS: Final = {"fault": "problem", "warning": "warning", "ok": "ok"}
_COMMANDS: Final = (
    re.compile(r"(?:sudo )?aitbc-agent engines install [\w.-]+\w"),
    re.compile(r"(?:sudo )?\S+ -m uv pip install .*?(?=\.(?: |$)|;|$)"),
    re.compile(r"(?:sudo )?apt-get install [\w.+ -]*[\w+]"),
)
"""The commands of remedies, the best first: an engine that the agent installs needs no root, and brings what an upgrade of it needs."""


def doctor(
    data_dir: DataDir = None,
    config: ConfigFile = None,
    coordinator: Annotated[
        str | None, typer.Option("--coordinator", help="Also check this coordinator, before joining it.")
    ] = None,
    enroll: Annotated[
        str | None, typer.Option("--enroll", help="Check this enrolment token there; it stays valid.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Show all checks, and all that is known of each service.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check whether this machine can work, and say what to do. Exit code 1: a problem prevents work.

    Examples:
      aitbc-agent doctor
      aitbc-agent doctor --coordinator https://coordinator.example.org
    """
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
        _print(diagnostics, everything=everything)
    if any(diagnostic.severity == "fault" for diagnostic in diagnostics):
        raise typer.Exit(1)


async def _examine(settings: Settings) -> list[Diagnostic]:
    from agent.miner.doctor import examine  # noqa: PLC0415 - the other commands start faster without it

    logs.configure_quietly(settings.log)
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


def _print(diagnostics: list[Diagnostic], *, everything: bool) -> None:
    console = SafeConsole()
    console.print(Text(_verdict(diagnostics), "bold"))
    ranks = list(_COLORS)
    general = sorted(
        (diagnostic for diagnostic in diagnostics if diagnostic.service is None or everything),
        key=lambda diagnostic: ranks.index(diagnostic.severity),
    )
    shown = [diagnostic for diagnostic in general if everything or diagnostic.severity != "ok"]
    if shown:
        console.print(Text())
        console.print(_table(map(_row, shown)))
    if not everything:
        if services := [diagnostic for diagnostic in diagnostics if diagnostic.service is not None]:
            console.print(Text("\nServices", "bold"))
            console.print(_table(map(_service_row, services)))
        console.print(
            Text(
                f"\n{counted(len(general) - len(shown), 'other check')} passed. `aitbc-agent doctor --all` shows them.",
                "dim",
            )
        )


def _table(rows: Iterable[tuple[Text, ...]]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for row in rows:
        # A truncated path in a command would be useless.
        while len(table.columns) < len(row):
            table.add_column(overflow="fold")
        table.add_row(*row)
    return table


def _row(diagnostic: Diagnostic) -> tuple[Text, Text]:
    text = Text(diagnostic.message)
    if diagnostic.remedy is not None:
        text = Text.assemble(text, (f" ({diagnostic.id})", "dim"), (f"\n→ {diagnostic.remedy}", "bold"))
    return Text(_WORDS[diagnostic.severity], _COLORS[diagnostic.severity]), text


def _service_row(diagnostic: Diagnostic) -> tuple[Text, Text, Text]:
    """Return one line: the service, its state, and the command that would improve it; without one, the reason."""
    name = Text(diagnostic.service or "")
    if diagnostic.severity == "ok":
        command = _command(diagnostic.message)
        more = Text.assemble(("can do more: ", "dim"), command) if command else Text()
        return name, Text("ready", "green"), more
    remedy = diagnostic.remedy or ""
    return name, Text("not offered", "yellow"), Text(_command(remedy) or remedy, "bold")


def _command(text: str) -> str | None:
    return next((match[0] for form in _COMMANDS if (match := form.search(text))), None)


def _verdict(diagnostics: list[Diagnostic]) -> str:
    counts = Counter(_WORDS[diagnostic.severity] for diagnostic in diagnostics if diagnostic.service is None)
    numbers = " and ".join(counted(counts[word], word) for word in ("problem", "warning") if counts[word])
    if counts["problem"]:
        return f"This machine cannot work: {numbers}."
    services = [diagnostic.severity == "ok" for diagnostic in diagnostics if diagnostic.service is not None]
    offered = f", with {sum(services)} of {len(services)} services" if services else ""
    return f"This machine can work{offered}: {numbers or 'no problems found'}."
