"""Requests of adapters to the operator's own services, over checked connections."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpcore
import httpx

from agent.coordinator.features.payouts.adapter import NotConfigured
from agent.core.values.addresses import AddressRefusal, refusal_of
from agent.network import GuardedBackend, HostError, Network, internet

MAX_ANSWER: Final = 1024 * 1024
"""Bytes of an answer that are read. A node's receipt of a transfer has about a kilobyte."""
CONNECTIONS: Final = 8


class RequestFailed(Exception):
    """A request got no usable answer. What it has caused at the receiver is unknown. The message never contains the URL."""


@dataclass(frozen=True, slots=True)
class Response:
    """The status and body of an answer."""

    status: int
    body: bytes


class ServiceClient:
    """Posts to one URL. Raises `NotConfigured` if the settings do not permit it."""

    def __init__(
        self,
        url: str,
        setting: str,
        *,
        allow_http: bool,
        allow_private: bool,
        seconds: float,
        network: Network | None = None,
    ) -> None:
        # Checked when the adapter is made, so that `doctor` and the start of the coordinator report a wrong address.
        refusal = refusal_of(url, allow_http=allow_http, allow_private=allow_private)
        if refusal is not None:
            section = setting.rpartition(".")[0]
            remedies = {
                AddressRefusal.SCHEME: f" Use https://, or set `{section}.allow_http`.",
                AddressRefusal.PRIVATE: f" If that is your own service, set `{section}.allow_private`.",
            }
            raise NotConfigured(
                f"`{setting}` cannot be used ({refusal.value}).{remedies.get(refusal, ' Correct it.')}"
            )
        self._url = httpx.URL(url)
        self._seconds = seconds
        chosen = network or internet()
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=chosen.tls,
            # A name may resolve to another address later, so each connection is checked too.
            network_backend=GuardedBackend(chosen, allow_private=allow_private),
            max_connections=CONNECTIONS,
        )

    @property
    def host(self) -> str:
        """The receiver's host name."""
        return self._url.host

    async def post(self, body: bytes, headers: Mapping[str, str]) -> Response:
        """Send one request and return the answer. Raises `RequestFailed`."""
        url = self._url
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), self._seconds)
        all_headers = {"Content-Type": "application/json", "User-Agent": "aitbc-agent", **headers}
        try:
            async with (
                # The limits below count from one byte to the next, so a slow receiver needs a limit for the whole request.
                asyncio.timeout(self._seconds),
                self._pool.stream(
                    "POST",
                    target,
                    headers=list(all_headers.items()),
                    content=body,
                    extensions={"timeout": timeouts},
                ) as response,
            ):
                return Response(response.status, await _read(response))
        except HostError as error:
            raise RequestFailed(str(error)) from None
        except (TimeoutError, httpcore.TimeoutException):
            raise RequestFailed(f"{url.host} did not answer within {self._seconds:g} s") from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise RequestFailed(f"{url.host} could not be reached ({type(error).__name__})") from None

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.aclose()


async def _read(response: httpcore.Response) -> bytes:
    parts, size = [], 0
    async for part in response.aiter_stream():
        size += len(part)
        # Without a limit, a broken service could fill the coordinator's memory.
        if size > MAX_ANSWER:
            raise RequestFailed(f"the answer has more than {MAX_ANSWER} bytes")
        parts.append(part)
    return b"".join(parts)
