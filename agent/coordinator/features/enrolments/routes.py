"""`/v1/admin/enrolments`: enrolment tokens, for administrators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, status
from pydantic import Field

from agent.coordinator.features.enrolments import enrolments
from agent.coordinator.http.hosts import own_address
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.routes._callers import Admin, Before, ContextOf, Limit, RequestBody
from agent.coordinator.routes._declare import errors
from agent.core.errors import NotFound
from aitbc.answers import fields
from aitbc.answers.accounts import EnrolmentList, NewEnrolment

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1/admin/enrolments", tags=["Administration"])


class EnrolmentRequest(RequestBody):
    """A new enrolment token, with which miners can register. `note` describes its purpose.

    Miners whose tokens name the same `owner` form one fleet: the owner's key of any of them sees, pauses and resumes all.
    """

    uses: Annotated[int, Field(ge=1, le=10_000)] = 1
    valid_seconds: Annotated[float, Field(gt=0, le=enrolments.MAX_SECONDS)] = 86_400
    note: Annotated[str, Field(max_length=200, examples=["the new rack"])] = ""
    owner: Annotated[str, Field(min_length=1, max_length=100, examples=["alice"])] | None = None


@router.get("", operation_id="admin_list_enrolments", summary="List enrolment tokens")
async def list_enrolments(
    context: ContextOf,
    _: Admin,
    limit: Limit = 50,
    before: Before = None,
) -> EnrolmentList:
    """All enrolment tokens without their secrets, which are not stored, newest first, with the miners that joined."""
    return await context.database.read(enrolments.page, limit, before, context.clock())


@router.post(
    "",
    operation_id="admin_create_enrolment",
    status_code=status.HTTP_201_CREATED,
    summary="Create an enrolment token",
)
async def create_enrolment(
    context: ContextOf, caller: Admin, request: EnrolmentRequest, asked: Request
) -> NewEnrolment:
    """The answer contains the token, which cannot be retrieved later, and a code with it for `aitbc-agent join`."""
    return await enrolments.create(
        context,
        uses=request.uses,
        valid_seconds=request.valid_seconds,
        note=request.note,
        owner=request.owner,
        created_by=caller.key_id,
        url=own_address(context.settings, asked),
    )


@router.delete(
    "/{enrolment_id}",
    operation_id="admin_revoke_enrolment",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=errors(NotFound),
    summary="Revoke an enrolment token",
)
async def revoke_enrolment(context: ContextOf, _: Admin, enrolment_id: fields.EnrolmentId) -> None:
    """No miner can join with it from now on. Miners that have joined stay; remove or exclude them."""
    await enrolments.revoke(context, enrolment_id)
