"""The flows of `client.marketplace`: offers of miners, and jobs given to them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from aitbc._http.flow import Flow, Request, Session, fetch, post_json
from aitbc.models import MarketStats, Offer, OfferList, Record, Transaction

_OFFERS = "/v1/marketplace/offers"


def create_offer(
    session: Session,
    /,
    job_type: str,
    price: str | Decimal,
    *,
    max_jobs: int,
    duration: int,
    requirements: Mapping[str, str] | None = None,
) -> Flow[Offer]:
    """Offer to run jobs of a type or name, with the key of a miner's owner.

    `price` is for each metered unit, `duration` in seconds; `requirements` (`min_gpu_memory`, `min_cpu`) are what the
    miner has at least. The call is not repeated once the coordinator may have got it.
    """
    body: dict[str, Any] = {"job_type": job_type, "price": price, "max_jobs": max_jobs, "duration": duration}
    if requirements is not None:
        body["requirements"] = requirements
    return (yield from fetch(session, post_json(_OFFERS, body), Offer))


def offers(
    session: Session,
    /,
    *,
    job_type: str | None = None,
    max_price: str | Decimal | None = None,
    limit: int = 50,
    mine: bool = False,
    before: str | None = None,
) -> Flow[OfferList]:
    """Offers that can be accepted now, the cheapest first.

    With `mine`, a miner's own in any state, the newest first; `before` goes on after a page (its `next`).
    """
    wanted = {
        "job_type": job_type,
        "max_price": None if max_price is None else str(max_price),
        "limit": str(limit),
        "mine": "true" if mine else None,
        "before": before,
    }
    params = {name: value for name, value in wanted.items() if value is not None}
    return (yield from fetch(session, Request("GET", _OFFERS, params=params), OfferList))


def accept(session: Session, /, offer_id: str, job_id: str, *, bid_price: str | Decimal) -> Flow[Transaction]:
    """Give a submitted job to an offer; `bid_price` is the most that a unit may cost.

    Returns the job's payment, which is pending until the job ends. The same again gets the same payment, so the call is
    repeated when its answer is lost. Raises `OfferNotAvailable`, whose details say why.
    """
    body = {"job_id": job_id, "bid_price": bid_price}
    request = post_json(f"{_OFFERS}/{quote(offer_id, safe='')}/accept", body, repeatable=True)
    return (yield from fetch(session, request, Transaction))


def withdraw(session: Session, /, offer_id: str) -> Flow[Record]:
    """Take one's own offer from the market; jobs that have accepted it still run."""
    return (yield from fetch(session, Request("DELETE", f"{_OFFERS}/{quote(offer_id, safe='')}"), Record))


def stats(session: Session, /) -> Flow[MarketStats]:
    """Statistics of the whole market."""
    return (yield from fetch(session, Request("GET", "/v1/marketplace/stats"), MarketStats))
