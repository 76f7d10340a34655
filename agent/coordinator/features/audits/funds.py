"""The money of audits: the account that pays for them, its budget, and what is taken from a miner that is proven wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from agent.coordinator.features.audits.rules import surcharge
from agent.coordinator.features.audits.settings import AuditSettings
from agent.coordinator.features.audits.store import audits, canaries
from agent.coordinator.features.audits.store.audits import AuditRecord
from agent.coordinator.operations.context import Connection
from agent.coordinator.store import access, ledger, locks
from agent.coordinator.store.jobs import JobRecord
from agent.coordinator.store.ledger import TransactionKind
from agent.core.feasibility import KnownMiner
from agent.core.market.ledger import FEES, ISSUED, available, earned, forfeit, funding, transfer
from agent.core.values.quantities import make_id, to_units

AUDITS: Final = "account_audits"
"""The account that audit jobs belong to."""
SLACK: Final = 4
"""How many times the cost of the audited job its audit may cost: auditors may be dearer or, if time is the unit, slower."""
LEAST_PART: Final = 1000
"""The part of the day's budget that every audit may cost, so that no miner prevents its audits by metering next to nothing."""
VERDICTS: Final = "account_verdicts"
"""The client under which verdicts count for the reputation of miners. It owns nothing."""
DAY_SECONDS: Final = 86_400.0
LONGEST_SECONDS: Final = 3 * DAY_SECONDS
"""How long the payment of a client for an audit counts, which is longer than nearly all audits take."""


def ensure_accounts(connection: Connection, now: float) -> None:
    """Create the accounts of audits unless they exist."""
    for account_id, name in ((AUDITS, "audits"), (VERDICTS, "verdicts of audits")):
        access.ensure_account(connection, account_id, name, now)


