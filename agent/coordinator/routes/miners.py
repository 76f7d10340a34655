"""`/v1/miners`: the miner protocol over HTTP (docs/reference/miner-protocol.md)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

from fastapi import APIRouter, Request, Response, status

from agent.coordinator.dispatch.port import LeaseMessage, Port
from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.openapi.declare import errors
from agent.coordinator.operations.miners import events as run_events
from agent.coordinator.operations.miners import leases, sessions
from agent.coordinator.routes._callers import ContextOf, MinerSession, disconnected
from agent.core.errors import ApiError, Forbidden, MinerExcluded, ReceiptInvalid, StaleLease, Unauthorized
from agent.core.values import fields
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

router = APIRouter(route_class=LargeJsonRoute, prefix="/miners", tags=["Miner protocol"])

MATCHING_SECONDS: Final = 0.25
"""A poll waits at least so long, since bringing it together with a job takes a round of matching."""


@router.post("/challenge", summary="A nonce to sign")
async def challenge(context: ContextOf) -> Challenge:
    """Good once, for a minute."""
    return Challenge(**await sessions.challenge(context))


@router.post("/admission", responses=errors(Unauthorized), summary="Whether a registration would be taken")
async def admission(context: ContextOf, body: AdmissionRequest) -> Admission:
    """Asked before joining: no session is opened, and the enrolment token is not spent."""
    return Admission(**await sessions.admission(context, body))


@router.post("/register", responses=errors(Unauthorized, Forbidden, MinerExcluded), summary="Open a session")
async def register(context: ContextOf, request: Registration) -> Registered:
    """Signed by the miner's key. A key that is new here needs an enrolment token."""
    return Registered(**await sessions.register(context, request))


@router.post(
    "/poll",
    response_model=Polled,
    response_model_exclude_unset=True,
    responses={status.HTTP_204_NO_CONTENT: {"description": "There was nothing for the miner."}},
    summary="Wait for work",
)
async def poll(context: ContextOf, session: MinerSession, body: Poll, request: Request) -> Any:
    """Answers as soon as there is a lease, a cancellation or a command, 204 after `wait` seconds without."""
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
    leaving = asyncio.create_task(disconnected(request), name=f"poll-gone-{session.miner_id}")
    try:
        await asyncio.wait([answering, leaving], timeout=wait, return_when=asyncio.FIRST_COMPLETED)
        # What was claimed in one round arrives together.
        await asyncio.sleep(0)
    finally:
        context.dispatcher.detach(port)
        poller.closed = True
        gone = leaving.done()
        for task in (answering, leaving):
            task.cancel()
        await asyncio.gather(answering, leaving, return_exceptions=True)
    if gone:
        await _take_back(context, session, poller.leases)
    if poller.refusal is not None and not poller.leases and not poller.cancellations:
        raise poller.refusal
    if not poller.leases and not poller.cancellations and not poller.wanted:
        return Response(status_code=status.HTTP_204_NO_CONTENT)
    answer = {"leases": poller.leases, "cancelled": poller.cancellations}
    return Polled.model_validate(answer | ({"heartbeat": True} if poller.wanted else {}))


class _Poller:
    """Collects what a waiting poll is to answer."""

    def __init__(self) -> None:
        self.leases: list[LeaseMessage] = []
        self.cancellations: list[dict[str, Any]] = []
        self.wanted = False
        self.refusal: ApiError | None = None
        self.done = asyncio.Event()
        self.closed = False

    def deliver(self, lease: LeaseMessage) -> bool:
        if self.closed:
            return False
        self.leases.append(lease)
        self.done.set()
        return True

    def refuse(self, why: ApiError) -> None:
        self.refusal = why
        self.done.set()

    def heartbeat(self) -> None:
        self.wanted = True
        self.done.set()

    def cancelled(self, job_id: fields.JobId, fence: int) -> None:
        self.cancellations.append({"job_id": job_id, "fence": fence})
        self.done.set()


async def _take_back(context: ContextOf, session: MinerSession, undelivered: list[LeaseMessage]) -> None:
    for lease in undelivered:
        with suppress(StaleLease):  # cancelled meanwhile; the others are still to be taken back
            await leases.take_back(context, session, lease["job_id"], lease["fence"])


@router.post("/heartbeat", response_model_exclude_none=True, summary="Renew leases")
async def heartbeat(context: ContextOf, session: MinerSession, body: Heartbeat) -> HeartbeatAnswer:
    """One for all leases."""
    return HeartbeatAnswer(**await sessions.heartbeat(context, session, body))


@router.post(
    "/jobs/{job_id}/result", responses=errors(StaleLease, ReceiptInvalid), summary="Deliver a result"
)
async def result(
    context: ContextOf, session: MinerSession, job_id: fields.JobId, body: RunResult
) -> Delivered:
    """The same again gets the same answer."""
    return Delivered(**await leases.complete(context, session, job_id, body))


@router.post("/jobs/{job_id}/fail", responses=errors(StaleLease), summary="Report a failure")
async def fail(
    context: ContextOf, session: MinerSession, job_id: fields.JobId, body: RunFailure
) -> RunEndedAnswer:
    """`fail` for the input's fault, `retry` for the machine's."""
    return RunEndedAnswer(**await leases.fail(context, session, job_id, body))


@router.post("/jobs/{job_id}/release", responses=errors(StaleLease), summary="Hand a lease back")
async def release(
    context: ContextOf, session: MinerSession, job_id: fields.JobId, body: RunRelease
) -> RunEndedAnswer:
    """The attempt is not counted."""
    return RunEndedAnswer(**await leases.release(context, session, job_id, body))


@router.post(
    "/jobs/{job_id}/events",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=errors(StaleLease),
    summary="Progress, outputs, tokens",
)
async def events(context: ContextOf, session: MinerSession, job_id: fields.JobId, body: RunEvents) -> None:
    """Progress and outputs are stored; everything is passed on to whoever watches the job."""
    await run_events.pass_on(context, session, job_id, body)
