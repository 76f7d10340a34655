"""Language models in transformers, with continuous batching: requests join and leave between any two tokens.

transformers' own batching manager has one source of random numbers for all requests and supports neither
grammars nor stop strings. This engine has its own loop over the model; models, caches and tokenizers are those of transformers.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Sequence as Series
from typing import Any

from runners.api import Device, Fail, FailureCode, Model, Retry, RunnerError, Tools
from runners.llm.engines.base import check_context
from runners.llm.engines.batch import Batch
from runners.llm.engines.grammar import Grammars, restrict
from runners.llm.engines.loading import Loaded, load
from runners.llm.engines.sampling import choose
from runners.llm.engines.sequence import Sequence
from runners.llm.prompt import PromptReader
from runners.llm.request import InferenceRequest
from runners.torch_memory import beyond_repair, hold_budget, memory_faults, memory_peak, release_memory

MAX_WAITING = 256
"""Requests that may wait for a row of the batch; the host sends at most `Tools.batch` at once."""

STEP_SECONDS = 0.5
"""Target time for one part of a prompt, which delays the tokens of other rows and a cancellation."""

PROMPT_COLUMNS = (32, 4096)
"""Minimum and maximum columns of prompts that are read in one step."""

RESERVE = 512 * 2**20
"""Bytes of the budget that are reserved for the model's intermediate results."""

END_SECONDS = 60.0
IDLE_SECONDS = 60.0


