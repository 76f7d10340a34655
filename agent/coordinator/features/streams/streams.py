"""Streams deliver one caller's messages in order, each once, also across broken connections. See docs/reference/streams.md.

A stream starts at a number. Messages that were published before the stream began come from the database and from the history in
memory, later ones live. Pages limit a stream's memory, however much it has missed and however slowly it is read. A stream whose
queue overflows sends `resync` and returns to the database, so a slow reader gets changes late, but never loses them.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from agent.coordinator.feed.feed import ALL, EVERYBODY, NUMBER_BITS, account_topic, miner_topic
from agent.coordinator.feed.hub import RESYNC, Message, Subscription
from agent.coordinator.operations.accounts.access import authenticate
from agent.coordinator.operations.callers import Caller, Credential
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import events
from agent.coordinator.store.events import StoredEvent
from agent.core.errors import RateLimitExceeded, ServiceUnavailable, Unauthorized, ValidationFailed
from aitbc.answers.accounts import Role

StreamType = Literal[
    "job_update", "marketplace_update", "receipt_created", "payout_update", "job_progress", "job_event"
]
CHANGES: Final[frozenset[StreamType]] = frozenset(
    {"job_update", "marketplace_update", "receipt_created", "payout_update"}
)
"""Types that are stored, and delivered by default."""
PASSING: Final[frozenset[StreamType]] = frozenset({"job_progress", "job_event"})
"""Types that are only retained in memory for a while."""
PAGE: Final = 200
MAX_SEQ: Final = 2**53

Reason = Literal["slow", "events", "pruned", "unknown"]


class Filter(BaseModel, defer_build=True):
    """A client's subscription: message types, jobs (None: all), and the number to start after (None: from now on)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    types: Annotated[frozenset[StreamType], Field(min_length=1)] = CHANGES
    job_ids: Annotated[frozenset[Annotated[str, Field(max_length=64)]], Field(min_length=1)] | None = None
    after: Annotated[int, Field(ge=0, lt=MAX_SEQ)] | None = None

    def accepts(self, message: Message) -> bool:
        """Return whether the subscription includes this message."""
        return message["type"] in self.types and (
            self.job_ids is None or message["data"].get("job_id") in self.job_ids
        )


@dataclass(frozen=True, slots=True)
class Audience:
    """The messages that a caller may receive: live by the topics, from the database by the other fields (none set: all)."""

    topics: tuple[str, ...]
    account_id: str | None = None
    miner_id: str | None = None
    job_id: str | None = None


def audience_of(caller: Caller) -> Audience:
    """Return the audience of a caller: its own account or miner, and what is for all; everything for administrators."""
    if caller.role is Role.ADMIN:
        return Audience((ALL,))
    if caller.miner_id is not None:
        return Audience((EVERYBODY, miner_topic(caller.miner_id)), miner_id=caller.miner_id)
    account_id = caller.account_id or events.NOBODY
    return Audience((EVERYBODY, account_topic(account_id)), account_id=account_id)


class OpenStreams:
    """The open streams of this replica: their number by owner, and each by the credential of its holder."""

    def __init__(self) -> None:
        self.by_owner: Counter[str] = Counter()
        self.by_key: dict[Credential | None, set[MessageStream]] = {}

    async def close(self) -> None:
        """Do nothing: a stream ends with its connection."""


def check_seconds(context: Context) -> float:
    """Return after how many seconds keys are checked again."""
    return context.settings.streams.key_check_seconds


@asynccontextmanager
async def open_stream(
    context: Context, secret: Credential | None, chosen: Filter, audience: Audience | None = None
) -> AsyncIterator[MessageStream]:
    """Open a stream for the holder of a key; `audience` restricts its messages further.

    Raises `Unauthorized`, `RateLimitExceeded` if the owner has too many streams, `ServiceUnavailable` if there are too many
    in total, `ValidationFailed` for too many jobs.
    """
    caller = await authenticate(context, secret)
    with _counted(context, caller.owner):
        allowed = audience or audience_of(caller)
        async with context.feed.subscribe(*allowed.topics) as subscription:
            stream = MessageStream(context, allowed, subscription)
            stream.owner = caller.owner
            stream.choose(chosen)
            with _checked(context, secret, stream):
                yield stream


