"""Files that go to and from the coordinator's store of files directly, with signed URLs, where the coordinator offers that.

The coordinator names the addresses, so they are checked: a coordinator on the internet cannot make the miner connect to hosts in the
owner's network. If a transfer is not possible, the file goes through the coordinator. URLs are secrets, and appear in no message.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpcore
import httpx
import structlog

from agent.core.values.addresses import is_address, may_connect
from agent.miner.backoff import Backoff
from agent.miner.settings import NetworkSettings
from agent.miner.traffic import STEP, Traffic
from agent.network import GuardedBackend, HostError, Network, internet

SMALLEST: Final = 8 * 2**20
"""Smaller files go through the coordinator, which takes one request instead of three."""
_PATH: Final = "/v1/direct-uploads"
_NOT_OFFERED: Final = frozenset({404, 405, 422})
_ELSEWHERE: Final = 307
_OK: Final = 200
_CREATED: Final = 201
_FIRST_ERROR: Final = 300
_SILENCE_SECONDS: Final = 60.0
_CONNECT_SECONDS: Final = 10.0
_ANSWER_SECONDS: Final = 60.0
_CHECK_SECONDS: Final = 1.0
_CHUNK: Final = 2**20
_TRIES: Final = 5
"""How often one part is sent without success before the file goes through the coordinator."""

Post = Callable[[str, Any], Awaitable[tuple[int, Any]]]
"""Posts JSON to the coordinator, and returns the status and the JSON of the answer. Raises `Unreachable`."""

_log = structlog.get_logger(__name__)


class DirectTransfers:
    """Transfers past one coordinator. `post` calls it."""

    def __init__(
        self, coordinator: str, post: Post, network: Network | None = None, traffic: Traffic | None = None
    ) -> None:
        self._traffic = traffic or Traffic(NetworkSettings())
        self._host = httpx.URL(coordinator).host
        self._post = post
        self._network = network or internet()
        self._uploads = self._downloads = True
        self._client: httpx.AsyncClient | None = None

    async def upload(
        self, path: Path, media_type: str, size: int, artifact_id: str, lease: tuple[str, int]
    ) -> tuple[int, Any] | None:
        """Send an output to the store. Return status and JSON of the coordinator's last answer, or None if it must receive the file.

        Raises `Unreachable`, or `OSError` if the file cannot be read.
        """
        # A small file costs fewer calls when the coordinator receives it itself.
        if size <= SMALLEST or not self._uploads:
            return None
        file = {
            "size": size,
            "sha256": artifact_id.removeprefix("sha256:"),
            "media_type": media_type,
            "job_id": lease[0],
            "fence": lease[1],
        }
        # As one piece first, which needs one call less. A piece that breaks off is sent again in parts, from where it ended.
        for in_parts in (False, True):
            status, plan = await self._post(_PATH, {**file, "in_parts": in_parts})
            # A coordinator without a bucket, or an older one. That does not change while it runs.
            if status in _NOT_OFFERED:
                self._uploads = False
                return None
            if status != _CREATED:
                return status, plan
            answer = await self._send(path, plan, tries=_TRIES if in_parts else 1)
            if answer is not None:
                return answer
        _log.warning("direct_upload_failed", job_id=lease[0], size=size)
        return None

    async def _send(self, path: Path, plan: Mapping[str, Any], tries: int) -> tuple[int, Any] | None:
        """Send all parts. Return the coordinator's last answer, or None if one part fails `tries` times."""
        url = f"{_PATH}/{plan['upload_id']}/parts"
        backoff, failures = Backoff(0.5, 10), 0
        while True:
            sent_parts, failed = await self._send_parts(path, plan["parts"])
            # A try that brought parts over is progress, however slow the line is.
            failures = failures + 1 if failed and not sent_parts else int(failed)
            if failures >= tries:
                return None
            if failed:
                await asyncio.sleep(backoff.next())
            # All parts are there, and the store still puts them together.
            elif not plan["parts"]:
                await asyncio.sleep(_CHECK_SECONDS)
            status, plan = await self._post(url, {"parts": sent_parts})
            if status != _OK:
                return status, plan
            if plan["artifact"] is not None:
                return _CREATED, plan["artifact"]

    async def _send_parts(self, path: Path, parts: Sequence[Mapping[str, Any]]) -> tuple[list[Any], bool]:
        """Return the parts that were sent, with their ETags, and whether one failed."""
        sent_parts: list[Any] = []
        for part in parts:
            headers = {**part["headers"], "Content-Length": str(part["size"])}
            try:
                client = await self._connected()
                content = _chunks(path, part["offset"], part["size"], self._traffic)
                answer = await client.request(part["method"], part["url"], content=content, headers=headers)
            except (httpx.HTTPError, httpx.InvalidURL, HostError) as error:
                _log.info("direct_part_failed", reason=type(error).__name__)
                return sent_parts, True
            # The coordinator needs each part's ETag to complete the upload, so a part without one did not arrive.
            if answer.status_code >= _FIRST_ERROR or "etag" not in answer.headers:
                _log.info("direct_part_failed", status=answer.status_code)
                return sent_parts, True
            sent_parts.append({"number": part["number"], "etag": answer.headers["etag"]})
        return sent_parts, False

    @asynccontextmanager
    async def download(self, client: httpx.AsyncClient, path: str) -> AsyncIterator[httpx.Response]:
        """Open a file of the coordinator, which `client` calls, or of the store that it names. Raises `httpx.HTTPError`."""
        if self._downloads and (located := await self._located(client, path)) is not None:
            try:
                yield located
            except httpx.HTTPError:
                # The next try goes through the coordinator.
                self._downloads = False
                raise
            finally:
                await located.aclose()
            return
        async with client.stream("GET", path) as response:
            yield response

    async def _located(self, client: httpx.AsyncClient, path: str) -> httpx.Response | None:
        """Return the open file. Return None if the store does not send it."""
        request = client.build_request("GET", path, params={"redirect": "true"})
        answer = await client.send(request, stream=True)
        # The coordinator sends the file itself, or an error that the caller handles.
        if answer.status_code != _ELSEWHERE:
            return answer
        await answer.aclose()
        try:
            store = await self._connected()
            response = await store.send(store.build_request("GET", answer.headers["location"]), stream=True)
        except (httpx.HTTPError, httpx.InvalidURL, HostError, KeyError) as error:
            reason = type(error).__name__
        else:
            if response.status_code == _OK:
                return response
            await response.aclose()
            reason = str(response.status_code)
        _log.warning("direct_download_failed", reason=reason)
        self._downloads = False
        return None

    async def _connected(self) -> httpx.AsyncClient:
        if self._client is None:
            # A public coordinator must not be able to make this machine call hosts of its owner's network.
            private = await self._is_private()
            guard = GuardedBackend(self._network, allow_private=private)
            transport = httpx.AsyncHTTPTransport(verify=self._network.tls)
            transport._pool = httpcore.AsyncConnectionPool(  # noqa: SLF001 - there is no public way to set the backend
                ssl_context=self._network.tls, network_backend=guard
            )
            self._client = httpx.AsyncClient(
                transport=transport,
                timeout=httpx.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS, read=_ANSWER_SECONDS),
                headers={"User-Agent": "aitbc-agent", "Accept-Encoding": "identity"},
            )
        return self._client

    async def _is_private(self) -> bool:
        """Return whether the coordinator is in a private network, whose other hosts it may name then."""
        if is_address(self._host):
            addresses: Sequence[str] = [self._host]
        else:
            try:
                addresses = await self._network.resolve(self._host, 443)
            except OSError:  # of a proxy, perhaps
                return False
        return not all(may_connect(address) for address in addresses)

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()


async def paced(chunk: bytes, traffic: Traffic) -> AsyncIterator[bytes]:
    """Yield a chunk in pieces, at the rate that the owner allows."""
    for start in range(0, len(chunk), STEP):
        piece = chunk[start : start + STEP]
        await traffic.sent(len(piece))
        yield piece


async def _chunks(path: Path, start: int, size: int, traffic: Traffic) -> AsyncIterator[bytes]:
    # In a thread, since a slow disk must not delay heartbeats.
    with await asyncio.to_thread(path.open, "rb") as file:
        await asyncio.to_thread(file.seek, start)
        while size > 0 and (chunk := await asyncio.to_thread(file.read, min(_CHUNK, size))):
            size -= len(chunk)
            async for piece in paced(chunk, traffic):
                yield piece
