"""Reranking and tokens with a real agent and real models: a cross-encoder, and one of vectors."""

from __future__ import annotations

import httpx
import pytest

from aitbc import AITBCClient
from aitbc.receipts import verify_bundle
from support.agents import Agent
from support.inputs.rerankers import NAME

pytestmark = [pytest.mark.system, pytest.mark.acceptance, pytest.mark.needs("reranking")]

QUERY = "how do i bake bread?"
KNOWN = (
    "the train is at the airport",
    "put the flour and the salt in the oven",
    "my doctor has a pill for the pain",
    "a song for guitar and piano",
)
BAKING = 1


@pytest.fixture(scope="module")
def http(agent: Agent) -> httpx.Client:
    return httpx.Client(
        base_url=agent.url, headers={"Authorization": f"Bearer {agent.file['client_key']}"}, timeout=200
    )


@pytest.mark.parametrize("model", [NAME, "all-minilm-l6-v2"])
def test_a_known_set_is_ordered(agent: Agent, client: AITBCClient, http: httpx.Client, model: str) -> None:
    """The receipt of the job is valid, and its units are the tokens that were read."""
    answer = http.post("/v1/rerank", json={"model": model, "query": QUERY, "documents": KNOWN, "top_n": 2})
    assert answer.status_code == 200, answer.text
    best, second = answer.json()["results"]
    assert (best["index"], best["document"]["text"]) == (BAKING, KNOWN[BAKING])
    assert best["relevance_score"] > 2 * second["relevance_score"]
    job_id = answer.headers["X-Job-ID"]
    assert client.jobs.get_results(job_id).results["units"] == answer.json()["usage"]["total_tokens"] > 30
    verification = verify_bundle(client.receipts.export(job_id), agent.file["log_key"])
    assert verification.valid, verification.failures
