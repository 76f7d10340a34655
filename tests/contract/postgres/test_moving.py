"""A move from SQLite to PostgreSQL: what it refuses, what it finds, and what it changes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from nacl.signing import SigningKey

from agent.coordinator.features.replicas.comparison import CopyComparison, compare
from agent.coordinator.features.replicas.moved import mark_path
from agent.coordinator.features.replicas.opening import reading, server_of
from agent.coordinator.features.replicas.store.moving import Move, moving
from agent.coordinator.installed import EXAMINERS, METRICS, open_database
from agent.coordinator.signer import Signer
from agent.coordinator.store import ledger
from agent.core.errors import ConfigurationError
from agent.metrics import Meter
from agent.settings import Settings
from agent.settings.coordinator import DatabaseSettings
from support.servers import postgres
from support.servers.databases import create_database

pytestmark = pytest.mark.system

SIGNER = Signer("log.example.org", SigningKey(bytes(32)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A SQLite file with an account that has money, and whose name contains NUL."""
    path = tmp_path / "coordinator/coordinator.db"
    create_database(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("INSERT INTO accounts VALUES ('account_1', ?, 0.1)", ("a\0b",))
        database.execute(
            "INSERT INTO transactions VALUES ('tx_1', 'credit', 'settled', 'account_1', NULL, NULL, 0, 7, 0, '', 0.1, 0.1)"
        )
        for account, amount in (("issued", -7), ("available:account_1", 7)):
            database.execute("INSERT INTO postings VALUES ('tx_1', 'credit', ?, ?)", (account, amount))
            database.execute("INSERT INTO balances VALUES (?, 0, ?)", (account, amount))
        database.commit()
    return path


@pytest.fixture
def target() -> Iterator[DatabaseSettings]:
    """An empty database."""
    url = postgres.shared().new_database("template1")
    yield DatabaseSettings(url=url)
    postgres.shared().drop(url)


def start(path: Path, settings: DatabaseSettings) -> None:
    open_database(Settings(data_dir=path.parents[1], database=settings), Meter(METRICS)).close()


def copied(path: Path, target: DatabaseSettings, *, finish: bool) -> tuple[Move, CopyComparison]:
    with moving(path, server_of(target)) as (move, source):
        for _ in move.copy():
            pass
        with reading(target) as copy:
            comparison = compare(source, copy, SIGNER.vkey, {}, EXAMINERS)
        if finish:
            move.finish()
    return move, comparison


def change(target: DatabaseSettings, statement: str) -> None:
    with psycopg.connect(str(target.url)) as connection:
        connection.execute(statement.encode())


def test_a_copy_that_differs_is_found(path: Path, target: DatabaseSettings) -> None:
    """In the number of rows, in money, or in the log; and no coordinator starts on it."""
    copied(path, target, finish=False)
    change(target, "UPDATE postings SET amount = amount + 1 WHERE ledger_account = 'issued'")
    change(target, "INSERT INTO accounts VALUES ('account_2', '', 0)")
    change(target, "INSERT INTO log_leaves VALUES (0, 'tx_1', 'x')")
    _, comparison = copied(path, target, finish=False)
    differences = "\n".join(comparison.differences)
    assert "accounts has 1 rows in the source and 2 in the copy" in differences
    assert "of issued add up to (-7, -7) in the source, and to (-6, -7)" in differences
    assert "the log of the source has the root" in differences
    with pytest.raises(ConfigurationError, match="is not complete yet"):
        start(path, target)


def test_only_the_target_is_used_afterwards(path: Path, target: DatabaseSettings) -> None:
    with moving(path, server_of(target)) as (move, _):
        assert not move.has_finished()
    move, comparison = copied(path, target, finish=True)
    assert (comparison.differences, move.replaced) == ([], {"accounts.name": 1})
    assert comparison.rows["postings"] == 2
    start(path, target)
    with reading(target) as copy:
        assert ledger.balance(copy, "available:account_1") == 7
    with pytest.raises(ConfigurationError, match="only a backup"):
        start(path, DatabaseSettings())
    with moving(path, server_of(target)) as (move, _):
        assert move.has_finished()
    with (
        pytest.raises(ConfigurationError, match="was moved, to"),
        moving(path, server_of(DatabaseSettings(url="postgresql:///other"))),
    ):
        pass


def test_a_target_that_is_not_empty_is_refused(path: Path, target: DatabaseSettings) -> None:
    """Nothing is marked: the coordinator starts on the file as before."""
    start(path, target)
    with pytest.raises(ConfigurationError, match="not empty"):
        copied(path, target, finish=False)
    start(path, DatabaseSettings())


def test_the_copy_of_another_installation_is_refused(path: Path, target: DatabaseSettings) -> None:
    copied(path, target, finish=False)
    mark_path(path).unlink()
    with pytest.raises(ConfigurationError, match="unfinished copy of another migration"):
        copied(path, target, finish=False)
