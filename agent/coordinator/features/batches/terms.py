"""Jobs of batches cost less than others, and come after them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from agent.coordinator.features.batches.fields import BatchTerms, TermsOption
from agent.coordinator.features.batches.settings import BatchSettings
from agent.coordinator.hooks import NewJob
from agent.coordinator.job_fields import fields_of
from agent.coordinator.operations.context import Connection, Context
from agent.core.market.ledger import MILLION
from agent.sections import section_of
from agent.settings.coordinator import CoordinatorSettings

LATER: Final = 10
"""Priority that jobs of batches have less: all other priorities come first, until a job has waited for ten minutes longer."""


def terms_of(settings: CoordinatorSettings) -> BatchTerms:
    """Return the terms of new jobs of batches."""
    share = section_of(settings, BatchSettings).batch_price
    return BatchTerms(None if share == 1 else round(share * MILLION))


def admit_job(_connection: Connection, _context: Context, job: NewJob) -> None:
    """Give a new job the terms of its batch, if it is of one."""
    terms = fields_of(job.options, TermsOption).batch_terms
    if terms is not None:
        job.record = replace(job.record, priority=job.record.priority - LATER, price_ppm=terms.price_ppm)
