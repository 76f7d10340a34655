"""Options that several commands share, and the decorator that turns a group of options into one parameter."""

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

_JOB = "Every job"
_BATCH = "Several files"

LAST = "last"
JOB_ARGUMENT = typer.Argument(
    metavar="JOB", help="The job's id, or `last` for the newest job.", autocompletion=_complete.jobs
)
JobArgument = Annotated[str, JOB_ARGUMENT]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


@dataclass(frozen=True, slots=True)
class State:
    """The coordinator and the key from the options before the command, if given."""

    base_url: str | None
    api_key: str | None


@dataclass(frozen=True)
class Options:
    """A group of options, one for each field. See `with_options`."""


@dataclass(frozen=True)
class Parameters(Options):
    """Options that are fields of a job's body and have the same names."""

    @property
    def body(self) -> dict[str, Any]:
        """The fields that were given. The service's defaults apply to the others."""
        return given({field.name: getattr(self, field.name) for field in fields(self)})


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are not None."""
    return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class JobOptions(Options):
    """The options of every command that creates a job. `body` is their part of the job's body."""

    max_cost: Annotated[
        str | None,
        typer.Option(
            "--max-cost", metavar="AMOUNT", help="The maximum cost of each job.", rich_help_panel=_JOB
        ),
    ] = None
    priority: Annotated[
        int | None,
        typer.Option(
            min=0, max=9, metavar="0..9", help="The priority; 9 is the most urgent.", rich_help_panel=_JOB
        ),
    ] = None
    timeout: Annotated[
        int | None,
        typer.Option(min=1, metavar="SECONDS", help="The time limit of one run.", rich_help_panel=_JOB),
    ] = None
    receipt: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the receipt, which `aitbc receipts verify` checks. For several jobs, a directory.",
            rich_help_panel=_JOB,
        ),
    ] = None
    wait_for_miner: Annotated[
        bool,
        typer.Option(
            "--wait-for-miner",
            help="Submit the job even if no known miner can run it, and wait for one.",
            rich_help_panel=_JOB,
        ),
    ] = False
    as_json: JsonOption = False

    @property
    def body(self) -> dict[str, Any]:
        """The fields of a job's body that these options fill."""
        pricing = None if self.max_cost is None else {"max_cost": self.max_cost}
        wait = self.wait_for_miner or None
        options = {"priority": self.priority, "timeout_seconds": self.timeout, "wait": wait}
        return given({"pricing": pricing, **options})


@dataclass(frozen=True)
class BatchOptions(Options):
    """The options of every command that accepts several files."""

    recursive: Annotated[
        bool,
        typer.Option("--recursive", "-r", help="Include subdirectories.", rich_help_panel=_BATCH),
    ] = False
    at_once: Annotated[
        int,
        typer.Option(
            "--jobs", "-j", min=1, max=64, help="How many jobs run at the same time.", rich_help_panel=_BATCH
        ),
    ] = 4
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Repeat finished work, and overwrite files that aitbc did not write.",
            rich_help_panel=_BATCH,
        ),
    ] = False


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace each `Options` parameter of a command by its options, and rebuild the parameter when the command is called."""
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

    del called.__wrapped__  # the wrapped function has other parameters
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # read by inspect
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
    """Return the option `--model` of a command, with completion of its service's models."""
    return typer.Option(
        "--model",
        "-m",
        help="The model. Shell completion lists the models.",
        autocompletion=_complete.models_of(service_id),
    )


def find_job(client: AITBCClient, named: str) -> str:
    """Return the id of the job that an argument names; `last` is the newest job. Raises `NoSuchJob`."""
    if named != LAST:
        return named
    jobs = client.jobs.list(limit=1).jobs
    if not jobs:
        raise NoSuchJob("You have no jobs yet.")
    return jobs[0].job_id


def client_of(context: typer.Context) -> AITBCClient:
    """Return a client for the options before the command. Raises `ConfigurationError`."""
    state = _state(context)
    return AITBCClient(state.api_key, state.base_url)


def async_client_of(context: typer.Context) -> AsyncAITBCClient:
    """Return an asyncio client for the options before the command. Raises `ConfigurationError`."""
    state = _state(context)
    return AsyncAITBCClient(state.api_key, state.base_url)


def _state(context: typer.Context) -> State:
    state = context.find_object(State)
    if state is None:
        raise TypeError("The command was called without the program's options.")
    return state
