"""The options that several commands share, and how a command takes a group of them as one value."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from aitbc._client import AITBCClient, AsyncAITBCClient
from aitbc.cli import _complete
from aitbc.cli._exits import NoSuchJob

_JOB = "Any job"
_BATCH = "Several files"

LAST = "last"
JobArgument = Annotated[
    str,
    typer.Argument(
        metavar="JOB", help="The job's id, or last for the newest.", autocompletion=_complete.jobs
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


@dataclass(frozen=True, slots=True)
class State:
    """The coordinator and the key that the options before the command name, if any."""

    base_url: str | None
    api_key: str | None


@dataclass(frozen=True)
class Options:
    """A group of options: each field is one. See `with_options`."""


@dataclass(frozen=True)
class Parameters(Options):
    """Options that are fields of a job's body, by their names there."""

    @property
    def body(self) -> dict[str, Any]:
        """What was given; the service's own defaults stand for the rest."""
        return given({field.name: getattr(self, field.name) for field in fields(self)})


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values without those that are None."""
    return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class JobOptions(Options):
    """What every command that creates a job takes. `body` is its part of the job's body."""

    max_cost: Annotated[
        str | None,
        typer.Option(
            "--max-cost", metavar="AMOUNT", help="The most that a job may cost.", rich_help_panel=_JOB
        ),
    ] = None
    priority: Annotated[
        int | None,
        typer.Option(
            min=0, max=9, metavar="0..9", help="How urgent it is; 9 is the most.", rich_help_panel=_JOB
        ),
    ] = None
    timeout: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="SECONDS", help="The longest that one run may take.", rich_help_panel=_JOB
        ),
    ] = None
    receipt: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Store the receipt, which `aitbc receipts verify` checks. A directory for several.",
            rich_help_panel=_JOB,
        ),
    ] = None
    as_json: JsonOption = False

    @property
    def body(self) -> dict[str, Any]:
        """The fields of a job's body that these options fill."""
        pricing = None if self.max_cost is None else {"max_cost": self.max_cost}
        return given({"pricing": pricing, "priority": self.priority, "timeout_seconds": self.timeout})


@dataclass(frozen=True)
class BatchOptions(Options):
    """What every command that takes several files takes."""

    recursive: Annotated[
        bool,
        typer.Option("--recursive", "-r", help="Directories within directories too.", rich_help_panel=_BATCH),
    ] = False
    at_once: Annotated[
        int,
        typer.Option(
            "--jobs", "-j", min=1, max=64, help="Jobs under way at the same time.", rich_help_panel=_BATCH
        ),
    ] = 4
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Do again what is done already, and write over files of others.",
            rich_help_panel=_BATCH,
        ),
    ] = False


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Turn each parameter of a command that takes `Options` into these options, and back when it is called."""
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        if isinstance(hints[name], type) and issubclass(hints[name], Options):
            groups[name] = hints[name]
            parameters += _parameters_of(hints[name])
        else:
            parameters.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def called(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    del called.__wrapped__  # what was wrapped has other parameters
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # what inspect looks for
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


def _parameters_of(group: type) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(group)
    ]


def model_option(service_id: str) -> Any:
    """The option `--model` of a command, which completes to the models of its service."""
    return typer.Option(
        "--model",
        "-m",
        help="The model; the shell's completion lists them.",
        autocompletion=_complete.models_of(service_id),
    )


def find_job(client: AITBCClient, named: str) -> str:
    """The id of the job that an argument names: itself, or that of the newest for `last`. Raises `NoSuchJob`."""
    if named != LAST:
        return named
    jobs = client.jobs.list(limit=1).jobs
    if not jobs:
        raise NoSuchJob("There is no job yet.")
    return jobs[0].job_id


def client_of(context: typer.Context) -> AITBCClient:
    """A client as the options before the command say. Raises `ConfigurationError`."""
    state = _state(context)
    return AITBCClient(state.api_key, state.base_url)


def async_client_of(context: typer.Context) -> AsyncAITBCClient:
    """As `client_of`, to be awaited."""
    state = _state(context)
    return AsyncAITBCClient(state.api_key, state.base_url)


def _state(context: typer.Context) -> State:
    state = context.find_object(State)
    if state is None:
        raise TypeError("The command was called without the program's options.")
    return state
