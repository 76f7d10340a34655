"""Settings of the logs of jobs."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from agent.core.values.quantities import Bytes
from agent.sections import Section


class JobLogSettings(Section):
    """Limits of the logs of jobs. These settings are in the table `coordinator`."""

    max_job_log: Bytes = Bytes("64Ki")
    """Maximum size of the log of one run; each line counts 32 bytes in addition to its text. Of a longer log, the beginning and the
    end are stored: about a thousand lines, which is more than a person reads."""
    max_job_log_runs: Annotated[int, Field(ge=1)] = 10
    """Number of runs of a job whose logs are stored, the newest ones: as many as a job may have attempts."""
    job_log_retention_seconds: Annotated[float, Field(gt=0)] = 30 * 86_400
    """How long logs of jobs are stored. A month, as long as messages to webhooks: by then a failure was looked into."""


SETTINGS: Final = {"coordinator.*": JobLogSettings}
