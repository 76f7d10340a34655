"""The client's own Python model, run once on one input in the sandbox."""

from __future__ import annotations

import hashlib
import json
import math
import mimetypes
import os
import platform
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from runners.api import (
    Benchmark,
    Context,
    Fail,
    FailureCode,
    OutputFile,
    Probe,
    Requirements,
    Result,
    Retry,
    Runner,
    ServiceDefinition,
    Tools,
)
from runners.plain_json import check_json
from runners.python_model import harness as python_harness
from runners.python_model.environment import PACKAGES, environment
from runners.python_model.environment import unavailable as environments_unavailable
from runners.python_model.request import InferenceRequest, InferenceResult, title, upload_field
from runners.sandbox import Sandbox, level, python_prefix, unavailable
from runners.sandbox.watch import Ended, Limits, Outcome

DEFAULT_MEMORY = 2 * 2**30
"""Memory in bytes of a job that does not request any."""

MAX_RESULT = 8 * 2**20
"""Bytes of JSON that `predict` may return."""

MAX_FILES = 100
"""Limit of the files that a run returns."""

MAX_NAME = 1000
"""Characters of the path of a returned file, below the model's directory."""

MAX_PROCESSES = 128

STDERR_TAIL = 2000
"""Characters of the model's own errors that the client sees."""

_SIZES = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}

BENCHMARK_SOURCE = '''
def predict(input, **parameters):
    """Plain arithmetic in the interpreter, as between the library calls of every model."""
    total = 0
    for number in range(parameters["numbers"]):
        total += number * number % 7
    return {"total": total}
'''


