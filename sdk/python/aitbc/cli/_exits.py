"""The exit codes, and what is said of an error: one paragraph that tells what happened and what to do."""

from __future__ import annotations

from enum import IntEnum

from aitbc.errors import (
    AITBCError,
    ConfigurationError,
    Forbidden,
    InsufficientBalance,
    InternalError,
    JobFailed,
    JobNotFound,
    OfferNotAvailable,
    RateLimitExceeded,
    TimeoutError,  # noqa: A004 - the package's own, which is the builtin one too
    TransportError,
    Unauthorized,
    VerificationError,
)


class ExitCode(IntEnum):
    """What the end of the program says. `docs/reference/cli.md` lists them."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_VALID = 3
    NO_CONNECTION = 4
    REFUSED = 5
    INTERRUPTED = 130


_CODES: tuple[tuple[type[Exception], ExitCode], ...] = (
    (VerificationError, ExitCode.NOT_VALID),
    (ConfigurationError, ExitCode.NO_CONNECTION),
    (TransportError, ExitCode.NO_CONNECTION),
    (TimeoutError, ExitCode.NO_CONNECTION),
    (Unauthorized, ExitCode.REFUSED),
    (Forbidden, ExitCode.REFUSED),
    (InsufficientBalance, ExitCode.REFUSED),
)

_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (
        Unauthorized,
        "Give a key with --api-key or AITBC_API_KEY; without either, that of the agent on this machine is used.",
    ),
    (Forbidden, "Another key is needed for this: see --api-key."),
    (
        InsufficientBalance,
        "`aitbc wallet balance` shows what is there, --max-cost lowers what is held for a job.",
    ),
    (JobNotFound, "`aitbc jobs list` shows your jobs."),
    (OfferNotAvailable, "`aitbc offers list` shows those that can be accepted."),
    (RateLimitExceeded, "Wait a little, then try again."),
    (InternalError, "This is the coordinator's fault."),
)


class NoSuchJob(AITBCError):
    """There is no job of the kind that was named."""


class NoSuchResult(AITBCError):
    """A job's results lack what was asked for."""


def exit_code(error: Exception) -> ExitCode:
    """The exit code that an error ends the program with."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.FAILED)


def concerns_all(error: Exception) -> bool:
    """Whether the next job would meet the same error: no coordinator, no valid key, no money."""
    if isinstance(error, TransportError):
        return not error.sent
    return isinstance(error, (ConfigurationError, Unauthorized, Forbidden, InsufficientBalance))


def explain(error: Exception) -> str:
    """What happened, and what to do."""
    if isinstance(error, OSError) and not isinstance(error, AITBCError):
        return _explain_file(error)
    text = str(error)
    if isinstance(error, TransportError) and not error.sent:
        advice = "Is it running? `aitbc-agent start` starts one on this machine; --base-url names another."
    elif isinstance(error, InternalError) and error.request_id:
        advice = f"This is the coordinator's fault; tell its operator of request {error.request_id}."
    elif isinstance(error, JobFailed):
        advice = f"`aitbc jobs show {error.job_id}` shows more." if error.status == "failed" else ""
    else:
        advice = next((advice for kind, advice in _ADVICE if isinstance(error, kind)), "")
    ended = text if text.endswith((".", "!", "?", ")")) else f"{text}."
    return f"{ended} {advice}".strip()


def _explain_file(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}." if error.filename is not None else f"{reason}."
