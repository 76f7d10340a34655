"""Connects to hosts that strangers choose: a job's inputs, a client's webhooks.

A host name is resolved once, every address is checked, and the connection goes to a checked address, so that a DNS answer that
changes in the meantime has no effect. TLS is still verified against the name.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import httpcore
import httpx
import structlog

from agent.core.values.addresses import is_address, may_connect
from agent.deadline import call_within

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the IP addresses of a host for a port, best first. Raises `socket.gaierror` or `TimeoutError`."""

_RESOLVE_SECONDS: Final = 10.0
_MAX_ADDRESSES: Final = 4
"""Number of addresses of one host to try: IPv4 and IPv6, each with one spare."""

_log = structlog.get_logger(__name__)


class HostError(Exception):
    """A connection to a host is impossible. Messages contain its name, but not its addresses, which would reveal our network."""


class HostRefused(HostError):
    """The host has an address that is not on the public internet."""


class HostUnknown(HostError):
    """The host does not exist."""


class LookupFailed(HostError):
    """The host's name cannot be resolved at present."""


@dataclass(frozen=True, slots=True)
class Network:
    """How hosts are resolved and connected to. Tests substitute a network of their own; the checks remain the same."""

    resolve: Resolver
    backend: httpcore.AsyncNetworkBackend
    tls: ssl.SSLContext


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects only to checked addresses, regardless of the name in the URL. Raises `HostError`."""

    def __init__(self, network: Network, *, allow_private: bool) -> None:
        self._network = network
        self._allow_private = allow_private

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is the library's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address that accepts the connection."""
        failure: Exception = httpcore.ConnectError("the host has no address")
        for address in (await self._checked_addresses(host, port))[:_MAX_ADDRESSES]:
            try:
                return await self._network.backend.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def _checked_addresses(self, host: str, port: int) -> Sequence[str]:
        addresses = [host] if is_address(host) else await self._resolve(host, port)
        refused = [
            address for address in addresses if not may_connect(address, allow_private=self._allow_private)
        ]
        if refused:
            _log.warning("address_refused", host=host, addresses=refused)
            raise HostRefused(f"{host} is not on the public internet")
        return addresses

    async def _resolve(self, host: str, port: int) -> Sequence[str]:
        try:
            return await self._network.resolve(host, port)
        except socket.gaierror as error:
            if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None)):
                raise HostUnknown(f"There is no host {host}") from None
            raise LookupFailed(f"The name {host} could not be looked up ({error.strerror})") from error
        except (TimeoutError, UnicodeError) as error:
            raise LookupFailed(f"The name {host} could not be looked up ({type(error).__name__})") from error


async def _resolve(host: str, port: int) -> Sequence[str]:
    """Query the system's resolver, whose order suits the machine's network."""
    entries = await call_within(
        _RESOLVE_SECONDS,
        lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM),
        name="resolve-host",
    )
    return list(dict.fromkeys(str(entry[4][0]) for entry in entries))


@cache
def internet() -> Network:
    """Return the network of this machine."""
    return Network(resolve=_resolve, backend=httpcore.AnyIOBackend(), tls=httpx.create_ssl_context())
