"""Models on GPUs: real child processes that claim memory, and GPUs that count the claims of living processes."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent.catalogue import CatalogueEntry
from agent.miner.engines.interpreters import Interpreter, Interpreters
from agent.miner.executor import pool
from agent.miner.executor.child import RunListener
from agent.miner.executor.circuit_breaker import MAX_HANGS, MAX_LOAD_FAILURES
from agent.miner.executor.contract import Execution, Working
from agent.miner.executor.devices import Devices
from agent.miner.executor.footprints import Footprints, MainMemory
from agent.miner.executor.local import LocalExecutor
from agent.miner.machine import hardware
from agent.miner.machine.gpus import Gpu
from agent.miner.settings import MinerSettings
from miner_support.daemons import HOST, no_remaining_children, until
from miner_support.runner import BatchRunner, ScriptedRunner
from runners.api import Device, FailureCode, Model, Retry, Tools
from runners.host.protocol import Run

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("forked_hosts")]
GIBIBYTE = 2**30
MEBIBYTE = 2**20


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": True}


@dataclass
class Rig:
    """GPUs with 24 GiB each, and main memory. `others` is the memory that other programs use of each GPU, `others_main` of the main memory."""

    directory: Path
    cards: int = 1
    others: list[int] = field(default_factory=list)
    main: int = 350 * MEBIBYTE
    others_main: int = 0
    mistaken: frozenset[int] = frozenset()
    exclusive: bool = False
    interpreters: Interpreters = field(default_factory=lambda: Interpreters(Interpreter(HOST)))

    def __post_init__(self) -> None:
        self.others = self.others or [0] * self.cards
        (self.directory / "claims").mkdir()

    @property
    def devices(self) -> tuple[Device, ...]:
        return tuple(
            Device(
                "cuda",
                "card",
                f"GPU-{number}",
                memory=24 * GIBIBYTE,
                by_index=number not in self.mistaken,
            )
            for number in range(self.cards)
        )

    def used(self, number: int) -> int:
        """Return the memory that living processes on this GPU claim."""
        total = 0
        for path in (self.directory / "claims").iterdir():
            try:
                process = psutil.Process(int(path.name))
                visible = process.environ()["CUDA_VISIBLE_DEVICES"].split(",")
                if f"GPU-{number}" in visible:
                    total += int(path.read_text()) // len(visible)
            except (psutil.Error, ValueError, KeyError):
                continue
        return total

    def main_free(self) -> int:
        """Return the main memory that the programs beside models, and those of others, leave."""
        programs = [
            int(process.cmdline()[-1])
            for process in psutil.Process().children(recursive=True)
            if process.status() != psutil.STATUS_ZOMBIE and "held = b'x'" in " ".join(process.cmdline())
        ]
        return self.main - self.others_main - sum(programs)

    async def process_memory(self) -> dict[str, dict[int, int]]:
        """Return the claims of processes as NVML would, all on the first GPU."""
        claims = {}
        for path in (self.directory / "claims").iterdir():
            if path.name.isdecimal() and (text := path.read_text().strip("!")):
                claims[int(path.name)] = int(text)
        return {"GPU-0": claims}

    async def measure(self) -> list[Gpu]:
        return [
            Gpu(
                f"GPU-{number}",
                number,
                "card",
                24 * GIBIBYTE,
                24 * GIBIBYTE - self.others[number] - self.used(number),
                None,
                "1",
                None,
                None,
                None,
                exclusive=self.exclusive,
            )
            for number in range(self.cards)
        ]

    def learned(self, model: str) -> MainMemory:
        """Return what was measured of a model's main memory."""
        return Footprints(self.directory / "footprints.json", {}, {}).main_memory("scripted", model, {})

    def model(self, name: str, size: float, server: int = 0) -> Model:
        """Return a model that takes so many GiB of a GPU, and so many MiB of main memory."""
        path = self.directory / "models" / name
        path.mkdir(parents=True, exist_ok=True)
        (path / "bytes").write_text(str(int(size * GIBIBYTE)))
        if server:
            (path / "server").write_text(str(server * MEBIBYTE))
        return Model(name, path)


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setenv("SCRIPTED_CLAIMS", str(tmp_path / "claims"))
    rig = Rig(tmp_path)
    monkeypatch.setattr(hardware, "memory_total", lambda: rig.main)
    monkeypatch.setattr(hardware, "memory_available", rig.main_free)
    return rig


LOAD_MEMORY = {"heavy": 250 * MEBIBYTE, "bulky": 250 * MEBIBYTE}


