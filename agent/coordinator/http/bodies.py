"""Checks before a request's body is read: whether the caller may send one, its maximum size, and how many values its JSON may have."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.coordinator.http import credentials
from agent.coordinator.http.large_json import MAX_VALUES
from agent.coordinator.http.middleware import API_MOUNT, answer_error
from agent.coordinator.metrics import REFUSED
from agent.coordinator.operations.callers import Caller, Session
from agent.coordinator.operations.context import Context
from agent.core.errors import ApiError, PayloadTooLarge, Unauthorized
from agent.settings.coordinator import CoordinatorSettings
from aitbc.answers.accounts import Role

_RESULTS: Final = re.compile("/v1/miners/jobs/[^/]+/result")


class Guarded(NamedTuple):
    """A call that needs a key. `check` raises the error that refuses a request without one."""

    path: re.Pattern[str]
    methods: frozenset[str]
    check: Callable[[Context, Scope], Awaitable[object]]


def streamed(_: CoordinatorSettings) -> None:
    """Return no limit: the call stores the body as it arrives, and applies the larger limit of artifacts itself."""


def without_key(settings: CoordinatorSettings) -> int:
    """Return the limit of calls that need no key. With a key, their bodies may not be larger either."""
    return min(settings.max_body_without_key, settings.max_body)


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """The maximum bytes of bodies to certain paths, given without `/api`, if callers have a key."""

    path: re.Pattern[str]
    size: Callable[[CoordinatorSettings], int | None]


_LIMITS: Final = (
    BodyLimit(re.compile("/v1/(artifacts|jobs/[^/]+/files/[^/]+)"), streamed),
    BodyLimit(re.compile("/v1/receipts/verify"), without_key),
)


class Bodies:
    """ASGI middleware that answers 401 to a body without the key that its path needs, and 413 to one over its limit.

    A call without a body is identified by its route alone: health answers at once, even while the database hangs. `limits` are those of
    features.
    """

    def __init__(
        self, app: ASGIApp, context: Context, guarded: Sequence[Guarded], limits: Sequence[BodyLimit]
    ) -> None:
        self._app = app
        self._context = context
        self._guarded = guarded
        self._limits = (*_LIMITS, *limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        declared = _declared(scope) if scope["type"] == "http" else 0
        if declared == 0:
            await self._app(scope, receive, send)
            return
        try:
            limit = await self._limit(scope)
            if limit is not None and declared is not None and declared > limit:
                self._context.monitoring.meter.count(REFUSED, "size")
                raise PayloadTooLarge(_message(limit), {"limit": limit})
        except ApiError as error:
            await answer_error(scope, send, error)
            return
        await self._app(scope, receive if limit is None else self._counted(receive, limit), send)

    async def _limit(self, scope: Scope) -> int | None:
        """Return the maximum bytes of the body; None if the call itself counts them. Raises what the call's guard raises."""
        path, settings = scope["path"].removeprefix(API_MOUNT), self._context.settings
        caller = None
        # An invalid key is none: some calls need no key, and the others are refused just below.
        with suppress(Unauthorized):
            caller = await credentials.identify(self._context, scope)
        scope[MAX_VALUES] = self._max_values(caller)
        # Before the size: without a key, the answer is the same for every body.
        if caller is None:
            await self._check_key(scope)
        if isinstance(caller, Session) and _RESULTS.fullmatch(path):
            return settings.max_result
        special = next((limit for limit in self._limits if limit.path.fullmatch(path)), None)
        size = settings.max_body if special is None else special.size(settings)
        return size if size is None or caller is not None else without_key(settings)

    def _max_values(self, caller: Caller | Session | None) -> int:
        """Return how many values JSON may have. Miners' results and administrators' lists are longer than requests of clients."""
        settings = self._context.settings
        trusted = isinstance(caller, Session) or (caller is not None and caller.role is Role.ADMIN)
        return (
            settings.max_json_values
            if trusted
            else min(settings.max_request_values, settings.max_json_values)
        )

    async def _check_key(self, scope: Scope) -> None:
        method = scope["method"]
        # The path of a call may begin like the mount.
        paths = {scope["path"], scope["path"].removeprefix(API_MOUNT)}
        checks = (
            call.check
            for call in self._guarded
            if method in call.methods and any(call.path.match(path) for path in paths)
        )
        if (check := next(checks, None)) is None:
            return
        try:
            await check(self._context, scope)
        except ApiError:
            self._context.monitoring.meter.count(REFUSED, "key")
            raise

    def _counted(self, receive: Receive, limit: int) -> Receive:
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                self._context.monitoring.meter.count(REFUSED, "size")
                raise HTTPException(PayloadTooLarge.status, _message(limit))
            return message

        return counted


def _declared(scope: Scope) -> int | None:
    """Return the length of the body: 0 without a body, None for a chunked body."""
    declared: int | None = 0
    for name, value in scope["headers"]:
        if name == b"transfer-encoding":
            return None
        if name == b"content-length" and value.isdigit():
            declared = int(value)
    return declared


def _message(limit: int) -> str:
    return f"The body may have at most {limit} bytes. Upload files with POST /v1/artifacts."
