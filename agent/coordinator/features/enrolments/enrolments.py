"""Enrolment tokens, with which miners join. Only their digests are stored."""

from __future__ import annotations

import secrets
from typing import Final

from agent.coordinator.features.enrolments import store
from agent.coordinator.features.enrolments.store import EnrolmentRecord
from agent.coordinator.operations.accounts.access import digest
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import access
from agent.core.errors import NotFound
from agent.core.values.quantities import format_optional_time, format_time
from agent.protocol.join_code import TOKEN_PREFIX, JoinCode
from aitbc.answers.accounts import EnrolledMiner, Enrolment, EnrolmentList, EnrolmentStatus, NewEnrolment

MAX_SECONDS: Final = 30 * 86_400


async def create(
    context: Context,
    *,
    uses: int,
    valid_seconds: float,
    note: str = "",
    owner: str | None = None,
    created_by: str | None = None,
    url: str | None = None,
) -> NewEnrolment:
    """Create a token with which `uses` miners may join, which belong to `owner`. `created_by` is an administrator's key, None for the agent itself.

    With the coordinator's `url`, also a join code.
    """
    token = f"{TOKEN_PREFIX}{secrets.token_urlsafe(24)}"
    now = context.clock()
    record = EnrolmentRecord(
        context.new_id("enrolment"), now, now + min(valid_seconds, MAX_SECONDS), uses, uses, note, created_by,
        owner=owner,
    )  # fmt: skip
    # Only a digest is stored, so a copy of the database lets nobody enrol.
    await context.database.write(store.add, record, digest(token))
    code = None if url is None else str(JoinCode(url, context.signer.vkey, token, record.expires_at))
    return NewEnrolment(
        enrolment_id=record.enrolment_id,
        enrolment_token=token,
        uses=record.uses,
        expires_at=format_time(record.expires_at),
        join_code=code,
        join_picture=None if code is None else _picture(code),
    )


def _picture(code: str) -> str:
    """Return a QR code as a `data:` URL of an SVG, which needs no further request that could be logged."""
    import segno  # noqa: PLC0415 - few enrolments are created

    return segno.make_qr(code, error="m").svg_data_uri(scale=4, light="white")


def page(connection: Connection, limit: int, before_id: str | None, now: float) -> EnrolmentList:
    """Return all tokens without their secrets, newest first, with the miners that enrolled with them."""
    records = store.page(connection, limit=limit + 1, before_id=before_id)
    records_of_page = records[:limit]
    names = access.key_names(
        connection, [record.created_by for record in records_of_page if record.created_by]
    )
    enrolled = store.enrolled_with(connection, [record.enrolment_id for record in records_of_page])
    return EnrolmentList(
        enrolments=[
            Enrolment(
                enrolment_id=record.enrolment_id,
                status=_status(record, now),
                note=record.note,
                owner=record.owner,
                uses=record.uses,
                uses_left=record.uses_left,
                created_at=format_time(record.created_at),
                created_by=record.created_by,
                created_by_name=names.get(record.created_by or ""),
                expires_at=format_time(record.expires_at),
                used_at=format_optional_time(record.used_at),
                revoked_at=format_optional_time(record.revoked_at),
                miners=[
                    EnrolledMiner(miner_id=miner_id, name=name)
                    for miner_id, name in enrolled.get(record.enrolment_id, [])
                ],
            )
            for record in records_of_page
        ],
        next=records_of_page[-1].enrolment_id if len(records) > limit else None,
    )


def _status(record: EnrolmentRecord, now: float) -> EnrolmentStatus:
    # In the order of what an administrator would look for: a token may be both used and revoked.
    if record.revoked_at is not None:
        return "revoked"
    if record.uses_left == 0:
        return "used"
    return "expired" if record.expires_at <= now else "valid"


async def revoke(context: Context, enrolment_id: str) -> None:
    """Revoke a token. Miners that have enrolled with it stay. Raises `NotFound`."""
    if not await context.database.write(store.revoke, enrolment_id, context.clock()):
        raise NotFound(f"There is no enrolment token {enrolment_id}.", {"enrolment_id": enrolment_id})
