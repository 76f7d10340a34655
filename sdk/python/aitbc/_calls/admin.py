"""The flows of `client.admin`: accounts, keys, tokens, and an overview."""

from __future__ import annotations

import secrets
from decimal import Decimal
from typing import Any

from aitbc._http.flow import Flow, Request, Session, call, fetch, post_json, present, query, segment
from aitbc.answers.accounts import (
    Account,
    AccountList,
    Booked,
    EnrolmentList,
    Key,
    KeyList,
    NewEnrolment,
    NewKey,
    NewLogin,
)
from aitbc.answers.history import History
from aitbc.answers.miners import Exclusion, Overview, Removal
from aitbc.answers.trail import TrailPage


def accounts(session: Session, /, *, limit: int = 50, after: str | None = None) -> Flow[AccountList]:
    """Return accounts, oldest first. Pass a page's `next` as `after` to get the next page."""
    return query(session, "/v1/admin/accounts", AccountList, limit=limit, after=after)


def create_account(session: Session, /, name: str) -> Flow[Account]:
    """Create an account, which owns jobs, files and money."""
    return fetch(session, post_json("/v1/admin/accounts", {"name": name}), Account)


def credit(
    session: Session, /, account_id: str, amount: str | Decimal, *, note: str | None = None
) -> Flow[Booked]:
    """Add money to an account. The call is retried, and books once."""
    return _book(session, account_id, "credit", present({"amount": amount, "note": note}))


def debit(
    session: Session,
    /,
    account_id: str,
    amount: str | Decimal,
    *,
    note: str | None = None,
    force: bool = False,
) -> Flow[Booked]:
    """Take money back from an account, with `force` even more than it has. The call is retried, and books once.

    Raises `InsufficientBalance`.
    """
    body = present({"amount": amount, "note": note, "force": force or None})
    return _book(session, account_id, "debits", body)


def _book(session: Session, account_id: str, kind: str, body: dict[str, Any]) -> Flow[Booked]:
    path = f"/v1/admin/accounts/{segment(account_id)}/{kind}"
    headers = {"Idempotency-Key": secrets.token_hex(16)}
    return fetch(session, post_json(path, body, headers=headers), Booked)


def keys(session: Session, /) -> Flow[list[Key]]:
    """Return all keys without their secrets, including revoked ones."""
    return (yield from query(session, "/v1/admin/keys", KeyList)).listed


def create_key(
    session: Session, /, role: str, name: str, *, account_id: str | None = None, miner_id: str | None = None
) -> Flow[NewKey]:
    """Create a key: for a client with its account, or for a miner's owner with the miner. Only this response contains the secret."""
    body = present({"role": role, "name": name, "account_id": account_id, "miner_id": miner_id})
    return fetch(session, post_json("/v1/admin/keys", body), NewKey)


def revoke_key(session: Session, /, key_id: str) -> Flow[None]:
    """Revoke a key."""
    yield from call(session, Request("DELETE", f"/v1/admin/keys/{segment(key_id)}", repeatable=False))


def create_enrolment(
    session: Session,
    /,
    *,
    uses: int = 1,
    valid_seconds: float = 86_400,
    note: str | None = None,
    owner: str | None = None,
) -> Flow[NewEnrolment]:
    """Create a token with which up to `uses` miners may join. Only this response contains the token.

    All miners that join for one `owner` form a fleet.
    """
    body = {"uses": uses, "valid_seconds": valid_seconds, **present({"note": note, "owner": owner})}
    return fetch(session, post_json("/v1/admin/enrolments", body), NewEnrolment)


def enrolments(session: Session, /, *, limit: int = 50, before: str | None = None) -> Flow[EnrolmentList]:
    """Return tokens without their secrets, newest first. Pass a page's `next` as `before` to get the next page."""
    return query(session, "/v1/admin/enrolments", EnrolmentList, limit=limit, before=before)


def revoke_enrolment(session: Session, /, enrolment_id: str) -> Flow[None]:
    """Revoke a token. Miners that have enrolled with it stay."""
    yield from call(session, Request("DELETE", f"/v1/admin/enrolments/{segment(enrolment_id)}"))


def create_login(
    session: Session, /, *, account_id: str | None = None, miner_id: str | None = None, admin: bool = False
) -> Flow[NewLogin]:
    """Create a one-time login token for the dashboard: for an account, a miner's owner, or (by default) an administrator."""
    body = present({"account_id": account_id, "miner_id": miner_id, "admin": admin or None})
    return fetch(session, post_json("/v1/admin/logins", body), NewLogin)


def overview(session: Session, /) -> Flow[Overview]:
    """Return all miners with their available and unavailable services, and the number of jobs in each state."""
    return query(session, "/v1/admin/overview", Overview)


def exclude_miner(session: Session, /, miner_id: str, *, reason: str | None = None) -> Flow[Exclusion]:
    """Exclude a miner: its session ends immediately, its running jobs are requeued, and it cannot register again."""
    path = f"/v1/admin/miners/{segment(miner_id)}/exclude"
    return fetch(session, post_json(path, present({"reason": reason})), Exclusion)


def include_miner(session: Session, /, miner_id: str) -> Flow[None]:
    """Allow an excluded miner to register again."""
    path = f"/v1/admin/miners/{segment(miner_id)}/include"
    yield from call(session, Request("POST", path, repeatable=False))


def remove_miner(session: Session, /, miner_id: str) -> Flow[Removal]:
    """Remove a miner: its running jobs are requeued and its offers end. Its receipts and earnings stay."""
    path = f"/v1/admin/miners/{segment(miner_id)}"
    return fetch(session, Request("DELETE", path, repeatable=False), Removal)


def trail(session: Session, /, *, limit: int = 50, before: str | None = None) -> Flow[TrailPage]:
    """Return what administrators have done, newest first. Pass a page's `next` as `before` to get the next page."""
    return query(session, "/v1/admin/trail", TrailPage, limit=limit, before=before)


def history(session: Session, /, metric: str = "jobs", *, period: str = "day") -> Flow[History]:
    """Return `jobs`, `queue`, `money` or `miners` over the last `hour`, `day`, `week`, `month` or `year`."""
    return query(session, "/v1/admin/history", History, metric=metric, period=period)
