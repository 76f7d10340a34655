"""Pauses that follow from measurements, and how a whole miner's pause is composed."""

from __future__ import annotations

from datetime import datetime

import pytest

from agent.core.values.durations import format_duration, parse_duration
from agent.miner.pausing.gpu_watch import (
    ONSET_SECONDS,
    SLOWED_SECONDS,
    GpuReading,
    GpuWatch,
    Pause,
    PauseCause,
    whole,
)
from agent.miner.settings import PauseSettings

HOLD = 60.0


def causes(watch: GpuWatch, rules: PauseSettings) -> list[PauseCause]:
    return [pause.cause for pause in watch.pauses(rules)]


def test_heat_pauses_until_it_stays_below_the_margin_for_the_hold_time() -> None:
    """Readings around the limit change nothing while the card is still warm."""
    rules = PauseSettings(max_temperature=80, temperature_margin=5, hold_seconds=HOLD)
    watch = GpuWatch().update(GpuReading(temperature=80), rules, 0)
    assert causes(watch, rules) == []
    for now, degrees in enumerate((81, 79, 76, 81, 76)):
        watch = watch.update(GpuReading(temperature=degrees), rules, now)
        assert causes(watch, rules) == [PauseCause.TEMPERATURE]
    watch = watch.update(GpuReading(temperature=75), rules, 5 + HOLD - 2)
    assert causes(watch, rules) == [PauseCause.TEMPERATURE]
    watch = watch.update(
        GpuReading(temperature=76), rules, 5 + HOLD - 1
    )  # warm again: the hold time restarts
    watch = watch.update(GpuReading(temperature=60), rules, 5 + 2 * HOLD - 2)
    assert causes(watch, rules) == [PauseCause.TEMPERATURE]
    assert causes(watch.update(GpuReading(temperature=60), rules, 5 + 2 * HOLD), rules) == []


def test_power_pauses_likewise_and_a_card_without_readings_is_not_paused() -> None:
    rules = PauseSettings(max_power=300, power_margin=20, max_temperature=80, hold_seconds=0)
    watch = GpuWatch().update(GpuReading(power=301), rules, 0)
    assert [pause.words(0) for pause in watch.pauses(rules)] == ["for the power (limit 300 W)"]
    assert causes(watch.update(GpuReading(power=281), rules, 1), rules) == [PauseCause.POWER]
    assert causes(watch.update(GpuReading(power=280), rules, 1), rules) == []
    assert causes(GpuWatch().update(GpuReading(), rules, 0), rules) == []


def test_a_faulty_card_is_paused_until_the_fault_has_been_absent_for_the_hold_time() -> None:
    rules = PauseSettings(hold_seconds=HOLD)
    watch = GpuWatch().update(GpuReading(fault="2 uncorrectable memory errors"), rules, 0)
    assert [pause.words(0) for pause in watch.pauses(rules)] == [
        "because of a fault (2 uncorrectable memory errors)"
    ]
    watch = watch.update(GpuReading(), rules, HOLD - 1)
    assert [pause.detail for pause in watch.pauses(rules)] == ["2 uncorrectable memory errors"]
    assert causes(watch.update(GpuReading(), rules, HOLD), rules) == []
    tolerant = PauseSettings(faulty=False, hold_seconds=HOLD)
    assert causes(GpuWatch().update(GpuReading(fault="Xid 79", slowed=True), tolerant, 0), tolerant) == []


def test_a_card_that_its_hardware_slows_down_for_long_is_paused() -> None:
    rules = PauseSettings(hold_seconds=0)
    watch = GpuWatch().update(GpuReading(slowed=True), rules, 0)
    watch = watch.update(GpuReading(slowed=True), rules, SLOWED_SECONDS - 1)
    assert causes(watch, rules) == []
    assert causes(watch.update(GpuReading(slowed=True), rules, SLOWED_SECONDS), rules) == [PauseCause.FAULT]
    assert causes(watch.update(GpuReading(), rules, SLOWED_SECONDS), rules) == []


def test_another_computing_program_pauses_at_once_until_it_is_absent_for_the_hold_time() -> None:
    rules = PauseSettings(other_programs=True, hold_seconds=HOLD)
    watch = GpuWatch().update(GpuReading(others=1, working=True), rules, 0)
    assert causes(watch, rules) == [PauseCause.PROGRAM]
    assert causes(watch.update(GpuReading(), rules, HOLD - 1), rules) == [PauseCause.PROGRAM]
    assert causes(watch.update(GpuReading(), rules, HOLD), rules) == []
    assert causes(GpuWatch().update(GpuReading(others=1), PauseSettings(), 0), PauseSettings()) == []


