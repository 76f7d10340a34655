"""OpenAI's client with a miner, and with another account's key."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import OpenAI

from support.clients.openai_jobs import register
from support.clients.scripted_miner import ScriptedMiner
from support.server import Served


@pytest.fixture
def miner(served: Served) -> ScriptedMiner:
    return register(ScriptedMiner(served.url))


@pytest.fixture
def ai(served: Served) -> Iterator[OpenAI]:
    """A client with a client's key and without retries."""
    with OpenAI(api_key=served.client_key, base_url=f"{served.url}/v1", max_retries=0, timeout=180) as ai:
        yield ai


@pytest.fixture
def stranger(served: Served) -> Iterator[OpenAI]:
    """A client of another account."""
    with OpenAI(api_key=served.other_key, base_url=f"{served.url}/v1", max_retries=0, timeout=180) as ai:
        yield ai
