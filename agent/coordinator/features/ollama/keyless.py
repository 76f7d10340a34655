"""Programs on this machine that use Ollama's paths without a key, as Ollama's own programs do.

A request without a key may come from a page that somebody reads on this machine: any page can make a browser send one to a loopback
address, and by DNS rebinding even read the answer. So it must come from a loopback address, call the coordinator by one, and carry none
of the headers that browsers or proxies add.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from agent.coordinator.features.ollama.paths import PATHS
from agent.coordinator.features.ollama.settings import OllamaSettings
from agent.coordinator.features.ollama.store import oldest_key
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store.access import KeyRecord
from agent.sections import section_of

FOREIGN: Final = (
    "origin",
    "referer",
    "cookie",
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-real-ip",
)
"""Headers of pages and of proxies, which programs on this machine do not send."""
OWN_SITES: Final = (None, "none")
"""What `Sec-Fetch-Site` may be: browsers write something else into requests of pages."""


@dataclass(frozen=True, slots=True)
class LocalProgram:
    """A program on this machine, which acts as an account that the operator has chosen by name or id."""

    account: str

    @property
    def fingerprint(self) -> str:
        """A name for it that no key can have, since those are hashed."""
        return f"ollama/{self.account}"

    @property
    def refusal(self) -> str:
        """The message if the account has no key."""
        return f"coordinator.ollama_account names {self.account!r}, but there is no account of this name or id with a valid client key. Correct the setting."

    def check(self, scope: MutableMapping[str, Any]) -> None:
        """Accept every request: what it must fulfil, `credential_of` has checked."""

    def key(self, connection: Connection, now: float) -> KeyRecord | None:  # noqa: ARG002 - keys do not expire
        """Return the account's oldest valid client key, so that revoking its keys ends this access as well."""
        return oldest_key(connection, self.account)


def credential_of(scope: MutableMapping[str, Any]) -> LocalProgram | None:
    """Return whom a request without a key acts as; None unless it comes from a program on this machine and the operator allows it."""
    if scope["type"] != "http" or not PATHS.fullmatch(scope["path"]):
        return None
    context: Context = scope["app"].state.context
    account = section_of(context.settings, OllamaSettings).ollama_account
    is_allowed = (
        account is not None and context.settings.public_url is None and _is_loopback(context.settings.host)
    )
    return LocalProgram(account) if account is not None and is_allowed and _is_local(scope) else None


def _is_local(scope: MutableMapping[str, Any]) -> bool:
    """Return whether a program on this machine has sent the request, and neither a page nor a proxy."""
    header_names = [name.decode("latin-1").lower() for name, _ in scope["headers"]]
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    client = scope.get("client")
    return (
        client is not None
        and _is_loopback(client[0])
        and header_names.count("host") == 1
        and _is_loopback(_name(headers["host"]))
        and headers.get("sec-fetch-site") in OWN_SITES
        and not any(name in headers for name in FOREIGN)
    )


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name.lower() == "localhost"
