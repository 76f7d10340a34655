"""Pauses of the whole machine because its owner uses it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.miner.pausing.gpu_watch import ONSET_SECONDS
from agent.miner.pausing.machine_watch import MachineReading, MachineWatch
from agent.miner.pausing.presence import on_battery
from agent.miner.settings import PauseSettings

HOLD = 60.0


def words(watch: MachineWatch, rules: PauseSettings) -> list[str]:
    return [pause.words(0) for pause in watch.pauses(rules)]


def test_a_used_keyboard_pauses_until_it_has_not_been_used_for_the_minutes() -> None:
    rules = PauseSettings(idle_minutes=3)
    watch = MachineWatch().update(MachineReading(idle_seconds=179), rules, 0)
    assert words(watch, rules) == ["for its owner (in use within 3 min)"]
    for idle in (180, None):
        assert words(watch.update(MachineReading(idle_seconds=idle), rules, 1), rules) == []


def test_programs_and_a_filled_screen_pause_until_they_have_been_away_for_the_hold_time() -> None:
    rules = PauseSettings(full_screen=True, programs=("obs",), hold_seconds=HOLD)
    watch = MachineWatch().update(MachineReading(full_screen=True, program="obs"), rules, 0)
    watch = watch.update(MachineReading(), rules, HOLD - 1)
    assert words(watch, rules) == ["for another program (it fills the screen)", "for another program (obs)"]
    assert words(watch.update(MachineReading(), rules, HOLD), rules) == []


def test_the_load_of_others_pauses_once_it_lasts() -> None:
    rules, busy = PauseSettings(other_load=25, hold_seconds=HOLD), MachineReading(load=26)
    watch = MachineWatch().update(busy, rules, 0)
    assert words(watch, rules) == []
    watch = watch.update(busy, rules, ONSET_SECONDS)
    assert words(watch, rules) == ["for another program (more than 25 % of the processors)"]


def test_a_battery_pauses_unless_its_owner_allows_it() -> None:
    for allowed, seen in ((True, ["for the battery"]), (False, [])):
        rules = PauseSettings(on_battery=allowed)
        assert words(MachineWatch().update(MachineReading(on_battery=True), rules, 0), rules) == seen


@pytest.mark.parametrize(
    ("supplies", "expected"),
    [
        ({}, False),
        (
            {"AC": {"type": "Mains", "online": "0"}, "BAT0": {"type": "Battery", "status": "Discharging"}},
            True,
        ),
        ({"AC": {"type": "Mains", "online": "1"}, "BAT0": {"type": "Battery", "status": "Charging"}}, False),
        (
            {"UCSI": {"type": "USB", "online": "1"}, "BAT0": {"type": "Battery", "status": "Discharging"}},
            False,
        ),
        ({"mouse": {"type": "Battery", "scope": "Device", "status": "Discharging"}}, False),
        ({"ups": {"type": "UPS", "status": "Discharging"}}, True),
    ],
    ids=["none", "unplugged", "charging", "weak charger", "mouse", "UPS"],
)
def test_a_battery_is_recognised(tmp_path: Path, supplies: dict[str, dict[str, str]], expected: bool) -> None:
    for name, values in supplies.items():
        (tmp_path / name).mkdir()
        for key, value in values.items():
            (tmp_path / name / key).write_text(f"{value}\n")
    assert on_battery(tmp_path) is expected
