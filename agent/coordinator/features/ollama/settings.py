"""Settings of Ollama's API."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from agent.sections import Section


class OllamaSettings(Section):
    """Who may use Ollama's paths without a key. These settings are in the table `coordinator`."""

    ollama_account: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """The account, by name or id, as which programs on this machine use Ollama's paths without a key, since Ollama's programs send
    none: `local` is that of `aitbc-agent start`. Unset, a key is needed. It has an effect only while the coordinator listens on a
    loopback address and has no `public_url`, and never for web pages. Every user and program of the machine can then spend the account's
    money, so do not set it where you do not trust all of them, or where a reverse proxy on the machine forwards requests."""


SETTINGS: Final = {"coordinator.*": OllamaSettings}
