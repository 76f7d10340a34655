"""Who is asking, as parameters of routes, and whether they are still there.

None of the dependencies is a plain function: the framework would call it in a thread, at every request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Query, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from agent.coordinator import cookies
from agent.coordinator.operations import access, miners
from agent.coordinator.operations.access import Caller, Credential, Role
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.miners import SESSION_PREFIX, Session
from agent.core.errors import ApiError, Forbidden, StaleSession, Unauthorized

MAX_WAIT_SECONDS: Final = 60

_bearer = HTTPBearer(scheme_name="key", auto_error=False, description="`Authorization: Bearer KEY`")
_header = APIKeyHeader(
    scheme_name="keyHeader", name="X-API-Key", auto_error=False, description="`X-API-Key: KEY`"
)
_session_bearer = HTTPBearer(
    scheme_name="session", auto_error=False, description="`Authorization: Bearer TOKEN` of a miner's session"
)


async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


async def _secret(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    header: Annotated[str | None, Depends(_header)],
) -> Credential | None:
    key = bearer.credentials if bearer is not None else header
    return key if key is not None else cookies.checked_credential(request.scope)


async def _token(
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_session_bearer)],
) -> str | None:
    return bearer.credentials if bearer is not None else None


ContextOf = Annotated[Context, Depends(_context)]
Secret = Annotated[Credential | None, Depends(_secret)]
_Token = Annotated[str | None, Depends(_token)]


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


async def _session(context: ContextOf, token: _Token) -> Session:
    return await miners.session_of(context, token)


async def _session_of(context: Context, secret: Credential | None) -> Session:
    return await miners.session_of(context, secret if isinstance(secret, str) else None)


async def _any_secret(secret: Secret, _: _Token) -> Credential | None:
    return secret


AnySecret = Annotated[Credential | None, Depends(_any_secret)]


async def client_or_session(context: ContextOf, secret: AnySecret) -> Caller | Session:
    """Whoever stores and reads artifacts. Raises `Unauthorized`, `Forbidden`."""
    if isinstance(secret, str) and secret.startswith(SESSION_PREFIX):
        return await miners.session_of(context, secret)
    return await _client(context, secret)


async def _preferred_wait(
    prefer: Annotated[
        str | None,
        Header(
            alias="Prefer",
            description="`wait=N`: hold the answer up to N seconds (60 at most) for the job's end",
            examples=["wait=30"],
        ),
    ] = None,
) -> int:
    """The seconds of `Prefer: wait=N` (RFC 7240), at most a minute; 0 without."""
    for preference in (prefer or "").split(","):
        name, _, value = preference.strip().partition("=")
        if name.lower() == "wait" and value.isdecimal():
            return min(int(value[:4]), MAX_WAIT_SECONDS)
    return 0


PreferredWait = Annotated[int, Depends(_preferred_wait)]


def announced_size(request: Request) -> int | None:
    """The bytes of the body that its header announces; None where it comes in chunks."""
    length = request.headers.get("content-length")
    return int(length) if length is not None else None  # the server has refused what is no number


async def disconnected(request: Request) -> None:
    """Returns when the client has left. Only after the body was read, since it takes what comes."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


@dataclass(frozen=True, slots=True)
class Audience:
    """Who may make a call, in words for the API's document, and what everybody else is answered."""

    words: str
    errors: tuple[type[ApiError], ...]


AUDIENCES: Final[Mapping[Callable[..., Any], Audience]] = {
    _caller: Audience("any key", (Unauthorized,)),
    _client: Audience("a client's or an administrator's key", (Unauthorized, Forbidden)),
    _admin: Audience("an administrator's key", (Unauthorized, Forbidden)),
    _owner: Audience("the key of a miner's owner", (Unauthorized, Forbidden)),
    _owner_or_admin: Audience("the key of a miner's owner, or an administrator's", (Unauthorized, Forbidden)),
    _session: Audience("a miner's session token", (Unauthorized, StaleSession)),
    _any_secret: Audience(
        "a client's or an administrator's key, or a miner's session token",
        (Unauthorized, Forbidden, StaleSession),
    ),
}
"""By the dependency that lets callers in. A route without one is open to everybody."""

GUARDS: Final[
    Mapping[Callable[..., Any], Callable[[Context, Credential | None], Awaitable[Caller | Session]]]
] = {
    _caller: _caller,
    _client: _client,
    _admin: _admin,
    _owner: _owner,
    _owner_or_admin: _owner_or_admin,
    _session: _session_of,
    _any_secret: client_or_session,
}
"""What each of these dependencies does with a key: returns whose it is, or raises the error that refuses it."""


IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=255,
        description="Makes a repetition get the first answer, for a day",
    ),
]
Limit = Annotated[int, Query(ge=1, le=500, description="How many at most")]
AnyCaller = Annotated[Caller, Depends(_caller)]
Client = Annotated[Caller, Depends(_client)]
Admin = Annotated[Caller, Depends(_admin)]
Owner = Annotated[Caller, Depends(_owner)]
OwnerOrAdmin = Annotated[Caller, Depends(_owner_or_admin)]
MinerSession = Annotated[Session, Depends(_session)]
ClientOrSession = Annotated[Caller | Session, Depends(client_or_session)]
