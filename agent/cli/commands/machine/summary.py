"""`aitbc-agent summary`: the last days of this machine."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from agent.cli.options import AsJson, ConfigFile, DataDir, print_result, settings_from
from agent.miner.notices.summary import read_summary


def summary(
    days: Annotated[int, typer.Option(min=1, max=366, help="Number of days, until today.")] = 7,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what this machine earned, used and failed at in the last days. The agent need not be running.

    Examples:
      aitbc-agent summary
      aitbc-agent summary --days 30
    """
    today = datetime.now(UTC).date()
    latest = read_summary(settings_from(data_dir, config), today - timedelta(days=days - 1), today)
    print_result(asdict(latest), latest.text(), as_json=as_json)
