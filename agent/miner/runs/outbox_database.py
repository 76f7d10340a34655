"""The outbox's file: a SQLite database with durable commits."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import orjson

from agent.core.errors import ConfigurationError
from agent.fault_points import reach

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entries (
    job_id TEXT NOT NULL, fence INTEGER NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL,
    directory TEXT, created_at REAL NOT NULL, PRIMARY KEY (job_id, fence)
) STRICT;
CREATE TABLE IF NOT EXISTS artifacts (
    job_id TEXT NOT NULL, fence INTEGER NOT NULL, position INTEGER NOT NULL, artifact_id TEXT NOT NULL,
    path TEXT NOT NULL, name TEXT NOT NULL, media_type TEXT NOT NULL, size INTEGER NOT NULL,
    uploaded INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (job_id, fence, position)
) STRICT;
"""
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class OutboxArtifact:
    """An output file, which must be stored at the coordinator before its result is sent. `size` is in bytes."""

    artifact_id: str
    path: Path
    name: str
    media_type: str
    size: int
    uploaded: bool = False

    def to_wire(self) -> dict[str, Any]:
        """Return the file as a result or an `output` event names it."""
        return {
            "artifact_id": self.artifact_id,
            "name": self.name,
            "media_type": self.media_type,
            "size": self.size,
        }


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """The outcome of one lease. `body` is sent unchanged; `directory` is deleted after the acknowledgement."""

    job_id: str
    fence: int
    kind: Literal["result", "fail"]
    body: dict[str, Any]
    artifacts: tuple[OutboxArtifact, ...] = ()
    directory: Path | None = None
    created_at: float = field(default_factory=time.time)


class OutboxDatabase:
    """All methods block, and must be called from one thread. Those that write raise `OSError` if the disk refuses."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection
        self.directories: frozenset[Path] = frozenset()

    def open(self) -> list[tuple[str, int]]:
        """Open the file and return the keys of its entries, the oldest first. Raises `ConfigurationError`."""
        try:
            # Before SQLite creates it with the umask's mode: results are private.
            self._path.touch(mode=0o600)
            self._connection = sqlite3.connect(self._path, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            # A result that is acknowledged to nobody exists only here, so each commit reaches the disk.
            self._connection.execute("PRAGMA synchronous = FULL")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version > _VERSION:
                raise ConfigurationError(f"{self._path} was written by a newer agent. Update this one.")
            self._connection.executescript(f"{_SCHEMA} PRAGMA user_version = {_VERSION};")
            rows = self._connection.execute(
                "SELECT job_id, fence, directory FROM entries ORDER BY created_at, rowid"
            ).fetchall()
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(
                f"The unsent results in {self._path} cannot be read ({error}). If the file is damaged, move it away; "
                "its results are lost, but new ones can be saved."
            ) from error
        self.directories = frozenset(Path(directory) for _, _, directory in rows if directory is not None)
        return [(job_id, fence) for job_id, fence, _ in rows]

    def put(self, entry: OutboxEntry) -> None:
        """Insert an entry durably."""
        body = orjson.dumps(entry.body)
        files = [
            (entry.job_id, entry.fence, position, item.artifact_id, str(item.path), item.name, item.media_type, item.size)
            for position, item in enumerate(entry.artifacts)
        ]  # fmt: skip
        directory = None if entry.directory is None else str(entry.directory)
        with self._transaction("put") as connection:
            connection.execute(
                "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)",
                (entry.job_id, entry.fence, entry.kind, body, directory, entry.created_at),
            )
            connection.executemany("INSERT INTO artifacts VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)", files)

    def get(self, key: tuple[str, int]) -> OutboxEntry:
        """Read an entry again."""
        kind, body, directory, created_at = self._connection.execute(
            "SELECT kind, body, directory, created_at FROM entries WHERE job_id = ? AND fence = ?", key
        ).fetchone()
        rows = self._connection.execute(
            "SELECT artifact_id, path, name, media_type, size, uploaded FROM artifacts"
            " WHERE job_id = ? AND fence = ? ORDER BY position",
            key,
        ).fetchall()
        artifacts = tuple(
            OutboxArtifact(artifact_id, Path(file), name, media_type, size, bool(uploaded))
            for artifact_id, file, name, media_type, size, uploaded in rows
        )
        path = None if directory is None else Path(directory)
        return OutboxEntry(*key, kind, orjson.loads(body), artifacts, path, created_at)

    def mark_uploaded(self, entry: OutboxEntry, artifact: OutboxArtifact) -> None:
        """Record that a file is stored, so that a restart does not send it again."""
        with self._transaction("mark_uploaded") as connection:
            connection.execute(
                "UPDATE artifacts SET uploaded = 1 WHERE job_id = ? AND fence = ? AND artifact_id = ?",
                (entry.job_id, entry.fence, artifact.artifact_id),
            )

    def replace(self, entry: OutboxEntry, kind: Literal["result", "fail"], body: dict[str, Any]) -> None:
        """Replace the outcome of a lease with one without files."""
        key = (entry.job_id, entry.fence)
        with self._transaction("replace") as connection:
            connection.execute("DELETE FROM artifacts WHERE job_id = ? AND fence = ?", key)
            connection.execute(
                "UPDATE entries SET kind = ?, body = ? WHERE job_id = ? AND fence = ?",
                (kind, orjson.dumps(body), *key),
            )

    def remove(self, key: tuple[str, int]) -> Path | None:
        """Delete an entry and return its directory."""
        with self._transaction("remove") as connection:
            row = connection.execute(
                "DELETE FROM entries WHERE job_id = ? AND fence = ? RETURNING directory", key
            ).fetchone()
            connection.execute("DELETE FROM artifacts WHERE job_id = ? AND fence = ?", key)
        return None if row is None or row[0] is None else Path(row[0])

    @contextmanager
    def _transaction(self, name: str) -> Iterator[sqlite3.Connection]:
        try:
            with self._connection:  # commits, or rolls back
                # Takes the write lock now, so that a full disk is noticed here and not in the middle.
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                reach("outbox.before_commit", name, full=_disk_full)
            reach("outbox.after_commit", name)
        except sqlite3.Error as error:
            raise OSError(f"the outbox cannot be written: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _disk_full() -> BaseException:
    return sqlite3.OperationalError("database or disk is full")
