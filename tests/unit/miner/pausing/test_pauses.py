"""Pauses by manual override, schedule and measurement, and which of them survive a restart."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from agent.configuring.reading import load_settings
from agent.miner.machine.gpus import Gpu
from agent.miner.pausing.gpu_watch import PauseCause
from agent.miner.pausing.machine_watch import MachineReading
from agent.miner.pausing.pauses import GpuUnknown, Pauses
from agent.miner.settings import MinerSettings, PauseSettings
from agent.sections import section_of

NOON = datetime(2026, 11, 23, 12).timestamp()  # noqa: DTZ001 - a Monday, on the clock on the wall
CARDS = tuple(
    Gpu(f"GPU-{number}{number}{number}-a", number, "card", 2**30, 2**30, None, "1", 0, 40, 50.0)
    for number in range(2)
)
FIRST, SECOND = (card.uuid for card in CARDS)


@dataclass
class Cards:
    """GPUs with the readings that a test sets."""

    last: tuple[Gpu, ...] = CARDS
    programs: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    async def refresh(self) -> tuple[Gpu, ...]:
        return self.last

    def others(self) -> dict[str, int]:
        return self.programs

    def largest_other(self) -> dict[str, int]:
        return self.sizes


@dataclass
class Owner:
    """Creates the pauses of one machine, repeatedly as after restarts, and sets its clock."""

    path: Path
    cards: Cards = field(default_factory=Cards)
    now: float = NOON
    changes: int = 0
    use: MachineReading = field(default_factory=MachineReading)

    def read(self, _: PauseSettings) -> MachineReading:
        return self.use

    def pauses(self, **miner: Any) -> Pauses:
        settings = load_settings(flags={"data_dir": self.path, "miner": miner})
        return Pauses(
            self.path / "pauses.json",
            section_of(settings, MinerSettings),
            self.cards,  # type: ignore[arg-type]  # only what pauses need of Gpus
            working=set,
            on_change=self._changed,
            clock=lambda: self.now,
            presence=self,  # type: ignore[arg-type]  # only what pauses need of Presence
        )

    def _changed(self) -> None:
        self.changes += 1


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner(tmp_path)


def cause(pauses: Pauses) -> PauseCause | None:
    pauses.update()
    return None if pauses.now.miner is None else pauses.now.miner.cause


@pytest.mark.parametrize("cards", [(), CARDS], ids=["no GPU", "two GPUs"])
def test_a_manual_pause_survives_a_restart_until_it_expires_or_is_resumed(
    owner: Owner, cards: tuple[Gpu, ...]
) -> None:
    owner.cards.last = cards
    owner.pauses().pause(None, 7200)
    pauses = owner.pauses()
    assert pauses.reason() == "by hand until 14:00"
    assert pauses.now.devices == {"cpu", *(card.uuid for card in cards)}
    owner.now += 7199
    assert cause(pauses) == PauseCause.HAND
    owner.now += 1
    assert cause(pauses) is None
    assert cause(owner.pauses()) is None
    pauses.pause()
    owner.now += 1e7
    assert cause(owner.pauses()) == PauseCause.HAND
    pauses.resume()
    assert cause(owner.pauses()) is None


def test_gpus_are_paused_separately_and_pausing_all_pauses_the_miner(owner: Owner) -> None:
    pauses = owner.pauses()
    pauses.pause("1")
    assert pauses.now.devices == {SECOND}
    assert (cause(pauses), pauses.gpu_reason(SECOND), pauses.gpu_reason(FIRST)) == (None, "by hand", None)
    pauses.pause("gpu-000", 60)
    assert cause(owner.pauses()) == PauseCause.HAND
    assert owner.pauses().now.devices == {FIRST, SECOND, "cpu"}
    pauses.resume("1")
    assert pauses.now.devices == {FIRST}
    for name in ("2", "GPU-3", "GPU-"):
        with pytest.raises(GpuUnknown, match=r"this machine has 0 \(GPU-000-a\), 1"):
            pauses.pause(name)


@pytest.mark.anyio
async def test_an_exclusive_gpu_is_paused_while_another_program_computes_there(owner: Owner) -> None:
    """A job would fail there. Other GPUs are shared unless their owner wants them for themselves."""
    owner.cards.last = (replace(CARDS[0], exclusive=True), CARDS[1])
    owner.cards.programs = {FIRST: 1, SECOND: 1}
    pauses = owner.pauses()
    await pauses.measure()
    assert pauses.now.devices == {FIRST}
    assert pauses.gpu_reason(FIRST) == "for another program"
    owner.cards.programs = {}
    owner.now += 61
    await pauses.measure()
    assert pauses.now.devices == set()


def test_a_schedule_pauses_all_gpus_except_those_with_their_own(owner: Owner) -> None:
    """The miner reports the cause with the highest priority, and each change once."""
    pauses = owner.pauses(
        pause={"schedule": ["Mon-Fri 09:00-18:00"]},
        gpus={"1": {"pause": {"schedule": []}}},
    )
    assert pauses.now.devices == {FIRST}
    assert pauses.gpu_reason(FIRST) == "by schedule until 18:00"
    for _ in range(3):
        pauses.update()
    owner.now += 6 * 3600
    pauses.update()
    assert (pauses.now.devices, owner.changes) == (frozenset(), 1)
    both = owner.pauses(pause={"schedule": ["18:00-19:00"]}, gpus={"GPU-111": {"pause": {"max_power": 10}}})
    assert both.reason() == "by schedule until 19:00"


@pytest.mark.parametrize("cards", [(), CARDS], ids=["no GPU", "two GPUs"])
def test_resuming_overrides_a_schedule_until_its_next_window(owner: Owner, cards: tuple[Gpu, ...]) -> None:
    owner.cards.last = cards
    schedule = {"schedule": ["09:00-18:00"]}
    pauses = owner.pauses(pause=schedule)
    assert pauses.reason() == "by schedule until 18:00"
    pauses.resume()
    assert cause(pauses) is None
    assert cause(owner.pauses(pause=schedule)) is None
    pauses.pause()
    assert pauses.reason() == "by hand"
    pauses.resume()
    owner.now += 21 * 3600
    assert cause(pauses) == PauseCause.SCHEDULE


@pytest.mark.anyio
async def test_a_faulty_or_lost_gpu_is_paused_without_any_rule_and_the_other_works_on(owner: Owner) -> None:
    owner.cards.last = (replace(CARDS[0], fault="Xid 79, it has fallen off the bus"), CARDS[1])
    pauses = owner.pauses()
    await pauses.measure()
    assert (pauses.now.devices, pauses.now.miner) == ({FIRST}, None)
    assert pauses.gpu_reason(FIRST) == "because of a fault (Xid 79, it has fallen off the bus)"
    owner.cards.last = ()
    await pauses.measure()
    assert pauses.gpu_reason(SECOND) == "because of a fault (the driver no longer finds it)"
    assert cause(pauses) == PauseCause.FAULT
    pauses.resume()
    assert cause(pauses) == PauseCause.FAULT
    assert cause(owner.pauses(pause={"faulty": False})) is None


@pytest.mark.anyio
async def test_temperature_is_measured_before_work_begins_and_held(owner: Owner) -> None:
    """One hot GPU is paused, by its own limit. Resuming does not override a measurement."""
    owner.cards.last = (replace(CARDS[0], temperature=71), replace(CARDS[1], temperature=71))
    pauses = owner.pauses(
        pause={"max_temperature": 80, "hold_seconds": 60}, gpus={"0": {"pause": {"max_temperature": 70}}}
    )
    await pauses.measure()
    pauses.resume()
    assert pauses.gpu_reason(FIRST) == "for the temperature (limit 70 °C)"
    assert pauses.now.devices == {FIRST}
    owner.cards.last = CARDS
    await pauses.measure()
    assert pauses.now.devices == {FIRST}
    owner.now += 60
    await pauses.measure()
    assert pauses.now.devices == frozenset()


def test_a_damaged_pause_file_pauses_nothing_and_is_replaced(owner: Owner) -> None:
    (owner.path / "pauses.json").write_text('{"hand": 3')
    pauses = owner.pauses()
    assert cause(pauses) is None
    pauses.pause()
    assert cause(owner.pauses()) == PauseCause.HAND


def test_executed_commands_are_saved_with_their_effect(owner: Owner) -> None:
    pauses = owner.pauses()
    pauses.pause("0", 60, command="command_1")
    pauses.save_executed("command_2")
    again = owner.pauses()
    assert [again.executed(f"command_{number}") for number in (1, 2, 3)] == [True, True, False]
    assert again.now.devices == {FIRST}


def test_a_slice_of_a_gpu_is_paused_by_both_its_numbers(tmp_path: Path) -> None:
    """Its card's number alone does not say which. Reports name each."""
    slices = tuple(replace(CARDS[0], uuid=f"MIG-{number}", slice=number) for number in range(2))
    owner = Owner(tmp_path, Cards(slices))
    pauses = owner.pauses()
    assert pauses.find("0:1") == pauses.find("mig-1") == "MIG-1"
    with pytest.raises(GpuUnknown, match=r"this machine has 0:0 \(MIG-0\), 0:1 \(MIG-1\)"):
        pauses.find("0")
    pauses.pause("0:1")
    assert (pauses.now.devices, pauses.reason()) == ({"MIG-1"}, None)
    pauses.pause("0:0")
    assert pauses.reason() is not None


@pytest.mark.parametrize("cards", [(), CARDS], ids=["no GPU", "two GPUs"])
def test_the_use_of_the_machine_pauses_all_devices_and_gives_them_back(
    owner: Owner, cards: tuple[Gpu, ...]
) -> None:
    """With what their owner wants for the jobs there. A pause by hand comes first, and stays after it."""
    owner.cards.last = cards
    pauses = owner.pauses(pause={"idle_minutes": 3, "running_jobs": "hand_back"})
    assert pauses.now.devices == frozenset()
    owner.use = MachineReading(idle_seconds=5)
    asyncio.run(pauses.measure())
    assert pauses.reason() == "for its owner (in use within 3 min)"
    devices = {"cpu", *(card.uuid for card in cards)}
    assert (pauses.now.devices, dict(pauses.now.needed)) == (devices, dict.fromkeys(devices, "hand_back"))
    assert pauses.status()["miner"]["resumable"] is False
    pauses.pause()
    assert pauses.reason() == "by hand"
    owner.use = MachineReading(idle_seconds=200)
    asyncio.run(pauses.measure())
    assert (pauses.reason(), dict(pauses.now.needed)) == ("by hand", {})
    pauses.resume()
    assert pauses.reason() is None
