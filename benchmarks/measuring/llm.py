"""Language models: the runner in its child process with llama.cpp, compared with llama.cpp's server alone.

Alone means its HTTP server with the same model and settings, asked by this process for streamed texts, since
clients of both get an answer token by token.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from measuring.child import Child, models_directory
from measuring.row import Row
from runners.api import Device, Model
from runners.engine_server import EngineServer
from runners.engine_server.llama import gguf_file, start_llama

MODEL = "smollm2-135m-instruct"
CONTEXT = 4096
TOKENS = 192
UNIT = "token/s"


def measure(folder: Path, rounds: int) -> list[Row]:
    """Compare one request, and eight at the same time."""
    model = Model(MODEL, models_directory() / MODEL, options={"context": CONTEXT})
    file = gguf_file(model)
    assert file is not None, "run `make setup`"
    device = Device("cpu", "processor", threads=os.cpu_count() or 1)
    rows = []
    with Child("llm_inference", folder) as child:
        child.load(model)
        server = start_llama(file, device, None, context=CONTEXT, answers=8)
        try:
            for count in (1, 8):
                ours, alone = [], []
                for number in range(rounds + 1):  # the first is a warm-up
                    prompts = [
                        f"Once upon a time there were {number}{other} friends who" for other in range(count)
                    ]
                    ours.append(_speed(lambda prompts=prompts: _asked(child, prompts), count))
                    alone.append(_speed(lambda prompts=prompts: _answered(server, prompts), count))
                name = "one request" if count == 1 else f"{count} requests"
                rows.append(Row(f"llama.cpp, {name}", max(ours[1:]), max(alone[1:]), UNIT))
        finally:
            server.close()
    return rows


def _asked(child: Child, prompts: Sequence[str]) -> int:
    request: dict[str, Any] = {"model": MODEL, "raw": True, "max_tokens": TOKENS, "temperature": 0}
    results = child.run_together([{**request, "prompt": prompt} for prompt in prompts])
    return sum(result["usage"]["completion_tokens"] for result in results)


def _answered(server: EngineServer, prompts: Sequence[str]) -> int:
    def answer(prompt: str) -> int:
        body = {"prompt": prompt, "max_tokens": TOKENS, "temperature": 0, "stream": True}
        return sum(
            1 for event in server.stream("/v1/completions", body).events() if event["choices"][0]["text"]
        )

    with ThreadPoolExecutor(len(prompts)) as pool:
        return sum(pool.map(answer, prompts))


def _speed(work: Callable[[], int], count: int) -> float:
    """Return the tokens that are generated in a second."""
    began = time.monotonic()
    tokens = work()
    assert tokens > count * TOKENS / 2, "the texts ended early; the two ways cannot be compared"
    return tokens / (time.monotonic() - began)
