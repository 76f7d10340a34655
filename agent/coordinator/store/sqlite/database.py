"""Connections, transactions and group commit.

SQLite has one writer, so one thread writes. It takes all queued writes, runs each in a savepoint of one transaction, commits
once (`synchronous=FULL`), and only then answers them. Requests that arrive at the same time therefore share the cost of the
disk, and a power cut loses nothing that was answered.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

import structlog
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import QueuePool

from agent import fault_points
from agent.coordinator.metrics import BATCH_WRITES, COMMIT_SECONDS
from agent.coordinator.store.database import Content, Together, take_content
from agent.coordinator.store.schema.upgrade import prepare
from agent.coordinator.store.sqlite.driver import driver
from agent.core.errors import ConfigurationError, ServiceUnavailable
from agent.metrics import Meter

if TYPE_CHECKING:  # the settings are far above the store, which reads only values of theirs
    from agent.settings.coordinator import DatabaseSettings

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")
I = TypeVar("I")  # noqa: E741 - an item

BUSY_MILLISECONDS: Final = 10_000
CACHE_SIZE: Final = 64 * 2**20
"""Default bytes of pages that each connection caches."""
CHECKPOINT_PAGES: Final = 4000
"""The writer checkpoints the WAL itself after about 16 MB; readers never do (see docs/explanation/architecture.md)."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Write:
    """A queued write, and the future that receives its outcome. Those of a group run together (`Database.write_together`)."""

    function: Callable[[Connection, Sequence[Any]], Sequence[Any]]
    future: asyncio.Future[Any]
    name: str
    item: Any = None
    group: Hashable = None
    key: Hashable = None
    value: Any = None
    error: BaseException | None = None


