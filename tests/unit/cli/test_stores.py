"""What is checked of a bucket at the start and by `doctor`, and what `fsck` finds in both kinds of stores."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, update

from agent.coordinator.app import build_context
from agent.coordinator.operations.context import Context
from agent.coordinator.store.artifacts import blob_of
from agent.coordinator.store.schema.tables import artifacts
from agent.core.errors import ConfigurationError
from agent.settings import Settings
from support.server import serve
from support.servers.s3 import ACCESS_KEY, SECRET_KEY, S3Server, blobs_of

Run = Callable[..., Any]


def started(tmp_path: Path, artifacts: dict[str, Any]) -> str:
    """Return why the coordinator does not start."""
    with pytest.raises(ConfigurationError) as caught:
        build_context(Settings(data_dir=tmp_path, artifacts=artifacts))
    return str(caught.value)


def test_a_bucket_that_cannot_be_used_is_explained_at_the_start(
    tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.settings()
    assert "does not exist. Create it" in started(tmp_path, {**bucket, "url": "s3://no-such-bucket"})
    assert "does not answer. Check `artifacts.endpoint`" in started(
        tmp_path, {**bucket, "endpoint": "http://127.0.0.1:9"}
    )
    with monkeypatch.context() as patched:
        patched.setenv("AWS_SECRET_ACCESS_KEY", "another")
        assert "the secret key does not belong to the access key" in started(tmp_path, bucket)
        patched.setenv("AWS_ACCESS_KEY_ID", "nobody")
        assert "it is unknown or has expired" in started(tmp_path, bucket)
        patched.delenv("AWS_ACCESS_KEY_ID")
        assert "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in started(tmp_path, bucket)
        patched.setattr(time, "time", lambda: time.time_ns() / 1e9 + 3600)
        patched.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        patched.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        assert "its clock and this machine's differ" in started(tmp_path, bucket)


def test_the_access_key_is_read_from_a_file_and_again_when_it_changes(
    tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    file = tmp_path / "credentials"
    bucket = {**s3.settings(), "credentials": str(file)}
    assert "cannot be read" in started(tmp_path, bucket)
    file.write_text("nonsense")
    assert "is not a file of access keys" in started(tmp_path, bucket)
    file.write_text(f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n")
    with serve(tmp_path / "data", bucket) as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
        assert client.post("/v1/artifacts", content=b"x").status_code == 201
        file.write_text("[default]\naws_access_key_id = revoked\naws_secret_access_key = revoked\n")
        assert client.post("/v1/artifacts", content=b"y").status_code == 503


@pytest.mark.parametrize("kind", ["directory", "bucket"])
def test_fsck_finds_orphans_both_ways(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes without a row, and a row without bytes. The doctor checks the same store."""
    artifacts = {} if kind == "directory" else request.getfixturevalue("s3").settings("prefix")
    for name, value in {
        **{f"ARTIFACTS__{key}": value for key, value in artifacts.items()},
        **ALWAYS_OLD,
    }.items():
        monkeypatch.setenv(f"AITBC_{name.upper()}", value)
    data = tmp_path / "data"
    with serve(data, artifacts) as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key})
        stored = [client.post("/v1/artifacts", content=os.urandom(1000)).json() for _ in range(3)]
        assert examined(run, data) == (0, [], 3)
        orphan = served.do(lambda context: disturb(context, stored[0]["artifact_id"]))
    code, problems, count = examined(run, data)
    assert (code, count) == (3, 3)
    assert problems == [("artifact", stored[0]["artifact_id"]), ("orphan", orphan)]


ALWAYS_OLD = {"coordinator__orphan_seconds": "0.001"}


def examined(run: Run, data: Path) -> tuple[int, list[tuple[str, str]], int]:
    """Return the exit code of fsck, the problems and the number of artifacts."""
    done = run("fsck", "--artifacts", "--json", "--data-dir", data)
    answer = json.loads(done.out)
    return done.code, [(each["kind"], each["where"]) for each in answer["problems"]], answer["artifacts"]


async def disturb(context: Context, artifact_id: str) -> str:
    """Remove the bytes of an artifact, and store others without a row. Return their name."""
    name = await context.database.read(blob_of, artifact_id)
    assert name is not None
    await context.files.blobs.remove([name])

    async def orphan() -> AsyncIterator[bytes]:
        yield b"orphan"

    return (await context.files.blobs.store(orphan())).name


@pytest.mark.ship
def test_the_doctor_explains_a_store_that_cannot_be_used(
    s3: S3Server, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AITBC_ARTIFACTS__ENDPOINT", s3.url)
    monkeypatch.setenv("AITBC_ARTIFACTS__URL", s3.settings()["url"])
    good = json.loads(run("doctor", "--json", "--data-dir", tmp_path).out)
    assert [each["severity"] for each in good if each["id"] == "artifacts"] == ["ok"]
    monkeypatch.setenv("AITBC_ARTIFACTS__URL", "s3://no-such-bucket")
    bad = json.loads(run("doctor", "--json", "--data-dir", tmp_path).out)
    (fault,) = [each for each in bad if each["id"] == "artifacts_unusable"]
    assert "does not exist. Create it" in fault["message"]


def test_a_directory_that_was_copied_to_a_bucket_continues_there(
    s3: S3Server, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with artifacts of earlier versions, whose files are named after the digest alone."""
    data = tmp_path / "data"
    with serve(data) as served:
        key = served.client_key
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": key})
        old, new = (
            client.post("/v1/artifacts", content=content).json()["artifact_id"]
            for content in (b"old", b"new")
        )
        served.do(lambda context: context.database.write(as_before, old))
    root = data / "coordinator/artifacts"
    (path,) = root.glob(f"{old[7:9]}/{old[9:]}.*")
    path.rename(path.with_name(old[9:]))
    bucket = s3.settings("moved")

    async def copy() -> None:
        store = blobs_of(bucket)
        for file in root.glob("[0-9a-f][0-9a-f]/*"):
            await store.put(f"{file.parent.name}/{file.name}", file.read_bytes())
        await store.close()

    asyncio.run(copy())
    for name, value in bucket.items():
        monkeypatch.setenv(f"AITBC_ARTIFACTS__{name.upper()}", value)
    assert examined(run, data) == (0, [], 2)
    with serve(data, bucket) as served:
        client = httpx.Client(base_url=served.url, headers={"X-API-Key": key})
        assert [client.get(f"/v1/artifacts/{each}").content for each in (old, new)] == [b"old", b"new"]
        assert client.delete(f"/v1/artifacts/{old}").status_code == 204
    assert examined(run, data) == (0, [], 1)


def as_before(connection: Connection, artifact_id: str) -> None:
    connection.execute(update(artifacts).where(artifacts.c.artifact_id == artifact_id).values(blob=None))
