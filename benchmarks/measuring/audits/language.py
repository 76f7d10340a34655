"""Audits of language models: honest runs on other threads, types and kernels, and the lies that a miner would gain by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from heapq import nlargest
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
from platformdirs import user_cache_path

from measuring.audits.row import Case, Job, check, run
from measuring.gguf_forms import requantised
from runners.api import AuditResult, Device, Model, Tools
from runners.llm import LLMRunner
from runners.llm.comparison import read_claim
from runners.llm.engines.base import AnswerTokens
from runners.llm.evidence import TOP, AnswerEvidence, TokenEvidence, evidence_of
from runners.llm.request import InferenceRequest

NAME = "smollm2-135m-instruct"
OPTIONS = {"context": 4096, "template": "smollm2"}
SYSTEM = "Answer as briefly as you can."
QUESTIONS = (
    "Explain what a rainbow is.",
    "Write a short story about a lighthouse keeper.",
    "Write a Python function that returns the greatest common divisor.",
    "Erkläre, wie ein Kühlschrank funktioniert.",
    "What would happen if the moon disappeared?",
    "Write a formal letter of complaint about a broken kettle.",
    "List five uses of a paper clip and explain each.",
    "Describe the taste of an orange to a person who has never eaten one.",
)
SERVICE = "llm_inference"
LONG = 320
"""Tokens of the answers whose choice is tested."""


@contextmanager
def loaded(path: Path, threads: int, **options: Any) -> Iterator[LLMRunner]:
    """Load a model."""
    runner = LLMRunner(Tools(models_dir=path.parent, batch=4), Device("cpu", "CPU", threads=threads))
    runner.load(Model(NAME, path, options={**OPTIONS, **options}))
    try:
        yield runner
    finally:
        runner.close()


def engine_of(runner: LLMRunner) -> Any:
    """Return the loaded engine, with the parts that are private to it."""
    return runner._engine  # noqa: SLF001 - as said


def request(number: int, tokens: int, **fields: Any) -> InferenceRequest:
    """Return one of the requests."""
    question = QUESTIONS[number % len(QUESTIONS)]
    return InferenceRequest(
        **{"model": NAME, "prompt": question, "max_tokens": tokens, "temperature": 0.8, **fields}
    )


def without_system(number: int, tokens: int) -> InferenceRequest:
    """Return a request without the system prompt that the model's template adds."""
    question = QUESTIONS[number % len(QUESTIONS)]
    text = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    return request(number, tokens, prompt=text, raw=True)


def reread(runner: LLMRunner, job: Job) -> Job:
    """Return the job with the evidence of a model that has not written the text."""
    engine, asked = engine_of(runner), request(job.number, LONG)
    (answer,) = read_claim(job.result.results, job.result.evidence or {}, 1).answers
    tokens = [token.token for token in answer.tokens]
    readings = engine.read(asked, AnswerTokens(engine.prompt_tokens(asked), tokens, range(len(tokens))))
    tops = [nlargest(TOP, one.top.items(), key=lambda entry: entry[1]) for one in readings]
    evident = AnswerEvidence([TokenEvidence(*pair) for pair in zip(tokens, map(tuple, tops), strict=True)])
    proof = evidence_of([evident], engine=engine.name, precision=engine.precision, seeded=False)
    return replace(job, result=replace(job.result, evidence=proof))


def with_system(number: int, tokens: int) -> InferenceRequest:
    """Return a request with a system prompt, which the client had not sent."""
    messages = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]},
    ]
    return request(number, tokens, prompt=None, messages=messages)


def shortened(job: Job, read: int) -> Job:
    """Hide that the prompt did not have `read` tokens, which the audit would notice."""
    usage = job.result.results["usage"]
    return job.changed(
        usage={**usage, "prompt_tokens": read, "total_tokens": read + usage["completion_tokens"]}
    )


