"""Double-entry bookkeeping in integer units of 1e-8: every entry is a set of postings that sums to zero.

Money begins as a credit by an operator (`issued` goes negative, so that the sum of all accounts stays zero), is held in
escrow while a job may still cost something, and ends with the miner that did the work, with the operator as a fee, or back
with the client. Nothing here knows of a database: balances are arguments, postings are answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

FEES: Final = "fees"
"""What the operator has earned."""
ISSUED: Final = "issued"
"""The counterpart of all credits; never positive."""
MILLION: Final = 1_000_000
MAX_UNITS: Final = 9 * 10**18
"""No balance goes beyond this, either way: 90 billion in units of 1e-8, which fits 64 bits with the next posting's carry."""


def available(account_id: str) -> str:
    """What a client can spend."""
    return f"available:{account_id}"


def escrow(account_id: str) -> str:
    """What is held for a client's unfinished jobs."""
    return f"escrow:{account_id}"


def earned(miner_id: str) -> str:
    """What a miner has been paid."""
    return f"earned:{miner_id}"


@dataclass(frozen=True, slots=True)
class Posting:
    """A change of one account of the ledger."""

    account: str
    amount: int


Entry = tuple[Posting, ...]


class InsufficientFunds(Exception):
    """A client does not have what a job may cost. Amounts are units of 1e-8."""

    def __init__(self, balance: int, needed: int) -> None:
        super().__init__(f"{needed} units are needed, {balance} are there")
        self.balance = balance
        self.needed = needed


class TooMuchMoney(Exception):
    """A credit would take a balance out of its bounds. `most` is the largest one that would not, in units of 1e-8."""

    def __init__(self, most: int) -> None:
        super().__init__(f"at most {most} units can be credited")
        self.most = most


def entry(postings: Iterable[Posting]) -> Entry:
    """Postings of one entry, without those that change nothing. Raises `ValueError` unless they sum to zero."""
    kept = tuple(posting for posting in postings if posting.amount)
    if sum(posting.amount for posting in kept):
        raise ValueError(f"the postings do not sum to zero: {kept}")
    return kept


def credit(account_id: str, amount: int, issued: int) -> Entry:
    """Give a client money to spend. `issued` is the balance of `ISSUED`. Raises `TooMuchMoney`.

    No account can ever have more than was issued, so bounding that bounds every balance.
    """
    if amount <= 0:
        raise ValueError("a credit is more than nothing")
    most = max(0, MAX_UNITS + issued)
    if amount > most:
        raise TooMuchMoney(most)
    return entry((Posting(ISSUED, -amount), Posting(available(account_id), amount)))


def hold(account_id: str, amount: int, balance: int) -> Entry:
    """Hold what a job may cost at most. Raises `InsufficientFunds`."""
    if amount > balance:
        raise InsufficientFunds(balance, amount)
    return entry((Posting(available(account_id), -amount), Posting(escrow(account_id), amount)))


@dataclass(frozen=True, slots=True)
class Settlement:
    """What becomes of a job's escrow. `paid` is the price, of which the miner gets all but the `fee`."""

    held: int
    paid: int
    fee: int
    entry: Entry

    @property
    def refunded(self) -> int:
        """What the client gets back."""
        return self.held - self.paid


def settle(account_id: str, miner_id: str | None, held: int, price: int, fee_ppm: int) -> Settlement:
    """Pay a miner out of escrow and give the rest back; without a miner, or at price 0, all of it.

    `fee_ppm` is the operator's part of the price in parts per million; the fee rounds down. Raises `ValueError` for a price
    that is negative or above what is held.
    """
    if not 0 <= price <= held:
        raise ValueError(f"a price of {price} cannot be paid out of {held}")
    paid = price if miner_id is not None else 0
    fee = paid * fee_ppm // MILLION
    postings = [
        Posting(escrow(account_id), -held),
        Posting(available(account_id), held - paid),
        Posting(FEES, fee),
    ]
    if miner_id is not None:
        postings.append(Posting(earned(miner_id), paid - fee))
    return Settlement(held, paid, fee, entry(postings))
