"""Streams: what one caller hears, in order, each message once, also across broken connections. See docs/reference/streams.md.

A stream is read from its number on: from the database and from what is kept in memory as far as the feed had told when it
began, then live. Pages bound what a stream holds, whatever it has missed and however slowly it is read. A stream whose queue
runs over says `resync` and goes back to the database, so that changes are late for a slow reader, but never lost.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from agent.coordinator.feed.feed import ALL, EVERYBODY, NUMBER_BITS, account_topic, message_of, miner_topic
from agent.coordinator.feed.hub import RESYNC, Message, Subscription
from agent.coordinator.operations.accounts.access import Caller, Credential, Role, authenticate
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import events as store
from agent.coordinator.store.events import StoredEvent
from agent.core.errors import RateLimitExceeded, ServiceUnavailable, ValidationFailed

StreamType = Literal["job_update", "marketplace_update", "receipt_created", "job_progress", "job_event"]
CHANGES: Final[frozenset[StreamType]] = frozenset({"job_update", "marketplace_update", "receipt_created"})
"""What is stored, and told without being asked for."""
PASSING: Final[frozenset[StreamType]] = frozenset({"job_progress", "job_event"})
"""What is kept in memory for a while only."""
PAGE: Final = 200
MAX_SEQ: Final = 2**53

Reason = Literal["slow", "events", "pruned", "unknown"]


class Wanted(BaseModel):
    """What a client wants to hear: types, only of some jobs, after which number (None: from now on)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    types: Annotated[frozenset[StreamType], Field(min_length=1)] = CHANGES
    job_ids: Annotated[frozenset[Annotated[str, Field(max_length=64)]], Field(min_length=1)] | None = None
    after: Annotated[int, Field(ge=0, lt=MAX_SEQ)] | None = None

    def accepts(self, message: Message) -> bool:
        """Whether the client wants this message."""
        return message["type"] in self.types and (
            self.job_ids is None or message["data"].get("job_id") in self.job_ids
        )


@dataclass(frozen=True, slots=True)
class Audience:
    """What somebody may hear: live under the topics, from the database by the rest (nothing set: everything)."""

    topics: tuple[str, ...]
    account_id: str | None = None
    miner_id: str | None = None
    job_id: str | None = None


def audience_of(caller: Caller) -> Audience:
    """A client hears of what is its own, a miner's owner of what concerns the miner, both of offers; administrators of all."""
    if caller.role is Role.ADMIN:
        return Audience((ALL,))
    if caller.miner_id is not None:
        return Audience((EVERYBODY, miner_topic(caller.miner_id)), miner_id=caller.miner_id)
    account_id = caller.account_id or store.NOBODY
    return Audience((EVERYBODY, account_topic(account_id)), account_id=account_id)


async def begin(context: Context) -> None:
    """At the start: numbers go on beyond those of an earlier process."""
    await context.database.write(store.mark, context.clock())
    await context.feed.begin()


async def keep_numbers(context: Context) -> None:
    """See that there are numbers left for what is told between two changes."""
    if context.feed.crowded:
        await context.database.write(store.mark, context.clock())


@asynccontextmanager
async def open_stream(
    context: Context, secret: Credential | None, wanted: Wanted, audience: Audience | None = None
) -> AsyncIterator[Stream]:
    """A stream for whoever has this key; `audience` narrows what its caller may hear.

    Raises `Unauthorized`, `RateLimitExceeded` if its owner has too many streams, `ServiceUnavailable` if there are too many
    in all, `ValidationFailed` for too many jobs.
    """
    caller = await authenticate(context, secret)
    with _counted(context, caller.owner):
        heard = audience or audience_of(caller)
        async with context.feed.subscribe(*heard.topics) as subscription:
            stream = Stream(context, secret, heard, subscription)
            stream.owner = caller.owner
            stream.want(wanted)
            yield stream


