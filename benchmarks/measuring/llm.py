"""Language models: the runner in its child process with llama.cpp, compared with llama.cpp's server alone.

Alone means its HTTP server with the same model and settings, asked by this process for streamed texts, since
clients of both get an answer token by token. Ours reports the likeliest tokens too, so that the answer can be audited: the work is the
same if the server alone reports them as well; rows that are not required show what they cost. The processor time is compared by the
share that the engine's own process gets of all: on a machine whose speed changes, it says more than the elapsed time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring.child import Child, models_directory
from measuring.processes import cpu_seconds, processor_seconds
from measuring.row import Row, order
from runners.api import Device, Model
from runners.engine_server import EngineServer
from runners.engine_server.llama import gguf_file, start_llama
from runners.llm.evidence import TOP

MODEL = "smollm2-135m-instruct"
CONTEXT = 4096
TOKENS = 192
UNIT = "token/s"
SHARE = "% of processor time in the engine"


def measure(folder: Path, rounds: int) -> list[Row]:
    """Compare one request, and eight at the same time."""
    model = Model(MODEL, models_directory() / MODEL, options={"context": CONTEXT})
    file = gguf_file(model)
    assert file is not None, "run `make setup`"
    device = Device("cpu", "processor", threads=os.cpu_count() or 1)
    with Child("llm_inference", folder) as child:
        child.load(model)
        server = start_llama(file, device, None, context=CONTEXT, answers=8)
        try:
            return compared("llama.cpp", child, server, rounds)
        finally:
            server.close()


def compared(engine: str, child: Child, server: EngineServer, rounds: int, **fields: Any) -> list[Row]:
    """Compare our path with an engine's server, which has loaded the same model. `fields` are more of those that its requests need."""
    rows = []
    for count in (1, 8):
        costs = [_round(child, server, number, count, fields) for number in range(rounds + 1)]
        ours, same, plain = zip(*costs[1:], strict=True)  # the first round is a warm-up
        name = f"{engine}, {'one request' if count == 1 else f'{count} requests'}"
        rows += [
            Row(name, _speeds(ours), _speeds(same), UNIT),
            Row(f"{name}, processor time", _shares(ours), _shares(same), SHARE),
            Row(f"{name}, without probabilities", _speeds(ours), _speeds(plain), UNIT, required=False),
        ]
    return rows


@dataclass(frozen=True, slots=True)
class _Cost:
    """Elapsed seconds of some tokens, and the processor seconds of the engine and of all other processes, this one included."""

    tokens: int
    elapsed: float
    engine: float
    beside: float


def _round(
    child: Child, server: EngineServer, number: int, count: int, fields: dict[str, Any]
) -> tuple[_Cost, _Cost, _Cost]:
    """Return the costs of our path, and of the server alone with and without probabilities."""
    # They differ from the beginning: the server alone would read what it knows of earlier ones only once, and accounts share nothing here.
    prompts = [f"{number}{other} friends, once upon a time, met at a lake and" for other in range(count)]
    ways: list[Callable[[], int]] = [
        lambda: _asked(child, prompts),
        lambda: _answered(server, prompts, {**fields, "logprobs": TOP}),
        lambda: _answered(server, prompts, fields),
    ]
    costs = {way: _cost(ways[way], count, child) for way in order(number, len(ways))}
    return costs[0], costs[1], costs[2]


def _speeds(costs: Sequence[_Cost]) -> list[float]:
    return [cost.tokens / cost.elapsed for cost in costs]


def _shares(costs: Sequence[_Cost]) -> list[float]:
    return [100 * cost.engine / (cost.engine + cost.beside) for cost in costs]


def _asked(child: Child, prompts: Sequence[str]) -> int:
    request: dict[str, Any] = {"model": MODEL, "raw": True, "max_tokens": TOKENS, "temperature": 0}
    results = child.run_together([{**request, "prompt": prompt} for prompt in prompts])
    return sum(result["usage"]["completion_tokens"] for result in results)


def _answered(server: EngineServer, prompts: Sequence[str], fields: dict[str, Any]) -> int:
    def answer(prompt: str) -> int:
        body = {"prompt": prompt, "max_tokens": TOKENS, "temperature": 0, "stream": True, **fields}
        return sum(
            1 for event in server.stream("/v1/completions", body).events() if event["choices"][0]["text"]
        )

    with ThreadPoolExecutor(len(prompts)) as pool:
        return sum(pool.map(answer, prompts))


def _cost(work: Callable[[], int], count: int, child: Child) -> _Cost:
    """Do some work, and return what its tokens cost."""

    def beside() -> float:
        return time.process_time() + cpu_seconds(child.pid)

    all_before, beside_before, began = processor_seconds(), beside(), time.monotonic()
    tokens = work()
    elapsed, beside_engine = time.monotonic() - began, beside() - beside_before
    assert tokens > count * TOKENS / 2, "the texts ended early; the two ways cannot be compared"
    return _Cost(tokens, elapsed, processor_seconds() - all_before - beside_engine, beside_engine)
