"""The dashboard, and the sessions of browsers that sign in to it."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature, Task
from agent.coordinator.features.browser import sessions
from agent.coordinator.features.browser.routes import pages
from agent.coordinator.features.browser.routes.sessions import router

EXPIRY_SECONDS: Final = 60.0

FEATURE: Final = Feature(
    name="browser",
    routers=(router,),
    pages=pages.routes,
    tasks=(Task("sessions", EXPIRY_SECONDS, sessions.expire_due),),
)
