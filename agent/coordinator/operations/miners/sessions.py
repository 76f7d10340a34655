"""Miners' registration, sessions and heartbeats."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Final

import structlog

from agent import __version__
from agent.coordinator import hooks, lifecycle
from agent.coordinator.consequences import Change
from agent.coordinator.hooks import MinerReport
from agent.coordinator.metrics import REGISTRATIONS
from agent.coordinator.operations.accounts import access
from agent.coordinator.operations.accounts.access import digest
from agent.coordinator.operations.callers import SESSION_PREFIX, Session
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import locks, miners, running
from agent.coordinator.store.access import has_enrolment, use_enrolment
from agent.coordinator.store.jobs import JobRecord
from agent.coordinator.store.miners import MinerRecord
from agent.core.errors import ApiError, Forbidden, MinerExcluded, StaleSession, Unauthorized, VersionMismatch
from agent.core.jobs import Expire, Keep
from agent.core.values.quantities import format_time
from agent.core.versions import version_problem
from agent.protocol.answers import (
    Admission,
    Challenge,
    HeldLease,
    Registered,
    SessionSettings,
)
from agent.protocol.messages import (
    MAX_SERVICES,
    AdmissionRequest,
    Capabilities,
    Holding,
    KeyProof,
    Registration,
)
from aitbc import keys
from aitbc.answers.accounts import Role
from aitbc.canonical import b64decode
from aitbc.dsse import verify_detached
from aitbc.errors import VerificationError
from aitbc.statement import REGISTRATION_TYPE

CHALLENGE_SECONDS: Final = 60.0
CACHE_SECONDS: Final = 30.0
"""How long a session is accepted without a look-up in the database, should no message say that it has ended."""
MAX_DIGITS: Final = 15
MAX_RUNNERS: Final = 40
"""Versions of a service's runner that are stored for a miner, enough for a few upgrades."""

log = structlog.get_logger()


async def challenge(context: Context) -> Challenge:
    """Return a nonce to sign."""
    nonce = secrets.token_urlsafe(24)
    now = context.clock()
    await context.database.write(miners.add_challenge, nonce, now, now + CHALLENGE_SECONDS)
    return Challenge(
        nonce=nonce,
        origin=context.signer.origin,
        expires_at=format_time(now + CHALLENGE_SECONDS),
        version=__version__,
    )


async def admission(context: Context, request: AdmissionRequest) -> Admission:
    """Return whether `register` would accept a miner, without spending its token.

    Only a caller that proves to have a miner's key learns whether that miner is known. Raises `Unauthorized` for a bad proof.
    """
    miner_id = None
    if request.proof is not None:
        # The nonce is used only after the signature is valid: nobody can use up another caller's challenge.
        miner_id = keys.miner_id(_check_signature(context, request.proof))
        await context.database.write(spend_challenge, request.proof.nonce, context.clock())
    return await context.database.read(_admission, context, miner_id, request.enrolment_token)


def _admission(
    connection: Connection, context: Context, miner_id: str | None, token: str | None
) -> Admission:
    former = None if miner_id is None else miners.find_former(connection, miner_id)
    try:
        _admit(connection, context, former, token, has_enrolment)
    except Forbidden as error:
        return Admission(admitted=False, reason=str(error))
    return Admission(admitted=True, reason=None)


def spend_challenge(connection: Connection, nonce: str, now: float) -> None:
    """Use a nonce. Raises `Unauthorized` for one that is unknown, used or too old."""
    if not miners.use_challenge(connection, nonce, now):
        raise Unauthorized("The nonce is unknown, used or older than a minute. Request a new challenge.")


async def register(context: Context, request: Registration) -> Registered:
    """Open a new session.

    Raises `Unauthorized` for a bad signature, `VersionMismatch`, or `Forbidden` for a miner that may not join.
    """
    public_key = _check_signature(context, request)
    problem = version_problem(request.agent_version, __version__)
    if problem is not None:
        miner_id = keys.miner_id(public_key)
        await context.database.write(_note_version, request, miner_id, context.clock())
        log.warning("miner_version_refused", miner_id=miner_id, agent_version=request.agent_version)
        raise VersionMismatch(problem)
    secret = secrets.token_urlsafe(32)
    miner, api_key, retained, ended = await context.database.write(
        _register, context, request, public_key, digest(secret)
    )
    token = f"{SESSION_PREFIX}{miner.miner_id}.{miner.session}.{secret}"
    context.caches.forget_sessions()
    context.monitoring.meter.count(REGISTRATIONS)
    context.dispatcher.end_connections(
        miner.miner_id, StaleSession("A newer session of this miner has begun."), newer_session=miner.session
    )
    # Jobs may have waited for this very miner, by its id or for a model that only it has.
    context.dispatcher.job_waiting()
    log.info(
        "miner_registered",
        miner_id=miner.miner_id,
        session=miner.session,
        retained=len(retained),
        ended=ended,
    )
    settings = context.settings
    return Registered(
        miner_id=miner.miner_id,
        session=miner.session,
        session_token=token,
        log_key=context.signer.vkey,
        origin=context.signer.origin,
        api_key=api_key,
        settings=SessionSettings(
            lease_seconds=settings.lease_seconds,
            heartbeat_seconds=settings.heartbeat_seconds,
            poll_seconds=settings.poll_seconds,
        ),
        keep=retained,
        engine_versions=True,
        version=__version__,
        fee_percent=settings.fee_percent,
    )


