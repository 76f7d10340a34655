"""Many honest audits of all services: small jobs on other numbers of threads, precisions and kernels. None may fail.

An audit is judged by the shipped calibration of its condition. Where none is shipped, the first audits of two variants of the honest
miner make its limits, as `aitbc-agent calibrate` does, and only later ones count.
"""

from __future__ import annotations

import json
import math
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

from agent.atomic_file import replace_file
from agent.configuration import configuration_directory, read_document
from agent.miner.honest_limits import honest_limit
from measuring.audits import language as audit_language
from measuring.audits import speech as audit_speech
from measuring.audits.audited import Bench
from measuring.audits.media import demo_models, make_clip
from measuring.audits.row import Job, check, run
from runners.api import AuditResult, Device, Tools
from runners.blender.comparer import release
from runners.registry import installed

LEARNED = 20
"""Audits of each variant that make the limits of a condition for which no calibration is shipped."""

LEARNED_VARIANTS = 2
"""Variants that make the limits. Runs of one variant alone may be equal to the last bit."""

TRANSFORMERS = 3
"""Every batch of language models with this number has one in transformers beside it."""

WORDS = ("the train leaves at noon from platform four", "water boils and its steam pushes a piston",
         "our office closes early on the last friday", "please send the invoice by registered mail")  # fmt: skip
VOICES = ("slt", "rms", "kal16", "awb")

Outcome: TypeAlias = tuple[str, str, str, Mapping[str, float]]
"""Of an audit: the condition, the variant of the honest miner, the verdict without a calibration, and the distances."""


@dataclass(slots=True)
class Row:
    """The audits of a variant. `nearest` is the greatest distance as a share of its limit."""

    audits: int = 0
    failed: int = 0
    unproven: int = 0
    nearest: float = 0.0


