"""Sends messages about ended jobs to the URLs that their clients chose (Standard Webhooks 1.0.0).

A message is a row that is written when the job ends (`lifecycle`), so none is lost. Each is sent until its receiver accepts it or
the attempts are used up: at least once, always with the same id. An attempt is counted before it is made. If the process dies
during one, the message is due again soon.

Receivers are strangers' servers. Only allowed addresses are connected to (`agent.network`), redirects are not followed, answers
are not read, and a slow receiver delays only its own account.
"""

from __future__ import annotations

import asyncio
import base64
import random
import secrets
import ssl
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import httpcore
import httpx
import structlog
from standardwebhooks import Webhook

from agent.coordinator.features.webhooks import store
from agent.coordinator.features.webhooks.rules import (
    DeliveryState,
    next_attempt,
    requested_pause,
    state_after,
)
from agent.coordinator.features.webhooks.settings import WebhookSettings
from agent.coordinator.features.webhooks.store import StoredDelivery
from agent.coordinator.store.database import Connection, Content, Database
from agent.core.errors import ServiceUnavailable
from agent.fault_points import reach
from agent.network import GuardedBackend, HostError, Network, internet

POLL_SECONDS: Final = 1.0
"""Interval at which due messages are queried, apart from queries after commits."""
PACE_SECONDS: Final = 0.05
"""Minimum pause between two queries, however many commits there are."""
PACE: Final = 10
"""Minimum pause as a multiple of the query's duration, which is long if many messages for an unreachable host are skipped."""
RETRY_SECONDS: Final = 1.0
CLAIM_SECONDS: Final = 5.0
"""Time for storing the outcome of an attempt, after its time limit, before the message is due again."""
PRUNE_SECONDS: Final = 600.0

SECRET_BYTES: Final = 32
"""The specification allows 24 to 64."""

log = structlog.get_logger()


