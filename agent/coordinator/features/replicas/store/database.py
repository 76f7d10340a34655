"""Transactions on PostgreSQL: one for each write, several at a time, repeated after failures that pass.

A write is answered after its commit. If the connection breaks while it commits, the server is asked by the transaction's number
whether it did. So a restart of the server costs its callers time, but no answer and no change; only after a crash in that moment are they
answered that the outcome is unknown.
"""

from __future__ import annotations

import asyncio
import functools
import random
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import psycopg
import structlog
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from agent import fault_points
from agent.coordinator.features.replicas.store.connecting import DatabaseServer, ServerLimits, driver, engine
from agent.coordinator.features.replicas.store.failures import DatabaseFailure, classify, reason
from agent.coordinator.features.replicas.store.groups import Groups
from agent.coordinator.features.replicas.store.unfinished import UnfinishedJobs
from agent.coordinator.metrics import BATCH_WRITES, COMMIT_SECONDS
from agent.coordinator.store.database import Content, Together, take_content
from agent.core.errors import ConfigurationError, ServiceUnavailable, ValidationFailed
from agent.metrics import Meter

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")
I = TypeVar("I")  # noqa: E741 - an item

FIRST_PAUSE: Final = 0.005
LONGEST_PAUSE: Final = 0.5
DUPLICATES: Final = 5
"""How often a transaction is repeated because another one has inserted the same key."""

_HANGS: Final = "The coordinator cannot use its database now; try again in a moment."
_UNKNOWN: Final = "The database does not answer whether a change was stored; look before you repeat it."

log = structlog.get_logger()