@contextmanager
def _checked(context: Context, secret: Credential | None, stream: MessageStream) -> Iterator[None]:
    """Have the key of a stream checked while it is open."""
    by_key = context.part(OpenStreams).by_key
    streams = by_key.setdefault(secret, set())
    streams.add(stream)
    try:
        yield
    finally:
        streams.discard(stream)
        if not streams:
            by_key.pop(secret, None)


async def check_keys(context: Context) -> None:
    """End the streams whose keys have been revoked. One look-up for each key: thousands of streams need not wake up for it."""
    for secret, streams in list(context.part(OpenStreams).by_key.items()):
        try:
            await authenticate(context, secret)
        except Unauthorized as error:
            for stream in list(streams):
                stream.end(error)


@contextmanager
def _counted(context: Context, owner: str) -> Iterator[None]:
    """Count a stream of an owner. All keys of an owner count together, so that more keys do not allow more streams."""
    streams = context.part(OpenStreams).by_owner
    settings = context.settings.streams
    # The process may have fewer connections than the setting allows, and streams must leave some for calls.
    max_total = max(1, min(settings.connections, context.connections.limit // 2))
    limit = min(settings.connections_per_account, max_total)
    if streams[owner] >= limit:
        raise RateLimitExceeded(f"Your account has {limit} open streams, which is the limit. Close some.")
    if streams.total() >= max_total:
        raise ServiceUnavailable(f"All {max_total} streams of this coordinator are in use. Try again later.")
    streams[owner] += 1
    try:
        yield
    finally:
        streams[owner] -= 1
        if not streams[owner]:
            del streams[owner]


class MessageStream:
    """Messages for one caller, each with a higher `seq` than the one before. Use `open_stream`.

    `owner` is the account, miner or key to which the stream is counted.
    """

    def __init__(self, context: Context, audience: Audience, subscription: Subscription) -> None:
        self.owner = ""
        self._context = context
        self._settings = context.settings.streams
        self._audience = audience
        self._subscription = subscription
        self._filter = Filter()
        self._page: deque[Message] = deque()
        self._position = context.feed.seq
        # Messages up to this number come from pages, later ones from the subscription.
        self._until = self._position
        self._page_end = self._position
        self._paging = False
        self._gap = False
        # Live messages up to this number may have been returned, on another replica.
        self._passing_from = 0
        self._woken = False
        self._refusal: Unauthorized | None = None

    @property
    def position(self) -> int:
        """The number after which the caller can resume: all of its messages up to here have been returned."""
        live = not self._page and self._position >= self._until and not self._paging
        if live and self._subscription.empty:
            return max(self._position, self._context.feed.seq)
        return self._position

    def choose(self, chosen: Filter) -> None:
        """Change the filter from now on, or from `chosen.after` on. Raises `ValidationFailed` without a change."""
        limit = self._settings.max_job_ids
        if chosen.job_ids is not None and len(chosen.job_ids) > limit:
            raise ValidationFailed("The filter is too long.", {"job_ids": f"at most {limit} jobs"})
        # Taken before the filter changes, since it depends on what is still unread.
        position = self.position
        self._filter = chosen
        self._subscription.accepts = chosen.accepts
        self.resume_after(position if chosen.after is None else chosen.after)

    def resume_after(self, seq: int, *, quietly: bool = False) -> None:
        """Continue after this number. `quietly`: do not report messages as a gap that are no longer retained."""
        published = self._context.feed.seq
        self._page.clear()
        self._subscription.clear()
        # Each replica numbers passing messages itself; only the numbers of changes are the same everywhere.
        if not quietly and self._context.feed.is_foreign(seq):
            seq = seq >> NUMBER_BITS << NUMBER_BITS
            self._passing_from = published
        self._position = self._page_end = seq
        # What is published from now on comes live, so nothing is read twice.
        self._until = published
        self._gap = quietly
        self._paging = True
        if seq > published and not quietly:  # a number of another database
            self._position = self._page_end = published
            self._page.append(self._resync("unknown", published))

    def wake(self) -> None:
        """Make `next` return soon, even without a message."""
        self._woken = True
        self._subscription.wake()

    def end(self, error: Unauthorized) -> None:
        """Make `next` raise an error from now on."""
        self._refusal = error
        self._subscription.wake()

    async def next(self, seconds: float) -> Message | None:
        """Return the next message, or None if there is none for some seconds or `wake` was called.

        Raises `Unauthorized` once the key has been revoked.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        self._woken = False
        while True:
            if self._refusal is not None:
                raise self._refusal
            if (message := await self._from_page()) is not None:
                return message
            seconds_left = max(0.0, deadline - loop.time())
            message = await self._subscription.next(seconds_left)
            if message is RESYNC:
                self.resume_after(self._position)
                return self._resync("slow", self._position)
            # A message may come from a page and live as well; the number shows which was first.
            if message is not None and message["seq"] > self._position:
                self._position = message["seq"]
                return message
            if message is None and (self._woken or loop.time() >= deadline):
                return None

    async def _from_page(self) -> Message | None:
        """Return the next message from the pages; None if there are no more."""
        while self._paging:
            if self._page:
                message = self._page.popleft()
                self._position = max(self._position, message["seq"])
                return message
            self._position = max(self._position, self._page_end)
            if self._subscription.lagged:
                # The queue overflowed meanwhile; its messages are read from the database instead.
                self._subscription.clear()
                self._until = self._context.feed.seq
            if self._position < self._until:
                await self._read_page()
            else:
                self._paging = False
        return None

    async def _read_page(self) -> None:
        recent, chosen = self._context.feed.recent, self._filter
        changes, oldest = await self._context.database.read(
            _page, self._audience, chosen, self._position >> NUMBER_BITS, self._until >> NUMBER_BITS
        )
        retained_after = ((oldest or (self._until >> NUMBER_BITS) + 1) - 1) << NUMBER_BITS
        # The missing changes are deleted for good, so the reader has to read the present state instead.
        if self._position < retained_after:
            self._page.append(self._resync("pruned", retained_after))
            return
        messages = [self._context.feed.message_of(change) for change in changes]
        end = messages[-1]["seq"] if len(messages) == PAGE else self._until
        if chosen.types & PASSING:
            lost_up_to = max(recent.lost_up_to, self._passing_from)
            if self._position < lost_up_to and not self._gap:
                self._page.append(self._resync("events", self._position))
                return
            self._gap = self._position < lost_up_to
            after_seq = max(self._position, self._passing_from)
            passing, end = recent.between(after_seq, end, self._audience.topics, chosen.accepts)
            # Changes and passing messages have one order, which readers rely on.
            messages = sorted([*messages, *passing], key=lambda message: int(message["seq"]))
        self._page.extend(message for message in messages if message["seq"] <= end)
        self._page_end = end

    def _resync(self, reason: Reason, seq: int) -> Message:
        self._gap = True
        data: dict[str, Any] = {"reason": reason}
        return {"type": "resync", "data": data, "seq": seq}


def _page(
    connection: Connection, audience: Audience, chosen: Filter, after_seq: int, up_to: int
) -> tuple[list[StoredEvent], int]:
    types = chosen.types & CHANGES
    changes = (
        events.after(
            connection,
            after_seq,
            up_to=up_to,
            account_id=audience.account_id,
            miner_id=audience.miner_id,
            job_id=audience.job_id,
            types=types,
            job_ids=chosen.job_ids,
            limit=PAGE,
        )
        if types
        else []
    )
    return changes, events.oldest(connection)
