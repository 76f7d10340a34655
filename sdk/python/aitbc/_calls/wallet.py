"""The flows of `client.wallet`: the balance, and every transaction behind it."""

from __future__ import annotations

from aitbc._http.flow import Flow, Session, query
from aitbc.answers.accounts import TransactionList, Wallet


def get(session: Session, /) -> Flow[Wallet]:
    """Return the balance and the amount held for unfinished jobs. For a miner's owner, the balance is the miner's earnings."""
    return query(session, "/v1/wallet", Wallet)


def transactions(session: Session, /, *, limit: int = 50, before: str | None = None) -> Flow[TransactionList]:
    """Return credits and payments, newest first. Pass a page's `next` as `before` to get the next page."""
    return query(session, "/v1/wallet/transactions", TransactionList, limit=limit, before=before)
