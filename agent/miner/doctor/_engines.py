"""Checks of programs, sandbox and models, and of the services that they make possible."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from agent.catalogue import load_catalogue
from agent.core.errors import ConfigurationError
from agent.diagnostics import Diagnostic, ok
from agent.miner.doctor._machine import Cards, missing_driver, torch_build
from agent.miner.doctor.diagnostics import found
from agent.miner.engines.cards import environment_obstacle
from agent.miner.engines.catalogue import InstallableEngine, load_engines
from agent.miner.engines.environments import EngineDirectory, EngineEnvironment, engines_directory
from agent.miner.machine.capabilities import Machine, tools
from agent.miner.machine.gpus import Gpus
from agent.miner.machine.hardware import nearest
from agent.miner.machine.installed_vulkan import vulkan_cards
from agent.miner.machine.priced_services import unknown_services
from agent.miner.models.store import ModelStore
from agent.miner.settings import MinerSettings, RunnersSettings
from agent.sections import section_of
from agent.settings import Settings
from runners import c_compiler
from runners.api import Device, Retry
from runners.blender import engine as blender_engine
from runners.blender.process import abilities
from runners.engine_server import shared_memory as memory
from runners.ffmpeg.encoders import HARDWARE, hardware_works, listed
from runners.sandbox import level
from runners.sandbox import unavailable as sandbox_fault
from runners.sandbox.bubblewrap import unavailable as bubblewrap_fault

ANY_CARD: Final = Device("cuda", "any")

_OF_CUDA: Final = re.compile(r"nvidia[_-](?:cuda[_-]runtime|cublas)[_-]cu(\d+)==")


def programs(settings: Settings) -> list[Diagnostic]:
    """Check that FFmpeg's programs are installed."""
    diagnostics = []
    for name in ("ffmpeg", "ffprobe"):
        program = getattr(section_of(settings, RunnersSettings), name)
        path = shutil.which(program)
        if path is None:
            diagnostics.append(found("ffmpeg_missing", program=program, setting=name))
        else:
            diagnostics.append(ok(name, f"{name} is {path}."))
    return diagnostics


def nvenc(settings: Settings, cards: Cards) -> list[Diagnostic]:
    """Check that NVENC, which every build lists, encodes a frame. Skipped without a GPU or FFmpeg."""
    chosen = tools(settings)
    if not cards.nvidia or shutil.which(chosen.ffmpeg) is None or sandbox_fault(chosen) is not None:
        return []
    try:
        encoders = [name for name in HARDWARE.values() if name in listed(chosen)]
    except Retry:  # the program is not FFmpeg, which the service reports
        return []
    working = [name for name in encoders if hardware_works(chosen, name, None)]
    if working:
        return [ok("nvenc", f"One frame was encoded with each of {', '.join(working)}.")]
    return [found("nvenc_unusable", program=chosen.ffmpeg)] if encoders else []


def blender(settings: Settings, cards: Cards) -> list[Diagnostic]:
    """Check that Blender contains kernels for the installed GPUs."""
    chosen = tools(settings)
    if (
        not cards.gpus
        or shutil.which(blender_engine.chosen(chosen)) is None
        or sandbox_fault(chosen) is not None
    ):
        return []
    try:
        able = abilities(chosen, ANY_CARD)
    except Retry:  # the program is not Blender, which the service reports
        return []
    if able.hindrance is not None:
        return [found("blender_without_kernels", reason=able.hindrance)]
    return [ok("blender", f"Cycles renders with {', '.join(able.backends)}.")]


def sandbox(settings: Settings) -> list[Diagnostic]:
    """Check that programs that read untrusted files can be isolated."""
    chosen = tools(settings)
    reason = sandbox_fault(chosen)
    if chosen.sandbox == "off" and reason is None:
        return [found("sandbox_off")]
    if reason is None and chosen.sandbox == "auto" and level(chosen) == "landlock":
        return [found("sandbox_weaker", reason=bubblewrap_fault(chosen.bubblewrap))]
    if reason is None:
        return [ok("sandbox", f"Programs that read untrusted files are isolated with {level(chosen)}.")]
    if shutil.which(chosen.bubblewrap) is None:
        return [found("sandbox_missing", program=chosen.bubblewrap)]
    return [found("sandbox_forbidden", reason=reason)]


def models(settings: Settings) -> list[Diagnostic]:
    """List the models on disk."""
    try:
        store = ModelStore(settings.models_dir, load_catalogue(settings.data_dir))
    except ConfigurationError as error:
        return [found("catalogue_wrong", fault=error)]
    services = {entry.service for entry in store.catalogue.values()}
    names = [name for service in sorted(services) for name in store.on_disk(service)]
    if names:
        return [ok("models", f"In {settings.models_dir}: {', '.join(names)}.")]
    if section_of(settings, RunnersSettings).model_download:
        message = f"There are no models in {settings.models_dir}. They are downloaded when a job needs them."
        return [ok("models", message)]
    return [found("models_missing", directory=settings.models_dir)]


