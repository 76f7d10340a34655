"""Miners join, open sessions, and say that they are alive."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import structlog

from agent.coordinator import lifecycle
from agent.coordinator.metrics import REGISTRATIONS
from agent.coordinator.operations.accounts import access
from agent.coordinator.operations.accounts.access import Role, digest
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.market import standing_offers
from agent.coordinator.operations.miners import commands
from agent.coordinator.operations.supply import offline_before
from agent.coordinator.store import access as access_store
from agent.coordinator.store import commands as command_store
from agent.coordinator.store import counts
from agent.coordinator.store import jobs as job_store
from agent.coordinator.store import miners as store
from agent.coordinator.store.jobs import JobRecord
from agent.coordinator.store.miners import MinerRecord
from agent.core.errors import Forbidden, MinerExcluded, StaleSession, Unauthorized
from agent.core.jobs import Expire, IllegalEvent, Job, JobState, Keep, Release, Renew, Transition
from agent.core.values.quantities import format_time
from agent.protocol.messages import (
    MAX_LEASES,
    MAX_SERVICES,
    AdmissionRequest,
    Capabilities,
    Heartbeat,
    Holding,
    KeyProof,
    LeaseProgress,
    Registration,
)
from aitbc.canonical import b64decode
from aitbc.dsse import verify_detached
from aitbc.errors import VerificationError
from aitbc.keys import miner_id as id_of_key
from aitbc.keys import registration_payload
from aitbc.statement import REGISTRATION_TYPE

CHALLENGE_SECONDS: Final = 60.0
ARRIVAL_SECONDS: Final = 10.0
"""A lease that was given so long ago stands in the miner's heartbeat, or never reached it."""
MAX_DIGITS: Final = 15
MAX_RUNNERS: Final = 10
"""Versions of a service's runner that are remembered of a miner: those of a few upgrades."""
SESSION_PREFIX: Final = "session."

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Session:
    """A miner with a valid session token. `runners` are names and versions that it has registered, by service."""

    miner_id: str
    number: int
    public_key: bytes
    capabilities: Mapping[str, Any]
    runners: Mapping[str, list[list[str]]]


async def challenge(context: Context) -> dict[str, Any]:
    """A nonce to sign."""
    nonce = secrets.token_urlsafe(24)
    now = context.clock()
    await context.database.write(store.add_challenge, nonce, now, now + CHALLENGE_SECONDS)
    return {
        "nonce": nonce,
        "origin": context.signer.origin,
        "expires_at": format_time(now + CHALLENGE_SECONDS),
    }


async def admission(context: Context, request: AdmissionRequest) -> dict[str, Any]:
    """Whether `register` would accept a miner, without spending its token.

    Only who proves to have a miner's key learns whether that miner is known. Raises `Unauthorized` for a bad proof.
    """
    miner_id = None
    if request.proof is not None:
        miner_id = id_of_key(_check_signature(context, request.proof))
        await context.database.write(_use_challenge, request.proof.nonce, context.clock())
    return await context.database.read(_admission, context, miner_id, request.enrolment_token)


def _admission(
    connection: Connection, context: Context, miner_id: str | None, token: str | None
) -> dict[str, Any]:
    known = None if miner_id is None else store.find(connection, miner_id)
    try:
        if known is not None:
            require_not_excluded(known)
        else:
            _check_enrolment(connection, context, token, access_store.has_enrolment)
    except Forbidden as error:
        return {"admitted": False, "reason": str(error)}
    return {"admitted": True, "reason": None}


def _use_challenge(connection: Connection, nonce: str, now: float) -> None:
    if not store.use_challenge(connection, nonce, now):
        raise Unauthorized("The nonce is unknown, used or older than a minute; ask for a new challenge.")


async def register(context: Context, request: Registration) -> dict[str, Any]:
    """Open a new session. Raises `Unauthorized` for a bad signature, `Forbidden` without a right to join."""
    public_key = _check_signature(context, request)
    secret = secrets.token_urlsafe(32)
    miner, api_key, kept, ended = await context.database.write(
        _register, context, request, public_key, digest(secret)
    )
    token = f"{SESSION_PREFIX}{miner.miner_id}.{miner.session}.{secret}"
    context.caches.pop("sessions", None)
    context.caches.pop("supply", None)
    context.meter.count(REGISTRATIONS)
    context.dispatcher.end_connections(
        miner.miner_id, StaleSession("A newer session of this miner has begun.")
    )
    context.dispatcher.job_waiting()
    log.info(
        "miner_registered",
        miner_id=miner.miner_id,
        session=miner.session,
        kept=len(kept),
        ended=ended,
    )
    settings = context.settings
    return {
        "miner_id": miner.miner_id,
        "session": miner.session,
        "session_token": token,
        "log_key": context.signer.vkey,
        "origin": context.signer.origin,
        "api_key": api_key,
        "settings": {
            "lease_seconds": settings.lease_seconds,
            "heartbeat_seconds": settings.heartbeat_seconds,
            "poll_seconds": settings.poll_seconds,
        },
        "keep": [held.model_dump() for held in kept],
    }


