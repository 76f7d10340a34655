"""Whether other transactions, also those of other processes, run while one writes."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

SESSION_LOCKS: Final = 1095783233
"""First half of the keys of the session locks that replicas hold while they run."""
LANE: Final = "lane"
"""What a connection's `info` has under this name, if its transactions are not the only ones: a number of its own."""


def is_concurrent(connection: Connection) -> bool:
    """Return whether other transactions may write at the same time. On SQLite there is one writer."""
    return LANE in connection.info
