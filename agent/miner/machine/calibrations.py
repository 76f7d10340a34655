"""How honest runs differ: the ranges that are shipped, and those that this machine's owner has measured.

`aitbc-agent calibrate` writes the owner's file. An audit uses the ranges of the same model, engine, precision and device class only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.atomic_file import replace_file
from agent.configuration import configuration_directory, read_document
from agent.core.errors import ConfigurationError
from runners.api import Calibration, Condition
from runners.audits import HonestRange

FILE_NAME: Final = "calibrations.toml"
"""In the data directory, and among the shipped files."""

_key: Final = attrgetter("service", "model", "weights", "audited", "auditor")
"""What the figures of a calibration belong to."""
_log = structlog.get_logger(__name__)


class _Range(BaseModel, defer_build=True):
    model_config = ConfigDict(extra="forbid")

    least: float = Field(ge=0, allow_inf_nan=False)
    greatest: float = Field(ge=0, allow_inf_nan=False)
    count: int = Field(ge=1)
    limit: float = Field(ge=0, allow_inf_nan=False)


class _CalibrationEntry(BaseModel, defer_build=True):
    model_config = ConfigDict(extra="forbid")

    service: str
    model: str = ""
    weights: str = ""
    audited: Condition
    auditor: Condition
    ranges: dict[str, _Range] = Field(min_length=1)

    def made(self) -> Calibration:
        ranges = {name: HonestRange(**entry.model_dump()) for name, entry in self.ranges.items()}
        return Calibration(self.service, self.audited, self.auditor, ranges, self.model, self.weights)


class _CalibrationsDocument(BaseModel, defer_build=True):
    model_config = ConfigDict(extra="forbid")

    calibration: list[_CalibrationEntry] = []


def calibrations_file(data_dir: Path) -> Path:
    """Return the path of the owner's calibrations."""
    return data_dir / FILE_NAME


def read_calibrations(data_dir: Path) -> tuple[Calibration, ...]:
    """Return the owner's calibrations and the shipped ones; the owner's come first. An unreadable file has none, and is logged."""
    try:
        shipped = configuration_directory() / FILE_NAME
    except ConfigurationError:
        return _read(calibrations_file(data_dir))
    return (*_read(calibrations_file(data_dir)), *_read(shipped))


def add_calibrations(data_dir: Path, news: Iterable[Calibration]) -> None:
    """Add calibrations to the owner's file, which is replaced atomically. Those of the same conditions replace older ones.

    Raises `OSError`.
    """
    import tomlkit  # noqa: PLC0415 - the daemon starts faster without it

    path = calibrations_file(data_dir)
    calibrations = {_key(made): made for made in _read(path)} | {_key(made): made for made in news}
    document = tomlkit.document()
    document.add(tomlkit.comment("How honest runs of each model differ, measured by aitbc-agent calibrate."))
    document.add("calibration", tomlkit.item([_plain(calibration) for calibration in calibrations.values()]))
    replace_file(path, tomlkit.dumps(document).encode())


def _read(path: Path) -> tuple[Calibration, ...]:
    if not path.is_file():
        return ()
    try:
        return tuple(
            entry.made() for entry in _CalibrationsDocument.model_validate(read_document(path)).calibration
        )
    except (ConfigurationError, ValidationError) as error:
        _log.warning("calibrations_not_read", path=str(path), error=str(error)[:500])
        return ()


def _plain(calibration: Calibration) -> dict[str, Any]:
    fields = asdict(calibration)
    fields["ranges"] = dict(sorted(fields["ranges"].items()))
    if not calibration.model:
        del fields["model"], fields["weights"]
    return fields