def _model_digest(parameters: Mapping[str, Any]) -> str:
    """Return what determines the GPU memory: the model's source and requirements."""
    text = json.dumps(parameters.get("model"), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


DEFINITION = ServiceDefinition(
    service_id="ai_inference",
    name="Python model",
    category="ai",
    description=(
        "Runs your own Python function predict(input, **parameters) without network, with the packages that you name, "
        "and returns its value and the files that it writes. Metered by the time that it occupies a slot of the machine."
    ),
    tags=("python", "inference", "model", "custom", "numpy", "torch"),
    unit="second",
    unit_is_time=True,
    determinism="As deterministic as the model itself.",
    input_model=InferenceRequest,
    output_model=InferenceResult,
    requirements=Requirements(gpu="optional", vram=2 * 2**30, memory=2**30, disk=2 * 2**30),
    size=_model_digest,
    body_fields=("model", "input", "output", "parameters"),
    upload_field=upload_field,
    title=title,
)


class PythonModelRunner(Runner[InferenceRequest]):
    """Performs `ai_inference`: installs the model's requirements, then runs it in the sandbox."""

    definition = DEFINITION
    name = "python"
    version = "0.2.0"
    sandboxed = True

    @classmethod
    def probe(cls, tools: Tools) -> Probe:
        """See `Runner.probe`. Never available without a working sandbox: the code is untrusted."""
        if not tools.python_models:
            return Probe(
                available=False, reasons=("Python models are disabled; set runners.python_models to true.",)
            )
        if (forbidden := _forbidden(tools)) is not None:
            return Probe(available=False, reasons=(forbidden,))
        if (reason_or_none := environments_unavailable() or unavailable(tools)) is not None:
            return Probe(available=False, reasons=(reason_or_none,))
        return Probe(available=True, version=platform.python_version())

    def run(self, request: InferenceRequest, context: Context) -> Result:
        """See `Runner.run`. `Fail`: INPUT_MISSING, REQUIREMENTS_FAILED, MODEL_FAILED, LIMIT_EXCEEDED, TIMEOUT."""
        if (forbidden := _forbidden(self.tools)) is not None:
            raise Retry(forbidden, code=FailureCode.SANDBOX_UNAVAILABLE)
        if "model.source" not in context.files:
            raise Fail("The model's source is missing.", code=FailureCode.INPUT_MISSING)
        meter = _Meter(context)
        try:
            results = self._results(request, context, meter)
        finally:
            meter.report(meter.percent)  # failed runs are billed for their time too
        return Result(results, meter.units())

    def _results(self, request: InferenceRequest, context: Context, meter: _Meter) -> dict[str, Any]:
        limits = self._limits(context.resources)
        with environment(self.tools, request.model.requirements, context, meter.report) as home:
            context.check()
            seconds = context.timeout_seconds - meter.seconds()
            if seconds <= 0:
                raise Fail(
                    "The job took longer than its timeout_seconds; raise timeout_seconds.",
                    code=FailureCode.TIMEOUT,
                )
            cpu_seconds = seconds * self._threads(context.resources)
            bounded = replace(limits, seconds=seconds, cpu_seconds=cpu_seconds)
            outcome = self._execute(request, context, home, bounded, meter)
        context.check()
        _judge(outcome)
        results = _returned(context.work / "scratch" / "result.json")
        if written := _written(context.output, self.tools.max_output):
            results["files"] = written
        return results

    @classmethod
    def benchmark(cls, tools: Tools, directory: Path) -> Benchmark:  # noqa: ARG003 - the contract's signature
        """See `Runner.benchmark`: a small model without requirements, from the start of its sandbox to its result."""
        source = directory / "model.py"
        source.write_text(BENCHMARK_SOURCE, encoding="utf-8")
        return Benchmark(
            parameters={"model": {"entrypoint": source.name}, "parameters": {"numbers": 1_000_000}},
            metric="run/s",
            files={"model.source": source},
            counted="runs",
        )

    def _execute(
        self, request: InferenceRequest, context: Context, home: Path, limits: Limits, meter: _Meter
    ) -> Outcome:
        threads = self._threads(context.resources)
        settings = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        sandbox = Sandbox(self.tools, limits, self.device, environment=settings)
        python = _python(sandbox, settings)
        harness = sandbox.read(Path(python_harness.__file__), "/harness.py")
        directory = sandbox.write(context.output, "/output")
        job = sandbox.read(self._job(request, context, home, sandbox), "/job.json")
        began = time.monotonic()

        def report(_: float) -> None:
            meter.report(min(95.0, 5 + 90 * (time.monotonic() - began) / limits.seconds))

        return sandbox.run(
            [python, "-I", "-S", "-B", harness, job],
            directory=directory,
            on_tick=report,
            on_cancel=context.on_cancel,
        )

    def _job(self, request: InferenceRequest, context: Context, home: Path, sandbox: Sandbox) -> Path:
        """Write the file with the harness's instructions; return its path."""
        scratch = context.work / "scratch"
        scratch.mkdir()
        inside = sandbox.write(scratch, "/work")
        source = context.files.get("input.source")
        end = f".{request.input.format}" if request.input is not None and request.input.format else ""
        job = {
            "source": sandbox.read(context.files["model.source"], "/source"),
            "entrypoint": request.model.entrypoint,
            "input": sandbox.read(source, f"/input/input{end}") if source is not None else None,
            "parameters": request.parameters,
            "max_unpacked": self.tools.max_unpacked,
            "model": f"{inside}/model",
            "packages": f"{sandbox.read(home, '/environment')}/{PACKAGES}",
            "result": f"{inside}/result.json",
        }
        path = context.work / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        return path

    def _threads(self, resources: Mapping[str, str]) -> int:
        available = max(1, self.device.threads)
        requested = resources.get("cpu")
        return min(available, max(1, math.ceil(_cores(requested)))) if requested else available

    def _limits(self, resources: Mapping[str, str]) -> Limits:
        """Return the limits without those of time. Raises `Retry` if the job requests more memory than this machine allows."""
        requested = resources.get("memory")
        if requested and _size(requested) > self.tools.max_memory:
            raise Retry(
                f"The job requests {requested} of memory, and this miner allows at most "
                f"{self.tools.max_memory / 2**30:.1f} GiB per run (runners.max_memory).",
                code=FailureCode.NO_MEMORY,
            )
        memory = min(_size(requested) if requested else DEFAULT_MEMORY, self.tools.max_memory)
        if self.device.kind == "cuda":
            memory = self.tools.max_memory  # CUDA maps far more main memory than it uses
        cpu = resources.get("cpu")
        return Limits(
            memory=memory,
            output=self.tools.max_output,
            file=self.tools.max_file,
            seconds=0.0,
            cpu_seconds=0.0,
            processes=MAX_PROCESSES,
            cpus=_cores(cpu) if cpu else None,
        )


def _python(sandbox: Sandbox, settings: dict[str, str]) -> str:
    """Grant running this program's own Python, without its packages, at a path that reveals nothing about the machine."""
    prefix = python_prefix()
    program = Path("bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    if prefix.is_relative_to("/usr"):
        return str(prefix / program)
    seen = sandbox.read(prefix, "/python")
    settings["LD_LIBRARY_PATH"] = f"{seen}/lib"  # the loader would search the original path
    return f"{seen}/{program}"


class _Meter:
    """Meters the time for which a run occupies its slot, in seconds, and reports it with the progress."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._began = time.monotonic()
        self.percent = 0.0

    def seconds(self) -> float:
        return time.monotonic() - self._began

    def units(self) -> Decimal:
        return round(Decimal(str(self.seconds())), 6)

    def report(self, percent: float) -> None:
        self.percent = max(self.percent, percent)
        self._context.progress(self.percent, self.units())


def _forbidden(tools: Tools) -> str | None:
    """Return why the owner's settings allow no model on this machine, with the remedy; None if they do."""
    match level(tools):
        case "none":
            return (
                "Python models are untrusted code and run only in a sandbox; set runners.sandbox to 'auto'."
            )
        case "landlock" if not tools.python_models_in_landlock:
            return (
                "bubblewrap does not work here, and Python models run in the weaker Landlock sandbox only if you allow it; set "
                "runners.python_models_in_landlock to true (see docs/explanation/sandbox.md), or enable bubblewrap."
            )
    return None


def _size(quantity: str) -> int:
    """Return the bytes of a Kubernetes quantity such as "2Gi"."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kMGT]i?|Ki)?", quantity)
    if found is None:
        raise Fail(f"resources.memory {quantity!r} is not a quantity such as '2Gi'.")
    return int(Decimal(found[1]) * _SIZES[found[2] or ""])


def _cores(quantity: str) -> float:
    """Return the cores of a Kubernetes quantity such as "1000m"."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", quantity)
    if found is None:
        raise Fail(f"resources.cpu {quantity!r} is not a quantity such as '1000m'.")
    return float(found[1]) / (1000 if found[2] else 1)


def _judge(outcome: Outcome) -> None:
    """Raise `Fail` unless the model ran to its end."""
    limits = {Ended.MEMORY: "memory", Ended.PROCESSES: "processes", Ended.OUTPUT: "file space"}
    if outcome.ended in limits:
        excess = outcome.reason or f"more {limits[outcome.ended]} than allowed"
        raise Fail(f"The model exceeded a limit: {excess}.", code=FailureCode.LIMIT_EXCEEDED)
    if outcome.ended is Ended.CPU:
        raise Fail(
            "The model used more processor time than allowed; request more in resources.cpu or raise timeout_seconds.",
            code=FailureCode.LIMIT_EXCEEDED,
        )
    if outcome.ended is Ended.DEADLINE:
        raise Fail("The model took longer than the job's timeout_seconds.", code=FailureCode.TIMEOUT)
    if outcome.exit_code == python_harness.TOO_LARGE:
        raise Fail(outcome.stderr.strip()[-STDERR_TAIL:], code=FailureCode.LIMIT_EXCEEDED)
    if outcome.exit_code != 0:
        reason = outcome.stderr.strip()[-STDERR_TAIL:] or f"It ended with status {outcome.exit_code}."
        raise Fail(f"The model failed: {reason}", code=FailureCode.MODEL_FAILED)


def _returned(path: Path) -> dict[str, Any]:
    """Return the value of `predict` as the results of the job. The file is untrusted."""
    if path.is_symlink() or not path.is_file():
        raise Fail("The model ended without returning from predict.", code=FailureCode.MODEL_FAILED)
    if path.stat().st_size > MAX_RESULT:
        raise Fail(
            "predict returned more than 8 MiB; write large data to files.", code=FailureCode.RESULT_TOO_LARGE
        )
    try:
        value = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
        check_json(value)
    except RecursionError:
        raise Fail(
            "predict returned an unusable value: it is nested too deeply.", code=FailureCode.MODEL_FAILED
        ) from None
    except ValueError as error:
        raise Fail(f"predict returned an unusable value: {error}.", code=FailureCode.MODEL_FAILED) from None
    results = dict(value) if isinstance(value, dict) else {"value": value}
    if "files" in results:
        raise Fail(
            "predict returned the key 'files', which is reserved for the files that it writes.",
            code=FailureCode.MODEL_FAILED,
        )
    return results


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it holds {name}, which JSON does not have")


def _written(directory: Path, max_size: int) -> list[OutputFile]:
    """Return the regular files that the model left in its current directory, by name; links are not followed."""
    found: list[OutputFile] = []
    total = 0
    try:
        for path in _regular_files(directory):
            name = path.relative_to(directory).as_posix()
            _check_name(name)
            if len(found) == MAX_FILES:
                raise Fail(f"The model wrote more than {MAX_FILES} files.", code=FailureCode.LIMIT_EXCEEDED)
            with path.open("rb") as file:  # an unreadable file is the model's fault and must be detected now
                total += os.fstat(file.fileno()).st_size
            if total > max_size:
                raise Fail(
                    f"The model's files have more than {max_size:,} bytes in total.",
                    code=FailureCode.LIMIT_EXCEEDED,
                )
            media_type, _ = mimetypes.guess_type(name)
            found.append(OutputFile(path, media_type or "application/octet-stream", name))
    except OSError as error:
        raise Fail(
            f"A file that the model wrote cannot be read: {error.strerror}.", code=FailureCode.MODEL_FAILED
        ) from None
    return found


def _check_name(name: str) -> None:
    try:
        check_json(name)
    except ValueError:
        raise Fail(
            "The model wrote a file whose name is not valid Unicode.", code=FailureCode.MODEL_FAILED
        ) from None
    if len(name) > MAX_NAME:
        raise Fail(
            f"The model wrote a file whose path has more than {MAX_NAME} characters.",
            code=FailureCode.LIMIT_EXCEEDED,
        )


def _regular_files(directory: Path) -> list[Path]:
    found: list[Path] = []
    pending: list[Path] = [directory]
    while pending:
        for path in sorted(pending.pop().iterdir()):
            if path.is_symlink():
                continue
            if path.is_dir():
                pending.append(path)
            elif path.is_file():
                found.append(path)
    return sorted(found)
