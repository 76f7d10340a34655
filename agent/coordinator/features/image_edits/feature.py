"""Images that are changed."""

from __future__ import annotations

import re
from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.image_edits import routes
from agent.coordinator.http.bodies import BodyLimit, streamed

FEATURE: Final = Feature(
    name="image_edits",
    routers=(routes.router,),
    body_limits=(BodyLimit(re.compile("/v1/images/(edits|variations)"), streamed),),
)
