"""A state machine that runs histories of clients, miners, clocks and restarts against the real operations on SQLite.

Only time and the network are simulated. Submissions, claims, renewals, deliveries and expiries go through the
same functions and transactions as in a running coordinator, and after each step the tables must be consistent.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from nacl.signing import SigningKey

from agent import __version__
from agent.catalogue import load_catalogue
from agent.coordinator.blobs.directory import ArtifactDirectory
from agent.coordinator.blobs.space import Space
from agent.coordinator.cluster import Bus
from agent.coordinator.connections import Connections
from agent.coordinator.dispatch.claims import claim, release_undelivered
from agent.coordinator.dispatch.dispatcher import Dispatcher
from agent.coordinator.feature import Opening
from agent.coordinator.features.log.fsck import examine
from agent.coordinator.features.log.sequencer import integrate
from agent.coordinator.feed.feed import Feed
from agent.coordinator.feed.hub import Hub
from agent.coordinator.installed import EXAMINERS, FEATURES, METRICS
from agent.coordinator.operations.accounts import access, bookings
from agent.coordinator.operations.callers import Caller, Session
from agent.coordinator.operations.context import Catalogue, Context, Features, Files, Monitoring
from agent.coordinator.operations.jobs import own_jobs, submitting
from agent.coordinator.operations.jobs.requests import JobRequest
from agent.coordinator.operations.miners import completion, events, heartbeats, leases, sessions
from agent.coordinator.port import candidate_of
from agent.coordinator.signer import Signer
from agent.coordinator.store import jobs as job_store
from agent.coordinator.store import run_outputs
from agent.coordinator.store.database import Connection
from agent.coordinator.store.run_outputs import StoredOutput
from agent.coordinator.store.schema.upgrade import prepare
from agent.coordinator.store.sqlite.database import SQLiteDatabase
from agent.core.errors import JobAlreadyCompleted, StaleLease, StaleSession
from agent.core.jobs import FINAL, JobState
from agent.metrics import Meter
from agent.protocol.answers import Registered
from agent.protocol.messages import (
    Heartbeat,
    Registration,
    RunEvents,
    RunFailure,
    RunRelease,
    RunResult,
)
from agent.settings import Settings
from agent.settings.coordinator import ConnectionSettings, CoordinatorSettings
from aitbc.answers.accounts import Role
from aitbc.canonical import b64encode
from aitbc.dsse import sign_detached
from aitbc.keys import registration_payload
from aitbc.statement import REGISTRATION_TYPE
from runners.registry import installed
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.histories.snapshot import read_snapshot
from support.servers.databases import create_database

T = TypeVar("T")
LEASE_SECONDS = 60.0
TIMEOUT_SECONDS = 300
START = 1_700_000_000.0
LOG_KEY = SigningKey.generate()
RESULTS = {"text": "hello", "units": 1.5}
MINERS = 3
CREDIT = Decimal(1_000)

Lease = dict[str, Any]


@dataclass
class PlayedMiner:
    """A miner with its running jobs and the results in its outbox."""

    identity: ScriptedMiner
    session: Session | None = None
    working: list[Lease] = field(default_factory=list)
    finished: list[Lease] = field(default_factory=list)
    online: bool = False

    @property
    def leases(self) -> list[Lease]:
        return self.working + self.finished

    def drop(self, lease: Lease) -> None:
        self.working = [held for held in self.working if held is not lease]
        self.finished = [held for held in self.finished if held is not lease]


class Clock:
    """A clock that advances only by rules."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


# Fixed keys, since ids decide ties between miners and a history must be reproducible.
IDENTITIES = [
    ScriptedMiner("http://127.0.0.1:9", SigningKey(bytes([number]) * 32)) for number in range(MINERS)
]
which = st.integers(0, MINERS - 1)
pick = st.integers(0, 50)


def store_output(connection: Connection, output: StoredOutput, size: int, now: float) -> None:
    """Store an output like a miner's upload."""
    if run_outputs.has_lease(connection, output.job_id, output.miner_id, output.fence):
        run_outputs.add(connection, output, size, now)


