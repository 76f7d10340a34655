"""What routes share of their requests: the caller, the context, bodies, paging, and waiting for the client's disconnection.

No dependency is a plain function, since the framework would call it in a thread on every request. No dependency has dependencies
of its own, since the framework needs longer to resolve one than the dependencies need to run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Scope

from agent.coordinator.http import credentials
from agent.coordinator.operations.accounts import access
from agent.coordinator.operations.callers import SESSION_PREFIX, Caller, Credential, Session
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.miners import sessions
from agent.core.errors import ApiError, Forbidden, StaleSession, Unauthorized
from aitbc.answers.accounts import Role

MAX_WAIT_SECONDS: Final = 60

_KEY_SCHEMES: Final = ("key", "keyHeader")
_SESSION_SCHEME: Final = "session"
_CLIENT_ROLES: Final = (Role.CLIENT, Role.ADMIN)


@dataclass(frozen=True, slots=True)
class Guard:
    """A dependency that authorizes and returns the caller. A route without one is open to everybody.

    `check` raises the error that refuses a request. `audience`, `errors` and `schemes` document who may call, the errors for other
    callers, and how to send a key.
    """

    check: Callable[[Context, Scope], Awaitable[Caller | Session | None]]
    audience: str
    errors: tuple[type[ApiError], ...]
    schemes: tuple[str, ...] = _KEY_SCHEMES

    async def __call__(self, request: Request) -> object:
        """Return the caller."""
        return await self.check(request.app.state.context, request.scope)


def guard_of(route: APIRoute) -> Guard | None:
    """Return the guard of a route; None for a route that is open to everybody."""
    guards = [call for call in _calls(route.dependant) if isinstance(call, Guard)]
    return guards[0] if guards else None


def _calls(dependant: Dependant) -> Iterator[Any]:
    """Yield the callables of all dependencies."""
    for dependency in dependant.dependencies:
        yield dependency.call
        yield from _calls(dependency)


async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


async def _credential(request: Request) -> Credential | None:
    return credentials.checked(request.app.state.context, request.scope)


async def caller_of(context: Context, scope: Scope) -> Caller:
    """Return the caller of a request that has a credential. Raises `Unauthorized`."""
    credential = credentials.checked(context, scope)
    caller = scope.get("caller")
    if isinstance(caller, Caller):
        return caller
    return credentials.record(scope, await access.authenticate(context, credential))


async def _session_of(context: Context, scope: Scope) -> Session:
    caller = scope.get("caller")
    if isinstance(caller, Session):
        return caller
    credential = credentials.of_request(context, scope)
    session = await sessions.session_of(context, credential if isinstance(credential, str) else None)
    return credentials.record(scope, session)


async def _client_or_session_of(context: Context, scope: Scope) -> Caller | Session:
    credential = credentials.of_request(context, scope)
    if isinstance(credential, str) and credential.startswith(SESSION_PREFIX):
        return await _session_of(context, scope)
    return access.require(await caller_of(context, scope), *_CLIENT_ROLES)


def _with_role(audience: str, *roles: Role) -> Guard:
    async def check(context: Context, scope: Scope) -> Caller:
        return access.require(await caller_of(context, scope), *roles)

    return Guard(check, audience, (Unauthorized, Forbidden))


CLIENT_OR_SESSION: Final = Guard(
    _client_or_session_of,
    "a client's or an administrator's key, or a miner's session token",
    (Unauthorized, Forbidden, StaleSession),
    (*_KEY_SCHEMES, _SESSION_SCHEME),
)


async def preferred_wait(
    prefer: Annotated[
        str | None,
        Header(
            alias="Prefer",
            description="`wait=N`: wait up to N seconds (at most 60) for the job to end before answering",
            examples=["wait=30"],
        ),
    ] = None,
) -> int:
    """Return the seconds of `Prefer: wait=N` (RFC 7240), at most a minute; 0 without the header."""
    for preference in (prefer or "").split(","):
        name, _, value = preference.strip().partition("=")
        if name.lower() == "wait" and value.isdecimal():
            return min(int(value[:4]), MAX_WAIT_SECONDS)
    return 0


PreferredWait = Annotated[int, Depends(preferred_wait)]


def announced_size(request: Request) -> int | None:
    """Return the `Content-Length` of the body; None for a chunked body."""
    length = request.headers.get("content-length")
    # The server has refused values that are not numbers.
    return int(length) if length is not None else None


async def disconnected(request: Request) -> None:
    """Return when the client has disconnected. Call it after the body was read, since it discards what it receives."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=255,
        description="A repeated request with the same key gets the first answer, for a day",
    ),
]
KeyName = Annotated[str, Field(min_length=1, max_length=100, examples=["render farm"])]
Before = Annotated[
    str | None, Query(max_length=80, description="Continue before this entry: `next` of the previous page")
]
Limit = Annotated[int, Query(ge=1, le=500, description="Maximum number of results")]
ContextOf = Annotated[Context, Depends(_context)]
MaybeCredential = Annotated[Credential | None, Depends(_credential)]
AnyCaller = Annotated[Caller, Depends(Guard(caller_of, "any key", (Unauthorized,)))]
CLIENT: Final = _with_role("a client's or an administrator's key", *_CLIENT_ROLES)
Client = Annotated[Caller, Depends(CLIENT)]
Admin = Annotated[Caller, Depends(_with_role("an administrator's key", Role.ADMIN))]
Owner = Annotated[Caller, Depends(_with_role("the key of a miner's owner", Role.MINER))]
OwnerOrAdmin = Annotated[
    Caller,
    Depends(_with_role("the key of a miner's owner, or an administrator's", Role.MINER, Role.ADMIN)),
]
MinerSession = Annotated[
    Session,
    Depends(Guard(_session_of, "a miner's session token", (Unauthorized, StaleSession), (_SESSION_SCHEME,))),
]
ClientOrSession = Annotated[Caller | Session, Depends(CLIENT_OR_SESSION)]


async def any_caller(request: Request) -> tuple[Context, Caller]:
    """Return `ContextOf` and `AnyCaller` of a plain route. Raises `Unauthorized`."""
    context: Context = request.app.state.context
    return context, await caller_of(context, request.scope)


async def client(request: Request) -> tuple[Context, Caller]:
    """Return `ContextOf` and `Client` of a plain route. Raises `Unauthorized` and `Forbidden`."""
    context, caller = await any_caller(request)
    return context, access.require(caller, *_CLIENT_ROLES)


class RequestBody(BaseModel, defer_build=True):
    """A JSON body. Unknown fields are refused, and so are values of another type, such as "5" for a number."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Envelope(RequestBody):
    """A DSSE envelope with one signature. Subclasses document the type and content of its payload."""

    payload_type: Annotated[str, Field(alias="payloadType", max_length=200)]
    payload: Annotated[str, Field(max_length=20_000)]
    signatures: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=1)]
