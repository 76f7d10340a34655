"""Child processes with the interpreter of an engine's environment, which the real uv creates from wheels of the test."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from psutil import Process

from agent.catalogue import load_catalogue
from agent.miner.daemon import Daemon
from agent.miner.engines.catalogue import InstallableEngine, VariantName, load_engines
from agent.miner.engines.environments import EngineDirectory, engines_directory
from agent.miner.engines.installer import Installer
from agent.miner.engines.interpreters import OWN, Interpreter, Interpreters
from agent.miner.executor.contract import Execution
from agent.miner.executor.local import LocalExecutor
from agent.miner.machine.capabilities import Capabilities, Machine
from agent.miner.machine.gpus import Gpu, Gpus
from agent.miner.models.store import ModelStore
from agent.miner.settings import MinerSettings
from agent.settings import Settings
from miner_support import wheels
from miner_support.coordinator import FakeCoordinator
from miner_support.daemons import HOST, running, settings_for, until
from runners.api import Device, Model, Runner, Tools, forget_probes
from runners.host.protocol import Run
from runners.llm import LLMRunner
from runners.whisper import WhisperRunner

pytestmark = [pytest.mark.system, pytest.mark.anyio]

CPU = Device(kind="cpu", name="cpu")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels of the engine, and of what the host of a runner imports."""
    directory = tmp_path_factory.mktemp("wheels")
    for version in ("1.0", "2.0"):
        wheels.build(directory, "tiny-engine", version, {"tiny_engine.py": f"VERSION = {version!r}".encode()})
    for name in wheels.HOST_PACKAGES:
        wheels.repack(directory, name)
    return directory


@pytest.fixture(autouse=True)
def owners_index(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("UV_", "PIP_", "AITBC_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("UV_FIND_LINKS", str(index))
    monkeypatch.setenv("UV_NO_INDEX", "1")


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Runner[Any]]]:
    """A runner in a module of its own, as those of third parties."""
    monkeypatch.syspath_prepend(str(Path(wheels.__file__).parent))
    import engine_runner  # noqa: PLC0415 - from the directory above

    yield engine_runner.EngineRunner
    forget_probes()


CARD = Gpu("GPU-1", 0, "RTX 4090", 24 * 2**30, 23 * 2**30, "8.9", "580.65.06", None, None, None)
OLD_CARD = replace(CARD, uuid="GPU-2", index=1, name="GTX 1080", compute_capability="6.1")
OLD_DRIVER = replace(CARD, driver="570.86.15")


class FixedGpus(Gpus):
    """Cards that a test changes."""

    def __init__(self, *cards: Gpu) -> None:
        super().__init__()
        self.cards = cards

    def snapshot(self) -> tuple[Gpu, ...]:
        self.last, self.reason = self.cards, None
        return self.cards


def declare(
    directory: Path, index: Path, version: str = "1.0", variant: VariantName = "any"
) -> InstallableEngine:
    """Write the lock file of a version, and the owner's catalogue that declares the engine, for cards of 7.5 and newer and driver 580.65 if `variant` is "cuda"."""
    chosen = [path for path in sorted(index.iterdir()) if not path.name.startswith("tiny_engine")]
    lock = directory / f"data/engines/tiny-{variant}.txt"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text("".join(map(wheels.locked, [index / f"tiny_engine-{version}-py3-none-any.whl", *chosen])))
    (directory / "data/engines.toml").write_text(
        '[[engines]]\nname = "tiny"\nservices = ["engine"]\ndescription = "It does little."\nlicence = "MIT"\n'
        'modules = ["tiny_engine"]\ncheck = "import tiny_engine"\n'
        + "".join(
            f'[engines.variants.{name}]\npython = ["3.11", "3.12", "3.13"]\npackages = ["tiny-engine"]\nsize = "8Mi"\n'
            + ('driver = "580.65"\ncapability = ["7.5", "12.x"]\n' if name == "cuda" else "")
            for name in dict.fromkeys((variant, *(() if variant == "any" else ("cuda",))))
        )
    )
    return load_engines(directory / "data")["tiny"]


