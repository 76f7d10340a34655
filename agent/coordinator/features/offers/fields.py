"""What offers add to a job's request, to the answers about it, to the filters of lists, and to the answer about a removed miner."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

from pydantic import BaseModel, Field

from agent.core.errors import ApiError
from aitbc.answers.jobs import OfferedJob
from aitbc.answers.miners import RemovedOffers


class OfferNotAvailable(ApiError):
    """The offer accepts no more jobs, or not this one. `details["reason"]` states which."""

    code = "OFFER_NOT_AVAILABLE"
    status = 410
    remedy = "Choose another offer (`GET /v1/marketplace/offers`); `details.reason` states why this one does not fit."


class OfferOptions(BaseModel, defer_build=True):
    """The option of a job that gives it to an offer."""

    miner_options: ClassVar[tuple[str, ...]] = ("miner_id", "offer_id")

    offer_id: Annotated[str, Field(pattern=r"^offer_[0-9A-Za-z_-]{1,64}$")] | None = Field(
        default=None,
        description="The offer to which the job is given immediately. As with `miner_id`, it is audited only if `audited` is true",
        examples=["offer_1234567890"],
    )


class OfferedStatus(OfferedJob, defer_build=True):
    """The offer in an answer about a job."""


class OfferFilter(BaseModel, defer_build=True):
    """The filter of lists by offer."""

    offer_id: str | None = Field(
        default=None, description="Only jobs that were given to this offer", examples=["offer_1234567890"]
    )


class EndedOffers(RemovedOffers, defer_build=True):
    """The number of a removed miner's offers that ended."""


ERRORS: Final = (OfferNotAvailable,)
FIELDS: Final = {
    "OptionFields": OfferOptions,
    "StatusFields": OfferedStatus,
    "FilterFields": OfferFilter,
    "RemovalFields": EndedOffers,
}
