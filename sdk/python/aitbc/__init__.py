"""Client of the AITBC network: jobs, artifacts, and receipts that verify offline.

from aitbc import AITBCClient

with AITBCClient() as client:
    job = client.services.transcribe("speech.wav", model="tiny.en")
    client.jobs.wait(job.job_id)
    print(client.jobs.get_results(job.job_id).results["text"])
"""

from aitbc._client import AITBCClient, AsyncAITBCClient
from aitbc._text import AsyncTextStream, TextStream
from aitbc.errors import (
    AITBCError,
    APIError,
    ConfigurationError,
    Conflict,
    Forbidden,
    FormatError,
    InsufficientBalance,
    InternalError,
    InvalidJobType,
    JobAlreadyCompleted,
    JobFailed,
    JobNotCompleted,
    JobNotFound,
    NotFound,
    OfferNotAvailable,
    PayloadTooLarge,
    RateLimitExceeded,
    ServiceUnavailable,
    StaleLease,
    TimeoutError,  # noqa: A004 - callers know it as aitbc.TimeoutError, which is also the builtin one
    TransportError,
    Unauthorized,
    ValidationFailed,
    VerificationError,
)
from aitbc.models import (
    Artifact,
    Health,
    Job,
    JobEvent,
    JobList,
    JobResults,
    MarketStats,
    MinerStats,
    Offer,
    OfferList,
    Receipt,
    Record,
    ServiceJob,
    ServiceList,
    Transaction,
    TransactionList,
    Validation,
    VerifyAnswer,
    Wallet,
)
from aitbc.monitor import LogAddress, LogDirectory, LogReport, verify_log
from aitbc.outputs import OutputFile, output_files
from aitbc.policy import Policy
from aitbc.receipts import Check, Verification, verify_bundle, verify_receipt

__all__ = [
    "AITBCClient",
    "AITBCError",
    "APIError",
    "Artifact",
    "AsyncAITBCClient",
    "AsyncTextStream",
    "Check",
    "ConfigurationError",
    "Conflict",
    "Forbidden",
    "FormatError",
    "Health",
    "InsufficientBalance",
    "InternalError",
    "InvalidJobType",
    "Job",
    "JobAlreadyCompleted",
    "JobEvent",
    "JobFailed",
    "JobList",
    "JobNotCompleted",
    "JobNotFound",
    "JobResults",
    "LogAddress",
    "LogDirectory",
    "LogReport",
    "MarketStats",
    "MinerStats",
    "NotFound",
    "Offer",
    "OfferList",
    "OfferNotAvailable",
    "OutputFile",
    "PayloadTooLarge",
    "Policy",
    "RateLimitExceeded",
    "Receipt",
    "Record",
    "ServiceJob",
    "ServiceList",
    "ServiceUnavailable",
    "StaleLease",
    "TextStream",
    "TimeoutError",
    "Transaction",
    "TransactionList",
    "TransportError",
    "Unauthorized",
    "Validation",
    "ValidationFailed",
    "Verification",
    "VerificationError",
    "VerifyAnswer",
    "Wallet",
    "output_files",
    "verify_bundle",
    "verify_log",
    "verify_receipt",
]
