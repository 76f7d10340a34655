"""Probes runners, in the agent's own environment and in those of the installed engines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from typing import Any

from agent.miner.engines.cards import choose, environment_obstacle
from agent.miner.engines.catalogue import InstallableEngine, shown_size
from agent.miner.engines.environments import EngineEnvironment
from agent.miner.engines.interpreters import Interpreter, has_engine, of_environment, probe
from agent.miner.machine.gpus import Gpu
from agent.miner.machine.probe_results import ProbeResults
from runners.api import Probe, Runner, Tools
from runners.sandbox import Level, level


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An interpreter that may serve a service, and its blocking probe.

    `unusable` has the UUIDs of the cards that it cannot use, with the reasons; `processor`: whether it can work without a card.
    """

    interpreter: Interpreter
    call: Callable[[], Probe]
    unusable: tuple[tuple[str, str], ...] = ()
    processor: bool = True


@dataclass(frozen=True, slots=True)
class Probed:
    """What was found out about a service: the probes of all its interpreters as one, and those that can serve it, best first.

    `obstacles` state which cards its engines cannot use, and what to do.
    """

    probe: Probe
    interpreters: tuple[Interpreter, ...]
    obstacles: tuple[str, ...] = ()


@dataclass(eq=False)
class Probes:
    """Probes runners, and waits `seconds` for each. `own` is the agent's interpreter, and `environments` are those of installed engines.

    On a machine with `gpus` of NVIDIA, an engine that can use none of them works on the processor, if its packages can, or serves nothing.

    An installed engine comes before the agent's own environment, unless that has the engine too: then only if its name is in
    `preferred`. `used` has the results that were returned, by their key in `results`.
    """

    results: ProbeResults
    tools: Tools
    own: Interpreter
    environments: Sequence[tuple[InstallableEngine, EngineEnvironment]]
    _: KW_ONLY
    preferred: Sequence[str]
    seconds: float
    gpus: Sequence[Gpu] = ()

    def __post_init__(self) -> None:
        self.used: dict[Hashable, Probe] = {}
        # Engines for cards of other makers find out by themselves which they can use.
        self._nvidia = [gpu for gpu in self.gpus if gpu.kind == "cuda"]

    async def of(self, service: str, runner: type[Runner[Any]]) -> Probed:
        """Probe a service's runner in all environments that may serve it. Errors of runners are not raised."""
        own_candidate = _Candidate(self.own, partial(runner.probe, self.tools))
        first: list[_Candidate] = []
        last: list[_Candidate] = []
        for engine, environment in self.environments:
            if service in engine.services:
                is_preferred = (
                    engine.name in self.preferred
                    or not has_engine(engine)
                    # The agent's own build of such an engine uses no card.
                    or environment.record.variant == "vulkan"
                )
                # What the agent has itself starts faster, so an installed engine comes first only where it adds something.
                (first if is_preferred else last).append(self._in(engine, environment, runner))
        ordered = [*first, own_candidate, *last]
        probes = await asyncio.gather(
            *(
                self._get((service, runner, item.interpreter, self.tools), runner.name, item.call)
                for item in ordered
            )
        )
        working = [
            (candidate, result) for candidate, result in zip(ordered, probes, strict=True) if result.available
        ]
        # First those that use a card: without a model to decide, the first one serves a job.
        working.sort(key=lambda pair: self._without_card(pair[0]))
        chosen = [pair for pair in working if pair[0].processor or not self._without_card(pair[0])]
        obstacles = tuple(
            dict.fromkeys(reason for candidate, _ in working for _, reason in candidate.unusable)
        )
        if not chosen:
            # Each sentence once, since all environments may lack the same thing.
            reasons = dict.fromkeys(reason for result in probes for reason in result.reasons)
            return Probed(Probe(available=False, reasons=(*obstacles, *reasons)), (), obstacles)
        interpreters = [
            replace(candidate.interpreter, unusable=candidate.unusable).having(result)
            for candidate, result in chosen
        ]
        return Probed(
            _merged([result for _, result in chosen]),
            tuple(
                interpreter.only_on_processor() if self._without_card(candidate) else interpreter
                for interpreter, (candidate, _) in zip(interpreters, chosen, strict=True)
            ),
            obstacles,
        )

    def _without_card(self, candidate: _Candidate) -> bool:
        """Whether an interpreter can use none of the machine's cards."""
        return bool(self._nvidia) and len(candidate.unusable) == len(self._nvidia)

    def _in(
        self, engine: InstallableEngine, environment: EngineEnvironment, runner: type[Runner[Any]]
    ) -> _Candidate:
        variant = engine.variants.get(environment.record.variant)
        interpreter = of_environment(environment, variant, runner)
        unusable = tuple(
            (gpu.uuid, obstacle.reason)
            for gpu in self._nvidia
            if runner.definition.requirements.gpu != "unused"
            and (obstacle := environment_obstacle(engine, environment, gpu)) is not None
        )
        return _Candidate(
            interpreter,
            partial(probe, interpreter, self.tools),
            unusable,
            processor=environment.record.variant != "cuda",
        )

    async def sandbox(self) -> Level | None:
        """Return the isolation of programs; None if they cannot be run."""
        sandbox = await self._get(("sandbox", self.tools), "the sandbox", partial(_sandbox, self.tools))
        return sandbox.features.get("level")

    async def _get(self, key: Hashable, name: str, call: Callable[[], Probe]) -> Probe:
        self.used[key] = result = await self.results.get(key, name, call, self.seconds)
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
    """Return a sentence for each engine that would serve this service and is not on this machine, or why it must not be installed."""
    present = {engine.name for engine, _ in environments}
    nvidia = [gpu for gpu in gpus if gpu.kind == "cuda"]
    missing = [
        (engine, choose(engine, nvidia, vulkan=len(nvidia) < len(gpus)))
        for engine in engines.values()
        if service in engine.services and engine.name not in present and not has_engine(engine)
    ]
    return tuple(
        f"The engine {engine.name} is not installed ({shown_size(choice.variant.size)}). {engine.description} "
        + (f"{choice.obstacle} " if choice.obstacle else "")
        + ("" if choice.refused else f"Install it: aitbc-agent engines install {engine.name}.")
        for engine, choice in missing
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
