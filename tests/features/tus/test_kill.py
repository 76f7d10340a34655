"""`kill -9` of the coordinator during an upload."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from tusclient.client import TusClient

from aitbc import AITBCClient
from support.agents import Agent, running
from support.servers.ports import reserved_port
from support.servers.proxies import failing

pytestmark = pytest.mark.chaos

LIMIT_SECONDS = 180
DATA = os.urandom(48 * 2**20 + 17)
ARTIFACT = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
CHECKPOINT = 16 * 2**20
MANY = 40
"""Enough retries to outlast a restart on a busy machine."""


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[Agent]:
    # The same port after a kill, as in a real installation.
    with reserved_port() as port:
        coordinator = Agent(tmp_path / "coordinator", "coordinator", "--port", str(port))
        with running(coordinator):
            yield coordinator


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "film.mp4"
    file.write_bytes(DATA)
    return file


def recorded(coordinator: Agent) -> int:
    """Return the number of bytes of the only upload that the coordinator has recorded."""
    path = coordinator.data_dir / "coordinator" / "coordinator.db"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        (received,) = database.execute("SELECT received FROM uploads").fetchone()
    return int(received)


def assert_stored(coordinator: Agent) -> None:
    with coordinator.client() as client:
        assert client.artifacts.get(ARTIFACT) == DATA


def test_one_upload_call_survives_a_restart_of_the_coordinator(coordinator: Agent, file: Path) -> None:
    """It resumes from the bytes on disk, although none were acknowledged."""
    sent: list[int] = []
    with (
        failing(coordinator.url, 24 * 2**20, stalls=True) as proxy,
        AITBCClient(coordinator.file["client_key"], proxy.url, retries=MANY) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        upload = pool.submit(
            client.artifacts.upload, file, progress=lambda position, _: sent.append(position)
        )
        assert proxy.failed.wait(LIMIT_SECONDS)
        while recorded(coordinator) < CHECKPOINT:
            pass
        coordinator.kill()
        coordinator.start()
        assert upload.result(LIMIT_SECONDS).artifact_id == ARTIFACT
    (resumed_at,) = [after for before, after in pairwise(sent) if after < before]
    assert resumed_at > CHECKPOINT
    assert_stored(coordinator)


def test_acknowledged_chunks_survive_a_kill(coordinator: Agent, file: Path) -> None:
    """The client tuspy sends each chunk after the response to the previous one, and resumes with the next."""
    client = TusClient(
        f"{coordinator.url}/v1/uploads", headers={"Authorization": f"Bearer {coordinator.file['client_key']}"}
    )
    uploader = client.uploader(str(file), chunk_size=5_000_000)
    uploader.upload(stop_at=20_000_000)
    coordinator.kill()
    coordinator.start()
    assert uploader.get_offset() == uploader.offset == 20_000_000
    uploader.upload()
    assert uploader.request.response_headers["upload-artifact-id"] == ARTIFACT
    assert_stored(coordinator)
