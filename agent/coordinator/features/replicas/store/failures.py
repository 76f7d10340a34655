"""Which errors of PostgreSQL pass, so that the same transaction may succeed if it is repeated."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import psycopg
from sqlalchemy.exc import DBAPIError

from agent.coordinator.store.database import StaleRead


class Failure(StrEnum):
    """What an error means for the transaction."""

    LOST = "lost"
    """The connection is closed or cannot be made now: the server restarts, is full, or cannot be reached."""
    CONFLICT = "conflict"
    """Another transaction was first: this one, repeated, sees what the other has changed."""
    DUPLICATE = "duplicate"
    """Another transaction has just inserted the same key, or deleted the row that this one refers to. Repeated, this one sees that."""
    UNPREPARED = "unprepared"
    """A pooler in front of the server does not keep prepared statements."""
    UNAVAILABLE = "unavailable"
    """The server cannot do this now: its disk is full, or it takes too long. Repeating it immediately would make it worse."""
    UNSTORABLE = "unstorable"
    """A text that a caller gave contains the character NUL, which PostgreSQL's text cannot contain."""
    ERROR = "error"
    """The statement or the data is wrong."""


_OF_CODE: Final = {
    "08P01": Failure.UNPREPARED,
    "22021": Failure.UNSTORABLE,
    "23503": Failure.DUPLICATE,
    "23505": Failure.DUPLICATE,
    "25006": Failure.LOST,  # read-only: the server that we reach is no longer, or not yet, the primary
    "25P03": Failure.LOST,
    "26000": Failure.UNPREPARED,
    "40001": Failure.CONFLICT,
    "40P01": Failure.CONFLICT,
    "42P05": Failure.UNPREPARED,
    "53100": Failure.UNAVAILABLE,
    "53200": Failure.UNAVAILABLE,
    "53300": Failure.LOST,
    "53400": Failure.UNAVAILABLE,
    "55P03": Failure.CONFLICT,
    "57014": Failure.UNAVAILABLE,
    "57P01": Failure.LOST,
    "57P02": Failure.LOST,
    "57P03": Failure.LOST,
    "57P05": Failure.LOST,
    "58030": Failure.UNAVAILABLE,
}
"""By SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html)."""


def classify(error: BaseException) -> Failure:
    """Return what an error of a transaction means."""
    if isinstance(error, StaleRead):
        return Failure.CONFLICT
    cause = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(cause, psycopg.Error):
        return Failure.ERROR
    if isinstance(cause, psycopg.DataError) and "NUL" in str(cause):  # the driver's own
        return Failure.UNSTORABLE
    if cause.sqlstate is None:
        # libpq reports a connection that broke, or that could not be made, without a code.
        lost = isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)
        return Failure.LOST if lost else Failure.ERROR
    unknown = Failure.LOST if cause.sqlstate.startswith("08") else Failure.ERROR
    return _OF_CODE.get(cause.sqlstate, unknown)


def reason(error: BaseException) -> str:
    """Return the server's message, or that of the driver, in one line without a full stop."""
    return " ".join(str(getattr(error, "orig", None) or error).split()).rstrip(".?")
