"""Settings of labels."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from agent.sections import Section


class LabelSettings(Section):
    """Limits of labels, in the table `coordinator`."""

    max_labels: Annotated[int, Field(ge=0, le=1000)] = 32
    """Maximum number of labels per job; each is an entry in an index."""


SETTINGS: Final = {"coordinator.*": LabelSettings}
