"""`kill -9` of an agent in the middle of a batch, with a real embedder."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from openai import OpenAI

from campaign import checks
from support.agents import Agent, running
from support.clients.openai_jobs import EMBEDDING

pytestmark = [pytest.mark.chaos, pytest.mark.needs("batches"), pytest.mark.needs("openai")]

LINES = 1000
KILLED_AT = (150, 450, 800)
"""Lines with an answer, as the batch reports them, at which the agent is killed: some more have ended then, and others run."""
LIMIT_SECONDS = 600


def client_of(agent: Agent) -> OpenAI:
    key = agent.file["client_key"]
    return OpenAI(api_key=key, base_url=f"{agent.url}/v1", max_retries=0, timeout=120)


def wait(agent: Agent, batch_id: str, count: int) -> str:
    """Wait until so many lines have an answer, or the batch has ended. Return its state."""
    limit = time.monotonic() + LIMIT_SECONDS
    with client_of(agent) as ai:
        while True:
            batch = ai.batches.retrieve(batch_id)
            assert batch.request_counts is not None
            if batch.status == "completed" or batch.request_counts.completed >= count:
                return batch.status
            assert batch.status in ("validating", "in_progress", "finalizing"), batch
            assert time.monotonic() < limit, batch
            time.sleep(0.1)


@pytest.mark.timeout(1800)
def test_each_line_of_a_batch_runs_once_however_often_the_agent_is_killed(tmp_path: Path) -> None:
    """1,000 lines, three kills: 1,000 results, 1,000 jobs, 1,000 payments."""
    lines = [
        {
            "custom_id": f"line {number}",
            "method": "POST",
            "url": "/v1/embeddings",
            "body": {"model": EMBEDDING, "input": f"text {number}"},
        }
        for number in range(LINES)
    ]
    data = tmp_path / "data"
    agent = Agent(data, "start", "--port", "0")
    with running(agent):
        with client_of(agent) as ai:
            content = "\n".join(map(json.dumps, lines)).encode()
            file = ai.files.create(file=("requests.jsonl", content), purpose="batch")
            batch_id = ai.batches.create(
                input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h"
            ).id
        for count in KILLED_AT:
            assert wait(agent, batch_id, count) == "in_progress"
            agent.kill()
            agent.start()
        assert wait(agent, batch_id, LINES + 1) == "completed"
        with client_of(agent) as ai:
            batch = ai.batches.retrieve(batch_id)
            assert batch.error_file_id is None
            results = [
                json.loads(line) for line in ai.files.content(batch.output_file_id or "").text.splitlines()
            ]
        assert Counter(result["custom_id"] for result in results) == Counter(
            line["custom_id"] for line in lines
        )
        assert all(len(result["response"]["body"]["data"][0]["embedding"]) == 384 for result in results)
        agent.stop()
    with closing(sqlite3.connect(data / "coordinator" / "coordinator.db")) as database:
        count_jobs = "SELECT count(*), count(DISTINCT json_extract(spec, '$.parameters.input')) FROM jobs"
        assert database.execute(count_jobs).fetchone() == (LINES, LINES)
        payments = "SELECT count(*), count(DISTINCT job_id) FROM transactions WHERE kind = 'payment' AND status = 'settled'"
        assert database.execute(payments).fetchone() == (LINES, LINES)
    assert checks.examine_database(data, []) == []
