"""Which errors of PostgreSQL pass, so that the same transaction may succeed if it is repeated."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import psycopg
from sqlalchemy.exc import DBAPIError

from agent.coordinator.store.database import StaleRead


class DatabaseFailure(StrEnum):
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
    "08P01": DatabaseFailure.UNPREPARED,
    "22021": DatabaseFailure.UNSTORABLE,
    "23503": DatabaseFailure.DUPLICATE,
    "23505": DatabaseFailure.DUPLICATE,
    "25006": DatabaseFailure.LOST,  # read-only: the server that we reach is no longer, or not yet, the primary
    "25P03": DatabaseFailure.LOST,
    "26000": DatabaseFailure.UNPREPARED,
    "40001": DatabaseFailure.CONFLICT,
    "40P01": DatabaseFailure.CONFLICT,
    "42P05": DatabaseFailure.UNPREPARED,
    "53100": DatabaseFailure.UNAVAILABLE,
    "53200": DatabaseFailure.UNAVAILABLE,
    "53300": DatabaseFailure.LOST,
    "53400": DatabaseFailure.UNAVAILABLE,
    "55P03": DatabaseFailure.CONFLICT,
    "57014": DatabaseFailure.UNAVAILABLE,
    "57P01": DatabaseFailure.LOST,
    "57P02": DatabaseFailure.LOST,
    "57P03": DatabaseFailure.LOST,
    "57P05": DatabaseFailure.LOST,
    "58030": DatabaseFailure.UNAVAILABLE,
}
"""By SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html)."""


def classify(error: BaseException) -> DatabaseFailure:
    """Return what an error of a transaction means."""
    if isinstance(error, StaleRead):
        return DatabaseFailure.CONFLICT
    cause = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(cause, psycopg.Error):
        return DatabaseFailure.ERROR
    if isinstance(cause, psycopg.DataError) and "NUL" in str(cause):  # the driver's own
        return DatabaseFailure.UNSTORABLE
    if cause.sqlstate is None:
        # libpq reports a connection that broke, or that could not be made, without a code.
        lost = isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)
        return DatabaseFailure.LOST if lost else DatabaseFailure.ERROR
    unknown = DatabaseFailure.LOST if cause.sqlstate.startswith("08") else DatabaseFailure.ERROR
    return _OF_CODE.get(cause.sqlstate, unknown)


def reason(error: BaseException) -> str:
    """Return the server's message, or that of the driver, in one line without a full stop."""
    return " ".join(str(getattr(error, "orig", None) or error).split()).rstrip(".?")
