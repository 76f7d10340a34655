"""Calibrations of a runner in real child processes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent.configuration import configuration_directory
from agent.core.errors import ConfigurationError
from agent.miner.honest_limits import honest_limit
from agent.miner.machine.calibrations import read_calibrations
from agent.miner.measuring.calibrate import Calibrate, calibrations, variants
from miner_support.daemons import HOST, settings_for
from miner_support.runner import ScriptedRunner
from runners.api import Benchmark, Comparer, Condition, Device, Tools

pytestmark = pytest.mark.usefixtures("forked_hosts")


class ProvingRunner(ScriptedRunner):
    """A runner with a typical request."""

    @classmethod
    def benchmark(cls, tools: Tools, directory: Path) -> Benchmark:  # noqa: ARG003 - it needs no files
        return Benchmark({"mode": "prove", "text": "hello"}, "letter/s")


def calibrate(directory: Path, steps: list[str], **options: Any) -> Any:
    measuring = Calibrate(
        settings_for(directory), runs=2, on_step=steps.append, runners={"scripted": ProvingRunner}, host_command=HOST, **options
    )  # fmt: skip
    return asyncio.run(measuring.measure())


def test_honest_runs_become_limits_and_are_not_repeated(tmp_path: Path) -> None:
    steps: list[str] = []
    report = calibrate(tmp_path, steps)
    assert report.skipped == []
    (made,) = report.made
    condition = Condition("scripted", "exact", "cpu")
    assert (made.service, made.audited, made.auditor) == ("scripted", condition, condition)
    assert {name: (found.greatest, found.limit) for name, found in made.ranges.items()} == {
        "text": (0, 0),
        "seed": (0, 0),
    }
    assert made in read_calibrations(tmp_path / "data")
    assert any(step.startswith("Running") for step in steps)
    again: list[str] = []
    assert calibrate(tmp_path, again).made == report.made
    assert all(step.endswith("already measured") for step in again)


def test_unknown_services_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not offer 'dance'"):
        calibrate(tmp_path, [], services=["dance"])


def test_a_processor_is_calibrated_with_one_thread_and_with_all() -> None:
    assert [device.threads for device in variants(Device("cpu", "x", threads=8))] == [1, 8]
    assert len(variants(Device("cpu", "x", threads=1))) == len(variants(Device("cuda", "x", "GPU-1"))) == 1


def test_limits_lie_far_beyond_honest_distances() -> None:
    assert honest_limit([0.0, 0.0]) == 0
    assert honest_limit([0.0, 0.0], least=0.05) == 0.05
    assert honest_limit([0.01, 0.02]) == pytest.approx(0.045)
    assert honest_limit([0.1] * 100) == pytest.approx(0.15)


def test_audits_of_different_conditions_are_not_mixed() -> None:
    def audit(precision: str, distance: float, weights: str = "1") -> dict[str, Any]:
        conditions = [{"engine": "e", "precision": precision, "device": "cpu"}] * 2
        return {"conditions": conditions, "weights": weights, "distances": {"d": distance}}

    audits = [
        audit("int4", 0.1),
        audit("int4", 0.2),
        audit("int8", 0.3),
        audit("int8", 0.4, "2"),
        audit("int8", 0.5) | {"distances": {}},
    ]
    made = calibrations("s", None, audits, Comparer("", "rerun", {"d": 0.25}))
    assert [(one.audited.precision, one.ranges["d"].count) for one in made] == [
        ("int4", 2),
        ("int8", 1),
        ("int8", 1),
    ]
    assert made[0].ranges["d"].limit == pytest.approx(0.45)


def test_a_limit_is_the_greatest_of_those_of_the_variants() -> None:
    """Runs that are computed alike differ little; over all variants, the deviation would be that between the variants."""
    conditions = [{"engine": "e", "precision": "int4", "device": "cpu"}] * 2
    audits = [
        {"conditions": conditions, "weights": "", "distances": {"d": distance}, "variant": variant}
        for variant, distances in {"alone": [0.0, 0.001], "together": [0.10, 0.11, 0.10]}.items()
        for distance in distances
    ]
    (made,) = calibrations("s", None, audits, Comparer("", "rerun"))
    found = made.ranges["d"]
    assert (found.least, found.greatest, found.count) == (0.0, 0.11, 5)
    assert found.limit == honest_limit([0.10, 0.11, 0.10]) == pytest.approx(0.165)
    assert found.limit < honest_limit([one["distances"]["d"] for one in audits]) / 2


def test_shipped_calibrations_are_readable(tmp_path: Path) -> None:
    text = (configuration_directory() / "calibrations.toml").read_text()
    shipped = read_calibrations(tmp_path)
    assert len(shipped) == text.count("[[calibration]]") > 0
    assert all(found.greatest < found.limit for made in shipped for found in made.ranges.values())
