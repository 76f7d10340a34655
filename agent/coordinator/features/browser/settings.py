"""Settings of the dashboard and of browser sessions."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from agent.sections import Section


class BrowserSettings(Section):
    """The dashboard, and how long browsers stay signed in. These settings are in the table `coordinator`."""

    login_seconds: Annotated[float, Field(gt=0, le=86_400)] = 600
    """Validity of a login link. Ten minutes: it is opened immediately, and may remain in a terminal's history."""
    session_seconds: Annotated[float, Field(gt=0, le=400 * 86_400)] = 14 * 86_400
    """How long a browser stays signed in to the dashboard. Two weeks: long enough for daily use, while a forgotten browser is
    signed out eventually. Browsers keep no cookie for longer than 400 days."""
    dashboard: bool = True
    """Whether the dashboard is served at `/dashboard/`."""


SETTINGS: Final = {"coordinator.*": BrowserSettings}
