"""`aitbc-agent migrate`: move a coordinator from SQLite to PostgreSQL, and prove that nothing has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from agent.cli import agent_file
from agent.cli.options import AsJson, ConfigFile, DataDir, print_json, reading_from
from agent.configuring.editing import write_values
from agent.configuring.reading import SettingsReading
from agent.coordinator.features.log.offline import NOT_VALID, own_log_key
from agent.coordinator.features.log.sequencer import PUBLISHED, LogInconsistent, read_published
from agent.coordinator.features.replicas.comparison import CopyComparison, compare
from agent.coordinator.features.replicas.opening import reading, server_of
from agent.coordinator.features.replicas.store.sums import row_counts
from agent.coordinator.installed import EXAMINERS
from agent.coordinator.store.database import Connection
from agent.coordinator.store.sqlite.database import sqlite_path
from agent.core.errors import ConfigurationError
from agent.settings import Settings
from agent.settings.coordinator import DatabaseSettings
from aitbc.cli._terminal.output import SafeConsole

if TYPE_CHECKING:
    from agent.coordinator.features.replicas.store.moving import Move

_LINE_EVERY: Final = 10
"""Percentage points between two plain lines."""
_COMPARISON: Final = "comparison"
_OnStep = Callable[[str, int], None]


def migrate(
    to: Annotated[
        str, typer.Option("--to", help="An empty PostgreSQL database: postgresql://USER@HOST/DATABASE.")
    ],
    configure: Annotated[
        bool, typer.Option("--configure", help="Set database.url in the settings file at the end.")
    ] = False,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Move the coordinator's data from SQLite to PostgreSQL. Run it again after an interruption. Exit code 3: the copy differs."""
    settings_file = reading_from(data_dir, config)
    target = _target(settings_file.settings, to)
    path = sqlite_path(settings_file.settings.database.url, settings_file.settings.data_dir)
    server = server_of(target)
    from agent.coordinator.features.replicas.store.moving import moving  # noqa: PLC0415 - it needs the driver

    # No agent may write to the file meanwhile: what it stored would be missing from the copy.
    with agent_file.exclusive(settings_file.settings), moving(path, server) as (move, source):
        if finished_before := move.has_finished():
            comparison = None
        else:
            comparison = _moved(settings_file.settings, target, move, source, as_json=as_json)
        if configure:
            _configure(settings_file, to)
    if as_json:
        print_json(
            {"file": path, "target": move.target, "configured": configure, **_as_json(comparison, move)}
        )
        return
    if finished_before:
        typer.echo(f"{path} has already been moved to {move.target}.")
    elif comparison is not None:
        _print(path, move, comparison)
    _print_next(settings_file, configured=configure)


def _target(settings: Settings, to: str) -> DatabaseSettings:
    """Return the settings of the target. Raises `ConfigurationError` if there is no way from the present database to it."""
    if settings.database.on_postgres:
        raise ConfigurationError(
            "database.url names a PostgreSQL server already. `migrate` moves from SQLite to PostgreSQL only: between servers, use pg_dump and "
            "pg_restore."
        )
    target = settings.database.model_copy(update={"url": to})
    if not target.on_postgres:
        raise ConfigurationError(
            f"--to: write postgresql://USER@HOST/DATABASE, not {to.partition(':')[0]}. `migrate` moves to PostgreSQL only."
        )
    return target


def _moved(
    settings: Settings, target: DatabaseSettings, move: Move, source: Connection, *, as_json: bool
) -> CopyComparison:
    """Copy, compare, and put the target into use. Exits with `NOT_VALID` if the copy differs."""
    key = own_log_key(settings)
    try:
        published = read_published(settings.data_dir / "coordinator" / PUBLISHED, key)
    except LogInconsistent as error:
        raise ConfigurationError(f"{error}. See docs/reference/transparency-log.md.") from None
    checkpoints = {} if published is None else {PUBLISHED: published}
    total = sum(row_counts(source).values())
    with _shown(total) as on_step:
        for step, rows_copied in move.copy():
            on_step(step, rows_copied)
        on_step(_COMPARISON, total)
        with reading(target) as copy:
            comparison = compare(source, copy, key, checkpoints, EXAMINERS)
    if comparison.differences:
        if as_json:
            print_json({"target": move.target, **_as_json(comparison, move)})
        for difference in comparison.differences:
            typer.echo(difference, err=True)
        typer.echo(
            f"The copy in {move.target} differs from {move.path}, and no coordinator starts on it. Drop the database, create it again, delete "
            f"{move.path.name}.moved, and run the command again.",
            err=True,
        )
        raise typer.Exit(NOT_VALID)
    # Only after the comparison: from here on coordinators start on the copy.
    move.finish()
    return comparison


@contextmanager
def _shown(total: int) -> Iterator[_OnStep]:
    """Show the progress on standard error: a bar on a terminal, and some lines otherwise."""
    console = SafeConsole(stderr=True)
    # In a log, a bar that is drawn over itself would be thousands of lines.
    if not console.is_terminal:
        yield _lines(total)
        return
    columns = (
        TextColumn("{task.description:<28}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=total)
        yield lambda step, row_count: progress.update(task, description=step, completed=row_count)


def _lines(total: int) -> _OnStep:
    printed = -_LINE_EVERY

    def on_step(step: str, row_count: int) -> None:
        nonlocal printed
        percent = 100 * row_count // total if total else 100
        if percent >= printed + _LINE_EVERY or step == _COMPARISON:
            printed = percent
            typer.echo(f"{step}: {row_count} of {total} rows, {percent} %", err=True)

    return on_step


def _configure(settings_file: SettingsReading, to: str) -> None:
    """Set `database.url` in the settings file, which then has a secret: a URL may contain a password."""
    write_values(settings_file.file, {("database", "url"): to})


def _as_json(comparison: CopyComparison | None, move: Move) -> dict[str, Any]:
    if comparison is None:
        return {"moved": "before"}
    examination = comparison.examination
    return {
        "moved": None if comparison.differences else "now",
        "differences": comparison.differences,
        "rows": comparison.rows,
        "ledger_accounts": comparison.ledger_accounts,
        "leaves": examination.leaves,
        "root": examination.root,
        "receipts": examination.receipts,
        "problems": len(examination.problems),
        "replaced": move.replaced,
    }


def _print(path: Path, move: Move, comparison: CopyComparison) -> None:
    examination = comparison.examination
    typer.echo(
        f"{path} is moved to {move.target}: {sum(comparison.rows.values())} rows in {len(comparison.rows)} tables, "
        f"{comparison.ledger_accounts} ledger accounts, {examination.leaves} leaves of the log and {examination.receipts} receipts are the same in both."
    )
    typer.echo(f"root of the log: {examination.root}")
    if examination.problems:
        typer.echo(
            f"fsck finds {len(examination.problems)} problems, the same in both. Run `aitbc-agent fsck`.",
            err=True,
        )
    for column, count in move.replaced.items():
        typer.echo(
            f"{column}: the character NUL, which PostgreSQL cannot store, was replaced in {count} texts.",
            err=True,
        )


def _print_next(settings_file: SettingsReading, *, configured: bool) -> None:
    if configured:
        typer.echo(f"database.url is set in {settings_file.file}. Start the coordinator.")
    else:
        typer.echo(
            "Set database.url to the URL of the PostgreSQL database (in the environment: AITBC_DATABASE__URL), and start the coordinator."
        )
    typer.echo("The SQLite file is unchanged. Retain it as a backup; no coordinator starts on it.")