class Histories(RuleBasedStateMachine):
    """See the module."""

    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="histories-"))
        create_database(self.directory / "coordinator.db")
        self.runner = asyncio.Runner()
        self.clock = Clock()
        self.miners = [PlayedMiner(identity) for identity in IDENTITIES]
        self.job_ids: list[str] = []
        self.owners: dict[tuple[str, int], str] = {}
        self.seen: dict[str, Any] = {}
        self.checkpoints: dict[str, dict[str, Any]] = {}
        self.extended_until: dict[str, float] = {}
        self.context = self.open()

    def open(self) -> Context:
        database = SQLiteDatabase(self.directory / "coordinator.db", readers=1)
        database.open(prepare)
        hub = Hub()
        meter = Meter(METRICS)
        signer = Signer("histories.test", LOG_KEY)
        settings = CoordinatorSettings(open_enrolment=True, lease_seconds=LEASE_SECONDS)
        artifacts = ArtifactDirectory(self.directory / "artifacts", max_size=1)
        opening = Opening(
            Settings(data_dir=self.directory, coordinator=settings),
            self.directory,
            signer,
            self.directory / "log.key",
            database,
            artifacts,
            Bus(),
            self.clock,
        )
        return Context(
            settings=settings,
            database=database,
            feed=Feed(database, hub),
            features=Features(
                {feature.part: feature.open(opening) for feature in FEATURES if feature.open is not None}
            ),
            dispatcher=Dispatcher(settings, database, self.clock, meter),
            monitoring=Monitoring(meter),
            files=Files(artifacts, Space(self.directory / "artifacts", self.directory, reserve=0), bytes(32)),
            signer=signer,
            catalogue=Catalogue(
                {name: runner.definition for name, runner in installed().items()}, load_catalogue()
            ),
            clock=self.clock,
            connections=Connections(ConnectionSettings(), meter, descriptors=1024),
        )

    def do(self, work: Awaitable[T]) -> T:
        async def run() -> T:
            return await work

        return self.runner.run(run())

    def teardown(self) -> None:
        try:
            self.the_log_is_complete()
        finally:
            self.clean_up()

    def the_log_is_complete(self) -> None:
        """Check that receipts and settlements are leaves, once each, and consistent with the database."""
        database, signer = self.context.database, self.context.signer
        self.do(database.write(integrate, signer, self.clock()))
        examination = self.do(database.read(examine, signer.vkey, {}, EXAMINERS))
        assert examination.problems == []
        assert examination.leaves == examination.receipts + examination.settlements

    def clean_up(self) -> None:
        self.context.database.close()
        self.runner.close()
        shutil.rmtree(self.directory)

    @initialize(max_attempts=st.lists(st.integers(1, 3), min_size=1, max_size=3))
    def begin(self, max_attempts: list[int]) -> None:
        """Start with a client, miners and jobs."""
        account_id = self.do(access.create_account(self.context, "client"))
        self.do(bookings.add_credit(self.context, account_id, CREDIT))
        self.client = Caller(Role.CLIENT, account_id)
        for which in range(MINERS):
            self.start_miner(which)
        for attempts in max_attempts:
            self.submit(attempts)

    # Clients ------------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.job_ids) < 6)
    @rule(max_attempts=st.integers(1, 3))
    def submit(self, max_attempts: int) -> None:
        self.clock.now += 0.001  # ids start with the time, and jobs are claimed in the order of their ids
        request = JobRequest(
            type="whisper-transcription",
            parameters={"audio_url": "https://example.com/a.mp3", "model": "base"},
            timeout_seconds=TIMEOUT_SECONDS,
            max_attempts=max_attempts,
        )
        self.job_ids.append(self.do(submitting.submit(self.context, self.client, request)).job_id)

    @precondition(lambda self: self.job_ids)
    @rule(pick=pick)
    def cancel(self, pick: int) -> None:
        job_id = self.job_ids[pick % len(self.job_ids)]
        before = self.job(job_id).life.state
        try:
            answer = self.do(own_jobs.cancel(self.context, self.client, job_id))
        except JobAlreadyCompleted:
            assert before in (JobState.COMPLETED, JobState.FAILED)
        else:
            assert answer.status == "cancelled"

    # Miners -------------------------------------------------------------------------------------------------------

    @rule(which=which)
    def start_miner(self, which: int) -> None:
        """Register, also again after a crash: running jobs are lost, and results in the outbox are reported."""
        miner = self.miners[which]
        older = miner.session
        miner.working = []
        answer = self.do(self.register(miner))
        resumed = {(held.job_id, held.fence) for held in answer.keep}
        for lease in list(miner.finished):
            if (lease["job_id"], lease["fence"]) not in resumed:
                miner.drop(lease)
        for job_id, fence in resumed:
            life = self.job(job_id).life
            # A resumed lease is live: no other miner gets a job whose result is in the outbox. After the lease's last
            # moment the result is still accepted, but other miners may get the job.
            assert life.fence == fence
            assert life.lease is not None
            assert life.lease.session == answer.session
            assert life.state is JobState.RUNNING or life.lease.last_moment <= self.clock()
            assert life.lease.expires_at <= max(self.extended_until.get(job_id, 0.0), life.lease.last_moment)
        miner.session = self.do(sessions.session_of(self.context, answer.session_token))
        miner.online = True
        if older is not None:
            with pytest.raises(StaleSession):
                self.do(heartbeats.heartbeat(self.context, older, Heartbeat()))

    async def register(self, miner: PlayedMiner) -> Registered:
        challenge = await sessions.challenge(self.context)
        public_key = bytes(miner.identity.key.verify_key)
        payload = registration_payload(challenge.nonce, challenge.origin, public_key)
        body = {
            "nonce": challenge.nonce,
            "public_key": b64encode(public_key),
            "signature": sign_detached(REGISTRATION_TYPE, payload, miner.identity.key),
            "name": "played",
            "agent_version": __version__,
            "capabilities": capabilities(),
            "holding": [
                {"job_id": lease["job_id"], "fence": lease["fence"]} for lease in miner.finished
            ],
        }  # fmt: skip
        registered = await sessions.register(self.context, Registration.model_validate(body))
        miner.identity.registration = registered.model_dump()
        return registered

    @rule(which=which)
    def switch_connection(self, which: int) -> None:
        """Disconnect or reconnect a miner, which continues to work."""
        self.miners[which].online = not self.miners[which].online

    @precondition(lambda self: any(miner.online for miner in self.miners))
    @rule(slots=st.integers(1, 3), lost=st.booleans())
    def claim(self, slots: int, lost: bool) -> None:
        """Run one round of dispatching; `lost` leases reach no connection."""
        online = [miner for miner in self.miners if miner.online]
        candidates = [
            candidate_of(miner.session.miner_id, miner.session.number, slots, miner.session.capabilities)
            for miner in online
            if miner.session
        ]
        given, _ = self.do(
            self.context.database.write(claim, candidates, self.clock(), self.context.settings)
        )  # fmt: skip
        by_id = {miner.identity.miner_id: miner for miner in online}
        for assignment in given:
            key = (assignment.job.job_id, assignment.job.fence)
            assert key not in self.owners
            self.owners[key] = assignment.candidate.miner_id
            known = self.checkpoints.get(assignment.job.job_id, {})
            assert assignment.message["checkpoints"] == [known[name] for name in sorted(known)]
        if lost:
            undelivered = [(item.candidate.miner_id, item.job.job_id, item.job.fence) for item in given]
            self.do(self.context.database.write(release_undelivered, undelivered, self.clock()))
        else:
            for assignment in given:
                by_id[assignment.candidate.miner_id].working.append(dict(assignment.message))

    def leases_of(self, kind: str) -> list[tuple[PlayedMiner, Lease]]:
        """Return the leases of connected miners that are running or whose results are in the outbox."""
        return [(miner, lease) for miner in self.miners if miner.online for lease in getattr(miner, kind)]

    def one(self, pick: int, kind: str = "working") -> tuple[PlayedMiner, Session, Lease]:
        found = self.leases_of(kind)
        miner, lease = found[pick % len(found)]
        assert miner.session is not None
        return miner, miner.session, lease

    @precondition(lambda self: self.leases_of("working"))
    @rule(pick=pick)
    def finish(self, pick: int) -> None:
        """Finish a run and put its result into the outbox."""
        miner, _, lease = self.one(pick)
        miner.drop(lease)
        miner.finished.append(lease)

    @precondition(lambda self: self.leases_of("leases"))
    @rule(which=which)
    def heartbeat(self, which: int) -> None:
        miner = self.miners[which]
        if not miner.online or miner.session is None:
            return
        body = {
            "leases": [
                {"job_id": lease["job_id"], "fence": lease["fence"], "progress": 40} for lease in miner.leases
            ]
        }
        answer = self.do(heartbeats.heartbeat(self.context, miner.session, Heartbeat.model_validate(body)))
        for lease, outcome in zip(miner.leases, answer.leases, strict=True):
            life = self.job(lease["job_id"]).life
            newest = self.is_newest(miner, lease)
            if outcome.status == "renewed":
                assert newest
                assert life.state is JobState.RUNNING
            elif outcome.status == "cancelled":
                assert life.state is JobState.CANCELLED
                miner.drop(lease)
            elif newest and life.state is JobState.SUBMITTED and life.lease is not None:
                assert life.lease.last_moment <= self.clock()  # a finished result may still be delivered
            else:
                assert not newest or life.state in FINAL
                miner.drop(lease)

    @precondition(lambda self: self.leases_of("working"))
    @rule(pick=pick)
    def report_progress(self, pick: int) -> None:
        miner, session, lease = self.one(pick)
        message = RunEvents.model_validate(
            {
                "fence": lease["fence"],
                "events": [{"kind": "progress", "data": {"progress": 41, "units": "1"}}],
            }
        )
        with suppress(StaleLease):
            self.do(events.pass_on(self.context, session, lease["job_id"], message))
            assert self.is_newest(miner, lease)

    @precondition(lambda self: self.leases_of("working"))
    @rule(pick=pick, frame=st.integers(0, 2))
    def store_checkpoint(self, pick: int, frame: int) -> None:
        """Store a checkpoint, which later runs of the job receive, regardless of this run's outcome."""
        miner, session, lease = self.one(pick)
        stored = StoredOutput(
            lease["job_id"], f"sha256:{frame:064}", session.miner_id, lease["fence"], "application/json"
        )
        self.do(self.context.database.write(store_output, stored, frame, self.clock()))
        output = {
            "artifact_id": stored.artifact_id, "name": f"part_{frame % 2:04}.json", "media_type": "application/json", "size": frame,
            "extra": {"frame": frame},
        }  # fmt: skip
        message = RunEvents.model_validate(
            {"fence": lease["fence"], "events": [{"kind": "output", "data": output}]}
        )
        with suppress(StaleLease):
            self.do(events.pass_on(self.context, session, lease["job_id"], message))
            assert self.is_newest(miner, lease)
            self.checkpoints.setdefault(lease["job_id"], {})[output["name"]] = output

    @precondition(lambda self: self.leases_of("finished"))
    @rule(pick=pick, repeated=st.booleans())
    def deliver(self, pick: int, repeated: bool) -> None:
        """Send a result, possibly twice because a response was lost."""
        miner, session, lease = self.one(pick, "finished")
        before = self.job(lease["job_id"]).life
        body = RunResult.model_validate(miner.identity.result_body(lease, RESULTS))
        newest = self.is_newest(miner, lease)
        try:
            answer = self.do(completion.complete(self.context, session, lease["job_id"], body))
        except StaleLease:
            # A result is refused only if its job does not need one any more.
            assert not newest or before.state in FINAL or before.lease is None
        else:
            assert newest
            if repeated:
                again = self.do(completion.complete(self.context, session, lease["job_id"], body))
                assert again == answer
        miner.drop(lease)

    @precondition(lambda self: self.leases_of("working"))
    @rule(
        pick=pick,
        kind=st.sampled_from(["retry", "fail"]),
        units=st.sampled_from([None, "0", "2.5", "1000000"]),
        repeated=st.booleans(),
    )
    def fail(self, pick: int, kind: str, units: str | None, repeated: bool) -> None:
        """Fail a run because of the machine, or because of the client, who then pays the units."""
        miner, session, lease = self.one(pick)
        request = RunFailure.model_validate(
            {"fence": lease["fence"], "kind": kind, "code": "BROKEN", "message": "It broke.", "units": units}
        )
        newest = self.is_newest(miner, lease)
        with suppress(StaleLease):
            answer = self.do(leases.fail(self.context, session, lease["job_id"], request))
            assert newest
            if repeated and kind == "fail":
                assert answer == self.do(leases.fail(self.context, session, lease["job_id"], request))
        miner.drop(lease)

    @precondition(lambda self: self.leases_of("working"))
    @rule(pick=pick)
    def release(self, pick: int) -> None:
        miner, session, lease = self.one(pick)
        newest = self.is_newest(miner, lease)
        before = self.job(lease["job_id"]).life
        request = RunRelease(fence=lease["fence"])
        with suppress(StaleLease):
            self.do(leases.release(self.context, session, lease["job_id"], request))
            assert newest
            after = self.job(lease["job_id"]).life
            assert after.attempts == before.attempts - (before.state is JobState.RUNNING)
        miner.drop(lease)

    @precondition(lambda self: self.leases_of("working"))
    @rule(pick=pick, other=which)
    def meddle(self, pick: int, other: int) -> None:
        """Send a message about another miner's lease, which must change nothing."""
        miner, _, lease = self.one(pick)
        stranger = self.miners[other]
        if miner is stranger or stranger.session is None or self.is_newest(stranger, lease):
            return
        before = self.job(lease["job_id"])
        # The heartbeat also contains the miner's own leases, or they would count as undelivered.
        named = [{"job_id": item["job_id"], "fence": item["fence"]} for item in (lease, *stranger.leases)]
        body = {"leases": named}
        answer = self.do(heartbeats.heartbeat(self.context, stranger.session, Heartbeat.model_validate(body)))
        assert answer.leases[0].status in ("lost", "cancelled")
        message = RunEvents.model_validate(
            {"fence": lease["fence"], "events": [{"kind": "segment", "data": {}}]}
        )
        for work in (
            leases.release(self.context, stranger.session, lease["job_id"], RunRelease(fence=lease["fence"])),
            events.pass_on(self.context, stranger.session, lease["job_id"], message),
        ):
            with pytest.raises(StaleLease):
                self.do(work)
        assert self.job(lease["job_id"]) == before

    # Time and the coordinator -------------------------------------------------------------------------------------

    @rule(
        seconds=st.sampled_from([1.0, 20.0, LEASE_SECONDS + 1, TIMEOUT_SECONDS + 40.0]), expire=st.booleans()
    )
    def wait(self, seconds: float, expire: bool) -> None:
        self.clock.now += seconds
        if expire:
            self.do(leases.expire_due(self.context))
            assert self.do(leases.expire_due(self.context)) == 0

    @rule(away=st.sampled_from([0.0, 3600.0]))
    def restart_coordinator(self, away: float) -> None:
        """Restart the coordinator; no miner loses its lease."""
        running = {
            record.job_id: record.life for record in self.jobs() if record.life.state is JobState.RUNNING
        }
        self.context.database.close()
        self.clock.now += away
        self.context = self.open()
        self.do(leases.start_over(self.context))
        for job_id in running:  # a restart extends leases with any deadline
            self.extended_until[job_id] = self.clock() + LEASE_SECONDS
        self.do(leases.expire_due(self.context))
        for job_id, life in running.items():
            after = self.job(job_id).life
            assert after.lease is not None
            assert after.lease.expires_at >= self.clock() + LEASE_SECONDS
            assert (after.state, after.fence, after.attempts) == (life.state, life.fence, life.attempts)

    # Invariants ------------------------------------------------------------------------------------------

    def jobs(self) -> list[job_store.JobRecord]:
        return list(self.do(self.context.database.read(job_store.find_many, self.job_ids)).values())

    def job(self, job_id: str) -> job_store.JobRecord:
        record = self.do(self.context.database.read(job_store.find, job_id))
        assert record is not None
        return record

    def is_newest(self, miner: PlayedMiner, lease: Lease) -> bool:
        life = self.job(lease["job_id"]).life
        return (
            life.fence == lease["fence"]
            and self.owners[lease["job_id"], life.fence] == miner.identity.miner_id
        )

    @invariant()
    def the_tables_are_consistent(self) -> None:
        Histories.steps += 1
        snapshot = self.do(self.context.database.read(read_snapshot))
        snapshot.check(self.owners, self.client.account_id or "", CREDIT)
        for record in snapshot.jobs:
            before = self.seen.get(record.job_id)
            if before is not None:
                assert record.life.fence >= before.life.fence
                assert before.life.state not in FINAL or record == before
            self.seen[record.job_id] = record
