"""Stores of blobs, as tests of the contract and of resumable uploads use them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from agent.coordinator.blobs.directory import ArtifactDirectory
from agent.coordinator.blobs.store import BlobStore
from support.servers.s3 import S3Server, blobs_of


def open_store(request: pytest.FixtureRequest, directory: Path, max_size: int) -> BlobStore:
    """Return the store of the test's parameter: a directory, or a bucket of a real S3 server."""
    store: BlobStore
    if request.param == "directory":
        store = ArtifactDirectory(directory / "artifacts", max_size=max_size)
    else:
        server: S3Server = request.getfixturevalue("s3")
        store = blobs_of(server.settings("a/prefix"), max_size)
    store.open()
    return store


async def pieces(data: bytes) -> AsyncGenerator[bytes, None]:
    """Yield the bytes as a stream."""
    for start in range(0, len(data), 2**18):
        yield data[start : start + 2**18]


async def names(blobs: BlobStore) -> set[str]:
    """Return the names of all blobs."""
    return {blob.name async for batch in blobs.listed() for blob in batch}


async def content(blobs: BlobStore, name: str, start: int, length: int) -> bytes:
    """Return a range of a blob."""
    return b"".join([piece async for piece in await blobs.read(name, start, length)])
