"""Resumable uploads that continue on another replica: two coordinators with one database and one store of files."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.coordinator.blobs.directory import ArtifactDirectory
from agent.coordinator.features.tus import growing_files
from agent.coordinator.features.tus.turns import TAKEN_OVER, Interrupted
from agent.coordinator.operations.files import removal
from support.server import Served, serve
from support.servers.s3 import S3Server

DATA = os.urandom(3 * 2**20 + 17)
ARTIFACT = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
TUS = {"Tus-Resumable": "1.0.0"}
PART = {**TUS, "Content-Type": "application/offset+octet-stream"}

Replicas = tuple[Served, Served]


RETRIED = (409, 423)


@pytest.fixture(params=["directory", "bucket"])
def replicas(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Replicas]:
    """Two coordinators. SQLite lets two processes share a file, if slowly; PostgreSQL is what replicas use."""
    if request.param == "directory":
        artifacts: dict[str, Any] = {"url": f"file://{tmp_path}/shared"}
    else:
        server: S3Server = request.getfixturevalue("s3")
        artifacts = server.settings("shared")
    with ExitStack() as running:
        first = running.enter_context(serve(tmp_path / "data", artifacts))
        yield first, running.enter_context(serve(tmp_path / "data", artifacts))


def client_of(served: Served, key: str) -> httpx.Client:
    return httpx.Client(base_url=served.url, headers={"X-API-Key": key}, timeout=120)


def begin(client: httpx.Client) -> str:
    path: str = client.post("/v1/uploads", headers={**TUS, "Upload-Length": str(len(DATA))}).headers[
        "location"
    ]
    return path


def half_sent(served: Served, key: str, path: str, sent: int) -> socket.socket:
    """Return a connection that has sent a part of the file and then stopped sending."""
    host, _, port = served.url.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)))
    lines = {**PART, "Host": host, "X-API-Key": key, "Upload-Offset": "0", "Content-Length": str(len(DATA))}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    connection.sendall(f"PATCH {path} HTTP/1.1\r\n{head}\r\n".encode() + DATA[:sent])
    return connection


def continued(client: httpx.Client, path: str) -> httpx.Response:
    """Send the rest. As SDKs do, ask again for the offset if it changes meanwhile: an earlier request may begin only now."""
    for _ in range(5):
        offset = int(client.head(path, headers=TUS).headers["upload-offset"])
        done = client.patch(path, content=DATA[offset:], headers={**PART, "Upload-Offset": str(offset)})
        if done.status_code not in RETRIED:
            break
    return done


def test_an_upload_continues_on_another_replica(replicas: Replicas) -> None:
    first, second = replicas
    here, there = client_of(first, first.client_key), client_of(second, first.client_key)
    path = begin(here)
    sent = here.patch(path, content=DATA[:1_000_000], headers={**PART, "Upload-Offset": "0"})
    assert sent.status_code == 204
    assert there.head(path, headers=TUS).headers["upload-offset"] == "1000000"
    rest = there.patch(path, content=DATA[1_000_000:], headers={**PART, "Upload-Offset": "1000000"})
    assert rest.headers["upload-artifact-id"] == ARTIFACT
    assert here.get(f"/v1/artifacts/{ARTIFACT}").content == DATA
    assert here.head(path, headers=TUS).headers["upload-artifact-id"] == ARTIFACT


def test_a_lost_connection_to_one_replica_ends_when_the_client_continues_on_the_other(
    replicas: Replicas,
) -> None:
    """What the first one still receives cannot change the file."""
    first, second = replicas
    here, there = client_of(first, first.client_key), client_of(second, first.client_key)
    path = begin(here)
    lost = half_sent(first, first.client_key, path, 2_000_000)
    done = continued(there, path)
    assert done.headers["upload-artifact-id"] == ARTIFACT
    lost.settimeout(20)
    lost.sendall(bytes(1000))
    answer = lost.recv(1000)
    assert not answer or b"409" in answer or b"404" in answer
    lost.close()
    assert there.get(f"/v1/artifacts/{ARTIFACT}").content == DATA


def test_a_request_whose_turn_was_taken_while_it_waited_for_the_file_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other replica has completed the upload meanwhile, so the file is an artifact."""

    async def append() -> None:
        waiting = asyncio.Event()
        try_lock = growing_files.try_lock
        monkeypatch.setattr(growing_files, "try_lock", lambda file: (waiting.set(), try_lock(file))[1])
        uploads = growing_files.UploadDirectory(ArtifactDirectory(tmp_path, max_size=100), silence_seconds=1)
        async with uploads.turn("upload") as file:
            with (tmp_path / "uploads/upload").open("wb") as other:
                fcntl.flock(other, fcntl.LOCK_EX)
                other.write(b"complete")
                other.flush()
                appending = asyncio.create_task(
                    file.append(_body(), _taken_over, start=4, limit=100, cover=_nothing)
                )
                await asyncio.wait_for(waiting.wait(), 60)
                (tmp_path / "uploads/upload").rename(tmp_path / "artifact")
            with pytest.raises(Interrupted):
                await appending

    asyncio.run(append())
    assert (tmp_path / "artifact").read_bytes() == b"complete"


async def _body() -> AsyncGenerator[bytes, None]:
    yield b"outdated"


async def _taken_over(*_: object) -> None:
    raise Interrupted(TAKEN_OVER)


async def _nothing(*_: object) -> None:
    """Reserve no space."""


def test_a_file_that_one_replica_deletes_can_be_stored_by_the_other(replicas: Replicas) -> None:
    first, second = replicas
    here, there = client_of(first, first.client_key), client_of(second, first.client_key)
    for _ in range(5):
        assert here.post("/v1/artifacts", content=DATA).status_code == 201
        assert there.delete(f"/v1/artifacts/{ARTIFACT}").status_code == 204
        assert there.get(f"/v1/artifacts/{ARTIFACT}").status_code == 404
    assert there.post("/v1/artifacts", content=DATA).status_code == 201
    first.do(removal.discard)
    assert here.get(f"/v1/artifacts/{ARTIFACT}").content == DATA
