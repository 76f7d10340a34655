"""What requests refer to: artifacts and addresses.

An address is refused immediately if no connection to it would be made later.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

import httpx

from agent.coordinator.blobs.store import ARTIFACT_ID
from agent.coordinator.operations.context import Context
from agent.core.values.addresses import AddressRefusal, is_host, refusal_of
from agent.settings.coordinator import CoordinatorSettings

ARTIFACT_SCHEME: Final = "artifact:"
WORDS: Final = {
    AddressRefusal.NOT_A_URL: "this is not a URL; write it like https://example.com/talk.mp3",
    AddressRefusal.LOGIN: "an address must not contain a user name or a password",
    AddressRefusal.PORT: "use port 443, 80, or one from 1024 to 65535",
}
"""What is wrong with an address; the words for other reasons depend on what it is for."""
_PRIVATE_INPUT: Final = (
    "private, loopback and link-local addresses are not fetched; upload the file as an artifact"
)


def artifact_of(reference: Any) -> str | None:
    """Return the artifact id in a file field; None for other references."""
    if isinstance(reference, str) and reference.startswith(ARTIFACT_SCHEME):
        return reference.removeprefix(ARTIFACT_SCHEME)
    return None


def with_schemes(parameters: Mapping[str, Any], references: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a service's input in which ids of artifacts, as uploads return them, have become addresses. `references` are those in it, by path."""
    bare_ids = {
        path: reference
        for path, reference in references.items()
        if isinstance(reference, str) and ARTIFACT_ID.fullmatch(reference)
    }
    if not bare_ids:
        return parameters
    completed = deepcopy(dict(parameters))
    for path, artifact_id in bare_ids.items():
        *parents, name = path.split(".")
        value: Any = completed
        for parent in parents:
            value = value[int(parent)] if isinstance(value, list) else value[parent]
        value[name] = f"{ARTIFACT_SCHEME}{artifact_id}"
    return completed


def reference_problem(context: Context, reference: str | Mapping[str, Any]) -> str | None:
    """Return why every miner would refuse this reference; None if miners would not."""
    if isinstance(reference, Mapping):
        return None
    artifact = artifact_of(reference)
    if artifact is None:
        return _input_problem(context.settings, reference)
    if ARTIFACT_ID.fullmatch(artifact) is None:
        return "an artifact is named artifact:sha256:<64 hex digits>"
    return None


def _input_problem(settings: CoordinatorSettings, address: str) -> str | None:
    """Return why miners refuse to fetch an input from this address; None if they do not."""
    url = parsed(address, allow_http=settings.allow_http_inputs, allow_private=settings.allow_private_inputs)
    if not isinstance(url, AddressRefusal):
        return None
    if url is AddressRefusal.PRIVATE:
        return _PRIVATE_INPUT
    words = (
        "use an address that begins with https://, or the id of an uploaded file (sha256: and 64 hex digits)"
    )
    return WORDS.get(url, words)


def parsed(address: str, *, allow_http: bool, allow_private: bool) -> httpx.URL | AddressRefusal:
    """Return the address as the HTTP client parses it, or the reason for which it is refused."""
    fault = refusal_of(address, allow_http=allow_http, allow_private=allow_private)
    if fault is not None:
        return fault
    try:
        url = httpx.URL(address)
        host = url.raw_host.decode("ascii")
    except (httpx.InvalidURL, UnicodeError):
        return AddressRefusal.NOT_A_URL
    return url if is_host(host) else AddressRefusal.NOT_A_URL
