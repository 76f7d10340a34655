"""Benchmarks of runners in real child processes, and the use of their scores."""

from __future__ import annotations

import asyncio
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent.catalogue import CatalogueEntry
from agent.core.errors import ConfigurationError
from agent.core.values.quantities import parse_time
from agent.miner.data_dir import DataDirectory
from agent.miner.machine import scores
from agent.miner.machine.capabilities import Machine
from agent.miner.machine.gpus import Gpus
from agent.miner.machine.scores import BenchScore, add_score, advertised, read_scores
from agent.miner.measuring import bench, measurement
from agent.miner.measuring.bench import Bench, BenchReport
from agent.miner.models.store import ModelStore
from agent.settings import Settings
from miner_support.daemons import settings_for
from miner_support.timed_runners import CONCURRENCY, PROGRAM, RUNNERS, SECONDS
from runners.api import Device

SCORE = BenchScore(
    service="s",
    runner="r",
    version="1+2",
    device_kind="cuda",
    device_uuid="GPU-1",
    device_name="Card",
    model=None,
    metric="fps",
    speed=120.5,
    unit="second",
    units_per_second=2.0,
    concurrency=1,
    levels={1: 120.5},
    measured_at="2026-01-01T00:00:00.000Z",
)
CARD = Device("cuda", "Card", "GPU-1")

pytestmark = pytest.mark.usefixtures("forked_hosts")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for(tmp_path)


def measure(settings: Settings, *services: str) -> BenchReport:
    measuring = Bench(
        settings,
        services=services,
        seconds=0.3,
        on_step=lambda _text: None,
        runners=RUNNERS,
        host_command=PROGRAM,
    )
    return asyncio.run(measuring.measure())


def reasons(report: BenchReport) -> dict[str, str]:
    return {skipped.service: skipped.reason for skipped in report.skipped}


def test_speed_is_scaled_units_per_second_and_rises_with_concurrent_runs(settings: Settings) -> None:
    (score,) = measure(settings, "sleeping").scores
    assert (score.runner, score.version, score.metric) == ("sleeping", "1.0+2.0", "word/s")
    assert (score.device_kind, score.device_uuid, score.unit) == ("cpu", None, "letter")
    assert list(score.levels) == [1, 2, CONCURRENCY]
    # Two words per run. A busy machine makes it slower than the sleep, never faster.
    assert 0 < score.levels[1] <= 2 / SECONDS
    assert score.levels[1] < score.levels[CONCURRENCY] <= 2 * CONCURRENCY / SECONDS
    assert score.speed == score.levels[score.concurrency]
    assert score.units_per_second == pytest.approx(score.speed / 0.2, rel=1e-4)
    assert parse_time(score.measured_at)


def test_runs_are_counted_where_units_do_not_measure_speed(settings: Settings) -> None:
    (score,) = measure(settings, "counting").scores
    assert 0 < score.speed <= 1 / SECONDS
    assert score.units_per_second == pytest.approx(1000 * score.speed, rel=1e-3)