def catalogue(**vram: float) -> dict[str, CatalogueEntry]:
    return {
        name: CatalogueEntry(
            name,
            "scripted",
            ("engine",),
            None,
            int(size * GIBIBYTE),
            int(size * GIBIBYTE),
            int(size * GIBIBYTE),
            "MIT",
            "",
            load_memory=LOAD_MEMORY.get(name, 0),
        )
        for name, size in vram.items()
    }


@asynccontextmanager
async def executor(rig: Rig, *, slots: int = 0, **settings: Any) -> AsyncIterator[LocalExecutor]:
    definitions = {"scripted": ScriptedRunner.definition, "batch": BatchRunner.definition}
    sizes = {"small": 6, "middle": 10, "large": 16, "huge": 40, "broken": 1, "heavy": 6, "bulky": 10}
    devices = Devices(
        rig.devices,
        slots=slots or rig.cards,
        reserve=GIBIBYTE // 2,
        footprints=Footprints(rig.directory / "footprints.json", definitions, catalogue(**sizes)),
        measure=rig.measure,
        process_memory=rig.process_memory,
        capacity={"batch": 4},
        gpus={"scripted": rig.cards},
        processor=Device("cpu", "processor"),
    )
    subject = LocalExecutor(
        devices,
        Tools(),
        MinerSettings(**{"placement_wait_seconds": 0.5, **settings}),
        rig.directory,
        interpreters=rig.interpreters,
    )
    async with no_remaining_children():
        try:
            yield subject
        finally:
            await asyncio.wait_for(subject.close(), 60)


async def do(
    subject: LocalExecutor,
    rig: Rig,
    model: Model | None,
    mode: str = "echo",
    *,
    service: str = "scripted",
    listener: RunListener | None = None,
    gpus: str = "0",
    **parameters: Any,
) -> Execution:
    identity = os.urandom(4).hex()
    output, work = rig.directory / f"output-{identity}", rig.directory / f"work-{identity}"
    output.mkdir()
    work.mkdir()
    message = Run(
        run_id=identity,
        parameters={"mode": mode, **parameters},
        output=output,
        work=work,
        resources={"gpu": gpus},
        timeout_seconds=60,
    )
    return await subject.run(service, model, message, listener)


def events(subject: LocalExecutor) -> list[tuple[str, str | None]]:
    return [(entry["event"], entry["model"]) for entry in subject.placement()["recent"]]


async def test_models_stay_loaded_side_by_side_while_they_fit(rig: Rig) -> None:
    async with executor(rig) as subject:
        small, middle = rig.model("small", 6), rig.model("middle", 10)
        first = await do(subject, rig, small)
        await do(subject, rig, middle)
        again = await do(subject, rig, small)
        assert first.done.results["pid"] == again.done.results["pid"]
        assert subject.loaded() == {"scripted": ["middle", "small"]}
        assert rig.used(0) == 16 * GIBIBYTE


async def test_the_least_recently_used_model_is_evicted_and_its_memory_is_measured_as_free(rig: Rig) -> None:
    """Small and middle are loaded, small was used last. Large needs the memory of middle, or of both if that is not enough."""
    async with executor(rig) as subject:
        await do(subject, rig, rig.model("middle", 10))
        await do(subject, rig, rig.model("small", 6))
        await do(subject, rig, rig.model("large", 16))
        assert subject.loaded() == {"scripted": ["large", "small"]}
        assert ("evicted", "middle") in events(subject)
        assert rig.used(0) == 22 * GIBIBYTE


async def test_an_exclusive_gpu_has_one_process_at_a_time(rig: Rig) -> None:
    """A second one fails there even after the first has unloaded its model."""
    rig.exclusive = True
    async with executor(rig, slots=2, placement_wait_seconds=60) as subject:
        small, middle = rig.model("small", 6), rig.model("middle", 10)
        first = (await do(subject, rig, small)).done.results["pid"]
        gate = rig.directory / "gate"
        other = asyncio.create_task(do(subject, rig, middle, "wait", gate=str(gate)))
        await until(lambda: rig.used(0) == 10 * GIBIBYTE)
        assert not psutil.pid_exists(first)
        waiting = asyncio.create_task(do(subject, rig, small))
        await until(lambda: [job["model"] for job in subject.placement()["waiting"]] == ["small"])
        assert len(subject.working()) == 1
        gate.touch()
        await other
        await waiting
        assert rig.used(0) == 6 * GIBIBYTE
        evicted = [entry["reason"] for entry in subject.placement()["recent"] if entry["event"] == "evicted"]
        assert evicted[0] == "middle needs the GPU, which lets one process at a time compute."