def _check_signature(context: Context, request: KeyProof) -> bytes:
    try:
        public_key = b64decode(request.public_key)
        payload = registration_payload(request.nonce, context.signer.origin, public_key)
        good = verify_detached(REGISTRATION_TYPE, payload, request.signature, public_key)
    except VerificationError as error:
        raise Unauthorized(f"The signature cannot be checked: {error}") from None
    if not good:
        raise Unauthorized("The signature does not fit the key, the nonce and this log's origin.")
    return public_key


def _register(
    connection: Connection, context: Context, request: Registration, public_key: bytes, session_sha256: str
) -> tuple[MinerRecord, str | None, list[Holding], int]:
    now = context.clock()
    _use_challenge(connection, request.nonce, now)
    miner_id = id_of_key(public_key)
    known = store.find(connection, miner_id)
    if known is None:
        _check_enrolment(connection, context, request.enrolment_token, access_store.use_enrolment)
    else:
        require_not_excluded(known)
    miner = MinerRecord(
        miner_id=miner_id,
        public_key=public_key,
        name=request.name,
        session=known.session + 1 if known else 1,
        session_sha256=session_sha256,
        capabilities=request.capabilities.model_dump_json(),
        telemetry="[]",
        paused=None,
        registered_at=known.registered_at if known else now,
        seen_at=now,
        agent_version=request.agent_version,
        runners=with_runners(known.runners if known else "{}", request.capabilities),
    )
    store.save(connection, miner)
    standing_offers.refresh(connection, context, miner_id, request.capabilities)
    api_key = None
    if known is None:
        key = access.new_key(context, Role.MINER, name=f"owner of {request.name}", miner_id=miner_id)
        access.store_key(connection, key)
        api_key = key.secret
    kept, ended = _end_old_sessions(connection, context, miner, request.holding)
    return miner, api_key, kept, ended


def require_not_excluded(record: MinerRecord) -> None:
    """Raise `MinerExcluded` for a miner that an operator has excluded."""
    if record.excluded_at is not None:
        raise exclusion_of(record.excluded_reason)


def exclusion_of(reason: str | None) -> MinerExcluded:
    """The answer to a miner that an operator has excluded for this reason."""
    because = f": {reason}" if reason else "."
    return MinerExcluded(f"The operator of this coordinator has excluded this miner{because}")


def with_runners(known: str, capabilities: Capabilities) -> str:
    """The runners that a miner has registered with those that it registers now, as JSON.

    Older ones stay: a result may be delivered after its miner has been upgraded.
    """
    runners: dict[str, list[list[str]]] = json.loads(known)
    for service, offer in capabilities.services.items():
        new = [offer.runner, offer.version]
        older = [runner for runner in runners.get(service, []) if runner != new]
        runners[service] = [*older, new][-MAX_RUNNERS:]
    return json.dumps(dict(list(runners.items())[-MAX_SERVICES:]))


def _check_enrolment(
    connection: Connection,
    context: Context,
    token: str | None,
    accept: Callable[[Connection, str, float], bool],
) -> None:
    """Raise `Forbidden` for a miner that may not join. `accept` looks at the token, or spends a use of it."""
    if context.settings.open_enrolment:
        return
    if token is None:
        raise Forbidden(
            "This coordinator does not know your miner's key. Ask its operator for an enrolment token "
            "(`aitbc-agent enroll` makes one) and start with `--enroll TOKEN`."
        )
    if not accept(connection, digest(token), context.clock()):
        raise Forbidden("The enrolment token is unknown, expired or used up; ask the operator for a new one.")


