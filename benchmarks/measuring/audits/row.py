"""Rows of the benchmark of audits, and what honest and lying runs have in common there."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from runners.api import Audited, AuditResult, Context, Model, Result, Runner
from runners.audits import run_seed

MINER = "miner_benchmark"


class Workplace:
    """A context of runs in a folder, without anybody who watches."""

    adapters: Mapping[str, Any] = {}
    checkpoints: Mapping[str, Path] = {}
    resources: Mapping[str, str] = {}
    timeout_seconds = 3600.0
    max_units: Decimal | None = None
    cache_salt: str | None = None
    wants_evidence = True

    def __init__(
        self, folder: Path, files: Mapping[str, Path] | None = None, seed: str | None = None
    ) -> None:
        self.files = dict(files or {})
        self.seed = seed
        folder = folder / secrets.token_hex(8)
        self.output, self.work = folder / "output", folder / "work"
        self.output.mkdir(parents=True)
        self.work.mkdir()

    def ignore(self, *_: Any, **__: Any) -> None:
        """Ignore a report."""

    progress = event = log = check = checkpoint = on_cancel = ignore


@dataclass(frozen=True, slots=True)
class Job:
    """An honest or lying run: what it returned, and its lease."""

    number: int
    result: Result
    files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def nonce(self) -> str:
        """The nonce of its lease."""
        return f"{self.number:064x}"

    def changed(self, **results: Any) -> Job:
        """Return the job with other results."""
        return Job(
            self.number,
            Result({**self.result.results, **results}, self.result.units, self.result.evidence),
            self.files,
        )


def run(
    runner: Runner[Any], request: Any, folder: Path, number: int, files: Mapping[str, Path] | None = None
) -> Job:
    """Run a job as a miner does."""
    nonce = f"{number:064x}"
    context: Context = Workplace(folder, files, run_seed("job_benchmark", number, MINER, nonce))  # type: ignore[assignment]  # its reports are ignored
    return Job(number, runner.run(request, context), dict(files or {}))


def check(
    runner: Runner[Any],
    request: Any,
    job: Job,
    folder: Path,
    model: Model | None = None,
    *,
    choice: str | None = None,
) -> AuditResult:
    """Audit a job."""
    results, evidence = json.loads(json.dumps([dict(job.result.results), job.result.evidence]))
    named = None if model is None else {"name": model.name, "digest": {"sha256": ""}}
    predicate = {
        "job_id": "job_benchmark", "fence": str(job.number), "miner_id": MINER, "model": named,
        "device": {"kind": "cpu", "name": "CPU", "uuid": None},
    }  # fmt: skip
    audited = Audited(
        results, {"subject": [], "predicate": predicate}, evidence, job.nonce, choice or secrets.token_hex(8)
    )
    context: Context = Workplace(folder, job.files)  # type: ignore[assignment]  # as above
    return runner.audit(request, audited, context)


@dataclass(frozen=True, slots=True)
class Case:
    """What a miner does, whether that is honest, and the distances of its audits by name. `failed` audits needed no distance.

    `blind` states that the comparer cannot notice the lie.
    """

    service: str
    case: str
    honest: bool
    distances: Mapping[str, tuple[float, ...]]
    failed: int = 0
    audits: int = 0
    blind: bool = False

    @classmethod
    def of(
        cls, service: str, case: str, found: Iterable[AuditResult], *, honest: bool, blind: bool = False
    ) -> Case:
        """Collect the distances of audits."""
        comparisons = [one.comparison for one in found]
        names = {name for one in comparisons for name in one.distances}
        distances = {
            name: tuple(one.distances[name] for one in comparisons if name in one.distances)
            for name in sorted(names)
        }
        failed = sum(one.verdict == "fail" for one in comparisons)
        return cls(service, case, honest, distances, failed, len(comparisons), blind)
