"""The driver's own connection."""

from __future__ import annotations

import sqlite3

from sqlalchemy import Connection


def driver(connection: Connection) -> sqlite3.Connection:
    """Return the SQLite connection below a SQLAlchemy connection."""
    # With this driver it is the same as `driver_connection`, which takes several steps, and every statement asks.
    return connection.connection.dbapi_connection  # type: ignore[return-value] # declared as any driver's