def _end_old_sessions(
    connection: Connection, context: Context, miner: MinerRecord, holding: list[Holding]
) -> tuple[list[Holding], int]:
    """What the new session keeps, and how many leases have ended with the older ones."""
    now = context.clock()
    held = {(item.job_id, item.fence) for item in holding}
    kept: list[Holding] = []
    ended = 0
    for record in job_store.leased_by(connection, miner.miner_id):
        lease = record.life.lease
        if lease is None or lease.session >= miner.session:
            continue
        if (record.job_id, lease.fence) not in held:
            _, effects = end_lease(connection, record, now, "the miner started anew", forget=True)
            ended += bool(effects)
            continue
        kept.append(Holding(job_id=record.job_id, fence=lease.fence))
        keep = Keep(miner.miner_id, lease.fence, miner.session, now, context.settings.lease_seconds)
        lifecycle.change(connection, record, keep, now)
    return kept, ended


def end_lease(
    connection: Connection, record: JobRecord, now: float, reason: str, *, forget: bool = False
) -> Transition:
    """End a lease that brought no result; the job waits again, or fails if it has been tried often enough."""
    event = Expire(now, f"The lease ended without a result: {reason}.", forget=forget)
    return lifecycle.change(connection, record, event, now)


async def session_of(context: Context, token: str | None) -> Session:
    """The session with this token. Raises `Unauthorized`, or `StaleSession` if a newer one has begun."""
    if not token:
        raise Unauthorized("Send the session token as `Authorization: Bearer TOKEN`.")
    sessions: dict[str, Session] = context.caches.setdefault("sessions", {})
    sha256 = digest(token)
    if (known := sessions.get(sha256)) is not None:
        return known
    # "session.<miner>.<number>.<secret>": who it is stands in the token, so that an older session's is told apart.
    _, miner_id, number, secret = parts if len(parts := token.split(".")) == 4 else ("", "", "", "")  # noqa: PLR2004
    record = await context.database.read(store.find, miner_id)
    if record is None or not number.isdecimal() or len(number) > MAX_DIGITS:
        raise Unauthorized("This session token is not valid; register again.")
    require_not_excluded(record)
    if int(number) < record.session:
        raise StaleSession(
            "A newer session of this miner has begun: another agent uses its key. Stop one of them."
        )
    if not secrets.compare_digest(record.session_sha256, digest(secret)):
        raise Unauthorized("This session token is not valid; register again.")
    # Read again as a message: an older program may have stored it, which did not know all that is asked of it now.
    capabilities = Capabilities.model_validate_json(record.capabilities).model_dump(mode="json")
    session = Session(
        record.miner_id, record.session, record.public_key, capabilities, json.loads(record.runners)
    )
    sessions[sha256] = session
    return session


async def heartbeat(context: Context, session: Session, request: Heartbeat) -> dict[str, Any]:
    """Renew the leases that the miner still holds; say which ones it does not, and what it is ordered to do."""
    leases, released, ordered = await context.database.write(_heartbeat, context, session, request)
    for job_id in released:
        log.warning("lease_undelivered", job_id=job_id, miner_id=session.miner_id)
        context.dispatcher.job_waiting()
    if request.capabilities is not None:
        _replace_capabilities(context, session, request.capabilities)
    renewed = [lease for lease in leases if lease["status"] == "renewed"]
    await context.feed.publish(
        [
            context.progress_of(
                lease["job_id"], lease.pop("account_id"), session.miner_id, lease.pop("progress")
            )
            for lease in renewed
        ]
    )
    if request.paused is None:
        ordered += await commands.commands_for(context, session.miner_id)
    return {"leases": leases, "commands": ordered}


def _replace_capabilities(context: Context, session: Session, capabilities: Capabilities) -> None:
    wire = capabilities.model_dump(mode="json")
    sessions: dict[str, Session] = context.caches.get("sessions", {})
    for sha256, known in list(sessions.items()):
        if known.miner_id == session.miner_id:
            runners = json.loads(with_runners(json.dumps(known.runners), capabilities))
            sessions[sha256] = Session(known.miner_id, known.number, known.public_key, wire, runners)
    port = context.dispatcher.connected(session.miner_id)
    if port is not None:
        port.capabilities = wire
        context.dispatcher.job_waiting()
    context.caches.pop("supply", None)