class TransformersEngine:
    """See `LanguageEngine`. One thread owns the model."""

    def __init__(self, model: Model, device: Device, tools: Tools, vram: int | None) -> None:
        hold_budget(device, vram)
        self._loaded: Loaded | None = None
        loaded = load(model, device)
        self._loaded = loaded
        self._device = device
        self._prompts = PromptReader(loaded.tokenizer)
        self._grammars: Grammars | None = None
        self._grammars_lock = threading.Lock()
        self._rows = tools.batch
        self._cache_tokens = self._cache_space(loaded, tools, vram) // loaded.cache_bytes
        self._waiting: deque[Sequence] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="language-model", daemon=True)
        self._thread.start()

    def submit(self, request: InferenceRequest) -> Sequence:
        """See `LanguageEngine.submit`."""
        loaded = self._ready()
        prompt = self._prompts.read(request)
        check_context(len(prompt), request, loaded.context)
        if len(prompt) + request.max_tokens > self._cache_tokens:
            raise Retry(
                "The request does not fit into the memory that the model leaves free; shorten the prompt or lower max_tokens.",
                code=FailureCode.OUT_OF_MEMORY,
            )
        schema = request.schema_text
        matcher = None if schema is None else self._compiler(loaded).matcher(schema)
        sequence = Sequence(request, prompt, loaded, matcher, self._thread.is_alive)
        with self._changed:
            if len(self._waiting) >= MAX_WAITING or self._closing:
                raise Retry("Too many requests are waiting for this model.")
            self._waiting.append(sequence)
            self._changed.notify()
        return sequence

    def vram_peak(self) -> int:
        """See `LanguageEngine.vram_peak`."""
        return memory_peak(self._device)

    def close(self) -> None:
        """See `LanguageEngine.close`."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(END_SECONDS)
        self._loaded = self._grammars = None
        release_memory(self._device)

    def _ready(self) -> Loaded:
        if self._loaded is None or not self._thread.is_alive():
            raise Retry("The model is not loaded.", code=FailureCode.MODEL_UNAVAILABLE)
        return self._loaded

    def _compiler(self, loaded: Loaded) -> Grammars:
        with self._grammars_lock:
            if self._grammars is None:
                self._grammars = Grammars(loaded)
            return self._grammars

    @staticmethod
    def _cache_space(loaded: Loaded, tools: Tools, vram: int | None) -> int:
        """Return the bytes that the cache of all rows may take: on a CPU, the memory limit of a run."""
        if loaded.model.device.type == "cpu":
            return tools.max_memory
        import torch  # noqa: PLC0415 - the coordinator has no engine

        free = torch.cuda.mem_get_info()[0] if vram is None else vram - torch.cuda.memory_reserved()
        return max(0, int(free) - RESERVE)

    # The methods below run in the engine's thread.

    def _work(self) -> None:
        loaded = self._ready()
        steps = _Steps(loaded, self._rows, self._cache_tokens)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing or steps.busy, IDLE_SECONDS)
                if self._closing:
                    break
                chosen = steps.admit(self._waiting)
            steps.step(chosen)
        steps.fail(Retry("The model was unloaded."), self._waiting)


class _Steps:
    """The rows that are being answered, the rows whose prompts are being read, and one step of both."""

    def __init__(self, loaded: Loaded, rows: int, cache_tokens: int) -> None:
        self._loaded = loaded
        self._rows = rows
        self._cache_tokens = cache_tokens
        self._answering: Batch[Sequence] | None = None
        self._reading: Batch[Sequence] | None = None
        self._prompt_columns = 256
        self._notified = 0.0

    @property
    def busy(self) -> bool:
        return self._answering is not None or self._reading is not None

    def admit(self, waiting: deque[Sequence]) -> list[Sequence]:
        """Take the next requests from the queue; report progress to the others about once a second."""
        chosen = list[Sequence]()
        while self._reading is None and waiting:
            if not waiting[0].cancelled:
                if not self._fits([*chosen, waiting[0]]):
                    break
                chosen.append(waiting[0])
            waiting.popleft()
        now = time.monotonic()
        if now - self._notified > 1:
            self._notified = now
            for sequence in waiting:
                sequence.read(0)
        return chosen

    def step(self, chosen: Series[Sequence]) -> None:
        """Begin the chosen requests; read one part of the prompts and generate one token of each answer.

        An error ends all active requests, but not the engine.
        """
        import torch  # noqa: PLC0415 - the coordinator has no engine

        try:
            with memory_faults(), torch.inference_mode():
                if chosen:
                    self._reading = self._begin(chosen)
                self._reading = self._drop(self._reading)
                self._read_prompts()
                self._answering = self._drop(self._answering)
                if self._answering is not None:
                    self._answering = self._next_tokens(self._answering, self._answering.read(1))
        except RunnerError as error:
            self.fail(error, chosen)
        except Exception as error:  # noqa: BLE001 - a model may raise anything, and the thread must live on
            traceback.print_exc()
            code = FailureCode.ENGINE_DIED if beyond_repair(error) else FailureCode.RUNNER_CRASHED
            self.fail(Retry(f"The model failed: {type(error).__name__}.", code=code), chosen)

    def _begin(self, chosen: Series[Sequence]) -> Batch[Sequence]:
        for sequence in chosen:
            sequence.count(self._loaded.vocabulary, self._loaded.model.device)
        return Batch(self._loaded.model, chosen)

    def fail(self, error: Exception, waiting: Series[Sequence]) -> None:
        """End all active requests."""
        batches = [batch for batch in (self._answering, self._reading) if batch is not None]
        self._answering = self._reading = None
        for sequence in [*(one for batch in batches for one in batch.sequences), *waiting]:
            if not sequence.finished:
                sequence.fail(error)

    def _fits(self, chosen: Series[Sequence]) -> bool:
        """Return whether these can be read together and fit into the cache until the last row ends."""
        longest = max(len(sequence.prompt) for sequence in chosen)
        if len(chosen) > 1 and longest * len(chosen) > self._prompt_columns:
            return False
        active = [] if self._answering is None else self._answering.sequences
        columns = longest if self._answering is None else max(longest, self._answering.columns)
        rows = [*active, *chosen]
        columns += max(sequence.remaining for sequence in rows)
        return len(rows) <= self._rows and (len(rows) == 1 or len(rows) * columns <= self._cache_tokens)

    def _read_prompts(self) -> None:
        if self._reading is None:
            return
        columns = max(1, self._prompt_columns // len(self._reading.sequences))
        part = min(columns, self._reading.unread) / columns
        began = time.monotonic()
        logits = self._reading.read(columns)
        seconds = time.monotonic() - began
        for sequence in self._reading.sequences:
            sequence.read(max(0, len(sequence.prompt) - self._reading.unread))
        fewest, most = PROMPT_COLUMNS
        if seconds > STEP_SECONDS:
            self._prompt_columns = max(fewest, self._prompt_columns // 2)
        elif seconds < part * STEP_SECONDS / 4:  # a short prompt is no evidence that a long step is fast
            self._prompt_columns = min(most, self._prompt_columns * 2)
        if self._reading.unread:
            return
        begun, self._reading = self._next_tokens(self._reading, logits), None
        if self._answering is None:
            self._answering = begun
        elif begun is not None:
            self._answering.join(begun)

    def _next_tokens(self, batch: Batch[Sequence], logits: Any) -> Batch[Sequence] | None:
        """Choose the next token of each row. Return the batch of unfinished rows, None if all have ended."""
        stuck = restrict(logits, [sequence.matcher for sequence in batch.sequences])
        for row in stuck:
            batch.sequences[row].fail(
                Fail("response_schema allows no value at this point of the answer; correct the schema.")
            )
            logits[row] = 0
        tokens = choose(logits, batch.sequences)
        for sequence, token in zip(batch.sequences, tokens, strict=True):
            if not sequence.finished:
                sequence.accept(token)
        batch.append(tokens)
        return self._drop(batch)

    @staticmethod
    def _drop(batch: Batch[Sequence] | None) -> Batch[Sequence] | None:
        """Return the batch without finished and cancelled rows; None if no row remains."""
        if batch is None:
            return None
        rows = [
            row
            for row, sequence in enumerate(batch.sequences)
            if not sequence.finished and not sequence.cancelled
        ]
        if not rows:
            return None
        batch.keep(rows)
        return batch
