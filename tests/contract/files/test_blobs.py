"""What every store of blobs guarantees: the directory and a bucket of a real S3 server."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import pytest

from agent.coordinator.blobs.directory import open_directory
from agent.coordinator.blobs.store import BlobStore
from agent.core.errors import ConfigurationError, NotFound, PayloadTooLarge
from agent.settings import Settings
from agent.settings.artifact_store import ArtifactSettings
from support.servers.blobs import content, names, open_store, pieces

MAX = 24 * 2**20
DATA = os.urandom(20 * 2**20 + 1)
"""More than two pieces of a stream, and more than one checkpoint of an upload."""
ID = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


class LostError(Exception):
    """The connection of a stream was lost."""


async def broken(data: bytes) -> AsyncGenerator[bytes, None]:
    async for piece in pieces(data):
        yield piece
    raise LostError


@pytest.fixture(params=["directory", "bucket"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    return open_store(request, tmp_path, MAX)


def run(work: Callable[[BlobStore], Awaitable[None]], blobs: BlobStore) -> None:
    async def main() -> None:
        try:
            await work(blobs)
        finally:
            await blobs.close()

    asyncio.run(main())


def test_a_stream_is_stored_read_in_ranges_listed_and_removed(blobs: BlobStore) -> None:
    async def work(blobs: BlobStore) -> None:
        stored, empty = await blobs.store(pieces(DATA)), await blobs.store(pieces(b""))
        assert (stored.artifact_id, stored.size, await blobs.size(stored.name)) == (ID, len(DATA), len(DATA))
        assert await content(blobs, stored.name, 0, len(DATA)) == DATA
        assert await content(blobs, stored.name, 9_000_000, 1000) == DATA[9_000_000:9_001_000]
        assert await content(blobs, stored.name, len(DATA) - 1, 1) == DATA[-1:]
        assert (empty.size, await content(blobs, empty.name, 0, 0)) == (0, b"")
        assert await names(blobs) == {stored.name, empty.name}
        found = [found async for batch in blobs.listed() for found in batch if found.size]
        assert found[0].size == len(DATA)
        assert abs(found[0].modified - time.time()) < 60
        await blobs.remove([stored.name, stored.name, empty.name])
        assert (await blobs.size(stored.name), await names(blobs)) == (None, set())
        with pytest.raises(NotFound):
            await blobs.read(stored.name, 0, 1)

    run(work, blobs)


def test_the_same_content_has_two_names(blobs: BlobStore) -> None:
    """So the removal of one never removes the bytes of the other."""

    async def work(blobs: BlobStore) -> None:
        first, second = await blobs.store(pieces(b"same")), await blobs.store(pieces(b"same"))
        assert first.artifact_id == second.artifact_id
        assert first.name != second.name
        await blobs.remove([first.name])
        assert await content(blobs, second.name, 0, 4) == b"same"

    run(work, blobs)


def test_a_stream_that_breaks_or_is_too_long_leaves_nothing(blobs: BlobStore) -> None:
    async def work(blobs: BlobStore) -> None:
        with pytest.raises(LostError):
            await blobs.store(broken(DATA[:12_000_000]))
        with pytest.raises(PayloadTooLarge):
            await blobs.store(pieces(DATA + DATA))

        async def cover(size: int) -> None:
            if size > 10_000_000:
                raise PayloadTooLarge("the quota")

        with pytest.raises(PayloadTooLarge, match="the quota"):
            await blobs.store(pieces(DATA), cover)
        assert await names(blobs) == set()
        await blobs.sweep(time.time() + 60)
        assert await blobs.sweep(time.time() + 60) == 0

    run(work, blobs)


def test_a_store_that_no_feature_opens_is_refused(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, artifacts=ArtifactSettings(url="s3://bucket"))
    with pytest.raises(ConfigurationError, match="s3://bucket"):
        open_directory(settings)
