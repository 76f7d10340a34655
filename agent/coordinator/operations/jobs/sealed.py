"""Sealed requests: what the coordinator can check of a job whose parameters it cannot read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from agent.coordinator.operations.answers.sealing import SealedJob
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.jobs.addresses import artifact_of, reference_problem
from agent.coordinator.operations.market import offers
from agent.coordinator.operations.miners import encryption_keys
from runners.api import ServiceDefinition

MAX_FILES: Final = 256
MAX_CIPHERTEXT: Final = 48 * 2**20
"""Characters; the limits on bodies are lower by default."""
Hex16 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", examples=["9f86d081884c7d659a2feaa0c55ad015"])]
_BASE64: Final = r"^[A-Za-z0-9+/]+={0,2}$"


class SealedRequest(BaseModel, defer_build=True):
    """A request that only one miner can read (docs/reference/sealed-jobs.md). The model's name stays in clear."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal[1]
    key_id: Hex16 = Field(description="The miner's key, from `GET /v1/miners/{miner_id}/encryption-key`")
    request_id: Hex16 = Field(description="16 random bytes of the client's choice")
    reply_key: Annotated[str, Field(min_length=44, max_length=44, pattern=_BASE64)] = Field(
        description="The client's X25519 key, to which the answer is sealed, base64",
        examples=["base64_public_key"],
    )
    model: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="The model's name in the catalogue, if the service has models"
    )
    adapters: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=16)] = Field(
        default=[], description="The names of the adapters that the sealed parameters use"
    )
    capsule: Annotated[str, Field(min_length=108, max_length=108, pattern=_BASE64)] = Field(
        description="The request's secret, sealed to the miner's key, base64", examples=["base64_capsule"]
    )
    ciphertext: Annotated[str, Field(min_length=24, max_length=MAX_CIPHERTEXT, pattern=_BASE64)] = Field(
        description="The sealed parameters, base64", examples=["base64_ciphertext"]
    )
    files: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=MAX_FILES)] = Field(
        default=[], description="The sealed input files, stored before as artifacts: `artifact:sha256:<hex>`"
    )


def sealed_errors(
    context: Context, definition: ServiceDefinition, sealed: SealedRequest, in_clear: Mapping[str, Any]
) -> dict[str, str]:
    """Return validation errors of a sealed request, by field. `in_clear` are the fields that it replaces."""
    errors = {
        name: "remove it: the input of a sealed job is in `sealed` only"
        for name, value in in_clear.items()
        if value
    }
    if definition.model_field is None and sealed.model is not None:
        errors["sealed.model"] = f"{definition.service_id} has no models; use null"
    for number, reference in enumerate(sealed.files):
        if artifact_of(reference) is None:
            errors[f"sealed.files.{number}"] = (
                "a sealed job reads artifacts only: store the sealed file first, and name it artifact:sha256:<64 hex digits>"
            )
        elif problem := reference_problem(context, reference):
            errors[f"sealed.files.{number}"] = problem
    return errors


def for_miner(sealed: SealedRequest) -> dict[str, Any]:
    """Return the part of a specification that its miner opens."""
    return sealed.model_dump(mode="json", exclude={"files"})


def of_specification(spec: Mapping[str, Any]) -> SealedJob | None:
    """Return what a job's client needs to open the answer; None for a job that is not sealed."""
    sealed = spec.get("sealed")
    if sealed is None:
        return None
    return SealedJob(**{name: sealed[name] for name in SealedJob.model_fields})


def require_key(
    connection: Connection, context: Context, miner_id: str | None, offer_id: str | None, key_id: str
) -> None:
    """Raise `ValidationFailed` unless the job's miner, or its offer's, can open what was sealed to this key."""
    if offer_id is not None:
        miner_id = offers.find(connection, offer_id).miner_id
    if miner_id is not None:
        encryption_keys.require(connection, context, miner_id, key_id)