def test_a_program_that_only_draws_counts_from_a_certain_memory_even_beside_a_job() -> None:
    """Then the utilisation says nothing. Without a limit, or for owners who do not want it, memory means nothing."""
    game = GpuReading(largest_other=3000, utilization=99, working=True)
    for rules, is_needed in (
        (PauseSettings(other_programs=True, other_memory=3000), True),
        (PauseSettings(other_programs=True, other_memory=3001), False),
        (PauseSettings(other_programs=True, other_memory=None), False),
        (PauseSettings(other_memory=3000), False),
    ):
        assert GpuWatch().update(game, rules, 0).needed is is_needed


def test_a_program_that_only_draws_counts_if_it_keeps_the_gpu_busy_while_the_agent_is_idle() -> None:
    """Moving a window is too short to count, and the agent's own work never counts."""
    rules = PauseSettings(other_programs=True, other_utilization=25, hold_seconds=HOLD)
    watch = GpuWatch().update(GpuReading(utilization=90), rules, 0)
    watch = watch.update(GpuReading(utilization=10), rules, ONSET_SECONDS - 1)
    watch = watch.update(GpuReading(utilization=90), rules, ONSET_SECONDS)
    assert causes(watch, rules) == []
    watch = watch.update(GpuReading(utilization=25), rules, 2 * ONSET_SECONDS)
    assert causes(watch, rules) == [PauseCause.PROGRAM]
    watch = GpuWatch()
    for now in range(0, 100, 5):
        watch = watch.update(GpuReading(utilization=99, working=True), rules, now)
    assert causes(watch, rules) == []


def test_the_whole_miner_is_paused_by_its_own_pause_or_if_all_its_gpus_are() -> None:
    hand, schedule = Pause(PauseCause.HAND), Pause(PauseCause.SCHEDULE, until=100.0)
    assert whole(hand, {"GPU 0": None}) == hand
    assert whole(None, {}) is None
    assert whole(None, {"GPU 0": schedule, "GPU 1": None}) is None
    assert whole(None, {"GPU 0": schedule, "GPU 1": Pause(PauseCause.SCHEDULE, until=50.0)}) == Pause(
        PauseCause.SCHEDULE, until=50.0
    )
    both = whole(None, {"GPU 0": schedule, "GPU 1": hand})
    assert both is not None
    assert both.detail == "GPU 0 by schedule; GPU 1 by hand"


def test_a_pause_shows_its_end_with_the_day_if_it_is_not_today() -> None:
    now = datetime(2026, 11, 23, 12).timestamp()  # noqa: DTZ001 - local time, as displayed
    assert Pause(PauseCause.HAND).words(now) == "by hand"
    assert Pause(PauseCause.HAND, until=now + 3600).words(now) == "by hand until 13:00"
    assert Pause(PauseCause.SCHEDULE, until=now + 86400).words(now) == "by schedule until Tue 24 Nov 12:00"


@pytest.mark.parametrize(
    ("text", "seconds", "shown"),
    [
        ("2h", 7200, "2 h"),
        ("1h30m", 5400, "1 h 30 min"),
        ("90", 90, "1 min 30 s"),
        ("1D", 86400, "1 d"),
        ("45s", 45, "45 s"),
    ],
)
def test_durations_are_parsed_and_formatted(text: str, seconds: float, shown: str) -> None:
    assert parse_duration(text) == seconds
    assert format_duration(seconds) == shown


@pytest.mark.parametrize("text", ["", "soon", "0", "-1h", "1.5h", "2h3d", "400d", "1h 30m"])
def test_an_invalid_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; write it like"):
        parse_duration(text)


def test_a_clock_that_is_set_back_neither_lengthens_a_pause_nor_delays_one() -> None:
    """A pause whose cause is over, and a card that is about to be busy for long enough."""
    rules = PauseSettings(other_programs=True, hold_seconds=HOLD)
    watch = GpuWatch().update(GpuReading(others=1), rules, 3600)
    assert causes(watch.update(GpuReading(), rules, 0), rules) == []
    busy = (
        GpuWatch()
        .update(GpuReading(utilization=99), rules, 3600)
        .update(GpuReading(utilization=99), rules, 0)
    )
    assert causes(busy.update(GpuReading(utilization=99), rules, ONSET_SECONDS), rules) == [
        PauseCause.PROGRAM
    ]
