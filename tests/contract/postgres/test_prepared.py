"""Prepared statements over many rows on PostgreSQL, which get their values as arrays."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    create_engine,
    delete,
    insert,
    select,
    update,
)

from agent.coordinator.features.replicas.store.connecting import DatabaseServer, ServerLimits, engine
from agent.coordinator.features.replicas.store.prepared import PostgresStatement
from agent.coordinator.store.prepared import STATEMENTS, Prepared
from support.servers import postgres

pytestmark = pytest.mark.system

items = Table(
    "items",
    MetaData(),
    Column("number", BigInteger, primary_key=True),
    Column("name", String(20)),
    Column("words", Text),
    Column("weight", Float),
    Column("content", LargeBinary),
)
NAMES = ("number", "name", "words", "weight", "content")
everything = Prepared(select(*items.c).order_by(items.c.number))
insertion = Prepared(insert(items))
change = Prepared(
    update(items)
    .where(items.c.number == bindparam("key"), items.c.name == bindparam("known"), items.c.weight > 0)
    .returning(items.c.number)
)
by_number = Prepared(
    select(items.c.number)
    .where(items.c.number == bindparam("key"))
    .order_by(items.c.number)
    .with_for_update()
)
words = st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.sampled_from(
    ["null", "NULL", "", "{}", '"', "\\", "\\n", "\n", '{"a": "b\\n"}', "a,b", "\u2028"]
)  # fmt: skip
rows = st.lists(
    st.tuples(
        st.none() | st.text("ab{}\"\\,'", max_size=20),
        words,
        st.none() | st.floats(allow_nan=False) | st.integers(-(2**53), 2**53),
        st.none() | st.binary(max_size=20),
    ),
    min_size=2,
    max_size=8,
)


@pytest.fixture(scope="module")
def server() -> Iterator[DatabaseServer]:
    url = postgres.shared().new_database("template0")
    yield DatabaseServer(url, ServerLimits())
    postgres.shared().drop(url)


@pytest.fixture
def connection(server: DatabaseServer) -> Iterator[Connection]:
    """Return a connection to an empty table, in a transaction."""
    made = create_engine(
        "postgresql+psycopg://",
        creator=server.connect,
        execution_options={STATEMENTS: PostgresStatement},
    )
    with made.connect() as connection:
        transaction = connection.begin()
        items.metadata.create_all(connection)
        connection.execute(delete(items))
        yield connection
        transaction.rollback()
    made.dispose()


def stored(connection: Connection) -> list[tuple[Any, ...]]:
    return everything.rows(connection)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows)
def test_every_value_arrives_as_it_was(connection: Connection, values: list[tuple[Any, ...]]) -> None:
    """Also quotes, backslashes, line breaks, the word null, infinity, and integers among numbers with fractions."""
    connection.execute(delete(items))
    expected = [(number, *one) for number, one in enumerate(values)]
    many = [dict(zip(NAMES, row, strict=True)) for row in expected]
    assert insertion.run_many(connection, many) == len(many)
    assert stored(connection) == expected


def test_sums_of_integers_can_be_stored(connection: Connection) -> None:
    """The server returns them as decimal numbers."""
    row = dict.fromkeys(NAMES)
    insertion.run_many(connection, [row | {"number": Decimal(number)} for number in (2**40, 3)])
    assert [row[0] for row in stored(connection)] == [3, 2**40]


def test_a_text_that_is_too_long_is_refused_and_not_cut(connection: Connection) -> None:
    row = dict.fromkeys(NAMES)
    with pytest.raises(psycopg.errors.StringDataRightTruncation):
        insertion.run_many(connection, [row | {"number": number, "name": "a" * 21} for number in (1, 2)])


def test_the_character_nul_is_refused(connection: Connection) -> None:
    row = dict.fromkeys(NAMES)
    with pytest.raises(psycopg.DataError, match="NUL"):
        insertion.run_many(connection, [row | {"number": number, "words": "a\0"} for number in (1, 2)])


def test_rows_change_each_by_their_own_values(connection: Connection) -> None:
    """Only those that the statement's conditions hold for. It counts them, or returns what it is to return."""
    row = dict.fromkeys(NAMES)
    many = [row | {"number": number, "name": "a", "weight": number} for number in range(4)]
    insertion.run_many(connection, many)
    changes = [{"key": number, "known": "a", "words": f"w{number}"} for number in (3, 1, 0, 7)]
    assert change.run_many(connection, changes) == 2
    assert [row[2] for row in stored(connection)] == [None, "w1", None, "w3"]
    more = [{"key": number, "known": "a", "name": "b", "words": None} for number in (3, 2)]
    assert sorted(change.rows_many(connection, more)) == [(2,), (3,)]
    assert change.rows_many(connection, more[:1]) == []
    assert [row[1] for row in stored(connection)] == ["a", "a", "b", "b"]
    assert change.rows_many(connection, []) == []


def test_rows_are_deleted_each_by_their_own_values(connection: Connection) -> None:
    row = dict.fromkeys(NAMES)
    insertion.run_many(connection, [row | {"number": number, "name": f"n{number}"} for number in range(4)])
    deletion = Prepared(
        delete(items).where(items.c.number == bindparam("key"), items.c.name == bindparam("known"))
    )
    keys = [{"key": 1, "known": "n1"}, {"key": 2, "known": "n3"}, {"key": 0, "known": "n0"}]
    assert deletion.run_many(connection, keys) == 2
    assert [row[0] for row in stored(connection)] == [2, 3]


def test_rows_are_found_by_many_keys_in_the_querys_order(connection: Connection) -> None:
    """In this order it locks them too."""
    row = dict.fromkeys(NAMES)
    insertion.run_many(connection, [row | {"number": number} for number in range(4)])
    assert by_number.rows_of(connection, "key", [3, 9, 0, 1]) == [(0,), (1,), (3,)]
    assert by_number.rows_of(connection, "key", [2]) == [(2,)]
    assert by_number.rows_of(connection, "key", []) == []


def test_a_prepared_plan_reads_no_whole_table(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Even if it was made when the table was small and without statistics: then its rows would be found one after the other."""
    url = postgres.shared().new_database("template0")
    made = engine(DatabaseServer(url, ServerLimits()), size=1, read_only=False)
    try:
        with made.begin() as connection:
            items.metadata.create_all(connection)
        for size in (10, 10_000):
            with made.begin() as connection:
                connection.execute(delete(items))
                row = dict.fromkeys(NAMES, None)
                insertion.run_many(
                    connection, [row | {"number": number, "weight": 1.0} for number in range(size)]
                )
            for _ in range(8):  # the server settles on a plan after five executions
                with made.begin() as connection:
                    changes = [{"key": number, "known": "x", "words": "w"} for number in range(10)]
                    change.run_many(connection, changes)
        with made.begin() as connection:
            connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")
        with made.begin() as connection:
            read = connection.exec_driver_sql(
                "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'items'"
            )
            assert read.scalar_one() < 3 * 10_000  # the two deletions, and what came before them
    finally:
        made.dispose()
        postgres.shared().drop(url)
