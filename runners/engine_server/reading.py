"""What runners have in common whose models in llama.cpp read texts and write none."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel

from runners.api import Context, Fail, FailureCode, Model, Probe, Runner, Tools
from runners.engine_server import llama
from runners.engine_server.llama import Task, gguf_file, gguf_files, least_tokens, start_llama
from runners.engine_server.server import EngineServer
from runners.extras import extra_command
from runners.model_errors import not_downloaded, not_loaded

ENGINE = llama.NAME

CONTEXT = 2048
"""Tokens that the model reads at once, unless the model's entry has the option `context` or the model reads fewer."""

TEXTS = 16
CHARACTERS = 16_384
"""Texts in one request to the engine, and their characters if they are several. Between two, a job can be cancelled and reports progress."""

RequestT = TypeVar("RequestT", bound=BaseModel)


class ReadingRunner(Runner[RequestT], Generic[RequestT]):
    """Starts llama.cpp's server for one model at a time, and bounds what is sent to it."""

    concurrent = True
    task: ClassVar[Task]

    _server: EngineServer | None = None
    _context = CONTEXT

    @classmethod
    def probe(cls, tools: Tools) -> Probe:
        """See `Runner.probe`. Starts it only to list its devices."""
        if llama.build() is None:
            reason = f"{ENGINE} is missing; install it: {extra_command('llm')}."
            return Probe(available=False, reasons=(reason,))
        return Probe(
            available=True,
            version=llama.build_version(),
            kinds={ENGINE: llama.device_kinds()},
            features={"engines": [ENGINE]},
            concurrency=tools.batch,
        )

    def load(self, model: Model | None) -> None:
        """See `Runner.load`."""
        self.close()
        if model is None:
            return
        file = gguf_file(model)
        if file is None:
            raise not_downloaded(model.name, "as GGUF")
        self._context = int(model.options.get("context", CONTEXT))
        self._server = start_llama(
            file, self.device, self.vram, context=self._context, answers=self.tools.batch, task=self.task
        )

    def engine_version(self) -> str:
        """See `Runner.engine_version`."""
        return llama.build_version()

    def weights(self, model: Model) -> tuple[Path, ...]:
        """See `Runner.weights`."""
        return gguf_files(model)

    def close(self) -> None:
        """See `Runner.close`."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def _open(self, model: str, context: Context) -> EngineServer:
        """Return the server of the loaded model, and log where it runs. Raises `Retry` without one."""
        if self._server is None:
            raise not_loaded(model)
        context.log(
            f"Model {model} in {ENGINE} on {self.device.words}, which reads up to {self._context} tokens of a text.",
            ENGINE,
        )
        return self._server

    def _check_length(self, server: EngineServer, text: str, context: Context) -> None:
        """Raise `Fail` if a long text cannot fit, as soon as enough of it was read."""
        for least in least_tokens(server, text, parse_special=True):
            if least > self._context:
                raise self._too_long()
            context.check()
            context.progress(None)

    def _too_long(self) -> Fail:
        return Fail(
            f"A text has more tokens than the model reads ({self._context}); split it.",
            code=FailureCode.CONTEXT_OVERFLOW,
        )

    def _compute(self, server: EngineServer, path: str, fields: Mapping[str, Any]) -> Any:
        try:
            return server.compute(path, fields)
        except Fail as error:
            if error.code != FailureCode.CONTEXT_OVERFLOW:
                raise
            # The engine's own message speaks of a prompt and of settings of the server.
            raise self._too_long() from None


class ReadLog:
    """What a run has read: reports progress, and logs the speed at its end."""

    def __init__(self, context: Context, total: int) -> None:
        self._context = context
        self._total = total
        self._began = time.monotonic()
        self._texts = 0
        self.tokens = 0

    def add(self, texts: int, tokens: int) -> None:
        """Report that so many texts with so many tokens were read."""
        self._texts += texts
        self.tokens += tokens
        self._context.progress(100 * self._texts / self._total, Decimal(self.tokens))

    def end(self) -> None:
        """Log the speed."""
        seconds = max(time.monotonic() - self._began, 0.001)
        self._context.log(
            f"{self._texts} texts with {self.tokens} tokens in {seconds:.2f} s: {self.tokens / seconds:.0f} token/s.",
            ENGINE,
        )


def together(texts: Sequence[str]) -> Iterator[list[str]]:
    """Yield the texts of each request to the engine."""
    group: list[str] = []
    for text in texts:
        # A text that is longer than all of a group stands alone.
        if group and (len(group) == TEXTS or sum(map(len, group)) + len(text) > CHARACTERS):
            yield group
            group = []
        group.append(text)
    yield group
