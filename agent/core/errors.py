"""The agent's error tree. Each error that can reach a client carries its wire code and HTTP status.

AgentError
├── ConfigurationError          a setting is wrong
└── ApiError                    what a request is answered with
    ├── InvalidJobType          400 INVALID_JOB_TYPE
    ├── UnsupportedChecksum     400 UNSUPPORTED_CHECKSUM
    ├── Unauthorized            401 UNAUTHORIZED
    ├── InsufficientBalance     402 INSUFFICIENT_BALANCE
    ├── Forbidden               403 FORBIDDEN
    │   └── MinerExcluded       403 MINER_EXCLUDED
    ├── NotFound                404 NOT_FOUND
    │   └── JobNotFound         404 JOB_NOT_FOUND
    ├── MethodNotAllowed        405 METHOD_NOT_ALLOWED
    ├── RequestTimeout          408 REQUEST_TIMEOUT
    ├── Conflict                409 CONFLICT
    │   ├── JobAlreadyCompleted 409 JOB_ALREADY_COMPLETED
    │   ├── JobNotCompleted     409 JOB_NOT_COMPLETED
    │   ├── StaleLease          409 STALE_LEASE
    │   └── StaleSession        409 STALE_SESSION
    ├── OfferNotAvailable       410 OFFER_NOT_AVAILABLE
    ├── UnsupportedVersion      412 UNSUPPORTED_VERSION
    ├── PayloadTooLarge         413 PAYLOAD_TOO_LARGE
    ├── UnsupportedMediaType    415 UNSUPPORTED_MEDIA_TYPE
    ├── RangeNotSatisfiable     416 RANGE_NOT_SATISFIABLE
    ├── UnknownHost             421 UNKNOWN_HOST
    ├── ValidationFailed        422 VALIDATION_ERROR
    │   └── ReceiptInvalid      422 RECEIPT_INVALID
    ├── Locked                  423 LOCKED
    ├── RateLimitExceeded       429 RATE_LIMIT_EXCEEDED
    ├── HeadTooLarge            431 HEAD_TOO_LARGE
    ├── ChecksumMismatch        460 CHECKSUM_MISMATCH
    ├── InternalError           500 INTERNAL_ERROR
    ├── ServiceUnavailable      503 SERVICE_UNAVAILABLE
    ├── InsufficientStorage     507 INSUFFICIENT_STORAGE
    └── AnswerFailed            502 MACHINE_FAULT
        ├── AnswerRefused       422 INPUT_INVALID
        ├── AnswerCancelled     409 JOB_CANCELLED
        ├── AnswerInvalid       502 RESULT_INVALID
        ├── AnswerChanged       502 TEXT_CHANGED
        └── AnswerTimeout       504 ANSWER_TIMEOUT
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

SHOWN_FAULTS: Final = 3
"""How many faults of fields the message of an error names."""


class AgentError(Exception):
    """Any error that this program explains to whoever runs it. `exit_code` is what the command then ends with."""

    exit_code = 1


class ConfigurationError(AgentError):
    """A setting is wrong. The message says which, and what fits."""


class ApiError(AgentError):
    """A request cannot be answered as asked. The message tells the caller what to do."""

    code: str
    status: int
    remedy: str
    """What whoever gets it can do, for docs/reference/errors.md."""
    headers: Mapping[str, str] = {}
    """Headers of the answer."""

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = dict(details or {})


def error_body(code: str, message: str, details: Mapping[str, Any], request_id: str) -> dict[str, Any]:
    """The one shape in which errors are answered.

    The message names the first faults of fields: it is all that many clients show of an error.
    """
    faults = list(details.get("fields", {}).items())[:SHOWN_FAULTS]
    message = " ".join([message, *(f"{field}: {str(fault).rstrip('.')}." for field, fault in faults)])
    return {"error": {"code": code, "message": message, "details": details, "request_id": request_id}}


class InvalidJobType(ApiError):
    """The job's type is no service of the registry."""

    code = "INVALID_JOB_TYPE"
    status = 400
    remedy = "Take a type from `GET /v1/registry/services`; hyphens and underscores are the same."


class UnsupportedChecksum(ApiError):
    """An upload's checksum cannot be read, or is of another algorithm than the server offers."""

    code = "UNSUPPORTED_CHECKSUM"
    status = 400
    remedy = "Send a checksum of an algorithm that `Tus-Checksum-Algorithm` of `OPTIONS /v1/uploads` names, in base64, or none."


class Unauthorized(ApiError):
    """No key, or one that is not valid."""

    code = "UNAUTHORIZED"
    status = 401
    remedy = "Send a valid key as `Authorization: Bearer KEY` or `X-API-Key: KEY`; a revoked or misspelt one does not come back."