@dataclass(slots=True)
class Record:
    """What was measured, in a file that later runs add to."""

    file: Path
    rows: dict[str, Row] = field(default_factory=lambda: defaultdict(Row))
    learned: dict[str, dict[str, list[Mapping[str, float]]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    failures: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.file.is_file():
            known = json.loads(self.file.read_bytes())
            self.rows.update({key: Row(**row) for key, row in known["rows"].items()})
            self.learned.update(known["learned"])
            self.failures = known["failures"]

    def add(self, service: str, outcome: Outcome, shipped: Mapping[str, Mapping[str, float]]) -> None:
        """Judge an audit and count it."""
        condition, variant, verdict, distances = outcome
        key = f"{service}; {condition}"
        limits = shipped.get(key) or self._limits(service, key)
        if distances and limits is None:
            known = self.learned[key].setdefault(variant, [])
            if len(known) < LEARNED:
                known.append(dict(distances))
            return  # none of the others counts: nothing can fail yet
        row = self.rows[f"{key}; {variant}"]
        row.audits += 1
        if distances:
            shares = [
                _share(distance, limits[name]) for name, distance in distances.items() if name in limits
            ]
            row.nearest = max(row.nearest, *shares)
            failed = not max(shares) <= 1
        else:
            failed = verdict == "fail"
            row.unproven += verdict == "unproven"
        if failed:
            row.failed += 1
            self.failures.append([key, variant, dict(distances)])

    def count(self, service: str) -> int:
        """Return how many audits of a service were counted."""
        return sum(row.audits for key, row in self.rows.items() if key.startswith(f"{service};"))

    def save(self) -> None:
        """Replace the file."""
        rows = {
            key: {name: getattr(row, name) for name in Row.__slots__}
            for key, row in sorted(self.rows.items())
        }
        content = {"rows": rows, "learned": self.learned, "failures": self.failures}
        replace_file(self.file, json.dumps(content, indent=1).encode())

    def _limits(self, service: str, key: str) -> Mapping[str, float] | None:
        variants = [known for known in self.learned.get(key, {}).values() if len(known) == LEARNED]
        if len(variants) < LEARNED_VARIANTS:
            return None
        comparer = installed()[service].definition.comparer
        assert comparer is not None
        names = {name for known in variants for found in known for name in found}
        return {
            name: max(
                honest_limit(
                    [found[name] for found in known if name in found], comparer.least_limits.get(name, 0)
                )
                for known in variants
                if any(name in found for found in known)
            )
            for name in names
        }


def measure(folder: Path, file: Path, targets: Mapping[str, int], seconds: float) -> Record:
    """Audit until each service has so many audits, or until the time is over."""
    record, shipped, end = Record(file), shipped_limits(), time.monotonic() + seconds
    batches = {service: BATCHES[service](folder) for service in targets}
    while time.monotonic() < end:
        missing = {name: 1 - record.count(name) / targets[name] for name in targets}
        service = max(missing, key=missing.__getitem__)
        if missing[service] <= 0:
            break
        for outcome in next(batches[service]):
            record.add(service, outcome, shipped)
        record.save()
    return record


def shipped_limits() -> dict[str, dict[str, float]]:
    """Return the limits of the shipped calibrations, by service and precision."""
    document = read_document(configuration_directory() / "calibrations.toml")
    return {
        f"{one['service']}; {one['audited']['precision']}": {
            name: found["limit"] for name, found in one["ranges"].items()
        }
        for one in document["calibration"]
    }


def table(record: Record) -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| service | condition | honest miner | audits | failed | unproven | nearest to a limit |"
    yield "|---|---|---|---|---|---|---|"
    for key, row in sorted(record.rows.items()):
        service, condition, variant = key.split("; ")
        yield f"| `{service}` | {condition} | {variant} | {row.audits} | {row.failed} | {row.unproven} | {row.nearest:.0%} |"
    rows = record.rows.values()
    yield f"| all | | | {sum(row.audits for row in rows)} | {sum(row.failed for row in rows)} | {sum(row.unproven for row in rows)} | |"


def _share(distance: float, limit: float) -> float:
    return distance / limit if limit else math.inf if distance else 0.0


def _outcomes(condition: str, variant: str, found: list[AuditResult]) -> Iterator[Outcome]:
    for one in found:
        yield condition, variant, one.comparison.verdict, one.comparison.distances


def _language(folder: Path) -> Iterator[Iterator[Outcome]]:
    llama = audit_language.LlamaCpp(folder, 0)
    transformers = _transformers(folder)
    numbers = count(int(time.time()) * 100)  # so that later runs have other seeds
    for batch in count():
        if batch % TRANSFORMERS == TRANSFORMERS - 1:
            yield next(transformers)
        form = ("Q4_1", "F16", "Q4_1", "Q8_0")[batch % 4]
        threads, together = (1, 2)[batch // 4 % 2], (1, 4, 2, 8)[batch // 4 % 4]
        path = llama.form(form)

        def one(number: int) -> Job:
            return run(runner, _question(number), folder, number)

        with audit_language.loaded(path, threads) as runner, ThreadPoolExecutor(together) as pool:
            jobs = [*pool.map(one, [next(numbers) for _ in range(24)])]
        with audit_language.loaded(path, 1) as runner:
            found = [check(runner, _question(job.number), job, folder) for job in jobs for _ in range(2)]
        yield _outcomes(form, f"llama.cpp, {_threads(threads)}, {together} together", found)


def _question(number: int) -> Any:
    temperature = (0.8, 0.0, 1.0)[number % 3]
    return audit_language.request(number, 24, temperature=temperature)


def _transformers(folder: Path) -> Iterator[Iterator[Outcome]]:
    numbers = count(int(time.time()) * 100)
    miner = audit_language.Transformers(folder, 0)
    variants: list[tuple[str, int, Callable[[Any], None] | None]] = [
        ("sdpa", 1, None), ("eager", 1, audit_language.eager), ("sdpa", 2, None), ("eager", 2, audit_language.eager),
    ]  # fmt: skip
    for batch in count():
        kernel, threads, change = variants[batch % len(variants)]
        dtype = ("bfloat16", "float32")[batch // len(variants) % 2]
        with audit_language.loaded(miner.path, threads, dtype=dtype) as runner:
            if change is not None:
                change(audit_language.engine_of(runner)._loaded.model)  # noqa: SLF001 - there is no setting
            jobs = [
                run(runner, _question(number), folder, number)
                for number in (next(numbers) for _ in range(24))
            ]
        with audit_language.loaded(miner.path, 1, dtype=dtype) as runner:
            found = [check(runner, _question(job.number), job, folder) for job in jobs]
        yield _outcomes(f"transformers {dtype}", f"{kernel} attention, {_threads(threads)}", found)


def _speech(folder: Path) -> Iterator[Iterator[Outcome]]:
    clips = []
    for voice in VOICES:
        for number, words in enumerate(WORDS):
            clips.append(folder / f"{voice}{number}.wav")
            spoken = ["-f", "lavfi", "-i", f"flite=voice={voice}:text='{words}'"]
            subprocess.run(["ffmpeg", "-v", "error", "-y", *spoken, "-ar", "16000", clips[-1]], check=True)
    speech = audit_speech.Speech(folder, clips)
    for batch in count():
        form, threads = ("int8", "float32")[batch // 2 % 2], (1, 2)[batch % 2]
        found = speech.audits(speech.jobs(threads, form), form)
        condition = "int8_float32" if form == "int8" else form
        yield _outcomes(condition, f"faster-whisper, {_threads(threads)}, clips of 3 s", found)


def _videos(folder: Path) -> Iterator[Iterator[Outcome]]:
    from runners.ffmpeg import FFmpegRunner  # noqa: PLC0415 - one service at a time

    tools = Tools(cache_dir=folder / "cache")
    sources = ("testsrc2=size=160x90:rate=25", "mandelbrot=size=160x90:rate=25:end_scale=0.02",
               "testsrc2=size=160x90:rate=25,noise=alls=25:allf=t")  # fmt: skip
    clips = [make_clip(source, 1, folder / f"clip{number}.mkv") for number, source in enumerate(sources)]
    for batch in count():
        yield _media(
            lambda threads: FFmpegRunner(tools, Device("cpu", "processor", threads=threads)), folder, "libx264", batch,
            {"input_url": clips[batch % 3]},
            {"input_url": "artifact:clip", **({"bitrate": "300k"} if batch // 3 % 2 else {"quality": 18 + batch % 12})},
        )  # fmt: skip


def _pictures(folder: Path) -> Iterator[Iterator[Outcome]]:
    import torch  # noqa: PLC0415 - engines are optional

    from runners.stable_diffusion import StableDiffusionRunner  # noqa: PLC0415 - one service at a time

    model, _ = demo_models(folder)
    runners: dict[int, Any] = {}

    def loaded(threads: int) -> Any:
        torch.set_num_threads(threads)
        if threads not in runners:
            runners[threads] = StableDiffusionRunner(
                Tools(cache_dir=folder / "cache"), Device("cpu", "processor", threads=threads)
            )
            runners[threads].load(model)
        return runners[threads]

    for batch in count():
        asked = {
            "prompt": f"a lighthouse, number {batch}",
            "model": model.name,
            "size": "64x64",
            "steps": 2 + batch % 3,
        }
        yield _media(loaded, folder, "float32", batch, {}, {**asked, "seed": batch})


def _renderings(folder: Path) -> Iterator[Iterator[Outcome]]:
    from runners.blender import BlenderRunner  # noqa: PLC0415 - one service at a time

    tools = Tools(cache_dir=folder / "cache")
    benchmark = BlenderRunner.benchmark(tools, folder)
    assert benchmark is not None
    for batch in count():
        given = {
            **benchmark.parameters,
            "samples": 1 + batch % 4,
            "resolution_x": 32,
            "resolution_y": 32,
            "seed": batch,
        }
        yield _media(
            lambda threads: BlenderRunner(tools, Device("cpu", "processor", threads=threads)), folder, None, batch,
            benchmark.files, given,
        )  # fmt: skip


def _models(folder: Path) -> Iterator[Iterator[Outcome]]:
    from runners.python_model import PythonModelRunner  # noqa: PLC0415 - one service at a time

    tools = Tools(cache_dir=folder / "cache")
    source = folder / "model.py"
    source.write_text("def predict(input, n):\n    return {'sum': sum(i ** 0.5 for i in range(n))}\n")
    model = {"entrypoint": "model.py", "deterministic": True}
    for batch in count():
        yield _media(
            lambda threads: PythonModelRunner(tools, Device("cpu", "processor", threads=threads)), folder, "same Python", batch,
            {"model.source": source}, {"model": model, "parameters": {"n": batch}},
        )  # fmt: skip


def _media(
    runner: Callable[[int], Any], folder: Path, condition: str | None, batch: int, files: Mapping[str, Path], given: Mapping[str, Any]
) -> Iterator[Outcome]:  # fmt: skip
    threads = (1, 2)[batch % 2]
    bench = Bench(runner(2), folder, files)
    request, result, job = bench.run(runner(threads), **given)
    runner(2)
    if condition is None:
        condition = release(result.evidence or {})
    for _ in range(2):  # of two parts, where the comparer chooses one
        found = bench.audit("", request, result, job, honest=True)
        yield condition, _threads(threads), found.verdict, found.distances


def _threads(threads: int) -> str:
    return f"{threads} thread{'s' * (threads > 1)}"


BATCHES: Mapping[str, Callable[[Path], Iterator[Iterator[Outcome]]]] = {
    "llm_inference": _language,
    "whisper_transcription": _speech,
    "video_transcoding": _videos,
    "image_generation": _pictures,
    "blender_rendering": _renderings,
    "ai_inference": _models,
}
