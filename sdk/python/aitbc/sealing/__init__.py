"""Sealed jobs: parameters, files and answers that only the client and one miner can read (docs/reference/sealed-jobs.md)."""

from __future__ import annotations

from aitbc.sealing.answer import AnswerOpener, JobOfRequest, OpenedResults, new_answer
from aitbc.sealing.files import open_file, seal_file, sealed_size
from aitbc.sealing.keys import EncryptionKey, ReplyKey, read_answer
from aitbc.sealing.request import RequestSealer, SealedInput, open_request
from aitbc.sealing.suite import MEDIA_TYPE

__all__ = [
    "MEDIA_TYPE",
    "AnswerOpener",
    "EncryptionKey",
    "JobOfRequest",
    "OpenedResults",
    "ReplyKey",
    "RequestSealer",
    "SealedInput",
    "new_answer",
    "open_file",
    "open_request",
    "read_answer",
    "seal_file",
    "sealed_size",
]
