"""Counts calls per key and per address, and answers 429 to those over their budget.

Each budget is a fixed window that begins with the first call, so `Retry-After` is exact: when it has passed, the whole
budget is available again. At worst a caller uses two budgets in quick succession, one at the end of a window and one after it.
Answers state the remaining budget by draft-ietf-httpapi-ratelimit-headers-11 (`RateLimit`, `RateLimit-Policy`).

A key has a budget only if it is valid. Otherwise the call counts for its address, or each invented key would have a new budget. The
key is authenticated here, and the routes use what was found.

The budgets are those of all replicas together (`windows`).
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final

import structlog
from limits import RateLimitItemPerSecond
from limits.aio.strategies import FixedWindowRateLimiter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.coordinator.features.rate_limits.metrics import RATE_LIMITED
from agent.coordinator.features.rate_limits.rates import Rate
from agent.coordinator.features.rate_limits.settings import RateLimitSettings
from agent.coordinator.features.rate_limits.windows import WindowStorage
from agent.coordinator.http import credentials
from agent.coordinator.http.in_process import IN_PROCESS
from agent.coordinator.http.middleware import answer_error
from agent.coordinator.operations.accounts import access
from agent.coordinator.operations.callers import SESSION_PREFIX, Caller, Credential, Session
from agent.coordinator.operations.context import Context
from agent.core.errors import RateLimitExceeded, Unauthorized
from agent.core.values.networks import caller_address, lies_in
from agent.sections import section_of

_ROOT: Final = "(/api)?/v1"
_UNCOUNTED: Final = re.compile(rf"{_ROOT}/health|/|/dashboard(/.*)?")
"""Calls with negligible cost: health, and the dashboard's files, a dozen of which make one page."""
_LOGINS: Final = re.compile(rf"{_ROOT}/(login|logins/signed|session)")
_JOINING: Final = re.compile(rf"{_ROOT}/miners/(challenge|admission|register)")
_CHECKING: Final = re.compile(rf"{_ROOT}/(receipts/verify|log/cosignature|registry/services/validate)")
_UPLOADS: Final = re.compile(rf"{_ROOT}/(artifacts|files|uploads/?|direct-uploads/?|jobs/[^/]+/files/[^/]+)")
_SOCKET_CALLS: Final = re.compile(rf"{_ROOT}/miners/(heartbeat|jobs/[^/]+/[^/]+)")
"""Calls that miners also make over their WebSocket, where they are not counted. So a miner without a WebSocket loses neither leases
nor results to a limit, and its jobs' subscribers lose no tokens."""
_FORWARDED: Final = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip"})

_ADVICE: Final[Mapping[str, str]] = {
    "client": "Poll less often: a job's events (`GET /v1/jobs/{id}/events`) and its `webhook_url` report changes.",
    "uploads": "Send fewer and larger files.",
    "miner": "Use the WebSocket `/v1/miners/session` instead of polls.",
    "address": "Calls with an API key have a budget of their own.",
    "failures": "Too many invalid API keys came from your address. Check the key that you send.",
    "logins": "There were too many sign-in attempts from your address. Make a login link with `aitbc-agent login`.",
    "joining": "Start the miners of a site one after the other.",
    "checking": "Verify receipts offline (`aitbc receipts verify`), or send an API key, which has a budget of its own.",
    "connections": "Keep one WebSocket open, and send the key with its handshake.",
}

_PER_KEY: Final = frozenset({"client", "uploads", "miner"})

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Budget:
    """A policy: its name in headers and messages, and its rate."""

    name: str
    rate: Rate
    item: RateLimitItemPerSecond

    @classmethod
    def of(cls, name: str, rate: Rate) -> _Budget:
        return cls(name, rate, RateLimitItemPerSecond(rate.amount, rate.seconds, namespace=name))


@dataclass(frozen=True, slots=True)
class _Use:
    """A budget after a call: what is left of it, and the seconds until all of it is available again."""

    budget: _Budget
    remaining: int
    seconds: int
    refused: bool = False


