"""The client's own Python model, run once on one input in the sandbox."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from runners.api import (
    Audited,
    AuditResult,
    Benchmark,
    Comparison,
    Context,
    Fail,
    FailureCode,
    Probe,
    Requirements,
    Result,
    Retry,
    Runner,
    ServiceDefinition,
    SoldUnit,
    Tools,
)
from runners.awake import awake_seconds
from runners.own_run import OwnRun
from runners.python_model.comparer import (
    COMPARER,
    first_difference,
    hindrance,
    packages_in,
    runs_differ,
    verdict,
)
from runners.python_model.environment import PACKAGES, environment, installer_unavailable
from runners.python_model.form import FORM
from runners.python_model.program import Program
from runners.python_model.request import InferenceRequest, InferenceResult, title, upload_field
from runners.python_model.returned import returned, written
from runners.sandbox import level, run_limits, unavailable
from runners.sandbox.watch import Limits

DEFAULT_MEMORY = 2 * 2**30
"""Memory in bytes of a job that does not request any."""

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


NOT_DETERMINISTIC = (
    "The client did not declare this model deterministic, so a different result would prove nothing."
)


def _unprovable(parameters: Mapping[str, Any]) -> str | None:
    """Return why comparing another run's result proves nothing, None if it does."""
    if parameters["model"]["deterministic"]:
        return None
    return (
        f"{NOT_DETERMINISTIC} If it returns the same on every machine, set `model.deterministic` to true "
        "(`aitbc run --deterministic`)."
    )


def _model_digest(parameters: Mapping[str, Any]) -> str:
    """Return what determines the GPU memory: the model's source and requirements."""
    text = json.dumps(parameters.get("model"), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


DEFINITION = ServiceDefinition(
    service_id="ai_inference",
    name="Python model",
    category="ai",
    description="Runs your own Python function, with the packages that it needs and without network, and returns what it returns and writes.",
    tags=("python", "inference", "model", "custom", "numpy", "torch"),
    unit="second",
    sale_units=(
        SoldUnit("second of a machine", "seconds of a machine", Decimal(1)),
        SoldUnit("minute of a machine", "minutes of a machine", Decimal(60)),
        SoldUnit("hour of a machine", "hours of a machine", Decimal(3600)),
    ),
    unit_is_time=True,
    determinism="As deterministic as the model itself.",
    comparer=COMPARER,
    unprovable=_unprovable,
    input_model=InferenceRequest,
    form=FORM,
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
        if (reason_or_none := installer_unavailable() or unavailable(tools)) is not None:
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
            results, evidence = self._results(request, context, meter)
        finally:
            meter.report(meter.percent)  # failed runs are billed for their time too
        return Result(results, meter.units(), evidence)

    def audit(self, request: InferenceRequest, audited: Audited, context: Context) -> AuditResult:
        """See `Runner.audit`. A model that differs is run again, so that one that is not deterministic accuses nobody."""
        if not request.model.deterministic:
            return AuditResult(Comparison("unproven", NOT_DETERMINISTIC))
        if audited.answer is not None:
            return AuditResult(verdict(lambda: None, first_difference(audited.answer, audited), None))
        mine = self.run(request, OwnRun(context))
        hindered = hindrance(audited, mine.evidence or {}, self.device.category)

        def repeated() -> str | None:
            repeated_run = self.run(request, OwnRun(context, "again", (90.0, 99.0)))
            return runs_differ(mine.results, repeated_run.results)

        comparison = verdict(repeated, first_difference(mine.results, audited), hindered)
        return AuditResult(comparison, mine.units)

    def _results(
        self, request: InferenceRequest, context: Context, meter: _Meter
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the results, and the environment in which they were made."""
        limits, threads = self._limits(context.resources), self._threads(context.resources)
        program = Program(self.tools, self.device, request, context, limits, threads)
        began = time.monotonic()
        packages = [*request.model.requirements, *program.unpack(lambda _: meter.report(0.0))]

        def report(_: float) -> None:
            meter.report(min(95.0, 5 + 90 * (time.monotonic() - began) / context.timeout_seconds))

        with environment(self.tools, packages, context, meter.report) as home:
            context.check()
            # Another version of a package may compute another value, and then nobody is at fault.
            evidence = {"python": platform.python_version(), "packages": packages_in(home / PACKAGES)}
            program.predict(home, report)
        context.check()
        results = returned(program.result)
        if files := written(context.output, self.tools.max_output):
            results["files"] = files
        return results, evidence

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
        # The time is set when the program starts: installing its requirements comes first.
        limits = run_limits(self.tools, 0.0, cpu_seconds=0.0, processes=self.tools.max_processes)
        return replace(limits, memory=memory, cpus=_cores(cpu) if cpu else None)


class _Meter:
    """Meters the time for which a run occupies its slot, in seconds, and reports it with the progress."""

    def __init__(self, context: Context) -> None:
        self._context = context
        # A client does not pay for the time in which the machine was suspended.
        self._began = awake_seconds()
        self.percent = 0.0

    def seconds(self) -> float:
        return awake_seconds() - self._began

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
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kMGT]i?|Ki)?", quantity)
    if match is None:
        raise Fail(f"resources.memory {quantity!r} is not a quantity such as '2Gi'.")
    return int(Decimal(match[1]) * _SIZES[match[2] or ""])


def _cores(quantity: str) -> float:
    """Return the cores of a Kubernetes quantity such as "1000m"."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", quantity)
    if match is None:
        raise Fail(f"resources.cpu {quantity!r} is not a quantity such as '1000m'.")
    return float(match[1]) / (1000 if match[2] else 1)
