"""OpenAI's own client sends several prompts in one request: each is a job, and one answer has the texts of all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from support.clients.openai_jobs import LIMIT_SECONDS, LLM, USAGE, asking, register, send_tokens
from support.clients.scripted_miner import ScriptedMiner
from support.jobs import ended
from support.server import Served, serve

PROMPTS = ["one", "two", "three"]


@pytest.fixture
def miner(served: Served) -> ScriptedMiner:
    return register(ScriptedMiner(served.url))


def leases_of(miner: ScriptedMiner) -> dict[str, dict[str, Any]]:
    """The leases of all prompts, by prompt."""
    leases: dict[str, dict[str, Any]] = {}
    while len(leases) < len(PROMPTS):
        (lease,) = miner.poll()
        leases[lease["spec"]["parameters"]["prompt"]] = lease
    return leases


def results(*texts: str) -> dict[str, Any]:
    """The results of a job with these answers."""
    first, *others = [{"text": text, "finish_reason": "stop"} for text in texts]
    answers = {"answers": [first, *others]} if others else {}
    return {**first, **answers, "usage": USAGE, "units": 15, "processing_time": 0.5}


def test_the_choices_are_numbered_by_prompt(ai: OpenAI, miner: ScriptedMiner, client: httpx.Client) -> None:
    """In any order of their ends. Each has a receipt, and the usage is that of all."""
    with asking(
        lambda: ai.completions.with_raw_response.create(model=LLM, prompt=PROMPTS, n=2, max_tokens=5)
    ) as asked:
        leases = leases_of(miner)
        for prompt in reversed(PROMPTS):
            done = miner.complete(leases[prompt], results(f"{prompt} a", f"{prompt} b"))
            assert done.status_code == 200, done.text
        raw = asked.result(LIMIT_SECONDS)
    answer = raw.parse()
    assert [(choice.index, choice.text) for choice in answer.choices] == [
        (0, "one a"), (1, "one b"), (2, "two a"), (3, "two b"), (4, "three a"), (5, "three b"),
    ]  # fmt: skip
    assert answer.usage is not None
    assert answer.usage.to_dict() == {name: 3 * tokens for name, tokens in USAGE.items()}
    jobs = raw.headers["x-job-id"].split(", ")
    assert jobs == [leases[prompt]["job_id"] for prompt in PROMPTS]
    assert answer.id == jobs[0]
    assert all(client.get(f"/v1/receipts/{job}").json()["job_id"] == job for job in jobs)
    assert client.get("/v1/jobs").json()["total"] == len(PROMPTS)


def test_several_prompts_are_streamed(ai: OpenAI, miner: ScriptedMiner) -> None:
    """What a later job writes in the meantime is not lost."""
    usage: Any = {"include_usage": True}
    with ai.completions.create(model=LLM, prompt=PROMPTS, stream=True, stream_options=usage) as stream:
        leases = leases_of(miner)
        for prompt in reversed(PROMPTS):
            send_tokens(miner, leases[prompt], f"{prompt} ", "is")
            assert miner.complete(leases[prompt], results(f"{prompt} is it")).status_code == 200
        chunks = list(stream)
    texts = dict.fromkeys(range(len(PROMPTS)), "")
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert list(texts.values()) == ["one is it", "two is it", "three is it"]
    finished = [choice.index for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert finished == [0, 1, 2]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == len(PROMPTS) * USAGE["total_tokens"]
    assert {chunk.id for chunk in chunks} == {leases["one"]["job_id"]}


@pytest.mark.parametrize("streamed", [False, True])
def test_if_one_prompt_fails_the_others_are_cancelled(
    ai: OpenAI, miner: ScriptedMiner, client: httpx.Client, streamed: bool
) -> None:
    """Nobody gets their texts, so nobody pays for them."""

    def ask() -> None:
        answer = ai.completions.create(model=LLM, prompt=PROMPTS, stream=streamed)
        list(answer)

    with asking(ask) as asked:
        leases = leases_of(miner)
        miner.job(leases["one"], "fail", kind="fail", code="INPUT_INVALID", message="Cannot be read.")
        with pytest.raises(openai.APIError, match="Cannot be read"):
            asked.result(LIMIT_SECONDS)
    for prompt in ("two", "three"):
        ended(client, leases[prompt]["job_id"], "cancelled")


@pytest.mark.parametrize("streamed", [False, True])
def test_disconnecting_cancels_all(
    ai: OpenAI, miner: ScriptedMiner, client: httpx.Client, streamed: bool
) -> None:
    hasty = ai.with_options(timeout=0.5)

    def ask() -> None:
        list(hasty.completions.create(model=LLM, prompt=PROMPTS, stream=streamed))

    with asking(ask) as asked:
        leases = leases_of(miner)
        with pytest.raises((openai.APITimeoutError, httpx.TimeoutException)):
            asked.result(LIMIT_SECONDS)
    for lease in leases.values():
        ended(client, lease["job_id"], "cancelled")


def test_a_repeated_request_gets_the_same_jobs(
    ai: OpenAI, miner: ScriptedMiner, client: httpx.Client
) -> None:
    key = {"Idempotency-Key": "prompts-1"}

    def ask() -> Any:
        return ai.completions.with_raw_response.create(model=LLM, prompt=PROMPTS, extra_headers=key)

    with asking(ask) as asked:
        for prompt, lease in leases_of(miner).items():
            miner.complete(lease, results(prompt))
        first = asked.result(LIMIT_SECONDS)
    again = ask()
    assert again.headers["x-job-id"] == first.headers["x-job-id"]
    assert [choice.text for choice in again.parse().choices] == PROMPTS
    assert client.get("/v1/jobs").json()["total"] == len(PROMPTS)
    with pytest.raises(openai.ConflictError):
        ai.completions.create(model=LLM, prompt=["one", "other"], extra_headers=key)


def test_a_prompt_that_is_refused_leaves_no_job(tmp_path: Path) -> None:
    """One request may have more prompts than the account may have jobs."""
    with (
        serve(tmp_path / "data", open_enrolment=True, max_jobs_per_account=2, max_prompts=3) as served,
        OpenAI(api_key=served.client_key, base_url=f"{served.url}/v1", max_retries=0) as ai,
        httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key}) as client,
    ):
        register(ScriptedMiner(served.url))
        with pytest.raises(openai.RateLimitError):
            ai.completions.create(model=LLM, prompt=PROMPTS)
        jobs = client.get("/v1/jobs").json()["jobs"]
        assert [job["status"] for job in jobs] == ["cancelled", "cancelled"]
        with pytest.raises(openai.UnprocessableEntityError, match="at most 3 prompts"):
            ai.completions.create(model=LLM, prompt=[*PROMPTS, "four"])
        with pytest.raises(openai.UnprocessableEntityError, match="send text, not tokens"):
            ai.completions.create(model=LLM, prompt=[1, 2])
