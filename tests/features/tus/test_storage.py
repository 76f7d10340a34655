"""Interrupted and expired uploads, and the files that crashes leave behind."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import os
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.coordinator.features.tus import uploads
from agent.coordinator.features.tus.store import UploadRecord
from agent.coordinator.features.tus.turns import Interrupted, UploadStore
from agent.coordinator.features.tus.uploads import Part
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.files import removal
from agent.core.errors import ApiError, Conflict, ServiceUnavailable
from aitbc.answers.accounts import Role
from support.server import Served, serve

DATA = os.urandom(3 * 2**20 + 17)
ARTIFACT = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
TUS = {"Tus-Resumable": "1.0.0"}
PART = {**TUS, "Content-Type": "application/offset+octet-stream"}
DAY = 86_400


def begin(client: httpx.Client, length: int = len(DATA)) -> str:
    path: str = client.post("/v1/uploads", headers={**TUS, "Upload-Length": str(length)}).headers["location"]
    return path


def offset_of(client: httpx.Client, path: str) -> int:
    return int(client.head(path, headers=TUS).headers["upload-offset"])


def send(client: httpx.Client, path: str, offset: int, data: bytes) -> httpx.Response:
    return client.patch(path, content=data, headers={**PART, "Upload-Offset": str(offset)})


def half_sent(served: Served, path: str, sent: int, offset: int = 0, **headers: str) -> socket.socket:
    """Return a connection that has sent a part of the file and then stopped sending."""
    host, _, port = served.url.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)))
    lines = {
        **PART, **headers, "Host": host, "X-API-Key": served.client_key, "Upload-Offset": str(offset),
        "Content-Length": str(len(DATA) - offset),
    }  # fmt: skip
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    connection.sendall(f"PATCH {path} HTTP/1.1\r\n{head}\r\n".encode() + DATA[offset : offset + sent])
    return connection


def wait_until_written(served: Served, least: int) -> None:
    """Wait until the only unfinished upload has at least so many bytes on disk."""
    directory = served.context.files.blobs.root / "uploads"
    while sum(file.stat().st_size for file in directory.iterdir()) < least:
        pass


def later(served: Served, seconds: float) -> Context:
    """Return the same coordinator's context with its clock set forward."""
    return dataclasses.replace(served.context, clock=lambda: served.context.clock() + seconds)


def test_bytes_received_before_a_connection_breaks_are_retained(served: Served, client: httpx.Client) -> None:
    """HEAD waits until they are counted, so that the client resumes at the right offset immediately."""
    path = begin(client)
    with half_sent(served, path, 2_000_000):
        wait_until_written(served, 1_000_000)
    # HEAD may come before all bytes are read; the others are lost with the connection.
    offset = offset_of(client, path)
    assert 1_000_000 <= offset <= 2_000_000
    assert send(client, path, offset, DATA[offset:]).headers["upload-artifact-id"] == ARTIFACT


def test_a_returning_client_takes_over_from_a_lost_connection(served: Served, client: httpx.Client) -> None:
    """The server does not notice many lost connections; a request for the offset ends them without delay."""
    path = begin(client)
    with half_sent(served, path, 2_000_000) as lost:
        wait_until_written(served, 1_000_000)
        offset = offset_of(client, path)  # the bytes written so far; others may still be in transit
        assert 1_000_000 <= offset <= 2_000_000
        assert send(client, path, offset, DATA[offset:]).status_code == 204
        assert b"409 Conflict" in lost.recv(1000).splitlines()[0]
    assert client.get(f"/v1/artifacts/{ARTIFACT}").content == DATA


def test_reading_an_upload_does_not_interrupt_it(served: Served, client: httpx.Client) -> None:
    """Neither the owner's GET nor another account's attempt ends the request that sends the bytes."""
    path = begin(client)
    with half_sent(served, path, 2_000_000) as sending:
        wait_until_written(served, 1_000_000)
        assert client.get(path).json()["offset"] == 0
        with httpx.Client(base_url=served.url, headers={"X-API-Key": served.other_key}) as other:
            assert other.head(path, headers=TUS).status_code == 404
            assert send(other, path, 0, DATA).status_code == 404
        sending.sendall(DATA[2_000_000:])
        assert b"204 No Content" in sending.recv(1000).splitlines()[0]
    assert client.get(path).json()["artifact_id"] == ARTIFACT


