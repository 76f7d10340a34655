"""`/v1/miners`: the miner protocol over HTTP (docs/reference/miner-protocol.md)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

from fastapi import APIRouter, Request, Response, status

from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.operations.miners import completion, heartbeats, leases, sessions
from agent.coordinator.operations.miners.events import pass_on
from agent.coordinator.port import LeaseMessage, Port
from agent.coordinator.routes._callers import ContextOf, MinerSession, disconnected
from agent.coordinator.routes._declare import errors
from agent.core.errors import (
    ApiError,
    Forbidden,
    MinerExcluded,
    ReceiptInvalid,
    StaleLease,
    Unauthorized,
    VersionMismatch,
)
from agent.protocol.answers import (
    Admission,
    Challenge,
    Delivered,
    HeartbeatAnswer,
    Polled,
    Registered,
    RunEndedAnswer,
)
from agent.protocol.messages import (
    AdmissionRequest,
    Heartbeat,
    Poll,
    Registration,
    RunEvents,
    RunFailure,
    RunRelease,
    RunResult,
)
from aitbc.answers import fields

router = APIRouter(route_class=LargeJsonRoute, prefix="/v1/miners", tags=["Miner protocol"])

MATCHING_SECONDS: Final = 0.25
"""A poll waits at least this long, since matching it with a job takes one dispatch round."""


@router.post("/challenge", summary="A nonce to sign")
async def challenge(context: ContextOf) -> Challenge:
    """The nonce can be used once, within a minute."""
    return await sessions.challenge(context)


@router.post("/admission", responses=errors(Unauthorized), summary="Whether a registration would be accepted")
async def admission(context: ContextOf, body: AdmissionRequest) -> Admission:
    """A check before registration. It opens no session and does not spend the enrolment token."""
    return await sessions.admission(context, body)


@router.post(
    "/register",
    responses=errors(Unauthorized, Forbidden, MinerExcluded, VersionMismatch),
    summary="Open a session",
)
async def register(context: ContextOf, request: Registration) -> Registered:
    """The request is signed with the miner's key. An unknown key needs an enrolment token."""
    return await sessions.register(context, request)


@router.post(
    "/poll",
    response_model=Polled,
    response_model_exclude_unset=True,
    responses={status.HTTP_204_NO_CONTENT: {"description": "There is nothing for the miner."}},
    summary="Wait for work",
)
async def poll(context: ContextOf, session: MinerSession, body: Poll, request: Request) -> Any:
    """Answers as soon as there is a lease, a cancellation or a command, and 204 after `wait` seconds without any."""
    wait = min(max(body.wait, MATCHING_SECONDS), context.settings.poll_seconds)
    poller = _Poller()
    port = Port(
        session.miner_id,
        session.number,
        deliver=poller.deliver,
        cancelled=poller.cancelled,
        heartbeat=poller.heartbeat,
        close=poller.refuse,
        capabilities=session.capabilities,
    )
    port.set_free(body.slots, body.free_by_batch(), 0)
    context.dispatcher.attach(port)
    answering = asyncio.create_task(poller.done.wait(), name=f"poll-{session.miner_id}")
    leaving = asyncio.create_task(disconnected(request), name=f"poll-disconnect-{session.miner_id}")
    try:
        await asyncio.wait([answering, leaving], timeout=wait, return_when=asyncio.FIRST_COMPLETED)
        # Leases of one dispatch round are answered together.
        await asyncio.sleep(0)
    finally:
        context.dispatcher.detach(port)
        poller.closed = True
        has_left = leaving.done()
        for task in (answering, leaving):
            task.cancel()
        await asyncio.gather(answering, leaving, return_exceptions=True)
    # The miner cannot know of leases in an answer that nobody reads: they wait for another miner at once.
    if has_left:
        await _revoke(context, session, poller.leases)
    # What was given before the session ended is still delivered; the next poll is refused.
    if poller.refusal is not None and not poller.leases and not poller.cancellations:
        raise poller.refusal
    if not poller.leases and not poller.cancellations and not poller.needs_heartbeat:
        return Response(status_code=status.HTTP_204_NO_CONTENT)
    answer = {"leases": poller.leases, "cancelled": poller.cancellations}
    return Polled.model_validate(answer | ({"heartbeat": True} if poller.needs_heartbeat else {}))


class _Poller:
    """Collects the answer to a waiting poll."""

    def __init__(self) -> None:
        self.leases: list[LeaseMessage] = []
        self.cancellations: list[dict[str, Any]] = []
        self.needs_heartbeat = False
        self.refusal: ApiError | None = None
        self.done = asyncio.Event()
        self.closed = False

    def deliver(self, lease: LeaseMessage) -> bool:
        if self.closed:
            return False
        self.leases.append(lease)
        self.done.set()
        return True

    def refuse(self, reason: ApiError) -> None:
        self.refusal = reason
        self.done.set()

    def heartbeat(self) -> None:
        self.needs_heartbeat = True
        self.done.set()

    def cancelled(self, job_id: fields.JobId, fence: int) -> None:
        self.cancellations.append({"job_id": job_id, "fence": fence})
        self.done.set()


async def _revoke(context: ContextOf, session: MinerSession, undelivered: list[LeaseMessage]) -> None:
    for lease in undelivered:
        with suppress(StaleLease):
            # This one was cancelled meanwhile; the others must still be released.
            await leases.revoke(context, session, lease["job_id"], lease["fence"])


@router.post("/heartbeat", response_model_exclude_none=True, summary="Renew leases")
async def heartbeat(context: ContextOf, session: MinerSession, body: Heartbeat) -> HeartbeatAnswer:
    """Renews all of the miner's leases in one call."""
    return await heartbeats.heartbeat(context, session, body)


@router.post(
    "/jobs/{job_id}/result", responses=errors(StaleLease, ReceiptInvalid), summary="Deliver a result"
)
async def result(
    context: ContextOf, session: MinerSession, job_id: fields.JobId, body: RunResult
) -> Delivered:
    """A repeated delivery gets the same answer."""
    return await completion.complete(context, session, job_id, body)


@router.post("/jobs/{job_id}/fail", responses=errors(StaleLease), summary="Report a failure")
async def fail(
    context: ContextOf, session: MinerSession, job_id: fields.JobId, body: RunFailure
) -> RunEndedAnswer:
    """`fail` if the input is at fault, `retry` if the machine is."""
    return await leases.fail(context, session, job_id, body)


@router.post("/jobs/{job_id}/release", responses=errors(StaleLease), summary="Hand a lease back")
async def release(
    context: ContextOf, session: MinerSession, job_id: fields.JobId, body: RunRelease
) -> RunEndedAnswer:
    """The attempt does not count."""
    return await leases.release(context, session, job_id, body)


@router.post(
    "/jobs/{job_id}/events",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=errors(StaleLease),
    summary="Progress, outputs, tokens",
)
async def events(context: ContextOf, session: MinerSession, job_id: fields.JobId, body: RunEvents) -> None:
    """Progress and outputs are stored, and all events are published to the job's subscribers."""
    await pass_on(context, session, job_id, body)
