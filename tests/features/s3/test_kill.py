"""`kill -9` of a coordinator whose files are in a bucket: nothing lost, and nothing half visible."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tusclient.client import TusClient

from aitbc import AITBCClient
from support.agents import COMMAND, Agent, running
from support.servers.ports import reserved_port
from support.servers.s3 import S3Server, blobs_of

pytestmark = pytest.mark.chaos

LIMIT_SECONDS = 180
DATA = os.urandom(48 * 2**20 + 17)
ARTIFACT = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
MANY = 40
"""Enough retries to outlast a restart on a busy machine."""


@pytest.fixture
def bucket(s3: S3Server) -> dict[str, Any]:
    return s3.settings("files", max_whole="1Ki")


@pytest.fixture
def coordinator(tmp_path: Path, bucket: dict[str, Any]) -> Iterator[Agent]:
    environment = {f"AITBC_ARTIFACTS__{name.upper()}": value for name, value in bucket.items()}
    # The same port after a kill, as in a real installation.
    with reserved_port() as port:
        coordinator = Agent(tmp_path / "coordinator", "coordinator", "--port", str(port), **environment)
        with running(coordinator):
            yield coordinator


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "film.mp4"
    file.write_bytes(DATA)
    return file


def assert_whole(coordinator: Agent, tmp_path: Path) -> None:
    """The artifact has its bytes, and nothing else is in the bucket but what an open upload needs."""
    with coordinator.client() as client:
        client.artifacts.download(ARTIFACT, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == DATA
    command = [COMMAND, "fsck", "--artifacts", "--json", "--data-dir", str(coordinator.data_dir)]
    environment = {**os.environ, **coordinator.environment, "AITBC_COORDINATOR__ORPHAN_SECONDS": "0.001"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["problems"] == []


def test_acknowledged_chunks_survive_a_kill(coordinator: Agent, file: Path, tmp_path: Path) -> None:
    """Chunks that are smaller than a part of a multipart upload may be."""
    headers = {"Authorization": f"Bearer {coordinator.file['client_key']}"}
    uploader = TusClient(f"{coordinator.url}/v1/uploads", headers=headers).uploader(
        str(file), chunk_size=3_000_000
    )
    uploader.upload(stop_at=21_000_000)
    coordinator.kill()
    coordinator.start()
    assert uploader.get_offset() == uploader.offset == 21_000_000
    uploader.upload()
    assert uploader.request.response_headers["upload-artifact-id"] == ARTIFACT
    assert_whole(coordinator, tmp_path)


def test_a_direct_upload_survives_a_kill(
    coordinator: Agent, file: Path, tmp_path: Path, s3: S3Server, bucket: dict[str, Any]
) -> None:
    """The client goes on sending to the bucket, and repeats its report."""
    with (
        AITBCClient(coordinator.file["client_key"], coordinator.url, retries=MANY) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        upload = pool.submit(client.artifacts.upload, file)
        until(lambda: any(each["size"] > 2**20 for each in s3.requests(bucket)))
        coordinator.kill()
        coordinator.start()
        assert upload.result(LIMIT_SECONDS).artifact_id == ARTIFACT
    assert_whole(coordinator, tmp_path)


def test_a_stream_that_a_kill_cuts_off_leaves_nothing_visible(
    coordinator: Agent, file: Path, tmp_path: Path, s3: S3Server, bucket: dict[str, Any]
) -> None:
    """The parts that the bucket has are removed by the sweep; the same file can be stored again."""
    host, port = "127.0.0.1", coordinator.port
    with socket.create_connection((host, port)) as connection:
        key = coordinator.file["client_key"]
        head = f"POST /v1/artifacts HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {key}\r\nContent-Length: {len(DATA)}\r\n\r\n"
        connection.sendall(head.encode() + DATA[: 40 * 2**20])
        until(lambda: any(each["size"] > 2**20 for each in s3.requests(bucket)))
        coordinator.kill()
    assert listed(bucket) == []
    coordinator.start()
    assert listed(bucket) == []
    assert swept(bucket) == 1
    with coordinator.client() as client:
        assert client.artifacts.upload(file).artifact_id == ARTIFACT
    assert_whole(coordinator, tmp_path)


def listed(bucket: dict[str, Any]) -> list[str]:
    async def names() -> list[str]:
        store = blobs_of(bucket)
        try:
            return [found.name async for batch in store.listed() for found in batch]
        finally:
            await store.close()

    return asyncio.run(names())


def swept(bucket: dict[str, Any]) -> int:
    async def sweep() -> int:
        store = blobs_of(bucket)
        try:
            return await store.sweep(time.time() + 60)
        finally:
            await store.close()

    return asyncio.run(sweep())


def until(condition: Any) -> None:
    end = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
