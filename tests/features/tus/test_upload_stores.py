"""What every store of unfinished uploads guarantees: beside a directory of artifacts, and in a bucket of a real S3 server."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from agent.coordinator.blobs.directory import ArtifactDirectory
from agent.coordinator.blobs.store import BlobStore
from agent.coordinator.features.tus.growing_files import UploadDirectory
from agent.coordinator.features.tus.headers import Checksum, UploadSegment
from agent.coordinator.features.tus.segments import SegmentedUploads
from agent.coordinator.features.tus.turns import Interrupted, UploadStore
from agent.core.errors import ChecksumMismatch, PayloadTooLarge
from support.servers.blobs import content, names, open_store, pieces

MAX = 24 * 2**20
DATA = os.urandom(20 * 2**20 + 1)
"""More than two pieces of a stream, and more than one checkpoint of an upload."""
ID = f"sha256:{hashlib.sha256(DATA).hexdigest()}"

Stores = tuple[BlobStore, UploadStore]


@pytest.fixture(params=["directory", "bucket"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Stores:
    blobs = open_store(request, tmp_path, MAX)
    if isinstance(blobs, ArtifactDirectory):
        return blobs, UploadDirectory(blobs, silence_seconds=5)
    return blobs, SegmentedUploads(blobs, silence_seconds=5)


async def interrupted(data: bytes) -> AsyncGenerator[bytes, None]:
    async for piece in pieces(data):
        yield piece
    raise Interrupted("the connection was lost")


def run(work: Callable[[BlobStore, UploadStore], Awaitable[None]], stores: Stores) -> None:
    async def main() -> None:
        try:
            await work(*stores)
        finally:
            await stores[0].close()

    asyncio.run(main())


class Row:
    """What the database would record of an upload."""

    def __init__(self) -> None:
        self.received = 0
        self.segments: list[UploadSegment] = []
        self.sha256: str | None = None

    async def save(self, received: int, segments: Sequence[UploadSegment], sha256: str | None) -> None:
        self.received, self.sha256 = received, sha256
        self.segments = [segment for segment in self.segments if segment.start < received]
        self.segments += segments


async def free(_: int) -> None:
    """Accept any size."""


async def append(uploads: UploadStore, row: Row, chunks: AsyncIterator[bytes], **more: object) -> None:
    options = {"limit": len(DATA) - row.received, "cover": free, **more}
    async with uploads.turn("upload_1") as file:
        await file.append(chunks, row.save, start=row.received, **options)  # type: ignore[arg-type]


async def published(uploads: UploadStore, row: Row) -> tuple[str, int, str]:
    artifact_id = row.sha256 and f"sha256:{row.sha256}"
    async with uploads.turn("upload_1") as file:
        stored = await file.publish(artifact_id, row.received, row.segments)
        again = await file.publish(artifact_id, row.received, row.segments)
    assert again == stored
    return stored.artifact_id, stored.size, stored.name


def test_an_upload_grows_over_interruptions_and_restarts(stores: Stores) -> None:
    """The second half is sent to another process: the stores hold no state that the row does not have."""

    async def work(blobs: BlobStore, uploads: UploadStore) -> None:
        row = Row()
        with pytest.raises(Interrupted):
            await append(uploads, row, interrupted(DATA[:18_000_000]))
        assert row.received >= 18_000_000 - 2**18
        await append(uploads, row, pieces(DATA[row.received : row.received + 3]), limit=3)
        uploads.forget("upload_1")
        await append(uploads, row, pieces(DATA[row.received :]))
        artifact_id, size, name = await published(uploads, row)
        assert (artifact_id, size) == (ID, len(DATA))
        assert await content(blobs, name, 0, size) == DATA

    run(work, stores)


def test_a_part_with_another_checksum_or_beyond_the_limit_is_discarded(stores: Stores) -> None:
    async def work(blobs: BlobStore, uploads: UploadStore) -> None:
        row = Row()
        await append(uploads, row, pieces(DATA[:1000]), limit=1000)
        wrong = Checksum("sha256", hashlib.sha256(b"other").digest())
        with pytest.raises(ChecksumMismatch):
            await append(uploads, row, pieces(DATA[1000:]), checksum=wrong)
        with pytest.raises(PayloadTooLarge):
            await append(uploads, row, pieces(DATA[1000:]), limit=17 * 2**20)
        assert row.received == 1000
        right = Checksum("sha256", hashlib.sha256(DATA[1000:]).digest())
        await append(uploads, row, pieces(DATA[1000:]), checksum=right)
        artifact_id, size, name = await published(uploads, row)
        assert (artifact_id, await content(blobs, name, 0, size) == DATA) == (ID, True)
        await blobs.remove([segment.name for segment in row.segments])
        assert await names(blobs) == {name} | dropped_segments(await names(blobs))

    run(work, stores)


def dropped_segments(found: set[str]) -> set[str]:
    """Return segments that a row referred to once: the database marks them for removal, not the store."""
    return {name for name in found if name.startswith("parts/")}
