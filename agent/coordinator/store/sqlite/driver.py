"""The driver's own connection."""

from __future__ import annotations

import sqlite3
from typing import cast

from sqlalchemy import Connection


def driver(connection: Connection) -> sqlite3.Connection:
    """Return the SQLite connection below a SQLAlchemy connection."""
    return cast("sqlite3.Connection", connection.connection.driver_connection)
