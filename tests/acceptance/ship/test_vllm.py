"""vLLM's build for processors, installed as an owner would, answers OpenAI's client through the whole path."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from agent.miner.control import ask
from aitbc.errors import JobFailed
from aitbc.receipts import verify_bundle
from support.agents import COMMAND, Agent, running
from support.inputs.language_models import PERSON

# On a busy machine vLLM takes ten minutes to start, which its installation does too.
pytestmark = [pytest.mark.acceptance, pytest.mark.needs("openai"), pytest.mark.timeout(4800)]

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
MODEL = "smollm2-safetensors"
ENTRY = """
[[models]]
name = "{name}"
service = "llm_inference"
engines = ["vllm"]
path = "{path}"
memory = "2Gi"
licence = "Apache-2.0"
options = {{ context = 2048, template = "smollm2", tool_parser = "hermes" }}
"""
QUESTION: list[Any] = [{"role": "user", "content": "Name the capital of France."}]
WEATHER: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"enum": ["Paris", "Rome"]}},
                "required": ["city"],
            },
        },
    }
]


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """An agent with vLLM in an environment of its own, and a model for it."""
    home = tmp_path_factory.mktemp("vllm")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        from measuring.vllm import write_safetensors  # noqa: PLC0415 - after the path is set

        write_safetensors(home / "model")
    environment = {
        "AITBC_CACHE_DIR": str(home / "cache"),
        "AITBC_ENGINES__CHECK_SECONDS": "1800",
        "AITBC_MINER__LOAD_SECONDS": "1800",
    }
    agent = Agent(home / "data", "start", "--port", "0", **environment)
    (home / "data").mkdir()
    (home / "data" / "models.toml").write_text(ENTRY.format(name=MODEL, path=home / "model"))
    assert "vllm (" in agent.cli("engines", "install", "vllm", seconds=2400).stdout
    with running(agent):
        yield agent


@pytest.fixture(scope="module")
def ai(agent: Agent) -> Iterator[OpenAI]:
    """OpenAI's client."""
    key = agent.file["client_key"]
    with OpenAI(api_key=key, base_url=f"{agent.url}/v1", max_retries=0, timeout=600) as ai:
        yield ai


COMPILERS = re.compile(r"(.*-)?(gcc|g\+\+|cc|c\+\+|cpp|clang|clang\+\+|c89|c99|as|ld|nvcc)([-.].*)?")
"""The names of compilers, also with a target or a version."""
NARROW = """
mount --rbind "$1" /mnt
mount -t tmpfs -o noexec tmpfs /tmp
mount -t tmpfs -o size="$2" tmpfs /dev/shm
PATH=/mnt/programs exec "$3" engines check vllm --data-dir /mnt/data
"""
"""A container's file systems: its /tmp and its shared memory, and no compiler."""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize(
    ("shared_memory", "answer"),
    [
        ("300m", "vllm: works"),
        (
            "64m",
            "256 MiB of shared memory are needed, and 64 MiB are free in /dev/shm. In a container, request more: --shm-size=1g",
        ),
    ],
)
def test_it_needs_no_compiler_and_no_tmp_for_programs_and_names_the_shared_memory_that_it_needs(
    agent: Agent, shared_memory: str, answer: str
) -> None:
    """The engine's check loads a tiny model with the runner's arguments, and generates with log-probabilities and a schema."""
    home = agent.data_dir.parent
    programs = home / "programs"
    if not programs.exists():
        programs.mkdir()
        for path in (*Path("/usr/sbin").iterdir(), *Path("/usr/bin").iterdir()):
            if not COMPILERS.fullmatch(path.name) and not (programs / path.name).is_symlink():
                (programs / path.name).symlink_to(path)
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-ec", NARROW, "bash", home, shared_memory, COMMAND],
        env={**os.environ, **agent.environment, "AITBC_CACHE_DIR": "/mnt/cache"},
        capture_output=True,
        text=True,
        timeout=1900,
        check=False,
    )
    assert answer in done.stdout, done.stdout + done.stderr


