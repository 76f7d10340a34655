"""Language models in transformers: for safetensors where vLLM cannot run. Requests are answered one after the other."""

from __future__ import annotations

import queue
import secrets
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runners.api import Device, FailureCode, Model, Retry, RunnerError, Tools
from runners.llm.engines.base import (
    SEEN,
    AnswerTokens,
    Draw,
    GenerationOptions,
    OnStep,
    Piece,
    Reading,
    cannot_see,
    check_context,
    check_samplers,
    ignore,
    no_such_token,
)
from runners.llm.engines.loading import LoadedNetwork, load
from runners.llm.engines.rules import Rules
from runners.llm.images import Images
from runners.llm.prompt import PromptReader
from runners.llm.request import FinishReason, InferenceRequest
from runners.llm.text import AnswerDecoder
from runners.torch_memory import engine_error, hold_budget, memory_faults, memory_peak, release_memory

WAIT_SECONDS = 1.0
"""Interval at which a waiting request reports that it waits."""

PREFILL = 1024
"""Tokens of a prompt that the model reads in one step, which bounds the memory of a step."""


class TransformersEngine:
    """See `LanguageEngine`."""

    name = "transformers"
    seeded = True
    reads_partly = False
    adapters = ()

    def __init__(self, model: Model, device: Device, tools: Tools, vram: int | None) -> None:  # noqa: ARG002 - the interface
        hold_budget(device, vram)
        self._device = device
        self._loaded: LoadedNetwork | None = load(model, device)
        self.context = self._loaded.context
        self._prompts = PromptReader(self._loaded.tokenizer)
        self._busy = threading.Lock()
        self.precision = str(self._loaded.model.dtype).removeprefix("torch.")

    def check(self, request: InferenceRequest) -> None:
        """See `LanguageEngine.check`."""
        check_samplers(request, self.name)
        feature = "Tools" if request.tools else "Images" if request.images else None
        if request.images and getattr(self._model().model.config, "vision_config", None) is None:
            raise cannot_see(request)
        if feature is not None:
            raise Retry(
                f"{feature} need llama.cpp or vLLM, and this machine has only transformers for the model.",
                code=FailureCode.ENGINE_UNAVAILABLE,
            )

    def submit(
        self,
        request: InferenceRequest,
        images: Images,  # noqa: ARG002 - `check` accepts none
        options: GenerationOptions,
    ) -> _LocalGeneration:
        """See `LanguageEngine.submit`. Nothing is ever reused, and evidence costs nothing here."""
        loaded = self._model()
        prompt = self._prompts.read(request)
        options.on_step()
        check_context(len(prompt), request, self.context)
        seed = options.seed or secrets.token_hex(32)
        if request.seed is not None:
            seed = str(request.seed)
        return _LocalGeneration(loaded, request, prompt, self._busy, seed)

    def prompt_tokens(self, request: InferenceRequest) -> list[int]:
        """See `LanguageEngine.prompt_tokens`."""
        return self._prompts.read(request)

    def tokens(self, request: InferenceRequest, on_step: OnStep = ignore) -> list[tuple[int, str]]:
        """See `LanguageEngine.tokens`."""
        tokens = self._prompts.read(request)
        on_step()
        return [(token, self.text([token])) for token in tokens]

    def text(self, tokens: Sequence[int]) -> str:
        """See `LanguageEngine.text`."""
        tokenizer = self._model().tokenizer
        if max(tokens, default=0) >= len(tokenizer):
            raise no_such_token(len(tokenizer))
        return str(tokenizer.decode([*tokens]))

    def read(self, request: InferenceRequest, text: AnswerTokens) -> Iterator[Reading]:
        """See `LanguageEngine.read`. The model reads everything in one step."""
        while not self._busy.acquire(timeout=WAIT_SECONDS):
            yield Reading({})
        try:
            with memory_faults():
                yield from read_answer(self._model(), request, text)
        finally:
            self._busy.release()

    def _model(self) -> LoadedNetwork:
        if self._loaded is None:
            raise Retry("The model is not loaded.", code=FailureCode.MODEL_UNAVAILABLE)
        return self._loaded

    def vram_peak(self) -> int:
        """See `LanguageEngine.vram_peak`."""
        return memory_peak(self._device)

    def close(self) -> None:
        """See `LanguageEngine.close`."""
        # An answer that is being written keeps the model.
        with self._busy:
            self._loaded = None
        release_memory(self._device)