def installer(settings: Settings, runner: type[Runner[Any]]) -> Installer:
    return Installer(
        engines_directory(settings), {"engine": runner}, cache_dir=settings.cache_dir, check_seconds=60
    )


def install(settings: Settings, runner: type[Runner[Any]], engine: InstallableEngine) -> Path:
    """Install the engine. Return its environment."""
    variant = next(iter(engine.variants.values()))
    done = installer(settings, runner).install(engine, variant, lambda _done, _total: None)
    return done.environment.path


async def probe(settings: Settings, runner: type[Runner[Any]], *cards: Gpu) -> Capabilities:
    store = ModelStore(settings.models_dir, load_catalogue())
    return await Machine(settings, FixedGpus(*cards), store, {"engine": runner}).probe()


@asynccontextmanager
async def executor(capabilities: Capabilities, directory: Path) -> AsyncIterator[LocalExecutor]:
    offered = {service: offer.interpreters for service, offer in capabilities.services.items()}
    subject = LocalExecutor(
        (CPU,), Tools(), MinerSettings(), directory, interpreters=Interpreters(OWN, offered)
    )
    try:
        yield subject
    finally:
        await asyncio.wait_for(subject.close(), 60)


async def run(
    subject: LocalExecutor,
    directory: Path,
    service: str = "engine",
    model: Model | None = None,
    **parameters: Any,
) -> Execution:
    for name in ("output", "work"):
        (directory / name).mkdir(exist_ok=True)
    message = Run(
        run_id=os.urandom(4).hex(),
        parameters=parameters,
        output=directory / "output",
        work=directory / "work",
        timeout_seconds=60,
    )
    return await subject.run(service, model, message)


