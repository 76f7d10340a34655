"""Finds the key or token of a request, or what a feature accepts instead, and the caller that has it."""

from __future__ import annotations

from contextlib import suppress
from typing import Final, TypeVar
from urllib.parse import parse_qs

from starlette.types import Scope

from agent.coordinator.connections import connection_of
from agent.coordinator.operations.accounts import access
from agent.coordinator.operations.callers import SESSION_PREFIX, Caller, Credential, Session
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.miners import sessions
from agent.core.errors import ApiError, ServiceUnavailable

Identified = TypeVar("Identified", bound=Caller | Session)

_BEARER: Final = b"bearer "
_MAX_FIELDS: Final = 20


def of_request(context: Context, scope: Scope) -> Credential | None:
    """Return the key or token of a request, for a WebSocket also `?token=`; without one, what a feature finds."""
    # Limits, connection and route all ask about the same request.
    if "credential" not in scope:
        scope["credential"] = _read(context, scope)
    credential: Credential | None = scope["credential"]
    return credential


def _read(context: Context, scope: Scope) -> Credential | None:
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


async def identify(context: Context, scope: Scope) -> Caller | Session | None:
    """Return the caller of a request, and record it for its connection and for what follows; None without a valid credential.

    Raises `Unauthorized` for an invalid key. Anything else that is invalid counts like no key, and is not a guess: miners have an old
    token after a restart of either side, and browsers retain the cookie of a session that has ended.
    """
    if "caller" in scope:
        identified: Caller | Session | None = scope["caller"]
        return identified
    scope["caller"] = None
    credential = of_request(context, scope)
    if isinstance(credential, str) and credential.startswith(SESSION_PREFIX):
        with suppress(ApiError):
            return record(scope, await sessions.session_of(context, credential))
    elif credential:
        # While the coordinator stops, it cannot look up a key, and the route will report that.
        with suppress(ServiceUnavailable if isinstance(credential, str) else ApiError):
            return record(scope, await access.authenticate(context, credential))
    return None


def record(scope: Scope, caller: Identified) -> Identified:
    """Return the caller of a request, which is from now on known to what follows and to its connection."""
    scope["caller"] = caller
    connection = connection_of(scope)
    if connection is not None and connection.owner is None:
        owner, miner = (caller.miner_id, True) if isinstance(caller, Session) else (caller.owner, False)
        connection.identify(owner, miner=miner)
    return caller
