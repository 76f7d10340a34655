"""The engine on PostgreSQL: transactions, repetition after failures, the schema."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from agent.coordinator.store.postgres.connecting import Limits, reading
from agent.coordinator.store.schema.tables import metadata
from support import postgres


@pytest.fixture
def url() -> Iterator[str]:
    """Return the URL of an empty database of the current schema."""
    yield postgres.shared().new_database()
    postgres.shared().drop_all()


def test_the_migrations_create_the_declared_tables(url: str) -> None:
    with reading(url, Limits()) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