async def test_a_runner_uses_the_environment_of_its_engine_and_sees_nothing_else(
    tmp_path: Path, index: Path, runner: type[Runner[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own package, `runners`, and what is in the environment: neither the agent's packages nor those that PYTHONPATH adds."""
    (tmp_path / "smuggled.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    settings = settings_for(tmp_path)
    environment = install(settings, runner, declare(tmp_path, index))
    capabilities = await probe(settings, runner)
    offer = capabilities.services["engine"]
    assert offer.version == f"1.0+of {environment}"
    assert (dict(offer.features), offer.concurrency) == ({"engines": ["tiny"], "batch": 8}, 2)
    names = [
        "pydantic",
        "runners",
        "engine_runner",
        "agent",
        "aitbc",
        "structlog",
        "httpx",
        "numpy",
        "smuggled",
    ]
    async with executor(capabilities, tmp_path) as subject:
        done = await run(subject, tmp_path, modules=names)
    results = done.done.results
    assert (results["version"], results["prefix"]) == ("1.0", str(environment))
    assert results["visible"] == ["pydantic", "runners", "engine_runner"]


async def test_processes_that_an_engine_starts_find_the_runner_too(
    tmp_path: Path, index: Path, runner: type[Runner[Any]]
) -> None:
    """Engines start workers with multiprocessing, which unpickles functions and classes of the runner's module there."""
    settings = settings_for(tmp_path)
    install(settings, runner, declare(tmp_path, index))
    async with executor(await probe(settings, runner), tmp_path) as subject:
        done = await run(subject, tmp_path, spawn=True)
    assert done.done.results["spawned"] == "1.0"


async def test_an_environment_in_use_is_deleted_only_after_its_children_have_ended(
    tmp_path: Path, index: Path, runner: type[Runner[Any]]
) -> None:
    settings = settings_for(tmp_path)
    environment = install(settings, runner, declare(tmp_path, index))
    subject = installer(settings, runner)
    async with executor(await probe(settings, runner), tmp_path) as working:
        await run(working, tmp_path)
        await asyncio.to_thread(subject.remove, "tiny")
        assert environment.exists()
        assert EngineDirectory(engines_directory(settings), "tiny").current is None
        assert (await run(working, tmp_path)).done.results["version"] == "1.0"
    assert await asyncio.to_thread(subject.remove, "tiny") > 0
    assert not environment.exists()


async def test_a_service_without_its_engine_names_the_command_that_installs_it(
    tmp_path: Path, index: Path, runner: type[Runner[Any]]
) -> None:
    declare(tmp_path, index)
    capabilities = await probe(settings_for(tmp_path), runner)
    assert capabilities.unavailable["engine"] == (
        "tiny_engine is missing.",
        "The engine tiny is not installed (8 MiB). It does little. Install it: aitbc-agent engines install tiny.",
    )
    assert capabilities.to_wire()["unavailable"]["engine"][1].endswith("aitbc-agent engines install tiny.")


async def test_an_engine_that_the_agent_already_has_is_not_suggested(
    tmp_path: Path, index: Path, runner: type[Runner[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the agent's own environment serves, unless the owner prefers the engine's."""
    environment = install(settings_for(tmp_path), runner, declare(tmp_path, index))
    (tmp_path / "own").mkdir()
    (tmp_path / "own/tiny_engine.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "own"))
    capabilities = await probe(settings_for(tmp_path), runner)
    assert capabilities.hints["engine"] == ()
    assert [found.engine for found in capabilities.services["engine"].interpreters] == [None, "tiny"]
    assert capabilities.services["engine"].version == f"1.0+of {sys.prefix}"
    preferring = settings_for(tmp_path).model_copy(
        update={"engines": settings_for(tmp_path).engines.model_copy(update={"preferred": ("tiny",)})}
    )
    capabilities = await probe(preferring, runner)
    assert [found.engine for found in capabilities.services["engine"].interpreters] == ["tiny", None]
    assert capabilities.services["engine"].version == f"1.0+of {environment}"


async def test_an_engine_is_not_offered_on_a_card_or_driver_that_is_too_old_for_it(
    tmp_path: Path, index: Path, runner: type[Runner[Any]]
) -> None:
    """The owner reads why and what to do; with a newer driver or another card it is offered again."""
    settings = settings_for(tmp_path)
    install(settings, runner, declare(tmp_path, index, variant="cuda"))
    for card, remedy in (
        (OLD_DRIVER, "update the driver to 580.65 or newer"),
        (OLD_CARD, "too old for tiny"),
    ):
        capabilities = await probe(settings, runner, card)
        assert capabilities.services == {}
        assert remedy in capabilities.to_wire()["unavailable"]["engine"][0]
    for cards in ((CARD,), (OLD_CARD, CARD)):
        capabilities = await probe(settings, runner, *cards)
        assert list(capabilities.services) == ["engine"]
        assert [device.kind for device in capabilities.devices_of("engine")] == ["cuda"] * len(cards)
    (reason,) = capabilities.obstacles["engine"]
    assert "GPU 1 (GTX 1080, compute capability 6.1) is too old for tiny" in reason
    assert reason in capabilities.hints["engine"]
    (interpreter,) = capabilities.services["engine"].interpreters
    interpreters = Interpreters(OWN, {"engine": (interpreter,)})
    suits = [interpreters.suits("engine", None, interpreter, device) for device in capabilities.devices]
    assert suits == [False, True]


async def test_what_the_owner_has_forced_is_offered_on_any_card(
    tmp_path: Path, index: Path, runner: type[Runner[Any]]
) -> None:
    settings = settings_for(tmp_path)
    engine = declare(tmp_path, index, variant="cuda")
    installer(settings, runner).install(
        engine, engine.variants["cuda"], lambda _done, _total: None, forced=True
    )
    capabilities = await probe(settings, runner, OLD_DRIVER)
    assert (list(capabilities.services), dict(capabilities.obstacles)) == (["engine"], {})


async def test_packages_for_the_processor_compute_on_it_also_beside_a_card(
    tmp_path: Path,
    index: Path,
    runner: type[Runner[Any]],
    coordinator: FakeCoordinator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The daemon's child gets no card, and the owner reads how to use it."""
    settings = settings_for(tmp_path)
    install(settings, runner, declare(tmp_path, index, variant="cpu"))
    monkeypatch.setattr("agent.miner.backend.Gpus", lambda **_others: FixedGpus(CARD))
    daemon = Daemon(settings, coordinator.url, runners={"engine": runner})
    async with running(daemon):
        job_id = await coordinator.submit("report", service="engine")
        await coordinator.until(lambda: job_id in coordinator.results)
        (reason,) = daemon.status()["engine_obstacles"]["engine"]
    assert coordinator.statements[job_id].device_kind == "cpu"
    assert "For the card: aitbc-agent engines install tiny" in reason


async def test_a_new_driver_or_card_is_probed_and_a_lost_one_is_not(
    tmp_path: Path,
    index: Path,
    runner: type[Runner[Any]],
    coordinator: FakeCoordinator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A service that was withdrawn is offered again by the next daemon."""
    settings = settings_for(tmp_path, gpu_poll_seconds=0.05)
    install(settings, runner, declare(tmp_path, index, variant="cuda"))
    gpus = FixedGpus(OLD_DRIVER)
    monkeypatch.setattr("agent.miner.backend.Gpus", lambda **_others: gpus)
    first, second = (Daemon(settings, coordinator.url, runners={"engine": runner}) for _ in range(2))
    async with running(first) as working:
        reason, *_ = first.status()["unavailable"]["engine"]
        assert "update the driver to 580.65 or newer" in reason
        gpus.cards = (CARD,)
        await asyncio.wait_for(working, 60)
        assert first.machine_changed
    async with running(second) as working:
        assert list(coordinator.registrations[-1]["capabilities"]["services"]) == ["engine"]
        gpus.cards = ()
        await until(lambda: second.status()["gpus"] == [])
        assert not working.done()
        gpus.cards = (CARD, OLD_CARD)
        await asyncio.wait_for(working, 60)
        assert second.machine_changed


async def test_an_engine_that_no_longer_fits_the_agent_is_reported(
    tmp_path: Path, index: Path, runner: type[Runner[Any]]
) -> None:
    settings = settings_for(tmp_path)
    environment = install(settings, runner, declare(tmp_path, index))
    next(environment.glob("lib/*/site-packages/pydantic/__init__.py")).write_text("raise OSError('damaged')")
    forget_probes()
    reasons = " ".join((await probe(settings, runner)).unavailable["engine"])
    assert "The runner cannot be imported there (OSError: damaged)" in reasons


async def test_a_running_miner_offers_an_engine_soon_after_its_installation(
    tmp_path: Path, index: Path, coordinator: FakeCoordinator, runner: type[Runner[Any]]
) -> None:
    """And uses the new version after an upgrade. The daemon ends in order, and the next one has the new capabilities."""
    settings = settings_for(tmp_path, gpu_poll_seconds=0.05)

    def daemon() -> Daemon:
        return Daemon(settings, coordinator.url, runners={"engine": runner})

    first, second, third = daemon(), daemon(), daemon()
    engine = declare(tmp_path, index)
    async with running(first) as working:
        assert coordinator.registrations[-1]["capabilities"]["services"] == {}
        await asyncio.to_thread(install, settings, runner, engine)
        await asyncio.wait_for(working, 60)
        assert first.machine_changed
    async with running(second) as working:
        assert list(coordinator.registrations[-1]["capabilities"]["services"]) == ["engine"]
        job_id = await coordinator.submit("report", service="engine")
        await coordinator.until(lambda: job_id in coordinator.results)
        assert coordinator.results[job_id]["results"]["version"] == "1.0"
        await asyncio.to_thread(install, settings, runner, declare(tmp_path, index, "2.0"))
        await asyncio.wait_for(working, 60)
        assert second.machine_changed
    async with running(third):
        job_id = await coordinator.submit("report", service="engine")
        await coordinator.until(lambda: job_id in coordinator.results)
    assert coordinator.results[job_id]["results"]["version"] == "2.0"


async def test_models_of_one_service_run_with_the_interpreters_of_their_engines(
    tmp_path: Path, prestarted: pytest.MonkeyPatch
) -> None:
    """Also the same model, when a request needs another engine; its loaded copy serves only requests for the first one."""
    prestarted.undo()
    (tmp_path / "bytes").write_text("0")
    left = Interpreter(HOST, engines=("left",))
    right = Interpreter(HOST, engine="right", variables=(("TEST_SIDE", "right"),), engines=("right",))
    subject = LocalExecutor(
        (CPU,),
        Tools(),
        MinerSettings(),
        tmp_path,
        interpreters=Interpreters(left, {"scripted": (left, right)}),
    )
    model = {
        engines: Model("m", tmp_path, engines=engines) for engines in (("left", "right"), ("right", "left"))
    }
    subject.prestart({"scripted": True})
    try:
        await until(subject.status)  # the child without a model is of the first interpreter
        for engines in (("right", "left"), ("left", "right"), ("left", "right")):
            await run(subject, tmp_path, "scripted", model[engines], mode="echo")
        children = [child for child in subject.status() if child["model"]]
        sides = {child["environment"]: Process(child["pid"]).environ().get("TEST_SIDE") for child in children}
    finally:
        await subject.close()
    assert {(child["environment"], child["runs"]) for child in children} == {(None, 2), ("right", 1)}
    assert sides == {None: None, "right": "right"}


@pytest.mark.parametrize(
    ("engines", "chosen"),
    [
        ((), "own"),
        (("vllm", "transformers"), "vllm"),
        (("transformers", "vllm"), "own"),
        (("llama.cpp",), "own"),
        (("unknown",), "own"),
        (("unknown", "vllm"), "vllm"),
    ],
)
def test_the_best_engine_of_a_model_decides_between_interpreters(
    engines: tuple[str, ...], chosen: str
) -> None:
    own = Interpreter(("own",), engines=("llama.cpp", "transformers"))
    vllm = Interpreter(("vllm",), engine="vllm", engines=("vllm",))
    interpreters = Interpreters(OWN, {"llm_inference": (own, vllm)})
    assert interpreters.serving("llm_inference", engines).command == (chosen,)
    assert interpreters.serving("another", engines) is OWN


def test_a_request_may_name_its_engine() -> None:
    first, second = Interpreter(("first",), engines=("a",)), Interpreter(("second",), engines=("b",))
    interpreters = Interpreters(OWN, {"service": (first, second)})
    model = Model("m", Path(), engines=("a", "b"))
    assert interpreters.for_job("service", model, {"engine": "b"}) is second
    assert interpreters.for_job("service", model, {"engine": None}) is first
    assert interpreters.for_job("service", None, {}) is first


def test_a_models_files_decide_which_engines_can_load_it(tmp_path: Path) -> None:
    """With the real runners: GGUF is for llama.cpp and safetensors for vLLM, in any order of the catalogue."""
    own = Interpreter(("own",), engines=("llama.cpp", "transformers", "openai-whisper"))
    other = Interpreter(("other",), engines=("vllm", "faster-whisper"))
    offered = {"llm_inference": (own, other), "whisper_transcription": (other, own)}
    runners = {"llm_inference": LLMRunner, "whisper_transcription": WhisperRunner}
    interpreters = Interpreters(OWN, offered, runners)
    for name, service, chosen in (
        ("model.gguf", "llm_inference", own),
        ("model.safetensors", "llm_inference", other),
        ("model.pt", "whisper_transcription", own),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
        engines = ("llama.cpp", "vllm", "faster-whisper", "openai-whisper")
        assert interpreters.for_job(service, Model(name, tmp_path / name, engines=engines), {}) is chosen, (
            name
        )