def max_cost(
    connection: Connection,
    settings: AuditSettings,
    source: JobRecord,
    auditors: Sequence[KnownMiner],
    opinions: Sequence[AuditRecord],
    now: float,
) -> int | None:
    """Return what the next audit job may cost, in units of 1e-8, or None if neither its client nor the budget can pay for it.

    It is what the audited job did cost times `SLACK`, not what it might have cost. Otherwise a client with a high `max_cost` and an auditor
    of its own would use up the budget, and earn it. If all auditors are dearer than the audited miner, the price of the cheapest counts.
    What the client has not paid must fit the budget, for opinions of all kinds. If a part fits that suffices by the price that the
    client was shown, the audit job may cost so much.
    """
    cheapest = min((miner.candidate.services[source.service].unit_price for miner in auditors), default=0)
    price = max(source.unit_price or 0, to_units(Decimal(cheapest)))
    usual = usual_cost(source, price)
    cost = min(source.max_cost, max(usual * SLACK, to_units(settings.budget_per_day) // LEAST_PART))
    paid = unspent(connection, opinions)
    _lock_budget(connection, now)
    payable = paid + max(0, to_units(settings.budget_per_day) - _spent(connection, now))
    if cost <= payable:
        return cost
    if not paid or payable < max(1, surcharge(usual, source.max_cost, source.surcharge or 0)):
        return None
    return payable


def usual_cost(source: JobRecord, price: int | None = None) -> int:
    """Return what the work of the audited job costs at a price per unit, by default its own, in units of 1e-8."""
    unit_price = (source.unit_price or 0) if price is None else price
    return math.ceil(max(Decimal(1), Decimal(source.units)) * unit_price)


def unspent(connection: Connection, opinions: Sequence[AuditRecord]) -> int:
    """Return how much of the client's payment for an audit its audit jobs have not cost, in units of 1e-8."""
    charged = opinions[0].charged
    return max(0, charged - audits.cost_of(connection, audits.audit_jobs_of(opinions))) if charged else 0


def budget_used(connection: Connection, settings: AuditSettings, now: float) -> float:
    """Return the share of the budget that the audits and canaries of the last day have cost or may still cost."""
    budget = to_units(settings.budget_per_day)
    return _spent(connection, now) / budget if budget else 0.0


def fits_budget(connection: Connection, settings: AuditSettings, cost: int, now: float) -> bool:
    """Return whether today's budget for audits and canaries covers a further cost, in units of 1e-8."""
    _lock_budget(connection, now)
    return _spent(connection, now) + cost <= to_units(settings.budget_per_day)


def _lock_budget(connection: Connection, now: float) -> None:
    ensure_accounts(connection, now)
    # Two audits at the same time must not both use the rest of the budget.
    locks.account(connection, AUDITS)


def _spent(connection: Connection, now: float) -> int:
    """Return what the audits and canaries of the last day cost or may still cost, without what clients have paid for them."""
    accounts = [AUDITS, *filter(None, [canaries.account(connection)])]
    first = make_id("tx", max(0.0, now - DAY_SECONDS), bytes(10))
    # Nearly all older audits have ended, and would only slow down the query.
    oldest = make_id("audit", max(0.0, now - LONGEST_SECONDS), bytes(10))
    return audits.spent_since(connection, accounts, first) - audits.covered_since(connection, oldest, first)


def fund(connection: Connection, account_id: str, tx_id: str, cost: int, now: float) -> None:
    """Give an account the money that it lacks for a job, from the operator's fees, or else by issuing money."""
    locks.account(connection, account_id)
    missing = cost - ledger.balance(connection, available(account_id))
    # What is left of earlier audits is used before new money is issued.
    if missing <= 0:
        return
    locks.issued(connection)
    # Audits are paid from the operator's fees as far as they suffice; only the rest is issued.
    from_fees = max(0, min(missing, ledger.balance(connection, FEES)))
    entry = funding(account_id, missing, from_fees, ledger.balance(connection, ISSUED))
    note = "for audits" if account_id == AUDITS else ""
    ledger.add_booking(
        connection, tx_id, TransactionKind.FUNDING, account_id, missing, entry, note=note, now=now
    )


def charge(connection: Connection, account_id: str, job_id: str, tx_id: str, amount: int, now: float) -> None:
    """Have a client pay for the audit that it has requested."""
    if amount:
        ensure_accounts(connection, now)
        entry = transfer(available(account_id), available(AUDITS), amount)
        note = f"audit of {job_id}"
        ledger.add_booking(
            connection, tx_id, TransactionKind.AUDIT, account_id, amount, entry, note=note, now=now
        )


def refund(connection: Connection, account_id: str, job_id: str, tx_id: str, amount: int, now: float) -> None:
    """Give a client back what it paid for an audit that could not be completed. Missing money is issued."""
    if amount:
        # The client's payment may be spent already on a run without an opinion; the operator bears that.
        fund(connection, AUDITS, f"{tx_id}f", amount, now)
        entry = transfer(available(AUDITS), available(account_id), amount)
        note = f"no audit of {job_id}"
        ledger.add_booking(
            connection, tx_id, TransactionKind.REFUND, account_id, amount, entry, note=note, now=now
        )


def take_back(
    connection: Connection,
    *,
    tx_id: str,
    job_id: str,
    account_id: str,
    miner_id: str,
    note: str,
    now: float,
    keep: int = 0,
) -> int:
    """Take the pay of a job from its miner, and give it back to the client with the operator's fee. Return what the miner lost.

    They keep their parts of `keep`. What the miner no longer has cannot be taken, and is lost to the client.
    """
    payment = ledger.payment_id(job_id)
    pay = audits.earned_by(connection, payment, earned(miner_id))
    fee = audits.earned_by(connection, payment, FEES)
    # Both bear their share of what is retained, in proportion to what they got.
    if (paid := pay + fee) and keep:
        pay, fee = (max(0, part - part * keep // paid) for part in (pay, fee))
    # A payout at the same time could otherwise reserve the same money.
    locks.earnings(connection, [miner_id])
    forfeited = max(0, min(pay, ledger.balance(connection, earned(miner_id))))
    if not forfeited + fee:
        return 0
    locks.issued(connection)
    from_fees = max(0, min(fee, ledger.balance(connection, FEES)))
    entry = forfeit(account_id, miner_id, forfeited, fee, from_fees)
    ledger.add_booking(
        connection,
        tx_id,
        TransactionKind.FORFEIT,
        account_id,
        forfeited + fee,
        entry,
        note=note,
        now=now,
        miner_id=miner_id,
        fee=fee,
    )
    return forfeited