async def test_two_jobs_run_on_two_gpus(rig: Rig) -> None:
    rig.cards, rig.others = 2, [0, 0]
    async with executor(rig) as subject:
        gate = rig.directory / "gate"
        runs = [
            asyncio.create_task(do(subject, rig, rig.model(name, 6), "wait", gate=str(gate)))
            for name in ("small", "middle")
        ]
        await until(lambda: len(subject.working()) == 2 and all(child["pid"] for child in subject.status()))
        assert {child["device"] for child in subject.status()} == {"GPU-0", "GPU-1"}
        gate.touch()
        await asyncio.gather(*runs)


class IndexingRunner(ScriptedRunner):
    """A runner with an engine that looks its card up by NVML's index."""

    engines_by_index = frozenset({"indexing"})


async def test_a_model_is_loaded_only_where_its_engine_finds_the_right_card(rig: Rig) -> None:
    """The first device is a slice that the engine mistakes for another card. A model of another engine uses it."""
    rig.cards, rig.others, rig.mistaken = 2, [0, 0], frozenset({0})
    interpreter = Interpreter(HOST, engines=("indexing", "other"))
    rig.interpreters = Interpreters(
        Interpreter(HOST), {"scripted": (interpreter,)}, {"scripted": IndexingRunner}
    )
    middle, small = (
        replace(rig.model(name, size), engines=(engine,))
        for name, size, engine in (("middle", 10, "indexing"), ("small", 6, "other"))
    )
    async with executor(rig) as subject:
        await do(subject, rig, middle)
        await do(subject, rig, small)
        assert (rig.used(0), rig.used(1)) == (6 * GIBIBYTE, 10 * GIBIBYTE)
    rig.mistaken = frozenset({0, 1})
    async with executor(rig) as subject:
        with pytest.raises(Retry, match="can use none of the GPUs") as refused:
            await do(subject, rig, middle)
        assert refused.value.code == FailureCode.GPU_UNAVAILABLE


async def test_an_engine_that_finds_no_gpu_computes_on_the_processor(rig: Rig) -> None:
    """Its models are placed in main memory, and its results name the processor. Another engine's models use the card."""
    rig.main = 64 * GIBIBYTE
    interpreter = Interpreter(HOST, engines=("slow", "fast"), kinds=(("slow", ("cpu",)),))
    middle, small = (
        replace(rig.model(name, size), engines=(engine,))
        for name, size, engine in (("middle", 10, "slow"), ("small", 6, "fast"))
    )
    rig.interpreters = Interpreters(
        Interpreter(HOST),
        {"scripted": (interpreter,)},
        {"scripted": ScriptedRunner},
        {"middle": middle, "huge": replace(middle, name="huge"), "small": small}.__getitem__,
    )
    async with executor(rig) as subject:
        assert (await do(subject, rig, middle)).device.kind == "cpu"
        (loaded,) = subject.status()
        assert (loaded["device"], loaded["footprint"]) == ("cpu", 10 * GIBIBYTE)
        assert (await do(subject, rig, small)).device.kind == "cuda"
        # Too large for the card, but not for the main memory, in which it would be.
        assert await subject.unavailable_models({"scripted": ["huge", "small"]}) == {}


class ProfilingRunner(ScriptedRunner):
    """Its second engine profiles the free memory of the GPU while it loads a model."""

    engines_profiling = frozenset({"profiling"})


@pytest.fixture
def profiling(rig: Rig) -> dict[str, Model]:
    """Models of two engines, and two GPUs, the second one full. Loading the small one lasts until its file `loading` is removed."""
    rig.cards, rig.others = 2, [0, 20 * GIBIBYTE]
    interpreter = Interpreter(HOST, engines=("profiling", "other"))
    rig.interpreters = Interpreters(
        Interpreter(HOST), {"scripted": (interpreter,)}, {"scripted": ProfilingRunner}
    )
    sizes = {"small": (6, "profiling"), "middle": (10, "other"), "large": (16, "other")}
    models = {
        name: replace(rig.model(name, size), engines=(engine,)) for name, (size, engine) in sizes.items()
    }
    (models["small"].path / "loading").touch()
    return models


async def test_nothing_is_unloaded_while_an_engine_profiles_the_free_memory(
    rig: Rig, profiling: dict[str, Model]
) -> None:
    """Neither because it was idle for long, as a model on the other GPU is, nor for another job."""
    async with executor(rig, slots=4, idle_seconds=0.5, placement_wait_seconds=60) as subject:
        await do(subject, rig, profiling["middle"])
        loading = asyncio.create_task(do(subject, rig, profiling["small"]))
        await until(lambda: rig.used(0) == 16 * GIBIBYTE)
        rig.others[1] = 0
        await do(subject, rig, profiling["large"])
        await until(lambda: ("released", "large") in events(subject))
        subject.pause(frozenset({"GPU-1"}))
        waiting = asyncio.create_task(do(subject, rig, profiling["large"]))
        await until(lambda: "unloads nothing" in str(subject.placement()["waiting"]))
        assert subject.loaded() == {"scripted": ["middle"]}
        (profiling["small"].path / "loading").unlink()
        await asyncio.gather(loading, waiting)
        assert {("evicted", "middle"), ("released", "middle")} & set(events(subject))


