"""The fields that features add to a job's request, to the answers about it and its service, and to the filters of lists of jobs.

The kernel composes its models from these, once. A feature declares them in its `fields.py`, which imports nothing of the coordinator, and
adds them to a class below; its hooks `check_options`, `jobs_submitted`, `describe_jobs`, `options_of` and `narrow` (`hooks.py`) do the rest.
Apart from the list of features, no other module names one.
"""

from __future__ import annotations

from agent.coordinator.features.audits.fields import AuditedDetails, AuditedService, AuditOptions
from agent.coordinator.features.labels.fields import LabelFilter, LabelledStatus, LabelOptions
from agent.coordinator.features.sealing.fields import SealedDetails, SealedInput
from agent.coordinator.features.webhooks.fields import WebhookOptions


class OptionFields(AuditOptions, WebhookOptions, LabelOptions, defer_build=True):
    """The options of any job. They are read in strict mode, and other fields are refused."""


class Input(SealedInput, defer_build=True):
    """The fields that may replace the service's input in the request for a whole job (`read_input`)."""


class StatusFields(LabelledStatus, defer_build=True):
    """The fields of each answer about a job, also in lists. They stay the same while the job exists."""


class Details(SealedDetails, AuditedDetails, defer_build=True):
    """The fields of the answer about one job (`describe_details`)."""


class ServiceFields(AuditedService, defer_build=True):
    """The fields of each answer about a service."""


class FilterFields(LabelFilter, defer_build=True):
    """The filters of lists of jobs: parameters of a query, so each needs a default."""
