"""Language models in vLLM, where it is installed and there is a GPU.

vLLM batches, samples, decodes and constrains by itself; this module only passes requests to its event loop and pieces
back. It requires a GPU, so that only scripts/gpu_check.py covers it.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import uuid
from collections.abc import Coroutine, Iterator
from typing import Any

from runners.api import Device, Fail, FailureCode, Model, Retry, Tools
from runners.llm.engines.base import Piece, check_context
from runners.llm.prompt import PromptReader
from runners.llm.request import InferenceRequest
from runners.torch_memory import beyond_repair, memory_faults

START_SECONDS = 600.0
END_SECONDS = 60.0
STALL_SECONDS = 300.0
"""Time limit for vLLM's next token."""

SHARE = 0.9
"""Share of the GPU's memory that vLLM may take without a limit."""


class VLLMEngine:
    """See `LanguageEngine`. One thread owns vLLM's event loop."""

    def __init__(self, model: Model, device: Device, tools: Tools, vram: int | None) -> None:
        from transformers import AutoTokenizer  # noqa: PLC0415 - the coordinator has no engine

        self._loop = asyncio.new_event_loop()
        self._budget = vram or int(device.memory * SHARE)
        self._engine: Any = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True)
        self._thread.start()
        share = min(SHARE, self._budget / device.memory) if device.memory else SHARE
        try:
            with memory_faults():
                tokenizer = AutoTokenizer.from_pretrained(
                    model.path, local_files_only=True, trust_remote_code=False
                )
                self._prompts = PromptReader(tokenizer)
                self._engine = self._await(self._start(model, tools, share), START_SECONDS)
        except Retry:
            self.close()
            raise
        except Exception as error:  # vLLM's own processes may raise almost any exception
            self.close()
            code = (
                FailureCode.OUT_OF_MEMORY if "memory" in str(error).lower() else FailureCode.MODEL_UNAVAILABLE
            )
            raise Retry(
                f"The model {model.name!r} could not be loaded by vLLM: {error}"[:500], code=code
            ) from error
        self._context = int(self._engine.model_config.max_model_len)

    def submit(self, request: InferenceRequest) -> _Answer:
        """See `LanguageEngine.submit`."""
        prompt = self._prompts.read(request)
        check_context(len(prompt), request, self._context)
        return _Answer(self._engine, self._loop, request, prompt)

    def vram_peak(self) -> int:
        """Return vLLM's budget: its own processes allocate all of it at once."""
        return self._budget

    def close(self) -> None:
        """See `LanguageEngine.close`."""
        engine, self._engine = self._engine, None
        if engine is not None:
            self._loop.call_soon_threadsafe(engine.shutdown)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(END_SECONDS)

    @staticmethod
    async def _start(model: Model, tools: Tools, share: float) -> Any:
        from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: PLC0415 - optional
        from vllm.v1.engine.async_llm import AsyncLLM  # noqa: PLC0415 - optional

        options = AsyncEngineArgs(
            model=str(model.path),
            load_format="safetensors",
            trust_remote_code=False,
            gpu_memory_utilization=share,
            max_num_seqs=tools.batch,
            generation_config="vllm",  # the request determines the sampling, not the model's directory
            enable_log_requests=False,
            disable_log_stats=True,
        )
        return AsyncLLM.from_engine_args(options)

    def _await(self, coroutine: Coroutine[Any, Any, Any], seconds: float) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(seconds)


class _Answer:
    """See `Generation`."""

    def __init__(
        self, engine: Any, loop: asyncio.AbstractEventLoop, request: InferenceRequest, prompt: list[int]
    ) -> None:
        self._engine = engine
        self._prompt = prompt
        # At most one piece for each token, so max_tokens bounds it.
        self._news: queue.SimpleQueue[Piece | Exception | None] = queue.SimpleQueue()
        self._work = asyncio.run_coroutine_threadsafe(self._generate(_sampling(request)), loop)

    def pieces(self) -> Iterator[Piece]:
        """See `Generation.pieces`."""
        while True:
            try:
                news = self._news.get(timeout=STALL_SECONDS)
            except queue.Empty:
                raise Retry(
                    "vLLM produced no token for five minutes.", code=FailureCode.RUNNER_HUNG
                ) from None
            if news is None:
                return
            if isinstance(news, Exception):
                raise news
            yield news
            if news.finish_reason is not None:
                return

    def cancel(self) -> None:
        """See `Generation.cancel`. Ending the coroutine makes vLLM drop the request."""
        self._work.cancel()
        self._news.put(None)

    async def _generate(self, sampling: Any) -> None:
        generated = 0
        try:
            prompt = {"prompt_token_ids": self._prompt}
            async with contextlib.aclosing(
                self._engine.generate(prompt, sampling, str(uuid.uuid4()))
            ) as outputs:
                async for output in outputs:
                    part = output.outputs[0]
                    generated += len(part.token_ids)
                    if part.finish_reason in {None, "stop", "length"}:
                        self._news.put(Piece(part.text, len(self._prompt), generated, part.finish_reason))
                    else:
                        self._news.put(Retry(f"vLLM ended a request: {part.finish_reason}."))
        except ValueError as error:
            self._news.put(Fail(f"vLLM refuses the request: {error}"[:500]))
        except Exception as error:  # noqa: BLE001 - vLLM wraps any exception of its processes
            # After an error of its core process, vLLM refuses every later request.
            dead = self._engine.errored or beyond_repair(error)
            code = FailureCode.ENGINE_DIED if dead else FailureCode.RUNNER_CRASHED
            self._news.put(Retry(f"vLLM failed: {type(error).__name__}.", code=code))


def _sampling(request: InferenceRequest) -> Any:
    from vllm import SamplingParams  # noqa: PLC0415 - optional
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams  # noqa: PLC0415 - optional

    schema = request.schema_text
    form = None if schema is None else StructuredOutputsParams(json=schema, disable_any_whitespace=True)
    return SamplingParams(
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        seed=request.seed,
        stop=list(request.stops),
        repetition_penalty=request.repetition_penalty,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        structured_outputs=form,
        output_kind=RequestOutputKind.DELTA,
    )
