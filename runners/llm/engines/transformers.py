"""Language models in transformers: for safetensors where vLLM cannot run. Requests are answered one after the other."""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from runners.api import Device, FailureCode, Model, Retry, Tools
from runners.llm.engines.base import Piece, check_context
from runners.llm.engines.loading import Loaded, load
from runners.llm.engines.rules import Rules
from runners.llm.images import Images
from runners.llm.prompt import PromptReader
from runners.llm.request import FinishReason, InferenceRequest
from runners.llm.text import TextStream
from runners.torch_memory import beyond_repair, hold_budget, memory_faults, memory_peak, release_memory

WAIT_SECONDS = 1.0
"""Interval at which a waiting request reports that it waits."""

PREFILL = 1024
"""Tokens of a prompt that the model reads in one step, which bounds the memory of a step."""


class TransformersEngine:
    """See `LanguageEngine`."""

    name = "transformers"

    def __init__(self, model: Model, device: Device, tools: Tools, vram: int | None) -> None:  # noqa: ARG002 - the interface
        hold_budget(device, vram)
        self._device = device
        self._loaded: Loaded | None = load(model, device)
        self.context = self._loaded.context
        self._prompts = PromptReader(self._loaded.tokenizer)
        self._busy = threading.Lock()

    def submit(self, request: InferenceRequest, images: Images) -> _Generation:
        """See `LanguageEngine.submit`."""
        if self._loaded is None:
            raise Retry("The model is not loaded.", code=FailureCode.MODEL_UNAVAILABLE)
        if request.tools:
            raise Retry(
                "Tools need llama.cpp or vLLM, and this machine has only transformers for the model.",
                code=FailureCode.ENGINE_MISSING,
            )
        if images:
            raise Retry(
                "Images need llama.cpp or vLLM, and this machine has only transformers for the model.",
                code=FailureCode.ENGINE_MISSING,
            )
        prompt = self._prompts.read(request)
        check_context(len(prompt), request, self.context)
        return _Generation(self._loaded, request, prompt, self._busy)

    def vram_peak(self) -> int:
        """See `LanguageEngine.vram_peak`."""
        return memory_peak(self._device)

    def close(self) -> None:
        """See `LanguageEngine.close`."""
        with self._busy:
            self._loaded = None
        release_memory(self._device)


class _Generation:
    """See `Generation`. A thread runs the model and hands over the tokens."""

    def __init__(
        self, loaded: Loaded, request: InferenceRequest, prompt: list[int], busy: threading.Lock
    ) -> None:
        self._loaded = loaded
        self._request = request
        self._prompt = prompt
        self._busy = busy
        self._cancelled = False
        self._generated = 0

    def pieces(self) -> Iterator[Piece]:
        """See `Generation.pieces`."""
        while not self._busy.acquire(timeout=WAIT_SECONDS):
            if self._cancelled:
                return
            yield Piece("", 0, 0)
        try:
            for index in range(self._request.n):
                yield from self._answer(index)
        finally:
            self._busy.release()

    def cancel(self) -> None:
        """See `Generation.cancel`."""
        self._cancelled = True

    def _answer(self, index: int) -> Iterator[Piece]:
        text = TextStream(self._loaded.tokenizer, self._request.stops)
        steps = _Steps(
            self._loaded, self._request, self._prompt, index, lambda: self._cancelled or text.stopped
        )
        with steps:
            for token, logprobs in steps.tokens():
                self._generated += 1
                if token in self._loaded.ends:
                    break
                yield self._piece(text.push(token), index, logprobs=logprobs)
                if text.stopped:
                    break
            else:
                if not self._cancelled:
                    yield self._piece(text.finish(), index, "length")
                return
        yield self._piece(text.finish(), index, "stop")

    def _piece(
        self,
        text: str,
        index: int,
        reason: FinishReason | None = None,
        logprobs: tuple[dict[str, Any], ...] = (),
    ) -> Piece:
        return Piece(text, len(self._prompt), self._generated, reason, index, logprobs=logprobs)


class _Steps:
    """The model's steps for one answer. Also transformers' streamer and stopping criterion."""

    def __init__(
        self,
        loaded: Loaded,
        request: InferenceRequest,
        prompt: list[int],
        index: int,
        ended: Callable[[], bool],
    ) -> None:
        self._loaded = loaded
        self._request = request
        self._prompt = prompt
        self._index = index
        self._ended = ended
        self._left = False
        self._rules = Rules(loaded, request, len(prompt))
        # At most max_tokens entries.
        self._news: queue.SimpleQueue[int | Exception | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="language-model", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._left = True
        self._thread.join()

    def tokens(self) -> Iterator[tuple[int, tuple[dict[str, Any], ...]]]:
        """Yield each token with its log-probabilities, if they were requested."""
        while (news := self._news.get()) is not None:
            if isinstance(news, Exception):
                raise news
            yield news, self._rules.report(news)

    # transformers calls the methods below in the thread.

    def put(self, tokens: Any) -> None:
        """Receive the prompt, as a row of a batch, and each token."""
        if tokens.dim() == 1:
            self._news.put(int(tokens[0]))

    def end(self) -> None:
        """Ignore the end, which `_work` reports."""

    def __call__(self, tokens: Any, _scores: Any, **_options: object) -> Any:
        """Return whether the answer ends after these tokens."""
        return tokens.new_full((tokens.shape[0],), self._left or self._ended(), dtype=bool)

    def _work(self) -> None:
        try:
            with memory_faults():
                self._generate()
            self._news.put(None)
        except Retry as error:
            self._news.put(error)
        except Exception as error:  # noqa: BLE001 - an engine may raise anything
            traceback.print_exc()
            code = FailureCode.ENGINE_DIED if beyond_repair(error) else FailureCode.RUNNER_CRASHED
            self._news.put(Retry(f"The model failed: {type(error).__name__}.", code=code))

    def _generate(self) -> None:
        import torch  # noqa: PLC0415 - the coordinator has no engine

        request, model = self._request, self._loaded.model
        if request.seed is not None:
            torch.manual_seed(request.seed + self._index)
        drawn = request.temperature > 0
        chances = (
            {"temperature": request.temperature, "top_p": request.top_p, "top_k": request.top_k}
            if drawn
            else {}
        )
        tokens = torch.tensor([self._prompt], device=model.device)
        model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=request.max_tokens,
            do_sample=drawn,
            repetition_penalty=request.repetition_penalty,
            eos_token_id=sorted(self._loaded.ends),
            pad_token_id=0,
            prefill_chunk_size=PREFILL,
            logits_processor=[self._rules],
            stopping_criteria=[self],
            streamer=self,
            **chances,
        )
