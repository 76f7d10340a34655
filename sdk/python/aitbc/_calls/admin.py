"""The flows of `client.admin`: accounts, keys, tokens, and an overview."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from urllib.parse import quote

from aitbc._calls.keys import KeyPage
from aitbc._http.flow import Flow, Request, Session, call, fetch, post_json
from aitbc.operation import (
    Account,
    AccountList,
    Credited,
    Enrolment,
    Exclusion,
    Key,
    NewKey,
    NewLogin,
    Overview,
)


def accounts(session: Session, /, *, limit: int = 50, after: str | None = None) -> Flow[AccountList]:
    """Return accounts, oldest first. Pass a page's `next` as `after` to get the next page."""
    params = {"limit": str(limit), **({} if after is None else {"after": after})}
    return (yield from fetch(session, Request("GET", "/v1/admin/accounts", params=params), AccountList))


def create_account(session: Session, /, name: str) -> Flow[Account]:
    """Create an account, which owns jobs, files and money."""
    return (yield from fetch(session, post_json("/v1/admin/accounts", {"name": name}), Account))


def credit(
    session: Session, /, account_id: str, amount: str | Decimal, *, note: str | None = None
) -> Flow[Credited]:
    """Add money to an account. The call is not retried once the coordinator may have received it."""
    path = f"/v1/admin/accounts/{quote(account_id, safe='')}/credit"
    return (yield from fetch(session, post_json(path, _present(amount=amount, note=note)), Credited))


def keys(session: Session, /) -> Flow[list[Key]]:
    """Return all keys without their secrets, including revoked ones."""
    return (yield from fetch(session, Request("GET", "/v1/admin/keys"), KeyPage)).found


def create_key(
    session: Session, /, role: str, name: str, *, account_id: str | None = None, miner_id: str | None = None
) -> Flow[NewKey]:
    """Create a key: for a client with its account, or for a miner's owner with the miner. Only this response contains the secret."""
    body = _present(role=role, name=name, account_id=account_id, miner_id=miner_id)
    return (yield from fetch(session, post_json("/v1/admin/keys", body), NewKey))


def revoke_key(session: Session, /, key_id: str) -> Flow[None]:
    """Revoke a key."""
    yield from call(session, Request("DELETE", f"/v1/admin/keys/{quote(key_id, safe='')}", repeatable=False))


def create_enrolment(session: Session, /, *, uses: int = 1, valid_seconds: float = 86_400) -> Flow[Enrolment]:
    """Create a token with which up to `uses` miners may join."""
    body = {"uses": uses, "valid_seconds": valid_seconds}
    return (yield from fetch(session, post_json("/v1/admin/enrolments", body), Enrolment))


def create_login(
    session: Session, /, *, account_id: str | None = None, miner_id: str | None = None, admin: bool = False
) -> Flow[NewLogin]:
    """Create a one-time login token for the dashboard: for an account, a miner's owner, or (by default) an administrator."""
    body = _present(account_id=account_id, miner_id=miner_id, admin=admin or None)
    return (yield from fetch(session, post_json("/v1/admin/logins", body), NewLogin))


def overview(session: Session, /) -> Flow[Overview]:
    """Return all miners with their available and unavailable services, and the number of jobs in each state."""
    return (yield from fetch(session, Request("GET", "/v1/admin/overview"), Overview))


def exclude_miner(session: Session, /, miner_id: str, *, reason: str | None = None) -> Flow[Exclusion]:
    """Exclude a miner: its session ends at once, its running jobs are requeued, and it cannot register again."""
    path = f"/v1/admin/miners/{quote(miner_id, safe='')}/exclude"
    return (yield from fetch(session, post_json(path, _present(reason=reason)), Exclusion))


def include_miner(session: Session, /, miner_id: str) -> Flow[None]:
    """Allow an excluded miner to register again."""
    path = f"/v1/admin/miners/{quote(miner_id, safe='')}/include"
    yield from call(session, Request("POST", path, repeatable=False))


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
