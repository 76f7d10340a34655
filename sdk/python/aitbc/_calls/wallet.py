"""The flows of `client.wallet`: what can be spent or was earned, and every transaction behind it."""

from __future__ import annotations

from aitbc._http.flow import Flow, Request, Session, fetch
from aitbc.models import TransactionList, Wallet


def get(session: Session, /) -> Flow[Wallet]:
    """The balance, and what is held for unfinished jobs. A miner's owner sees what the miner has earned."""
    return (yield from fetch(session, Request("GET", "/v1/wallet"), Wallet))


def transactions(session: Session, /, *, limit: int = 50, before: str | None = None) -> Flow[TransactionList]:
    """Credits and payments, the newest first; `before` goes on after a page (its `next`)."""
    params = {"limit": str(limit), **({} if before is None else {"before": before})}
    request = Request("GET", "/v1/wallet/transactions", params=params)
    return (yield from fetch(session, request, TransactionList))
