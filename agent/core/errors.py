"""The agent's error tree. Each error that can reach a client carries its wire code and HTTP status.

Features declare those of their own themselves.

AgentError
├── ConfigurationError          a setting is wrong
└── ApiError                    the answer to a request
    ├── InvalidJobType          400 INVALID_JOB_TYPE
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
    │   ├── StaleSession        409 STALE_SESSION
    │   ├── VersionMismatch     409 VERSION_MISMATCH
    │   └── ClientOutdated      409 CLIENT_OUTDATED
    ├── PayloadTooLarge         413 PAYLOAD_TOO_LARGE
    ├── RangeNotSatisfiable     416 RANGE_NOT_SATISFIABLE
    ├── UnknownHost             421 UNKNOWN_HOST
    ├── CannotRun               422 CANNOT_RUN
    ├── ValidationFailed        422 VALIDATION_ERROR
    │   └── ReceiptInvalid      422 RECEIPT_INVALID
    ├── Locked                  423 LOCKED
    ├── RateLimitExceeded       429 RATE_LIMIT_EXCEEDED
    ├── HeadTooLarge            431 HEAD_TOO_LARGE
    ├── ChecksumMismatch        460 CHECKSUM_MISMATCH
    ├── InternalError           500 INTERNAL_ERROR
    ├── ServiceUnavailable      503 SERVICE_UNAVAILABLE
    └── InsufficientStorage     507 INSUFFICIENT_STORAGE
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

MAX_FIELDS_IN_MESSAGE: Final = 3
"""How many fields' errors are included in the message of an error."""


class AgentError(Exception):
    """An error that the program explains to its user. `exit_code` is the exit code of the command."""

    exit_code = 1


class ConfigurationError(AgentError):
    """A setting is invalid. The message names it and states what is valid."""


class ApiError(AgentError):
    """A request cannot be fulfilled. The message states what to do."""

    code: str
    status: int
    remedy: str
    """What the caller can do, for docs/reference/errors.md."""
    headers: Mapping[str, str] = {}
    """Headers of the answer."""
    open_code = False
    """Whether an answer may have another code in place of this one: that of a runner."""

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = dict(details or {})


def error_body(code: str, message: str, details: Mapping[str, Any], request_id: str) -> dict[str, Any]:
    """Return the body of an error answer, which has the same shape everywhere.

    The message includes the first errors of fields, because many clients show only the message.
    """
    fields = list(details.get("fields", {}).items())[:MAX_FIELDS_IN_MESSAGE]
    message = " ".join([message, *(f"{field}: {_ended(str(error))}" for field, error in fields)])
    return {"error": {"code": code, "message": message, "details": details, "request_id": request_id}}


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."


class InvalidJobType(ApiError):
    """The job's type is not a service of the registry."""

    code = "INVALID_JOB_TYPE"
    status = 400
    remedy = "Use a type from `GET /v1/registry/services`; hyphens and underscores are equivalent."


class Unauthorized(ApiError):
    """The key is missing or invalid."""

    code = "UNAUTHORIZED"
    status = 401
    remedy = "Send a valid key as `Authorization: Bearer KEY` or `X-API-Key: KEY`. A revoked key cannot be restored."


class InsufficientBalance(ApiError):
    """The account's balance does not cover the job's maximum cost. The job was not submitted."""

    code = "INSUFFICIENT_BALANCE"
    status = 402
    remedy = "Lower `pricing.max_cost`, wait until held money is refunded, or have the account credited. Then submit again."


class Forbidden(ApiError):
    """The key's role does not permit this call."""

    code = "FORBIDDEN"
    status = 403
    remedy = "Use a key with a permitted role; the call's page in the API lists them."


class MinerExcluded(Forbidden):
    """The operator has excluded the miner. Its session has ended and cannot be renewed."""

    code = "MINER_EXCLUDED"
    remedy = "For miners: drop all work, and retry every few minutes at most. For their owners: ask the operator for the reason."


