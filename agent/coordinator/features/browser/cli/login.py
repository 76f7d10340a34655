"""`aitbc-agent login`: create a link that signs a browser in to the dashboard."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urljoin

import typer

from agent.cli import agent_file, local_api
from agent.cli.options import AsJson, DataDir, print_json, settings_from
from agent.coordinator.features.browser.logins import DASHBOARD
from agent.coordinator.features.browser.settings import BrowserSettings
from agent.core.errors import ConfigurationError
from agent.sections import section_of
from agent.settings import Settings
from aitbc import AITBCClient
from aitbc.answers.accounts import NewLogin
from aitbc.errors import APIError


def login(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Create a link that signs in to the dashboard once, within minutes, as client, owner and administrator.

    At a coordinator that this agent has joined, as the machine's owner.

    Examples:
      aitbc-agent login
    """
    settings = settings_from(data_dir)
    agent = agent_file.read(settings)
    if agent.admin_key is None:
        link = _owners_link(settings, agent)
        _show(agent.url, link, as_json=as_json)
        return
    if not section_of(settings.coordinator, BrowserSettings).dashboard:
        raise ConfigurationError("The dashboard is disabled. Set coordinator.dashboard to true.")
    with local_api.administrator(settings) as client:
        link = client.admin.create_login(account_id=_account(agent), miner_id=agent.miner_id, admin=True)
    _show(agent.shown_url, link, as_json=as_json)


def _show(base: str, link: NewLogin, *, as_json: bool) -> None:
    url = urljoin(base, link.path)
    if as_json:
        print_json({"url": url, "expires_at": link.expires_at})
        return
    typer.echo(url)
    typer.echo(f"Valid once, until {link.expires_at}.", err=True)


def _owners_link(settings: Settings, agent: agent_file.AgentFile) -> NewLogin:
    """Return a link to this machine's page at the coordinator that it has joined. Raises `ConfigurationError`, `AITBCError`."""
    if agent.miner_key is None:
        raise ConfigurationError(f"This agent has no key at {agent.url}. Its operator can create one.")
    with AITBCClient(agent.miner_key, agent.url) as client:
        try:
            return client.keys.create_login()
        except APIError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
    raise ConfigurationError(
        f"The coordinator at {agent.url} is of a version that creates no login links for owners. Open {agent.url}{DASHBOARD} and sign in "
        f"with the owner's key, `miner_key` in {settings.agent_file}."
    )


def _account(agent: agent_file.AgentFile) -> str | None:
    """Return the account of the agent's own client."""
    if agent.client_key is None:
        return None
    with AITBCClient(agent.client_key, agent.url) as client:
        return client.wallet.get().account_id
