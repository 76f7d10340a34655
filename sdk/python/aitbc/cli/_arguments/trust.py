"""The trust anchor of the commands that verify: a policy, a log's public key, or the local agent's log key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aitbc._http.local import local_agent
from aitbc.policy import Policy

LogKeyOption = Annotated[
    str | None,
    typer.Option(
        "--log-key", metavar="VKEY", help="The coordinator's public log key. Default: the local agent's."
    ),
]
PolicyOption = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        metavar="FILE",
        help="Trusted logs, witnesses and the quorum (c2sp.org/tlog-policy), instead of a log key.",
    ),
]


def trusted(log_key: str | None, policy: Path | None) -> Policy:
    """Return the policy that was named, else one for the local agent's log. Raises `BadParameter`, `FormatError` and `OSError`."""
    if log_key is not None and policy is not None:
        raise typer.BadParameter("Use either --log-key or --policy: a policy already names its logs.")
    if policy is not None:
        return Policy.read(policy)
    # The key is never asked of the coordinator that is verified: it would return one under which all is right.
    return Policy.of_log(log_key or _local_log_key())


def _local_log_key() -> str:
    agent = local_agent()
    if agent is None or agent.log_key is None:
        raise typer.BadParameter(
            "No log key was given, and no local agent has one. Pass the coordinator's with --log-key, or a policy with --policy."
        )
    return agent.log_key
