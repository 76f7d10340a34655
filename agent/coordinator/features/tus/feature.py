"""Resumable uploads, which become artifacts once complete."""

from __future__ import annotations

import re
from typing import Final, cast

from agent.coordinator.blobs.directory import ArtifactDirectory
from agent.coordinator.blobs.store import NamedBlobs
from agent.coordinator.feature import Feature, Opening, Task
from agent.coordinator.features.tus import routes, store, uploads
from agent.coordinator.features.tus.growing_files import UploadDirectory
from agent.coordinator.features.tus.middleware import Tus
from agent.coordinator.features.tus.segments import SegmentedUploads
from agent.coordinator.features.tus.settings import TusSettings
from agent.coordinator.features.tus.turns import UploadStore
from agent.coordinator.hooks import Hooks
from agent.coordinator.http.bodies import BodyLimit, streamed
from agent.sections import section_of

EXPIRY_SECONDS: Final = 60.0
ORPHANS_SECONDS: Final = 3600.0


def _open(opening: Opening) -> UploadStore:
    silence_seconds = section_of(opening.settings.coordinator, TusSettings).upload_silence_seconds
    if isinstance(opening.artifacts, ArtifactDirectory):
        return UploadDirectory(opening.artifacts, silence_seconds=silence_seconds)
    return SegmentedUploads(cast("NamedBlobs", opening.artifacts), silence_seconds=silence_seconds)


FEATURE: Final = Feature(
    name="tus",
    # Its middleware changes methods, which limits count.
    after=("rate_limits",),
    routers=(routes.router,),
    middleware=(Tus,),
    body_limits=(BodyLimit(re.compile("/v1/uploads(/[^/]+)?"), streamed),),
    exposed_headers=(
        "Tus-Extension",
        "Tus-Max-Size",
        "Tus-Resumable",
        "Tus-Version",
        "Upload-Expires",
        "Upload-Length",
        "Upload-Metadata",
        "Upload-Offset",
    ),
    tasks=(
        Task("uploads", EXPIRY_SECONDS, uploads.expire_due),
        Task("upload_orphans", ORPHANS_SECONDS, uploads.remove_orphans),
    ),
    part=UploadStore,
    open=_open,
    hooks=Hooks(unfinished_uploads=store.unfinished),
)
