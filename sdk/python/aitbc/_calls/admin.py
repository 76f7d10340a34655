"""The flows of `client.admin`: accounts, keys, tokens, and the state of everything."""

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
    """Accounts, oldest first; `after` goes on after a page (its `next`)."""
    params = {"limit": str(limit), **({} if after is None else {"after": after})}
    return (yield from fetch(session, Request("GET", "/v1/admin/accounts", params=params), AccountList))


def create_account(session: Session, /, name: str) -> Flow[Account]:
    """Make an account, which owns jobs, files and money."""
    return (yield from fetch(session, post_json("/v1/admin/accounts", {"name": name}), Account))


def credit(
    session: Session, /, account_id: str, amount: str | Decimal, *, note: str | None = None
) -> Flow[Credited]:
    """Give an account money. The call is not repeated once the coordinator may have got it."""
    path = f"/v1/admin/accounts/{quote(account_id, safe='')}/credit"
    return (yield from fetch(session, post_json(path, _given(amount=amount, note=note)), Credited))


def keys(session: Session, /) -> Flow[list[Key]]:
    """All keys without their secrets, revoked ones too."""
    return (yield from fetch(session, Request("GET", "/v1/admin/keys"), KeyPage)).found


def create_key(
    session: Session, /, role: str, name: str, *, account_id: str | None = None, miner_id: str | None = None
) -> Flow[NewKey]:
    """Make a key: for a client with its account, for a miner's owner with the miner. The answer has the secret, this once."""
    body = _given(role=role, name=name, account_id=account_id, miner_id=miner_id)
    return (yield from fetch(session, post_json("/v1/admin/keys", body), NewKey))


def revoke_key(session: Session, /, key_id: str) -> Flow[None]:
    """Make a key useless from now on."""
    yield from call(session, Request("DELETE", f"/v1/admin/keys/{quote(key_id, safe='')}", repeatable=False))


def create_enrolment(session: Session, /, *, uses: int = 1, valid_seconds: float = 86_400) -> Flow[Enrolment]:
    """Make a token with which so many miners may join."""
    body = {"uses": uses, "valid_seconds": valid_seconds}
    return (yield from fetch(session, post_json("/v1/admin/enrolments", body), Enrolment))


def create_login(
    session: Session, /, *, account_id: str | None = None, miner_id: str | None = None, admin: bool = False
) -> Flow[NewLogin]:
    """Make a one-time token for a dashboard: for an account, a miner's owner, an administrator (where none is named)."""
    body = _given(account_id=account_id, miner_id=miner_id, admin=admin or None)
    return (yield from fetch(session, post_json("/v1/admin/logins", body), NewLogin))


def overview(session: Session, /) -> Flow[Overview]:
    """All miners with what they offer and what they do not, and how many jobs are in each state."""
    return (yield from fetch(session, Request("GET", "/v1/admin/overview"), Overview))


def exclude_miner(session: Session, /, miner_id: str, *, reason: str | None = None) -> Flow[Exclusion]:
    """Exclude a miner: its session ends at once, its running jobs go to others, and it cannot register any more."""
    path = f"/v1/admin/miners/{quote(miner_id, safe='')}/exclude"
    return (yield from fetch(session, post_json(path, _given(reason=reason)), Exclusion))


def include_miner(session: Session, /, miner_id: str) -> Flow[None]:
    """Let an excluded miner take part again."""
    path = f"/v1/admin/miners/{quote(miner_id, safe='')}/include"
    yield from call(session, Request("POST", path, repeatable=False))


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
