"""Energy is divided among the jobs that ran at the same time, and nothing is counted twice or lost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.miner.energy.meter import EnergyMeter, FixedPower
from agent.miner.energy.shares import Stay, divide
from agent.miner.machine.gpu_power import CardPower

pytestmark = pytest.mark.anyio

A, B, C = ("job_a", 1), ("job_b", 1), ("job_c", 1)


def test_each_moment_is_divided_among_the_jobs_that_run_then() -> None:
    stays = [Stay(A, ("x",), 0, 6), Stay(B, ("x",), 4, None), Stay(C, ("x",), 9, 20)]
    shares = divide(2, 10, stays)
    assert shares == {A: 2 + 1, B: 1 + 3 + 0.5, C: 0.5}
    assert divide(20, 21, stays[:1]) == {}


class Machine:
    """GPUs whose counters a test sets, and a clock."""

    def __init__(self, **gpus: CardPower) -> None:
        self.gpus = gpus
        self.now = 100.0

    def energy(self) -> Mapping[str, CardPower]:
        return self.gpus

    def clock(self) -> float:
        return self.now


def meter(machine: Any, rapl: Path, processor: float | None = None, rest: float = 0.0) -> EnergyMeter:
    return EnergyMeter(machine, FixedPower(processor, rest), rapl, machine.clock)


async def test_a_card_is_metered_by_its_counter_or_by_its_power(tmp_path: Path) -> None:
    """The second job joins halfway. A card without a counter is metered by its average power, and idle energy is nobody's."""
    machine = Machine(x=CardPower("0", 1000.0, 300.0), y=CardPower("1", None, 100.0))
    energy = meter(machine, tmp_path)
    assert (await energy.read()).jobs == {}
    energy.begin(A, ("x",))
    energy.begin(C, ("y",))
    machine.now += 5
    energy.begin(B, ("x",))
    machine.now += 5
    machine.gpus = {"x": CardPower("0", 4000.0, 300.0), "y": CardPower("1", None, 200.0)}
    interval = await energy.read()
    assert {job: usage.joules for job, usage in interval.jobs.items()} == pytest.approx(
        {A: 2250, B: 750, C: 1500}
    )
    assert {job: usage.seconds for job, usage in interval.jobs.items()} == pytest.approx(
        {A: 7.5, B: 2.5, C: 10}
    )
    assert interval.idle == pytest.approx(0)
    for job in (A, B, C):
        energy.end(job)
    machine.now += 10
    machine.gpus = {"x": CardPower("0", 4200.0, 20.0), "y": CardPower("1", None, 0.0)}
    interval = await energy.read()
    assert interval.jobs == {}
    assert interval.idle == pytest.approx(200 + 1000)


async def test_slices_share_the_counter_of_their_card_and_the_machine_serves_all_jobs(tmp_path: Path) -> None:
    machine = Machine(**{name: CardPower("0", 0.0, None) for name in ("s1", "s2")})
    energy = meter(machine, tmp_path, rest=50.0)
    await energy.read()
    energy.begin(A, ("s1",))
    energy.begin(B, ("s2",))
    machine.now += 10
    machine.gpus = {name: CardPower("0", 1000.0, None) for name in ("s1", "s2")}
    interval = await energy.read()
    assert {job: usage.joules for job, usage in interval.jobs.items()} == pytest.approx({A: 750, B: 750})


async def test_a_counter_that_begins_again_and_a_lost_card_invent_no_energy(tmp_path: Path) -> None:
    """After the driver was loaded again the counter is small; a card that has disappeared makes its job's figure unknown."""
    machine = Machine(x=CardPower("0", 9_000_000.0, 100.0))
    energy = meter(machine, tmp_path)
    await energy.read()
    energy.begin(A, ("x",))
    machine.now += 10
    machine.gpus = {"x": CardPower("0", 5.0, 100.0)}
    assert (await energy.read()).jobs[A].joules == pytest.approx(1000)
    machine.now += 10
    machine.gpus = {}
    assert not (await energy.read()).jobs[A].measured


@pytest.mark.parametrize(
    ("processor", "rest", "joules"), [(60.0, 0.0, 600.0), (None, 40.0, 400.0), (None, 0.0, None)]
)
async def test_processors_without_a_counter_take_what_the_settings_say(
    tmp_path: Path, processor: float | None, rest: float, joules: float | None
) -> None:
    machine = Machine()
    energy = meter(machine, tmp_path, processor, rest)
    await energy.read()
    energy.begin(A, ("cpu",))
    machine.now += 10
    usage = (await energy.read()).jobs[A]
    assert (usage.joules if usage.measured else None) == (None if joules is None else pytest.approx(joules))


async def test_processors_are_metered_by_the_kernels_counters(tmp_path: Path) -> None:
    """All packages, one of which begins again; their parts are not counted twice, and a figure in the settings is not needed."""
    files = {
        "intel-rapl:0": 900_000_000,
        "intel-rapl:0:0": 1,
        "intel-rapl:1": 10_000_000,
        "intel-rapl-mmio:0": 5,
    }
    for name, counter in files.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(str(counter))
        (tmp_path / name / "max_energy_range_uj").write_text("1000000000")
    machine = Machine()
    energy = meter(machine, tmp_path, processor=1000.0)
    await energy.read()
    energy.begin(A, ("cpu",))
    machine.now += 10
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("100000000")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("60000000")
    (tmp_path / "intel-rapl:0:0" / "energy_uj").write_text("40000000")
    assert (await energy.read()).jobs[A].joules == pytest.approx(200 + 50)
