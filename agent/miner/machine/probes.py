"""Probes runners, in the agent's own environment and in those of the installed engines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import structlog

from agent.deadline import call_within
from agent.miner.engines.catalogue import Engine, shown_size
from agent.miner.engines.environments import Environment
from agent.miner.engines.interpreters import Interpreter, has_engine, of_environment, probe
from runners.api import Probe, Runner, Tools

_Candidate: TypeAlias = tuple[Interpreter, Callable[[], Probe]]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Probed:
    """What was found out about a service: the probes of all its interpreters as one, and those that can serve it, best first."""

    probe: Probe
    interpreters: tuple[Interpreter, ...]


class Probes:
    """Probes runners, each within `seconds`. `own` is the agent's interpreter, and `environments` are those of installed engines.

    An installed engine comes before the agent's own environment, unless that has the engine too: then only if its name is in
    `preferred`.
    """

    def __init__(
        self,
        tools: Tools,
        own: Interpreter,
        environments: Sequence[tuple[Engine, Environment]],
        *,
        preferred: Sequence[str],
        seconds: float,
    ) -> None:
        self._tools = tools
        self._own = own
        self._environments = environments
        self._preferred = preferred
        self._seconds = seconds

    async def of(self, service: str, runner: type[Runner[Any]]) -> Probed:
        """Probe a service's runner in all environments that may serve it. Errors of runners are not raised."""
        own: _Candidate = (self._own, partial(runner.probe, self._tools))
        first: list[_Candidate] = []
        last: list[_Candidate] = []
        for engine, environment in self._environments:
            if service in engine.services:
                before = engine.name in self._preferred or not has_engine(engine)
                (first if before else last).append(self._in(engine, environment, runner))
        ordered = [*first, own, *last]
        probes = await asyncio.gather(*(self._call(service, runner, call) for _, call in ordered))
        found = [
            (interpreter.having(result), result)
            for (interpreter, _), result in zip(ordered, probes, strict=True)
            if result.available
        ]
        if not found:
            reasons = dict.fromkeys(reason for result in probes for reason in result.reasons)
            return Probed(Probe(available=False, reasons=tuple(reasons)), ())
        interpreters = tuple(interpreter for interpreter, _ in found)
        return Probed(_merged([result for _, result in found]), interpreters)

    def _in(self, engine: Engine, environment: Environment, runner: type[Runner[Any]]) -> _Candidate:
        variant = engine.variants.get(environment.record.variant)
        interpreter = of_environment(environment, variant, runner)
        return interpreter, partial(probe, interpreter, self._tools)

    async def _call(self, service: str, runner: type[Runner[Any]], call: Callable[[], Probe]) -> Probe:
        try:
            return await call_within(self._seconds, call, name=f"probe-{service}")
        except TimeoutError:
            reason = (
                f"The runner {runner.name} could not be probed within {self._seconds:g} s; "
                "the machine may be too busy."
            )
        except Exception as error:  # noqa: BLE001 - a third-party runner must not end the daemon
            _log.warning("probe_failed", service=service, runner=runner.name, exc_info=True)
            reason = f"The runner {runner.name} could not be probed ({type(error).__name__}: {error})."
        return Probe(available=False, reasons=(f"{reason} Update or uninstall it.",))


def suggestions(
    engines: Mapping[str, Engine],
    environments: Sequence[tuple[Engine, Environment]],
    service: str,
    *,
    cuda: bool,
) -> tuple[str, ...]:
    """Return a sentence for each engine that would serve this service and is not on this machine."""
    present = {engine.name for engine, _ in environments}
    return tuple(
        f"The engine {engine.name} is not installed ({shown_size(engine.variant(cuda=cuda).size)}). {engine.description} "
        f"Install it: aitbc-agent engines install {engine.name}."
        for engine in engines.values()
        if service in engine.services and engine.name not in present and not has_engine(engine)
    )


def _merged(probes: Sequence[Probe]) -> Probe:
    """Return the probes of several interpreters as one: the first one's, with the engines of all."""
    first, *others = probes
    if not others:
        return first
    features: dict[str, Any] = dict(first.features)
    for other in others:
        for name, value in other.features.items():
            if isinstance(value, list) and isinstance(features.get(name), list):
                features[name] = list(dict.fromkeys([*features[name], *value]))
            else:
                features.setdefault(name, value)
    return Probe(
        available=True,
        version=first.version,
        reasons=first.reasons,
        features=features,
        concurrency=min(result.concurrency for result in probes),
        gpus=max(result.gpus for result in probes),
    )