class LlamaCpp:
    """Cases in llama.cpp: the demo's model in its own 4-bit format, and in others."""

    TOKENS = 64

    def __init__(self, folder: Path, answers: int) -> None:
        self.folder, self.answers = folder, answers
        self.own = Path(user_cache_path("aitbc") / "models" / NAME)

    def form(self, name: str) -> Path:
        """Return the model's directory in a format, which is written once."""
        path = self.own if name == "Q4_1" else self.folder / name
        if not path.is_dir():
            path.mkdir()
            requantised(self.own / "model.gguf", path / "model.gguf", name)
        return path

    def jobs(
        self,
        path: Path,
        threads: int,
        ask: Callable[[int, int], InferenceRequest] = request,
        *,
        together: int = 1,
    ) -> list[Job]:
        """Run jobs as a miner with this model, so many at the same time."""

        def one(number: int) -> Job:
            return run(runner, ask(number, self.TOKENS), self.folder, number)

        with loaded(path, threads) as runner, ThreadPoolExecutor(together) as pool:
            return [*pool.map(one, range(self.answers))]

    def audits(self, path: Path, jobs: list[Job], times: int = 1) -> list[AuditResult]:
        """Audit jobs, each several times at other positions."""
        with loaded(path, 2) as runner:
            return [
                check(runner, request(job.number, self.TOKENS), job, self.folder)
                for job in jobs
                for _ in range(times)
            ]

    def cases(self) -> Iterator[Case]:
        """Measure all cases."""
        lies = {
            "F16": [
                ("8-bit weights instead of F16", "Q8_0"),
                ("4-bit weights (Q4_0) instead of F16", "Q4_0"),
            ],
            "Q4_1": [
                ("Q4_0 instead of Q4_1", "Q4_0"),
                ("Q5_0 instead of Q4_1", "Q5_0"),
                ("Q8_0 instead of Q4_1", "Q8_0"),
                ("F16 instead of Q4_1", "F16"),
            ],
        }
        for named, others in lies.items():
            path = self.form(named)
            for threads in (1, 2):
                found = self.audits(path, self.jobs(path, threads), 4)
                yield Case.of(
                    SERVICE, f"llama.cpp {named}, {threads} thread{'s' * (threads > 1)}", found, honest=True
                )
            found = self.audits(path, self.jobs(path, 2, together=4), 4)
            yield Case.of(SERVICE, f"llama.cpp {named}, 4 requests together", found, honest=True)
            for words, form in others:
                found = self.audits(path, self.jobs(self.form(form), 2), 4)
                yield Case.of(SERVICE, f"llama.cpp: {words}", found, honest=False)
        found = self.audits(
            self.own,
            [
                shortened(job, SHOWN[job.number % len(QUESTIONS)])
                for job in self.jobs(self.own, 2, with_system)
            ],
            4,
        )
        yield Case.of(SERVICE, "llama.cpp Q4_1: another system prompt", found, honest=False)
        found = self.audits(
            self.own,
            [
                shortened(job, SHOWN[job.number % len(QUESTIONS)])
                for job in self.jobs(self.own, 2, without_system)
            ],
            4,
        )
        yield Case.of(SERVICE, "llama.cpp Q4_1: no system prompt", found, honest=False)
        yield from self.foreign()

    def foreign(self) -> Iterator[Case]:
        """Measure long answers that other weights or another temperature chose, and the named model has read once."""
        liars = {
            "text of Q4_0, read once": (self.form("Q4_0"), 0.8),
            "always the most likely token": (self.own, 0.0),
            "temperature 1.3 instead of 0.8": (self.own, 1.3),
        }
        for words, (path, temperature) in liars.items():
            with loaded(path, 1) as runner:
                jobs = [
                    run(runner, request(number, LONG, temperature=temperature), self.folder, number)
                    for number in range(max(2, self.answers // 2))
                ]
            with loaded(self.own, 1) as runner:
                read = [reread(runner, job) for job in jobs] if path != self.own else jobs
                found = [check(runner, request(job.number, LONG), job, self.folder) for job in read]
            yield Case.of(SERVICE, f"llama.cpp Q4_1: {words}, {LONG} tokens", found, honest=False)

    def learn_prompts(self) -> None:
        """Count the tokens of the honest prompts."""
        with loaded(self.own, 2) as runner:
            engine = engine_of(runner)
            SHOWN[:] = [len(engine.prompt_tokens(request(number, 8))) for number in range(len(QUESTIONS))]

    def cost(self, rounds: int) -> dict[str, float]:
        """Return ratios of processor time: of evidence to a run without, and of an audit to the job."""
        with loaded(self.own, 1) as runner:
            engine = engine_of(runner)
            process = psutil.Process(engine._server._process.pid)  # noqa: SLF001 - to read its processor time

            def spent(action: Callable[[], Any]) -> tuple[float, Any]:
                before, own = process.cpu_times(), psutil.Process().cpu_times()
                outcome = action()
                after, own_after = process.cpu_times(), psutil.Process().cpu_times()
                return sum(after[:2]) - sum(before[:2]) + sum(own_after[:2]) - sum(own[:2]), outcome

            plain, evident, jobs, audits = [], [], [], []
            for number in range(rounds + 1):
                asked = request(number, 256, logit_bias={"2": -100})  # so that no answer ends early
                with mock.patch("runners.llm.engines.llama_cpp.TOP", 0):
                    plain.append(spent(lambda: run(runner, asked, self.folder, number))[0])  # noqa: B023 - called at once
                seconds, job = spent(lambda: run(runner, asked, self.folder, number))  # noqa: B023 - as above
                evident.append(seconds)
                audits.append(spent(lambda: check(runner, asked, job, self.folder))[0])  # noqa: B023 - as above
                jobs.append(seconds)
        return {"evidence": sum(evident[1:]) / sum(plain[1:]) - 1, "audit": sum(audits[1:]) / sum(jobs[1:])}


SHOWN = [0] * len(QUESTIONS)


class Transformers:
    """Cases in transformers, where the choice of the tokens is checked too: the same weights in 16 and 32 bits."""

    TOKENS = 64

    def __init__(self, folder: Path, answers: int) -> None:
        self.folder, self.answers = folder, answers
        self.path = folder / "tensors"
        _to_safetensors(Path(user_cache_path("aitbc") / "models" / NAME / "model.gguf"), self.path)

    def jobs(
        self, dtype: str, change: Callable[[Any], None] | None = None, ask: Callable[[int, int], InferenceRequest] = request,
        threads: int = 2,
    ) -> list[Job]:  # fmt: skip
        """Run jobs as a miner that has changed the network."""
        with loaded(self.path, threads, dtype=dtype) as runner:
            if change is not None:
                change(engine_of(runner)._loaded.model)  # noqa: SLF001 - as a lying miner does
            return [
                run(runner, ask(number, self.TOKENS), self.folder, number) for number in range(self.answers)
            ]

    def audits(self, dtype: str, jobs: list[Job]) -> list[AuditResult]:
        """Audit jobs."""
        with loaded(self.path, 2, dtype=dtype) as runner:
            return [check(runner, request(job.number, self.TOKENS), job, self.folder) for job in jobs]

    def cases(self) -> Iterator[Case]:
        """Measure all cases, checked in bfloat16."""
        honest: dict[str, tuple[str, int, Callable[[Any], None] | None]] = {
            "bfloat16, 2 threads": ("bfloat16", 2, None),
            "bfloat16, 1 thread": ("bfloat16", 1, None),
            "bfloat16, another attention kernel": ("bfloat16", 2, eager),
            "float32": ("float32", 2, None),
        }
        for words, (dtype, threads, change) in honest.items():
            found = self.audits("bfloat16", self.jobs(dtype, change, threads=threads))
            yield Case.of(SERVICE, f"transformers {words}", found, honest=True)
        lies: dict[str, Callable[[Any], None]] = {
            "8-bit weights": lambda model: rounded(model, 8),
            "6-bit weights": lambda model: rounded(model, 6),
            "4-bit weights": lambda model: rounded(model, 4),
            "one of 30 layers left out": lambda model: model.model.layers.__delitem__(15),
        }
        for words, change in lies.items():
            found = self.audits("bfloat16", self.jobs("bfloat16", change))
            yield Case.of(SERVICE, f"transformers: {words}", found, honest=False, blind=words.startswith("8"))
        jobs = self.jobs("bfloat16")
        other = [Job(job.number + 1000, job.result) for job in jobs]
        found = self.audits("bfloat16", other)
        yield Case.of(SERVICE, "transformers: tokens of another seed", found, honest=False)


def eager(model: Any) -> None:
    """Choose the attention kernel that PyTorch has not fused."""
    model.set_attn_implementation("eager")


def rounded(model: Any, bits: int) -> None:
    """Round the weights of each layer to integers, with a scale for each row."""
    import torch  # noqa: PLC0415 - the import takes seconds

    levels = 2 ** (bits - 1) - 1
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2 and "embed" not in name:
            scale = parameter.data.abs().amax(dim=1, keepdim=True).float() / levels
            parameter.data = (torch.round(parameter.data.float() / scale) * scale).to(parameter.dtype)


def _to_safetensors(source: Path, target: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 - as above

    options = {"gguf_file": source.name, "local_files_only": True}
    network = AutoModelForCausalLM.from_pretrained(source.parent, **options)
    network.hf_quantizer = None  # its weights are plain numbers now
    if hasattr(network.config, "quantization_config"):
        del network.config.quantization_config
    network.save_pretrained(target)
    AutoTokenizer.from_pretrained(source.parent, **options).save_pretrained(target)
