"""What every store of blobs guarantees: the directory and a bucket of a real S3 server."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from agent.coordinator.blobs.choice import open_directory
from agent.coordinator.blobs.directory import ArtifactDirectory
from agent.coordinator.blobs.store import BlobStore
from agent.coordinator.features.tus.growing_files import UploadDirectory
from agent.coordinator.features.tus.headers import Checksum, Segment
from agent.coordinator.features.tus.segments import SegmentedUploads
from agent.coordinator.features.tus.turns import Interrupted, UploadStore
from agent.core.errors import ChecksumMismatch, ConfigurationError, NotFound, PayloadTooLarge
from agent.settings import ArtifactSettings, Settings
from support.servers.s3 import S3Server, blobs_of

MAX = 24 * 2**20
DATA = os.urandom(20 * 2**20 + 1)
"""More than two pieces of a stream, and more than one checkpoint of an upload."""
ID = f"sha256:{hashlib.sha256(DATA).hexdigest()}"

Stores = tuple[BlobStore, UploadStore]


@pytest.fixture(params=["directory", "bucket"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Stores:
    if request.param == "directory":
        directory = ArtifactDirectory(tmp_path / "artifacts", max_size=MAX)
        directory.open()
        return directory, UploadDirectory(directory, silence_seconds=5)
    server: S3Server = request.getfixturevalue("s3")
    bucket = blobs_of(server.settings("a/prefix"), MAX)
    bucket.open()
    return bucket, SegmentedUploads(bucket, silence_seconds=5)


async def pieces(data: bytes, failing_at: int | None = None) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(data), 2**18):
        if failing_at is not None and start >= failing_at:
            raise Interrupted("the connection was lost")
        yield data[start : start + 2**18]


async def names(blobs: BlobStore) -> set[str]:
    return {found.name async for batch in blobs.listed() for found in batch}


async def content(blobs: BlobStore, name: str, start: int, length: int) -> bytes:
    return b"".join([piece async for piece in await blobs.read(name, start, length)])


def run(work: Callable[[BlobStore, UploadStore], Awaitable[None]], stores: Stores) -> None:
    async def main() -> None:
        try:
            await work(*stores)
        finally:
            await stores[0].close()

    asyncio.run(main())


def test_a_stream_is_stored_read_in_ranges_listed_and_removed(stores: Stores) -> None:
    async def work(blobs: BlobStore, _: UploadStore) -> None:
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

    run(work, stores)


def test_the_same_content_has_two_names(stores: Stores) -> None:
    """So the removal of one never removes the bytes of the other."""

    async def work(blobs: BlobStore, _: UploadStore) -> None:
        first, second = await blobs.store(pieces(b"same")), await blobs.store(pieces(b"same"))
        assert first.artifact_id == second.artifact_id
        assert first.name != second.name
        await blobs.remove([first.name])
        assert await content(blobs, second.name, 0, 4) == b"same"

    run(work, stores)


def test_a_stream_that_breaks_or_is_too_long_leaves_nothing(stores: Stores) -> None:
    async def work(blobs: BlobStore, _: UploadStore) -> None:
        with pytest.raises(Interrupted):
            await blobs.store(pieces(DATA, failing_at=12_000_000))
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

    run(work, stores)


class Row:
    """What the database would record of an upload."""

    def __init__(self) -> None:
        self.received = 0
        self.segments: list[Segment] = []
        self.sha256: str | None = None

    async def save(self, received: int, segments: Sequence[Segment], sha256: str | None) -> None:
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
            await append(uploads, row, pieces(DATA, failing_at=18_000_000))
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


def test_a_store_that_no_feature_opens_is_refused(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, artifacts=ArtifactSettings(url="s3://bucket"))
    with pytest.raises(ConfigurationError, match="s3://bucket"):
        open_directory(settings)
