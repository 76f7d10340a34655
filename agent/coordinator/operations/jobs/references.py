"""References in a request's file fields: an artifact, an address that miners fetch, or an inline text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agent.coordinator.blobs.store import ARTIFACT_ID
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.jobs.addresses import input_problem

ARTIFACT_SCHEME: Final = "artifact:"


def artifact_of(reference: Any) -> str | None:
    """Return the artifact id in a file field; None for other references."""
    if isinstance(reference, str) and reference.startswith(ARTIFACT_SCHEME):
        return reference.removeprefix(ARTIFACT_SCHEME)
    return None


def reference_problem(context: Context, reference: str | Mapping[str, Any]) -> str | None:
    """Return why every miner would refuse this reference; None if miners would not."""
    if isinstance(reference, Mapping):
        return None
    artifact = artifact_of(reference)
    if artifact is None:
        return input_problem(context.settings, reference)
    if ARTIFACT_ID.fullmatch(artifact) is None:
        return "an artifact is named artifact:sha256:<64 hex digits>"
    return None
