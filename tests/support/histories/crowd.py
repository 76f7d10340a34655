"""Random histories on PostgreSQL with real concurrency: clients, miners, leaders, an operator and upkeep at the same time.

Every step goes through a use case of a running coordinator, whose writes overlap. Each refuses what it must; at the end, money,
numbers, receipts and the log must agree.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import text

from agent import __version__
from agent.coordinator.dispatch.claims import claim, release_undelivered
from agent.coordinator.features.exclusion import exclusion
from agent.coordinator.features.log.fsck import examine
from agent.coordinator.features.log.sequencer import integrate
from agent.coordinator.features.reputation import counting
from agent.coordinator.installed import EXAMINERS
from agent.coordinator.operations.accounts import access, bookings
from agent.coordinator.operations.callers import Caller, Session
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.jobs import own_jobs, submitting
from agent.coordinator.operations.jobs.requests import JobRequest
from agent.coordinator.operations.miners import completion, heartbeats, leases, sessions
from agent.coordinator.port import candidate_of
from agent.coordinator.store import counts, ledger
from agent.coordinator.store.database import Connection
from agent.core.errors import (
    ApiError,
    CannotRun,
    Conflict,
    InsufficientBalance,
    JobAlreadyCompleted,
    MinerExcluded,
    StaleLease,
    StaleSession,
    Unauthorized,
)
from agent.protocol.messages import Heartbeat, Registration, RunFailure, RunRelease, RunResult
from aitbc.answers.accounts import Role
from aitbc.canonical import b64encode
from aitbc.dsse import sign_detached
from aitbc.keys import registration_payload
from aitbc.statement import REGISTRATION_TYPE
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.recent import fold_everything

RESULTS: Final = {"text": "hello", "units": 1.5}
EXPECTED: Final = (
    CannotRun,
    Conflict,
    InsufficientBalance,
    JobAlreadyCompleted,
    MinerExcluded,
    StaleLease,
    StaleSession,
    Unauthorized,
)
"""What a call may be refused for because another one was first."""
FEW: Final = 3
LATER: Final = 10_000.0
"""Seconds after which every lease has expired."""


class Player:
    """A miner with the leases that it knows of."""

    def __init__(self, seed: int) -> None:
        self.identity = ScriptedMiner("http://127.0.0.1:9")
        self.session: Session | None = None
        self.leases: list[dict[str, Any]] = []
        self.seed = seed

    async def register(self, context: Context) -> None:
        """Open a session with the leases that it still holds."""
        challenge = await sessions.challenge(context)
        public_key = bytes(self.identity.key.verify_key)
        payload = registration_payload(challenge.nonce, challenge.origin, public_key)
        body = {
            "nonce": challenge.nonce,
            "public_key": b64encode(public_key),
            "signature": sign_detached(REGISTRATION_TYPE, payload, self.identity.key),
            "name": "player",
            "agent_version": __version__,
            "capabilities": capabilities(),
            "holding": [{"job_id": lease["job_id"], "fence": lease["fence"]} for lease in self.leases],
        }
        registered = await sessions.register(context, Registration.model_validate(body))
        self.identity.registration = registered.model_dump()
        held_now = {(held.job_id, held.fence) for held in registered.keep}
        self.leases = [lease for lease in self.leases if (lease["job_id"], lease["fence"]) in held_now]
        self.session = await sessions.session_of(context, registered.session_token)


class Crowd:
    """Plays `steps` steps, about `width` of them at a time."""

    def __init__(
        self, context: Context, *, seed: int, steps: int, clients: int = 4, miners: int = 6, width: int = 16
    ) -> None:
        self.context = context
        self.random = random.Random(seed)  # noqa: S311 - repeats a history's choices
        self.left = steps
        self.width = width
        self.clients: list[Caller] = []
        self.players = [Player(number) for number in range(miners)]
        self.number_of_clients = clients
        self.job_ids: list[str] = []
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    async def play(self) -> None:
        """Play all steps, then end what is unfinished, and check."""
        for number in range(self.number_of_clients):
            account_id = await access.create_account(self.context, f"client {number}")
            await bookings.add_credit(self.context, account_id, Decimal(50))
            self.clients.append(Caller(Role.CLIENT, account_id))
        for player in self.players:
            await player.register(self.context)
        await asyncio.gather(*(self._actor() for _ in range(self.width)))

    async def _actor(self) -> None:
        names = list(STEPS)
        weights = [weight for weight, _ in STEPS.values()]
        while self.left > 0:
            self.left -= 1
            (name,) = self.random.choices(names, weights)
            try:
                await STEPS[name][1](self)
            except EXPECTED as error:
                self.refused[f"{name}: {type(error).__name__}"] += 1
            except ApiError as error:
                raise AssertionError(f"{name} was refused: {error}") from error
            self.done[name] += 1

    async def submit(self) -> None:
        request = JobRequest.model_validate(
            {
                "type": "whisper-transcription",
                "parameters": {"audio_url": "https://example.com/a.mp3", "model": "base"},
                "max_attempts": self.random.randint(1, FEW),
                "pricing": {"max_cost": str(self.random.choice([1, 2, 7]))},
            }
        )
        key = str(self.random.randint(1, 10**4))
        created = await submitting.submit(self.context, self.random.choice(self.clients), request, key)
        self.job_ids.append(created.job_id)
        del self.job_ids[:-500]

    async def cancel(self) -> None:
        if self.job_ids:
            job_id = self.random.choice(self.job_ids)
            for client in self.clients:
                if await self._owns(client, job_id):
                    await own_jobs.cancel(self.context, client, job_id)

    async def _owns(self, client: Caller, job_id: str) -> bool:
        query = text("SELECT account_id FROM jobs WHERE job_id = :id")

        def read(connection: Connection) -> bool:
            return bool(connection.execute(query, {"id": job_id}).scalar() == client.account_id)

        return await self.context.database.read(read)

    async def claim(self) -> None:
        """One round of matching, as two leaders at once would run it."""
        players = {player.identity.miner_id: player for player in self.players if player.session is not None}
        candidates = [
            candidate_of(miner_id, player.session.number, 2, player.session.capabilities)
            for miner_id, player in players.items()
            if player.session is not None
        ]
        given, _ = await self.context.database.write(claim, candidates, time.time(), self.context.settings)
        if self.random.random() < 0.1:
            undelivered = [(item.candidate.miner_id, item.job.job_id, item.job.fence) for item in given]
            await self.context.database.write(release_undelivered, undelivered, time.time())
            return
        for assignment in given:
            players[assignment.candidate.miner_id].leases.append(dict(assignment.message))

    def _one(self) -> tuple[Player, Session, dict[str, Any]] | None:
        holding = [player for player in self.players if player.leases and player.session is not None]
        if not holding:
            return None
        player = self.random.choice(holding)
        lease = self.random.choice(player.leases)
        assert player.session is not None
        return player, player.session, lease

    def _drop(self, player: Player, lease: dict[str, Any]) -> None:
        player.leases = [held for held in player.leases if held is not lease]

    async def deliver(self) -> None:
        if (found := self._one()) is None:
            return
        player, session, lease = found
        body = RunResult.model_validate(player.identity.result_body(lease, RESULTS))
        twice = 2 if self.random.random() < 0.2 else 1
        self._drop(player, lease)
        calls = [completion.complete(self.context, session, lease["job_id"], body) for _ in range(twice)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        assert len({answer.receipt_id for answer in answers if not isinstance(answer, BaseException)}) == 1

    async def fail(self) -> None:
        if (found := self._one()) is None:
            return
        player, session, lease = found
        kind = self.random.choice(["retry", "fail"])
        body = {
            "fence": lease["fence"],
            "kind": kind,
            "code": "BROKEN",
            "message": "It broke.",
            "units": "0.5",
        }
        self._drop(player, lease)
        await leases.fail(self.context, session, lease["job_id"], RunFailure.model_validate(body))

    async def release(self) -> None:
        if (found := self._one()) is None:
            return
        player, session, lease = found
        self._drop(player, lease)
        await leases.release(self.context, session, lease["job_id"], RunRelease(fence=lease["fence"]))

    async def heartbeat(self) -> None:
        player = self.random.choice(self.players)
        if player.session is None:
            return
        held = list(player.leases)
        named = [{"job_id": lease["job_id"], "fence": lease["fence"], "progress": 40} for lease in held]
        answer = await heartbeats.heartbeat(
            self.context, player.session, Heartbeat.model_validate({"leases": named})
        )
        for lease, outcome in zip(held, answer.leases, strict=True):
            if outcome.status != "renewed":
                self._drop(player, lease)

    async def restart(self) -> None:
        await self.random.choice(self.players).register(self.context)

    async def expire(self) -> None:
        """Expire leases, as if no heartbeat had come for long: some of them."""
        if self.random.random() < 0.2:
            await self.context.database.write(leases._expire_due, time.time() + LATER, 0.0)

    async def requeue(self) -> None:
        """Exclude a miner and let it in again: its jobs are queued again."""
        player = self.random.choice(self.players)
        await exclusion.exclude(self.context, player.identity.miner_id, "")
        await exclusion.include(self.context, player.identity.miner_id)
        player.leases = []
        await player.register(self.context)

    async def book(self) -> None:
        """Credit or debit an account."""
        account_id = self.random.choice(self.clients).account_id
        assert account_id is not None
        key = str(self.random.randint(1, 10**6))
        if self.random.random() < 0.7:
            await bookings.add_credit(self.context, account_id, Decimal(20), key=key)
        else:
            await bookings.add_debit(self.context, account_id, Decimal(3), force=False, key=key)

    async def fold(self) -> None:
        await self.context.database.write(counts.fold, everything=self.random.choice([False, True]))
        await counting.fold(self.context)

    async def sequence(self) -> None:
        await self.context.database.write(integrate, self.context.signer, time.time())

    async def check(self) -> None:
        """Check money, numbers, receipts and the log."""
        await self.context.database.write(integrate, self.context.signer, time.time())
        examination = await self.context.database.read(examine, self.context.signer.vkey, {}, EXAMINERS)
        assert examination.problems == []
        assert examination.leaves == examination.receipts + examination.settlements
        await fold_everything(self.context)
        await self.context.database.read(_check)


def _check(connection: Connection) -> None:
    assert ledger.problems(connection) == []
    for statement in INVARIANTS:
        rows = connection.execute(text(statement)).all()
        assert rows == [], (statement, rows[:5])


INVARIANTS: Final = (
    "SELECT sum(amount) FROM balances HAVING sum(amount) != 0",
    "SELECT ledger_account FROM balances GROUP BY 1 HAVING sum(amount) < 0 AND ledger_account != 'issued'",
    "SELECT job_id FROM jobs JOIN transactions USING (job_id) WHERE (finished_at IS NULL) != (status = 'pending')",
    "SELECT job_id FROM jobs WHERE job_id NOT IN (SELECT job_id FROM transactions WHERE job_id IS NOT NULL)",
    "SELECT job_id FROM jobs LEFT JOIN receipts USING (job_id) WHERE (state = 'completed') != (receipt_id IS NOT NULL)",
    "SELECT job_id FROM jobs LEFT JOIN results USING (job_id) WHERE (state = 'completed') != (results.results IS NOT NULL)",
    (
        "SELECT tx_id FROM transactions WHERE kind = 'payment' AND status != 'pending' AND tx_id NOT IN "
        "(SELECT reference FROM log_leaves UNION ALL SELECT reference FROM log_queue)"
    ),
    (
        "SELECT account_id, service, state FROM job_counts LEFT JOIN (SELECT account_id, service, state, count(*) AS real FROM jobs "
        "GROUP BY 1, 2, 3) AS counted USING (account_id, service, state) WHERE count != coalesce(real, 0)"
    ),
    "SELECT sum(submitted) FROM history HAVING sum(submitted) != (SELECT count(*) FROM jobs)",
    "SELECT sum(completed) FROM history HAVING sum(completed) != (SELECT count(*) FROM jobs WHERE state = 'completed')",
    "SELECT sum(paid) FROM history HAVING sum(paid) != (SELECT sum(paid) FROM transactions WHERE kind = 'payment')",
    (
        "SELECT miner_id FROM miner_stats LEFT JOIN (SELECT miner_id, count(*) AS real FROM receipts GROUP BY 1) AS made USING (miner_id) "
        "WHERE completed != coalesce(real, 0)"
    ),
    "SELECT job_id FROM runs GROUP BY 1, fence HAVING count(*) > 1",
    "SELECT job_id FROM events WHERE type = 'receipt_created' GROUP BY 1 HAVING count(*) > 1",
)
"""Queries that find nothing in a consistent database."""

STEPS: Final[dict[str, tuple[float, Callable[[Crowd], Awaitable[None]]]]] = {
    "submit": (24, Crowd.submit),
    "claim": (16, Crowd.claim),
    "deliver": (20, Crowd.deliver),
    "fail": (4, Crowd.fail),
    "release": (3, Crowd.release),
    "heartbeat": (12, Crowd.heartbeat),
    "cancel": (5, Crowd.cancel),
    "expire": (2, Crowd.expire),
    "restart": (2, Crowd.restart),
    "requeue": (0.3, Crowd.requeue),
    "book": (5, Crowd.book),
    "sequence": (2, Crowd.sequence),
    "fold": (2, Crowd.fold),
}
"""How often each step is played, relative to the others."""
