"""`aitbc-agent logs`: what the agent of this machine has done, in sentences; and what its engines printed."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from agent.cli.options import ConfigFile, DataDir, settings_from
from agent.cli.support.records import UNITS
from agent.cli.systemd import systemctl
from agent.cli.systemd.systemctl import SystemdUnavailable
from agent.cli.terminal.log_entries import POLL_SECONDS, AgentLog, Entry, FileSource, JournalSource
from agent.cli.terminal.log_lines import COLOURS, RESET, meaning
from agent.cli.terminal.sentences import is_of_the_coordinator
from agent.core.errors import ConfigurationError
from agent.core.values.durations import parse_duration
from aitbc.cli._controls import harmless, unguarded

_LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_ENGINES: Final = Path("miner/logs")
"""Below the data directory."""


def logs(
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new lines, until Ctrl-C.")
    ] = False,
    lines: Annotated[
        int,
        typer.Option(
            "--lines", "-n", min=1, metavar="N", help="Number of the newest lines, without --since."
        ),
    ] = 50,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help='Only newer lines: "2h", "today", "yesterday", "2026-11-30" or "2026-11-30 18:00".',
        ),
    ] = None,
    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        typer.Option(
            metavar="LEVEL", help="Only lines of this severity or a higher one: info, warning or error."
        ),
    ] = "info",
    job: Annotated[
        str | None, typer.Option(metavar="JOB", help="Only lines about this job: its id, or the beginning.")
    ] = None,
    service: Annotated[
        str | None,
        typer.Option(metavar="SERVICE", help="Only lines about this service, such as llm_inference."),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="SERVICE",
            help="Instead, what the engine of this service printed, which may quote clients' data.",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the entries as they are stored, as one JSON object per line."),
    ] = False,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Show what the agent has done, in sentences. The agent need not be running.

    The lines come from its log file, or from systemd's journal if it runs as a service.

    Examples:
      aitbc-agent logs -f
      aitbc-agent logs --since today --level warning
      aitbc-agent logs --job job_2k4w
      aitbc-agent logs --engine llm_inference
    """  # fmt: skip
    directory = settings_from(data_dir, config).data_dir
    moment = None if since is None else _moment(since)
    with suppress(KeyboardInterrupt):
        if engine is not None:
            _print_engine(directory / _ENGINES, engine, lines, follow=follow)
            return
        start = FileSource(directory).latest_start()
        source = _source(directory, start, moment)
        # A miner beside its coordinator has lines of its own about each job.
        left_out = not as_json and (start or {}).get("command") == "start"
        wanted = _Wanted(moment, _LEVELS.index(level), job, service, left_out)
        _print(source, wanted, None if since is not None else lines, as_json=as_json, follow=follow)