def make_secret() -> str:
    """Return a new secret in the format of the libraries for Standard Webhooks."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}"


@dataclass(frozen=True, slots=True)
class AttemptAnswer:
    """The outcome of an attempt: a status and the requested pause in seconds, or an error."""

    status: int | None = None
    pause: float | None = None
    error: str | None = None


class WebhookSender:
    """Sends due messages. `run` is the loop. `network` replaces the internet in tests."""

    def __init__(
        self,
        database: Database,
        settings: WebhookSettings,
        clock: Callable[[], float],
        network: Network | None = None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._network = network
        self._wake = asyncio.Event()
        self._attempts: set[asyncio.Task[None]] = set()
        self._by_account: Counter[str] = Counter()
        self._by_lane: Counter[str] = Counter()
        self._pruned_at = 0.0
        self._listening = False

    def wake(self) -> None:
        """Have due messages queried soon."""
        self._wake.set()

    async def run(self) -> None:
        """Send due messages until cancelled. May be called again then."""
        if not self._listening:
            # The loop may run again after a change of the leader, but needs to listen only once.
            self._database.after_commit(Content.MESSAGES, self.wake)
            self._listening = True
        network = self._network or internet()
        guard = GuardedBackend(network, allow_private=self._settings.allow_private)
        pool = httpcore.AsyncConnectionPool(
            ssl_context=network.tls,
            network_backend=guard,
            max_connections=self._settings.max_concurrent,
            max_keepalive_connections=0,  # answers are not read completely
        )
        async with pool:
            try:
                await self._keep_sending(pool)
            finally:
                for attempt in self._attempts:
                    attempt.cancel()
                await asyncio.gather(*self._attempts, return_exceptions=True)

    async def close(self) -> None:
        """Nothing is left to close after `run`."""

    async def _keep_sending(self, pool: httpcore.AsyncConnectionPool) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            began = loop.time()
            try:
                await self._start_due(pool)
                await self._prune()
            except Exception:  # the loop survives a query that fails
                log.exception("webhooks_failed")
                await asyncio.sleep(RETRY_SECONDS)
            # At most a tenth of the time is spent on queries, also on a slow database.
            pause = PACE * (loop.time() - began)
            await asyncio.sleep(min(max(PACE_SECONDS, pause), POLL_SECONDS))
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wake.wait()

    async def _start_due(self, pool: httpcore.AsyncConnectionPool) -> None:
        """Start attempts until no due message fits the limits."""
        while (free := self._settings.max_concurrent - len(self._attempts)) > 0:
            due_deliveries = await self._database.read(
                store.due,
                self._clock(),
                # Accounts at their limit are left out by the query; otherwise their messages could fill the answer.
                busy_accounts=_at(self._by_account, self._settings.max_per_account),
                busy_lanes=_at(self._by_lane, self._settings.max_per_host),
                limit=free,
            )
            chosen = self._within_limits(due_deliveries)
            if not chosen:
                return
            for delivery, keys in await self._database.write(self._claim, chosen):
                self._start(pool, delivery, keys)

    def _within_limits(self, deliveries: list[StoredDelivery]) -> list[str]:
        # The messages that are chosen here count for each other too.
        accounts, lanes = self._by_account.copy(), self._by_lane.copy()
        chosen = []
        for delivery in deliveries:
            account, lane = delivery.account_id, delivery.lane
            fits = (
                accounts[account] < self._settings.max_per_account
                and lanes[lane] < self._settings.max_per_host
            )
            if fits:
                accounts[account] += 1
                lanes[lane] += 1
                chosen.append(delivery.webhook_id)
        return chosen

    def _claim(
        self, connection: Connection, webhook_ids: list[str]
    ) -> list[tuple[StoredDelivery, list[str]]]:
        now = self._clock()
        # If this process dies, the message is due again after that time.
        until = now + self._settings.timeout_seconds + CLAIM_SECONDS
        claimed = store.claim(connection, webhook_ids, now, until)
        return [
            (delivery, store.secret_of(connection, delivery.account_id, make_secret(), now).valid(now))
            for delivery in claimed
        ]

    def _start(self, pool: httpcore.AsyncConnectionPool, delivery: StoredDelivery, keys: list[str]) -> None:
        self._by_account[delivery.account_id] += 1
        self._by_lane[delivery.lane] += 1
        attempt = asyncio.create_task(self._attempt(pool, delivery, keys), name="webhook-attempt")
        self._attempts.add(attempt)

        def ended(task: asyncio.Task[None]) -> None:
            self._attempts.discard(task)
            for counter, key in ((self._by_account, delivery.account_id), (self._by_lane, delivery.lane)):
                counter[key] -= 1
                # Otherwise the counters would keep a name for every account that ever had a message.
                if not counter[key]:
                    del counter[key]
            self._wake.set()
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("webhook_attempt_failed", webhook_id=delivery.webhook_id, exc_info=error)

        attempt.add_done_callback(ended)

    async def _attempt(
        self, pool: httpcore.AsyncConnectionPool, delivery: StoredDelivery, keys: list[str]
    ) -> None:
        reach("webhook.claimed")
        try:
            answer = await self._send(pool, delivery, keys)
        except Exception:  # count the attempt, or the message would be retried forever
            log.exception("webhook_not_sent", webhook_id=delivery.webhook_id)
            answer = AttemptAnswer(error="the coordinator failed to send it; its log states why")
        reach("webhook.answered")
        now = self._clock()
        state, retry_at = state_after(answer.status), None
        if state is DeliveryState.PENDING:
            retry_at = next_attempt(
                delivery.attempts,
                self._settings.retry_delays,
                now,
                random.random(),  # noqa: S311 - spreads load, is not a secret
                answer.pause,
            )
            state = DeliveryState.PENDING if retry_at is not None else DeliveryState.FAILED
        # If the database has stopped meanwhile, the message is due again when it runs, and is sent a second time.
        with suppress(ServiceUnavailable):
            await self._database.write(
                store.record,
                delivery,
                state,
                now,
                next_attempt_at=retry_at,
                status=answer.status,
                error=answer.error,
            )
        log.info(
            "webhook_attempted",
            webhook_id=delivery.webhook_id,
            host=httpx.URL(delivery.url).host,
            attempt=delivery.attempts,
            status=answer.status,
            error=answer.error,
            state=state.value,
        )

    async def _send(
        self, pool: httpcore.AsyncConnectionPool, delivery: StoredDelivery, keys: list[str]
    ) -> AttemptAnswer:
        url = httpx.URL(delivery.url)
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        headers = list(self._headers(delivery, keys).items())
        seconds = self._settings.timeout_seconds
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), seconds)
        try:
            async with (
                asyncio.timeout(seconds),
                pool.stream(
                    "POST",
                    target,
                    headers=headers,
                    content=delivery.body.encode(),
                    extensions={"timeout": timeouts},
                ) as response,
            ):
                received = {name.lower(): value for name, value in response.headers}
                retry_after = received.get(b"retry-after", b"").decode("latin-1") or None
                return AttemptAnswer(
                    response.status, requested_pause(retry_after, self._clock()), _error_of(response.status)
                )
        except HostError as error:
            return AttemptAnswer(error=str(error))
        except (TimeoutError, httpcore.TimeoutException):
            return AttemptAnswer(error=f"no answer within {seconds:g} s")
        except httpcore.ConnectError as error:
            # The pool re-raises errors `from None`, so the reason is the context, not the cause.
            if isinstance(error.__context__, ssl.SSLCertVerificationError):
                return AttemptAnswer(
                    # Named, because the receiver's operator has to correct it.
                    error=f"the certificate is not valid: {error.__context__.verify_message.rstrip('.')}"
                )
            return AttemptAnswer(error="the host could not be reached")
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            return AttemptAnswer(error=f"the connection was lost ({type(error).__name__})")

    def _headers(self, delivery: StoredDelivery, keys: list[str]) -> Mapping[str, str]:
        moment = datetime.fromtimestamp(int(self._clock()), UTC)
        # While a secret is replaced, both sign, so that the receiver can change over at any time.
        signatures = [Webhook(key).sign(delivery.webhook_id, moment, delivery.body) for key in keys]
        return {
            "Content-Type": "application/json",
            "User-Agent": "aitbc-agent",
            "webhook-id": delivery.webhook_id,
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": " ".join(signatures),
        }

    async def _prune(self) -> None:
        now = self._clock()
        if now - self._pruned_at < PRUNE_SECONDS:
            return
        while (
            await self._database.write(store.prune, now - self._settings.retention_seconds)
            == store.PRUNED_AT_ONCE
        ):
            pass
        self._pruned_at = now


def _at(counter: Counter[str], limit: int) -> list[str]:
    return [key for key, count in counter.items() if count >= limit]


def _error_of(status: int) -> str | None:
    if state_after(status) is DeliveryState.DELIVERED:
        return None
    redirect = 300 <= status < 400  # noqa: PLR2004 - the statuses of redirects
    return f"the receiver answered {status}" + ("; redirects are not followed" if redirect else "")
