"""`aitbc-agent login`: create a link that signs a browser in to the dashboard."""

from __future__ import annotations

from urllib.parse import urljoin

import typer

from agent.cli import agent_file, local_api
from agent.cli.options import AsJson, DataDir, print_json, settings_from
from agent.coordinator.features.browser.logins import DASHBOARD
from agent.coordinator.features.browser.settings import BrowserSettings
from agent.core.errors import ConfigurationError
from agent.sections import section_of
from aitbc import AITBCClient


def login(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Create a link that signs in to the dashboard once, within minutes, as client, owner and administrator."""
    settings = settings_from(data_dir)
    agent = agent_file.read(settings)
    if agent.admin_key is None:
        raise ConfigurationError(
            f"This agent has joined {agent.url}, and only that coordinator creates login links. Open {agent.url}{DASHBOARD} and "
            f"sign in with the owner's key, `miner_key` in {settings.agent_file}."
        )
    if not section_of(settings.coordinator, BrowserSettings).dashboard:
        raise ConfigurationError("The dashboard is disabled. Set coordinator.dashboard to true.")
    with local_api.administrator(settings) as client:
        link = client.admin.create_login(account_id=_account(agent), miner_id=agent.miner_id, admin=True)
    url = urljoin(agent.shown_url, link.path)
    if as_json:
        print_json({"url": url, "expires_at": link.expires_at})
        return
    typer.echo(url)
    typer.echo(f"Valid once, until {link.expires_at}.", err=True)


def _account(agent: agent_file.AgentFile) -> str | None:
    """Return the account of the agent's own client."""
    if agent.client_key is None:
        return None
    with AITBCClient(agent.client_key, agent.url) as client:
        return client.wallet.get().account_id
