"""Long polls over HTTP, which receive leases and cancellations while there is no WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final, Protocol

import structlog

from agent.miner.backoff import Backoff
from agent.miner.link.capacity import Announcement, LinkCapacity
from agent.miner.link.refusals import Unreachable

FIRST_DELAY: Final = 0.2
LONGEST_DELAY: Final = 20.0
_GRACE_SECONDS: Final = 15.0
"""How long after its own `wait` a long poll counts as lost."""
_HANDOVER_SECONDS: Final = 1.0
"""How long a poll that requested leases may still answer after a WebSocket has replaced it."""
_ANSWERED: Final = frozenset({200, 204})

_log = structlog.get_logger(__name__)


class Post(Protocol):
    """Makes an HTTP call. Raises `Unreachable`."""

    async def __call__(self, path: str, body: Any, *, limit: float) -> tuple[int, Any]:
        """Return status and JSON body of the answer."""


@dataclass(eq=False)
class Polling:
    """Polls while `active` is set, which the link clears while a WebSocket is open. `seconds` is how long a poll waits.

    `deliver` is called with the body of each answer, `abandoned` when a poll ends without one, and `ended` after each poll
    that ends otherwise.
    """

    post: Post
    capacity: LinkCapacity
    _: KW_ONLY
    deliver: Callable[[Mapping[str, Any]], None]
    abandoned: Callable[[], None]
    ended: Callable[[], None]

    def __post_init__(self) -> None:
        self.active = asyncio.Event()
        self.seconds = 30.0

    async def run(self, registered: asyncio.Event) -> None:
        """Poll until cancelled, whenever there is a session."""
        backoff = Backoff(FIRST_DELAY, LONGEST_DELAY)
        while True:
            await self.active.wait()
            # A poll without a session would be refused, and each refusal looks like an expired session.
            await registered.wait()
            try:
                answer = await self._poll()
            except Unreachable as error:
                _log.info("poll_failed", error=str(error))
                answer = 0, None
            if answer is not None and answer[0] in _ANSWERED:
                backoff.reset()
                self.deliver(answer[1] or {})
            # Nothing is on its way any more, so all free capacity may be requested again, here or by the WebSocket.
            self.capacity.requested = Announcement()
            self.ended()
            if answer is None:
                self.abandoned()
            elif answer[0] not in _ANSWERED:
                await asyncio.sleep(backoff.next())

    async def _poll(self) -> tuple[int, Any] | None:
        """Make one long poll. Return None if it was abandoned.

        Abandoning a poll that requests leases could lose some, so it is abandoned only some time after a WebSocket has
        replaced it, when no lease can be in transit. A heartbeat brings a cancellation that was in transit.
        """
        capacity = self.capacity
        capacity.changed.clear()
        # After the WebSocket has taken over, the last poll only waits for cancellations.
        requested = capacity.requested = capacity.free if self.active.is_set() else Announcement()
        body = {
            "slots": requested.slots,
            "wait": self.seconds,
            "batch_capacity": requested.batch_capacity,
        }
        limit = self.seconds + _GRACE_SECONDS
        poll = asyncio.create_task(self.post("/v1/miners/poll", body, limit=limit), name="link-long-poll")
        try:
            while not poll.done():
                # It asked for no leases, so none can be lost with it.
                if not requested and (capacity.free or not self.active.is_set()):
                    return None
                if not await self._changed_or(poll):
                    return None
            return poll.result()
        finally:
            poll.cancel()
            with suppress(asyncio.CancelledError, Unreachable):
                await poll

    async def _changed_or(self, poll: asyncio.Task[tuple[int, Any]]) -> bool:
        """Wait until the poll has ended or the capacity has changed. Return False if neither happens during a handover."""
        changed = asyncio.create_task(self.capacity.changed.wait(), name="link-slots-changed")
        try:
            limit = None if self.active.is_set() else _HANDOVER_SECONDS
            ended_tasks, _ = await asyncio.wait(
                [poll, changed], timeout=limit, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            changed.cancel()
        self.capacity.changed.clear()
        return bool(ended_tasks)
