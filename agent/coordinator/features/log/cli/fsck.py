"""`aitbc-agent fsck`: check that the coordinator's log, receipts and ledger are consistent."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer

from agent.cli.options import AsJson, ConfigFile, DataDir, print_json, settings_from
from agent.coordinator.features.log.fsck import Examination, examine
from agent.coordinator.features.log.offline import NOT_VALID, own_log_key
from agent.coordinator.features.log.sequencer import PUBLISHED, LogInconsistent, read_published
from agent.coordinator.installed import EXAMINERS, open_blobs, read_database
from agent.coordinator.operations.files.examination import examine_artifacts
from agent.coordinator.store.database import Connection
from agent.coordinator.store.schema.upgrade import require_usable
from agent.core.errors import ConfigurationError, ServiceUnavailable
from agent.settings import Settings
from aitbc.log import Checkpoint, open_checkpoint

ORPHAN_ROUNDS: Final = 2
"""Blobs without a row count as problems at this multiple of the age at which a running coordinator removes them."""


def fsck(
    data_dir: DataDir = None,
    config: ConfigFile = None,
    log_key: Annotated[
        str | None,
        typer.Option(
            help="Public key of the log, for a copy without log.key.", show_default="this agent's own"
        ),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None, typer.Option(help="A checkpoint that a third party has stored; may be repeated.")
    ] = None,
    artifacts: Annotated[
        bool, typer.Option("--artifacts", help="Compare the store of files with the database, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Rebuild the log from the database, check it and the ledger. Changes nothing. Exit code 3: there are problems.

    Examples:
      aitbc-agent fsck
      aitbc-agent fsck --artifacts
    """
    settings = settings_from(data_dir, config)
    key = log_key or own_log_key(settings)
    checkpoints = {str(path): open_checkpoint(path.read_bytes(), key) for path in checkpoint or ()}
    # Read before the database: a running agent publishes a checkpoint only after it has stored it.
    published, fault = _published(settings.data_dir / "coordinator" / PUBLISHED, key)
    if published is not None:
        checkpoints[PUBLISHED] = published
    with read_database(settings) as connection:
        require_usable(connection)
        result = examine(connection, key, checkpoints, EXAMINERS)
        files = _examine_files(settings, connection, result) if artifacts else None
    if fault is not None:
        result.find("checkpoint", PUBLISHED, fault)
    if as_json:
        summary = {
            name: value
            for name, value in asdict(result).items()
            if not name.startswith("_") and name != "others"
        }
        print_json({"ok": not result.problems, **summary, **result.others, "artifacts": files})
    else:
        _print(result, files)
    if result.problems:
        raise typer.Exit(NOT_VALID)


def _examine_files(settings: Settings, connection: Connection, result: Examination) -> int:
    store = open_blobs(settings)

    async def work() -> int:
        try:
            older_than = time.time() - ORPHAN_ROUNDS * settings.coordinator.orphan_seconds
            return await examine_artifacts(connection, store, result.find, older_than=older_than)
        finally:
            await store.close()

    try:
        return asyncio.run(work())
    except ServiceUnavailable as error:
        raise ConfigurationError(
            f"{error.message} Check the settings of `artifacts` with `aitbc-agent doctor`."
        ) from None


def _published(path: Path, log_key: str) -> tuple[Checkpoint | None, str | None]:
    try:
        return read_published(path, log_key), None
    except LogInconsistent as error:
        return None, str(error)


def _print(result: Examination, files: int | None) -> None:
    for problem in result.problems:
        typer.echo(f"{problem.kind:<12} {problem.where}: {problem.message}")
    other_counts = "".join(f"{count} {name}, " for name, count in result.others.items())
    typer.echo(
        f"{result.leaves} leaves ({result.waiting} more without a number yet), {result.receipts} receipts, {result.settlements} "
        f"settlements, {other_counts}{result.checkpoints} checkpoints, {result.cosignatures} cosignatures"
    )
    if files is not None:
        typer.echo(f"{files} artifacts compared with the store of files")
    count = len(result.problems)
    typer.echo("ok" if not count else f"{count} problem{'' if count == 1 else 's'}")