class InsufficientBalance(ApiError):
    """The account does not have what the job may cost; nothing was queued."""

    code = "INSUFFICIENT_BALANCE"
    status = 402
    remedy = "Lower `pricing.max_cost`, wait until held money comes back, or have the account credited. Then submit again."


class Forbidden(ApiError):
    """The key's role does not allow this."""

    code = "FORBIDDEN"
    status = 403
    remedy = "Use a key of a role that may: the call's page in the API says which."


class MinerExcluded(Forbidden):
    """The operator has excluded the miner. Its session has ended, and no new one begins."""

    code = "MINER_EXCLUDED"
    remedy = "For miners: drop all work, and ask again every few minutes at most. For their owners: ask the operator why."


class NotFound(ApiError):
    """There is no such thing, or it is somebody else's."""

    code = "NOT_FOUND"
    status = 404
    remedy = (
        "Check the path and the id, and that the key belongs to the account or miner that owns the thing."
    )


class JobNotFound(NotFound):
    """There is no such job, or it is somebody else's."""

    code = "JOB_NOT_FOUND"
    remedy = "Check the id, and that the key belongs to the account that submitted the job."

    def __init__(self, job_id: str) -> None:
        super().__init__(f"There is no job {job_id}.", {"job_id": job_id})


class MethodNotAllowed(ApiError):
    """The path does not take this method; `Allow` names those that it takes."""

    code = "METHOD_NOT_ALLOWED"
    status = 405
    remedy = "Use a method that the header `Allow` names."


class RequestTimeout(ApiError):
    """The request's head or body came too slowly; the connection was closed."""

    code = "REQUEST_TIMEOUT"
    status = 408
    remedy = (
        "Send the request in one go; upload large files over a slow line in parts (docs/how-to/uploads.md)."
    )


class Conflict(ApiError):
    """The state of the thing does not allow this."""

    code = "CONFLICT"
    status = 409
    remedy = "Read the thing anew; the message says what stands against it. The same request does not help by itself."


class JobAlreadyCompleted(Conflict):
    """The job has ended and does not change any more."""

    code = "JOB_ALREADY_COMPLETED"
    remedy = "Leave the job as it is, or submit another one."


class JobNotCompleted(Conflict):
    """Results exist only of completed jobs."""

    code = "JOB_NOT_COMPLETED"
    remedy = "Wait for the job's end (`GET /v1/jobs/{id}/events`, or `Prefer: wait=N` when submitting); of a failed one `details` has the cause."


class StaleLease(Conflict):
    """The lease has ended or been given to another miner."""

    code = "STALE_LEASE"
    remedy = "For miners: drop this work, another run of the job counts now."

    def __init__(self, job_id: str, fence: int) -> None:
        super().__init__(
            f"The lease of job {job_id} with fence {fence} is no longer valid; drop this work.",
            {"job_id": job_id, "fence": fence},
        )


class StaleSession(Conflict):
    """A newer session of the same miner has begun."""

    code = "STALE_SESSION"
    remedy = "For miners: another agent with the same key has taken over; stop this one, or give it a key of its own."


class OfferNotAvailable(ApiError):
    """The offer takes no jobs any more, or not this one. `details["reason"]` says which it is."""

    code = "OFFER_NOT_AVAILABLE"
    status = 410
    remedy = "Look for another offer (`GET /v1/marketplace/offers`); `details.reason` says what was wrong with this one."


class UnsupportedVersion(ApiError):
    """The request speaks no version of the tus protocol that the server speaks."""

    code = "UNSUPPORTED_VERSION"
    status = 412
    remedy = "Send `Tus-Resumable` with the version that the header `Tus-Version` names."


class PayloadTooLarge(ApiError):
    """A body is over its limit, or an account over what it may store."""

    code = "PAYLOAD_TOO_LARGE"
    status = 413
    remedy = "Upload files with `POST /v1/artifacts` instead of sending them in a body; delete what is no longer needed (`DELETE /v1/artifacts/{id}`), or ask the operator for more room."


class UnsupportedMediaType(ApiError):
    """The body is of another media type than this call takes."""

    code = "UNSUPPORTED_MEDIA_TYPE"
    status = 415
    remedy = "Send the media type that the call's page names."


class RangeNotSatisfiable(ApiError):
    """The requested range lies outside the artifact."""

    code = "RANGE_NOT_SATISFIABLE"
    status = 416
    remedy = "Ask for a range within the size that the header `Content-Range` names."


class UnknownHost(ApiError):
    """The request names a host under which this coordinator is not known, so it may come from a foreign page in a browser."""

    code = "UNKNOWN_HOST"
    status = 421
    remedy = (
        "Use the coordinator's address or a name of `coordinator.hosts`; the operator can add the name there."
    )


