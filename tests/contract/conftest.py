"""A coordinator for each test, and a server of buckets."""

from __future__ import annotations

import pytest

from support.servers.coordinator import admin, client, miner, served
from support.servers.databases import on_postgres
from support.servers.s3 import s3

__all__ = ["admin", "client", "miner", "s3", "served"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On PostgreSQL, skip the tests of SQLite's own."""
    if on_postgres():
        for item in items:
            if item.get_closest_marker("sqlite"):
                item.add_marker(pytest.mark.skip(reason="it reads SQLite's file or its query plans"))
