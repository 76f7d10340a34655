"""Files of requests that are worked off within a day, in the form of OpenAI's API."""

from __future__ import annotations

import re
from typing import Final

from agent.coordinator.feature import Feature, Opening, Task
from agent.coordinator.features.batches import routes, terms, worker
from agent.coordinator.features.batches.middleware import BatchSender, Entrance
from agent.coordinator.hooks import Hooks
from agent.coordinator.http.bodies import BodyLimit, streamed

TIDY_SECONDS: Final = 600.0


def _open(_: Opening) -> BatchSender:
    return BatchSender()


FEATURE: Final = Feature(
    name="batches",
    # Its requests pass the middleware of all APIs, which writes their errors.
    after=("client_apis", "openai", "rate_limits"),
    routers=(routes.router,),
    middleware=(Entrance,),
    body_limits=(BodyLimit(re.compile("/v1/files"), streamed),),
    tasks=(
        Task("batches", worker.POLL_SECONDS, worker.work),
        Task("batch_files", TIDY_SECONDS, worker.tidy),
    ),
    part=BatchSender,
    open=_open,
    hooks=Hooks(admit_job=terms.admit_job),
)
