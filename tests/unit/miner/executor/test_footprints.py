"""What a run that found too little memory means for the next ones: it gets more, and nothing is refused for ever."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.catalogue import CatalogueEntry
from agent.miner.executor.devices import Devices
from agent.miner.executor.footprints import HALF_LIFE_SECONDS, Footprints
from agent.miner.executor.placement import Card, LoadStep, Refuse, Wait, decide, obstacle
from miner_support.runner import ScriptedRunner
from runners.api import Device

GIB = 2**30
KEY = "scripted/model/"
CARD = Device("cuda", "card", "GPU-0", memory=24 * GIB)


class Machine:
    """A card of 24 GiB, and a model that needs 16 GiB of it by the catalogue."""

    def __init__(self, directory: Path, **sizes: Any) -> None:
        self.now = 1e9
        self.directory = directory
        self.definitions = {"scripted": replace(ScriptedRunner.definition, **sizes)}
        self.start("engine 1")

    def start(self, version: str, *cards: Device, gpus: int = 1) -> None:
        """Start an agent with the figures of the last one."""
        entry = CatalogueEntry("model", "scripted", ("engine",), None, 16 * GIB, 0, 16 * GIB, "MIT", "")
        path, versions = self.directory / "footprints.json", {"scripted": version}
        self.figures = Footprints(path, self.definitions, {"model": entry}, versions, lambda: self.now)
        self.devices = Devices(
            cards or (CARD,), reserve=GIB, footprints=self.figures, gpus={"scripted": gpus}
        )
        self.cards = [
            Card(card.uuid or "", "card", card.memory, card.memory) for card in self.devices.devices
        ]

    def outgrew(self, size: float) -> None:
        self.figures.outgrew(KEY, int(size * GIB), self.devices.usable("scripted"))

    def decision(self, free: float = 24, parameters: dict[str, Any] | None = None) -> Any:
        demand = self.devices.demand("scripted", "model", parameters if parameters is not None else {})
        cards = [replace(card, free=int(free * GIB)) for card in self.cards]
        return decide(demand, cards, (), self.devices.rules(self.devices.devices))

    def advertised(self, free: float) -> bool:
        demand = self.devices.demand("scripted", "model", None)
        cards = [replace(card, free=int(free * GIB)) for card in self.cards]
        return obstacle(demand, cards, (), self.devices.rules(self.devices.devices)) is None


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_after_a_failure_the_model_gets_most_of_the_card_and_not_more_than_there_is(machine: Machine) -> None:
    machine.outgrew(20)
    machine.outgrew(22)
    decision = machine.decision()
    assert isinstance(decision, LoadStep)
    assert 21 * GIB < decision.budget < 22 * GIB


def test_a_floor_of_a_larger_card_refuses_nothing_on_a_smaller_one(machine: Machine) -> None:
    machine.start("engine 1", replace(CARD, memory=80 * GIB))
    machine.outgrew(40)
    machine.start("engine 1")
    assert isinstance(machine.decision(), LoadStep)


def test_a_model_over_several_cards_may_need_more_than_one_has(machine: Machine) -> None:
    machine.start("engine 1", CARD, replace(CARD, uuid="GPU-1"), gpus=2)
    machine.outgrew(24)
    decision = machine.decision()
    assert isinstance(decision, LoadStep)
    assert len(decision.cards) == 2


def test_an_unequal_card_beside_it_is_of_no_use(machine: Machine) -> None:
    machine.start("engine 1", CARD, replace(CARD, uuid="GPU-1", memory=12 * GIB), gpus=2)
    machine.outgrew(22)
    assert not isinstance(machine.decision(), Refuse)


def test_a_floor_halves_in_a_day(machine: Machine) -> None:
    machine.outgrew(14)
    assert isinstance(machine.decision(free=20), Wait)
    machine.now += HALF_LIFE_SECONDS
    assert isinstance(machine.decision(free=20), LoadStep)


def test_a_success_with_less_lowers_the_floor(machine: Machine) -> None:
    machine.outgrew(20)
    assert isinstance(machine.decision(free=20), Wait)
    machine.figures.fitted(KEY, 18 * GIB)
    assert isinstance(machine.decision(free=20), LoadStep)


def test_a_floor_outlives_the_agent_but_not_the_engines_version(machine: Machine) -> None:
    machine.outgrew(20)
    machine.start("engine 1")
    assert isinstance(machine.decision(free=20), Wait)
    machine.start("engine 2")
    assert isinstance(machine.decision(free=20), LoadStep)


def test_a_model_is_advertised_only_where_it_can_be_placed(machine: Machine) -> None:
    assert machine.advertised(free=20)
    machine.outgrew(20)
    assert not machine.advertised(free=20)
    assert machine.advertised(free=24)


def test_a_large_request_that_failed_leaves_the_model_to_small_ones(tmp_path: Path) -> None:
    machine = Machine(tmp_path, size=lambda parameters: str(parameters.get("side", "")))
    machine.figures.outgrew("scripted/model/2048", 20 * GIB, machine.devices.usable("scripted"))
    assert machine.advertised(free=20)
    assert isinstance(machine.decision(20, {"side": 512}), LoadStep)
    assert isinstance(machine.decision(20, {"side": 2048}), Wait)


def test_floors_of_earlier_releases_are_forgotten_and_their_measurements_are_not(machine: Machine) -> None:
    """They had no limit, and many came from failures of another kind."""
    path = machine.directory / "footprints.json"
    path.write_text(f'{{"known": {{"{KEY}": {20 * GIB}}}, "floors": {{"{KEY}": {30 * GIB}}}, "main": {{}}}}')
    machine.start("engine 1")
    decision = machine.decision()
    assert isinstance(decision, LoadStep)
    assert decision.budget == int(20 * GIB * 1.1)


def test_what_loading_took_on_a_processor_corrects_a_plan_that_was_too_small(machine: Machine) -> None:
    """A machine with a GPU learns nothing of its processor that would count for the GPU."""
    processor = Device("cpu", "processor")
    machine.devices.learn_loading("scripted", "model", processor, 3 * GIB)
    assert machine.devices.beside("scripted", "model", None, CARD).loading == 0
    machine.start("engine 1", processor)
    assert machine.devices.demand("scripted", "model", {}).need == 0
    machine.devices.learn_loading("scripted", "model", processor, 3 * GIB)
    machine.start("engine 2", processor)
    assert 3 * GIB < machine.devices.demand("scripted", "model", {}).need < 3.4 * GIB
