"""The Python client and the miner exchange files with a bucket past the coordinator, and through it if that fails."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest

from agent.coordinator.features.s3 import direct
from agent.miner.link import direct as miners_transfers
from agent.miner.link.direct import DirectTransfers
from agent.miner.link.http import HttpLink
from agent.miner.runs.inputs import fetch
from agent.miner.settings import InputSettings
from agent.network import Network
from aitbc import AITBCClient, AsyncAITBCClient
from support.clients.scripted_miner import ScriptedMiner
from support.server import Served, serve
from support.servers.s3 import S3Server

pytestmark = pytest.mark.system

JAVASCRIPT = Path(__file__).parents[2] / "javascript"
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
    settings = {**bucket, "max_whole": max_whole}
    with (
        serve(tmp_path / "data", settings) as served,
        AITBCClient(served.client_key, served.url) as client,
    ):
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


def test_a_jobs_file_bypasses_the_coordinator(
    served: Served, tmp_path: Path, s3: S3Server, bucket: dict[str, Any]
) -> None:
    """The job names the stored file then. A small file goes through the coordinator."""
    body = {
        "type": "ai-inference",
        "model": {"type": "python", "entrypoint": "model.py"},
        "input": {"type": "image"},
    }
    file = tmp_path / "input.bin"
    file.write_bytes(DATA)
    with AITBCClient(served.client_key, served.url) as client:
        job = client.jobs.create(body, files={"model.py": b"def predict(input): return 1", "input.bin": file})
        details = client.jobs.get(job.job_id)
        assert "missing_files" not in details
    assert senders(s3, bucket, "PUT") == {"aitbc-python"}


def through_javascript(served: Served, tmp_path: Path) -> dict[str, Any]:
    """Upload and download the file with the JavaScript client."""
    file, copy = tmp_path / "film.mp4", tmp_path / "javascript.mp4"
    file.write_bytes(DATA)
    environment = {**os.environ, "AITBC_BASE_URL": served.url, "AITBC_API_KEY": served.client_key}
    command = ["node", str(JAVASCRIPT / "direct.js"), str(file), str(copy)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert copy.read_bytes() == DATA
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_javascript_client_bypasses_the_coordinator(
    served: Served, tmp_path: Path, s3: S3Server, bucket: dict[str, Any]
) -> None:
    """In parts, whose progress it reports."""
    done = through_javascript(served, tmp_path)
    assert (done["size"], done["mediaType"]) == (len(DATA), "video/mp4")
    assert done["progress"] == [direct.PART_SIZE, len(DATA)]
    assert senders(s3, bucket, "PUT") == {"aitbc-javascript"} or senders(s3, bucket, "PUT") == {"node"}
    assert "aitbc-javascript" in senders(s3, bucket, "GET") or "node" in senders(s3, bucket, "GET")


def test_a_store_that_only_the_coordinator_reaches_costs_nothing_but_time(
    served: Served, tmp_path: Path, s3: S3Server, bucket: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file goes through the coordinator instead."""
    transfers = served.context.files.blobs.direct
    assert transfers is not None
    for name in ("upload_whole", "upload_part", "download"):
        original = getattr(transfers, name)

        def unreachable(*values: Any, original: Any = original) -> Any:
            request = original(*values)
            if isinstance(request, str):  # the URL of a download
                return request.replace(s3.url, "http://127.0.0.1:9")
            return replace(request, url=request.url.replace(s3.url, "http://127.0.0.1:9"))

        monkeypatch.setattr(transfers, name, unreachable)
    with AITBCClient(served.client_key, served.url, retries=1) as client:
        artifact = client.artifacts.upload(DATA)
        client.artifacts.download(artifact.artifact_id, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == DATA
    through_javascript(served, tmp_path)
    assert "aitbc-python" not in senders(s3, bucket, "PUT") | senders(s3, bucket, "GET")


def test_the_miner_bypasses_the_coordinator(
    served: Served, tmp_path: Path, s3: S3Server, bucket: dict[str, Any]
) -> None:
    """With its inputs and with its outputs, of which small ones go through the coordinator."""
    miner = ScriptedMiner(served.url)
    assert miner.register().status_code == 200
    with AITBCClient(served.client_key, served.url) as client:
        audio = f"artifact:{client.artifacts.upload(DATA).artifact_id}"
        job_id = client.services.transcribe(audio).job_id
    (lease,) = miner.poll()
    output = tmp_path / "frame.png"
    output.write_bytes(DATA[::-1])
    before = len(s3.requests(bucket))

    async def work() -> tuple[int, Any]:
        link = HttpLink(served.url)
        link.token = miner.http.headers["Authorization"].removeprefix("Bearer ")
        try:
            (reference,) = references_of(lease)
            fetched = await fetch(
                reference, tmp_path / "input", artifacts=link.open_artifact, limits=InputSettings()
            )
            assert fetched.path.read_bytes() == DATA
            digest = f"sha256:{hashlib.sha256(DATA[::-1]).hexdigest()}"
            return await link.upload(
                output, "image/png", len(DATA), artifact_id=digest, lease=(job_id, lease["fence"])
            )
        finally:
            await link.close()

    status, body = asyncio.run(work())
    assert (status, body["size"], body["media_type"]) == (201, len(DATA), "image/png")
    large = [
        each for each in s3.requests(bucket)[before:] if each["method"] == "GET" or each["size"] > 10_000
    ]
    assert {each["agent"] for each in large} == {"aitbc-agent"}


def references_of(lease: dict[str, Any]) -> list[str]:
    return re.findall(r"artifact:sha256:[0-9a-f]{64}", json.dumps(lease))[:1]


def test_a_coordinator_on_the_internet_cannot_send_the_miner_into_its_owners_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file goes through the coordinator then."""
    monkeypatch.setattr(miners_transfers, "_TRIES", 1)
    posted: list[str] = []

    async def post(path: str, body: Any) -> tuple[int, Any]:
        posted.append(path)
        part = {
            "number": 1,
            "offset": 0,
            "size": len(DATA),
            "method": "PUT",
            "url": "http://127.0.0.1:9/x",
            "headers": {},
        }
        return 201, {"upload_id": "upload_1", "parts": [part], "missing": 1, "artifact": None}

    async def resolve(host: str, port: int) -> list[str]:
        return ["93.184.216.34"] if host != "inside.example" else ["10.0.0.1"]

    class Refusing(httpcore.AsyncNetworkBackend):
        async def connect_tcp(self, host: str, *_: Any, **__: Any) -> Any:
            raise AssertionError(f"connected to {host}")

    network = Network(resolve=resolve, backend=Refusing(), tls=httpx.create_ssl_context())
    file = tmp_path / "output"
    file.write_bytes(DATA)

    async def work() -> None:
        transfers = DirectTransfers("https://coordinator.example", post, network)
        assert await transfers.upload(file, "a/b", len(DATA), "sha256:" + "0" * 64, ("job_1", 1)) is None

    asyncio.run(work())
    assert posted[:2] == ["/v1/direct-uploads", "/v1/direct-uploads"]
