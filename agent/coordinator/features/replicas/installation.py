"""What all replicas of an installation must have in common besides the database: its keys, and where its artifacts are.

The database has fingerprints of them, from the replica that started first. A replica with others would sign receipts that do not verify, refuse links of
the others, or miss artifacts, so it does not start.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import psycopg

from agent.core.errors import ConfigurationError
from aitbc.canonical import sha256_hex

MARK: Final = "installation.id"
"""The file that identifies a directory of artifacts."""

_TABLE: Final = "CREATE TABLE IF NOT EXISTS installation (name text PRIMARY KEY, value text NOT NULL)"
_ADD: Final = "INSERT INTO installation (name, value) VALUES (%s, %s) ON CONFLICT DO NOTHING"


def check_installation(
    connect: Callable[[], psycopg.Connection], keys: Mapping[Path, bytes], artifacts: Path | str
) -> None:
    """Raise `ConfigurationError` unless the key files and the artifacts are those of the installation's other replicas.

    `keys` are the contents of key files by their paths. `artifacts` is a directory, which must exist, or the URL of a bucket.
    """
    with connect() as connection:
        with connection.transaction():
            # Replicas that start at the same time would otherwise both create the table.
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('installation'))")
            connection.execute(_TABLE)
        for path, content in keys.items():
            if _common(connection, path.name, sha256_hex(content)) != sha256_hex(content):
                raise ConfigurationError(
                    f"{path} is not the key with which this database's installation was started, or the log's origin has changed. All replicas need the same: copy {path.name} "
                    "from the coordinator directory of the replica that started first."
                )
        if isinstance(artifacts, Path):
            _check_directory(connection, artifacts)
        elif (stored_url := _common(connection, "artifacts", artifacts)) != artifacts:
            raise ConfigurationError(
                f"artifacts.url is {artifacts}, but this database's installation stores its artifacts elsewhere ({stored_url}). All replicas "
                "need the same. If you have moved them, delete the row 'artifacts' from the table 'installation'."
            )


def _check_directory(connection: psycopg.Connection, artifacts: Path) -> None:
    mark = artifacts / MARK
    # Paths differ from machine to machine, so a file in the directory identifies it.
    ours = mark.read_text().strip() if mark.exists() else secrets.token_hex(16)
    if _common(connection, "artifacts", ours) != ours:
        raise ConfigurationError(
            f"{artifacts} is not the directory in which this database's installation stores its artifacts. All replicas need the same: mount "
            f"a shared volume there. If you have moved or restored the artifacts without {MARK}, delete the row 'artifacts' from the table "
            "'installation'."
        )
    if not mark.exists():
        mark.write_text(f"{ours}\n")


def _common(connection: psycopg.Connection, name: str, value: str) -> str:
    """Return the installation's value, which is this one if there was none."""
    connection.execute(_ADD, (name, value))
    row = connection.execute("SELECT value FROM installation WHERE name = %s", (name,)).fetchone()
    return "" if row is None else str(row[0])
