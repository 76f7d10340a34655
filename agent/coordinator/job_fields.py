"""The fields that features add to requests and answers: those of jobs above all, of services, and of removed miners.

The kernel composes its models from these, once. A feature declares them in its `fields.py`, which imports nothing of the coordinator, and
adds them to a class below; its hooks `check_request`, `jobs_submitted`, `describe_jobs` and `filter_jobs` (`hooks.py`) do the rest.
Apart from the list of features, no other module names one.
"""

from __future__ import annotations

from agent.coordinator.features.audits.fields import AuditedDetails, AuditedService, AuditOptions
from agent.coordinator.features.labels.fields import LabelFilter, LabelledStatus, LabelOptions
from agent.coordinator.features.offers.fields import EndedOffers, OfferedStatus, OfferFilter, OfferOptions
from agent.coordinator.features.sealing.fields import SealedDetails, SealedInput
from agent.coordinator.features.webhooks.fields import WebhookOptions


class OptionFields(OfferOptions, AuditOptions, WebhookOptions, LabelOptions, defer_build=True):
    """The options of any job. They are read in strict mode, and other fields are refused."""


class Input(SealedInput, defer_build=True):
    """The fields that may replace the service's input in the request for a whole job (`hooks.ReplacedInput`)."""


class StatusFields(OfferedStatus, LabelledStatus, defer_build=True):
    """The fields of each answer about a job, also in lists. They stay the same while the job exists."""


class Details(SealedDetails, AuditedDetails, defer_build=True):
    """The fields of the answer about one job (`hooks.View`)."""


class ServiceFields(AuditedService, defer_build=True):
    """The fields of each answer about a service."""


class RemovalFields(EndedOffers, defer_build=True):
    """The fields of the answer about a removed miner (`miner_changed`)."""


class FilterFields(OfferFilter, LabelFilter, defer_build=True):
    """The filters of lists of jobs: parameters of a query, so each needs a default."""
