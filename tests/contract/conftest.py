"""A coordinator for each test, a server of buckets, and official clients of other APIs that the coordinator implements."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import OpenAI

from support.fixtures import admin, client, miner, served
from support.server import Served
from support.servers.databases import on_postgres
from support.servers.s3 import s3

__all__ = ["admin", "client", "miner", "s3", "served"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On PostgreSQL, skip the tests of SQLite's own."""
    if on_postgres():
        for item in items:
            if item.get_closest_marker("sqlite"):
                item.add_marker(pytest.mark.skip(reason="it reads SQLite's file or its query plans"))


@pytest.fixture
def ai(served: Served) -> Iterator[OpenAI]:
    """OpenAI's official client with a client's key and without retries."""
    with OpenAI(api_key=served.client_key, base_url=f"{served.url}/v1", max_retries=0, timeout=30) as ai:
        yield ai
