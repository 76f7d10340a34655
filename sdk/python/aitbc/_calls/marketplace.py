"""The flows of `client.marketplace`: miners' offers, and the jobs assigned to them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from aitbc._http.flow import Flow, Request, Session, fetch, post_json, query, segment
from aitbc.answers.market import (
    MarketMinerList,
    MarketStats,
    Offer,
    OfferAccepted,
    OfferEnded,
    OfferList,
    ServiceSupplyList,
)

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
    """Offer to run jobs of a type or name. Needs the key of a miner's owner.

    `price` is for each metered unit, and `duration` is in seconds. `requirements` (`min_gpu_memory`, `min_cpu`) describe the miner's
    minimum hardware. The call is not retried once the coordinator may have received it.
    """
    body: dict[str, Any] = {"job_type": job_type, "price": price, "max_jobs": max_jobs, "duration": duration}
    if requirements is not None:
        body["requirements"] = requirements
    return fetch(session, post_json(_OFFERS, body), Offer)


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
    """Return the available offers, cheapest first.

    With `mine`, return the caller's own offers in any state, newest first. Pass a page's `next` as `before` to get the next page.
    """
    return query(
        session,
        _OFFERS,
        OfferList,
        job_type=job_type,
        max_price=max_price,
        limit=limit,
        mine="true" if mine else None,
        before=before,
    )


def accept(
    session: Session, /, offer_id: str, job_id: str, *, bid_price: str | Decimal
) -> Flow[OfferAccepted]:
    """Assign a submitted job to an offer. `bid_price` is the maximum price of a metered unit.

    Returns the job's payment, which is pending until the job ends. The call is idempotent, so it is retried. Raises
    `OfferNotAvailable`; its details state the reason.
    """
    body = {"job_id": job_id, "bid_price": bid_price}
    # A job can be given to the same offer only once, so a repetition changes nothing.
    request = post_json(f"{_OFFERS}/{segment(offer_id)}/accept", body, repeatable=True)
    return fetch(session, request, OfferAccepted)


def withdraw(session: Session, /, offer_id: str) -> Flow[OfferEnded]:
    """Withdraw one of the caller's offers. Jobs that have accepted it still run."""
    return fetch(session, Request("DELETE", f"{_OFFERS}/{segment(offer_id)}"), OfferEnded)


def services(session: Session, /) -> Flow[ServiceSupplyList]:
    """Return every service with its models: what is available now, the lowest price, and the typical speed."""
    return query(session, "/v1/marketplace/services", ServiceSupplyList)


def miners(
    session: Session, /, *, service: str | None = None, limit: int = 50, offset: int = 0
) -> Flow[MarketMinerList]:
    """Return the market's miners, optionally only those that offer a service. Available miners come first."""
    return query(
        session, "/v1/marketplace/miners", MarketMinerList, service=service, limit=limit, offset=offset
    )


def stats(session: Session, /) -> Flow[MarketStats]:
    """Return statistics of the whole market."""
    return query(session, "/v1/marketplace/stats", MarketStats)
