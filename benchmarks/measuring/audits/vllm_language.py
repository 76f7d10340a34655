"""Audits of language models in vLLM: honest runs on other threads and in batches, and the lies that a miner would gain by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from measuring.audits.language import (
    LONG,
    engine_of,
    request,
    reread,
    rounded,
    shortened,
    with_system,
    without_system,
)
from measuring.audits.row import Case, Job, check, run
from measuring.llm import MODEL
from measuring.vllm import installed_vllm, write_safetensors
from runners.api import Device, Model, Tools
from runners.llm import LLMRunner
from runners.llm.engines.vllm import VLLMEngine
from runners.llm.request import InferenceRequest

OPTIONS = {"context": 2048, "template": "smollm2"}
SERVICE = "vllm"
"""The section of the page: these cases need an engine that is not installed everywhere."""
TOKENS = 64

Ask: TypeAlias = Callable[..., InferenceRequest]
"""Returns the request with a number and so many tokens."""


@contextmanager
def loaded(path: Path, threads: int = 2) -> Iterator[LLMRunner]:
    """Load a model into a server of vLLM's environment."""
    _, environment = installed_vllm()
    device = Device("cpu", "CPU", threads=threads)
    runner = LLMRunner(Tools(models_dir=path.parent, batch=4), device)
    model = Model(MODEL, path, options=OPTIONS)
    runner._engine = VLLMEngine(str(environment.python), model, device, None)  # noqa: SLF001 - in a child process, `load` does it
    try:
        yield runner
    finally:
        runner.close()


class VLLM:
    """Cases in vLLM's build for processors: the demo's model as 16-bit safetensors."""

    def __init__(self, folder: Path, answers: int) -> None:
        self.folder, self.answers = folder, answers

    def _written(self, name: str, change: Callable[[Any], None] | None = None) -> Path:
        path = self.folder / f"vllm-{name}"
        if not path.is_dir():
            write_safetensors(path, change)
        return path

    def _rounded(self, bits: int) -> Path:
        return self._written(f"{bits}-bit", lambda model: rounded(model, bits))

    def jobs(
        self, runner: LLMRunner, ask: Ask = request, *, together: int = 1, tokens: int = TOKENS
    ) -> list[Job]:
        """Run jobs as a miner, so many at the same time."""

        def one(number: int) -> Job:
            return run(runner, ask(number, tokens), self.folder, number)

        with ThreadPoolExecutor(together) as pool:
            return [*pool.map(one, range(self.answers))]

    def case(
        self, auditor: LLMRunner, words: str, jobs: list[Job], *, honest: bool, tokens: int = TOKENS
    ) -> Case:
        """Audit jobs, and return the distances."""
        found = [check(auditor, request(job.number, tokens), job, self.folder) for job in jobs]
        length = f", {tokens} tokens" if tokens != TOKENS else ""
        return Case.of(SERVICE, f"vLLM{'' if honest else ':'} {words}{length}", found, honest=honest)

    def cases(self) -> Iterator[Case]:
        """Measure all cases. One server with two threads audits all of them."""
        own = self._written("own")
        with loaded(own, 1) as runner:
            one_thread = self.jobs(runner)
        with loaded(self._rounded(8)) as runner:
            eight = self.jobs(runner)
        with loaded(self._rounded(6)) as runner:
            six = self.jobs(runner)
        with loaded(self._rounded(4)) as runner:
            four, long = self.jobs(runner), self.jobs(runner, tokens=LONG)
        with loaded(own) as runner:
            case = partial(self.case, runner)
            yield case("bfloat16, 2 threads", self.jobs(runner), honest=True)
            yield case("bfloat16, 1 thread", one_thread, honest=True)
            yield case("bfloat16, 4 requests together", self.jobs(runner, together=4), honest=True)
            yield case("bfloat16", self.jobs(runner, tokens=LONG), honest=True, tokens=LONG)
            yield case("8-bit weights", eight, honest=False)
            yield case("6-bit weights", six, honest=False)
            yield case("4-bit weights", four, honest=False)
            for words, asked in (
                ("another system prompt", with_system),
                ("no system prompt", without_system),
            ):
                yield case(words, self.disguised(runner, asked), honest=False)
            read = [reread(runner, job) for job in long]
            yield case("text of 4-bit weights, read once", read, honest=False, tokens=LONG)
            for words, heat in (
                ("always the most likely token", 0.0),
                ("temperature 1.3 instead of 0.8", 1.3),
            ):
                jobs = self.jobs(runner, partial(request, temperature=heat), tokens=LONG)
                yield case(words, jobs, honest=False, tokens=LONG)

    def disguised(self, runner: LLMRunner, asked: Ask) -> list[Job]:
        """Run jobs with other prompts, which have the number of tokens of the right ones in the results."""
        engine = engine_of(runner)
        return [
            shortened(job, len(engine.prompt_tokens(request(job.number, TOKENS))))
            for job in self.jobs(runner, asked)
        ]