async def test_the_owners_need_does_not_wait_for_an_engine_that_profiles(
    rig: Rig, profiling: dict[str, Model]
) -> None:
    async with executor(rig, slots=4) as subject:
        await do(subject, rig, profiling["middle"])
        loading = asyncio.create_task(do(subject, rig, profiling["small"]))
        await until(lambda: rig.used(0) == 16 * GIBIBYTE)
        rig.others[0] = 8 * GIBIBYTE
        await until(lambda: ("released", "middle") in events(subject))
        (profiling["small"].path / "loading").unlink()
        await loading


async def test_a_job_runs_on_as_many_gpus_as_it_asks_for(rig: Rig) -> None:
    """Its child sees both. Another job waits for a free one, although it would find enough memory."""
    rig.cards, rig.others = 2, [0, 0]
    async with executor(rig, placement_wait_seconds=30) as subject:
        gate = rig.directory / "gate"
        large = rig.model("large", 16)
        both = asyncio.create_task(do(subject, rig, large, "wait", gate=str(gate), gpus="2"))
        await until(lambda: (rig.used(0), rig.used(1)) == (8 * GIBIBYTE, 8 * GIBIBYTE))
        (working,) = subject.working()
        assert set(working.devices) == {"GPU-0", "GPU-1"}
        other = asyncio.create_task(do(subject, rig, rig.model("small", 6)))
        await until(lambda: [job["model"] for job in subject.placement()["waiting"]] == ["small"])
        gate.touch()
        assert set((await both).device.gpus) == {"GPU-0", "GPU-1"}
        assert len((await other).device.gpus) == 1
        subject.pause(frozenset({"GPU-1"}))  # the model cannot be used without its second half
        await until(lambda: subject.loaded().get("scripted", []) in ([], ["small"]))


async def test_a_model_that_no_gpu_can_hold_alone_is_spread(rig: Rig) -> None:
    rig.cards, rig.others = 2, [0, 0]
    async with executor(rig) as subject:
        huge = rig.model("huge", 40)
        assert len((await do(subject, rig, huge)).device.gpus) == 2
        assert (rig.used(0), rig.used(1)) == (20 * GIBIBYTE, 20 * GIBIBYTE)
        await do(subject, rig, rig.model("large", 16))
        assert subject.loaded() == {"scripted": ["large"]}
        rig.others[1] = 20 * GIBIBYTE
        held = await subject.unavailable_models({"scripted": ["huge", "large"]})
        assert list(held["scripted"]) == ["huge"]


async def test_idle_models_leave_a_paused_gpu_within_five_seconds_and_busy_ones_after_their_run(
    rig: Rig,
) -> None:
    """All of its memory is free then. The other GPU continues, and gets the next jobs."""
    rig.cards, rig.others = 2, [0, 0]
    small, middle = rig.model("small", 6), rig.model("middle", 10)
    async with executor(rig) as subject:
        gate = rig.directory / "gate"
        await do(subject, rig, small)
        running = asyncio.create_task(do(subject, rig, middle, "wait", gate=str(gate)))
        await until(lambda: rig.used(1) > 0)
        assert (rig.used(0), rig.used(1)) == (6 * GIBIBYTE, 10 * GIBIBYTE)
        subject.pause(frozenset({"GPU-0"}))
        await until(lambda: rig.used(0) == 0)
        assert subject.loaded() == {"scripted": ["middle"]}
        subject.pause(frozenset({"GPU-1"}))
        assert (await do(subject, rig, small)).device.uuid == "GPU-0"
        assert not running.done()
        gate.touch()
        await running
        await until(lambda: rig.used(1) == 0)
        assert subject.loaded() == {"scripted": ["small"]}
        subject.pause(frozenset())
        await do(subject, rig, middle)


async def test_a_model_that_fits_only_on_a_paused_gpu_is_unavailable(rig: Rig) -> None:
    """With all GPUs paused no model is: the miner accepts no jobs anyway, and reports why."""
    rig.cards, rig.others = 2, [0, 20 * GIBIBYTE]
    async with executor(rig) as subject:
        subject.pause(frozenset({"GPU-0"}))
        assert await subject.unavailable_models({"scripted": ["middle"]}) == {
            "scripted": {"middle": "It fits only on a GPU that is paused."}
        }
        subject.pause(frozenset({"GPU-0", "GPU-1", "cpu"}))
        assert await subject.unavailable_models({"scripted": ["middle"]}) == {}
        with pytest.raises(Retry, match="All devices for it are paused"):
            await do(subject, rig, rig.model("middle", 10))


