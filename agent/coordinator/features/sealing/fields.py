"""What sealing adds to the request for a job, and to the answer about it."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from aitbc.answers.jobs import OpaqueJob

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


class SealedInput(BaseModel, defer_build=True):
    """The input of a sealed job."""

    sealed: SealedRequest | None = Field(
        default=None,
        description="Replaces `parameters`, `model`, `input` and `output`: the same data, sealed to the job's miner",
    )


class SealedDetails(OpaqueJob, defer_build=True):
    """The part of a sealed job that is in clear, in the answer about it."""


FIELDS: Final = {"Input": SealedInput, "Details": SealedDetails}
