"""The Python client and the miner exchange files with a bucket past the coordinator, and through it if that fails."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.coordinator.operations.files import direct
from aitbc import AITBCClient, AsyncAITBCClient
from support.s3 import S3Server
from support.server import Served, serve

DATA = os.urandom(direct.PART_SIZE + 3_000_000)


@pytest.fixture
def bucket(s3: S3Server) -> dict[str, Any]:
    return s3.settings("files")


@pytest.fixture
def served(tmp_path: Path, bucket: dict[str, Any]) -> Iterator[Served]:
    with serve(tmp_path / "data", bucket, open_enrolment=True) as served:
        yield served


def senders(s3: S3Server, bucket: dict[str, Any], method: str) -> set[str]:
    """Return the programs whose requests of this method were answered, but for the coordinator's small ones."""
    return {
        each["agent"].partition("/")[0]
        for each in s3.requests(bucket)
        if each["method"] == method and each["fault"] is None and (method == "GET" or each["size"] > 10_000)
    } - {"python-httpx"}


@pytest.mark.parametrize("max_whole", ["5Gi", "1Ki"], ids=["whole", "in parts"])
def test_the_python_client_bypasses_the_coordinator(
    tmp_path: Path, s3: S3Server, bucket: dict[str, Any], max_whole: str
) -> None:
    file, sent = tmp_path / "film.mp4", []
    file.write_bytes(DATA)
    with serve(tmp_path / "data", {**bucket, "max_whole": max_whole}) as served:
        with AITBCClient(served.client_key, served.url) as client:
            artifact = client.artifacts.upload(file, progress=lambda done, _: sent.append(done))
            assert (artifact.size, artifact.media_type) == (len(DATA), "video/mp4")
            assert (sent == sorted(sent), sent[-1]) == (True, len(DATA))
            assert senders(s3, bucket, "PUT") == {"aitbc-python"}
            client.artifacts.download(artifact.artifact_id, tmp_path / "copy.mp4")
            assert (tmp_path / "copy.mp4").read_bytes() == DATA
            assert "aitbc-python" in senders(s3, bucket, "GET")


def test_the_asyncio_client_bypasses_the_coordinator(
    served: Served, tmp_path: Path, s3: S3Server, bucket: dict[str, Any]
) -> None:
    async def work() -> None:
        async with AsyncAITBCClient(served.client_key, served.url) as client:
            artifact = await client.artifacts.upload(DATA)
            await client.artifacts.download(artifact.artifact_id, tmp_path / "copy")

    asyncio.run(work())
    assert (tmp_path / "copy").read_bytes() == DATA
    assert senders(s3, bucket, "PUT") == {"aitbc-python"}


def test_a_store_that_only_the_coordinator_reaches_costs_nothing_but_time(
    served: Served, tmp_path: Path, s3: S3Server, bucket: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file goes through the coordinator instead."""
    transfers = served.context.artifacts.direct
    assert transfers is not None
    for name in ("upload_whole", "upload_part", "download"):
        original = getattr(transfers, name)

        def unreachable(*values: Any, original: Any = original) -> Any:
            request = original(*values)
            return type(request)(
                request.method, request.url.replace(s3.url, "http://127.0.0.1:9"), request.headers
            )

        monkeypatch.setattr(transfers, name, unreachable)
    with AITBCClient(served.client_key, served.url, retries=1) as client:
        artifact = client.artifacts.upload(DATA)
        client.artifacts.download(artifact.artifact_id, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == DATA
    assert "aitbc-python" not in senders(s3, bucket, "PUT") | senders(s3, bucket, "GET")
