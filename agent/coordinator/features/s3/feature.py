"""Artifacts in a bucket of an S3 service, with which clients and miners exchange the bytes themselves."""

from __future__ import annotations

from typing import Final

from agent.coordinator.blobs.directory import directory_of
from agent.coordinator.blobs.store import BlobStore
from agent.coordinator.feature import Feature, Task
from agent.coordinator.features.s3 import direct, routes, store
from agent.coordinator.features.s3.settings import BucketSettings
from agent.coordinator.hooks import Hooks
from agent.sections import section_of
from agent.settings import Settings

EXPIRY_SECONDS: Final = 60.0


def _open_blobs(settings: Settings) -> BlobStore | None:
    if directory_of(settings) is not None:
        return None
    # A coordinator without a bucket starts faster without them.
    from agent.coordinator.features.s3.blobs import S3Blobs  # noqa: PLC0415 - as above
    from agent.coordinator.features.s3.bucket import Bucket  # noqa: PLC0415 - as above

    bucket = section_of(settings, BucketSettings)
    return S3Blobs(
        Bucket(settings.artifacts.url or "", bucket),
        max_size=int(settings.coordinator.max_artifact),
        direct=bucket.direct,
        max_whole=int(bucket.max_whole),
    )


FEATURE: Final = Feature(
    name="s3",
    routers=(routes.router,),
    tasks=(Task("direct_uploads", EXPIRY_SECONDS, direct.expire_due),),
    open_blobs=_open_blobs,
    hooks=Hooks(unfinished_uploads=store.unfinished),
)
