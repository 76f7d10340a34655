"""Prepared statements: the same rows as with SQLAlchemy, in its transactions, and no silent conversions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    create_engine,
    insert,
    select,
    update,
)

from agent.coordinator.store.prepared import Prepared

items = Table(
    "items",
    MetaData(),
    Column("number", Integer, primary_key=True),
    Column("name", String(20)),
    Column("weight", Float),
    Column("content", LargeBinary),
    Column("good", Boolean),
)
ROW = {"number": 1, "name": "a", "weight": 0.5, "content": b"\x00\xff"}
by_number = Prepared(select(*items.c[:4]).where(items.c.number == bindparam("key")))


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """Return a connection to an empty table, in a transaction."""
    engine = create_engine(f"sqlite:///{tmp_path / 'items.db'}")
    items.metadata.create_all(engine)
    with engine.connect() as connection, connection.begin():
        yield connection


def test_rows_equal_those_of_sqlalchemy(connection: Connection) -> None:
    """For every type in use, including bytes and NULL."""
    insertion = Prepared(insert(items))
    assert insertion.run(connection, ROW) == 1
    insertion.run_many(connection, [{**ROW, "number": number, "content": None} for number in (2, 3)])
    insertion.run_many(connection, [])
    everything = Prepared(select(*items.c[:4]).order_by(items.c.number))
    expected = [tuple(row) for row in connection.execute(select(*items.c[:4]).order_by(items.c.number))]
    assert everything.rows(connection) == expected
    assert [row[3] for row in expected] == [b"\x00\xff", None, None]
    assert by_number.row(connection, {"key": 2}) == expected[1]
    assert by_number.scalar(connection, {"key": 2}) == 2
    assert by_number.row(connection, {"key": 9}) is None
    assert by_number.scalar(connection, {"key": 9}) is None


def test_one_statement_accepts_different_columns(connection: Connection) -> None:
    """It also returns how many rows it changed, and values in the statement itself need no name."""
    Prepared(insert(items)).run(connection, ROW)
    change = Prepared(update(items).where(items.c.number == bindparam("key"), items.c.name == "a"))
    assert change.run(connection, {"key": 1, "weight": 2.0}) == 1
    assert change.run(connection, {"key": 1, "weight": 3.0, "content": b"x"}) == 1
    assert change.run(connection, {"key": 2, "weight": 4.0}) == 0
    assert by_number.row(connection, {"key": 1}) == (1, "a", 3.0, b"x")


def test_one_statement_serves_many_keys_and_many_changes(connection: Connection) -> None:
    """Rows come in the order of the keys, and a change returns those that it has changed."""
    Prepared(insert(items)).run_many(connection, [{**ROW, "number": number} for number in (1, 2, 3)])
    assert [row[0] for row in by_number.rows_of(connection, "key", [1, 3, 9])] == [1, 3]
    change = Prepared(update(items).where(items.c.number == bindparam("key")).returning(items.c.number))
    many = [{"key": number, "weight": number / 2} for number in (2, 9, 3)]
    assert change.rows_many(connection, many) == [(2,), (3,)]
    assert by_number.row(connection, {"key": 3}) == (3, "a", 1.5, b"\x00\xff")


def test_a_missing_value_is_an_error_and_not_null(connection: Connection) -> None:
    with pytest.raises(TypeError, match="values are missing for key"):
        by_number.row(connection, {"number": 1})


def test_types_that_sqlalchemy_converts_are_refused(connection: Connection) -> None:
    """A Boolean would come back as a number."""
    with pytest.raises(TypeError, match="a value of this statement needs converting"):
        Prepared(insert(items)).run(connection, {**ROW, "good": True})
    with pytest.raises(TypeError, match="a column of this statement needs converting"):
        Prepared(select(items.c.good)).rows(connection)


def test_lists_of_values_are_refused(connection: Connection) -> None:
    """The statement would differ for each length."""
    with pytest.raises(TypeError, match="no fixed length"):
        Prepared(select(items.c.number).where(items.c.number.in_([1, 2]))).rows(connection)


def test_its_writes_belong_to_the_transaction(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'items.db'}")
    items.metadata.create_all(engine)
    with engine.connect() as connection:
        transaction = connection.begin()
        Prepared(insert(items)).run(connection, ROW)
        transaction.rollback()
        assert connection.execute(select(items.c.number)).all() == []