class NotFound(ApiError):
    """The resource does not exist or belongs to another account."""

    code = "NOT_FOUND"
    status = 404
    remedy = (
        "Check the path and the id, and that the key belongs to the account or miner that owns the resource."
    )


class JobNotFound(NotFound):
    """The job does not exist or belongs to another account."""

    code = "JOB_NOT_FOUND"
    remedy = "Check the id, and that the key belongs to the account that submitted the job."

    def __init__(self, job_id: str) -> None:
        super().__init__(f"The job {job_id} does not exist.", {"job_id": job_id})


class MethodNotAllowed(ApiError):
    """The path does not support this method. `Allow` lists the supported ones."""

    code = "METHOD_NOT_ALLOWED"
    status = 405
    remedy = "Use a method that the header `Allow` lists."


class RequestTimeout(ApiError):
    """The request's head or body arrived too slowly, and the connection was closed."""

    code = "REQUEST_TIMEOUT"
    status = 408
    remedy = "Send the request without pauses; on a slow connection, upload large files in parts (docs/how-to/uploads.md)."


class Conflict(ApiError):
    """The state of the resource does not allow this."""

    code = "CONFLICT"
    status = 409
    remedy = "Fetch the resource again; the message states the conflict. Repeating the request does not resolve it."


class JobAlreadyCompleted(Conflict):
    """The job has ended and cannot be changed."""

    code = "JOB_ALREADY_COMPLETED"
    remedy = "Submit a new job if you need a different result."


class JobNotCompleted(Conflict):
    """Only completed jobs have results."""

    code = "JOB_NOT_COMPLETED"
    remedy = "Wait until the job ends (`GET /v1/jobs/{id}/events`, or `Prefer: wait=N` when submitting). For a failed job, `details` states the cause."


class StaleLease(Conflict):
    """The lease has ended or the job has been given to another miner."""

    code = "STALE_LEASE"
    remedy = "For miners: drop this work. Its result is no longer accepted."

    def __init__(self, job_id: str, fence: int) -> None:
        super().__init__(
            f"The lease of job {job_id} with fence {fence} is no longer valid; drop this work.",
            {"job_id": job_id, "fence": fence},
        )


class StaleSession(Conflict):
    """A newer session of the same miner has begun."""

    code = "STALE_SESSION"
    remedy = (
        "For miners: another agent with the same key has taken over. Stop this one, or give it its own key."
    )


class VersionMismatch(Conflict):
    """The miner's version does not work with the coordinator's."""

    code = "VERSION_MISMATCH"
    remedy = (
        "Update the side with the older version (docs/how-to/operate.md#upgrade). For miners: keep finished work, and register "
        "again every few minutes at most; when the versions fit, the registration succeeds."
    )


class ClientOutdated(Conflict):
    """The client library is too old for the coordinator. `GET /v1/health` states the oldest version that it serves."""

    code = "CLIENT_OUTDATED"
    remedy = (
        "Update the library (`aitbc` in Python, `@aitbc/client` in JavaScript) to the coordinator's version."
    )


class PayloadTooLarge(ApiError):
    """A body exceeds its limit, or an account its storage quota."""

    code = "PAYLOAD_TOO_LARGE"
    status = 413
    remedy = "Upload files with `POST /v1/artifacts` instead of sending them in a body; delete artifacts that you no longer need (`DELETE /v1/artifacts/{id}`), or ask the operator for a larger quota."


class RangeNotSatisfiable(ApiError):
    """The requested range lies outside the artifact."""

    code = "RANGE_NOT_SATISFIABLE"
    status = 416
    remedy = "Request a range within the size given by the header `Content-Range`."


class UnknownHost(ApiError):
    """The request's host is not a name of this coordinator, so it may come from another site's page in a browser."""

    code = "UNKNOWN_HOST"
    status = 421
    remedy = "Use the coordinator's address or a name listed in `coordinator.hosts`, to which the operator can add names."


