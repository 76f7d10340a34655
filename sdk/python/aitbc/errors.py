"""The errors of this package.

AITBCError
+-- ConfigurationError           no coordinator or key is configured, or the URL is malformed
+-- TransportError               no response from the coordinator, or one that cannot be parsed
+-- TimeoutError                 a time limit has passed; also the builtin TimeoutError
+-- JobFailed                    a job ended without results
+-- VerificationError            a signature, digest or proof is wrong; also a ValueError
|   +-- FormatError              bytes or text do not have the exact form that the protocol requires
+-- APIError                     the coordinator returned an error; one class for each error code
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
    +-- CannotRun                CANNOT_RUN, 422
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
    """Base class of the errors that this package raises."""


class ConfigurationError(AITBCError):
    """No coordinator or key is configured, or the URL is malformed. The message states what to set."""


class TransportError(AITBCError):
    """The coordinator did not respond, or the response cannot be parsed. `sent` is False if the request never reached it."""

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class TimeoutError(AITBCError, builtins.TimeoutError):  # noqa: A001 - callers know it as aitbc.TimeoutError
    """A time limit has passed. A job that was waited for continues."""


class JobFailed(AITBCError):
    """A job ended without results. `status` is `failed` or `cancelled`; `code` and `reason` state the cause."""

    def __init__(self, job_id: str, status: str, code: str, reason: str) -> None:
        super().__init__(
            f"Job {job_id} {'was cancelled' if status == 'cancelled' else status}: {reason} ({code})"
        )
        self.job_id = job_id
        self.status = status
        self.code = code
        self.reason = reason


class VerificationError(AITBCError, ValueError):
    """A signature, digest or proof does not match its data."""


class FormatError(VerificationError):
    """Bytes or text do not have the exact form that the protocol requires."""


class APIError(AITBCError):
    """The coordinator returned an error.

    `status` is the HTTP status and `code` the error code. `details` has additional data, such as invalid fields or a job's state.
    Quote `request_id` when you report the error to the coordinator's operator.
    """

    wire_code: ClassVar[str] = ""

    def __init_subclass__(cls, *, wire_code: str = "", **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.wire_code = wire_code or cls.wire_code

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(f"{message.removesuffix('.')} ({code})")
        self.status = status
        self.code = code
        self.message = message
        self.details = dict(details or {})
        self.request_id = request_id


class InvalidJobType(APIError, wire_code="INVALID_JOB_TYPE"):
    """The job type is not supported."""


class Unauthorized(APIError, wire_code="UNAUTHORIZED"):
    """The key is missing or unknown."""


class InsufficientBalance(APIError, wire_code="INSUFFICIENT_BALANCE"):
    """The wallet does not hold the job's maximum cost."""


class Forbidden(APIError, wire_code="FORBIDDEN"):
    """The key's role does not allow this."""


class NotFound(APIError, wire_code="NOT_FOUND"):
    """The resource does not exist."""


class JobNotFound(APIError, wire_code="JOB_NOT_FOUND"):
    """The job does not exist, or belongs to another account."""


class Conflict(APIError, wire_code="CONFLICT"):
    """The request conflicts with the current state."""


class JobAlreadyCompleted(APIError, wire_code="JOB_ALREADY_COMPLETED"):
    """The job has ended and can no longer change."""


class JobNotCompleted(APIError, wire_code="JOB_NOT_COMPLETED"):
    """The job has no results because it is unfinished or has failed. `details` has its state and the cause."""


class StaleLease(APIError, wire_code="STALE_LEASE"):
    """The lease has ended, or another miner holds it."""


class OfferNotAvailable(APIError, wire_code="OFFER_NOT_AVAILABLE"):
    """The offer is no longer available."""


class PayloadTooLarge(APIError, wire_code="PAYLOAD_TOO_LARGE"):
    """The body or file is larger than the coordinator accepts."""


class CannotRun(APIError, wire_code="CANNOT_RUN"):
    """No known miner can ever run the job. It was not submitted; with `"wait": true` it waits for a miner that can."""

    @property
    def reasons(self) -> list[Mapping[str, Any]]:
        """The reasons, each with `code`, `message`, `who` can change it, `action` and `details`."""
        reasons = self.details.get("reasons")
        return [dict(reason) for reason in reasons] if isinstance(reasons, list) else []


class ValidationFailed(APIError, wire_code="VALIDATION_ERROR"):
    """The request does not match the schema. `fields` has an error for each invalid field."""

    @property
    def fields(self) -> dict[str, str]:
        """The validation errors, by the dotted path of the field."""
        fields = self.details.get("fields")
        return {str(name): str(text) for name, text in fields.items()} if isinstance(fields, Mapping) else {}

    def __str__(self) -> str:
        # A coordinator names the first fields in its message already.
        missing = [f"{name}: {text}" for name, text in self.fields.items() if text not in self.message]
        return f"{self.message} {'; '.join(missing)} ({self.code})" if missing else super().__str__()


class RateLimitExceeded(APIError, wire_code="RATE_LIMIT_EXCEEDED"):
    """There were too many requests, and the retries were used up."""


class InternalError(APIError, wire_code="INTERNAL_ERROR"):
    """The coordinator has an internal error. Report `request_id` to its operator."""


class ServiceUnavailable(APIError, wire_code="SERVICE_UNAVAILABLE"):
    """The coordinator is temporarily unavailable, and the retries were used up."""


API_ERRORS: Mapping[str, type[APIError]] = {kind.wire_code: kind for kind in APIError.__subclasses__()}
"""The class for each error code."""
