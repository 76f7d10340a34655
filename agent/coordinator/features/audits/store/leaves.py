"""The leaves of verdicts in the log."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, select

from agent.coordinator.features.log.tables import log_leaves, log_queue


def verdicts(connection: Connection) -> Iterator[tuple[str, str]]:
    """Iterate over the references and contents of the verdicts' leaves, numbered or queued."""
    for table in (log_leaves, log_queue):
        query = select(table.c.reference, table.c.content).where(
            table.c.reference.startswith("audit_", autoescape=True)
        )
        for reference, content in connection.execute(query):
            yield reference, content or ""
