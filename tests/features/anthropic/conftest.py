"""Requests as Anthropic's clients send them."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from runners.input_options import OPTIONS
from runners.llm.runner import DEFINITION
from support.clients.anthropic_jobs import SEEING
from support.clients.openai_jobs import LLM
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.server import Served


@pytest.fixture
def miner(served: Served) -> ScriptedMiner:
    miner, offered = ScriptedMiner(served.url), capabilities()
    service = offered["services"]["llm_inference"]
    service["models"] = [LLM, SEEING]
    # Some of the schemas have parts that the first agents refused.
    service["features"] = {OPTIONS: list(DEFINITION.input_options())}
    assert miner.register(capabilities=offered).status_code == 200
    return miner


@pytest.fixture
def claude(served: Served) -> Iterator[httpx.Client]:
    """A client with the headers of Anthropic's."""
    headers = {"X-API-Key": served.client_key, "anthropic-version": "2023-06-01"}
    with httpx.Client(base_url=f"{served.url}/v1", headers=headers, timeout=180) as claude:
        yield claude
