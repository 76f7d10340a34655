"""A transaction of another program that holds a snapshot on PostgreSQL, so that the server keeps what jobs leave behind in indexes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import httpx
import psycopg
from sqlalchemy import Connection, text

from agent.coordinator.features.replicas.store.unfinished import Unfinished, UnfinishedJobs
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import submit
from support.server import Served

ENDED = 40
FEW = 20
"""Entries of indexes that a query may read. Those of the jobs that have ended are more."""
RESULTS = {"text": "hello", "units": 1.5}


@contextmanager
def held_snapshot(served: Served) -> Iterator[None]:
    with psycopg.connect(served.context.database.server.url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT count(*) FROM jobs")
        yield


def entries_read(connection: Connection, table: str) -> int:
    """Return how many entries of the table's indexes this transaction has read."""
    query = "SELECT sum(pg_stat_get_xact_tuples_returned(indexrelid)) FROM pg_index WHERE indrelid = CAST(:name AS regclass)"
    return int(connection.execute(text(query), {"name": table}).scalar_one())


def counted(served: Served, table: str, query: Callable[..., Any], *args: Any) -> tuple[Any, int]:
    """Return the answer of a query, and how many entries of the table's indexes it reads."""

    def run(connection: Connection) -> tuple[Any, int]:
        before = entries_read(connection, table)
        answer = query(connection, *args)
        return answer, entries_read(connection, table) - before

    return served.do(lambda context: context.database.write(run))


def counted_knowing(
    served: Served, known: Unfinished | None, table: str, query: Callable[..., Any]
) -> tuple[Any, int]:
    """Do the same as `counted`, where the replica knows these unfinished jobs."""
    unfinished = UnfinishedJobs()
    unfinished.known = known
    # A scan may come at any moment, and must not change what this query knows.
    with mock.patch.object(served.context.database.unfinished, "ids", unfinished.ids):
        return counted(served, table, query)


def complete(served: Served, client: httpx.Client, miner: ScriptedMiner) -> None:
    for _ in range(ENDED):
        submit(client)
        (lease,) = miner.poll()
        assert miner.complete(lease, RESULTS).status_code == 200
