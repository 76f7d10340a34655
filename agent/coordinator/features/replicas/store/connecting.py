"""Connections to a PostgreSQL server, and the limits that hold for each transaction."""

from __future__ import annotations

import itertools
import random
import select
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from agent.coordinator.features.replicas.store.failures import reason
from agent.coordinator.features.replicas.store.prepared import PostgresStatement
from agent.coordinator.store.concurrency import LANE
from agent.coordinator.store.prepared import STATEMENTS
from agent.coordinator.store.unfinished import UNFINISHED, UnfinishedIds
from agent.core.errors import ConfigurationError

KEEPALIVES: Final = {"keepalives": 1, "keepalives_idle": 20, "keepalives_interval": 5, "keepalives_count": 3}
"""A server that vanished without a word is noticed after 35 s of silence (https://www.postgresql.org/docs/current/libpq-connect.html)."""
APPLICATION: Final = "aitbc-agent"
UNSUITABLE: Final = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "jit")
"""What transactions that write do without: they find few rows by a key. While a new database has no statistics, the planner takes its
tables for small and would read them whole, and a prepared plan remains while they grow."""
PREPARED: Final = 1000
"""Maximum number of statements that a connection keeps prepared: more than the coordinator has."""


# Another first one in each process.
_lanes = itertools.count(random.randrange(1 << 16))  # noqa: S311 - no secret


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Time limits in seconds: for a connection, a statement, a lock, and for repeating a transaction after a failure."""

    connect: float = 5.0
    statement: float = 30.0
    lock: float = 10.0
    retry: float = 20.0


@dataclass(slots=True)
class DatabaseServer:
    """A server as libpq's URL describes it, and whether statements can be prepared on it."""

    url: str
    limits: ServerLimits
    prepares: bool = True

    @property
    def name(self) -> str:
        """The server and the database without secrets, for messages."""
        values = conninfo_to_dict(self.url)
        host = values.get("host") or values.get("hostaddr") or "the local socket"
        return f"{values.get('dbname') or values.get('user') or 'the default database'} on {host}"

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of every connection. What the URL says takes precedence."""
        in_url = conninfo_to_dict(self.url)
        ours: dict[str, Any] = {
            "connect_timeout": max(2, round(self.limits.connect)),
            "application_name": APPLICATION,
            "client_encoding": "UTF8",
            "tcp_user_timeout": int(self.limits.statement * 1000),
            **KEEPALIVES,
        }
        return {name: value for name, value in ours.items() if name not in in_url}

    def connect(self) -> psycopg.Connection:
        """Return a connection that begins no transactions by itself."""
        connection = psycopg.connect(self.url, autocommit=True, **self.parameters)
        connection.prepare_threshold = 0 if self.prepares else None
        connection.prepared_max = PREPARED
        return connection

    async def connect_session(self) -> psycopg.AsyncConnection:
        """Return a connection of the running event loop that begins no transactions by itself, for LISTEN and advisory locks."""
        connection = await psycopg.AsyncConnection.connect(self.url, autocommit=True, **self.parameters)
        connection.prepare_threshold = None
        return connection


def check_url(url: str) -> None:
    """Raise `ConfigurationError` unless libpq understands the URL."""
    try:
        conninfo_to_dict(url)
    except psycopg.Error as error:
        raise ConfigurationError(
            f"database.url: {str(error).strip()}. Write postgresql://USER@HOST/DATABASE."
        ) from None


def engine(
    server: DatabaseServer,
    *,
    size: int,
    read_only: bool,
    limited: bool = True,
    unfinished: UnfinishedIds | None = None,
) -> Engine:
    """Return a pool of connections. Their transactions read one snapshot if `read_only`, else the newest committed rows."""
    pool = create_engine(
        "postgresql+psycopg://",
        creator=server.connect,
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=0,
        pool_use_lifo=True,  # few connections with warm caches instead of all in turn
        hide_parameters=True,  # errors are logged, and parameters contain specifications, results and digests of keys
    )
    pool.update_execution_options(**{STATEMENTS: PostgresStatement, UNFINISHED: unfinished})
    event.listen(pool, "connect", _note_life)
    event.listen(pool, "checkout", _check)
    event.listen(pool, "connect", _number)
    begin = _begin(server.limits if limited else None, read_only=read_only)

    @event.listens_for(pool, "begin")
    def _(connection: Connection) -> None:
        below = driver(connection)
        if not server.prepares:
            below.prepare_threshold = None
        # One message for all. SET LOCAL instead of connection options, since PgBouncer shares connections among transactions.
        cursor = below.execute(begin, prepare=False)
        while cursor.nextset():
            pass
        row = None if read_only else cursor.fetchone()
        connection.info["transaction"] = None if row is None else row[0]

    return pool


def _number(_: psycopg.Connection, record: Any) -> None:
    """Give concurrent connections different lanes."""
    record.info[LANE] = next(_lanes)


def _note_life(connection: psycopg.Connection, record: ConnectionPoolEntry) -> None:
    """Note which life of the server the connection belongs to: a crash begins another one, even if the main process survives."""
    row = connection.execute(
        "SELECT pg_postmaster_start_time()::text, stats_reset::text FROM pg_stat_wal", prepare=False
    ).fetchone()
    record.info["life"] = row


def _check(connection: psycopg.Connection, *_: object) -> None:
    """Have the pool replace a connection that the server has closed meanwhile: then its socket has something to read."""
    try:
        closed = bool(select.select([connection.fileno()], [], [], 0)[0])
    except (psycopg.Error, OSError, ValueError):
        closed = True
    if closed:
        raise DisconnectionError


def _begin(limits: ServerLimits | None, *, read_only: bool) -> bytes:
    level = "REPEATABLE READ READ ONLY" if read_only else "READ COMMITTED"
    statements = [f"BEGIN ISOLATION LEVEL {level}"]
    if limits is not None:
        values = {
            "statement_timeout": limits.statement,
            "lock_timeout": limits.lock,
            "idle_in_transaction_session_timeout": 2 * limits.statement,
        }
        statements += [
            f"SET LOCAL {name} = {max(1, int(seconds * 1000))}" for name, seconds in values.items()
        ]
    if not read_only:
        statements += [f"SET LOCAL {name} = off" for name in UNSUITABLE]
        # The outcome of a transaction is asked for by its number if the connection breaks while it commits.
        statements.append("SELECT pg_current_xact_id()::text")
    return "; ".join(statements).encode()


def driver(connection: Connection) -> psycopg.Connection:
    """Return the psycopg connection below a SQLAlchemy connection."""
    return cast("psycopg.Connection", connection.connection.driver_connection)


@contextmanager
def reading(server: DatabaseServer) -> Iterator[Connection]:
    """Read one snapshot of a database, without a limit of time. Raises `ConfigurationError` on entry."""
    pool = engine(server, size=1, read_only=True, limited=False)
    try:
        with pool.connect() as connection, connection.begin():
            yield connection
    except (DBAPIError, psycopg.Error) as error:
        raise ConfigurationError(f"The database {server.name} cannot be read: {reason(error)}.") from None
    finally:
        pool.dispose()
