"""The one error tree of this package.

AITBCError
+-- ConfigurationError           no coordinator or key to use, or a malformed address
+-- TransportError               no answer from the coordinator, or none that can be understood
+-- TimeoutError                 something took longer than the caller allowed; also the builtin TimeoutError
+-- JobFailed                    a job that was waited for ended without a result
+-- VerificationError            something signed, or a digest, does not agree; also a ValueError
|   +-- FormatError              bytes or text are not in the exact form that the protocol demands
+-- APIError                     the coordinator answered with an error; one class for each code on the wire
    +-- InvalidJobType           INVALID_JOB_TYPE, 400
    +-- Unauthorized             UNAUTHORIZED, 401
    +-- InsufficientBalance      INSUFFICIENT_BALANCE, 402
    +-- Forbidden                FORBIDDEN, 403
    +-- NotFound                 NOT_FOUND, 404
    +-- JobNotFound              JOB_NOT_FOUND, 404
    +-- Conflict                 CONFLICT, 409
    +-- JobAlreadyCompleted      JOB_ALREADY_COMPLETED, 409
    +-- JobNotCompleted          JOB_NOT_COMPLETED, 409
    +-- StaleLease               STALE_LEASE, 409
    +-- OfferNotAvailable        OFFER_NOT_AVAILABLE, 410
    +-- PayloadTooLarge          PAYLOAD_TOO_LARGE, 413
    +-- ValidationFailed         VALIDATION_ERROR, 422
    +-- RateLimitExceeded        RATE_LIMIT_EXCEEDED, 429
    +-- InternalError            INTERNAL_ERROR, 500
    +-- ServiceUnavailable       SERVICE_UNAVAILABLE, 503
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any, ClassVar


class AITBCError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigurationError(AITBCError):
    """There is no coordinator or key to use, or its address is malformed. The message says what to set."""


class TransportError(AITBCError):
    """The coordinator gave no answer, or none that can be understood. `sent` is False when it never got the request."""

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class TimeoutError(AITBCError, builtins.TimeoutError):  # noqa: A001 - callers know it as aitbc.TimeoutError
    """Something took longer than the caller allowed. A job that was waited for goes on."""


class JobFailed(AITBCError):
    """A job ended without a result. `status` is `failed` or `cancelled`, `code` and `reason` are the cause's."""

    def __init__(self, job_id: str, status: str, code: str, reason: str) -> None:
        super().__init__(
            f"Job {job_id} {'was' if status == 'cancelled' else 'has'} {status}: {reason} ({code})"
        )
        self.job_id = job_id
        self.status = status
        self.code = code
        self.reason = reason


class VerificationError(AITBCError, ValueError):
    """A signature, a digest or a proof does not agree with what it stands for."""


class FormatError(VerificationError):
    """Bytes or text are not in the exact form that the protocol demands."""


class APIError(AITBCError):
    """The coordinator answered with an error.

    `status` is the HTTP status, `code` the code on the wire, `details` what the coordinator adds (fields of a
    validation, the state of a job), `request_id` what to quote to its operator.
    """

    wire_code: ClassVar[str] = ""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(f"{message} ({code})")
        self.status = status
        self.code = code
        self.message = message
        self.details = dict(details or {})
        self.request_id = request_id


class InvalidJobType(APIError):
    """The job type is not supported."""

    wire_code = "INVALID_JOB_TYPE"


class Unauthorized(APIError):
    """The key is missing or unknown."""

    wire_code = "UNAUTHORIZED"


class InsufficientBalance(APIError):
    """The wallet does not hold the job's maximum cost."""

    wire_code = "INSUFFICIENT_BALANCE"


class Forbidden(APIError):
    """The key's role does not allow this."""

    wire_code = "FORBIDDEN"


class NotFound(APIError):
    """Nothing stands at this address."""

    wire_code = "NOT_FOUND"


class JobNotFound(APIError):
    """The job does not exist, or is somebody else's."""

    wire_code = "JOB_NOT_FOUND"


class Conflict(APIError):
    """The request contradicts the present state."""

    wire_code = "CONFLICT"


class JobAlreadyCompleted(APIError):
    """The job has ended and cannot be changed."""

    wire_code = "JOB_ALREADY_COMPLETED"


class JobNotCompleted(APIError):
    """The job has no results: it is not done yet, or it failed. `details` say the state and the cause."""

    wire_code = "JOB_NOT_COMPLETED"


class StaleLease(APIError):
    """The lease has ended or was given to another miner."""

    wire_code = "STALE_LEASE"


class OfferNotAvailable(APIError):
    """The offer is gone."""

    wire_code = "OFFER_NOT_AVAILABLE"


class PayloadTooLarge(APIError):
    """The body or file is larger than the coordinator takes."""

    wire_code = "PAYLOAD_TOO_LARGE"


class ValidationFailed(APIError):
    """The request does not fit the schema. `fields` says for each wrong field what is wrong with it."""

    wire_code = "VALIDATION_ERROR"

    @property
    def fields(self) -> dict[str, str]:
        """What is wrong, by the field's dotted path."""
        fields = self.details.get("fields")
        return {str(name): str(text) for name, text in fields.items()} if isinstance(fields, Mapping) else {}

    def __str__(self) -> str:
        faults = "; ".join(f"{name}: {text}" for name, text in self.fields.items())
        return f"{self.message} {faults} ({self.code})" if faults else super().__str__()


class RateLimitExceeded(APIError):
    """Too many requests; the retries were used up."""

    wire_code = "RATE_LIMIT_EXCEEDED"


class InternalError(APIError):
    """The coordinator has a fault. Quote `request_id` to its operator."""

    wire_code = "INTERNAL_ERROR"


class ServiceUnavailable(APIError):
    """The coordinator cannot answer at the moment; the retries were used up."""

    wire_code = "SERVICE_UNAVAILABLE"


API_ERRORS: Mapping[str, type[APIError]] = {kind.wire_code: kind for kind in APIError.__subclasses__()}
"""The class for each code on the wire."""