def test_a_part_with_a_checksum_is_stored_only_as_a_whole(served: Served, client: httpx.Client) -> None:
    path = begin(client)
    checksum = "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk="
    with half_sent(served, path, 2_000_000, **{"Upload-Checksum": checksum}):
        wait_until_written(served, 1_000_000)
    assert offset_of(client, path) == 0
    assert send(client, path, 0, DATA).headers["upload-artifact-id"] == ARTIFACT


def test_a_silent_request_is_ended_and_its_bytes_are_retained(tmp_path: Path) -> None:
    with serve(tmp_path / "data", upload_silence_seconds=0.2) as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
        path = begin(client)
        with half_sent(served, path, 2_000_000) as silent:
            assert b"409 Conflict" in silent.recv(1000).splitlines()[0]
            assert client.get(path).json()["offset"] == 2_000_000
        client.close()


def test_many_writers_at_once_make_one_file(served: Served, client: httpx.Client) -> None:
    """Of requests that send the same part at once, each completes, is refused or is superseded; their bytes never mix."""
    path = begin(client)
    upload_id = path.rpartition("/")[2]
    account = served.do(lambda context: context.database.read(owner_of, upload_id))
    caller = Caller(Role.CLIENT, account)

    async def pieces() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(DATA), 100_000):
            await asyncio.sleep(0)
            yield DATA[start : start + 100_000]

    async def attempt(context: Context) -> UploadRecord | ApiError:
        try:
            return await uploads.append(context, caller, upload_id, 0, Part(pieces(), None, None))
        except ApiError as error:
            return error

    async def all_at_once(context: Context) -> list[UploadRecord | ApiError]:
        return await asyncio.gather(*(attempt(context) for _ in range(20)))

    outcomes = served.do(all_at_once)
    assert {type(outcome) for outcome in outcomes} <= {UploadRecord, Conflict, Interrupted}
    offset = offset_of(client, path)
    send(client, path, offset, DATA[offset:])
    assert client.get(f"/v1/artifacts/{ARTIFACT}").content == DATA


def owner_of(connection: Any, upload_id: str) -> str:
    found = uploads.store.find(connection, upload_id)
    assert found is not None
    return found.account_id


def test_an_upload_resumes_after_a_restart(tmp_path: Path) -> None:
    """Unacknowledged bytes are dropped, and the hash is computed again from the acknowledged ones."""
    with serve(tmp_path / "data") as served, as_client(served) as client:
        path, key = begin(client), served.client_key
        send(client, path, 0, DATA[:1_500_000])
    (file,) = (tmp_path / "data/coordinator/artifacts/uploads").iterdir()
    with file.open("ab") as torn:
        torn.write(bytes(len(DATA)))
    with serve(tmp_path / "data") as served, as_client(served, key) as client:
        assert offset_of(client, path) == 1_500_000
        assert send(client, path, 1_500_000, DATA[1_500_000:]).headers["upload-artifact-id"] == ARTIFACT
        assert client.get(f"/v1/artifacts/{ARTIFACT}").content == DATA


def as_client(served: Served, key: str | None = None) -> httpx.Client:
    return httpx.Client(base_url=served.url, headers={"X-API-Key": key or served.client_key}, timeout=120)


