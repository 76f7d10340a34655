"""Fixtures with a running coordinator, for the `conftest.py` of each folder whose tests need one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.clients.scripted_miner import ScriptedMiner
from support.server import Served, serve
from support.servers.databases import ENGINE


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Run a coordinator with open enrolment."""
    with serve(tmp_path / "data", open_enrolment=True) as served:
        yield served


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    """An HTTP client with a client's key."""
    headers = {"Authorization": f"Bearer {served.client_key}"}
    with httpx.Client(base_url=served.url, headers=headers, timeout=120) as client:
        yield client


@pytest.fixture
def admin(served: Served) -> Iterator[httpx.Client]:
    """An HTTP client with an administrator's key."""
    headers = {"Authorization": f"Bearer {served.admin_key}"}
    with httpx.Client(base_url=served.url, headers=headers, timeout=120) as client:
        yield client


@pytest.fixture
def miner(served: Served) -> ScriptedMiner:
    """A registered miner that offers every service."""
    miner = ScriptedMiner(served.url)
    assert miner.register().status_code == 200
    return miner


@pytest.fixture
def on_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every coordinator of the test a database of the tests' PostgreSQL server."""
    monkeypatch.setenv(ENGINE, "postgresql")
