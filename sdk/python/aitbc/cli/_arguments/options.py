"""Options that several commands share, and the decorator that turns a group of options into one parameter."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from aitbc._client import AITBCClient, AsyncAITBCClient
from aitbc._http.flow import present
from aitbc.cli._arguments import complete
from aitbc.cli._arguments.ids import find_miner, find_offer
from aitbc.cli._arguments.option_names import FieldOptions, Options
from aitbc.cli._arguments.state import GlobalOptions

_job_option = functools.partial(typer.Option, rich_help_panel="Every job")
_batch_option = functools.partial(typer.Option, rich_help_panel="Several files")

JobArgument = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        help="The job: its id or a part of it, its name, or `last` for the newest one.",
        autocompletion=complete.jobs,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


def labels_of(pairs: Iterable[str]) -> dict[str, str]:
    """Return the labels of `--label` options. Raises `typer.BadParameter`."""
    labels = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{pair!r} is not of the form KEY=VALUE, such as project=podcast.")
        labels[key] = value
    return labels


@dataclass(frozen=True)
class JobOptions(FieldOptions):
    """The options of every command that creates a job. `body` is their part of the job's body."""

    max_cost: Annotated[
        str | None,
        _job_option(
            "--max-cost",
            metavar="CREDITS",
            help="The maximum cost of each job, in credits. Default: the coordinator's, usually 1.",
        ),
    ] = None
    priority: Annotated[
        int | None,
        _job_option(min=0, max=9, metavar="0..9", help="The priority; 9 is the most urgent. Default: 0."),
    ] = None
    timeout: Annotated[
        int | None,
        _job_option(
            min=1,
            metavar="SECONDS",
            help="The time limit of one run. Default: the coordinator's, usually 3600.",
        ),
    ] = None
    miner: Annotated[
        str | None,
        _job_option(
            metavar="MINER", help="Only this miner may run it: its name or id. Default: any that can run it."
        ),
    ] = None
    offer: Annotated[
        str | None,
        _job_option(
            metavar="OFFER", help="Accept this offer: its id, or its miner's name (rig-1/llm_inference)."
        ),
    ] = None
    name: Annotated[
        str | None,
        _job_option(metavar="NAME", help="The job's name in lists. Default: from its file or prompt."),
    ] = None
    label: Annotated[
        list[str] | None, _job_option(metavar="KEY=VALUE", help="A label, to find jobs by; may be repeated.")
    ] = None
    receipt: Annotated[
        Path | None,
        _job_option(
            metavar="FILE",
            help="Write the receipt, which `aitbc receipts verify` checks. For several jobs, a directory.",
        ),
    ] = None
    webhook: Annotated[
        str | None,
        _job_option(metavar="URL", help="The address that gets a signed message when the job ends."),
    ] = None
    detach: Annotated[
        bool,
        _job_option(
            "--detach",
            "-d",
            help="Submit the job, print its id, and end. The same command without --detach gets the results.",
        ),
    ] = False
    wait_for_miner: Annotated[
        bool,
        _job_option(
            "--wait-for-miner", help="Submit the job even if no known miner can run it, and wait for one."
        ),
    ] = False
    min_reputation: Annotated[
        float | None,
        _job_option(
            min=0, max=5, metavar="0..5", help="Only miners with at least this reputation may run it."
        ),
    ] = None
    audited: Annotated[
        bool,
        _job_option(
            "--audited",
            help="Have another miner check the result. It costs a part of the job's price, which is printed first; --max-cost covers both.",
        ),
    ] = False
    seal: Annotated[
        bool,
        _job_option(
            "--seal",
            help="Encrypt the input for one miner, and the answer for you. The miner is that of --miner or --offer, or else the cheapest one with a key.",
        ),
    ] = False
    as_json: JsonOption = False

    def body(self, context: typer.Context) -> dict[str, Any]:
        """Return the fields of a job's body that these options fill. Raises `NoSuchName` and `AmbiguousName`."""
        if self.miner is not None and self.offer is not None:
            raise typer.BadParameter("Use either --miner or --offer: an offer determines the miner.")
        miner_id, offer_id = self.miner, self.offer
        if miner_id is not None or offer_id is not None:
            # Only if a name has to be looked up: most jobs name neither, and need no request for it.
            with client_of(context) as client:
                miner_id = None if miner_id is None else find_miner(client, miner_id)
                offer_id = None if offer_id is None else find_offer(client, offer_id)
        pricing = None if self.max_cost is None else {"max_cost": self.max_cost}
        return present(
            {
                "name": self.name,
                "labels": None if self.label is None else labels_of(self.label),
                "pricing": pricing,
                "priority": self.priority,
                "timeout_seconds": self.timeout,
                "miner_id": miner_id,
                "offer_id": offer_id,
                "webhook_url": self.webhook,
                "min_reputation": self.min_reputation,
                "audited": self.audited or None,
                "wait": self.wait_for_miner or None,
            }
        )


@dataclass(frozen=True)
class BatchOptions(Options):
    """The options of every command that accepts several files."""

    recursive: Annotated[bool, _batch_option("--recursive", "-r", help="Include subdirectories.")] = False
    at_once: Annotated[
        int, _batch_option("--jobs", "-j", min=1, max=64, help="How many jobs run at the same time.")
    ] = 4
    force: Annotated[
        bool,
        _batch_option("--force", help="Repeat finished work, and overwrite files that aitbc did not write."),
    ] = False


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace each `Options` parameter of a command with its options, and rebuild the parameter when the command is called."""
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        if isinstance(hints[name], type) and issubclass(hints[name], Options):
            groups[name] = hints[name]
            parameters += _parameters_of(hints[name])
        else:
            # By name only, since options with defaults may come before arguments without.
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
        metavar="MODEL",
        help="The model. `aitbc models` lists them. Default: the service's.",
        autocompletion=complete.models_of(service_id),
    )


def client_of(context: typer.Context) -> AITBCClient:
    """Return a client for the options before the command. Raises `ConfigurationError`."""
    state = _state(context)
    return AITBCClient(state.api_key, state.base_url)


def async_client_of(context: typer.Context) -> AsyncAITBCClient:
    """Return an asyncio client for the options before the command. Raises `ConfigurationError`."""
    state = _state(context)
    return AsyncAITBCClient(state.api_key, state.base_url)


def _state(context: typer.Context) -> GlobalOptions:
    state = context.find_object(GlobalOptions)
    if state is None:
        raise TypeError("The command was called without the program's options.")
    return state
