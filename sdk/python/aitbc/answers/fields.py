"""Answers, and the types of their fields, each with a format and an example.

The OpenAPI document assembles its examples from these. A model whose fields' examples do not fit together declares its own with
`example`. The formats are promises to clients, not checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator


class MalformedAnswerError(Exception):
    """The program produced an answer that does not match its declaration. The request is not at fault."""


class Answer(BaseModel, defer_build=True):
    """An answer that contains exactly the declared fields. Raises `MalformedAnswerError` otherwise."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="wrap")
    @classmethod
    def _as_declared(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            # Translated here, so that a malformed answer is never taken for a malformed request, which pydantic reports alike.
            return handler(values)
        except ValidationError as error:
            raise MalformedAnswerError(str(error)) from None


def example(values: Mapping[str, Any]) -> ConfigDict:
    """Return the configuration of a model with one complete example."""
    return ConfigDict(json_schema_extra={"examples": [dict(values)]})


Time = Annotated[
    str,
    Field(
        description="UTC, RFC 3339",
        examples=["2024-01-01T12:00:00Z"],
        json_schema_extra={"format": "date-time"},
    ),
]
Amount = Annotated[
    str,
    Field(
        description="Money, a decimal string",
        examples=["0.10"],
        json_schema_extra={"pattern": r"^-?\d+(\.\d{1,8})?$"},
    ),
]
JobId = Annotated[str, Field(examples=["job_1234567890"])]
MinerId = Annotated[str, Field(examples=["miner_1234567890"])]
ReceiptId = Annotated[str, Field(examples=["receipt_1234567890"])]
OfferId = Annotated[str, Field(examples=["offer_1234567890"])]
TransactionId = Annotated[str, Field(examples=["tx_1234567890"])]
AccountId = Annotated[str, Field(examples=["account_1234567890"])]
UploadId = Annotated[str, Field(examples=["upload_1234567890"])]
EnrolmentId = Annotated[str, Field(examples=["enrolment_1234567890"])]
KeyId = Annotated[str, Field(examples=["key_1234567890"])]
SessionId = Annotated[str, Field(examples=["session_1234567890"])]
BatchId = Annotated[str, Field(examples=["batch_1234567890"])]
PayoutId = Annotated[str, Field(examples=["payout_1234567890"])]
CommandId = Annotated[str, Field(examples=["command_1234567890"])]
ServiceId = Annotated[str, Field(examples=["llm_inference"])]
ArtifactId = Annotated[
    str,
    Field(
        examples=["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
        json_schema_extra={"pattern": r"^sha256:[0-9a-f]{64}$"},
    ),
]
Sha256 = Annotated[
    str,
    Field(
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
        json_schema_extra={"pattern": "^[0-9a-f]{64}$"},
    ),
]
LogKey = Annotated[
    str, Field(description="The log's public key (C2SP vkey)", examples=["log.example.org+3f1c9a02+AQ=="])
]
Percentage = Annotated[int, Field(ge=0, le=100, examples=[75])]