class RateLimits:
    """ASGI middleware that enforces the limits; `clock` returns seconds from any starting point."""

    def __init__(self, app: ASGIApp, context: Context, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._context = context
        self._settings = section_of(context.settings, RateLimitSettings)
        self._clock = clock
        # By the address alone: the hash of networks takes longer than all the rest of a look-up.
        self._is_exempt = lru_cache(maxsize=4096)(partial(lies_in, networks=self._settings.unlimited))
        self._budgets = {name: _Budget.of(name, getattr(self._settings, name)) for name in _ADVICE}
        longest = max(budget.rate.seconds for budget in self._budgets.values())
        self._limiter = FixedWindowRateLimiter(
            WindowStorage(self._settings.max_tracked, clock, context.features.cluster.bus, longest)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        # The coordinator's own requests, for the lines of batches, are bounded there. No server sets this field for a request from outside.
        own = IN_PROCESS in scope
        if own or scope["type"] not in ("http", "websocket") or _UNCOUNTED.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        uses = await self._count(scope)
        refused = next((use for use in uses if use.refused), None)
        if refused is not None:
            await _refuse(refused, scope, receive, _with_headers(send, uses))
            return
        await self._app(scope, receive, _with_headers(send, uses) if uses else send)

    async def _count(self, scope: Scope) -> list[_Use]:
        """Identify the caller, and count the call against its budgets; the last budget may refuse it."""
        address = caller_address(_host(scope))
        credential = credentials.of_request(self._context, scope)
        if self._settings.enabled and await self._is_guessing(credential, address):
            return [await self._state("failures", address, refused=True)]
        try:
            caller = await credentials.identify(self._context, scope)
        except Unauthorized:
            return [await self._use("failures", address)] if self._settings.enabled else []
        if not self._settings.enabled:
            return []
        return await self._count_for(scope, caller, credential or "", address)

    async def _is_guessing(self, credential: Credential | None, address: str) -> bool:
        """Return whether the address has sent too many invalid keys, and now sends one that was not valid lately."""
        if not isinstance(credential, str) or credential.startswith(SESSION_PREFIX):
            return False
        if access.fingerprint(credential) in self._context.caches.callers:
            return False
        return not await self._limiter.test(self._budgets["failures"].item, address)

    async def _count_for(
        self, scope: Scope, caller: Caller | Session | None, credential: Credential, address: str
    ) -> list[_Use]:
        if caller is None:
            return [await self._use(_policy_without_key(scope), address)]
        free = isinstance(caller, Session) and _SOCKET_CALLS.fullmatch(scope["path"])
        if free or self._is_unlimited(scope):
            return []
        if isinstance(caller, Session):
            return [await self._use("miner", caller.miner_id)]
        key = access.fingerprint(credential)
        uses = [await self._use("client", key)]
        if not uses[0].refused and _begins_upload(scope):
            uses.append(await self._use("uploads", key))
        return uses

    async def _use(self, name: str, owner: str) -> _Use:
        budget = self._budgets[name]
        if await self._limiter.hit(budget.item, owner):
            return await self._state(name, owner)
        if await self._limiter.storage.get(budget.item.key_for(owner)) == budget.rate.amount + 1:
            # Only once in a window, so that a flood of calls does not flood the log.
            log.warning("rate_limited", policy=name, address=owner if name not in _PER_KEY else None)
        return await self._state(name, owner, refused=True)

    async def _state(self, name: str, owner: str, *, refused: bool = False) -> _Use:
        if refused:
            self._context.monitoring.meter.count(RATE_LIMITED, name)
        budget = self._budgets[name]
        stats = await self._limiter.get_window_stats(budget.item, owner)
        seconds = max(1, math.ceil(stats.reset_time - self._clock()))
        return _Use(budget, stats.remaining, seconds, refused=refused)

    def _is_unlimited(self, scope: Scope) -> bool:
        # A forwarded request is not from the proxy's address, even if the settings do not name the proxy.
        return self._is_exempt(_host(scope)) and _FORWARDED.isdisjoint(dict(scope["headers"]))


def _host(scope: Scope) -> str | None:
    client = scope.get("client")
    return client[0] if client else None


def _policy_without_key(scope: Scope) -> str:
    path = scope["path"]
    if scope["type"] == "websocket":
        return "connections"
    if _LOGINS.fullmatch(path) and scope["method"] == "POST":
        return "logins"
    if _JOINING.fullmatch(path):
        return "joining"
    return "checking" if _CHECKING.fullmatch(path) else "address"


def _begins_upload(scope: Scope) -> bool:
    return scope.get("method") in ("POST", "PUT") and _UPLOADS.fullmatch(scope["path"]) is not None


def _with_headers(send: Send, uses: Sequence[_Use]) -> Send:
    """Return a `send` that adds the policies and the remaining budgets to the answer."""
    policies = ", ".join(
        f'"{use.budget.name}";q={use.budget.rate.amount};w={use.budget.rate.seconds}' for use in uses
    )
    states = ", ".join(f'"{use.budget.name}";r={use.remaining};t={use.seconds}' for use in uses)
    headers = [(b"ratelimit-policy", policies.encode()), (b"ratelimit", states.encode())]

    async def send_with_headers(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            message["headers"] = [*message["headers"], *headers]
        await send(message)

    return send_with_headers


async def _refuse(use: _Use, scope: Scope, receive: Receive, send: Send) -> None:
    name, rate = use.budget.name, use.budget.rate
    error = RateLimitExceeded(
        f"The limit of {rate} is reached. Try again in {use.seconds} s. {_ADVICE[name]}",
        {"policy": name, "limit": rate.amount, "window_seconds": rate.seconds, "retry_after": use.seconds},
        retry_after=use.seconds,
    )
    if scope["type"] == "websocket":
        await receive()  # the handshake
    await answer_error(scope, send, error)