def _heartbeat(
    connection: Connection, context: Context, session: Session, request: Heartbeat
) -> tuple[list[dict[str, Any]], list[str], list[dict[str, Any]]]:
    """What to answer of each lease, the jobs whose leases never arrived, and the owner's commands."""
    now = context.clock()
    miner = store.find(connection, session.miner_id)
    if miner is None or miner.session != session.number:
        raise StaleSession("A newer session of this miner has begun; stop.")
    require_not_excluded(miner)
    store.touch(
        connection,
        session.miner_id,
        now,
        telemetry=json.dumps([gpu.model_dump(exclude_unset=True) for gpu in request.gpus]),
        capabilities=request.capabilities.model_dump_json() if request.capabilities else None,
        paused=request.paused,
        activity=request.activity.model_dump_json() if request.activity else None,
        runners=with_runners(miner.runners, request.capabilities) if request.capabilities else None,
    )
    command_store.remove(connection, session.miner_id, request.executed)
    if request.capabilities is not None:
        standing_offers.refresh(connection, context, session.miner_id, request.capabilities)
    records = job_store.find_many(connection, [lease.job_id for lease in request.leases])
    answers = []
    for lease in request.leases:
        answer: dict[str, Any] = {"job_id": lease.job_id, "fence": lease.fence}
        record = records.get(lease.job_id)
        renewed = _renew(connection, record, session, lease, now, context.settings.lease_seconds)
        if record is None or renewed is None or renewed.lease is None:
            cancelled = (
                record is not None
                and record.life.state is JobState.CANCELLED
                and record.life.fence == lease.fence
            )
            answers.append({**answer, "status": "cancelled" if cancelled else "lost"})
            continue
        progress = max(record.progress, lease.progress)
        expires_at = format_time(renewed.lease.expires_at)
        answers.append(
            {
                **answer,
                "status": "renewed",
                "lease_expires_at": expires_at,
                "progress": int(progress),
                "account_id": record.account_id,
            }
        )
    ordered = [
        commands.on_the_wire(command) for command in command_store.waiting(connection, session.miner_id)
    ]
    return answers, _release_unheard(connection, session, request, now), ordered


def _release_unheard(connection: Connection, session: Session, request: Heartbeat, now: float) -> list[str]:
    """Take back leases that the miner does not name: they got lost on their way to it, which is nobody's failure."""
    if len(request.leases) == MAX_LEASES:  # it may hold more than it can name
        return []
    named = {(lease.job_id, lease.fence) for lease in request.leases}
    released = []
    for record in job_store.leased_by(connection, session.miner_id):
        lease = record.life.lease
        if lease is None or record.life.state is not JobState.RUNNING or lease.session != session.number:
            continue
        if (record.job_id, lease.fence) in named or now - lease.assigned_at < ARRIVAL_SECONDS:
            continue
        lifecycle.change(connection, record, Release(session.miner_id, lease.fence, now), now)
        released.append(record.job_id)
    return released


def _renew(
    connection: Connection,
    record: JobRecord | None,
    session: Session,
    said: LeaseProgress,
    now: float,
    lease_seconds: float,
) -> Job | None:
    if record is None:
        return None
    event = Renew(session.miner_id, said.fence, session.number, now, lease_seconds)
    values: dict[str, Any] = {
        "progress": max(record.progress, said.progress),
        "units": metered(record, said.units, now),
    }
    try:
        return lifecycle.change(connection, record, event, now, **values)[0]
    except IllegalEvent:
        return None


def metered(record: JobRecord, said: Decimal | None, now: float) -> str:
    """The units of a run after its miner has reported `said`; what it says after the lease's last moment does not count."""
    lease = record.life.lease
    if said is None or lease is None or now > lease.last_moment:
        return record.units
    return str(said)


async def overview(context: Context) -> dict[str, Any]:
    """Miners, queue, and how many commits and writes the database has made since the start, for operators."""
    found = await context.database.read(_overview, context)
    database = context.database
    return {**found, "database": {"commits": database.commits, "writes": database.writes}}


def _overview(connection: Connection, context: Context) -> dict[str, Any]:
    seen_after = offline_before(context)
    miners = []
    for record in store.all_miners(connection):
        capabilities = json.loads(record.capabilities)
        miners.append(
            {
                "miner_id": record.miner_id,
                "name": record.name,
                "online": record.seen_at >= seen_after,
                "seen_at": format_time(record.seen_at),
                "session": record.session,
                "paused": record.paused,
                "excluded_at": None if record.excluded_at is None else format_time(record.excluded_at),
                "excluded_reason": record.excluded_reason,
                "services": sorted(capabilities["services"]),
                "unavailable": capabilities["unavailable"],
                "gpus": [gpu["name"] for gpu in capabilities["gpus"]],
                "slots": capabilities["slots"],
            }
        )
    return {"jobs": counts.by_state(connection), "miners": miners}
