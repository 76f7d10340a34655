"""Finds the key, token or cookie of a request."""

from __future__ import annotations

from typing import Final

from starlette.types import Scope

from agent.coordinator.http import cookies
from agent.coordinator.operations.callers import BrowserCredential, Credential

_BEARER: Final = b"bearer "


def of_request(scope: Scope) -> Credential | None:
    """Return the key, token or cookie of a request; for a WebSocket also `?token=`."""
    key = None
    for name, value in scope["headers"]:
        if name == b"authorization" and value[: len(_BEARER)].lower() == _BEARER:
            if bearer := str(value[len(_BEARER) :], "latin-1").strip():
                return bearer
        elif name == b"x-api-key":
            key = str(value, "latin-1")
    if key is None and scope["type"] == "websocket":
        key = cookies.query_field(scope, "token")
    return key or cookies.credential_of(scope)


def checked(scope: Scope) -> Credential | None:
    """Return the same as `of_request`. Raises `Forbidden` for a cookie in a request from another site."""
    credential = of_request(scope)
    if isinstance(credential, BrowserCredential):
        cookies.check(scope, credential)
    return credential
