"""The transactions of a month as comma-separated values."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Final

from agent.coordinator.features.accounts import wallets
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Context
from agent.core.values.quantities import format_time, make_id
from agent.core.values.spreadsheets import harmless

COLUMNS: Final = (
    "created_at",
    "settled_at",
    "transaction_id",
    "type",
    "status",
    "amount",
    "fee",
    "held",
    "refunded",
    "job_id",
    "job_name",
    "miner_id",
    "note",
)
PAGE: Final = 500


async def lines(context: Context, caller: Caller, month: str) -> AsyncIterator[str]:
    """Yield the heading and the caller's transactions of this month of UTC, newest first."""
    begin = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    end = begin.replace(year=begin.year + begin.month // 12, month=begin.month % 12 + 1)
    first = format_time(begin.timestamp())
    yield _lines([COLUMNS])
    # Ids begin with the time, so the pages start at the end of the month without passing what is newer.
    before_id: str | None = make_id("tx", end.timestamp(), bytes(10))
    while before_id is not None:
        page = await wallets.transactions(context, caller, limit=PAGE, before_id=before_id)
        of_month = [row for row in page.transactions if row.created_at >= first]
        yield _lines([[harmless(getattr(row, name) or "") for name in COLUMNS] for row in of_month])
        # A page with older rows is the last one.
        before_id = page.next if len(of_month) == len(page.transactions) else None


def _lines(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
