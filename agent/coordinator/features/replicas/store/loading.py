"""Fills an empty PostgreSQL database with the rows of another one, in steps of which each is there as a whole or not at all.

Tables come first, without secondary indexes and foreign keys, which are faster to create over the rows. The position in the source is
stored in the transaction that stores the rows, so a copy that was interrupted at any moment continues where it was. Until the end,
`MOVING` is the schema's version, with which no coordinator starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

import psycopg
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    MetaData,
    String,
    Table,
    Text,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import AddConstraint, CreateIndex, CreateTable

from agent.coordinator.features.replicas.store.connecting import DatabaseServer, driver, engine
from agent.coordinator.features.replicas.store.failures import reason
from agent.coordinator.store.schema.tables import metadata
from agent.coordinator.store.schema.upgrade import HEAD, MOVING, VERSION, exclude_others, note_oldest
from agent.core.errors import ConfigurationError
from agent.fault_points import reach

MEMORY: Final = "256MB"
"""The server's memory for the creation of an index."""

START: Final = -(2**63)
"""The position before all rows."""

_positions: Final = Table(
    "migration",
    MetaData(),
    Column("table_name", Text, primary_key=True),
    Column("migration_id", String(32), nullable=False),
    # The number of the last row in the source, and how many rows are copied.
    Column("position", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
)


class LoadTarget:
    """A database that is being filled by the migration `migration_id`."""

    def __init__(self, connection: Connection, migration_id: str) -> None:
        self._connection = connection
        self._migration_id = migration_id

    def check(self) -> None:
        """Raise `ConfigurationError` if the database is neither empty nor this migration's own."""
        existing = self._existing()
        if _positions.name in existing:
            with self._connection.begin():
                migration_id = self._connection.scalars(select(_positions.c.migration_id).limit(1)).one()
            if migration_id != self._migration_id:
                raise ConfigurationError(
                    "The target has the unfinished copy of another migration. Use an empty database, or drop this one and create it again."
                )
        elif existing:
            raise ConfigurationError(
                f"The target is not empty: it has {len(existing)} tables and sequences, such as {min(existing)}. Use an empty database."
            )

    def create(self) -> None:
        """Create the tables, unless this migration did. Call `check` first."""
        if _positions.name not in self._existing():
            with self._connection.begin():
                exclude_others(self._connection)
                self._create_tables()
            reach("migration.after_commit", _positions.name)

    def _existing(self) -> set[str]:
        with self._connection.begin():
            return set(self._connection.scalars(text(_RELATIONS)))

    def _create_tables(self) -> None:
        tables = metadata.sorted_tables
        for table in tables:
            self._connection.execute(CreateTable(table, include_foreign_key_constraints=[]))
        for table in (VERSION, _positions):
            self._connection.execute(CreateTable(table))
        self._connection.execute(insert(VERSION).values(version_num=MOVING))
        rows = [
            {"table_name": table.name, "migration_id": self._migration_id, "position": START, "rows": 0}
            for table in tables
        ]
        self._connection.execute(insert(_positions), rows)

    def positions(self) -> dict[str, tuple[int, int]]:
        """Return the number of the last copied row of each table, which is `START` before the first, and how many are copied."""
        query = select(_positions.c.table_name, _positions.c.position, _positions.c.rows)
        with self._connection.begin():
            return {name: (position, rows) for name, position, rows in self._connection.execute(query)}

    def add(self, table: Table, rows: Iterable[Sequence[Any]], *, former_position: int, position: int) -> int:
        """Store the rows that follow `former_position` up to `position`. Returns their number.

        Raises `ConfigurationError` if another process has copied rows of this table meanwhile.
        """
        mine = _positions.c.table_name == table.name
        with self._connection.begin():
            # Waits for a transaction of a process that was killed, which the server may still be ending.
            stored_position = self._connection.execute(
                select(_positions.c.position).where(mine).with_for_update()
            )
            if stored_position.scalar_one() != former_position:
                raise ConfigurationError("Another process is copying to the same database. Let it finish.")
            # Progress is committed with its rows, so what a crash of the server loses is copied again.
            self._connection.execute(text("SET LOCAL synchronous_commit = off"))
            count = 0
            with driver(self._connection).cursor().copy(_copy_statement(table)) as copy:
                for row in rows:
                    copy.write_row(row)
                    count += 1
            self._connection.execute(
                update(_positions).where(mine).values(position=position, rows=_positions.c.rows + count)
            )
            reach("migration.before_commit", table.name)
        reach("migration.after_commit", table.name)
        return count

    def complete(self, counters: dict[str, int]) -> Iterator[str]:
        """Create the indexes, then the foreign keys, set the counters, and collect statistics. Yields what is done next.

        `counters` are the greatest numbers that were ever given, by table.
        """
        with self._connection.begin():
            existing = set(self._connection.scalars(text(_NAMES)))
        for table in metadata.sorted_tables:
            for index in sorted(table.indexes, key=lambda index: str(index.name)):
                if index.name not in existing:
                    yield f"index {index.name}"
                    with self._connection.begin():
                        self._connection.execute(text(f"SET LOCAL maintenance_work_mem = '{MEMORY}'"))
                        self._connection.execute(CreateIndex(index))
                    reach("migration.after_commit", str(index.name))
        for table in metadata.sorted_tables:
            for constraint in sorted(table.foreign_key_constraints, key=lambda key: str(key.name)):
                if constraint.name not in existing:
                    yield f"foreign key {constraint.name}"
                    with self._connection.begin():
                        self._connection.execute(AddConstraint(constraint, isolate_from_table=False))
        with self._connection.begin():
            for table in metadata.sorted_tables:
                self._set_counter(table, counters.get(table.name, 0))
        yield "statistics"
        with self._connection.begin():
            self._connection.execute(text("ANALYZE"))

    def _set_counter(self, table: Table, greatest: int) -> None:
        column = table.autoincrement_column
        if column is None:
            return
        top = func.greatest(greatest, func.coalesce(func.max(column), 0))
        query = select(
            func.setval(func.pg_get_serial_sequence(table.name, column.name), func.greatest(top, 1), top > 0)
        )
        self._connection.execute(query)

    def finish(self) -> None:
        """Give the schema its version: from now on, coordinators start on the database. Durable with all that was copied before."""
        with self._connection.begin():
            self._connection.execute(text(f"DROP TABLE {_positions.name}"))
            self._connection.execute(update(VERSION).values(version_num=HEAD))
            note_oldest(self._connection)
            reach("migration.before_commit", VERSION.name)
        reach("migration.after_commit", VERSION.name)


_RELATIONS: Final = "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')"
_NAMES: Final = (
    "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace UNION ALL "
    "SELECT conname FROM pg_constraint WHERE connamespace = current_schema()::regnamespace"
)


def _copy_statement(table: Table) -> bytes:
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    return f'COPY "{table.name}" ({columns}) FROM STDIN'.encode()


@contextmanager
def loading(server: DatabaseServer) -> Iterator[Connection]:
    """Open a database to fill it. Errors of the server become `ConfigurationError`s that say how to continue."""
    pool = engine(server, size=1, read_only=False, limited=False)
    try:
        with pool.connect() as connection:
            yield connection
    except (DBAPIError, psycopg.Error) as error:
        raise ConfigurationError(
            f"The database {server.name} cannot be filled: {reason(error)}. When that is solved, run the same command again: it continues."
        ) from None
    finally:
        pool.dispose()


def is_finished(connection: Connection) -> bool:
    """Return whether the database has a complete schema that is not being filled."""
    with connection.begin():
        existing = set(connection.scalars(text(_RELATIONS)))
        if VERSION.name not in existing or _positions.name in existing:
            return False
        return cast("str", connection.scalars(select(VERSION.c.version_num)).one()) == HEAD
