"""`/v1/session` and `/v1/sessions`: browsers sign in and out. Programs use API keys instead."""

from __future__ import annotations

from typing import Annotated, Final, Self

from fastapi import APIRouter, Request, Response, status
from pydantic import Field, model_validator

from agent.coordinator.features.browser import sessions as operations
from agent.coordinator.features.browser.answers import BrowserSession
from agent.coordinator.features.browser.routes import cookies
from agent.coordinator.features.browser.settings import BrowserSettings
from agent.coordinator.features.browser.store import SessionRecord
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.routes._callers import AnyCaller, ContextOf, RequestBody
from agent.coordinator.routes._declare import AUDIENCE, errors
from agent.core.errors import Forbidden, NotFound, Unauthorized
from agent.sections import section_of
from aitbc.answers import fields
from aitbc.answers.fields import Answer

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1", tags=["Sessions"])

_NOT_STORED: Final = {"Cache-Control": "no-store"}
_BROWSER: Final = {AUDIENCE: "a browser with the session's cookie"}


class SignIn(RequestBody):
    """The credential: the token of a login link, or an API key."""

    token: Annotated[str, Field(min_length=1, max_length=200, examples=["login_secret"])] | None = None
    key: Annotated[str, Field(min_length=1, max_length=512)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.token is None) == (self.key is None):
            raise ValueError("send either the token of a login link or a key")
        return self


class OwnBrowserSession(BrowserSession):
    """The caller's session, and the token that its requests must send as `X-CSRF-Token` to change something."""

    csrf_token: Annotated[str, Field(examples=["5f0c2f3a9d1e4b77"])]


class BrowserSessionList(Answer):
    """Sessions, oldest first."""

    sessions: list[BrowserSession]


def _shown(record: SessionRecord, secret: str) -> OwnBrowserSession:
    return OwnBrowserSession(**vars(operations.view(record)), csrf_token=cookies.csrf_token(secret))


@router.post(
    "/session",
    response_model_exclude_none=True,
    responses=errors(Unauthorized, Forbidden),
    openapi_extra={AUDIENCE: "everybody, also without a key"},
    summary="Sign a browser in",
)
async def sign_in(
    context: ContextOf, body: SignIn, request: Request, response: Response
) -> OwnBrowserSession:
    """Sets a cookie that scripts cannot read and other sites cannot use. The browser does not store the key itself.

    If the request has the cookie and the token of a session, the new session keeps its other roles. Requests use the cookie when they
    name a role: `X-Session-Role: client`, `miner` or `admin`, or `?role=` for `/ws`.
    """
    scope = request.scope
    # Browsers send cookies of their own accord, so the origin decides who asks.
    cookies.check_origin(scope)
    current = cookies.secret_of(scope)
    # Without the token, another site could have the browser replace its session.
    if current is not None and not cookies.has_token(scope, current):
        current = None
    if body.token is not None:
        secret, record = await operations.begin_with_link(context, body.token, current)
    else:
        secret, record = await operations.begin_with_key(context, body.key or "", current)
    cookies.set_cookie(
        response, scope, secret, int(section_of(context.settings, BrowserSettings).session_seconds)
    )
    response.headers.update(_NOT_STORED)
    return _shown(record, secret)


@router.get(
    "/session",
    response_model=OwnBrowserSession,
    response_model_exclude_none=True,
    responses={204: {"description": "The browser is not signed in"}, **errors(Forbidden)},
    openapi_extra=_BROWSER,
    summary="Whose session is this?",
)
async def get(context: ContextOf, request: Request, response: Response) -> OwnBrowserSession | Response:
    """Returns the browser's session with its token, for a page that was reloaded; 204 without a session."""
    cookies.check_origin(request.scope)
    secret = cookies.secret_of(request.scope)
    record = None if secret is None else await operations.find(context, secret)
    if secret is None or record is None:
        return Response(status_code=status.HTTP_204_NO_CONTENT, headers=_NOT_STORED)
    response.headers.update(_NOT_STORED)
    return _shown(record, secret)


@router.delete(
    "/session",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=errors(Forbidden),
    openapi_extra=_BROWSER,
    summary="Sign the browser out",
)
async def sign_out(context: ContextOf, request: Request) -> Response:
    """The session ends immediately, and the keys that a login link created for it are revoked."""
    cookies.check_origin(request.scope)
    secret = cookies.secret_of(request.scope)
    if secret is not None:
        cookies.check_token(request.scope, secret)
        await operations.end(context, secret)
    response = Response(status_code=status.HTTP_204_NO_CONTENT)
    cookies.clear_cookie(response, request.scope)
    return response


@router.get("/sessions", response_model_exclude_none=True, summary="List signed-in browsers")
async def list_sessions(context: ContextOf, caller: AnyCaller) -> BrowserSessionList:
    """Returns the sessions with a key of your account or miner, or all sessions to administrators."""
    records = await operations.list_sessions(context, caller)
    return BrowserSessionList(sessions=[operations.view(record) for record in records])


@router.delete(
    "/sessions/{session_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=errors(NotFound),
    summary="Sign another browser out",
)
async def end(context: ContextOf, caller: AnyCaller, session_id: fields.SessionId) -> None:
    """The session ends immediately."""
    await operations.end_other(context, caller, session_id)
