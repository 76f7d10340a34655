"""What a file field of a request may name: an artifact, an address that miners fetch, or a text inside the request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from agent.coordinator.artifacts import ARTIFACT_ID
from agent.coordinator.operations.context import Context
from agent.core.addresses import may_connect

ARTIFACT_SCHEME: Final = "artifact:"


def artifact_of(reference: Any) -> str | None:
    """The artifact id that a file field names, or None if it names something else."""
    if isinstance(reference, str) and reference.startswith(ARTIFACT_SCHEME):
        return reference.removeprefix(ARTIFACT_SCHEME)
    return None


def reference_problem(context: Context, reference: str | Mapping[str, Any]) -> str | None:
    """What every miner would say of it later is said at once."""
    if isinstance(reference, Mapping):
        return None
    artifact = artifact_of(reference)
    if artifact is None:
        return _address_problem(context, reference)
    if ARTIFACT_ID.fullmatch(artifact) is None:
        return "an artifact is named artifact:sha256:<64 hex digits>"
    return None


def _address_problem(context: Context, address: str) -> str | None:
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        return "this is no URL"
    schemes = ("https", "http") if context.settings.allow_http_inputs else ("https",)
    if parts.scheme not in schemes or not host:
        return f"use an address that begins with {schemes[0]}://, or artifact:sha256:<digest> of an uploaded file"
    if parts.username or parts.password:
        return "an address must not carry a name or a password"
    private = host == "localhost" or host.endswith((".localhost", ".local", ".internal"))
    is_address = ":" in host or host.replace(".", "").isdigit()
    if (private or (is_address and not may_connect(host))) and not context.settings.allow_private_inputs:
        return "private, loopback and link-local addresses are not fetched; upload the file as an artifact"
    return None