class ValidationFailed(ApiError):
    """The request's content is wrong. `details["fields"]` names each field."""

    code = "VALIDATION_ERROR"
    status = 422
    remedy = "Correct the fields that `details.fields` names; `POST /v1/registry/services/validate` checks without submitting."

    def __init__(self, message: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(message, {"fields": dict(fields or {})})


class ReceiptInvalid(ValidationFailed):
    """A miner's statement does not agree with its lease, its results or its key."""

    code = "RECEIPT_INVALID"
    remedy = (
        "For miners: the result is refused for good. Check the agent's version and clock, then report it."
    )


class Locked(ApiError):
    """Another request is busy with the same thing; ask again in a moment."""

    code = "LOCKED"
    status = 423
    remedy = "Repeat the request after a second."


class RateLimitExceeded(ApiError):
    """Too many requests; `Retry-After` says in how many seconds to come back."""

    code = "RATE_LIMIT_EXCEEDED"
    status = 429
    remedy = "Wait as long as `Retry-After` says; `RateLimit` tells what is left of the budget before it is used up."

    def __init__(
        self, message: str, details: Mapping[str, Any] | None = None, *, retry_after: int = 1
    ) -> None:
        super().__init__(message, details)
        self.headers = {"Retry-After": str(retry_after)}


class HeadTooLarge(ApiError):
    """The request's headers are over their limit."""

    code = "HEAD_TOO_LARGE"
    status = 431
    remedy = "Send fewer or shorter headers, or a shorter path; the message names the limit."


class ChecksumMismatch(ApiError):
    """What arrived of an upload is not what its checksum says; nothing of it was kept. The status is that of tus."""

    code = "CHECKSUM_MISMATCH"
    status = 460
    remedy = "Send the same part again; the upload's offset has not moved."


class InternalError(ApiError):
    """The server failed; its log has the request's id."""

    code = "INTERNAL_ERROR"
    status = 500
    remedy = "Repeat the request with the same `Idempotency-Key`. If it fails again, give the operator the `request_id`."


class ServiceUnavailable(ApiError):
    """The server cannot take this now; `Retry-After` says when to come back."""

    code = "SERVICE_UNAVAILABLE"
    status = 503
    remedy = "Wait as long as `Retry-After` says, then repeat the request with the same `Idempotency-Key`."


class InsufficientStorage(ApiError):
    """The coordinator's disk is nearly full; `Retry-After` says when to try again. Nothing that was stored is lost."""

    code = "INSUFFICIENT_STORAGE"
    status = 507
    remedy = (
        "Wait as long as `Retry-After` says and send the file again. The operator frees space on the coordinator's disk, or "
        "lowers `coordinator.storage_reserve`."
    )
    headers: Mapping[str, str] = {"Retry-After": "60"}


class AnswerFailed(ApiError):
    """The job that was to make the answer failed, and not by its input's fault; the code may be its runner's own."""

    code = "MACHINE_FAULT"
    status = 502
    remedy = "Nothing was charged. Ask again: the network had tried as often as the job allows."

    def __init__(self, job_id: str, message: str, code: str | None = None) -> None:
        super().__init__(message, {"job_id": job_id})
        if code is not None:
            self.code = code
        # The network has tried as often as the job allows; a client that repeats the request by itself makes another job.
        self.headers = {"X-Job-ID": job_id, "X-Should-Retry": "false"}


class AnswerRefused(AnswerFailed):
    """The job that was to make the answer failed by its input's fault; the code may be its runner's own."""

    code = "INPUT_INVALID"
    status = 422
    remedy = "Change the request; the message says what the runner could not take."


class AnswerCancelled(AnswerFailed):
    """The job that was to make the answer was cancelled."""

    code = "JOB_CANCELLED"
    status = 409
    remedy = "Ask again if it was not meant."


class AnswerInvalid(AnswerFailed):
    """The miner answered what its service does not."""

    code = "RESULT_INVALID"
    remedy = "Ask again; if it happens with one model only, tell the operator."


class AnswerChanged(AnswerFailed):
    """A text that was shown in part came out otherwise."""

    code = "TEXT_CHANGED"
    remedy = "Ask again, or without `stream`: what was shown must not be taken for the answer."


class AnswerTimeout(AnswerFailed):
    """The job did not make the answer in time."""

    code = "ANSWER_TIMEOUT"
    status = 504
    remedy = "Ask for less (`max_tokens`, shorter audio), or submit the work as a job and wait for its end."


def answerable() -> dict[str, type[ApiError]]:
    """Every error that a request can be answered with, by its code, in the order of their statuses.

    Under a code stands the error that brings it, not a special case of it that has none of its own.
    """
    found: list[type[ApiError]] = []
    waiting = ApiError.__subclasses__()
    while waiting:
        found.append(waiting.pop())
        waiting += found[-1].__subclasses__()
    own = [kind for kind in found if "code" in vars(kind)]
    return {kind.code: kind for kind in sorted(own, key=lambda kind: (kind.status, kind.code))}