@pytest.mark.parametrize("moved", [False, True])
def test_head_finishes_an_upload_after_a_crash(
    served: Served, client: httpx.Client, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    """All bytes are received; the crash comes before or after their file is moved to its final path."""
    path = begin(client)

    def crash(*_: Any, **__: Any) -> None:
        raise ServiceUnavailable("crashed")

    with monkeypatch.context() as patched:
        if moved:
            patched.setattr(uploads, "_finish", crash)
        else:
            patched.setattr(served.context.files.blobs, "_publish", crash)
        assert send(client, path, 0, DATA).status_code == 503
    assert client.get(path).json()["artifact_id"] is None
    assert client.head(path, headers=TUS).headers["upload-artifact-id"] == ARTIFACT
    assert client.get(f"/v1/artifacts/{ARTIFACT}").content == DATA


def test_an_upload_whose_file_is_lost_is_not_found(served: Served, client: httpx.Client) -> None:
    path = begin(client)
    send(client, path, 0, DATA[:1000])
    served.do(lambda context: context.part(UploadStore).remove(path.rpartition("/")[2]))
    assert send(client, path, 1000, DATA[1000:]).status_code == 404
    assert client.head(path, headers=TUS).status_code == 404


def test_uploads_expire_a_day_after_their_last_byte(served: Served, client: httpx.Client) -> None:
    """Their files are removed; the artifacts of finished uploads remain."""
    path, done, young = begin(client), begin(client, 3), begin(client)
    send(client, path, 0, DATA[:1000])
    send(client, done, 0, b"abc")
    artifact_id = client.get(done).json()["artifact_id"]

    async def tomorrow(context: Context) -> None:
        upload_id = young.rpartition("/")[2]
        await context.database.write(uploads.store.save, upload_id, 0, 0, None, context.clock() + 2 * DAY)
        await uploads.expire_due(later(served, DAY + 1))

    served.do(tomorrow)
    assert [client.get(each).status_code for each in (path, done, young)] == [404, 404, 200]
    assert list((served.context.files.blobs.root / "uploads").iterdir()) == []
    assert client.get(f"/v1/artifacts/{artifact_id}").content == b"abc"


def test_old_unreferenced_files_are_removed(served: Served, client: httpx.Client) -> None:
    """Referenced files remain at any age, and so do young files, whose rows may not be written yet."""
    referenced = client.post("/v1/artifacts", content=DATA).json()["artifact_id"]
    path = begin(client)
    send(client, path, 0, DATA[:1000])
    directory = served.context.files.blobs.root
    orphan, young = store_without_row(served, b"orphan"), store_without_row(served, b"young")
    (directory / "uploads" / "upload_lost").write_bytes(b"part")
    for file in directory.rglob("*"):
        if file.is_file() and file != served.context.files.blobs.path(young):
            os.utime(file, (0, served.context.clock() - DAY - 10))
    assert served.do(removal.remove_orphans) == 1
    assert served.do(uploads.remove_orphans) == 1
    assert not (directory / "uploads" / "upload_lost").exists()
    assert not served.context.files.blobs.path(orphan).exists()
    assert served.context.files.blobs.path(young).exists()
    assert client.get(f"/v1/artifacts/{referenced}").content == DATA
    assert offset_of(client, path) == 1000


def test_no_file_is_removed_while_the_database_lists_none(served: Served) -> None:
    """The database may have been moved away, and its backup not restored yet."""
    blob = store_without_row(served, b"listed in the missing database")
    os.utime(served.context.files.blobs.path(blob), (0, 0))
    assert served.do(removal.remove_orphans) == 0
    assert served.context.files.blobs.path(blob).exists()


def store_without_row(served: Served, content: bytes) -> str:
    """Store a blob without a row, as a crash leaves it, and return its name."""

    async def one() -> AsyncGenerator[bytes, None]:
        yield content

    async def store(context: Context) -> str:
        return (await context.files.blobs.store(one())).name

    return served.do(store)


def test_an_orphan_that_is_stored_again_leaves_the_new_bytes(served: Served, client: httpx.Client) -> None:
    """They have another name than the orphan."""
    orphan = store_without_row(served, DATA)
    os.utime(served.context.files.blobs.path(orphan), (0, 0))
    artifact_id = client.post("/v1/artifacts", content=DATA).json()["artifact_id"]
    assert served.do(removal.remove_orphans) == 1
    assert client.get(f"/v1/artifacts/{artifact_id}").content == DATA