def _check_signature(context: Context, request: KeyProof) -> bytes:
    try:
        public_key = b64decode(request.public_key)
        payload = keys.registration_payload(request.nonce, context.signer.origin, public_key)
        good = verify_detached(REGISTRATION_TYPE, payload, request.signature, public_key)
    except VerificationError as error:
        raise Unauthorized(f"The signature cannot be checked: {error}") from None
    if not good:
        raise Unauthorized("The signature does not match the key, the nonce and this log's origin.")
    return public_key


def _register(
    connection: Connection, context: Context, request: Registration, public_key: bytes, session_sha256: str
) -> tuple[MinerRecord, str | None, list[HeldLease], int]:
    now = context.clock()
    spend_challenge(connection, request.nonce, now)
    miner_id = keys.miner_id(public_key)
    # Two agents with the same key may register at once: one of them must get the higher number.
    locks.session(connection, miner_id)
    # Before the miner's row, which results refer to: jobs are always locked first.
    leased = running.leased_by(connection, miner_id)
    former = miners.find_former(connection, miner_id)
    is_new = former is None or former.removed_at is not None
    token = request.enrolment_token
    enrolment_id = _admit(connection, context, former, token, use_enrolment)
    miner = MinerRecord(
        miner_id=miner_id,
        public_key=public_key,
        name=request.name,
        session=former.session + 1 if former else 1,
        session_sha256=session_sha256,
        capabilities=request.capabilities.model_dump_json(),
        telemetry="[]",
        paused=None,
        registered_at=now if former is None or is_new else former.registered_at,
        seen_at=now,
        agent_version=request.agent_version,
        runners=with_runners(former.runners if former else "{}", request.capabilities),
        enrolment_id=enrolment_id or (former.enrolment_id if former else None),
    )
    miners.save(connection, miner)
    hooks.miner_reported(connection, context, MinerReport(miner_id, request.capabilities, joins=is_new))
    api_key = None
    # Only once: the key is shown to the miner's owner, who would otherwise collect one with every restart.
    if is_new:
        key = access.new_key(context, Role.MINER, name=f"owner of {request.name}", miner_id=miner_id)
        access.store_key(connection, key)
        api_key = key.secret
    retained, ended = _end_old_sessions(connection, context, miner, leased, request.holding)
    return miner, api_key, retained, ended


def _note_version(connection: Connection, request: Registration, miner_id: str, now: float) -> None:
    """Store the version of a refused miner, for its owner and the operator."""
    spend_challenge(connection, request.nonce, now)
    miners.set_agent_version(connection, miner_id, request.agent_version)


def require_not_excluded(record: MinerRecord) -> None:
    """Raise `MinerExcluded` for a miner that an operator has excluded."""
    if record.excluded_at is not None:
        raise exclusion_of(record.excluded_reason)


def exclusion_of(reason: str | None) -> MinerExcluded:
    """Return the error for an excluded miner."""
    because = f": {reason}" if reason else "."
    return MinerExcluded(f"The operator of this coordinator has excluded this miner{because}")


def with_runners(stored_runners: str, capabilities: Capabilities) -> str:
    """Return the runners that a miner has registered, as JSON, with those of its current capabilities added.

    Older versions are retained, since a result may be delivered after its miner has been upgraded.
    """
    runners: dict[str, list[list[str]]] = json.loads(stored_runners)
    for service, offer in capabilities.services.items():
        offered = [[offer.runner, version] for version in dict.fromkeys([*offer.versions, offer.version])]
        older = [runner for runner in runners.get(service, []) if runner not in offered]
        runners[service] = [*older, *offered][-MAX_RUNNERS:]
    return json.dumps(dict(list(runners.items())[-MAX_SERVICES:]))


