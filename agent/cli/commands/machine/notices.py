"""`aitbc-agent notices`: send a notice to try whether it arrives."""

from __future__ import annotations

import asyncio
import socket
import time

import typer

from agent.cli.options import ConfigFile, DataDir, settings_from
from agent.core.errors import ConfigurationError
from agent.miner.notices.delivery import Notice, NotSent, send
from agent.miner.settings import MinerSettings
from agent.sections import section_of


def notices(data_dir: DataDir = None, config: ConfigFile = None) -> None:
    """Send a notice as the settings say, to try whether it arrives. The agent need not be running.

    Examples:
      aitbc-agent notices
    """
    miner = section_of(settings_from(data_dir, config), MinerSettings)
    if miner.notices.webhook is None and not miner.notices.command:
        raise ConfigurationError("No notices are sent. Set miner.notices.webhook or miner.notices.command.")
    text = "This is a test. You get notices of this machine."
    notice = Notice("test", text, miner.name or socket.gethostname(), None, time.time())
    try:
        asyncio.run(send(notice, miner.notices))
    except NotSent as error:
        raise ConfigurationError(str(error)) from None
    typer.echo("The notice was sent.")
