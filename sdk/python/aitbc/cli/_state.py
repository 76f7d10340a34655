"""What the options before the command say, and the option types that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from aitbc._client import AITBCClient

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
ReceiptOption = Annotated[
    Path | None,
    typer.Option(
        "--receipt",
        metavar="FILE",
        help="Store the receipt with the results; `aitbc receipts verify` checks it.",
    ),
]
MaxCostOption = Annotated[
    str | None, typer.Option("--max-cost", metavar="AMOUNT", help="The most that the job may cost.")
]


@dataclass(frozen=True, slots=True)
class State:
    """The coordinator and the key that were named, if any."""

    base_url: str | None
    api_key: str | None

    def client(self) -> AITBCClient:
        """A client for them. Raises `ConfigurationError`."""
        return AITBCClient(self.api_key, self.base_url)


def client_of(context: typer.Context) -> AITBCClient:
    """A client as the options before the command say."""
    state = context.find_object(State)
    if state is None:
        raise TypeError("The command was called without the program's options.")
    return state.client()


def pricing(max_cost: str | None) -> dict[str, str] | None:
    """The `pricing` of a job's body."""
    return None if max_cost is None else {"max_cost": max_cost}