def test_the_smallest_model_on_disk_is_used(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a larger one, nor a smaller one that is an adapter or missing."""

    def entry(name: str, size: int, kind: Any = "model") -> CatalogueEntry:
        return CatalogueEntry(name, "naming", ("engine",), None, size, size, size, "MIT", "", kind)

    entries = [entry("large", 9), entry("small", 5), entry("absent", 3), entry("adapter", 1, "adapter")]
    catalogue = {item.name: item for item in entries}
    monkeypatch.setattr(measurement, "load_catalogue", lambda _directory: catalogue)
    report = measure(settings, "naming")
    assert "models pull" in reasons(report)["naming"]
    for name in ("large", "small", "adapter"):
        (settings.models_dir / name).mkdir(parents=True)
        (settings.models_dir / name / "weights").touch()
    (score,) = measure(settings, "naming").scores
    assert score.model == "small"


def test_a_runner_that_cannot_be_measured_is_skipped_with_a_reason(settings: Settings) -> None:
    report = measure(settings, "failing", "crashing", "plain", "counting")
    assert [score.service for score in report.scores] == ["counting"]
    assert reasons(report) == {
        "failing": "The card is on fire.",
        "crashing": "The runner crashing failed to create its test input (ZeroDivisionError: no).",
        "plain": "The runner plain has no benchmark.",
    }


def test_only_the_scores_are_left_behind(settings: Settings) -> None:
    measure(settings, "counting", "failing")
    miner = settings.data_dir / "miner"
    assert list((miner / "jobs").iterdir()) == []
    assert [score.service for score in read_scores(miner / scores.FILE_NAME)] == ["counting"]
    measure(settings, "sleeping")
    assert {score.service for score in read_scores(miner / scores.FILE_NAME)} == {"counting", "sleeping"}


def test_nothing_is_measured_while_a_daemon_uses_the_directory(settings: Settings) -> None:
    data_directory = DataDirectory(settings.data_dir / "miner")
    data_directory.lock()
    try:
        with pytest.raises(ConfigurationError, match=rf"process {os.getpid()}\) uses .*Stop it"):
            measure(settings)
    finally:
        data_directory.unlock()
    assert not (settings.data_dir / "miner" / scores.FILE_NAME).exists()
    assert measure(settings, "counting").scores


def test_an_unknown_service_is_reported_with_the_known_ones(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match=r"'counted'; installed are: sleeping, naming, counting"):
        measure(settings, "counted")


def test_the_next_registration_contains_the_score(settings: Settings) -> None:
    (score,) = measure(settings, "counting").scores

    def offered() -> Any:
        machine = Machine(
            settings, Gpus(), ModelStore(settings.models_dir, {}), {"counting": RUNNERS["counting"]}
        )
        return asyncio.run(machine.probe()).to_wire()["services"]["counting"]["score"]

    assert offered() == {"metric": "run/s", "value": score.speed, "device": score.device_name}
    path = settings.data_dir / "miner" / scores.FILE_NAME
    add_score(path, score.model_copy(update={"version": "0.9"}))
    assert offered() is None, "the score is of another version of the runner"


def test_the_score_of_the_fastest_present_device_is_advertised(tmp_path: Path) -> None:
    other = SCORE.model_copy(update={"device_uuid": "GPU-2", "speed": 240.0, "units_per_second": 4.0})
    second = Device("cuda", "Card", "GPU-2")
    assert advertised([SCORE, other], "s", "1+2", (CARD, second)) == {
        "metric": "fps",
        "value": 240.0,
        "device": "Card",
    }
    assert advertised([SCORE, other], "s", "1+2", (CARD,)) == {
        "metric": "fps",
        "value": 120.5,
        "device": "Card",
    }
    assert advertised([SCORE], "s", "1+3", (CARD,)) is None
    assert advertised([SCORE], "t", "1+2", (CARD,)) is None
    assert advertised([SCORE], "s", "1+2", (second,)) is None


@pytest.mark.parametrize("content", [b"", b"[]", b'{"scores": [{"service": "s"}]}', b"\xff\xfe"])
def test_a_damaged_score_file_counts_as_missing_and_is_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / scores.FILE_NAME
    assert read_scores(path) == ()
    path.write_bytes(content)
    assert read_scores(path) == ()
    add_score(path, SCORE)
    assert read_scores(path) == (SCORE,)
    assert [entry.name for entry in tmp_path.iterdir()] == [scores.FILE_NAME]


def test_a_new_score_replaces_the_old_one_of_its_device(tmp_path: Path) -> None:
    path = tmp_path / scores.FILE_NAME
    faster = SCORE.model_copy(update={"speed": 200.0})
    for score in (SCORE, SCORE.model_copy(update={"device_uuid": "GPU-2"}), faster):
        add_score(path, score)
    assert [(score.device_uuid, score.speed) for score in read_scores(path)] == [
        ("GPU-1", 200.0),
        ("GPU-2", 120.5),
    ]


@pytest.mark.parametrize(
    ("levels", "best"),
    [({1: 10.0}, 1), ({1: 10.0, 2: 19.0, 4: 20.0, 8: 20.5}, 2), ({1: 10.0, 2: 20.0, 4: 38.0}, 4), ({1: 5.0, 2: 1.0}, 1)],
)  # fmt: skip
def test_concurrency_rises_only_while_it_is_worthwhile(levels: dict[int, float], best: int) -> None:
    assert scores.worthwhile_concurrency(levels) == best


@pytest.mark.parametrize(("most", "levels"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_concurrency_levels_double_up_to_the_runners_own(most: int, levels: list[int]) -> None:
    assert bench.Bench._levels(most) == levels


def test_all_devices_together_earn_the_requested_amount() -> None:
    """2 and 3 units per second are 18,000 an hour. The price rounds up, never to zero."""
    other = SCORE.model_copy(update={"device_uuid": "GPU-2", "units_per_second": 3.0})
    assert scores.suggested_prices([SCORE, other], Decimal("0.9")) == {"s": "0.00005"}
    fast = SCORE.model_copy(update={"units_per_second": 1e9})
    assert scores.suggested_prices([fast], Decimal("0.01")) == {"s": "0.00000001"}
