"""Answers about the log."""

from __future__ import annotations

from pydantic import Field

from aitbc.answers.fields import Answer


class CheckpointCosigned(Answer):
    """The witnesses whose cosignatures were stored, and the size of the checkpoint in leaves."""

    size: int = Field(ge=0, examples=[1042])
    cosigned_by: list[str] = Field(examples=[["witness.example.net"]])
