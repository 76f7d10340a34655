"""Uploads with unmodified tus clients and with this project's client, through failing connections and killed processes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from tusclient.client import TusClient

from agent.coordinator.store.database import Connection
from aitbc import AITBCClient, AsyncAITBCClient
from support.server import Served
from support.servers.proxies import FailingProxy, failing

JAVASCRIPT = Path(__file__).parents[2] / "javascript"
DATA = os.urandom(12 * 2**20 + 17)
ARTIFACT = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
LIMIT_SECONDS = 180


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "film.mp4"
    file.write_bytes(DATA)
    return file


def assert_stored(client: httpx.Client, artifact_id: str | None) -> None:
    """Assert that the whole file is stored, with the media type that the client sent."""
    assert artifact_id == ARTIFACT
    answer = client.get(f"/v1/artifacts/{ARTIFACT}")
    assert (answer.content, answer.headers["content-type"]) == (DATA, "video/mp4")


def tuspy(url: str, key: str) -> TusClient:
    return TusClient(f"{url}/v1/uploads", headers={"Authorization": f"Bearer {key}"})


METADATA = {"filename": "film.mp4", "filetype": "video/mp4"}


def test_tuspy_resumes_after_a_broken_connection(served: Served, client: httpx.Client, file: Path) -> None:
    """Its only request breaks in the middle; it does not send the received bytes again."""
    with failing(served.url, 5_000_000) as proxy:
        uploader = tuspy(proxy.url, served.client_key).uploader(
            str(file), metadata=METADATA, retries=2, retry_delay=0
        )
        uploader.upload()
        assert proxy.failed.is_set()
    resumed_at = int(uploader.request._request_headers["upload-offset"])
    assert 1_000_000 < resumed_at < len(DATA)
    assert_stored(client, uploader.request.response_headers["upload-artifact-id"])


@pytest.mark.parametrize("checksum", [False, True])
def test_tuspy_uploads_in_chunks(served: Served, client: httpx.Client, file: Path, checksum: bool) -> None:
    """This holds with and without a checksum for each chunk."""
    uploader = tuspy(served.url, served.client_key).uploader(
        str(file), metadata=METADATA, chunk_size=1_000_000, upload_checksum=checksum
    )
    uploader.upload()
    assert_stored(client, uploader.request.response_headers["upload-artifact-id"])


KILLED = """
import sys
from tusclient.client import TusClient
from tusclient.storage.filestorage import FileStorage
url, key, file, storage = sys.argv[1:]
client = TusClient(url + "/v1/uploads", headers={"Authorization": "Bearer " + key})
uploader = client.uploader(file, metadata={"filename": "film.mp4", "filetype": "video/mp4"}, store_url=True, url_storage=FileStorage(storage))
print(uploader.offset, flush=True)
uploader.upload()
print(uploader.request.response_headers["upload-artifact-id"])
"""


def test_tuspy_resumes_in_another_process_after_it_was_killed(
    served: Served, client: httpx.Client, file: Path, tmp_path: Path
) -> None:
    """The connection has stalled, so the coordinator learns that the client ended only when the next one connects."""
    with failing(served.url, 5_000_000, stalls=True) as proxy:
        command = [
            sys.executable,
            "-c",
            KILLED,
            proxy.url,
            served.client_key,
            str(file),
            str(tmp_path / "urls"),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed:
            assert proxy.failed.wait(LIMIT_SECONDS)
            killed.kill()
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=True)
    offset, artifact_id = done.stdout.split()
    assert int(offset) > 1_000_000
    assert_stored(client, artifact_id)


def test_tus_js_client_resumes_after_a_broken_connection(
    served: Served, client: httpx.Client, file: Path
) -> None:
    with failing(served.url, 5_000_000) as proxy:
        done = subprocess.run(
            ["node", "upload.js", f"{proxy.url}/api/v1/uploads", str(file)],
            cwd=JAVASCRIPT,
            env={**os.environ, "AITBC_API_KEY": served.client_key},
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert proxy.failed.is_set()
    report = json.loads(done.stdout)
    assert report["retries"] >= 1
    assert_stored(client, report["artifact_id"])


def uploaded(
    proxy: FailingProxy, key: str, file: Path, calls: list[tuple[int, int | None]], kind: str
) -> str:
    """Upload with the blocking or the asyncio client and return the artifact's id."""

    def progress(sent: int, size: int | None) -> None:
        calls.append((sent, size))

    async def awaited() -> str:
        async with AsyncAITBCClient(key, proxy.url) as client:
            return (await client.artifacts.upload(file, progress=progress)).artifact_id

    if kind == "awaited":
        return asyncio.run(awaited())
    with AITBCClient(key, proxy.url) as client:
        return client.artifacts.upload(file, progress=progress).artifact_id


@pytest.mark.parametrize("kind", ["blocking", "awaited"])
def test_our_client_resumes_after_a_broken_connection(
    served: Served, client: httpx.Client, file: Path, kind: str
) -> None:
    """It resumes after the received bytes and reports its progress."""
    calls: list[tuple[int, int | None]] = []
    with failing(served.url, 5_000_000) as proxy:
        artifact_id = uploaded(proxy, served.client_key, file, calls, kind)
        assert proxy.failed.is_set()
    assert_stored(client, artifact_id)
    assert calls[-1] == (len(DATA), len(DATA))
    sent = [position for position, _ in calls]
    restarts = [after for before, after in pairwise(sent) if after < before]
    assert all(position > 1_000_000 for position in restarts)


def test_our_client_sends_large_files_in_parts(
    served: Served, client: httpx.Client, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aitbc._calls.artifacts.PART", 5_000_000)
    with AITBCClient(served.client_key, served.url) as ours:
        assert_stored(client, ours.artifacts.upload(file).artifact_id)


def test_our_client_sends_small_files_in_one_request(served: Served) -> None:
    """The coordinator creates no upload for them."""
    with AITBCClient(served.client_key, served.url) as ours:
        calls: list[tuple[int, int | None]] = []
        ours.artifacts.upload(DATA[:1_000_000], progress=lambda *call: calls.append(call))
    assert calls[-1] == (1_000_000, 1_000_000)
    directory = served.context.files.blobs.root / "uploads"
    assert served.do(lambda context: context.database.read(count_uploads)) == 0
    assert list(directory.iterdir()) == []


def count_uploads(connection: Connection) -> int:
    return int(connection.exec_driver_sql("SELECT count(*) FROM uploads").scalar_one())
