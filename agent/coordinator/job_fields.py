"""The fields that features add to requests and answers: those of jobs above all, of services, and of removed miners.

The kernel composes its models from the classes below, once. `FIELDS` in a feature's `fields.py`, which imports nothing of the coordinator, names
the model that a feature adds to each of them, and `ERRORS` the errors of its options; its hooks `check_request`, `jobs_submitted`, `describe_jobs` and `filter_jobs` do the rest.
"""

from __future__ import annotations

from typing import Final, TypeVar

from pydantic import BaseModel, create_model

from agent import features
from agent.core.errors import ApiError

OPTION_ERRORS: Final[tuple[type[ApiError], ...]] = tuple(
    error for module in features.modules("fields") for error in getattr(module, "ERRORS", ())
)
"""The errors with which features refuse new jobs for their options."""

Model = TypeVar("Model", bound=BaseModel)


def _extended(declared: type[Model]) -> type[Model]:
    """Return the model with the fields that features add to it."""
    models = [
        module.FIELDS[declared.__name__]
        for module in features.modules("fields")
        if declared.__name__ in module.FIELDS
    ]
    # The fields of the last base come first.
    return create_model(
        declared.__name__,
        __base__=(*reversed(models), declared),
        __module__=declared.__module__,
        __doc__=declared.__doc__,
    )


def fields_of(model: BaseModel, declared: type[Model]) -> Model:
    """Return a composed model as what a feature has added to it."""
    if not isinstance(model, declared):
        raise TypeError(f"{type(model).__name__} has no fields of {declared.__name__}")
    return model


@_extended
class OptionFields(BaseModel, defer_build=True):
    """The options of any job. They are read in strict mode, and other fields are refused."""


@_extended
class Input(BaseModel, defer_build=True):
    """The fields that may replace the service's input in the request for a whole job (`hooks.ReplacedInput`)."""


@_extended
class StatusFields(BaseModel, defer_build=True):
    """The fields of each answer about a job, also in lists. They stay the same while the job exists."""


@_extended
class Details(BaseModel, defer_build=True):
    """The fields of the answer about one job (`hooks.View`)."""


@_extended
class ServiceFields(BaseModel, defer_build=True):
    """The fields of each answer about a service."""


@_extended
class RemovalFields(BaseModel, defer_build=True):
    """The fields of the answer about a removed miner (`hooks.MinerReport`)."""


@_extended
class FilterFields(BaseModel, defer_build=True):
    """The filters of lists of jobs: parameters of a query, so each needs a default."""
