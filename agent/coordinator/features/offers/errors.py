"""The error of offers."""

from __future__ import annotations

from agent.core.errors import ApiError


class OfferNotAvailable(ApiError):
    """The offer accepts no more jobs, or not this one. `details["reason"]` states which."""

    code = "OFFER_NOT_AVAILABLE"
    status = 410
    remedy = "Choose another offer (`GET /v1/marketplace/offers`); `details.reason` states why this one does not fit."
