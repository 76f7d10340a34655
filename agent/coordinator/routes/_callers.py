"""Who is asking, as parameters of routes, and whether they are still there.

None of the dependencies is a plain function: the framework would call it in a thread, at every request.
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Depends, Header, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from agent.coordinator.operations import access, miners
from agent.coordinator.operations.access import Caller, Role
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.miners import SESSION_PREFIX, Session

MAX_WAIT_SECONDS: Final = 60

_bearer = HTTPBearer(auto_error=False, description="An API key, or a miner's session token")
_header = APIKeyHeader(name="X-API-Key", auto_error=False)


async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


async def _secret(
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    header: Annotated[str | None, Depends(_header)],
) -> str | None:
    return bearer.credentials if bearer is not None else header


ContextOf = Annotated[Context, Depends(_context)]
Secret = Annotated[str | None, Depends(_secret)]


async def _caller(context: ContextOf, secret: Secret) -> Caller:
    return await access.authenticate(context, secret)


async def _client(context: ContextOf, secret: Secret) -> Caller:
    return access.require(await access.authenticate(context, secret), Role.CLIENT, Role.ADMIN)


async def _admin(context: ContextOf, secret: Secret) -> Caller:
    return access.require(await access.authenticate(context, secret), Role.ADMIN)


async def _owner(context: ContextOf, secret: Secret) -> Caller:
    return access.require(await access.authenticate(context, secret), Role.MINER)


async def _owner_or_admin(context: ContextOf, secret: Secret) -> Caller:
    return access.require(await access.authenticate(context, secret), Role.MINER, Role.ADMIN)


async def _session(context: ContextOf, secret: Secret) -> Session:
    return await miners.session_of(context, secret)


async def client_or_session(context: ContextOf, secret: Secret) -> Caller | Session:
    """Whoever stores and reads artifacts. Raises `Unauthorized`, `Forbidden`."""
    if secret is not None and secret.startswith(SESSION_PREFIX):
        return await miners.session_of(context, secret)
    return await _client(context, secret)


def _preferred_wait(
    prefer: Annotated[
        str | None,
        Header(description="`wait=N`: hold the answer up to N seconds (60 at most) for the job's end"),
    ] = None,
) -> int:
    """The seconds of `Prefer: wait=N` (RFC 7240), at most a minute; 0 without."""
    for preference in (prefer or "").split(","):
        name, _, value = preference.strip().partition("=")
        if name.lower() == "wait" and value.isdecimal():
            return min(int(value[:4]), MAX_WAIT_SECONDS)
    return 0


PreferredWait = Annotated[int, Depends(_preferred_wait)]


async def disconnected(request: Request) -> None:
    """Returns when the client has left. Only after the body was read, since it takes what comes."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=255,
        description="Makes a repetition get the first answer, for a day",
    ),
]
AnyCaller = Annotated[Caller, Depends(_caller)]
Client = Annotated[Caller, Depends(_client)]
Admin = Annotated[Caller, Depends(_admin)]
Owner = Annotated[Caller, Depends(_owner)]
OwnerOrAdmin = Annotated[Caller, Depends(_owner_or_admin)]
MinerSession = Annotated[Session, Depends(_session)]
ClientOrSession = Annotated[Caller | Session, Depends(client_or_session)]
