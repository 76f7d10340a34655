"""Fetches one file: continues where an earlier attempt ended, and accepts only content with the expected digest."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import httpx
import structlog

from agent.miner.backoff import Backoff
from agent.miner.models.hub import RemoteFile
from agent.miner.models.store import ModelUnavailable, SourceUnreachable
from agent.miner.traffic import Traffic

RETRIES: Final = 2
"""How many attempts in succession may bring no new byte."""
FIRST_DELAY: Final = 1.0
_LONGEST_DELAY: Final = 8.0
_BUFFER: Final = 2**20
_CHUNK: Final = 2**18
"""Bytes per write; as many are fetched again after an interruption."""
_TRANSIENT: Final = frozenset({408, 425, 429})
_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_T = TypeVar("_T")

_log = structlog.get_logger(__name__)


class AccessDenied(ModelUnavailable):
    """The server requires a login, or refuses access to the file."""


def require_downloads(traffic: Traffic) -> None:
    """Raise `SourceUnreachable` if the owner wants no downloads at present. What has arrived stays for the next attempt."""
    if traffic.hindrance is not None:
        raise SourceUnreachable(traffic.hindrance)


class _Interrupted(Exception):
    """The server cannot send the file at the moment. The message states why."""


@dataclass(frozen=True, slots=True)
class ModelTransfer:
    """Fetches files. `headers` go with each request; `on_size` is called with the bytes that the current file has on disk."""

    client: httpx.AsyncClient
    headers: Mapping[str, str]
    on_size: Callable[[int], None]
    traffic: Traffic
    retries: int = RETRIES
    first_delay: float = FIRST_DELAY

    async def fetch(self, file: RemoteFile, target: Path) -> str:
        """Fetch `file` to `target` and return its hex SHA-256. A partial file stays next to it for the next attempt.

        Raises `ModelUnavailable`, `OSError`.
        """
        part = await asyncio.to_thread(_ArrivedPart, target, file)
        try:
            self.on_size(part.size)
            await self._receive_all(file, part)
            return await undisturbed(part.finish)
        finally:
            part.close()

    async def _receive_all(self, file: RemoteFile, part: _ArrivedPart) -> None:
        furthest, failures = part.size, 0
        backoff = Backoff(self.first_delay, _LONGEST_DELAY)
        while not part.is_complete:
            try:
                await self._receive(file, part)
            except (httpx.TransportError, _Interrupted) as error:
                # A server that starts from the first byte each time brings nothing new either.
                if part.size > furthest:
                    furthest, failures = part.size, 0
                    backoff.reset()
                if failures == self.retries:
                    raise SourceUnreachable(
                        f"{file.name} could not be fetched from {httpx.URL(file.url).host} ({str(error) or type(error).__name__}); "
                        "run the same command again later to continue."
                    ) from error
                _log.info(
                    "model_file_interrupted", file=file.name, size=part.size, error=type(error).__name__
                )
                await asyncio.sleep(backoff.next())
                failures += 1

    async def _receive(self, file: RemoteFile, part: _ArrivedPart) -> None:
        # A range counts the bytes that travel, so they must be those of the file.
        headers = {**self.headers, "Accept-Encoding": "identity"}
        if part.size:
            headers["Range"] = f"bytes={part.size}-"
        async with self.client.stream("GET", file.url, headers=headers) as response:
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                await undisturbed(part.restart)
                raise _Interrupted("it cannot continue a partial file")
            self._check_status(file, response.status_code)
            if part.size and _begins_at(response) != part.size:
                await undisturbed(part.restart)
            if part.expected is None:
                # The catalogue did not know it. From now on a connection that ends early is noticed.
                part.expected = _length(response, part.size)
            async for data in response.aiter_raw(_CHUNK):
                await self.traffic.received(len(data))
                require_downloads(self.traffic)
                # In a thread, as the hash of gigabytes would otherwise hold up the heartbeats.
                await undisturbed(partial(part.write, data))
                self.on_size(part.size)
        part.ended = part.expected is None
        if not part.is_complete:
            # Counts as an attempt, or a server that always ends early would be asked for ever.
            raise _Interrupted("it sent less than announced")

    def _check_status(self, file: RemoteFile, status: int) -> None:
        host = httpx.URL(file.url).host
        if status in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
            return
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise AccessDenied(f"{host} denies access to {file.name} (status {status}).")
        if status in _TRANSIENT or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise _Interrupted(f"status {status}")
        raise ModelUnavailable(
            f"{host} answers {status} for {file.name}. Correct the model's entry in the catalogue."
        )


class _ArrivedPart:
    """The part of a file that has arrived, at `NAME.part` until it is complete and verified."""

    def __init__(self, target: Path, file: RemoteFile) -> None:
        self.expected = file.size
        self.ended = False
        self._target = target
        self._file_info = file
        self._path = target.with_name(f"{target.name}.part")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._sha256 = hashlib.sha256()
        self.size = 0
        # Appended to, since everything before was hashed and stays: the next attempt continues here.
        self._file = self._path.open("a+b")
        self._file.seek(0)
        while data := self._file.read(_BUFFER):
            self._sha256.update(data)
            self.size += len(data)
        if self.expected is not None and self.size > self.expected:
            self.restart()

    @property
    def is_complete(self) -> bool:
        return self.ended or (self.expected is not None and self.size >= self.expected)

    def restart(self) -> None:
        self._file.truncate(0)
        self._sha256, self.size = hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._sha256.update(data)
        self.size += len(data)
        if self.expected is not None and self.size > self.expected:
            raise self._refuse()

    def finish(self) -> str:
        self._file.flush()
        # The final name promises the content, also after a power failure.
        os.fsync(self._file.fileno())
        digest = self._sha256.hexdigest()
        info = self._file_info
        matches = digest == info.sha256 if info.sha256 is not None else self._blob() == info.blob
        if not matches or self.expected not in (None, self.size):
            raise self._refuse()
        self._path.replace(self._target)
        return digest

    def close(self) -> None:
        self._file.close()

    def _refuse(self) -> ModelUnavailable:
        self._path.unlink(missing_ok=True)
        return ModelUnavailable(
            f"{self._file_info.name} from {httpx.URL(self._file_info.url).host} does not match its digest in the catalogue or the "
            "repository, so it was removed."
        )

    def _blob(self) -> str:
        """Return the id of this content as a Git blob; for small files only."""
        blob = hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        self._file.seek(0)
        while data := self._file.read(_BUFFER):
            blob.update(data)
        return blob.hexdigest()


async def undisturbed(function: Callable[[], _T]) -> _T:
    """Run a short blocking function in a thread. A cancellation waits for it, so that nothing is written afterwards."""
    work = asyncio.ensure_future(asyncio.to_thread(function))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise


def _begins_at(response: httpx.Response) -> int:
    match = _RANGE.fullmatch(response.headers.get("content-range", ""))
    return int(match[1]) if response.status_code == httpx.codes.PARTIAL_CONTENT and match else 0


def _length(response: httpx.Response, present: int) -> int | None:
    length = response.headers.get("content-length", "")
    return present + int(length) if length.isdecimal() else None
