"""Benchmark scores of this machine: saved on disk, sent to the coordinator, and the basis of suggested prices.

`aitbc-agent bench` writes the scores, and the daemon reads them for its registration. A score is valid for one version
of the runner, including its engine, and one device.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.atomic_file import replace_file
from agent.core.values.quantities import format_money
from agent.miner.machine.default_prices import price_for
from runners.api import Device, DeviceKind

FILE_NAME: Final = "benchmark.json"
"""In the miner's directory."""

GOOD_ENOUGH: Final = 0.9
"""The share of the best speed beyond which more concurrent runs are not worth their memory."""

_log = structlog.get_logger(__name__)


class BenchScore(BaseModel, defer_build=True):
    """How fast one runner is on one device.

    `version` includes the engine's, as offered. `levels` are speeds in `metric` by the number of concurrent runs; `speed`
    and `units_per_second` (metered units of the whole device) are those at `concurrency`, the recommended number.
    `measured_at` is RFC 3339.
    """

    model_config = ConfigDict(frozen=True)

    service: str
    runner: str
    version: str
    device_kind: DeviceKind
    device_uuid: str | None
    device_name: str
    model: str | None
    metric: str
    speed: float = Field(gt=0, allow_inf_nan=False)
    unit: str
    units_per_second: float = Field(gt=0, allow_inf_nan=False)
    concurrency: int = Field(ge=1)
    levels: dict[int, float]
    measured_at: str

    @property
    def key(self) -> tuple[str, str]:
        """The service and the device, of which the newest score counts."""
        return self.service, self.device_uuid or self.device_name


class _ScoresDocument(BaseModel, defer_build=True):
    scores: tuple[BenchScore, ...]


def read_scores(path: Path) -> tuple[BenchScore, ...]:
    """Return the scores in a file; none if it is missing or unreadable, since they can be measured again."""
    try:
        return _ScoresDocument.model_validate_json(path.read_bytes()).scores
    except FileNotFoundError:
        return ()
    except (OSError, ValidationError) as error:
        _log.warning("scores_not_read", path=str(path), error=type(error).__name__)
        return ()


def add_score(path: Path, score: BenchScore) -> None:
    """Add a score to the file, which is replaced atomically. Raises `OSError`."""
    scores = {former.key: former for former in read_scores(path)} | {score.key: score}
    replace_file(path, _ScoresDocument(scores=tuple(scores.values())).model_dump_json(indent=1).encode())


def advertised(
    scores: Iterable[BenchScore], service: str, version: str, devices: Sequence[Device]
) -> Mapping[str, Any] | None:
    """Return the service's score for a registration, that of the fastest device; None without a valid one."""
    saved_score = valid(scores, service, version, devices)
    if not saved_score:
        return None
    best = max(saved_score, key=lambda score: score.units_per_second)
    return {"metric": best.metric, "value": best.speed, "device": best.device_name}


def valid(
    scores: Iterable[BenchScore], service: str, version: str, devices: Sequence[Device]
) -> list[BenchScore]:
    """Return a service's scores on these devices with this version of its runner."""
    keys = {(service, device.uuid or device.name) for device in devices}
    return [score for score in scores if score.key in keys and score.version == version]


def worthwhile_concurrency(levels: Mapping[int, float]) -> int:
    """Return the smallest number of concurrent runs that reaches nearly the best speed of `levels`."""
    enough = GOOD_ENOUGH * max(levels.values())
    return min(number for number, speed in levels.items() if speed >= enough)


def suggested_prices(scores: Iterable[BenchScore], per_hour: Decimal) -> dict[str, str]:
    """Return prices per unit by service with which all measured devices together earn `per_hour` while they are busy."""
    rates: dict[str, float] = defaultdict(float)
    for score in scores:
        rates[score.service] += score.units_per_second
    return {service: format_money(price_for(per_hour, rate)) for service, rate in sorted(rates.items())}