class SQLiteDatabase:
    """A `Database` in one file. Call `open` first and `close` at the end."""

    def __init__(
        self,
        path: Path,
        *,
        readers: int = 4,
        cache_size: int = CACHE_SIZE,
        max_batch: int = 256,
        max_queue: int = 10_000,
        meter: Meter | None = None,
    ) -> None:
        self.path = path
        self.fault: str | None = None
        self.commits = 0
        self.writes = 0
        self._max_batch = max_batch
        self._meter = meter
        self._max_queue = max_queue
        # Written in C: a lock that the writer holds while it waits for the interpreter would also block the event loop.
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._write_engine = _engine(path, readers=1, read_only=False, cache_size=cache_size)
        self._cache_size = cache_size
        self._read_engine: Engine | None = None
        self._peek: Connection | None = None
        self._readers = readers
        self._read_pool = ThreadPoolExecutor(readers, thread_name_prefix="database-reader")
        self._thread = threading.Thread(target=self._work, name="database-writer", daemon=True)
        self._closed = False
        self._after_commit: list[tuple[asyncio.AbstractEventLoop, Content, Callable[[], None]]] = []

    @property
    def concurrent(self) -> bool:
        """Whether writes run at the same time, and other processes may use the database too."""
        return False

    @property
    def patience(self) -> None:
        """None, because the watchdog ends a process whose own file does not answer."""

    def set_hanging(self, *, hangs: bool) -> None:
        """Do nothing, as above."""

    @property
    def directory(self) -> Path:
        """The directory of the database file."""
        return self.path.parent

    @property
    def waiting(self) -> int:
        """How many writes are queued."""
        return self._queue.qsize()

    def after_commit(self, content: Content, call: Callable[[], None]) -> None:
        """Call `call` on the running event loop after every commit with such content, before any of its writes is answered."""
        self._after_commit.append((asyncio.get_running_loop(), content, call))

    def open(self, prepare: Callable[[Connection], None]) -> None:
        """Create or upgrade the schema with `prepare`, then start the writer.

        Raises `ConfigurationError` if the file is not a database or cannot be written.
        """
        try:
            with self._write_engine.connect() as connection, _without_foreign_keys(connection):
                prepare(connection)
        except DatabaseError as error:
            raise ConfigurationError(
                f"The database {self.path} cannot be used: {error.orig}. Restore it from a backup, or move it away."
            ) from None
        self._read_engine = _engine(
            self.path, readers=self._readers + 1, read_only=True, cache_size=self._cache_size
        )
        # A connection of its own, used by the event loop only, so that a peek never waits for a reader's thread.
        self._peek = self._read_engine.connect()
        self._thread.start()

    async def write(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `function` in a transaction and return its value once that is durable.

        Writes run one at a time, in the order of these calls. An error that `function` raises undoes its changes and is raised
        here. Raises `ServiceUnavailable` when too many writes are queued.
        """
        name = function.__name__ if fault_points.armed() else ""
        value: T = await self._queued(
            _Write(lambda connection, _: (function(connection, *args, **kwargs),), _future(), name)
        )
        return value

    async def write_together(self, function: Together[S, I, T], shared: S, item: I, key: Hashable) -> T:
        """Do the same as `write` for several items. See `Database.write_together`."""
        name = function.__name__ if fault_points.armed() else ""
        group = (function, id(shared))
        write = _Write(
            lambda connection, items: function(connection, shared, items), _future(), name, item, group, key
        )
        value: T = await self._queued(write)
        return value

    async def _queued(self, write: _Write) -> Any:
        if self._closed:
            raise ServiceUnavailable("The coordinator is stopping; try again in a moment.")
        if self.waiting >= self._max_queue:
            raise ServiceUnavailable("The coordinator is overloaded; try again in a moment.")
        self._queue.put(write)
        return await write.future

    async def read(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `function` on a read-only connection, which sees every write answered before."""
        if self._closed:
            raise ServiceUnavailable("The coordinator is stopping; try again in a moment.")
        return await asyncio.get_running_loop().run_in_executor(
            self._read_pool, lambda: self.read_now(function, *args, **kwargs)
        )

    async def peek(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do the same as `read`, for a few rows that are found by their keys, with prepared statements only.

        This takes less time than handing the work to another thread, so it runs at once and blocks the event loop.
        """
        if self._closed or self._peek is None:
            raise ServiceUnavailable("The coordinator is stopping; try again in a moment.")
        sqlite = driver(self._peek)
        sqlite.execute("BEGIN")
        try:
            return function(self._peek, *args, **kwargs)
        finally:
            sqlite.execute("ROLLBACK")

    def read_now(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do the same as `read`, blocking the calling thread. For the start, before there is anything else to do."""
        if self._read_engine is None:
            raise RuntimeError("the database is not open")
        with self._read_engine.connect() as connection, connection.begin():
            return function(connection, *args, **kwargs)

    def close(self) -> None:
        """Finish the queued writes, stop the threads, close the connections."""
        if self._closed:
            return
        self._closed = True
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self._read_pool.shutdown()
        if self._peek is not None:
            self._peek.close()
        if self._read_engine is not None:
            self._read_engine.dispose()
        self._write_engine.dispose()

    def _work(self) -> None:
        with self._write_engine.connect() as connection:
            while (first := self._queue.get()) is not None:
                batch, ending = self._take(first)
                self._commit(connection, batch)
                # Before the answers: a caller that has its answer finds the change announced.
                contents = take_content(connection)
                for loop, content, call in self._after_commit:
                    if content in contents:
                        with suppress(RuntimeError):  # the loop is closed
                            loop.call_soon_threadsafe(call)
                _answer(batch)
                if ending:
                    return

    def _take(self, first: _Write) -> tuple[list[_Write], bool]:
        batch = [first]
        # Writes that queued up during the last commit shares the next one.
        with suppress(queue.Empty):
            while len(batch) < self._max_batch:
                item = self._queue.get_nowait()
                if item is None:
                    return batch, True
                batch.append(item)
        return batch, False

    def _commit(self, connection: Connection, batch: list[_Write]) -> None:
        begun = time.perf_counter()
        try:
            with connection.begin():
                pieces = _pieces(batch)
                for piece in pieces:
                    _run(connection, piece)
                for piece in pieces:
                    fault_points.reach("database.before_commit", piece[0].name, full=_disk_full)
            for piece in pieces:
                fault_points.reach("database.after_commit", piece[0].name)
        except BaseException as error:
            for write in batch:
                write.error = write.error or _explained(error)
            log.exception("commit_failed", writes=len(batch))
        else:
            self.commits += 1
            self.writes += len(batch)
        if self._meter is not None:
            self._meter.observe(COMMIT_SECONDS, time.perf_counter() - begun)
            self._meter.observe(BATCH_WRITES, len(batch))
        unavailable = [write.error for write in batch if isinstance(write.error, ServiceUnavailable)]
        self.fault = str(unavailable[0]) if unavailable else None


def _pieces(batch: Sequence[_Write]) -> list[list[_Write]]:
    """Return the writes that run in one savepoint each: those of a group stand where its first one does."""
    pieces: list[list[_Write]] = []
    open_groups: dict[Hashable, tuple[list[_Write], set[Hashable]]] = {}
    for write in batch:
        if write.future.cancelled():
            continue
        piece, keys = open_groups.get(write.group, ([], set()))
        if not piece or write.group is None or write.key in keys:
            piece, keys = [], set()
            pieces.append(piece)
            open_groups[write.group] = piece, keys
        piece.append(write)
        keys.add(write.key)
    return pieces


def _run(connection: Connection, writes: list[_Write]) -> None:
    # By the driver itself: SQLAlchemy's own savepoints cost more than most statements between them.
    sqlite = driver(connection)
    sqlite.execute("SAVEPOINT piece")
    alone = False
    try:
        outcomes = writes[0].function(connection, [write.item for write in writes])
        for write, outcome in zip(writes, outcomes, strict=True):
            if isinstance(outcome, Exception):
                write.error = outcome
            else:
                write.value = outcome
    except Exception as error:  # noqa: BLE001 - raised at the caller of `write`
        alone = len(writes) > 1
        writes[0].error = None if alone else _explained(error)
        # The other pieces of this transaction are unaffected by a write that failed.
        sqlite.execute("ROLLBACK TO piece")
    sqlite.execute("RELEASE piece")
    # A group shares one call, so any of its writes may be at fault. One by one, only that one fails.
    if alone:
        for write in writes:
            _run(connection, [write])


def _disk_full() -> BaseException:
    return sqlite3.OperationalError("database or disk is full")


def _explained(error: BaseException) -> BaseException:
    """Return the error for the caller. A database that cannot be written now, e.g. on a full disk, is not the request's fault."""
    if isinstance(error, OperationalError | sqlite3.OperationalError):
        log.error("database_unavailable", error=str(getattr(error, "orig", error)))
        return ServiceUnavailable("The coordinator cannot write its database now; try again in a moment.")
    return error


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


def _answer(batch: list[_Write]) -> None:
    loops: dict[asyncio.AbstractEventLoop, list[_Write]] = {}
    for write in batch:
        loops.setdefault(write.future.get_loop(), []).append(write)
    for loop, writes in loops.items():
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(_resolve, writes)


def _resolve(writes: list[_Write]) -> None:
    for write in writes:
        if write.future.done():
            continue
        if write.error is not None:
            write.future.set_exception(write.error)
        else:
            write.future.set_result(write.value)


def _engine(path: Path, *, readers: int, read_only: bool, cache_size: int = CACHE_SIZE) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=QueuePool,
        pool_size=readers,
        max_overflow=0,
        # Errors are logged, and parameters contain specifications, results and digests of keys.
        hide_parameters=True,
        connect_args={"check_same_thread": False, "timeout": BUSY_MILLISECONDS / 1000},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _: Any) -> None:
        # The driver begins none itself: transactions are begun below, so that savepoints work.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA temp_store=MEMORY")
        cursor.execute(f"PRAGMA cache_size=-{cache_size // 1024}")  # negative: in KiB
        if read_only:
            cursor.execute("PRAGMA query_only=ON")
            cursor.execute("PRAGMA wal_autocheckpoint=0")
        else:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        driver(connection).execute("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


@contextmanager
def _without_foreign_keys(connection: Connection) -> Iterator[None]:
    """Do not enforce foreign keys: a migration that changes a table replaces it, and dropping the old one would violate them.

    SQLite ignores this pragma within a transaction (https://www.sqlite.org/lang_altertable.html, section 7). The migrations check
    all keys before they commit.
    """
    driver(connection).execute("PRAGMA foreign_keys=OFF")
    try:
        yield
    finally:
        driver(connection).execute("PRAGMA foreign_keys=ON")


def sqlite_path(url: str | None, data_dir: Path) -> Path:
    """Return the path of the database file. Raises `ConfigurationError` for a URL of an unsupported engine."""
    if url is None:
        return data_dir / "coordinator" / "coordinator.db"
    prefix = "sqlite:///"
    if not url.startswith(prefix):
        raise ConfigurationError(
            f"database.url: write sqlite:///PATH or postgresql://USER@HOST/DATABASE, not {url.split(':')[0]}."
        )
    return Path(url.removeprefix(prefix))


def open_file(settings: DatabaseSettings, data_dir: Path, meter: Meter) -> SQLiteDatabase:
    """Open the file that the settings name, and create or upgrade its schema. Raises `ConfigurationError`."""
    database = SQLiteDatabase(
        sqlite_path(settings.url, data_dir),
        readers=settings.readers,
        cache_size=int(settings.cache_size),
        max_batch=settings.max_batch,
        max_queue=settings.max_queue,
        meter=meter,
    )
    database.open(prepare)
    return database


@contextmanager
def reading(path: Path) -> Iterator[Connection]:
    """Read one snapshot of a database file, which another process may be writing. Raises `ConfigurationError` on entry."""
    if not path.is_file():
        raise ConfigurationError(f"There is no database at {path}.")
    engine = _engine(path, readers=1, read_only=True)
    try:
        with engine.connect() as connection:
            yield connection
    except DatabaseError as error:
        raise ConfigurationError(f"The database {path} cannot be read: {error.orig}.") from None
    finally:
        engine.dispose()
