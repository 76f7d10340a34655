"""`aitbc-agent fleet`: all machines of this miner's owner, and what they have earned together."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from agent.cli import agent_file
from agent.cli.options import AsJson, DataDir, print_json, settings_from
from agent.core.errors import ConfigurationError
from aitbc import AITBCClient
from aitbc.cli._terminal.output import SafeConsole, amount_cell, credits_text, print_rows

_DAYS = 30


def fleet(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show all machines of this miner's owner together; on a coordinator, all of its machines.

    Examples:
      aitbc-agent fleet
    """
    agent = agent_file.read(settings_from(data_dir))
    key = agent.admin_key or agent.miner_key
    if key is None:
        raise ConfigurationError(
            "This agent has no fleet: it runs neither a coordinator nor a miner with a key of its own."
        )
    with AITBCClient(key, agent.url) as client:
        answer = client.miners.fleet(days=_DAYS).to_dict()
    if as_json:
        print_json(answer)
    else:
        _print(answer)


def _print(answer: dict[str, Any]) -> None:
    console = SafeConsole(highlight=True)
    miners = answer["miners"]
    owner = f" of {answer['owner']}" if answer.get("owner") else ""
    console.print(
        Text.assemble(
            (f"{len(miners)} machine{'' if len(miners) == 1 else 's'}", "bold"),
            f"{owner}: {answer['online']} online, {answer['gpus']} GPUs, {answer['running']} of {answer['slots']} slots busy",
        )
    )
    month = sum(day["jobs"] for day in answer["days"])
    console.print(
        f"  earned today (UTC): {credits_text(answer['earned_today'])}; in total: {credits_text(answer['total_earned'])}; jobs in {_DAYS} days: {month}"
    )
    rows = [
        (
            miner["name"],
            miner["miner_id"],
            _state(miner),
            str(len(miner["gpus"])),
            f"{miner['running']} of {miner['slots']}",
            amount_cell(miner["earned_today"]),
            amount_cell(miner["total_earned"]),
        )
        for miner in miners
    ]
    print_rows(
        ("NAME", "MINER", "STATE", "GPUS", "BUSY", "TODAY (CREDITS)", "TOTAL (CREDITS)"), rows, free=("NAME",)
    )


def _state(miner: dict[str, Any]) -> str:
    if not miner["online"]:
        return "offline"
    return "online" if miner.get("paused") is None else f"paused {miner['paused']}"
