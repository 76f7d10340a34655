"""Why a catalogue model cannot be used on this machine, in the words of all runners."""

from __future__ import annotations

from runners.errors import FailureCode, Retry


def not_loaded(name: str) -> Retry:
    """Return the error for a request of a model that the runner has not loaded."""
    return Retry(f"The model {name!r} is not loaded.", code=FailureCode.MODEL_UNAVAILABLE)


def not_downloaded(name: str, form: str = "") -> Retry:
    """Return the error for a model without files; `form` is the required one, such as "as GGUF"."""
    return incomplete(name, f"is not on this machine {form}".rstrip())


def incomplete(name: str, lack: str) -> Retry:
    """Return the error for a model that another download completes. `lack` is the end of a sentence about it."""
    return Retry(
        f"The model {name!r} {lack}; download it with 'aitbc-agent models pull {name}'.",
        code=FailureCode.MODEL_UNAVAILABLE,
    )


def unusable(name: str, reason: str, kind: str = "model") -> Retry:
    """Return the error for files that no download mends; `kind` says what they are."""
    return Retry(f"The {kind} {name!r} cannot be used: {reason}.", code=FailureCode.MODEL_UNAVAILABLE)
