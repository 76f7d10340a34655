"""Double-entry bookkeeping in integer units of 1e-8: every entry is a set of postings that sums to zero.

Money starts as a credit by an operator (`issued` becomes negative, so that the sum of all accounts stays zero). It is held in
escrow while a job may still cost something, and ends up with the miner that did the work, with the operator as a fee, or back
with the client. A debit by an operator takes unspent money back. This module has no database: balances are arguments, and postings are return values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

FEES: Final = "fees"
"""What the operator has earned."""
ISSUED: Final = "issued"
"""The counterpart of all credits, less the debits and what was paid out; never positive."""
OVERDRAWN: Final = "overdrawn"
"""The counterpart of the parts of debits that exceeded a client's balance; never negative."""
MILLION: Final = 1_000_000
MAX_UNITS: Final = 9 * 10**18
"""Bound of every balance in both directions: 90 billion in units of 1e-8, which fits 64 bits with the next posting's carry."""


def available(account_id: str) -> str:
    """Return the ledger account of the money that a client can spend."""
    return f"available:{account_id}"


def escrow(account_id: str) -> str:
    """Return the ledger account of the money held for a client's unfinished jobs."""
    return f"escrow:{account_id}"


def earned(miner_id: str) -> str:
    """Return the ledger account of the money that a miner has been paid."""
    return f"earned:{miner_id}"


@dataclass(frozen=True, slots=True)
class Posting:
    """A change of one account of the ledger."""

    account: str
    amount: int


Entry = tuple[Posting, ...]


class InsufficientFunds(Exception):
    """A client's balance does not cover what a job may cost. Amounts are in units of 1e-8."""

    def __init__(self, balance: int, needed: int) -> None:
        super().__init__(f"{needed} units are needed, the balance is {balance}")
        self.balance = balance
        self.needed = needed


class TooMuchMoney(Exception):
    """A credit or debit would push a balance out of its bounds. `limit` is the largest possible amount in units of 1e-8."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"at most {limit} units are possible")
        self.limit = limit


def entry(postings: Iterable[Posting]) -> Entry:
    """Return an entry of the postings that are not zero. Raises `ValueError` unless they sum to zero."""
    effective = tuple(posting for posting in postings if posting.amount)
    if sum(posting.amount for posting in effective):
        raise ValueError(f"the postings do not sum to zero: {effective}")
    return effective


def credit(account_id: str, amount: int, issued: int) -> Entry:
    """Credit a client. `issued` is the balance of `ISSUED`. Raises `TooMuchMoney`.

    No account can have more than was issued, so bounding that bounds every balance.
    """
    if amount <= 0:
        raise ValueError("a credit must be positive")
    limit = max(0, MAX_UNITS + issued)
    if amount > limit:
        raise TooMuchMoney(limit)
    return entry((Posting(ISSUED, -amount), Posting(available(account_id), amount)))


def debit(account_id: str, amount: int, balance: int, overdrawn: int, *, force: bool) -> Entry:
    """Take money back from a client. `overdrawn` is the balance of `OVERDRAWN`.

    Raises `InsufficientFunds` for more than the balance; with `force`, the balance becomes negative instead. Raises `TooMuchMoney`
    if all overdrafts together would exceed the bound. The overdraft has its own counterpart, so that no account can have more than
    was issued.
    """
    if amount <= 0:
        raise ValueError("a debit must be positive")
    covered = min(amount, max(0, balance))
    overdraft = amount - covered
    if overdraft and not force:
        raise InsufficientFunds(balance, amount)
    if overdrawn + overdraft > MAX_UNITS:
        raise TooMuchMoney(covered + max(0, MAX_UNITS - overdrawn))
    return entry(
        (
            Posting(available(account_id), -amount),
            Posting(ISSUED, covered),
            Posting(OVERDRAWN, overdraft),
        )
    )


def transfer(source: str, target: str, amount: int) -> Entry:
    """Move money between two ledger accounts."""
    if amount <= 0:
        raise ValueError("a transfer must be positive")
    return entry((Posting(source, -amount), Posting(target, amount)))


def funding(account_id: str, amount: int, from_fees: int, issued: int) -> Entry:
    """Give the operator's own account money: `from_fees` of the fees, and the rest newly issued. Raises `TooMuchMoney`.

    `issued` is the balance of `ISSUED`.
    """
    if not 0 <= from_fees <= amount:
        raise ValueError(f"{from_fees} of {amount} cannot come from the fees")
    limit = max(0, MAX_UNITS + issued)
    if amount - from_fees > limit:
        raise TooMuchMoney(limit)
    return entry(
        (
            Posting(FEES, -from_fees),
            Posting(ISSUED, from_fees - amount),
            Posting(available(account_id), amount),
        )
    )


def forfeit(account_id: str, miner_id: str, pay: int, fee: int, from_fees: int) -> Entry:
    """Give a client back what its job cost: the miner's `pay` and the operator's `fee`, of which `from_fees` is still there.

    The rest of the fee is issued: it was spent, and no account has more for that than was issued before.
    """
    if pay < 0 or not 0 <= from_fees <= fee:
        raise ValueError("a forfeit returns what was paid, and no more")
    return entry(
        (
            Posting(earned(miner_id), -pay),
            Posting(FEES, -from_fees),
            Posting(ISSUED, from_fees - fee),
            Posting(available(account_id), pay + fee),
        )
    )


def hold(account_id: str, amount: int, balance: int) -> Entry:
    """Hold the maximum cost of a job. Raises `InsufficientFunds`."""
    if amount > balance:
        raise InsufficientFunds(balance, amount)
    return entry((Posting(available(account_id), -amount), Posting(escrow(account_id), amount)))


@dataclass(frozen=True, slots=True)
class JobSettlement:
    """How a job's escrow is divided. `paid` is the price, of which the miner gets all but the `fee`."""

    held: int
    paid: int
    fee: int
    entry: Entry

    @property
    def refunded(self) -> int:
        """The amount that the client gets back."""
        return self.held - self.paid


def settle(account_id: str, miner_id: str | None, held: int, price: int, fee_ppm: int) -> JobSettlement:
    """Pay a miner out of escrow and refund the rest. Without a miner, or at price 0, refund everything.

    `fee_ppm` is the operator's share of the price in parts per million; the fee is rounded down. Raises `ValueError` for a
    price that is negative or exceeds the held amount.
    """
    if not 0 <= price <= held:
        raise ValueError(f"a price of {price} cannot be paid out of {held}")
    paid = price if miner_id is not None else 0
    # Rounded down, so that the parts never add up to more than was paid.
    fee = paid * fee_ppm // MILLION
    postings = [
        Posting(escrow(account_id), -held),
        Posting(available(account_id), held - paid),
        Posting(FEES, fee),
    ]
    if miner_id is not None:
        postings.append(Posting(earned(miner_id), paid - fee))
    return JobSettlement(held, paid, fee, entry(postings))


def divided(max_cost: int, percent: float) -> tuple[int, int]:
    """Return the parts of a maximum cost for the job and for surcharges, which cost `percent` of the job's price."""
    budget = int(max_cost * 1_000_000 // (1_000_000 + round(percent * 10_000)))
    return budget, max_cost - budget
