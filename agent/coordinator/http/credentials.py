"""Finds the key or token of a request, or what a feature accepts instead."""

from __future__ import annotations

from contextlib import suppress
from typing import Final
from urllib.parse import parse_qs

from starlette.types import Scope

from agent.coordinator.operations.callers import Credential
from agent.coordinator.operations.context import Context

_BEARER: Final = b"bearer "
_MAX_FIELDS: Final = 20


def of_request(context: Context, scope: Scope) -> Credential | None:
    """Return the key or token of a request, for a WebSocket also `?token=`; without one, what a feature finds."""
    key = None
    for name, value in scope["headers"]:
        if name == b"authorization" and value[: len(_BEARER)].lower() == _BEARER:
            if bearer := str(value[len(_BEARER) :], "latin-1").strip():
                return bearer
        elif name == b"x-api-key":
            key = str(value, "latin-1")
    if key is None and scope["type"] == "websocket":
        key = query_field(scope, "token")
    return key or next(filter(None, (read(scope) for read in context.features.credentials)), None)


def checked(context: Context, scope: Scope) -> Credential | None:
    """Return the same as `of_request`. Raises `Forbidden` if this request may not use it."""
    credential = of_request(context, scope)
    if credential is not None and not isinstance(credential, str):
        credential.check(scope)
    return credential


def query_field(scope: Scope, name: str) -> str:
    """Return a query parameter of a WebSocket's address; empty without one."""
    with suppress(ValueError):  # too many fields
        fields: dict[str, list[str]] = parse_qs(
            scope["query_string"].decode("latin-1"), max_num_fields=_MAX_FIELDS
        )
        return fields.get(name, [""])[0]
    return ""
