"""Ollama's paths with a client's key."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from support.clients.openai_jobs import register
from support.clients.scripted_miner import ScriptedMiner
from support.server import Served


@pytest.fixture
def ollama(served: Served) -> Iterator[httpx.Client]:
    """Requests with a client's key."""
    headers = {"Authorization": f"Bearer {served.client_key}"}
    with httpx.Client(base_url=served.url, headers=headers, timeout=120) as ollama:
        yield ollama


@pytest.fixture
def miner(served: Served) -> ScriptedMiner:
    """A miner that has a model of each kind."""
    return register(ScriptedMiner(served.url))
