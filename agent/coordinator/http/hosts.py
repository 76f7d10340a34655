"""Checks that a request names this coordinator, as a defence against DNS rebinding.

The owner of a web page can make its name resolve to this machine's address. The browser then treats the coordinator as part of the
page's site, and lets the page's scripts read answers that need no key, from networks that the owner cannot reach. Such a request has
the page's name in `Host`. An IP address in `Host` cannot be a page's name.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from agent.coordinator.http.middleware import answer_error
from agent.coordinator.metrics import REFUSED
from agent.core.errors import ApiError, Forbidden, UnknownHost
from agent.core.values.networks import lies_in
from agent.metrics import Meter
from agent.settings.coordinator import CoordinatorSettings

ANY: Final = "*"
_LOCAL: Final = "localhost"


def own_address(settings: CoordinatorSettings, request: Request) -> str:
    """Return this server's public address, or else as the client wrote it, including `/api`: a proxy may forward no other path."""
    if settings.public_url is not None:
        return settings.public_url
    # Links must go through the same path of the proxy as the request that gets them.
    prefix = "/api" if request.url.path.startswith("/api/") else ""
    return f"{request.base_url}".rstrip("/") + prefix


class Hosts:
    """ASGI middleware that answers 421 to a request for an unknown name, and 403 to a WebSocket of another site's page.

    For other requests, `scope["known_host"]` is whether their name is known.
    """

    def __init__(self, app: ASGIApp, settings: CoordinatorSettings, meter: Meter) -> None:
        self._app = app
        self._settings = settings
        self._meter = meter
        machine = socket.gethostname().lower()
        self._names = frozenset(
            {
                _LOCAL,
                machine,
                f"{machine}.local",
                settings.host.lower(),
                *(name.lower() for name in settings.hosts),
                *_host_of(settings.public_url),
            }
        )
        self._origins = frozenset({*settings.cors_origins, *_origin_of(settings.public_url)})
        self._below = tuple(name[1:] for name in self._names if name.startswith("*."))
        self._loopback = _is_loopback(settings.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except ApiError as error:
            if scope["type"] == "websocket":
                await receive()  # the handshake
            await answer_error(scope, send, error)
            return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        host = hosts[0].decode("latin-1") if hosts else ""
        is_known = len(hosts) <= 1 and self._knows(_name(host))
        scope["known_host"] = is_known
        if not is_known and (len(hosts) > 1 or self._settings.hosts or self._is_local(scope)):
            self._meter.count(REFUSED, "host")
            named = host[:100] if len(hosts) == 1 else "more than one name"
            raise UnknownHost(
                f"This coordinator is not known as {named!r}. Use its address, or add the name to the setting "
                "coordinator.hosts; for a reverse proxy, set coordinator.trusted_proxies."
            )
        if scope["type"] == "websocket":
            self._check_origin(scope, host)

    def _is_local(self, scope: Scope) -> bool:
        """Return whether only this machine can send the request, and not one of the trusted proxies.

        A proxy decides itself for which names it forwards requests. If other machines can reach the coordinator, it may have any name
        in their networks, and a page learns nothing that its owner could not request directly.
        """
        client = scope.get("client")
        return self._loopback and not lies_in(client[0] if client else None, self._settings.trusted_proxies)

    def _knows(self, name: str) -> bool:
        if ANY in self._names or name in self._names or name.endswith((f".{_LOCAL}", *self._below)):
            return True
        return not name or _address(name) is not None

    def _check_origin(self, scope: Scope, host: str) -> None:
        """Raise `Forbidden` for a WebSocket of another site's page: browsers allow any page to open one, and name its origin."""
        origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
        for origin in origins:
            if _same(origin, host) or origin in self._origins or ANY in self._origins:
                continue
            self._meter.count(REFUSED, "origin")
            raise Forbidden(
                f"Pages of {origin[:100]!r} may not open WebSockets here. The operator can add it to the setting coordinator.cors_origins."
            )


def _same(origin: str, host: str) -> bool:
    """Return whether an origin is that of the requested host. Some proxies omit the host's port."""
    page = urlsplit(origin)
    return host.lower() in (page.netloc.lower(), page.hostname)


def _host_of(url: str | None) -> tuple[str, ...]:
    return () if url is None else ((urlsplit(url).hostname or "").lower(),)


def _origin_of(url: str | None) -> tuple[str, ...]:
    return () if url is None else ("{0.scheme}://{0.netloc}".format(urlsplit(url)),)


def _name(host: str) -> str:
    """Return the name in a `Host` header, without port and trailing dot."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].rstrip(".").lower()


def _address(name: str) -> object:
    try:
        return ip_address(name)
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == _LOCAL