class PostgresDatabase:
    """A `Database` on a PostgreSQL server. Call `open` first and `close` at the end."""

    def __init__(
        self,
        url: str,
        *,
        directory: Path,
        limits: ServerLimits | None = None,
        writers: int = 8,
        readers: int = 4,
        max_queue: int = 10_000,
        session_url: str | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.server = DatabaseServer(url, limits or ServerLimits())
        self._session_server = DatabaseServer(session_url or url, self.server.limits)
        self.directory = directory
        self.fault: str | None = None
        self.commits = 0
        self.writes = 0
        self._max_queue = max_queue
        self._meter = meter
        self._waiting = 0
        self._count = threading.Lock()
        self.unfinished = UnfinishedJobs()
        self._write_engine = engine(self.server, size=writers, read_only=False, unfinished=self.unfinished)
        self._read_engine = engine(self.server, size=readers + 1, read_only=True, unfinished=self.unfinished)
        self._writers = ThreadPoolExecutor(writers, thread_name_prefix="database-writer")
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="database-reader")
        self._groups = Groups(self._writers, self._write_now)
        self._closed = False
        self._hangs = False
        self._unanswered: set[asyncio.Future[Any]] = set()
        self._after_commit: list[tuple[asyncio.AbstractEventLoop, Content, Callable[[], None]]] = []

    @property
    def concurrent(self) -> bool:
        """Whether writes run at the same time, and other processes may use the database too."""
        return True

    @property
    def patience(self) -> float:
        """How many seconds calls wait for a server that does not answer."""
        return self.server.limits.retry

    def set_hanging(self, *, hangs: bool) -> None:
        """Answer all calls that wait, and new ones, with `ServiceUnavailable` while the server hangs. Their threads go on waiting."""
        if hangs and not self._hangs:
            log.error("database_hangs", unanswered=len(self._unanswered))
        self._hangs = hangs
        if hangs:
            for future in list(self._unanswered):
                future.cancel()

    @property
    def waiting(self) -> int:
        """How many writes are queued."""
        return self._waiting + self._groups.waiting

    def after_commit(self, content: Content, call: Callable[[], None]) -> None:
        """Call `call` on the running event loop after every commit of this process with such content, before its write is answered."""
        self._after_commit.append((asyncio.get_running_loop(), content, call))

    async def scan_unfinished(self, now: float) -> None:
        """Look which jobs are unfinished, so that queries need not pass what ended ones have left. Call it every second."""
        await self.unfinished.scan(self, now)

    async def connect_session(self) -> psycopg.AsyncConnection:
        """Return a connection for LISTEN and advisory locks, which the caller closes. Raises `psycopg.Error`."""
        return await self._session_server.connect_session()

    def open(self, prepare: Callable[[Connection], None]) -> None:
        """Create or upgrade the schema with `prepare`. Raises `ConfigurationError` if the database cannot be used."""
        upgrading = engine(self.server, size=1, read_only=False, limited=False)
        try:
            self._repeated(lambda: _prepare(upgrading, prepare))
        except (SQLAlchemyError, psycopg.Error, ServiceUnavailable) as error:
            raise ConfigurationError(
                f"The database {self.server.name} cannot be used: {reason(error.__cause__ or error)}. Check database.url, and that the server runs."
            ) from None
        finally:
            upgrading.dispose()

    async def write(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `function` in a transaction and return its value once that is durable. See `Database.write`."""
        self._admit()
        with self._count:
            self._waiting += 1
        queued = self._writers.submit(
            self._write_queued, lambda connection: function(connection, *args, **kwargs), function.__name__
        )
        queued.add_done_callback(self._begun_or_cancelled)
        return await self._answered(asyncio.wrap_future(queued), _UNKNOWN)

    async def write_together(self, function: Together[S, I, T], shared: S, item: I, key: Hashable) -> T:
        """Do the same as `write` for several items. See `Database.write_together`."""
        self._admit()
        return await self._answered(self._groups.add(function, shared, item, key), _UNKNOWN)

    async def read(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `function` on a snapshot that contains every write answered before."""
        self._check_open()
        read = asyncio.get_running_loop().run_in_executor(
            self._readers, lambda: self.read_now(function, *args, **kwargs)
        )
        return await self._answered(read, _HANGS)

    async def _answered(self, future: asyncio.Future[T], otherwise: str) -> T:
        """Wait for the outcome of a call. Raises `ServiceUnavailable` with the message `otherwise` if the server hangs meanwhile."""
        self._unanswered.add(future)
        try:
            return await future
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._hangs and future.cancelled() and not (task and task.cancelling()):
                raise ServiceUnavailable(otherwise) from None
            raise
        finally:
            self._unanswered.discard(future)

    async def peek(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do the same as `read`: a server's answer takes too long for the event loop to wait."""
        return await self.read(function, *args, **kwargs)

    def read_now(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do the same as `read`, blocking the calling thread."""

        def once() -> T:
            with self._read_engine.connect() as connection, _left_clean(connection), connection.begin():
                return function(connection, *args, **kwargs)

        return self._repeated(once)

    def close(self) -> None:
        """Finish the queued writes, stop the threads, close the connections."""
        if self._closed:
            return
        self._closed = True
        self._writers.shutdown()
        self._readers.shutdown()
        self._write_engine.dispose()
        self._read_engine.dispose()

    def _check_open(self) -> None:
        if self._closed:
            raise ServiceUnavailable("The coordinator is stopping; try again in a moment.")
        if self._hangs:
            raise ServiceUnavailable(_HANGS)

    def _admit(self) -> None:
        self._check_open()
        if self.waiting >= self._max_queue:
            raise ServiceUnavailable("The coordinator is overloaded; try again in a moment.")

    def _begun_or_cancelled(self, queued: Future[Any]) -> None:
        if queued.cancelled():  # before it began, which would have counted it
            with self._count:
                self._waiting -= 1

    def _write_queued(self, function: Callable[[Connection], T], name: str) -> T:
        with self._count:
            self._waiting -= 1
        return self._write_now(function, name, 1)

    def _write_now(self, function: Callable[[Connection], T], name: str, writes: int) -> T:
        begun = time.perf_counter()
        try:
            value, contents = self._repeated(lambda: self._transact(function, name))
        except ServiceUnavailable as error:
            self.fault = str(error)
            raise
        self.fault = None
        fault_points.reach("database.after_commit", name)
        with self._count:
            self.commits += 1
            self.writes += writes
            if self._meter is not None:
                self._meter.observe(COMMIT_SECONDS, time.perf_counter() - begun)
                self._meter.observe(BATCH_WRITES, writes)
        for loop, content, call in self._after_commit:
            if content in contents:
                with suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(call)
        return value

    def _transact(self, function: Callable[[Connection], T], name: str) -> tuple[T, set[Content]]:
        """Return the value of `function`, and what its transaction contains."""
        number: str | None = None
        life: object = None
        try:
            with (
                self._write_engine.connect() as connection,
                _left_clean(connection),
                connection.begin() as transaction,
            ):
                take_content(connection)  # of a transaction that was rolled back
                value = function(connection)
                contents = take_content(connection)
                _check_unbroken(connection, name)
                fault_points.reach("database.before_commit", name)
                number, life = connection.info["transaction"], connection.info["life"]
                transaction.commit()
        except Exception as error:
            if number is None or classify(error) is not DatabaseFailure.LOST:
                raise
            if not self._repeated(functools.partial(self._committed, number, life)):
                raise
        return value, contents

    def _committed(self, number: str, life: object) -> bool:
        """Return whether a transaction has committed whose connection broke meanwhile.

        Raises `ServiceUnavailable` if nobody can know: after a crash the server gives numbers again that it had not written yet, so
        that another transaction may have this one.
        """
        deadline = time.monotonic() + self.server.limits.retry
        with self._write_engine.connect() as connection:
            if connection.info["life"] != life:
                raise ServiceUnavailable(_UNKNOWN)
            below = driver(connection)
            while True:
                row = below.execute("SELECT pg_xact_status(%s::xid8)", [number]).fetchone()
                status = None if row is None else row[0]
                if status != "in progress":
                    return bool(status == "committed")
                if time.monotonic() > deadline:
                    raise ServiceUnavailable(_UNKNOWN)
                time.sleep(FIRST_PAUSE)

    def _repeated(self, once: Callable[[], T]) -> T:
        """Run a transaction until it succeeds or fails for good. Raises `ServiceUnavailable` after `limits.retry`."""
        deadline = time.monotonic() + self.server.limits.retry
        pause, duplicates = FIRST_PAUSE, 0
        while True:
            try:
                return once()
            except Exception as error:
                failure = classify(error)
                duplicates += failure is DatabaseFailure.DUPLICATE
                if failure is DatabaseFailure.UNSTORABLE:
                    raise ValidationFailed(
                        "A text in the request contains the character NUL; remove it."
                    ) from None
                if failure is DatabaseFailure.ERROR or duplicates > DUPLICATES:
                    raise
                if failure is DatabaseFailure.UNAVAILABLE or time.monotonic() > deadline:
                    log.error("database_unavailable", error=reason(error))  # noqa: TRY400 - the server's message says all
                    raise ServiceUnavailable(_HANGS) from error
                if failure is DatabaseFailure.UNPREPARED:
                    log.info("statements_not_prepared", reason="the connection pooler does not keep them")
                    self.server.prepares = False
                elif failure is DatabaseFailure.LOST:
                    log.warning("database_lost", error=reason(error))
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
            pause = min(2 * pause, LONGEST_PAUSE)


def _check_unbroken(connection: Connection, name: str) -> None:
    """Raise `RuntimeError` if a function has caught the error of a statement: PostgreSQL would undo all and report no error."""
    if driver(connection).info.transaction_status != TransactionStatus.INTRANS:
        raise RuntimeError(f"{name} continues after the error of a statement, which has undone its changes")


@contextmanager
def _left_clean(connection: Connection) -> Iterator[None]:
    """Discard the connection if it is unusable after an error, so that the pool makes another one."""
    try:
        yield
    except BaseException:
        with suppress(Exception):
            below = driver(connection)
            if below.closed or below.info.transaction_status != TransactionStatus.IDLE:
                connection.invalidate()
        raise


def _prepare(upgrading: Engine, prepare: Callable[[Connection], None]) -> None:
    with upgrading.connect() as connection:
        prepare(connection)
