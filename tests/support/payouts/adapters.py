"""What payout adapters are called with: payments, batches, and transfers as the database stores them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from agent.coordinator.features.payouts.adapter import (
    Answer,
    BatchInfo,
    NewTransfer,
    Payment,
    Report,
    Site,
    Transfer,
)
from agent.coordinator.features.payouts.settings import PayoutSettings

ORIGIN = "coordinator.example"
NOW = 1_800_000_000.0


def site(directory: Path, **sections: dict[str, Any]) -> Site:
    """Return a site with these sections of the settings `payouts`."""
    return Site(PayoutSettings.model_validate(sections), directory, ORIGIN)


def batch(adapter: str, currency: str) -> BatchInfo:
    return BatchInfo("batch_1", adapter, currency, b'{"manifest":1}')


def payment(number: int, address: str, amount: str, handed_in: Any = None) -> Payment:
    return Payment(f"payout_{number}", f"miner_{number}", address, Decimal(amount), NOW, handed_in)


def stored(new: NewTransfer, info: BatchInfo, payments: Sequence[Payment]) -> Transfer:
    """Return a prepared transfer as the worker reads it from the database."""
    return Transfer(
        f"transfer_{new.payout_ids[0]}",
        info,
        tuple(one for one in payments if one.payout_id in new.payout_ids),
        new.content,
        new.reference,
        new.source,
        new.nonce,
        new.state,
        0,
        NOW,
        None,
    )


def after(transfer: Transfer, answer: Answer) -> Transfer:
    """Return the transfer as it is stored after an answer."""
    return replace(
        transfer,
        state=answer.state if answer.state is not None else transfer.state,
        content=answer.content if answer.content is not None else transfer.content,
        reference=answer.reference if answer.reference is not None else transfer.reference,
    )


def only(answer: Answer) -> Report:
    """Return an answer's only report."""
    (report,) = answer.reports
    return report
