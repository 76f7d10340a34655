"""The flows of `client.wallet`: the balance, and every transaction behind it."""

from __future__ import annotations

from aitbc._http.flow import Flow, Request, Session, fetch
from aitbc.answers.accounts import TransactionList, Wallet


def get(session: Session, /) -> Flow[Wallet]:
    """Return the balance and the amount held for unfinished jobs. For a miner's owner, the balance is the miner's earnings."""
    return (yield from fetch(session, Request("GET", "/v1/wallet"), Wallet))


def transactions(session: Session, /, *, limit: int = 50, before: str | None = None) -> Flow[TransactionList]:
    """Return credits and payments, newest first. Pass a page's `next` as `before` to get the next page."""
    params = {"limit": str(limit), **({} if before is None else {"before": before})}
    request = Request("GET", "/v1/wallet/transactions", params=params)
    return (yield from fetch(session, request, TransactionList))
