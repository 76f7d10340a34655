"""The interpreters that run the child processes of runners, and the choice between them for a job.

A runner runs with the agent's own interpreter, or with that of an engine's environment, where only the runner's package and
`runners` are visible in addition to the engine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

import runners.host
from agent.child_environment import inherited
from agent.core.errors import AgentError
from agent.miner.engines.catalogue import InstallableEngine, Variant
from agent.miner.engines.environments import EngineDirectory, EngineEnvironment
from runners.api import USUAL_KINDS, Device, DeviceKind, Model, Probe, Retry, Runner, TimedOut, Tools
from runners.extras import has_modules

HOST_COMMAND: Final = (sys.executable, "-P", "-m", "runners.host")
"""With `-P`, so that a module in the current directory cannot replace one of an engine."""

PROBE_SECONDS: Final = 600.0
"""Time limit for a probe in an environment, which starts a Python, and then programs with time limits of their own."""

_UNNAMED: Final = ""
"""The engine of a runner that names none."""

_ISOLATED: Final = Path(runners.host.__file__).with_name("isolated.py")
_TAIL: Final = 500


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that runs child processes of one service's runner.

    `command` starts a child, `variables` are added to its environment. `engine` names the engine whose environment it is, None
    for the agent's own. `engines` are those that the runner's probe found there, and `kinds` those of devices on which they compute, unless
    they are the usual ones. `unusable` has the UUIDs of the cards that it cannot use, each with the reason.
    """

    command: tuple[str, ...]
    engine: str | None = None
    variables: tuple[tuple[str, str], ...] = ()
    engines: tuple[str, ...] = ()
    kinds: tuple[tuple[str, tuple[DeviceKind, ...]], ...] = ()
    unusable: tuple[tuple[str, str], ...] = ()

    def having(self, probe: Probe) -> Interpreter:
        """Return a copy with the engines that a probe found."""
        names = probe.features.get("engines", ())
        engines = tuple(names) if isinstance(names, list | tuple) else ()
        return replace(self, engines=engines, kinds=tuple(probe.kinds.items()))

    def only_on_processor(self) -> Interpreter:
        """Return a copy whose engines, named or not, compute on the processor."""
        return replace(self, kinds=tuple((name, ("cpu",)) for name in (*self.engines, _UNNAMED)))

    def kinds_of(self, engine: str | None) -> tuple[DeviceKind, ...]:
        """Return the kinds of devices on which one of its engines computes."""
        return next((kinds for name, kinds in self.kinds if name == (engine or _UNNAMED)), USUAL_KINDS)

    def obstacle(self, device: Device) -> str | None:
        """Return why it cannot use a device; None if it can."""
        return next((reason for uuid, reason in self.unusable if uuid in device.gpus), None)


OWN: Final = Interpreter(HOST_COMMAND)


@dataclass(eq=False)
class Interpreters:
    """The interpreters that can serve each service, best first; `own` serves those that are not listed.

    `runners` are asked which engines can load a model, and `resolve` returns the model of a catalogue name.
    """

    own: Interpreter = OWN
    offered: Mapping[str, Sequence[Interpreter]] = field(default_factory=dict)
    runners: Mapping[str, type[Runner[Any]]] = field(default_factory=dict)
    resolve: Callable[[str], Model] | None = None

    def for_job(self, service: str, model: Model | None, parameters: Mapping[str, Any]) -> Interpreter:
        """Return the interpreter for a job: one with the engine that its request names, or else the best for its model."""
        named = parameters.get("engine")
        if isinstance(named, str):
            return self.serving(service, (named,))
        if model is None:
            return self.serving(service)
        runner = self.runners.get(service)
        return self.serving(service, model.engines if runner is None else runner.engines(model))

    def suits(self, service: str, model: Model | None, interpreter: Interpreter, device: Device) -> bool:
        """Return whether an interpreter, and the engine that it has for a model, can use a device."""
        if interpreter.obstacle(device) is not None:
            return False
        if device.by_index or service not in self.runners:
            return True
        return self._engine(service, model, interpreter) not in self.runners[service].engines_by_index

    def profiles(self, service: str, model: Model | None, interpreter: Interpreter) -> bool:
        """Return whether loading a model fails if another program frees memory of its cards meanwhile."""
        runner = self.runners.get(service)
        return runner is not None and self._engine(service, model, interpreter) in runner.engines_profiling

    def kinds(self, service: str, model: Model | None, interpreter: Interpreter) -> tuple[DeviceKind, ...]:
        """Return the kinds of devices on which an interpreter computes a model's jobs."""
        if not interpreter.kinds:
            return USUAL_KINDS
        return interpreter.kinds_of(self._engine(service, model, interpreter))

    def kinds_for(self, service: str, model: str) -> tuple[DeviceKind, ...]:
        """Return the kinds of devices on which this machine computes the jobs of a model, by its catalogue name."""
        if self.resolve is None or not any(
            interpreter.kinds for interpreter in self.offered.get(service, ())
        ):
            return USUAL_KINDS
        try:
            resolved = self.resolve(model)
        except Retry:  # the catalogue has changed
            return USUAL_KINDS
        return self.kinds(service, resolved, self.for_job(service, resolved, {}))

    def _engine(self, service: str, model: Model | None, interpreter: Interpreter) -> str | None:
        runner = self.runners.get(service)
        if runner is None or model is None:
            return None
        return next((name for name in runner.engines(model) if name in interpreter.engines), None)

    def serving(self, service: str, engines: Sequence[str] = ()) -> Interpreter:
        """Return the interpreter for a job that one of these engines can do, best first."""
        offered = self.offered.get(service) or (self.own,)
        for engine in engines:
            for interpreter in offered:
                if engine in interpreter.engines:
                    return interpreter
        return offered[0]


