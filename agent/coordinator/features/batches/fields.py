"""What a batch gives to its jobs. Requests have no field for it, since clients must not choose it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, PrivateAttr


@dataclass(frozen=True, slots=True)
class BatchTerms:
    """The terms of a job of a batch: its share of the price in parts per million, None for all of it."""

    price_ppm: int | None


TERMS: Final[ContextVar[BatchTerms | None]] = ContextVar("batch_terms", default=None)
"""The terms of the jobs that the current request submits; None for a request that is no line of a batch."""


def _terms_of_request() -> BatchTerms | None:
    return TERMS.get()


class TermsOption(BaseModel, defer_build=True):
    """The terms of a job, which its options take from the request that is read."""

    _terms: BatchTerms | None = PrivateAttr(default_factory=_terms_of_request)

    @property
    def batch_terms(self) -> BatchTerms | None:
        """The terms of a batch."""
        return self._terms


FIELDS: Final = {"OptionFields": TermsOption}
