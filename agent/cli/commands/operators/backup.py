"""`aitbc-agent backup` and `restore`: copy the data that must not be lost, even while the agent runs, and restore it.

A backup has the layout of a data directory, plus a manifest with the digests of its files. It contains the keys, so it is readable
by its owner only and must be protected like them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from agent import __version__
from agent.atomic_file import sync_directory
from agent.cli import agent_file
from agent.cli.options import AsJson, ConfigFile, DataDir, print_json, settings_from
from agent.coordinator.blobs.directory import ArtifactDirectory, directory_of
from agent.coordinator.features.log.fsck import Examination, examine
from agent.coordinator.features.log.sequencer import PUBLISHED, LogInconsistent, read_published
from agent.coordinator.installed import EXAMINERS, check_database
from agent.coordinator.signer import load_signer
from agent.coordinator.store.artifacts import stored
from agent.coordinator.store.schema.upgrade import require_usable
from agent.coordinator.store.sqlite.backup import copy_database
from agent.coordinator.store.sqlite.database import reading, sqlite_path
from agent.core.errors import ConfigurationError
from agent.settings import Settings

MANIFEST: Final = "backup.json"
FORMAT: Final = 1
DATABASE: Final = "coordinator/coordinator.db"
ARTIFACTS: Final = "coordinator/artifacts"
# The checkpoint is copied before the database, so that the database is never older.
FILES: Final = (
    "agent.toml", "models.toml", "miner/identity.key", "miner/name", "miner/api_key.json", "coordinator/log.key", "coordinator/links.key",
    "coordinator/keys.json", f"coordinator/{PUBLISHED}",
)  # fmt: skip


_UNFINISHED_SECONDS: Final = 86_400.0
_PREFIX: Final = "aitbc-"
_NAMES: Final = f"{_PREFIX}20[0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9][0-9][0-9][0-9][0-9]Z"


@dataclass(slots=True)
class Summary:
    """The manifest of a backup: its files with their digests, and its number of log leaves.

    `artifacts` is their number, or None if they were left out; `lost` counts those that the coordinator itself was missing.
    """

    created_at: str
    agent_version: str = __version__
    format: int = FORMAT
    leaves: int = 0
    artifacts: int | None = None
    lost: int = 0
    files: dict[str, str] = field(default_factory=dict)


def backup(
    directory: Annotated[
        Path,
        typer.Argument(
            help="Directory of the backup, which must not exist yet; with --keep, of all backups."
        ),
    ],
    keep: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Create a backup named after the time in DIRECTORY, then delete all but the newest N. Default: delete nothing.",
        ),
    ] = None,
    artifacts: Annotated[
        bool, typer.Option("--artifacts", help="Include the files of jobs, which may be many gigabytes.")
    ] = False,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Copy database, keys and settings, whether or not the agent is running, and check the copy.

    Examples:
      aitbc-agent backup /mnt/disk/aitbc-before-the-upgrade
      aitbc-agent backup --keep 7 /mnt/disk/aitbc
    """
    settings = settings_from(data_dir, config)
    _require_file(settings, "pg_dump --format=custom --file=FILE URL")
    every = directory
    if keep is not None:
        directory = every / f"{_PREFIX}{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}"
        _remove_unfinished(every)
    if directory.exists():
        raise ConfigurationError(f"{directory} already exists. Choose a new directory.")
    # Under another name until it is complete and checked, so that a directory with its name is always a whole backup.
    partial = directory.with_name(f"{directory.name}.partial")
    if partial.exists():
        raise ConfigurationError(f"{partial} remains from an unfinished backup. Remove it and try again.")
    partial.mkdir(mode=0o700, parents=True)
    try:
        summary = _gather(settings, partial, with_artifacts=artifacts)
    except BaseException:
        # It contains secret keys, which must not stay where nobody looks for them.
        shutil.rmtree(partial)
        raise
    agent_file.write_private(partial / MANIFEST, asdict(summary))
    # Before the rename: a complete name over files that a power failure has emptied would be worse than no backup.
    sync_directory(partial)
    partial.replace(directory)
    # Only now, so that a failure leaves the older ones.
    deleted = [] if keep is None else _delete_old(every, keep)
    if as_json:
        print_json({"directory": directory.absolute(), "deleted": deleted, **asdict(summary)})
        return
    files = "without the files of jobs" if summary.artifacts is None else f"{summary.artifacts} files of jobs"
    typer.echo(f"{directory}: {len(summary.files)} files, {summary.leaves} leaves of the log, {files}")
    if summary.lost:
        typer.echo(
            f"{summary.lost} more files of jobs are in the database, but missing or damaged on the disk.",
            err=True,
        )
    if deleted:
        typer.echo(f"Deleted {', '.join(path.name for path in deleted)}.")
    typer.echo("The backup contains secret keys. Store it where only you can read it.")