async def test_other_programs_memory_is_respected(rig: Rig) -> None:
    """The job is refused with the reason. Once there is free memory again, the next one runs."""
    rig.others[0] = 20 * GIBIBYTE
    async with executor(rig) as subject:
        with pytest.raises(Retry, match=r"other programs use 20\.0 GiB") as caught:
            await do(subject, rig, rig.model("small", 6))
        assert caught.value.code == "NO_MEMORY"
        assert "small" in (await subject.unavailable_models({"scripted": ["small"]}))["scripted"]
        assert rig.used(0) == 0
        rig.others[0] = 0
        await do(subject, rig, rig.model("small", 6))
        assert await subject.unavailable_models({"scripted": ["small"]}) == {}


async def test_a_job_waits_for_the_gpu_and_the_reason_is_shown(rig: Rig) -> None:
    async with executor(rig, placement_wait_seconds=30) as subject:
        gate = rig.directory / "gate"
        first = asyncio.create_task(do(subject, rig, rig.model("large", 16), "wait", gate=str(gate)))
        await until(subject.loaded)
        second = asyncio.create_task(do(subject, rig, rig.model("middle", 10)))
        await until(lambda: [job["reason"] for job in subject.placement()["waiting"]] == [
            "The model middle needs 10.0 GiB: GPU 0 is busy."
        ])  # fmt: skip
        gate.touch()
        await asyncio.gather(first, second)
        assert subject.loaded() == {"scripted": ["middle"]}


async def test_a_model_that_never_fits_is_refused_at_once(rig: Rig) -> None:
    async with executor(rig, placement_wait_seconds=60) as subject:
        with pytest.raises(Retry, match=r"no device here has more than 23\.5 GiB"):
            await asyncio.wait_for(do(subject, rig, rig.model("huge", 40)), 5)


async def test_idle_models_are_released(rig: Rig) -> None:
    async with executor(rig, idle_seconds=0.3) as subject:
        await do(subject, rig, rig.model("small", 6))
        await until(lambda: rig.used(0) == 0 and subject.status() == [])
        assert events(subject)[-1] == ("released", "small")


async def test_idle_models_are_unloaded_for_another_program(rig: Rig) -> None:
    """The owner starts a game. The GPU has less free memory than its reserve, so the idle model is unloaded."""
    async with executor(rig) as subject:
        await do(subject, rig, rig.model("small", 6))
        rig.others[0] = 18 * GIBIBYTE
        await until(lambda: rig.used(0) == 0)
        assert events(subject)[-1] == ("released", "small")


async def test_the_memory_use_of_a_model_is_measured_and_saved(rig: Rig) -> None:
    """The catalogue states 16 GiB, but it uses 3. From then on, also after a restart, it is placed with little more."""
    model = rig.model("large", 3)
    async with executor(rig) as subject:
        await do(subject, rig, model)
        assert subject.status()[0]["footprint"] == 16 * GIBIBYTE
    async with executor(rig) as subject:
        await do(subject, rig, model)
        assert 3 * GIBIBYTE <= subject.status()[0]["footprint"] < 4 * GIBIBYTE


async def test_an_engine_that_fills_its_budget_gets_no_larger_one(rig: Rig) -> None:
    """As vLLM does. Otherwise it would be given a tenth more each time, and the whole card in the end."""
    async with executor(rig, idle_seconds=0.1) as subject:
        for _ in range(3):
            await do(subject, rig, rig.model("middle", 10))
            await until(lambda: subject.status() == [])
        assert {entry["reason"] for entry in subject.placement()["recent"] if entry["event"] == "placed"} == {
            "It may use 10.0 GiB."
        }


async def run_program(subject: LocalExecutor, rig: Rig, size: float, fault: str = "") -> int:
    """Run a job without a model, whose program uses so many GiB; return what the job was placed with."""
    gate = rig.directory / f"gate-{os.urandom(4).hex()}"
    text = f"{int(size * GIBIBYTE)}{fault}"
    job = asyncio.create_task(do(subject, rig, None, "program", text=text, gate=str(gate)))
    try:
        await until(lambda: any(child.get("held") == int(size * GIBIBYTE) for child in subject.status()))
        footprint = max(child.get("footprint", 0) for child in subject.status())
    finally:
        gate.touch()
        await asyncio.wait([job])
    assert (job.exception() is not None) == bool(fault)
    return footprint