def _print(source: AgentLog, wanted: _Wanted, limit: int | None, *, as_json: bool, follow: bool) -> None:
    stored: Iterable[Entry] = filter(wanted, source.stored())
    show = _show_json if as_json else _show
    if not as_json:
        stored = (entry for entry in stored if _text(entry) is not None)
    printed = 0
    for entry in stored if limit is None else deque(stored, limit):
        show(entry)
        printed += 1
    if not printed and not as_json:
        typer.echo("No line of the log matches.", err=True)
    if follow:
        for entry in filter(wanted, source.following()):
            show(entry)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Chooses entries. `since` is in seconds since the epoch, `least` the position of a level."""

    since: float | None
    least: int
    job: str | None
    service: str | None
    without_coordinator: bool

    def __call__(self, entry: Entry) -> bool:
        level = entry.get("level", "info")
        # What Python itself writes, a traceback, has no level: it is shown with errors too.
        rank = _LEVELS.index(level) if level in _LEVELS else self.least
        return (
            rank >= self.least
            and not (self.without_coordinator and is_of_the_coordinator(entry))
            and (self.since is None or (_written_at(entry) or self.since) >= self.since)
            and (self.job is None or str(entry.get("job_id", "")).startswith(self.job))
            and (self.service is None or entry.get("service") == self.service)
        )


# Where the lines are -------------------------------------------------------------------------------------------------


def _source(data_dir: Path, start: Entry | None, since: float | None) -> AgentLog:
    """Return what holds the log of the agent that has started so, or of a service. Raises `ConfigurationError`, `SystemdUnavailable`."""
    if start is not None:
        file, unit = FileSource(data_dir), start.get("journal")
        return (
            file if unit is None else JournalSource(systemctl.find(user=bool(start.get("user"))), unit, since)
        )
    for user in (False, True):
        with suppress(SystemdUnavailable):
            manager = systemctl.find(user=user)
            for unit in UNITS:
                if manager.properties(unit, "LoadState").get("LoadState") == "loaded":
                    return JournalSource(manager, unit, since)
    raise ConfigurationError(
        f"There is no log in {data_dir}. Start an agent (`aitbc-agent start`), or name the data directory of another one with --data-dir."
    )


def _print_engine(directory: Path, service: str, lines: int, *, follow: bool) -> None:
    paths = sorted(directory.glob("*.log"))
    # A service has a file for each device.
    chosen = [path for path in paths if path.name.startswith(service)]
    if not chosen:
        names = ", ".join(sorted({path.name.partition("-")[0] for path in paths})) or "none yet"
        raise ConfigurationError(
            f"{directory} has no output of {service}. Engines that have printed something: {names}."
        )
    path = max(chosen, key=lambda path: path.stat().st_mtime)
    typer.echo(f"{path}:", err=True)
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in deque(file, lines):
            typer.echo(line, nl=False)
        while follow:
            if line := file.readline():
                typer.echo(line, nl=False)
            else:
                time.sleep(POLL_SECONDS)


def _moment(text: str) -> float:
    """Return the time in seconds since the epoch. Raises `typer.BadParameter`."""
    days = {"today": 0, "yesterday": 1}
    if text in days:
        day = date.today() - timedelta(days=days[text])  # noqa: DTZ011 - the owner's day
        return datetime.combine(day, datetime.min.time()).timestamp()
    with suppress(ValueError):
        return time.time() - parse_duration(text)
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise typer.BadParameter(
            f'{text!r} is no time. Write "2h", "30m", "today", "yesterday", "2026-11-30" or "2026-11-30 18:00".',
            param_hint="--since",
        ) from None


# How they look -------------------------------------------------------------------------------------------------------


def _show_json(entry: Entry) -> None:
    typer.echo(json.dumps(entry))


def _show(entry: Entry) -> None:
    if (line := _text(entry)) is None:
        return
    level = str(entry.get("level", "info"))
    if level in COLOURS and sys.stdout.isatty():
        # Past the guard that replaces control characters, which are the colours here.
        unguarded(sys.stdout).write(f"{COLOURS[level]}{harmless(line)}{RESET}\n")
    else:
        typer.echo(line if level not in COLOURS else f"{line} [{level}]")
    if trace := entry.get("exception"):
        typer.echo(trace if isinstance(trace, str) else json.dumps(trace))


def _text(entry: Entry) -> str | None:
    sentence = entry["event"] if "level" not in entry else meaning(entry)
    if sentence is None:
        return None
    moment = _written_at(entry)
    if moment is None:
        return str(sentence)
    local = datetime.fromtimestamp(moment)  # noqa: DTZ006 - the owner's time
    # A file or another program needs the date of each line.
    brief = sys.stdout.isatty() and local.date() == date.today()  # noqa: DTZ011 - as above
    return f"{local:%H:%M:%S}  {sentence}" if brief else f"{local:%Y-%m-%d %H:%M:%S}  {sentence}"


def _written_at(entry: Mapping[str, Any]) -> float | None:
    try:
        return datetime.fromisoformat(str(entry["timestamp"])).timestamp()
    except (KeyError, ValueError):
        return entry.get("written_at")
