"""Requests to the OpenAI-compatible paths, and a miner that serves them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from openai import OpenAI

from runners.input_options import OPTIONS
from runners.llm.request import ENGINES_OF
from runners.llm.runner import DEFINITION
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.server import Served

T = TypeVar("T")

LLM, SPEECH, PICTURES = "smollm2-135m-instruct", "base", "untrained-diffusion"
EMBEDDING = "all-minilm-l6-v2"
QUESTION: list[Any] = [{"role": "user", "content": "Name the capital of France."}]
ANSWER = "The capital of France is Paris."
USAGE = {"prompt_tokens": 7, "completion_tokens": 8, "total_tokens": 15}
TEXT = {"text": ANSWER, "finish_reason": "stop", "usage": USAGE, "units": 15, "processing_time": 0.5}
LIMIT_SECONDS = 180


def openai_of(served: Served) -> OpenAI:
    """Return OpenAI's official client with a client's key and without retries."""
    return OpenAI(api_key=served.client_key, base_url=f"{served.url}/v1", max_retries=0, timeout=120)


def register(miner: ScriptedMiner) -> ScriptedMiner:
    """Register a miner that has a model of each kind."""
    offered = capabilities()
    for service, model in (
        ("llm_inference", LLM),
        ("whisper_transcription", SPEECH),
        ("image_generation", PICTURES),
        ("text_embedding", EMBEDDING),
    ):
        offered["services"][service]["models"] = [model]
    for service in ("speech_synthesis", "text_reranking"):
        offered["services"][service]["models"] = []
    offered["services"]["llm_inference"]["features"] |= {
        OPTIONS: list(DEFINITION.input_options()),
        "samplers": [words for words, _ in ENGINES_OF.values()],
    }
    assert miner.register(capabilities=offered).status_code == 200
    return miner


@contextmanager
def asking(question: Callable[[], T]) -> Iterator[Future[T]]:
    """Send a request in another thread, since its response waits for a miner."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(question)


def answered(
    miner: ScriptedMiner, results: dict[str, Any], question: Callable[[], T]
) -> tuple[T, dict[str, Any]]:
    """Return the response to a request whose job the miner completes, and the parameters of that job."""
    with asking(question) as response:
        (lease,) = miner.poll()
        assert miner.complete(lease, results).status_code == 200
        return response.result(LIMIT_SECONDS), lease["spec"]["parameters"]


def send_tokens(miner: ScriptedMiner, lease: dict[str, Any], *pieces: str, offset: int = 0) -> None:
    """Publish the next chunks of a text of which `offset` characters are published."""
    events = []
    for piece in pieces:
        events.append({"kind": "token", "data": {"text": piece, "offset": offset}})
        offset += len(piece)
    assert miner.job(lease, "events", events=events).status_code == 204
