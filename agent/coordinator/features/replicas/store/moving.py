"""Moves a coordinator's data from a SQLite file to an empty PostgreSQL database: all tables of the schema, whichever there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    String,
    Table,
    literal_column,
    select,
    text,
)

from agent.coordinator.features.replicas.moved import Mark, mark_path, read_mark, write_mark
from agent.coordinator.features.replicas.store.connecting import DatabaseServer
from agent.coordinator.features.replicas.store.loading import LoadTarget, is_finished, loading
from agent.coordinator.store.schema.tables import metadata
from agent.coordinator.store.schema.upgrade import require_newest
from agent.coordinator.store.sqlite.database import reading
from agent.core.errors import ConfigurationError

BATCH_ROWS: Final = 5000
"""Maximum number of rows that are stored in one transaction."""
BATCH_SIZE: Final = 8 * 2**20
"""Number of characters and bytes after which a transaction gets no more rows."""
REPLACEMENT: Final = "�"
"""Replaces the character NUL, which PostgreSQL's text cannot contain."""

_ROW: Final[ColumnElement[int]] = literal_column("rowid", BigInteger)


class Move:
    """A move of the SQLite file `path`. `replaced` counts the texts that contained NUL in this process, by table and column."""

    def __init__(self, path: Path, source: Connection, server: DatabaseServer) -> None:
        self.path = path
        self.target = server.name
        self.replaced: dict[str, int] = {}
        self._source = source
        self._server = server
        self._mark = self._begin()

    def _begin(self) -> Mark:
        mark = read_mark(self.path) or Mark.new(self.target)
        if mark.target != self.target:
            raise ConfigurationError(
                f"{self.path} is being moved, or was moved, to {mark.target}. To move it to {self.target} instead, delete {mark_path(self.path)}."
            )
        return mark

    def has_finished(self) -> bool:
        """Return whether the move has finished before."""
        if self._mark.finished_at is None:
            return False
        with loading(self._server) as connection:
            return is_finished(connection)

    def copy(self) -> Iterator[tuple[str, int]]:
        """Mark the file, then copy what is not copied yet, and complete the schema.

        Yields the current step and how many rows are copied. Raises `ConfigurationError`, after which it can be called again.
        """
        with loading(self._server) as connection:
            target = LoadTarget(connection, self._mark.migration_id)
            target.check()
            write_mark(self.path, self._mark)
            target.create()
            positions = target.positions()
            copied_rows = sum(rows for _, rows in positions.values())
            for table in metadata.sorted_tables:
                position, _ = positions[table.name]
                for last, rows in self._batches(table, position):
                    yield table.name, copied_rows
                    target.add(table, rows, former_position=position, position=last)
                    position = last
                    copied_rows += len(rows)
            for step in target.complete(self._counters()):
                yield step, copied_rows

    def finish(self) -> None:
        """Put the target into use instead of the file."""
        with loading(self._server) as connection:
            # First, so that no coordinator starts on the file while another runs on the target.
            self._mark = self._mark.finished()
            write_mark(self.path, self._mark)
            LoadTarget(connection, self._mark.migration_id).finish()

    def _batches(self, table: Table, position: int) -> Iterator[tuple[int, list[Sequence[Any]]]]:
        """Iterate over the rows behind the number `position`: lists of rows, each with the number of its last row."""
        texts = [index for index, column in enumerate(table.columns, 1) if isinstance(column.type, String)]
        query = select(_ROW, *table.columns).where(position < _ROW).order_by(_ROW)
        batch: list[Sequence[Any]] = []
        size, last = 0, position
        for row in self._source.execute(query.execution_options(yield_per=500)):
            values: Sequence[Any] = row
            for index in texts:
                value = row[index]
                if value is not None:
                    size += len(value)
                    if "\0" in value:
                        values = self._without_nul(table, values, index)
            batch.append(values[1:])
            last = row[0]
            if len(batch) >= BATCH_ROWS or size >= BATCH_SIZE:
                yield last, batch
                batch, size = [], 0
        if batch:
            yield last, batch

    def _without_nul(self, table: Table, values: Sequence[Any], index: int) -> Sequence[Any]:
        name = f"{table.name}.{list(table.columns)[index - 1].name}"
        self.replaced[name] = self.replaced.get(name, 0) + 1
        return [*values[:index], values[index].replace("\0", REPLACEMENT), *values[index + 1 :]]

    def _counters(self) -> dict[str, int]:
        """Return the greatest numbers that SQLite has given in tables whose numbers never repeat."""
        rows = self._source.execute(text("SELECT name, seq FROM sqlite_sequence"))
        return {str(row[0]): int(row[1]) for row in rows}


@contextmanager
def moving(path: Path, server: DatabaseServer) -> Iterator[tuple[Move, Connection]]:
    """Open a SQLite file for a move to the database of a server. Yields the move and the file's connection.

    Raises `ConfigurationError` if the file does not have this program's schema, or is being moved elsewhere.
    """
    with reading(path) as source:
        require_newest(source)
        yield Move(path, source, server), source