async def test_the_memory_of_a_runners_programs_is_measured_and_saved(rig: Rig) -> None:
    """Such as Blender's and ffmpeg's. They start with little, and do not lie idle on the card."""
    async with executor(rig) as subject:
        assert await run_program(subject, rig, 3) < GIBIBYTE
        assert all(child.get("held", 0) == 0 for child in subject.status())
        assert 3 * GIBIBYTE <= await run_program(subject, rig, 3) < 4 * GIBIBYTE
    async with executor(rig) as subject:
        assert 3 * GIBIBYTE <= await run_program(subject, rig, 3) < 4 * GIBIBYTE


async def test_a_program_that_ran_out_of_memory_gets_more_than_it_used(rig: Rig) -> None:
    """Instead of half as much again as a guess, at each failure."""
    async with executor(rig) as subject:
        await run_program(subject, rig, 4, "!")
        assert await run_program(subject, rig, 1) == 6 * GIBIBYTE


async def test_a_program_that_filled_the_card_may_run_there_again(rig: Rig) -> None:
    async with executor(rig) as subject:
        await run_program(subject, rig, 23.4)
        assert await run_program(subject, rig, 23.4) >= 21 * GIBIBYTE


async def test_a_model_that_does_not_fit_into_main_memory_is_unavailable_and_refused(rig: Rig) -> None:
    """Although the GPU would hold it: it goes through main memory."""
    rig.main = 200 * MEBIBYTE
    async with executor(rig, placement_wait_seconds=60) as subject:
        reason = "main memory beside the GPU's, and no device here has more than 0.2 GiB"
        with pytest.raises(Retry, match=reason) as caught:
            await asyncio.wait_for(do(subject, rig, rig.model("heavy", 6)), 5)
        assert caught.value.code == "NO_MEMORY"
        assert reason in (await subject.unavailable_models({"scripted": ["heavy"]}))["scripted"]["heavy"]
        await do(subject, rig, rig.model("large", 16))


async def test_a_model_waits_until_other_programs_leave_it_main_memory(rig: Rig) -> None:
    rig.others_main = 150 * MEBIBYTE
    async with executor(rig, placement_wait_seconds=30) as subject:
        job = asyncio.create_task(do(subject, rig, rig.model("heavy", 6)))
        await until(lambda: subject.placement()["waiting"])
        (waiting,) = subject.placement()["waiting"]
        assert waiting["reason"].startswith("The model heavy needs 0.2 GiB of main memory beside the GPU's: ")
        assert rig.used(0) == 0
        rig.others_main = 0
        await job


async def test_the_main_memory_of_a_model_and_its_engines_server_is_measured_and_saved(rig: Rig) -> None:
    """The catalogue states 250 MiB, but it takes little more than 100. With that much free it is loaded again, also after a restart."""
    model, gate = rig.model("heavy", 6, server=100), rig.directory / "gate"
    async with executor(rig, idle_seconds=0.1) as subject:
        job = asyncio.create_task(do(subject, rig, model, "wait", gate=str(gate)))
        await until(lambda: 0 < rig.learned("heavy").loading < 200 * MEBIBYTE)
        gate.touch()
        await job
        await until(lambda: subject.status() == [])
        rig.others_main = 150 * MEBIBYTE
        await do(subject, rig, model)
    async with executor(rig) as subject:
        await do(subject, rig, model)
        await until(lambda: 100 * MEBIBYTE < subject.status()[0]["main_memory"] < 200 * MEBIBYTE)
        rig.others_main = 300 * MEBIBYTE
        reason = (await subject.unavailable_models({"scripted": ["bulky"]}))["scripted"]["bulky"]
        assert "other programs leave at most" in reason


async def test_a_loaded_model_holds_only_what_its_runs_were_measured_to_take(rig: Rig) -> None:
    """What it needed for loading is there for the next one, which would not fit beside that."""
    model, gate = rig.model("heavy", 6, server=100), rig.directory / "gate"
    loading = model.path / "loading"
    loading.touch()
    async with executor(rig) as subject:
        job = asyncio.create_task(do(subject, rig, model, "wait", gate=str(gate)))
        await until(lambda: subject.status() and subject.status()[0]["main_memory"] > 100 * MEBIBYTE)
        loading.unlink()
        await until(lambda: rig.learned("heavy").loading > 100 * MEBIBYTE)
        (child,) = subject._pool._children
        await until(lambda: child.runs and child.memory_peak)  # it was measured during the run
        gate.touch()
        await job
        learned = rig.learned("heavy")
        assert 0 < learned.working < 100 * MEBIBYTE < learned.loading < 200 * MEBIBYTE
    async with executor(rig, slots=2) as subject:
        gate.unlink()
        job = asyncio.create_task(do(subject, rig, model, "wait", gate=str(gate)))
        await until(subject.loaded)
        await do(subject, rig, rig.model("bulky", 10))
        gate.touch()
        await job


