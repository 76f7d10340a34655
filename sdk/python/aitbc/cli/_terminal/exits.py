"""The exit codes, and the text of an error: one paragraph with what happened and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from ssl import SSLCertVerificationError
from typing import TypeVar

from aitbc.cli._arguments.lookup import AmbiguousName, NoSuchName
from aitbc.cli._arguments.option_names import option_of, with_options_named
from aitbc.cli._terminal.output import print_error
from aitbc.errors import (
    AITBCError,
    APIError,
    CannotRun,
    ConfigurationError,
    Forbidden,
    InsufficientBalance,
    InternalError,
    InvalidJobType,
    JobFailed,
    JobNotFound,
    OfferNotAvailable,
    RateLimitExceeded,
    TimeoutError,  # noqa: A004 - the package's own, which is the builtin one too
    TransportError,
    Unauthorized,
    ValidationFailed,
    VerificationError,
)

T = TypeVar("T")

_NOT_VALID = "The request is not valid."
"""The coordinator's message without the sentences for the fields."""

_WHOLE_REQUEST = "body"
"""The coordinator's name for what is wrong with several fields together."""


class ExitCode(IntEnum):
    """The program's exit codes. docs/reference/cli.md lists them."""

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
    (InvalidJobType, ExitCode.USAGE),
    (ValidationFailed, ExitCode.USAGE),
    (InsufficientBalance, ExitCode.REFUSED),
)

_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (
        Unauthorized,
        "Pass a key with --api-key or AITBC_API_KEY; the default is the key of the agent on this machine.",
    ),
    (Forbidden, "Use a key with another role: see --api-key."),
    (
        InsufficientBalance,
        "`aitbc wallet balance` shows your balance; --max-cost lowers the amount held for a job.",
    ),
    (JobNotFound, "`aitbc jobs list` shows your jobs."),
    (OfferNotAvailable, "`aitbc offers list` shows the available offers."),
    (RateLimitExceeded, "Wait a moment, then try again."),
    (InternalError, "The coordinator has an internal error."),
)


def try_each(names: Iterable[str], action: Callable[[str], T]) -> tuple[list[T], list[AITBCError]]:
    """Return the results of an action for each name, and the errors of those that were refused."""
    results: list[T] = []
    refusals: list[AITBCError] = []
    for name in names:
        try:
            results.append(action(name))
        except (APIError, NoSuchName, AmbiguousName) as error:
            refusals.append(error)
    return results, refusals


def raise_last(refusals: Sequence[AITBCError]) -> None:
    """Print errors, and raise the last one, which decides the exit code as for a single name."""
    for refusal in refusals[:-1]:
        print_error(explain(refusal))
    if refusals:
        raise refusals[-1]


class NoSuchResult(AITBCError):
    """A job's results lack the requested output."""


def exit_code(error: Exception) -> ExitCode:
    """Return the exit code for an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.FAILED)


def ends_batch(error: Exception) -> bool:
    """Return whether every further job would fail with the same error: no coordinator, no valid key, no money."""
    if isinstance(error, TransportError):
        return not error.sent
    return isinstance(error, (ConfigurationError, Unauthorized, Forbidden, InsufficientBalance))


def explain(error: Exception) -> str:
    """Return what happened and what to do."""
    if isinstance(error, OSError) and not isinstance(error, AITBCError):
        return _explain_file(error)
    if isinstance(error, ValidationFailed) and error.fields:
        return _explain_fields(error)
    if isinstance(error, (NoSuchName, AmbiguousName)):
        return str(error)
    if (refused := _refused_certificate(error)) is not None:
        return (
            f"The coordinator's certificate is not trusted: {refused.verify_message}. For a certificate authority of your own, set "
            "SSL_CERT_FILE to a file with its certificate."
        )
    if isinstance(error, JobFailed):
        # The reason may be the output of a program, in which lines matter, so nothing stands behind it.
        ended = "was cancelled" if error.status == "cancelled" else f"failed ({error.code})"
        reason = error.reason if "\n" in error.reason else _ended(error.reason)
        return f"Job {error.job_id} {ended}: {reason}"
    text = " ".join(str(error).split())
    if isinstance(error, TransportError) and not error.sent:
        advice = (
            "Is it running? `aitbc-agent start` starts one on this machine; --base-url selects another one."
        )
    elif isinstance(error, InternalError) and error.request_id:
        advice = (
            f"The coordinator has an internal error; report the request {error.request_id} to its operator."
        )
    elif isinstance(error, CannotRun):
        actions = " ".join(str(reason["action"]) for reason in error.reasons[:1])
        text = with_options_named(text)
        advice = (
            f"{with_options_named(actions)} With --wait-for-miner the job waits for a miner that can run it."
        )
    else:
        advice = next((advice for kind, advice in _ADVICE if isinstance(error, kind)), "")
    return f"{_ended(text)} {advice}".strip()


def _refused_certificate(error: BaseException | None) -> SSLCertVerificationError | None:
    """Return the error of the TLS library that caused this one, or None."""
    while error is not None and not isinstance(error, SSLCertVerificationError):
        # httpx hides the reason behind two errors of its own.
        error = error.__cause__ or error.__context__
    return error


def _ended(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _explain_fields(error: ValidationFailed) -> str:
    """Return one line for each field, named as the option that fills it."""
    lines = [
        _ended(text) if name == _WHOLE_REQUEST else f"{option_of(name)}: {_ended(text)}"
        for name, text in error.fields.items()
    ]
    # The message repeats the fields under the API's names, which users of this program do not know.
    general = error.message.partition(f" {next(iter(error.fields))}: ")[0]
    if len(lines) == 1:
        return lines[0] if general == _NOT_VALID else f"{general} {lines[0]}"
    return "\n".join([general.removesuffix(".") + ":", *lines])


def _explain_file(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}." if error.filename is not None else f"{reason}."
