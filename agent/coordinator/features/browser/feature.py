"""The dashboard, the links that sign a browser in to it, and the sessions of browsers."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature, Task
from agent.coordinator.features.browser import sessions
from agent.coordinator.features.browser.routes import cookies, logins, pages
from agent.coordinator.features.browser.routes.sessions import router

EXPIRY_SECONDS: Final = 60.0
OLD_KEYS_SECONDS: Final = 3600.0

FEATURE: Final = Feature(
    name="browser",
    routers=(router, logins.router),
    credentials=(cookies.credential_of,),
    pages=pages.routes,
    tasks=(
        Task("sessions", EXPIRY_SECONDS, sessions.expire_due),
        Task("old_keys", OLD_KEYS_SECONDS, sessions.delete_keys),
    ),
)