def of_environment(
    environment: EngineEnvironment, variant: Variant | None, runner: type[Runner[Any]]
) -> Interpreter:
    """Return the interpreter of an environment for a runner."""
    return Interpreter(
        command=(
            *_command(environment, "runners", runner.__module__.partition(".")[0]),
            *("--runner", f"{runner.__module__}:{runner.__qualname__}"),
        ),
        engine=environment.record.engine,
        variables=tuple(variables(environment, variant).items()),
    )


def check_command(environment: EngineEnvironment) -> tuple[str, ...]:
    """Return the command that runs an engine's check, which it reads from standard input. The program can import `runners`."""
    return (*_command(environment, "runners"), "--check")


def _command(environment: EngineEnvironment, *modules: str) -> tuple[str, ...]:
    words = [word for name in dict.fromkeys(modules) for word in ("--module", f"{name}={_file_of(name)}")]
    # Without the user's own packages and Python's variables; unbuffered, since output is read as it arrives.
    return (str(environment.python), "-I", "-u", str(_ISOLATED), *words)


def variables(environment: EngineEnvironment, variant: Variant | None) -> dict[str, str]:
    """Return the environment variables that programs of an environment need: their libraries and programs are found last."""
    libraries = [str(environment.modules / name) for name in (variant.libraries if variant else ())]
    variables = {"PATH": os.pathsep.join((os.environ.get("PATH", os.defpath), str(environment.path / "bin")))}
    if libraries:
        inherited = os.environ.get("LD_LIBRARY_PATH")
        variables["LD_LIBRARY_PATH"] = os.pathsep.join([*([inherited] if inherited else []), *libraries])
    return variables


def installed_environments(
    engines_dir: Path, engines: Mapping[str, InstallableEngine], preferred: Collection[str] = ()
) -> list[tuple[InstallableEngine, EngineEnvironment]]:
    """Return the engines that are installed, the owner's preferred ones first. Blocking."""
    interpreters = []
    for engine in sorted(engines.values(), key=lambda engine: engine.name not in preferred):
        environment = EngineDirectory(engines_dir, engine.name).current
        if environment is not None and environment.usable:
            interpreters.append((engine, environment))
    return interpreters


def has_engine(engine: InstallableEngine) -> bool:
    """Whether the agent's own environment has the engine."""
    return has_modules(*engine.modules)


def probe(interpreter: Interpreter, tools: Tools) -> Probe:
    """Return the result of a runner's probe in an engine's environment. Raises `AgentError`, `TimedOut`. Blocking."""
    try:
        completed = subprocess.run(  # noqa: S603 - the command is ours
            [*interpreter.command, "--probe"],
            input=TypeAdapter(Tools).dump_json(tools),
            env={**inherited(), **dict(interpreter.variables)},
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
        return TypeAdapter(Probe).validate_json(completed.stdout)
    except subprocess.TimeoutExpired:
        raise TimedOut(f"The runner's probe did not end within {PROBE_SECONDS:g} s.") from None
    except OSError as error:
        raise AgentError(
            f"The interpreter {interpreter.command[0]} cannot be started ({error.strerror})."
        ) from None
    except ValidationError:
        lines = completed.stderr.decode(errors="replace").strip().splitlines()
        reason = lines[-1][-_TAIL:].rstrip(".") if lines else f"exit status {completed.returncode}"
        raise AgentError(f"The runner cannot be imported there ({reason}).") from None


def _file_of(name: str) -> str:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise AgentError(f"The package {name} has no file that an engine's interpreter could import.")
    return spec.origin
