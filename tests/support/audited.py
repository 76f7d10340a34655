"""Audits of a runner's own results, as another miner would make them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runners.api import Audited, Calibration, Condition, OutputFile, Result
from runners.audits import HonestRange


def published(value: Any) -> Any:
    """Return results with files as a client sees them."""
    if isinstance(value, OutputFile):
        described = {"artifact_id": "sha256:0", "url": "", "media_type": value.media_type, "name": value.name}
        return {**described, "size": value.path.stat().st_size, **value.extra}
    if isinstance(value, Mapping):
        return {name: published(item) for name, item in value.items()}
    return [published(item) for item in value] if isinstance(value, (list, tuple)) else value


def audited(result: Result, *, files=None, claims=None, units=None, calibrations=(), choice="c0", **fields):
    """Return the work of a miner with a processor, with other `files`, `claims` in its results or `units` if given."""
    outputs = [item for item in walk(result.results) if isinstance(item, OutputFile)]
    predicate = {
        "job_id": "job_1",
        "miner_id": "miner_1",
        "fence": 1,
        "device": {"kind": "cpu", "name": "processor"},
        "units": str(result.units if units is None else units),
    }
    return Audited(
        {**published(result.results), **(claims or {})},
        {"subject": [], "predicate": predicate},
        fields.pop("evidence", result.evidence),
        choice=choice,
        files={file.name: file.path for file in outputs} if files is None else files,
        calibrations=calibrations,
        **fields,
    )


def walk(value: Any) -> Any:
    """Yield every value inside results."""
    yield value
    if isinstance(value, (Mapping, list, tuple)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from walk(item)


def calibration(service: str, engine: str, precision: str, **limits: float) -> Calibration:
    """Return a calibration of a service without models for two processors."""
    condition = Condition(engine, precision, "cpu")
    ranges = {name: HonestRange(0.0, limit / 2, 40, limit) for name, limit in limits.items()}
    return Calibration(service, condition, condition, ranges)
