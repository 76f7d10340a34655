"""Finds how far honest runs of a model are apart, so that audits have limits: runs on different numbers of threads, alone and together.

Each run is audited on the device as it normally works, in the same child processes that run jobs. What is measured is saved after every
variant, so that an interrupted calibration goes on where it was. `honest_limits` derives the limits from the
measured distances; `configs/calibrations.toml` has those that come with the agent.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from agent.atomic_file import replace_file
from agent.core.errors import ConfigurationError
from agent.deadline import call_within
from agent.miner.executor.contract import Execution
from agent.miner.executor.local import LocalExecutor
from agent.miner.honest_limits import honest_limit
from agent.miner.machine.calibrations import add_calibrations
from agent.miner.machine.capabilities import Capabilities, ServiceOffer, tools
from agent.miner.measuring.measurement import PREPARATION_SECONDS, MeasuredService, Measuring, scratch
from agent.settings import Settings
from runners.api import (
    Benchmark,
    Calibration,
    Condition,
    Device,
    Model,
    Retry,
    RunnerError,
)
from runners.audits import AUDIT_PREFIX, HonestRange, run_seed
from runners.host.protocol import AuditedRun, FileReference, Run, replace_files

TOGETHER: Final = 4
"""Runs at the same time in the second half of a variant, where the runner can."""

_PROGRESS: Final = "calibration.json"
"""In the miner's directory: what an interrupted calibration has measured."""

_PREFIX: Final = "job_calibration"

_MINER: Final = "miner_calibration"

Measured: TypeAlias = dict[str, Any]
"""An audit: its two conditions, the digest of the model's weights, the variant of the honest run, and the distances."""


@dataclass(slots=True)
class CalibrationReport:
    """What was calibrated, and what could not be, with the reasons: a service, or a service and a model."""

    made: list[Calibration] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _CalibratedService(MeasuredService):
    """A service with its typical requests."""

    requests: Sequence[Benchmark]

    @property
    def words(self) -> str:
        return self.service if self.model is None else f"{self.service}, {self.model.name}"