async def test_memory_that_a_model_has_locked_for_a_card_counts_as_its_own(rig: Rig) -> None:
    """The kernel counts it for no process: another model would be loaded into memory that is not there."""
    model, gate = rig.model("heavy", 6), rig.directory / "gate"
    (model.path / "locked").write_text(str(180 * MEBIBYTE))
    async with executor(rig) as subject:
        job = asyncio.create_task(do(subject, rig, model, "wait", gate=str(gate)))
        await until(lambda: subject.status() and subject.status()[0]["main_memory"] == 180 * MEBIBYTE)
        await until(lambda: rig.learned("heavy").loading >= 180 * MEBIBYTE)
        gate.touch()
        await job
        assert rig.learned("heavy").working >= 180 * MEBIBYTE
        await subject.release_model("heavy")
        assert subject.status() == [] or subject.status()[0]["main_memory"] < 180 * MEBIBYTE


async def test_memory_that_was_measured_before_a_run_does_not_count_for_the_run(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The measurement takes a while, and is recorded when the run has already begun."""
    monkeypatch.setattr(pool, "MEMORY_POLL_SECONDS", 3600.0)
    model, gate = rig.model("large", 6), rig.directory / "gate"
    async with executor(rig) as subject:
        await do(subject, rig, model)
        (child,) = subject._pool._children
        has_begun, may_end = threading.Event(), threading.Event()

        def measure_slowly(pids: Sequence[int]) -> dict[int, int]:
            has_begun.set()
            may_end.wait(60)
            return dict.fromkeys(pids, 2**40)

        monkeypatch.setattr(pool, "_main_memory", measure_slowly)
        measuring = asyncio.create_task(subject._pool.measure())
        await asyncio.to_thread(has_begun.wait, 60)
        job = asyncio.create_task(do(subject, rig, model, "wait", gate=str(gate)))
        await until(lambda: child.runs > 1)
        may_end.set()
        await measuring
        assert child.memory() == 2**40
        assert child.memory_peak == 0
        gate.touch()
        await job


async def test_an_idle_model_is_evicted_for_main_memory_although_the_gpu_would_hold_both(rig: Rig) -> None:
    async with executor(rig) as subject:
        await do(subject, rig, rig.model("large", 6, server=150))
        await do(subject, rig, rig.model("bulky", 10))
        assert subject.loaded() == {"scripted": ["bulky"]}
        assert ("evicted", "large") in events(subject)
        assert rig.main_free() == rig.main


async def test_an_engines_server_that_takes_too_much_main_memory_is_ended(rig: Rig) -> None:
    """The model is not placed with more of the GPU for that."""
    async with executor(rig, child_memory=80 * MEBIBYTE) as subject:
        gate = rig.directory / "gate"
        job = do(subject, rig, rig.model("large", 16, server=100), "wait", gate=str(gate))
        with pytest.raises(Retry, match=r"used more than 0\.1 GiB of memory and was ended") as caught:
            await asyncio.wait_for(job, 20)
        assert caught.value.code == "OUT_OF_MEMORY"
        await until(lambda: rig.main_free() == rig.main)
        assert (await subject.unavailable_models({"scripted": ["large"]})) == {}


async def test_three_failures_to_load_open_the_models_circuit(rig: Rig) -> None:
    """Other models are not affected."""
    broken = Model("broken", rig.directory / "models/nowhere")
    async with executor(rig) as subject:
        for _ in range(MAX_LOAD_FAILURES):
            assert await subject.unavailable_models({}) == {}
            with pytest.raises(Retry, match="broken is damaged"):
                await do(subject, rig, broken)
        held = await subject.unavailable_models({})
        assert held["scripted"]["broken"].startswith(
            "It failed to load 3 times. Last error: broken is damaged."
        )
        await do(subject, rig, rig.model("small", 6))


async def test_a_driver_that_fails_opens_no_models_circuit(rig: Rig) -> None:
    """Each model would be refused after the other, also once the driver works again."""
    model = rig.model("small", 6)
    (model.path / "fault").write_text("No CUDA GPUs are available")
    async with executor(rig) as subject:
        for _ in range(MAX_LOAD_FAILURES):
            with pytest.raises(Retry, match="CUDA sees no card") as caught:
                await do(subject, rig, model)
            assert caught.value.code == "GPU_UNSUPPORTED"
        assert await subject.unavailable_models({}) == {}
        (model.path / "fault").unlink()
        await do(subject, rig, model)


@pytest.mark.parametrize("unusable", [{0}, {0, 1}])
async def test_a_run_starts_only_on_a_card_that_its_engine_can_use(rig: Rig, unusable: set[int]) -> None:
    """Without one, the job goes to another machine at once, and costs this one and the model nothing."""
    reasons = tuple((f"GPU-{number}", "update the driver to 580.65 or newer") for number in unusable)
    rig.cards, rig.others = 2, [0, 0]
    rig.interpreters = Interpreters(Interpreter(HOST, unusable=reasons))
    async with executor(rig) as subject:
        for _ in range(MAX_LOAD_FAILURES):
            run = do(subject, rig, rig.model("small", 6))
            if unusable == {0}:
                assert (await run).device.uuid == "GPU-1"
                continue
            with pytest.raises(Retry, match=r"update the driver to 580\.65 or newer") as caught:
                await run
            assert caught.value.code == "GPU_UNSUPPORTED"
        assert await subject.unavailable_models({"scripted": ["small"]}) == {}


async def test_two_hangs_open_the_models_circuit(rig: Rig) -> None:
    async with executor(rig, stall_seconds=0.5) as subject:
        for _ in range(MAX_HANGS):
            assert await subject.unavailable_models({}) == {}
            with pytest.raises(Retry) as caught:
                await do(subject, rig, rig.model("small", 6), "deaf")
            assert caught.value.code == "RUNNER_HUNG"
        assert (await subject.unavailable_models({}))["scripted"]["small"].startswith("It hung 2 times.")


async def test_a_run_that_is_cancelled_while_its_model_loads_leaves_nothing(rig: Rig) -> None:
    async with executor(rig) as subject, no_remaining_children():
        task = asyncio.create_task(do(subject, rig, rig.model("small", 6)))
        await until(subject.status)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 30)
        await until(lambda: subject.status() == [])


async def test_a_batch_shares_a_child_and_cancelling_one_run_leaves_the_others(rig: Rig) -> None:
    """With five jobs and a capacity of four, the fifth waits. When one is cancelled, the fifth replaces it, and the others continue."""
    async with executor(rig, placement_wait_seconds=30) as subject:
        model, gates = rig.model("small", 6), [rig.directory / f"gate{number}" for number in range(5)]
        started: list[asyncio.Event] = [asyncio.Event() for _ in gates]

        def begin(number: int) -> asyncio.Task[Execution]:
            listener = RunListener(progress=lambda *_: started[number].set())
            run = do(subject, rig, model, "wait", service="batch", listener=listener, gate=str(gates[number]))
            return asyncio.create_task(run)

        runs = [begin(number) for number in range(4)]
        await asyncio.gather(*(event.wait() for event in started[:4]))
        assert subject.working() == [Working("batch", "small", ("GPU-0",), 4, 4)]
        fifth = begin(4)
        await until(lambda: subject.placement()["waiting"])
        runs[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(runs[0], 2)
        await asyncio.wait_for(started[4].wait(), 5)
        for gate in gates[1:]:
            gate.touch()
        done = await asyncio.gather(*runs[1:], fifth)
        assert {execution.done.results["waited"] for execution in done} == {True}
        assert len(subject.status()) == 1


async def test_a_run_of_a_batch_that_ignores_its_cancellation_leaves_the_others(rig: Rig) -> None:
    """The child ends with the last run that is not cancelled, and no run counts as hung. A second cancellation, by a time limit, changes nothing."""
    async with executor(rig, cancel_seconds=0.1) as subject:
        model, gate, started = rig.model("small", 6), rig.directory / "gate", asyncio.Event()
        other = asyncio.create_task(do(subject, rig, model, "wait", service="batch", gate=str(gate)))
        await until(subject.loaded)
        listener = RunListener(progress=lambda *_: started.set())
        deaf = asyncio.create_task(do(subject, rig, model, "deaf", service="batch", listener=listener))
        await asyncio.wait_for(started.wait(), 60)
        for _ in range(2):
            deaf.cancel()
            assert not (await asyncio.wait([deaf, other], timeout=0.7))[0]
        gate.touch()
        assert (await asyncio.wait_for(other, 60)).done.results["waited"]
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(deaf, 60)
        await until(lambda: subject.status() == [])


async def test_killing_a_batchs_child_fails_all_its_runs_and_the_next_run_succeeds(rig: Rig) -> None:
    async with executor(rig) as subject:
        model, gate = rig.model("small", 6), rig.directory / "gate"
        runs = [
            asyncio.create_task(do(subject, rig, model, "wait", service="batch", gate=str(gate)))
            for _ in range(2)
        ]
        await until(
            lambda: subject.working() == [Working("batch", "small", ("GPU-0",), 2, 4)] and subject.loaded()
        )
        os.kill(subject.status()[0]["pid"], signal.SIGKILL)
        for run in runs:
            with pytest.raises(Retry, match="SIGKILL"):
                await asyncio.wait_for(run, 10)
        await do(subject, rig, model, service="batch")