@contextmanager
def _counted(context: Context, owner: str) -> Iterator[None]:
    """Count a stream of an owner, all keys of which count together, or it would have as many streams as it makes keys."""
    streams: Counter[str] = context.caches.setdefault("streams", Counter())
    settings = context.settings.streams
    # Connections may be fewer than the setting has in mind, and streams must leave some for calls.
    most = max(1, min(settings.connections, context.connections.limit // 2))
    limit = min(settings.connections_per_account, most)
    if streams[owner] >= limit:
        raise RateLimitExceeded(f"Your account has {limit} streams open, which is the limit; close some.")
    if streams.total() >= most:
        raise ServiceUnavailable(f"All {most} streams of this coordinator are in use; come back later.")
    streams[owner] += 1
    try:
        yield
    finally:
        streams[owner] -= 1
        if not streams[owner]:
            del streams[owner]


class Stream:
    """Messages for one caller, each with a `seq` higher than the one before. Use `open_stream`.

    `owner` is the account, miner or key that it counts towards.
    """

    def __init__(
        self, context: Context, secret: Credential | None, audience: Audience, subscription: Subscription
    ) -> None:
        self.owner = ""
        self._context = context
        self._settings = context.settings.streams
        self._secret = secret
        self._audience = audience
        self._subscription = subscription
        self._wanted = Wanted()
        self._page: deque[Message] = deque()
        self._position = context.feed.seq
        # Up to here messages come from pages, beyond it from the subscription.
        self._until = self._position
        self._page_end = self._position
        self._paging = False
        self._gap = False
        self._woken = False
        self._checked_at = asyncio.get_running_loop().time()

    @property
    def position(self) -> int:
        """What the caller may go on after: everything up to here that it wants has been given."""
        live = not self._page and self._position >= self._until and not self._paging
        if live and self._subscription.empty:
            return max(self._position, self._context.feed.seq)
        return self._position

    def want(self, wanted: Wanted) -> None:
        """Hear something else from now on, or after `wanted.after`. Raises `ValidationFailed`; nothing has changed then."""
        limit = self._settings.max_job_ids
        if wanted.job_ids is not None and len(wanted.job_ids) > limit:
            raise ValidationFailed("The filter is too long.", {"job_ids": f"at most {limit} jobs"})
        position = self.position
        self._wanted = wanted
        self._subscription.accepts = wanted.accepts
        self.go_on_after(position if wanted.after is None else wanted.after)

    def go_on_after(self, seq: int, *, quietly: bool = False) -> None:
        """Go on after this number. `quietly`: what is not kept any more was not promised, so it is not called a gap."""
        told = self._context.feed.seq
        self._page.clear()
        self._subscription.clear()
        self._position = self._page_end = seq
        self._until = told
        self._gap = quietly
        self._paging = True
        if seq > told and not quietly:  # a number of another database
            self._position = self._page_end = told
            self._page.append(self._resync("unknown", told))

    def wake(self) -> None:
        """Have `next` return soon, even with nothing."""
        self._woken = True
        self._subscription.wake()

    async def next(self, seconds: float) -> Message | None:
        """The next message, or None if there is none for some seconds (or `wake` was called).

        Raises `Unauthorized` once the key has been revoked.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        self._woken = False
        while True:
            await self._check_key()
            if (message := await self._from_page()) is not None:
                return message
            left = max(0.0, deadline - loop.time())
            message = await self._subscription.next(min(left, self._settings.key_check_seconds))
            if message is RESYNC:
                self.go_on_after(self._position)
                return self._resync("slow", self._position)
            if message is not None and message["seq"] > self._position:
                self._position = message["seq"]
                return message
            if message is None and (self._woken or loop.time() >= deadline):
                return None

    async def _check_key(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._checked_at >= self._settings.key_check_seconds:
            await authenticate(self._context, self._secret)
            self._checked_at = now

    async def _from_page(self) -> Message | None:
        """The next message out of what was told before; None once there is none left."""
        while self._paging:
            if self._page:
                message = self._page.popleft()
                self._position = max(self._position, message["seq"])
                return message
            self._position = max(self._position, self._page_end)
            if (
                self._subscription.lagged
            ):  # what came meanwhile was too much for the queue, so it is history by now
                self._subscription.clear()
                self._until = self._context.feed.seq
            if self._position < self._until:
                await self._read_page()
            else:
                self._paging = False
        return None

    async def _read_page(self) -> None:
        recent, wanted = self._context.feed.recent, self._wanted
        changes, oldest = await self._context.database.read(
            _page, self._audience, wanted, self._position >> NUMBER_BITS, self._until >> NUMBER_BITS
        )
        kept_after = ((oldest or (self._until >> NUMBER_BITS) + 1) - 1) << NUMBER_BITS
        if self._position < kept_after:
            self._page.append(self._resync("pruned", kept_after))
            return
        found = [message_of(change) for change in changes]
        end = found[-1]["seq"] if len(found) == PAGE else self._until
        if wanted.types & PASSING:
            if self._position < recent.lost_up_to and not self._gap:
                self._page.append(self._resync("events", self._position))
                return
            self._gap = self._position < recent.lost_up_to
            passing, end = recent.between(self._position, end, self._audience.topics, wanted.accepts)
            found = sorted([*found, *passing], key=lambda message: int(message["seq"]))
        self._page.extend(message for message in found if message["seq"] <= end)
        self._page_end = end

    def _resync(self, reason: Reason, seq: int) -> Message:
        self._gap = True
        data: dict[str, Any] = {"reason": reason}
        return {"type": "resync", "data": data, "seq": seq}


def _page(
    connection: Connection, audience: Audience, wanted: Wanted, after: int, up_to: int
) -> tuple[list[StoredEvent], int]:
    types = wanted.types & CHANGES
    changes = (
        store.after(
            connection,
            after,
            up_to=up_to,
            account_id=audience.account_id,
            miner_id=audience.miner_id,
            job_id=audience.job_id,
            types=types,
            job_ids=wanted.job_ids,
            limit=PAGE,
        )
        if types
        else []
    )
    return changes, store.oldest(connection)
