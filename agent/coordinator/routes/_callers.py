"""Who is asking, as parameters of routes, and whether they are still there.

None of the dependencies is a plain function: the framework would call it in a thread, at every request. None has dependencies of
its own: the framework takes longer to resolve one than all of them need for their work.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Header, Query, Request
from pydantic import Field
from starlette.types import Scope

from agent.coordinator.http import credentials
from agent.coordinator.operations.accounts import access
from agent.coordinator.operations.answers.accounts import Key
from agent.coordinator.operations.callers import SESSION_PREFIX, Caller, Credential, Role, Session
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.miners import sessions
from agent.core.errors import ApiError, Forbidden, StaleSession, Unauthorized

MAX_WAIT_SECONDS: Final = 60

_KEY_SCHEMES: Final = ("key", "keyHeader")
_SESSION_SCHEME: Final = "session"


@dataclass(frozen=True, slots=True)
class Guard:
    """Lets a route's callers in: a dependency that returns who calls. A route without one is open to everybody.

    `check` raises the error that refuses a request. `words`, `errors` and `schemes` say in the API's document who may call,
    what everybody else is answered, and how to send a key.
    """

    check: Callable[[Context, Scope], Awaitable[Caller | Session | None]]
    words: str
    errors: tuple[type[ApiError], ...]
    schemes: tuple[str, ...] = _KEY_SCHEMES

    async def __call__(self, request: Request) -> Caller | Session | None:
        """Return who calls."""
        return await self.check(request.app.state.context, request.scope)


async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


async def _credential(request: Request) -> Credential | None:
    return credentials.checked(request.scope)


async def _caller_of(context: Context, scope: Scope) -> Caller:
    credential = credentials.checked(scope)
    known = scope.get("caller")  # by the middleware that counts calls
    return known if isinstance(known, Caller) else await access.authenticate(context, credential)


async def _session_of(context: Context, scope: Scope) -> Session:
    known = scope.get("caller")
    if isinstance(known, Session):
        return known
    credential = credentials.of_request(scope)
    return await sessions.session_of(context, credential if isinstance(credential, str) else None)


async def _client_or_session_of(context: Context, scope: Scope) -> Caller | Session:
    credential = credentials.of_request(scope)
    if isinstance(credential, str) and credential.startswith(SESSION_PREFIX):
        return await _session_of(context, scope)
    return access.require(await _caller_of(context, scope), Role.CLIENT, Role.ADMIN)


def _with_role(words: str, *roles: Role) -> Guard:
    async def check(context: Context, scope: Scope) -> Caller:
        return access.require(await _caller_of(context, scope), *roles)

    return Guard(check, words, (Unauthorized, Forbidden))


CLIENT_OR_SESSION: Final = Guard(
    _client_or_session_of,
    "a client's or an administrator's key, or a miner's session token",
    (Unauthorized, Forbidden, StaleSession),
    (*_KEY_SCHEMES, _SESSION_SCHEME),
)


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


IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=255,
        description="Makes a repetition get the first answer, for a day",
    ),
]
KeyName = Annotated[str, Field(min_length=1, max_length=100, examples=["render farm"])]
Limit = Annotated[int, Query(ge=1, le=500, description="How many at most")]
ContextOf = Annotated[Context, Depends(_context)]
MaybeCredential = Annotated[Credential | None, Depends(_credential)]
AnyCaller = Annotated[Caller, Depends(Guard(_caller_of, "any key", (Unauthorized,)))]
Client = Annotated[
    Caller, Depends(_with_role("a client's or an administrator's key", Role.CLIENT, Role.ADMIN))
]
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


class NewKey(Key):
    """A new key, with its secret."""

    key: str = Field(description="The secret", examples=["aitbc_client_secret"])