def _delete_old(directory: Path, keep: int) -> list[Path]:
    """Delete all but the newest backups that `--keep` has created. Returns the deleted ones."""
    # Whole backups only: others may be the operator's own.
    backups = sorted(path for path in directory.glob(_NAMES) if (path / MANIFEST).is_file())
    for path in backups[:-keep]:
        shutil.rmtree(path)
    return backups[:-keep]


def _remove_unfinished(directory: Path) -> None:
    """Remove what a backup with `--keep` left that a power failure or a kill has interrupted: it has secret keys, and nobody looks for them."""
    for path in directory.glob(f"{_NAMES}.partial"):
        # Another backup may be in progress.
        if path.stat().st_mtime < time.time() - _UNFINISHED_SECONDS:
            shutil.rmtree(path)


def _require_file(settings: Settings, instead: str) -> None:
    """Raise `ConfigurationError` if a server has the database, which has programs of its own for this."""
    if settings.database.on_postgres:
        raise ConfigurationError(
            f"database.url names a PostgreSQL server. Use its own programs: {instead}. Copy the keys and settings as well "
            f"({', '.join(FILES)} in {settings.data_dir}), and then run aitbc-agent fsck."
        )


def restore(
    directory: Annotated[Path, typer.Argument(help="A backup.")],
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Restore a backup into a data directory without an agent, and check it.

    Examples:
      aitbc-agent restore /mnt/disk/aitbc/aitbc-2026-12-01T030000Z
    """
    settings = settings_from(data_dir, config)
    _require_file(settings, "pg_restore --dbname=URL FILE")
    summary = _read_summary(directory)
    if summary["artifacts"] is not None:
        _check_artifacts(directory, summary["artifacts"])
    targets = {name: _target(settings, name) for name in summary["files"]}
    with agent_file.exclusive(settings):
        # All of them before the first copy, so that a refusal leaves nothing half restored.
        existing = [str(target) for target in targets.values() if target.exists()]
        if existing:
            raise ConfigurationError(
                f"{existing[0]} already exists. Move the old data away, or give another directory with --data-dir."
            )
        for name, target in targets.items():
            _copy(directory / name, target)
        if summary["artifacts"] is not None:
            _copy_artifacts(directory / ARTIFACTS, _artifacts_of(settings))
    database = targets.get(DATABASE)
    examination = None if database is None else _examined(database, settings.data_dir, settings)
    if as_json:
        print_json(
            {"data_dir": settings.data_dir, "files": list(targets.values()), "leaves": summary["leaves"]}
        )
        return
    typer.echo(f"{settings.data_dir}: {len(targets)} files restored from {summary['created_at']}")
    if examination is not None:
        typer.echo(f"checked: {examination.leaves} leaves, {examination.receipts} receipts, no problems")


def _gather(settings: Settings, target: Path, *, with_artifacts: bool) -> Summary:
    """Copy all files and check the database. Artifacts that arrive during the copy are copied afterwards."""
    summary = Summary(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
    for name in FILES:
        if (source := settings.data_dir / name).exists():
            _copy(source, target / name)
            summary.files[name] = _digest(target / name)
    source = sqlite_path(settings.database.url, settings.data_dir)
    # A database that was moved to a server is a stale copy, and backing it up would hide that.
    check_database(settings)
    if source.exists():
        if with_artifacts:
            # Before the database. Rows are written after their files, so nearly every row in the copy finds its file here.
            _copy_artifacts(_artifacts_of(settings), target / ARTIFACTS)
        copy = target / DATABASE
        copy.parent.mkdir(exist_ok=True, mode=0o700)
        copy.touch(mode=0o600)
        copy_database(source, copy)
        summary.files[DATABASE] = _digest(copy)
        summary.leaves = _examined(copy, target, settings).leaves
        if with_artifacts:
            summary.artifacts, summary.lost = _complete_artifacts(settings, copy, target)
    if not summary.files:
        raise ConfigurationError(
            f"There is nothing to back up in {settings.data_dir}. Give another directory with --data-dir."
        )
    return summary


def _examined(database: Path, directory: Path, settings: Settings) -> Examination:
    """Check a database with the keys in `directory`. Raises `ConfigurationError` if there are problems."""
    signer = load_signer(directory / "coordinator/log.key", settings.coordinator.origin)
    try:
        published = read_published(directory / "coordinator" / PUBLISHED, signer.vkey)
    except LogInconsistent as error:
        raise ConfigurationError(f"{error}. See docs/reference/transparency-log.md.") from None
    with reading(database) as connection:
        require_usable(connection)
        examination = examine(
            connection, signer.vkey, {} if published is None else {PUBLISHED: published}, EXAMINERS
        )
    if examination.problems:
        first = examination.problems[0]
        raise ConfigurationError(
            f"The check found {len(examination.problems)} problems, the first: {first.kind} {first.where}: {first.message}. "
            "Run `aitbc-agent fsck` and see docs/reference/transparency-log.md."
        )
    return examination


def _check_artifacts(directory: Path, count: int) -> None:
    """Check the digest of every artifact of a backup. Raises `ConfigurationError`, also if there are fewer than `count`."""
    blobs = list(_blobs(directory / ARTIFACTS))
    changed = [blob for blob in blobs if _digest(blob) != _named_digest(blob)]
    if changed:
        raise ConfigurationError(
            f"{len(changed)} of {len(blobs)} files of jobs in the backup have changed, the first: {changed[0]}. Nothing was "
            "restored. Use another backup, or replace them with undamaged copies: each is named after the SHA-256 of its content."
        )
    if len(blobs) < count:
        raise ConfigurationError(
            f"{count - len(blobs)} of {count} files of jobs are missing from {directory / ARTIFACTS}. Nothing was restored. "
            "Use another backup."
        )


def _complete_artifacts(settings: Settings, database: Path, target: Path) -> tuple[int, int]:
    """Copy the artifacts that have arrived in the meantime. Returns the number of copied and of missing artifacts."""
    source, copies = (
        ArtifactDirectory(root, max_size=0) for root in (_artifacts_of(settings), target / ARTIFACTS)
    )
    count = lost = 0
    with reading(database) as connection:
        for _, _, name in stored(connection):
            copy = copies.path(name)
            copied = copy.exists() or _copy_artifact(source.path(name), copy)
            count += copied
            lost += not copied
    return count, lost


def _copy_artifacts(source: Path, target: Path) -> None:
    for blob in _blobs(source):
        _copy_artifact(blob, target / blob.parent.name / blob.name)


def _blobs(root: Path) -> Iterator[Path]:
    for directory in sorted(root.glob("[0-9a-f][0-9a-f]")):
        yield from directory.iterdir()


def _copy_artifact(blob: Path, target: Path) -> bool:
    """Copy an artifact. Returns False, without a copy, if it is damaged or has been deleted in the meantime."""
    try:
        _copy(blob, target)
    except FileNotFoundError:
        return False
    if _digest(target) == _named_digest(target):
        return True
    typer.echo(
        f"{blob} is damaged: its content does not match its name. It is left out. Check the disk.", err=True
    )
    target.unlink()
    return False


def _named_digest(blob: Path) -> str:
    """Return the SHA-256 in the path of a blob."""
    return f"{blob.parent.name}{blob.name.partition('.')[0]}"


def _artifacts_of(settings: Settings) -> Path:
    """Return the directory of the files of jobs. Raises `ConfigurationError` if they are in a bucket."""
    directory = directory_of(settings)
    if directory is None:
        raise ConfigurationError(
            f"The files of jobs are in {settings.artifacts.url}. Leave out --artifacts, and back up the bucket with the means of its "
            "service, such as versions or replication."
        )
    return directory


def _copy(source: Path, target: Path) -> None:
    """Copy a file durably, readable by its owner only."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with source.open("rb") as read:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as written:
            shutil.copyfileobj(read, written, 1 << 20)
            written.flush()
            os.fsync(written.fileno())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _target(settings: Settings, name: str) -> Path:
    if name == DATABASE:
        return sqlite_path(settings.database.url, settings.data_dir)
    return settings.data_dir / name


def _read_summary(directory: Path) -> dict[str, Any]:
    """Read the manifest of a backup and check its files. Raises `ConfigurationError`."""
    try:
        summary: dict[str, Any] = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        files = dict(summary["files"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigurationError(f"{directory} is not a backup: it has no readable {MANIFEST}.") from None
    if summary.get("format") != FORMAT:
        raise ConfigurationError(f"{directory} was created by a newer aitbc-agent. Upgrade this one.")
    expected_files = {*FILES, DATABASE}
    for name, digest in files.items():
        path = directory / name
        if name not in expected_files or not path.is_file() or _digest(path) != digest:
            raise ConfigurationError(f"{path} has changed since the backup. Use another backup.")
    return summary
