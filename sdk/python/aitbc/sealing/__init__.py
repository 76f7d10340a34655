"""Sealed jobs: parameters, files and answers that only the client and one miner can read (docs/reference/sealed-jobs.md).

This module has what clients and miners share; `runners.host.sealing` uses it in the child process, and `tests/vectors/sealed.json` holds it and
`sdk/js/src/sealed` to the same bytes. `memory` is what a client remembers, and `attestation` what a machine attests about itself.
"""

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