class CannotRun(ApiError):
    """No known miner can ever run the job. `details["reasons"]` has the reasons, as `GET /v1/jobs/{job_id}/explain` returns them."""

    code = "CANNOT_RUN"
    status = 422
    remedy = 'Change what the reasons name. To wait until a miner can run the job as it is, submit it again with `"wait": true`.'


class ValidationFailed(ApiError):
    """The request's content is invalid. `details["fields"]` has an error for each field."""

    code = "VALIDATION_ERROR"
    status = 422
    remedy = "Correct the fields in `details.fields`; `POST /v1/registry/services/validate` checks a request without submitting it."

    def __init__(self, message: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(message, {"fields": dict(fields or {})})


def invalid_request(fields: Mapping[str, str]) -> ValidationFailed:
    """Return the error for a request with these invalid fields."""
    return ValidationFailed("The request is not valid.", fields)


class ReceiptInvalid(ValidationFailed):
    """A miner's statement does not match its lease, its results or its key."""

    code = "RECEIPT_INVALID"
    remedy = "For miners: the result is refused permanently. Check the agent's version and clock, then report the error."


class Locked(ApiError):
    """Another request is using the same resource."""

    code = "LOCKED"
    status = 423
    remedy = "Repeat the request after a second."


class RateLimitExceeded(ApiError):
    """Too many requests. `Retry-After` states the seconds to wait."""

    code = "RATE_LIMIT_EXCEEDED"
    status = 429
    remedy = "Wait for the seconds in `Retry-After`. The header `RateLimit` shows the remaining budget before it is used up."

    def __init__(
        self, message: str, details: Mapping[str, Any] | None = None, *, retry_after: int = 1
    ) -> None:
        super().__init__(message, details)
        self.headers = {"Retry-After": str(retry_after)}


class HeadTooLarge(ApiError):
    """The request's headers exceed their limit."""

    code = "HEAD_TOO_LARGE"
    status = 431
    remedy = "Send fewer or shorter headers, or a shorter path. The message states the limit."


class ChecksumMismatch(ApiError):
    """The received part of an upload does not match its checksum and was discarded. The status is defined by tus."""

    code = "CHECKSUM_MISMATCH"
    status = 460
    remedy = "Send the same part again. The upload's offset is unchanged."


class InternalError(ApiError):
    """The server failed. Its log contains the request's id."""

    code = "INTERNAL_ERROR"
    status = 500
    remedy = "Repeat the request with the same `Idempotency-Key`. If it fails again, give the operator the `request_id`."


class ServiceUnavailable(ApiError):
    """The server cannot process the request now. `Retry-After` states the seconds to wait."""

    code = "SERVICE_UNAVAILABLE"
    status = 503
    remedy = "Wait for the seconds in `Retry-After`, then repeat the request with the same `Idempotency-Key`."


class InsufficientStorage(ApiError):
    """The coordinator's disk is nearly full. `Retry-After` states the seconds to wait. Stored files are safe."""

    code = "INSUFFICIENT_STORAGE"
    status = 507
    remedy = (
        "Wait for the seconds in `Retry-After` and send the file again. The operator can free space on the coordinator's disk or "
        "lower `coordinator.storage_reserve`."
    )
    headers: Mapping[str, str] = {"Retry-After": "60"}


def answerable() -> dict[str, type[ApiError]]:
    """Return every error that can be the answer to a request, by its code, ordered by status.

    For each code it has the error that defines it, not a subclass without its own code.
    """
    kinds: list[type[ApiError]] = []
    waiting = ApiError.__subclasses__()
    while waiting:
        kinds.append(waiting.pop())
        waiting += kinds[-1].__subclasses__()
    with_code = [kind for kind in kinds if "code" in vars(kind)]
    return {kind.code: kind for kind in sorted(with_code, key=lambda kind: (kind.status, kind.code))}
