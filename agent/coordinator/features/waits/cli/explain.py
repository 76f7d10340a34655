"""`aitbc-agent explain`: why this machine does not get the jobs that wait."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from agent.cli import agent_file
from agent.cli.options import AsJson, DataDir, print_json, settings_from
from agent.core.errors import ConfigurationError
from aitbc import AITBCClient, MinerExplanation
from aitbc.cli._terminal.output import SafeConsole


def explain(
    miner: Annotated[
        str | None, typer.Option(metavar="MINER_ID", help="Another miner of this coordinator.")
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show, for each kind of waiting job, why this machine does not get it and what would change that.

    Examples:
      aitbc-agent explain
      aitbc-agent explain --miner attic
    """
    agent = agent_file.read(settings_from(data_dir))
    miner_id = miner or agent.miner_id
    key = agent.miner_key if miner is None else agent.admin_key
    if miner_id is None or key is None:
        raise ConfigurationError(
            "This agent runs no miner with a key of its own. Give --miner on the coordinator's machine."
        )
    with AITBCClient(key, agent.url) as client:
        explanation = client.miners.explain(miner_id)
    print_json(explanation.to_dict()) if as_json else _print(explanation)


def _print(explanation: MinerExplanation) -> None:
    console = SafeConsole()
    console.print(explanation.summary)
    for kind in explanation.kinds:
        jobs = "1 job" if kind.jobs == 1 else f"{kind.jobs} jobs"
        model = f", {kind.model}" if kind.model else ""
        console.print(Text.assemble((jobs, "bold"), f" of {kind.service_id}{model}"), soft_wrap=True)
        for reason in kind.reasons:
            console.print(f"  {reason.message}", soft_wrap=True)
            console.print(f"    {reason.action}", soft_wrap=True)
        if not kind.reasons:
            console.print("  This machine can run them now.")
