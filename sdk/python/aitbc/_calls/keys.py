"""The flows of `client.keys` and `client.login`."""

from __future__ import annotations

from aitbc._http.flow import Flow, Request, Session, call, fetch, post_json, query, segment
from aitbc.answers.accounts import Key, LoginKey, LoginKeyList, NewKey, NewLogin, OwnKeyList


def me(session: Session, /) -> Flow[Key]:
    """Return the client's own key: its role, and its account or miner."""
    return query(session, "/v1/key", Key)


def revoke_self(session: Session, /) -> Flow[None]:
    """Revoke the client's own key."""
    yield from call(session, Request("DELETE", "/v1/key", repeatable=False))


def list_keys(session: Session, /) -> Flow[list[Key]]:
    """Return the valid keys of the client's account, oldest first, without their secrets."""
    return (yield from query(session, "/v1/keys", OwnKeyList)).listed


def create(session: Session, /, name: str) -> Flow[NewKey]:
    """Create another key for the client's account. Only this response contains the secret."""
    return fetch(session, post_json("/v1/keys", {"name": name}), NewKey)


def revoke(session: Session, /, key_id: str) -> Flow[None]:
    """Revoke another key of the client's account."""
    yield from call(session, Request("DELETE", f"/v1/keys/{segment(key_id)}", repeatable=False))


def create_login(session: Session, /) -> Flow[NewLogin]:
    """Create a one-time login token for the dashboard, for the miner whose owner's key the client has."""
    return fetch(session, Request("POST", "/v1/logins", repeatable=False), NewLogin)


def login(session: Session, /, token: str) -> Flow[list[LoginKey]]:
    """Exchange a one-time token for keys. The call is not retried once the coordinator may have received it."""
    return (yield from fetch(session, post_json("/v1/login", {"token": token}), LoginKeyList)).listed