def _admit(
    connection: Connection,
    context: Context,
    former: MinerRecord | None,
    token: str | None,
    accept: Callable[[Connection, str, float], str | None],
) -> str | None:
    """Return the id of the token with which a new or removed miner joins; None if it needs none.

    `accept` checks the token, or spends a use of it. Raises `Forbidden` for a miner that may not join.
    """
    if former is not None:
        require_not_excluded(former)
        if former.removed_at is None:
            return None
    if context.settings.open_enrolment:
        return None
    if token is None:
        raise Forbidden(
            "This coordinator does not know your miner's key. Ask its operator for an enrolment token "
            "(`aitbc-agent enroll` makes one) and start with `--enroll TOKEN`."
        )
    enrolment_id = accept(connection, digest(token), context.clock())
    if enrolment_id is None:
        raise Forbidden(
            "The enrolment token is unknown, expired, revoked or used up. Ask the operator for a new one."
        )
    return enrolment_id


def _end_old_sessions(
    connection: Connection,
    context: Context,
    miner: MinerRecord,
    leased: list[JobRecord],
    holding: list[Holding],
) -> tuple[list[HeldLease], int]:
    """Move the leases in `holding` to the new session and end the others. Return the former and the number of the latter."""
    now = context.clock()
    reported = {(item.job_id, item.fence) for item in holding}
    retained: list[HeldLease] = []
    renewed: list[Change] = []
    ends: list[Change] = []
    for record in leased:
        lease = record.life.lease
        if lease is None or lease.session >= miner.session:
            continue
        # The agent has lost the run, e.g. by a restart. Waiting for the lease to expire would only delay the job.
        if (record.job_id, lease.fence) not in reported:
            ends.append(lease_end(record, now, "the miner restarted", forget=True))
            continue
        retained.append(HeldLease(job_id=record.job_id, fence=lease.fence))
        keep = Keep(miner.miner_id, lease.fence, miner.session, now, context.settings.lease_seconds)
        renewed.append(Change.by(record, keep))
    lifecycle.save(connection, renewed + ends, now)
    return retained, sum(bool(item.effects) for item in ends)


def lease_end(record: JobRecord, now: float, reason: str, *, forget: bool = False) -> Change:
    """Return the end of a lease without a result. The job is queued again, or fails after its last allowed attempt."""
    return Change.by(record, Expire(now, f"The lease ended without a result: {reason}.", forget=forget))


async def session_of(context: Context, token: str | None) -> Session:
    """Return the session with this token. Raises `Unauthorized`, or `StaleSession` if a newer one has begun."""
    if not token:
        raise Unauthorized("Send the session token as `Authorization: Bearer TOKEN`.")
    sessions = context.caches.sessions
    sha256 = digest(token)
    cached = sessions.get(sha256)
    if cached is not None and context.clock() - cached[0] < CACHE_SECONDS:
        return cached[1]
    # "session.<miner>.<number>.<secret>": the token names the miner and the session, so that an older session is recognised.
    _, miner_id, number, secret = parts if len(parts := token.split(".")) == 4 else ("", "", "", "")  # noqa: PLR2004
    record = await context.database.read(miners.find, miner_id)
    if record is None or not number.isdecimal() or len(number) > MAX_DIGITS:
        raise Unauthorized("This session token is not valid; register again.")
    require_not_excluded(record)
    # Not just invalid: the older agent must stop instead of registering again, or the two would push each other out for ever.
    if int(number) < record.session:
        raise StaleSession(
            "A newer session of this miner has begun: another agent uses its key. Stop one of them."
        )
    if not secrets.compare_digest(record.session_sha256, digest(secret)):
        raise Unauthorized("This session token is not valid; register again.")
    # The coordinator was upgraded since, and this version may no longer speak the miner's.
    if version_problem(record.agent_version, __version__) is not None:
        raise Unauthorized("The session began with another version of the coordinator; register again.")
    # Validated again, since an older version may have stored capabilities without all fields of this one.
    capabilities = Capabilities.model_validate_json(record.capabilities).model_dump(mode="json")
    session = Session(
        record.miner_id, record.session, record.public_key, capabilities, json.loads(record.runners)
    )
    sessions[sha256] = context.clock(), session
    return session


async def end_session_of_key(context: Context, miner_id: str) -> None:
    """End the session of a miner whose owner's key was revoked. The miner registers again with its own key and keeps its leases."""
    # The stored digest becomes that of a secret that nobody has, so the token is refused by every replica.
    await context.database.write(miners.end_session, miner_id, digest(secrets.token_urlsafe(32)))
    end_session(context, miner_id, Unauthorized("A key of this miner was revoked; register again."))


def end_session(context: Context, miner_id: str, why: ApiError) -> None:
    """End the connections of a miner whose session is no longer valid, and have it forgotten."""
    context.caches.forget_sessions()
    context.dispatcher.end_connections(miner_id, why)
