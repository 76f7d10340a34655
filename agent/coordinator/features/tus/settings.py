"""Settings of resumable uploads."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from agent.sections import Section


class TusSettings(Section):
    """How long resumable uploads wait. In the table `coordinator`."""

    upload_silence_seconds: Annotated[float, Field(gt=0)] = 60
    """How long an uploading request may send nothing before it is ended; the bytes received so far are stored."""


SETTINGS: Final = {"coordinator.*": TusSettings}