def engines(settings: Settings, cards: Cards) -> list[Diagnostic]:
    """Check the engines in environments of their own: whether they are complete, the versions of this agent, and fit for its cards."""
    try:
        catalogue = load_engines(settings.data_dir)
    except ConfigurationError as error:
        return [found("engines_wrong", fault=error)]
    diagnostics, works = [], []
    for engine in catalogue.values():
        directory = EngineDirectory(engines_directory(settings), engine.name)
        current = directory.current
        if current is not None:
            diagnostics += [
                found("engine_unsuitable", engine=engine.name, reason=reason)
                for reason in _unsuitable(engine, current, cards)
            ]
        if current is None:
            if directory.has_leftovers and not directory.busy:
                diagnostics.append(found("engine_partial", engine=engine.name))
        elif not current.usable:
            diagnostics.append(found("engine_without_python", engine=engine.name))
        elif current.record.digest not in {variant.digest() for variant in engine.variants.values()}:
            diagnostics.append(found("engine_of_another_version", engine=engine.name))
        else:
            works.append(f"{engine.name} ({', '.join([current.record.variant, *_built_with(current)])})")
            variant = engine.variants.get(current.record.variant)
            lack = c_compiler.lack(current.python) if variant is not None and variant.compiles else None
            if lack is not None:
                words = {"engine": engine.name, "what": lack.what, "remedy": lack.remedy}
                diagnostics.append(found("engine_without_compiler", **words))
    if works:
        diagnostics.append(ok("engines", f"Engines in environments of their own: {', '.join(works)}."))
    return diagnostics


def loadable(settings: Settings) -> list[Diagnostic]:
    """Check that libraries can be loaded from where engines are installed, and from where they store what they compile."""
    return [
        found("directory_noexec", directory=directory, use=use, setting=setting)
        for directory, use, setting in (
            (engines_directory(settings), "engines", "engines.directory"),
            (settings.cache_dir, "code that engines compile", "cache_dir"),
        )
        if os.statvfs(nearest(directory)).f_flag & os.ST_NOEXEC
    ]


def shared_memory(settings: Settings, cards: Cards) -> list[Diagnostic]:
    """Check that an installed vLLM has the shared memory that it needs on this machine."""
    current = EngineDirectory(engines_directory(settings), "vllm").current
    on_cards = current is not None and current.record.variant == "cuda"
    if current is None or (on_cards and len(cards.gpus) == 1):
        return []
    lack = memory.lack(memory.ADVISED if on_cards else memory.NEEDED)
    return [] if lack is None else [found("shared_memory_small", lack=lack)]


def _unsuitable(engine: InstallableEngine, environment: EngineEnvironment, cards: Cards) -> Iterator[str]:
    """Yield what keeps an engine from using cards: by what this agent knows of it, else by the versions in its environment."""
    reasons = {
        obstacle.reason
        for gpu in cards.nvidia
        if (obstacle := environment_obstacle(engine, environment, gpu)) is not None
    }
    yield from sorted(reasons)
    if reasons or not cards.nvidia or (cuda := _cuda(environment)) is None:
        return
    driver = cards.nvidia[0].driver
    if (required := missing_driver(cuda, driver)) is not None:
        yield (
            f"Its environment is for CUDA {cuda}, and the NVIDIA driver {driver} is too old for that: update the driver to {required} or newer."
        )


def _cuda(environment: EngineEnvironment) -> int | None:
    """Return the major version of CUDA that the packages of an environment are for; None if they use none."""
    build = torch_build(environment.modules)
    if build is not None:
        return None if build.cuda is None else int(build.cuda.partition(".")[0])
    for package in environment.record.packages:
        if (match := _OF_CUDA.match(package)) is not None:
            return int(match[1])
    return None


def _built_with(environment: EngineEnvironment) -> Iterator[str]:
    build, cuda = torch_build(environment.modules), _cuda(environment)
    if build is not None:
        yield f"torch {build.version}"
    if cuda is not None:
        yield f"CUDA {cuda}"


async def services(settings: Settings, probe_seconds: float) -> list[Diagnostic]:
    """Check which services this machine can offer."""
    try:
        store = ModelStore(settings.models_dir, load_catalogue(settings.data_dir))
    except ConfigurationError:  # `models` reports it
        store = ModelStore(settings.models_dir, load_catalogue())
    gpus = Gpus(others=vulkan_cards(settings))
    try:
        capabilities = await Machine(settings, gpus, store, probe_seconds=probe_seconds).probe()
    except ConfigurationError:  # of the engines' catalogue, which `engines` reports
        return []
    finally:
        gpus.close()
    diagnostics = []
    for service in capabilities.services:
        message = " ".join((f"{service} is offered.", *capabilities.hints[service]))
        diagnostics.append(replace(ok(service, message), service=service))
    for service, reasons in capabilities.unavailable.items():
        unavailable = found("service_unavailable", service=service, reasons=" ".join(reasons))
        diagnostics.append(replace(unavailable, service=service))
    for service, advice in unknown_services(section_of(settings, MinerSettings).prices).items():
        diagnostics.append(found("price_unknown", service=service, advice=advice))
    if not capabilities.services:
        diagnostics.append(found("no_service"))
    return diagnostics
