"""`aitbc-agent login`: create a link that signs a browser in to the dashboard."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final
from urllib.parse import urljoin

import httpx
import typer

from agent.cli import agent_file, local_api
from agent.cli.options import AsJson, DataDir, print_json, settings_from
from agent.coordinator.features.browser.logins import DASHBOARD
from agent.coordinator.features.browser.settings import BrowserSettings
from agent.core.errors import ConfigurationError
from agent.miner.identity import IDENTITY_FILE, load_identity
from agent.sections import section_of
from agent.settings import Settings
from aitbc import AITBCClient
from aitbc.answers.accounts import NewLogin
from aitbc.canonical import b64encode
from aitbc.dsse import sign_detached
from aitbc.keys import login_payload
from aitbc.statement import LOGIN_TYPE

_SECONDS: Final = 30.0


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
    """Return a link to this machine's page at the coordinator that it has joined, signed with the miner's key. Raises `ConfigurationError`."""
    directory = settings.data_dir / "miner"
    if agent.miner_id is None or not (directory / IDENTITY_FILE).exists():
        raise ConfigurationError(f"This agent has no miner, so nothing can sign it in at {agent.url}.")
    identity = load_identity(directory)
    try:
        with httpx.Client(base_url=agent.url, timeout=_SECONDS) as client:
            nonce = str(client.post("/v1/miners/challenge", json={}).raise_for_status().json()["nonce"])
            # The key of the log that the agent has joined, not what answers now: another coordinator must not use the signature there.
            payload = login_payload(nonce, agent.log_key, identity.public_key)
            proof = {
                "nonce": nonce,
                "public_key": b64encode(identity.public_key),
                "signature": sign_detached(LOGIN_TYPE, payload, identity.signing_key),
            }
            answer = client.post("/v1/logins/signed", json=proof)
    except (httpx.HTTPError, ValueError, LookupError) as error:
        raise ConfigurationError(
            f"The coordinator at {agent.url} does not answer as expected ({error}). Try again."
        ) from None
    if answer.status_code == HTTPStatus.CREATED:
        return NewLogin.read(answer.json())
    if (
        answer.status_code in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}
        and agent.miner_key is not None
    ):
        raise ConfigurationError(
            f"The coordinator at {agent.url} is of a version that creates no login links for owners. Open {agent.url}{DASHBOARD} and sign in "
            f"with the owner's key, `miner_key` in {settings.agent_file}."
        )
    raise ConfigurationError(f"The coordinator at {agent.url} creates no login link: {_reason(answer)}")


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return f"it answers {answer.status_code}."


def _account(agent: agent_file.AgentFile) -> str | None:
    """Return the account of the agent's own client."""
    if agent.client_key is None:
        return None
    with AITBCClient(agent.client_key, agent.url) as client:
        return client.wallet.get().account_id