@dataclass(slots=True)
class _LocalGeneration:
    """See `Generation`. A thread runs the model and hands over the tokens."""

    loaded: LoadedNetwork
    request: InferenceRequest
    prompt: list[int]
    busy: threading.Lock
    seed: str
    cancelled: bool = False
    generated: int = 0

    def pieces(self) -> Iterator[Piece]:
        """See `Generation.pieces`."""
        while not self.busy.acquire(timeout=WAIT_SECONDS):
            if self.cancelled:
                return
            yield Piece("", 0, 0)
        try:
            for index in range(self.request.n):
                yield from self._answer(index)
        finally:
            self.busy.release()

    def cancel(self) -> None:
        """See `Generation.cancel`."""
        self.cancelled = True

    def _answer(self, index: int) -> Iterator[Piece]:
        text = AnswerDecoder(self.loaded.tokenizer, self.request.stops)
        draw = Draw(self.seed, index)
        rules = Rules(self.loaded, self.request, len(self.prompt), draw)
        steps = _Steps(self, rules, lambda: self.cancelled or text.stopped)
        with steps:
            for token in steps.tokens():
                self.generated += 1
                distribution = rules.distribution()
                if token in self.loaded.ends:
                    break
                piece = self._piece(text.push(token), index, logprobs=rules.report(token, distribution))
                yield replace(piece, tokens=(rules.evidence(token, distribution),))
                if text.stopped:
                    break
            else:
                if not self.cancelled:
                    yield self._piece(text.finish(), index, "length")
                return
        yield replace(self._piece(text.finish(), index, "stop"), stop_text=text.stop_text)

    def _piece(
        self,
        text: str,
        index: int,
        reason: FinishReason | None = None,
        logprobs: tuple[dict[str, Any], ...] = (),
    ) -> Piece:
        return Piece(text, len(self.prompt), self.generated, reason, index, logprobs=logprobs)


class _Steps:
    """The model's steps for one answer of a generation. Also transformers' streamer and stopping criterion."""

    def __init__(self, generation: _LocalGeneration, rules: Rules, ended: Callable[[], bool]) -> None:
        self._loaded, self._request = generation.loaded, generation.request
        self._prompt = generation.prompt
        self._ended = ended
        self._left = False
        self._rules = rules
        # At most max_tokens entries.
        self._news: queue.SimpleQueue[int | Exception | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="language-model", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        # Nobody reads any more, and the model would otherwise write to the end for nobody.
        self._left = True
        self._thread.join()

    def tokens(self) -> Iterator[int]:
        """Yield each token."""
        while (news := self._news.get()) is not None:
            if isinstance(news, Exception):
                raise news
            yield news

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
        except RunnerError as error:
            self._news.put(error)
        except Exception as error:  # noqa: BLE001 - an engine may raise anything
            traceback.print_exc()
            self._news.put(engine_error(error, f"The model failed: {type(error).__name__}."))

    def _generate(self) -> None:
        import torch  # noqa: PLC0415 - the coordinator has no engine

        request, model = self._request, self._loaded.model
        tokens = torch.tensor([self._prompt], device=model.device)
        model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=request.max_tokens,
            do_sample=False,  # `Rules` draws
            repetition_penalty=request.repetition_penalty,
            eos_token_id=sorted(self._loaded.ends),
            pad_token_id=0,
            prefill_chunk_size=PREFILL,
            logits_processor=[self._rules],
            stopping_criteria=[self],
            streamer=self,
        )


def read_answer(loaded: LoadedNetwork, request: InferenceRequest, text: AnswerTokens) -> Iterator[Reading]:
    """Yield what the model expects at these positions of an answer. Raises `Retry`."""
    import torch  # noqa: PLC0415 - the coordinator has no engine
    from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor  # noqa: PLC0415 - as above

    last = text.positions[-1]
    tokens = torch.tensor([[*text.prompt, *text.answer[:last]]], device=loaded.model.device)
    with torch.inference_mode():
        logits = loaded.model(tokens, logits_to_keep=last + 1, use_cache=False).logits[0]
    rules = Rules(loaded, request, len(text.prompt), text.draw or Draw("", 0))
    penalty = RepetitionPenaltyLogitsProcessor(float(request.repetition_penalty))
    chosen = set(text.positions)
    for position in range(last + 1):
        prefix, row = tokens[:, : len(text.prompt) + position], logits[position : position + 1].float()
        scores = rules(prefix, penalty(prefix, row))[0]
        distribution = rules.distribution()
        if position not in chosen:
            continue
        best = distribution.topk(SEEN)
        top = dict(zip(best.indices.tolist(), best.values.tolist(), strict=True))
        is_deterministic = text.draw is not None or not request.temperature
        margin = float(scores.max() - scores[text.answer[position]]) if is_deterministic else None
        yield Reading(top, margin)
