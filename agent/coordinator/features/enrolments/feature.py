"""Enrolment tokens, with which miners join: operators create, list and revoke them. The kernel spends them."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.enrolments import routes

FEATURE: Final = Feature(name="enrolments", routers=(routes.router,))
