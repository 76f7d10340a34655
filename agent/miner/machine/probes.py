"""Probes runners, in the agent's own environment and in those of the installed engines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from agent.miner.engines.catalogue import InstallableEngine, shown_size
from agent.miner.engines.environments import EngineEnvironment
from agent.miner.engines.interpreters import Interpreter, has_engine, of_environment, probe
from agent.miner.machine.gpus import Gpu
from agent.miner.machine.probe_results import ProbeResults
from runners.api import Probe, Runner, Tools
from runners.sandbox import Level, level

_Candidate: TypeAlias = tuple[Interpreter, Callable[[], Probe]]


@dataclass(frozen=True, slots=True)
class Probed:
    """What was found out about a service: the probes of all its interpreters as one, and those that can serve it, best first."""

    probe: Probe
    interpreters: tuple[Interpreter, ...]


class Probes:
    """Probes runners, and waits `seconds` for each. `own` is the agent's interpreter, and `environments` are those of installed engines.

    An installed engine comes before the agent's own environment, unless that has the engine too: then only if its name is in
    `preferred`. `used` has the results that were returned, by their key in `results`.
    """

    def __init__(
        self,
        results: ProbeResults,
        tools: Tools,
        own: Interpreter,
        environments: Sequence[tuple[InstallableEngine, EngineEnvironment]],
        *,
        preferred: Sequence[str],
        seconds: float,
    ) -> None:
        self.used: dict[Hashable, Probe] = {}
        self._results = results
        self._tools = tools
        self._own = own
        self._environments = environments
        self._preferred = preferred
        self._seconds = seconds

    async def of(self, service: str, runner: type[Runner[Any]]) -> Probed:
        """Probe a service's runner in all environments that may serve it. Errors of runners are not raised."""
        own_candidate: _Candidate = (self._own, partial(runner.probe, self._tools))
        first: list[_Candidate] = []
        last: list[_Candidate] = []
        for engine, environment in self._environments:
            if service in engine.services:
                is_preferred = (
                    engine.name in self._preferred
                    or not has_engine(engine)
                    # The agent's own build of such an engine uses no card.
                    or environment.record.variant == "vulkan"
                )
                # What the agent has itself starts faster, so an installed engine comes first only where it adds something.
                (first if is_preferred else last).append(self._in(engine, environment, runner))
        ordered = [*first, own_candidate, *last]
        probes = await asyncio.gather(
            *(self._call(service, runner, interpreter, call) for interpreter, call in ordered)
        )
        in_environments = [
            (interpreter.having(result), result)
            for (interpreter, _), result in zip(ordered, probes, strict=True)
            if result.available
        ]
        if not in_environments:
            # Each sentence once, since all environments may lack the same thing.
            reasons = dict.fromkeys(reason for result in probes for reason in result.reasons)
            return Probed(Probe(available=False, reasons=tuple(reasons)), ())
        interpreters = tuple(interpreter for interpreter, _ in in_environments)
        return Probed(_merged([result for _, result in in_environments]), interpreters)

    def _in(
        self, engine: InstallableEngine, environment: EngineEnvironment, runner: type[Runner[Any]]
    ) -> _Candidate:
        variant = engine.variants.get(environment.record.variant)
        interpreter = of_environment(environment, variant, runner)
        return interpreter, partial(probe, interpreter, self._tools)

    async def _call(
        self, service: str, runner: type[Runner[Any]], interpreter: Interpreter, call: Callable[[], Probe]
    ) -> Probe:
        return await self._get((service, runner, interpreter, self._tools), runner.name, call)

    async def sandbox(self) -> Level | None:
        """Return the isolation of programs; None if they cannot be run."""
        sandbox = await self._get(("sandbox", self._tools), "the sandbox", partial(_sandbox, self._tools))
        return sandbox.features.get("level")

    async def _get(self, key: Hashable, name: str, call: Callable[[], Probe]) -> Probe:
        self.used[key] = result = await self._results.get(key, name, call, self._seconds)
        return result


def _sandbox(tools: Tools) -> Probe:
    isolation = level(tools)
    return Probe(available=isolation is not None, features={"level": isolation})


def suggestions(
    engines: Mapping[str, InstallableEngine],
    environments: Sequence[tuple[InstallableEngine, EngineEnvironment]],
    service: str,
    gpus: Sequence[Gpu],
) -> tuple[str, ...]:
    """Return a sentence for each engine that would serve this service and is not on this machine."""
    present = {engine.name for engine, _ in environments}
    cuda, vulkan = (any(gpu.kind == kind for gpu in gpus) for kind in ("cuda", "vulkan"))
    return tuple(
        f"The engine {engine.name} is not installed ({shown_size(engine.variant(cuda=cuda, vulkan=vulkan).size)}). {engine.description} "
        f"Install it: aitbc-agent engines install {engine.name}."
        for engine in engines.values()
        if service in engine.services and engine.name not in present and not has_engine(engine)
    )


def engine_versions(probe: Probe) -> tuple[str, ...]:
    """Return the versions of all engines that a probe found, best first."""
    return probe.versions or ((probe.version,) if probe.version else ())


def _merged(probes: Sequence[Probe]) -> Probe:
    """Return the probes of several interpreters as one: the first one's, with the engines of all."""
    first, *other_probes = probes
    if not other_probes:
        return first
    features: dict[str, Any] = dict(first.features)
    for other_probe in other_probes:
        for name, value in other_probe.features.items():
            if isinstance(value, list) and isinstance(features.get(name), list):
                # A job that needs a feature goes to the interpreter that has it, so the miner has what any of them has.
                features[name] = list(dict.fromkeys([*features[name], *value]))
            else:
                features.setdefault(name, value)
    return Probe(
        available=True,
        version=first.version,
        versions=tuple(dict.fromkeys(version for result in probes for version in engine_versions(result))),
        reasons=first.reasons,
        features=features,
        # Which of them runs a batch is not known when it is announced.
        concurrency=min(result.concurrency for result in probes),
        gpus=max(result.gpus for result in probes),
    )
