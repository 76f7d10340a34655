"""The coordinator over plain HTTP: registration, long polls, artifacts, and every call while there is no WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, BinaryIO, Final

import httpx
import orjson

from agent.core.errors import ConfigurationError
from agent.miner.link.direct import DirectTransfers, paced
from agent.miner.link.refusals import Unreachable
from agent.miner.settings import NetworkSettings
from agent.miner.traffic import Traffic

_CONNECT_SECONDS: Final = 10.0
_TRANSFER_SECONDS: Final = 60.0
"""Longest silence during a transfer, whose total time is not limited."""
_UPLOAD_ANSWER_SECONDS: Final = 120.0
_CHUNK: Final = 2**20
_CONNECTIONS: Final = 32


class HttpLink:
    """HTTP calls to one coordinator. `token` is the session's, None before the first registration, `traffic` the limits of the network."""

    def __init__(self, url: str, traffic: Traffic | None = None) -> None:
        self._traffic = traffic or Traffic(NetworkSettings())
        self.url = _checked(url)
        self.token: str | None = None
        self._client = httpx.AsyncClient(
            base_url=self.url,
            auth=self._authorize,
            trust_env=not is_loopback(self.url),
            verify=httpx.create_ssl_context(),  # with the environment's certificate authorities, for all addresses
            timeout=httpx.Timeout(_TRANSFER_SECONDS, connect=_CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS),
            headers={"User-Agent": "aitbc-agent"},
        )
        self._direct = DirectTransfers(
            self.url, partial(self.post, limit=_UPLOAD_ANSWER_SECONDS), traffic=self._traffic
        )

    def _authorize(self, request: httpx.Request) -> httpx.Request:
        if self.token is not None:
            request.headers["Authorization"] = f"Bearer {self.token}"
        return request

    async def post(self, path: str, body: Any, *, limit: float) -> tuple[int, Any]:
        """Return status and JSON of the answer, None if it has no body.

        Raises `Unreachable` if there is no answer within `limit` seconds, or if it is not the coordinator's.
        """
        headers = {"Content-Type": "application/json"}
        return await self._call("POST", path, limit, content=orjson.dumps(body), headers=headers)

    async def get(self, path: str, key: str | None, *, limit: float) -> tuple[int, Any]:
        """Return status and JSON of a call with an API key, or none, instead of the session's token. Raises `Unreachable`."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return await self._call("GET", path, limit, headers=headers, auth=None)

    async def _call(self, method: str, path: str, limit: float, **options: Any) -> tuple[int, Any]:
        try:
            async with asyncio.timeout(limit):
                response = await self._client.request(method, path, timeout=limit, **options)
        except (httpx.HTTPError, TimeoutError) as error:
            raise Unreachable(_explain(self.url, error)) from error
        return response.status_code, self._parse(response)

    async def upload(
        self, path: Path, media_type: str, size: int, *, artifact_id: str, lease: tuple[str, int]
    ) -> tuple[int, Any]:
        """Store a file of `size` bytes as an output of the job of `lease` (job id and fence).

        Raises `Unreachable`, or `OSError` if the file cannot be read.
        """
        answer = await self._direct.upload(path, media_type, size, artifact_id, lease)
        if answer is not None:
            return answer
        headers = {"Content-Type": media_type, "Content-Length": str(size)}
        timeout = httpx.Timeout(_TRANSFER_SECONDS, connect=_CONNECT_SECONDS, read=_UPLOAD_ANSWER_SECONDS)
        try:
            with path.open("rb") as file:
                response = await self._client.post(
                    "/v1/artifacts",
                    params={"job_id": lease[0], "fence": lease[1]},
                    content=_chunks(file, self._traffic),
                    headers=headers,
                    timeout=timeout,
                )
        except httpx.HTTPError as error:
            raise Unreachable(_explain(self.url, error)) from error
        return response.status_code, self._parse(response)

    def open_artifact(self, artifact_id: str) -> AbstractAsyncContextManager[httpx.Response]:
        """Return an artifact as a stream, which may raise `httpx.HTTPError`."""
        return self._direct.download(self._client, f"/v1/artifacts/{artifact_id}")

    async def close(self) -> None:
        """Close all connections."""
        await self._direct.close()
        await self._client.aclose()

    def _parse(self, response: httpx.Response) -> Any:
        if not response.content:
            return None
        try:
            return orjson.loads(response.content)
        except orjson.JSONDecodeError:
            if response.is_success:
                raise Unreachable(f"The server at {self.url} is not a coordinator.") from None
            # The error page of a proxy: its status is sufficient.
            return None


def is_loopback(url: str) -> bool:
    """Whether the URL's host is this machine, for which the environment's proxy does not apply."""
    host = httpx.URL(url).host
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _checked(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"The coordinator's address {url!r} is not a URL: {error}.") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise ConfigurationError(
            f"The coordinator's address {url!r} must begin with https:// (or http:// on the same machine)."
        )
    return url.rstrip("/")


def _explain(url: str, error: Exception) -> str:
    return f"The coordinator at {url} does not answer ({type(error).__name__})."


async def _chunks(file: BinaryIO, traffic: Traffic) -> AsyncIterator[bytes]:
    # In a thread, since a slow disk must not delay heartbeats.
    while chunk := await asyncio.to_thread(file.read, _CHUNK):
        async for piece in paced(chunk, traffic):
            yield piece
