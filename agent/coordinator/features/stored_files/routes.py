"""`GET /v1/artifacts`: the files of an account."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from agent.coordinator.features.stored_files import files
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.routes._callers import Client, ContextOf
from agent.coordinator.routes._declare import errors
from agent.core.errors import Conflict
from aitbc.answers.files import ArtifactList

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1/artifacts", tags=["Artifacts"])


@router.get("", operation_id="artifacts_list", responses=errors(Conflict), summary="List your files")
async def list_artifacts(
    context: ContextOf,
    caller: Client,
    prefix: Annotated[
        str,
        Query(
            pattern=r"^(sha256:[0-9a-f]{0,64})?$",
            description="Only files whose ids begin with this",
            examples=["sha256:9f86"],
        ),
    ] = "",
    limit: Annotated[int, Query(ge=1, le=500, description="Maximum number of files")] = 50,
    offset: Annotated[int, Query(ge=0, le=10**9, description="How many of the newest files to skip")] = 0,
) -> ArtifactList:
    """Your uploads and the outputs of your jobs, newest first, each with the newest 20 of your jobs that read or wrote it."""
    return await context.database.read(files.page, caller.account_of("Artifacts"), prefix, limit, offset)
