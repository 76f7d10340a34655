"""`aitbc-agent selftest`: whether this machine computes right and fast, before strangers' jobs find out."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from agent.atomic_file import replace_file
from agent.cli.options import ConfigFile, DataDir, settings_from
from agent.cli.terminal import logs
from agent.core.errors import AgentError, ConfigurationError
from agent.core.values.durations import format_duration
from agent.miner.control import ControlUnavailable, ask
from agent.miner.data_dir import DataDirectory
from agent.miner.machine.selftest_report import Outcome, SelftestReport, latest
from agent.miner.selftest.selftest import DEFAULT_MINUTES, MAX_MINUTES, Selftest, sections
from agent.settings import Settings
from aitbc.cli._terminal.output import SafeConsole

POLL_SECONDS: Final = 0.5
COLORS: Final[dict[Outcome, str]] = {"fault": "red", "warning": "yellow", "ok": "green", "skipped": "dim"}
"""In the order of the output, the worst first."""


def selftest(
    data_dir: DataDir = None,
    config: ConfigFile = None,
    minutes: Annotated[
        float,
        typer.Option(
            "--minutes", min=0.01, max=MAX_MINUTES, help="Minutes of load. The rest takes up to three more."
        ),
    ] = DEFAULT_MINUTES,
    card: Annotated[
        list[str] | None,
        typer.Option("--card", help="Test only this card (UUID or number); repeatable.", show_default=False),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE", help="Also write the report to this file as JSON (-: print JSON only)."
        ),
    ] = None,
) -> None:
    """Test cards, memory, bus, video and a job of each service. A running agent does so itself, after its jobs. Exit code 1: a fault was found.

    Examples:
      aitbc-agent selftest
      aitbc-agent selftest --minutes 10
    """
    settings = settings_from(data_dir, config)
    logs.configure_quietly(settings.log)
    report = _test(settings, minutes, card or [])
    text = report.model_dump_json(indent=2)
    if json_file == Path("-"):
        typer.echo(text)
    else:
        _print(report)
        if json_file is not None:
            replace_file(json_file, text.encode())
    if not report.passed:
        raise typer.Exit(1)


def _test(settings: Settings, minutes: float, chosen: list[str]) -> SelftestReport:
    """Test here, or have the running agent test, which lets its jobs end first. Raises `ConfigurationError`, `AgentError`."""
    directory = DataDirectory(settings.data_dir.absolute() / "miner")
    try:
        directory.lock()
    except ConfigurationError as in_use:
        try:
            return asyncio.run(_by_agent(settings, minutes, chosen))
        except ControlUnavailable:
            raise in_use from None
    try:
        return asyncio.run(Selftest(settings, minutes=minutes, chosen=chosen, on_step=logs.step).run())
    finally:
        directory.unlock()


async def _by_agent(settings: Settings, minutes: float, chosen: list[str]) -> SelftestReport:
    before = await ask(settings.data_dir, "status")
    if "selftest" not in before:
        raise AgentError(
            "The running agent is too old for this command. Stop it (aitbc-agent stop), or restart it."
        )
    state = await ask(settings.data_dir, "selftest", minutes=minutes, cards=chosen)
    ended, step = state["ended"], ""
    try:
        while state["ended"] == ended:
            await asyncio.sleep(POLL_SECONDS)
            state = await ask(settings.data_dir, "selftest_state")
            waiting = f"The agent accepts no more jobs, and waits for {state['running']} to end"
            now = waiting if state["state"] == "waiting" and state["running"] else state["step"]
            if now and now != step:
                step = now
                logs.step(now)
    except asyncio.CancelledError:
        # Ctrl-C here is meant for the test. The agent goes on with its jobs.
        await ask(settings.data_dir, "selftest_stop")
        raise
    report = latest(settings.data_dir.absolute() / "miner")
    if state["failure"] is not None or report is None:
        raise AgentError(f"The agent could not test this machine. {state['failure'] or ''}".strip())
    return report


def _print(report: SelftestReport) -> None:
    console = SafeConsole()
    console.print(Text.assemble(("Self-test ", "bold"), _verdict(report)))
    ranks = list(COLORS)
    for name, checks in sections(report):
        console.print(Text(f"\n{name}", "bold"))
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        table.add_column()
        # A truncated path in a command would be useless.
        table.add_column(overflow="fold")
        for check in sorted(checks, key=lambda check: ranks.index(check.outcome)):
            text = Text(check.message)
            if check.remedy is not None:
                text = Text.assemble(text, (f"\n→ {check.remedy}", "bold"))
            table.add_row(Text(check.outcome, COLORS[check.outcome]), text)
        console.print(table)


def _verdict(report: SelftestReport) -> Text:
    counted = report.counted
    words = [
        f"{counted[outcome]} {outcome}{'s' if counted[outcome] > 1 else ''}"
        for outcome in ("fault", "warning")
        if counted[outcome]
    ]
    problems = f": {' and '.join(words)}" if words else ""
    color = "green" if report.passed else "red"
    return Text.assemble(
        (report.verdict, f"bold {color}"), f"{problems}, in {format_duration(report.seconds)}."
    )
