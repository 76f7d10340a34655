"""The tables and statements behind the replicas' messages."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson
import psycopg

from agent.coordinator.features.replicas.bus import STORED_SECONDS, Outgoing

Session = psycopg.AsyncConnection[Any]

ROW_BYTES: Final = 2**20
"""A row with as many bytes of messages gets no more."""
ROW_LIMIT: Final = 2**26
"""Larger rows are ignored: no replica writes any."""
READ_ROWS: Final = 1000
READ_BYTES: Final = 2**24
"""Limits of what is read of a sender at once."""
MARK_SECONDS: Final = 5.0
"""Accuracy with which the age of messages is known."""

_TABLES: Final = (
    """CREATE UNLOGGED TABLE IF NOT EXISTS replicas (
        slot smallint PRIMARY KEY, replica_id text NOT NULL, version text NOT NULL, started_at timestamptz NOT NULL,
        host text, reply_seconds real)""",
    """CREATE UNLOGGED TABLE IF NOT EXISTS replica_messages (
        sender text NOT NULL, number bigint NOT NULL, target text, payload text NOT NULL, PRIMARY KEY (sender, number))""",
)
_SEND: Final = """
    INSERT INTO replica_messages (sender, number, target, payload)
    SELECT %s, * FROM unnest(%s::bigint[], %s::text[], %s::text[]) ON CONFLICT DO NOTHING
"""
_COLUMNS: Final = ("host text", "reply_seconds real")
"""Columns that a table of an earlier version lacks."""
_READ: Final = """
    SELECT p.sender, r.number, r.payload
    FROM unnest(%s::text[], %s::bigint[]) AS p (sender, number)
    CROSS JOIN LATERAL (
        SELECT number, payload, sum(octet_length(payload)) OVER (ORDER BY number) - octet_length(payload) AS before
        FROM (
            SELECT m.number, m.payload FROM replica_messages m
            WHERE m.sender = p.sender AND m.number > p.number AND (m.target IS NULL OR m.target = %s)
              AND octet_length(m.payload) <= %s
            ORDER BY m.number LIMIT %s
        ) m
    ) r
    WHERE r.before < %s
    ORDER BY p.sender, r.number
"""


class MessageRow(NamedTuple):
    """Messages to one receiver, or to all (`target` is None), as they are stored: `payload` is a JSON array of kinds and data."""

    number: int
    target: str | None
    payload: str


def rows(outgoing: Sequence[Outgoing], number: int) -> list[MessageRow]:
    """Return the rows for messages after a number, each with consecutive messages to the same receiver."""
    rows: list[MessageRow] = []
    batch: list[str] = []
    size = 0
    for index, message in enumerate(outgoing):
        batch.append(encode(message))
        size += len(batch[-1])
        if index + 1 == len(outgoing) or outgoing[index + 1].to != message.to or size >= ROW_BYTES:
            number += 1
            rows.append(MessageRow(number, message.to, f"[{','.join(batch)}]"))
            batch, size = [], 0
    return rows


def encode(message: Outgoing) -> str:
    """Return a message as JSON. A runner's text may contain a lone surrogate, which only the standard library escapes."""
    try:
        # The faster encoder first; it refuses lone surrogates and very large numbers.
        return orjson.dumps((message.kind, message.data)).decode()
    except TypeError:
        return json.dumps((message.kind, message.data))


def decode(payload: str) -> list[Any]:
    """Return the messages of a row, each a kind and data if the sender is honest; none if it is no JSON array."""
    try:
        batch = orjson.loads(payload)
    except ValueError:
        try:
            # The faster decoder refuses lone surrogates, which texts of runners may contain.
            batch = json.loads(payload, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return []
    return batch if isinstance(batch, list) else []


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


async def create_tables(session: Session, lock: tuple[int, int]) -> None:
    """Create the tables if they are missing, under a lock: `IF NOT EXISTS` alone fails if two do so at once."""
    async with session.transaction():
        await session.execute("SELECT pg_advisory_xact_lock(%s, %s)", lock)
        # Notices about tables that exist already would fill the log.
        await session.execute("SET LOCAL client_min_messages = warning")
        for statement in _TABLES:
            await session.execute(statement)
        present = await session.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'replicas'::regclass AND NOT attisdropped"
        )
        names = {name for (name,) in await present.fetchall()}
        for column in _COLUMNS:
            if column.split()[0] not in names:  # otherwise it would wait for all readers of the table
                await session.execute(f"ALTER TABLE replicas ADD COLUMN {column}")


async def register(session: Session, slot: int, replica_id: str, version: str, host: str) -> None:
    """Store which replica has a slot, and delete messages of replicas that have ended."""
    await session.execute(
        "INSERT INTO replicas (slot, replica_id, version, started_at, host) VALUES (%s, %s, %s, now(), %s) ON CONFLICT (slot) DO UPDATE "
        "SET replica_id = excluded.replica_id, version = excluded.version, started_at = excluded.started_at, host = excluded.host",
        (slot, replica_id, version, host),
    )
    await session.execute(
        # A replica that has died cannot delete its own messages.
        "DELETE FROM replica_messages WHERE sender NOT IN (SELECT replica_id FROM replicas)"
    )


async def announce(session: Session, slot: int, reply_seconds: float) -> None:
    """Store how long the replica waits for an answer, so that the others know when it hangs."""
    await session.execute("UPDATE replicas SET reply_seconds = %s WHERE slot = %s", (reply_seconds, slot))


async def positions(session: Session) -> dict[str, int]:
    """Return the number of the newest message of each replica."""
    query = (
        "SELECT r.replica_id, coalesce((SELECT max(m.number) FROM replica_messages m WHERE m.sender = r.replica_id), 0) "
        "FROM replicas r"
    )
    return dict(await (await session.execute(query)).fetchall())


async def send(session: Session, sender: str, stored: Sequence[MessageRow], signals: Collection[str]) -> None:
    """Store messages and notify the other replicas of them, and of signals."""
    channels = [*(["aitbc_messages"] if stored else []), *(f"aitbc_{name}" for name in signals)]
    notify = "SELECT pg_notify(channel, '') FROM unnest(%s::text[]) AS c (channel)"
    if not stored:
        await session.execute(notify, (channels,))
        return
    numbers, targets, payloads = map(list, zip(*stored, strict=True))
    await session.execute(f"WITH sent AS ({_SEND}) {notify}", (sender, numbers, targets, payloads, channels))


async def read(
    session: Session, receiver: str, read_up_to: Mapping[str, int]
) -> tuple[list[tuple[str, int, str]], bool]:
    """Return messages for a receiver after a number of each sender, and whether there may be more.

    They are rows of sender, number and payload, in order per sender, and of each sender as many as the limits allow.
    """
    parameters = (list(read_up_to), list(read_up_to.values()), receiver, ROW_LIMIT, READ_ROWS, READ_BYTES)
    received = await (await session.execute(_READ, parameters)).fetchall()
    counts, sizes = Counter[str](), Counter[str]()
    for sender, _, payload in received:
        counts[sender] += 1
        sizes[sender] += len(payload)
    # In characters, each of which is one byte or more.
    more_stored = any(counts[sender] >= READ_ROWS or 4 * sizes[sender] >= READ_BYTES for sender in counts)
    return received, more_stored


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
        # A mark for each few seconds is exact enough, and there are few of them.
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
