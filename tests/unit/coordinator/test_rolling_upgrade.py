"""Replicas of two versions on one database: the older one works on the newer schema if that says so."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from agent.coordinator.features.replicas.store.database import PostgresDatabase
from agent.coordinator.store.schema.upgrade import HEAD, OLDEST, prepare
from agent.core.errors import ConfigurationError
from support.servers import postgres


def start(url: str, directory: Path) -> None:
    database = PostgresDatabase(url, directory=directory)
    try:
        database.open(prepare)
    finally:
        database.close()


def test_an_older_program_starts_on_a_newer_schema_that_it_can_use(tmp_path: Path) -> None:
    url = postgres.shared().new_database()
    with psycopg.connect(url, autocommit=True) as connection:
        (noted,) = connection.execute("SELECT obj_description('alembic_version'::regclass)").fetchone() or (
            "",
        )
        assert noted == OLDEST
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute(f"COMMENT ON TABLE alembic_version IS '{HEAD}'")
        start(url, tmp_path)
        connection.execute("COMMENT ON TABLE alembic_version IS '9999'")
        with pytest.raises(ConfigurationError, match="of a newer aitbc-agent"):
            start(url, tmp_path)
