"""A proxy before an S3 server that adds what S3 does and s3rver does not: it refuses content with another SHA-256 than announced.

    checking_proxy.py PORT SERVER

It streams, and counts the bytes of bodies by the program that sends or receives them: `GET /_bytes`.
"""

from __future__ import annotations

import base64
import hashlib
import sys
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp
from aiohttp import web

CHUNK: Final = 2**20
CHECKSUM: Final = "x-amz-checksum-sha256"
REFUSED: Final = "<Error><Code>BadDigest</Code><Message>The SHA256 you specified did not match what we received.</Message></Error>"


class Proxy:
    """Forwards requests to `server`."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._client: aiohttp.ClientSession | None = None
        self._bytes: Counter[str] = Counter()

    async def counted(self, _: web.Request) -> web.Response:
        """Return the counts."""
        return web.json_response(self._bytes)

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """Forward one request."""
        if self._client is None:
            self._client = aiohttp.ClientSession(
                auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None)
            )
        program = request.headers.get("User-Agent", "").partition("/")[0]
        digest = hashlib.sha256()

        async def body() -> AsyncIterator[bytes]:
            async for chunk in request.content.iter_chunked(CHUNK):
                digest.update(chunk)
                self._bytes[f"{program} up"] += len(chunk)
                yield chunk

        sent: Any = body() if request.headers.get("Content-Length", "0") != "0" else None
        url = self._server + request.raw_path
        async with self._client.request(
            request.method, url, headers=request.headers, data=sent, skip_auto_headers=["User-Agent"]
        ) as answer:
            announced = request.headers.get(CHECKSUM)
            if announced is not None and announced != base64.b64encode(digest.digest()).decode():
                return web.Response(status=400, text=REFUSED, content_type="application/xml")
            response = web.StreamResponse(status=answer.status, headers=answer.headers)
            await response.prepare(request)
            async for chunk in answer.content.iter_chunked(CHUNK):
                self._bytes[f"{program} down"] += len(chunk)
                await response.write(chunk)
            await response.write_eof()
            return response


def main() -> None:
    """Serve until killed."""
    proxy = Proxy(sys.argv[2])
    application = web.Application(client_max_size=2**40)
    application.router.add_get("/_bytes", proxy.counted)
    application.router.add_route("*", "/{path:.*}", proxy.forward)
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)


if __name__ == "__main__":
    main()
