"""What a file field of a request may name: an artifact, an address that miners fetch, or a text inside the request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agent.coordinator.blobs.store import ARTIFACT_ID
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.jobs.addresses import input_problem

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
        return input_problem(context.settings, reference)
    if ARTIFACT_ID.fullmatch(artifact) is None:
        return "an artifact is named artifact:sha256:<64 hex digits>"
    return None
