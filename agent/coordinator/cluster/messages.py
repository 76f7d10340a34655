"""The tables and statements behind the replicas' messages."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson
import psycopg

from agent.coordinator.cluster.bus import STORED_SECONDS, Outgoing

Session = psycopg.AsyncConnection[Any]

MARK_SECONDS: Final = 5.0
"""Accuracy with which the age of messages is known."""

_TABLES: Final = (
    """CREATE UNLOGGED TABLE IF NOT EXISTS replicas (
        slot smallint PRIMARY KEY, replica_id text NOT NULL, version text NOT NULL, started_at timestamptz NOT NULL)""",
    """CREATE UNLOGGED TABLE IF NOT EXISTS replica_messages (
        sender text NOT NULL, number bigint NOT NULL, target text, payload text NOT NULL, PRIMARY KEY (sender, number))""",
)
_SEND: Final = """
    INSERT INTO replica_messages (sender, number, target, payload)
    SELECT %s, * FROM unnest(%s::bigint[], %s::text[], %s::text[]) ON CONFLICT DO NOTHING
"""
_READ: Final = """
    SELECT m.sender, m.number, m.payload
    FROM unnest(%s::text[], %s::bigint[]) AS p (sender, number)
    JOIN replica_messages m ON m.sender = p.sender AND m.number > p.number
    WHERE m.target IS NULL OR m.target = %s
    ORDER BY m.sender, m.number
"""


class Row(NamedTuple):
    """Messages to one receiver, or to all (`target` is None), as they are stored: `payload` is a JSON array of kinds and data."""

    number: int
    target: str | None
    payload: str


def rows(outgoing: Sequence[Outgoing], number: int) -> list[Row]:
    """Return the rows for messages after a number, each with as many consecutive messages to the same receiver as there are."""
    found: list[Row] = []
    batch: list[tuple[str, Any]] = []
    for index, message in enumerate(outgoing):
        batch.append((message.kind, message.data))
        if index + 1 == len(outgoing) or outgoing[index + 1].to != message.to:
            number += 1
            found.append(Row(number, message.to, encode(batch)))
            batch = []
    return found


def encode(batch: list[tuple[str, Any]]) -> str:
    """Return messages as JSON. A runner's text may contain a lone surrogate, which only the standard library escapes."""
    try:
        return orjson.dumps(batch).decode()
    except TypeError:
        return json.dumps(batch)


def decode(payload: str) -> list[tuple[str, Any]]:
    """Return the messages of a row."""
    try:
        found: list[tuple[str, Any]] = orjson.loads(payload)
    except ValueError:
        found = json.loads(payload)
    return found


async def create_tables(session: Session, lock: tuple[int, int]) -> None:
    """Create the tables if they are missing, under a lock: `IF NOT EXISTS` alone fails if two do so at once."""
    async with session.transaction():
        await session.execute("SELECT pg_advisory_xact_lock(%s, %s)", lock)
        await session.execute("SET LOCAL client_min_messages = warning")
        for statement in _TABLES:
            await session.execute(statement)


async def register(session: Session, slot: int, replica_id: str, version: str) -> None:
    """Store which replica has a slot, and delete messages of replicas that have ended."""
    await session.execute(
        "INSERT INTO replicas VALUES (%s, %s, %s, now()) ON CONFLICT (slot) DO UPDATE "
        "SET replica_id = excluded.replica_id, version = excluded.version, started_at = excluded.started_at",
        (slot, replica_id, version),
    )
    await session.execute(
        "DELETE FROM replica_messages WHERE sender NOT IN (SELECT replica_id FROM replicas)"
    )


async def positions(session: Session) -> dict[str, int]:
    """Return the number of the newest message of each replica."""
    query = (
        "SELECT r.replica_id, coalesce((SELECT max(m.number) FROM replica_messages m WHERE m.sender = r.replica_id), 0) "
        "FROM replicas r"
    )
    return dict(await (await session.execute(query)).fetchall())


async def send(session: Session, sender: str, stored: Sequence[Row], signals: Collection[str]) -> None:
    """Store messages and notify the other replicas of them, and of signals."""
    channels = [*(["aitbc_messages"] if stored else []), *(f"aitbc_{name}" for name in signals)]
    notify = "SELECT pg_notify(channel, '') FROM unnest(%s::text[]) AS c (channel)"
    if not stored:
        await session.execute(notify, (channels,))
        return
    numbers, targets, payloads = map(list, zip(*stored, strict=True))
    await session.execute(f"WITH sent AS ({_SEND}) {notify}", (sender, numbers, targets, payloads, channels))


async def read(session: Session, receiver: str, read_up_to: Mapping[str, int]) -> list[tuple[str, int, str]]:
    """Return the messages for a receiver after a number of each sender: sender, number and payload, in order per sender."""
    parameters = (list(read_up_to), list(read_up_to.values()), receiver)
    return await (await session.execute(_READ, parameters)).fetchall()


class Old:
    """Deletes a sender's messages once they are older than `STORED_SECONDS`.

    The range is bounded on both sides. Deleted rows stay in the index while a long transaction needs them, and a scan from the beginning would
    take longer each time.
    """

    def __init__(self, sender: str) -> None:
        self._sender = sender
        self._deleted = 0
        self._marks: deque[tuple[float, int]] = deque()

    async def prune(self, session: Session, number: int, now: float) -> None:
        """Delete what is old. `number` is that of the newest message."""
        if not self._marks or now - self._marks[-1][0] >= MARK_SECONDS:
            self._marks.append((now, number))
        up_to = self._deleted
        while now - self._marks[0][0] > STORED_SECONDS:
            up_to = self._marks.popleft()[1]
        if up_to > self._deleted:
            await session.execute(
                "DELETE FROM replica_messages WHERE sender = %s AND number > %s AND number <= %s",
                (self._sender, self._deleted, up_to),
            )
            self._deleted = up_to
