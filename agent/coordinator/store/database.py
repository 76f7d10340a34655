"""What the coordinator needs from a database, whichever engine it is."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, Protocol, TypeAlias, TypeVar

from sqlalchemy import Connection, text

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")
I = TypeVar("I")  # noqa: E741 - an item

Together: TypeAlias = Callable[[Connection, S, Sequence[I]], Sequence[T | Exception]]
"""A function that writes several items. It returns the outcome of each, in their order: a value, or an error after which it has written
nothing for that item."""

__all__ = [
    "Connection",
    "Content",
    "Database",
    "StaleRead",
    "Together",
    "contains",
    "healthy",
    "take_content",
]


class StaleRead(Exception):
    """Raised in a write which finds that another one has changed what it had read. The database then runs it again."""


class Content(StrEnum):
    """What a transaction may contain that others wait for."""

    CHANGES = "changes"
    """Changes that subscribers may see."""
    MESSAGES = "messages"
    """Messages that a feature sends."""


_CONTENT: Final = "content"


def contains(connection: Connection, content: Content) -> None:
    """Note that the transaction contains this."""
    connection.info.setdefault(_CONTENT, set()).add(content)


def take_content(connection: Connection) -> set[Content]:
    """Return what the transaction contains, and forget it, because connections have many transactions."""
    contents: set[Content] = connection.info.pop(_CONTENT, set())
    return contents


class Database(Protocol):
    """Transactions on the coordinator's database. Each takes a plain function whose first argument is a connection.

    `commits` and `writes` count since the start. `fault` is why the latest writes failed, or None.
    """

    commits: int
    writes: int
    fault: str | None

    @property
    def concurrent(self) -> bool:
        """Whether writes run at the same time, and other processes may use the database too."""

    @property
    def patience(self) -> float | None:
        """How many seconds calls wait for a server that does not answer; None if the database is a file."""

    def set_hanging(self, *, hangs: bool) -> None:
        """Answer all calls that wait, and new ones, with `ServiceUnavailable` while the server hangs: on its open connections nothing arrives."""

    @property
    def directory(self) -> Path:
        """A directory on the disk that the database fills, or that of the coordinator's files if a server holds the database."""

    @property
    def waiting(self) -> int:
        """How many writes are queued."""

    def after_commit(self, content: Content, call: Callable[[], None]) -> None:
        """Call `call` on the running event loop after every commit of this process with such content, before its writes are answered."""

    async def write(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `function` in a transaction and return its value once that is durable.

        An error that `function` raises undoes its changes and is raised here. On SQLite, writes run one at a time, in the order
        of these calls. On PostgreSQL they run at the same time, and `function` is run again if the connection breaks or another
        write was first; so it must have no effects other than on the database. Raises `ServiceUnavailable` when too many writes
        are queued, or the database cannot be used for longer than a request may wait.
        """

    async def write_together(self, function: Together[S, I, T], shared: S, item: I, key: Hashable) -> T:
        """Do the same as `write`, for this item and those of other calls that wait at the same time, in one call of `function`.

        Many rows of a statement cost little more than one. Calls go together that have the same function and the same `shared` object;
        items with the same `key` never do. If `function` raises, it is called again for each item alone.
        """

    async def read(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `function` on a snapshot that contains every write answered before."""

    async def peek(
        self, function: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do the same as `read`, for a few rows that are found by their keys, with prepared statements only."""

    def read_now(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do the same as `read`, blocking the calling thread. For the start, before there is anything else to do."""

    def close(self) -> None:
        """Finish the queued writes and close all connections."""


def healthy(connection: Connection) -> bool:
    """Return whether the database answers."""
    return bool(connection.execute(text("SELECT 1")).scalar_one() == 1)