def test_a_question_is_answered_in_vllms_environment(agent: Agent, ai: OpenAI) -> None:
    answer = ai.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=16)
    assert answer.choices[0].message.content == "The capital of France is Paris."
    children = asyncio.run(ask(agent.data_dir, "status"))["children"]
    assert [child["environment"] for child in children if child["service"] == "llm_inference"] == ["vllm"]
    with agent.client() as client:
        bundle = client.receipts.export(answer.id)
    assert verify_bundle(bundle, agent.file["log_key"]).valid


def test_a_required_tool_is_called_with_arguments_of_its_schema(ai: OpenAI) -> None:
    answer = ai.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "How is the weather in Rome?"}],
        tools=WEATHER,
        tool_choice="required",
        parallel_tool_calls=False,
        temperature=0,
        max_tokens=48,
    )
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Rome"})
    assert answer.choices[0].finish_reason == "tool_calls"


def test_an_answer_follows_its_schema(ai: OpenAI) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}
    answer = ai.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Describe a person."}],
        response_format=form,
        temperature=1,
        seed=1,
        max_tokens=128,
    )
    person = json.loads(answer.choices[0].message.content or "")
    assert set(person) == set(PERSON["required"])
    assert 0 <= person["age"] <= 120


def test_log_probabilities_and_several_answers(ai: OpenAI) -> None:
    answer = ai.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=0, max_tokens=2, n=2, logprobs=True, top_logprobs=2
    )
    assert [choice.message.content for choice in answer.choices] == ["The capital"] * 2
    for choice in answer.choices:
        assert choice.logprobs is not None
        tokens = choice.logprobs.content or []
        assert [token.token for token in tokens] == ["The", " capital"]
        assert all(len(token.top_logprobs) == 2 for token in tokens)


def test_the_tokens_of_several_answers_are_charged_once(ai: OpenAI) -> None:
    answer = ai.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=1, seed=3, max_tokens=4, n=2
    )
    assert answer.usage is not None
    assert 2 < answer.usage.completion_tokens <= 8


def test_a_cancelled_answer_ends_and_the_next_is_given(agent: Agent, ai: OpenAI) -> None:
    """Leaving the stream cancels the job; its tokens so far are charged."""
    story: list[Any] = [{"role": "user", "content": "Write a long story."}]
    with ai.chat.completions.create(model=MODEL, messages=story, stream=True, max_tokens=1500) as stream:
        pieces = (chunk for chunk in stream if chunk.choices[0].delta.content)
        job_id = next(pieces).id
    with agent.client() as client, pytest.raises(JobFailed, match="cancelled"):
        client.jobs.wait(job_id, 60)
    answer = ai.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=16)
    assert "Paris" in (answer.choices[0].message.content or "")


def test_a_prompt_that_was_read_before_is_not_read_again(ai: OpenAI) -> None:
    prompt = "The quick brown fox jumps over the lazy dog near the river bank. " * 110

    def seconds() -> float:
        began = time.monotonic()
        ai.completions.create(model=MODEL, prompt=prompt, max_tokens=1, temperature=0)
        return time.monotonic() - began

    first = seconds()
    assert min(seconds() for _ in range(3)) < first / 2


def test_an_audit_distinguishes_honest_answers_from_those_to_another_prompt(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tokens of honest answers can have been drawn as the client asked: an error of one in a million."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("AITBC_CACHE_DIR", agent.environment["AITBC_CACHE_DIR"])
    from measuring.audits.language import LONG, with_system  # noqa: PLC0415 - after the path is set
    from measuring.audits.vllm_language import VLLM, loaded  # noqa: PLC0415 - as above

    cases = VLLM(tmp_path, answers=2)
    with loaded(agent.data_dir.parent / "model") as runner:
        jobs = cases.jobs(runner, together=2, tokens=LONG)
        honest = cases.case(runner, "honest", jobs, honest=True, tokens=LONG)
        lies = cases.case(runner, "lies", cases.disguised(runner, with_system), honest=False)
    assert honest.failed == 0
    # 0.000001 on a quiet machine; on a busy one other requests share a batch, and its sums are rounded in another order.
    assert max(honest.distances["logprobs"]) < 0.01
    assert max(honest.distances["sampling"]) < 6
    assert min(lies.distances["logprobs"]) > 0.01