class Calibrate(Measuring):
    """Calibrates `services` and `models`, or all that have a comparer, with `runs` honest runs of each variant.

    Other options are those of `Measuring`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        services: Collection[str] = (),
        models: Collection[str] = (),
        runs: int,
        **options: Any,
    ) -> None:
        super().__init__(settings, **options)
        self._selected = frozenset(services), frozenset(models)
        self._runs = runs
        self._report = CalibrationReport()

    async def measure(self) -> CalibrationReport:
        """Calibrate model by model. Raises `ConfigurationError` if a daemon uses the data directory, or for unknown names."""
        with self._locked() as jobs:
            capabilities = await self._probe()
            self._check_names(capabilities)
            for offer in capabilities.services.values():
                with scratch(jobs / "calibration") as directory:
                    await self._calibrate_service(
                        offer, capabilities.devices_of(offer.definition.service_id), directory
                    )
        return self._report

    def _check_names(self, capabilities: Capabilities) -> None:
        """Raise `ConfigurationError` for a service or a model that is not here."""
        services, models = self._selected
        for name in sorted(services - {*capabilities.services}):
            raise ConfigurationError(f"This machine does not offer {name!r}; `aitbc-agent doctor` says why.")
        for name in sorted(models - {*self._models.catalogue}):
            raise ConfigurationError(f"No model is named {name!r}; `aitbc-agent models` lists them.")

    async def _calibrate_service(
        self, offer: ServiceOffer, devices: Sequence[Device], directory: Path
    ) -> None:
        definition = offer.definition
        services, names = self._selected
        if definition.comparer is None or (services and definition.service_id not in services):
            return
        models: Sequence[Model | None] = [None]
        if definition.model_field is not None:
            model_names = (name for name in offer.models if self._models.catalogue[name].kind == "model")
            models = [self._models.resolve(name) for name in model_names if not names or name in names]
        elif names:
            return
        runner = self._runners[definition.service_id]
        try:
            requests = await call_within(
                PREPARATION_SECONDS,
                lambda: runner.calibration(tools(self._settings), directory),
                name=f"calibrate-{definition.service_id}",
            )
            if not requests:
                raise Retry("Its runner has no typical requests.")
        except (RunnerError, TimeoutError) as error:
            self._report.skipped.append((definition.service_id, str(error)))
            return
        for model in models:
            await self._calibrate_model(
                _CalibratedService(runner, offer, model, requests), devices, directory
            )

    async def _calibrate_model(
        self, subject: _CalibratedService, devices: Sequence[Device], directory: Path
    ) -> None:
        measured = list[Measured]()
        for device in devices:
            # The number of threads changes the order of sums and thereby the result, which an audit must not take for fraud.
            for variant in variants(device):
                try:
                    # One variant that fails leaves the others, which took hours.
                    measured += await self._variant(subject, device, variant, directory)
                except (RunnerError, TimeoutError) as error:
                    self._report.skipped.append(
                        (f"{subject.words}, {variant.words}", str(error) or "time limit")
                    )
        subject_calibrations = calibrations(
            subject.service, subject.model, measured, subject.runner.definition.comparer
        )
        add_calibrations(self._settings.data_dir, subject_calibrations)
        self._report.made += subject_calibrations

    async def _variant(
        self, subject: _CalibratedService, device: Device, variant: Device, directory: Path
    ) -> list[Measured]:
        key = f"{subject.words}; {variant.uuid or variant.name}; {variant.threads} threads; {subject.offer.version}; {self._runs}"
        # The key names all that the figures depend on, so an interrupted calibration continues only with the same machine and version.
        if (saved_measurements := self._progress().get(key)) is not None:
            self._on_step(f"{subject.words} on {variant.words}: already measured")
            return list(saved_measurements)
        self._on_step(f"Running {subject.words} on {variant.words}")
        with scratch(directory / "variant") as variant_directory:
            # A fresh executor for each half: a model that stays loaded would keep the first one's number of threads.
            async with self._executor(subject, variant, self._models.weights_digest) as executor:
                variant_runs = [
                    (together, *run)
                    # Batching changes results too, and miners run jobs alone as well as together.
                    for together in (1, min(TOGETHER, subject.offer.concurrency))
                    for run in await self._honest_runs(executor, subject, together, variant_directory)
                ]
            self._on_step(f"Comparing {subject.words} on {device.words}")
            async with self._executor(subject, device, self._models.weights_digest) as executor:
                measurements = [
                    await self._audit(executor, subject, run, execution, variant_directory)
                    | {"variant": f"{variant.threads} threads, {together} together"}
                    for together, run, execution in variant_runs
                ]
        # After each variant, because a whole calibration may take a night.
        self._save(key, measurements)
        return measurements

    def _save(self, key: str, measurements: Sequence[Measured]) -> None:
        content = json.dumps(self._progress() | {key: [*measurements]}).encode()
        replace_file(self._directory / _PROGRESS, content)

    def _progress(self) -> dict[str, list[Measured]]:
        try:
            progress: dict[str, list[Measured]] = json.loads((self._directory / _PROGRESS).read_bytes())
        except (OSError, ValueError):
            return {}
        return progress

    async def _honest_runs(
        self, executor: LocalExecutor, subject: _CalibratedService, together: int, directory: Path
    ) -> list[tuple[Run, Execution]]:
        """Run half of the runs, so many at the same time."""
        completed_runs = list[tuple[Run, Execution]]()
        requests = itertools.cycle(subject.requests)
        runs_left = max(1, self._runs // 2)
        while runs_left:
            number = min(runs_left, together)
            messages = [
                self._honest_run(subject, request, directory)
                for request in itertools.islice(requests, number)
            ]
            executions = await asyncio.gather(
                *(self._execute(executor, subject, message) for message in messages)
            )
            completed_runs += zip(messages, executions, strict=True)
            runs_left -= number
        return completed_runs

    def _honest_run(self, subject: _CalibratedService, request: Benchmark, directory: Path) -> Run:
        run_id = f"{_PREFIX}{next(self._numbers)}"
        seed = run_seed(run_id, 1, _MINER, _nonce(run_id))
        return self._message(subject, request, run_id, directory / run_id, seed)

    async def _audit(
        self,
        executor: LocalExecutor,
        subject: _CalibratedService,
        run: Run,
        execution: Execution,
        directory: Path,
    ) -> Measured:
        """Audit an honest run, and return what was measured."""
        files: dict[str, Path] = {}

        def seen(file: FileReference) -> Mapping[str, Any]:
            """Return a file as an audit sees it: without the address, which only a coordinator has."""
            files[f"{AUDIT_PREFIX}{file.name}"] = file.below(run.output)
            return {"artifact_id": "", "url": "", "media_type": file.media_type, "size": 0, "name": file.name}

        audit = AuditedRun(
            results=replace_files(execution.done.results, seen),
            statement=_statement(run, subject.model, execution),
            evidence=execution.done.evidence,
            nonce=_nonce(run.run_id),
            # As in a real audit: a fixed choice would always compare the same parts.
            choice=secrets.token_hex(32),
        )
        request = Benchmark(run.parameters, "", files=run.files)
        message = self._honest_run(subject, request, directory).model_copy(
            update={"files": {**run.files, **files}, "audit": audit}
        )
        audit_run = await self._execute(executor, subject, message)
        conditions = (audit_run.done.evidence or {}).get("conditions")
        return {
            "conditions": conditions,
            "weights": execution.weights or "",
            "distances": audit_run.done.results["distances"],
            "reason": audit_run.done.results["reason"],
        }


def variants(device: Device) -> list[Device]:
    """Return the device with the numbers of threads that honest runs use: one, and all."""
    if device.kind != "cpu":
        return [device]
    return [replace(device, threads=threads) for threads in sorted({1, device.threads})]


def calibrations(
    service: str, model: Model | None, measured: Sequence[Measured], comparer: Any
) -> list[Calibration]:
    """Return the honest ranges of audits with the same conditions and weights.

    The limit is the greatest of those of the variants: over all together, the standard deviation would contain that they differ.
    """
    groups = defaultdict[str, list[Measured]](list)
    for measurement in measured:
        if measurement["conditions"] and measurement["distances"]:
            groups[json.dumps([measurement["conditions"], measurement["weights"]])].append(measurement)
    calibrations_made = []
    for key, group in groups.items():
        (audited, auditor), weights = json.loads(key)
        values = defaultdict[str, dict[str, list[float]]](lambda: defaultdict(list))
        for measurement in group:
            for name, distance in measurement["distances"].items():
                values[name][measurement.get("variant", "")].append(distance)
        ranges = {
            name: _range([*variants.values()], comparer.least_limits.get(name, 0.0))
            for name, variants in values.items()
        }
        conditions = Condition(**audited), Condition(**auditor)
        named = ("", "") if model is None else (model.name, weights)
        calibrations_made.append(Calibration(service, *conditions, ranges, *named))
    return calibrations_made


def _range(variants: Sequence[Sequence[float]], least: float) -> HonestRange:
    all_distances = [distance for distances in variants for distance in distances]
    limit = max(honest_limit(distances, least) for distances in variants)
    return HonestRange(min(all_distances), max(all_distances), len(all_distances), limit)


def _nonce(run_id: str) -> str:
    """Return a nonce of 64 hexadecimal digits that belongs to a run."""
    return run_id.encode().hex().ljust(64, "0")[-64:]


def _statement(run: Run, model: Model | None, execution: Execution) -> dict[str, Any]:
    device = execution.device
    named = None if model is None else {"name": model.name, "digest": {"sha256": execution.weights}}
    return {
        "subject": [],
        "predicate": {
            "job_id": run.run_id,
            "fence": "1",
            "miner_id": _MINER,
            "model": named,
            "device": {"kind": device.kind, "name": device.name, "uuid": device.uuid},
            "runner": {"name": execution.runner.name, "version": execution.runner.version},
            "units": str(execution.done.units),
        },
    }
