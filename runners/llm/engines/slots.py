"""How llama.cpp's requests share the tokens of its context, and which slot each gets: no client's may be faster because of another client's.

A slot retains the last prompt that it has computed, and llama.cpp by itself gives a request to the slot whose prompt begins most like it. Here
each slot has an owner, the salt of its last request, and only requests with the same salt continue from its prompt.

A slot holds that prompt until its next request begins, which may be long after it was sent. llama.cpp makes space in a full context by emptying slots
that have no request; if there are none, it fails all requests. So what a slot holds must be part of its request's tokens, or is erased before.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

WORTHWHILE = 0.1
"""The share of a prompt that a slot must have in common with it; with less, the slot that was unused for longest is taken."""


@dataclass(slots=True, eq=False)
class SlotRequest:
    """A request for a slot, whose prompt and answers are up to `share` tokens. A `free` one lets llama.cpp choose slots, and reuses nothing.

    `stale` are the slots that are being erased for it.
    """

    tokens: Sequence[int]
    salt: str | None
    share: int
    free: bool
    number: int | None = None
    granted: bool = False
    reuses: bool = False
    waiting: bool = False
    started: bool = False
    stale: Sequence[int] = ()

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the request to llama.cpp, once the slot is lent."""
        chosen = {} if self.number is None else {"id_slot": self.number}
        return {"cache_prompt": self.reuses, **chosen}


@dataclass(slots=True)
class _Slot:
    salt: str | None = None
    tokens: Sequence[int] = ()
    size: int = 0
    """The most tokens that it may hold."""
    last_use: int = 0
    """The number of its last request: the slot with the least has been idle longest."""
    holder: SlotRequest | None = field(default=None, repr=False)


class Slots:
    """The slots of one server, and the `tokens` of its context: first come, first served. Safe to use from several threads.

    A request for several answers occupies slots that llama.cpp chooses, at a time that it does not report. So while one is active, no
    request reuses anything, and before and after it no slot has an owner. What requests leave behind meanwhile may be in any slot.
    """

    def __init__(
        self, count: int, erase: Callable[[int], object] = lambda _: None, tokens: int = sys.maxsize
    ) -> None:
        self.tokens = tokens
        self._free_tokens = tokens
        self._queue: deque[SlotRequest] = deque()
        self._slots = [_Slot() for _ in range(count)]
        self._erase = erase
        self._changed = threading.Condition()
        self._uses = itertools.count(1)
        self._free_active = 0
        self._left_anywhere = 0
        self._erasing: SlotRequest | None = None

    def request(
        self, tokens: Sequence[int], salt: str | None, share: int, *, answers: int = 1
    ) -> SlotRequest:
        """Return a request for a slot for a prompt, whose answers have up to `share` tokens with it. Without a salt, it reuses nothing and leaves nothing to reuse."""
        return SlotRequest(tokens, salt, share, free=answers > 1)

    def acquire(self, request: SlotRequest, seconds: float) -> bool:
        """Wait up to `seconds` for the request's tokens, and as long for a slot, then erase what must not be there.

        Returns whether it is lent; if not, call again, or `release`.
        """
        with self._changed:
            if not self._grant(request, seconds):
                return False
            if not request.waiting:
                request.waiting = True
                if request.free or self._free_active:
                    self._begin_free(request)
            lent = self._changed.wait_for(lambda: self._lend(request), seconds)
        for number in request.stale:
            self._erase(number)
        with self._changed:
            request.stale = ()
            if self._erasing is request:
                self._erasing = None
                self._changed.notify_all()
        return lent

    def _grant(self, request: SlotRequest, seconds: float) -> bool:
        """Wait for the request's tokens, behind the requests that have waited longer. Returns whether they are granted."""
        if request.granted:
            return True
        if request not in self._queue:
            self._queue.append(request)
        request.granted = self._changed.wait_for(
            lambda: self._queue[0] is request and self._free_tokens >= request.share, seconds
        )
        if request.granted:
            self._queue.popleft()
            self._free_tokens -= request.share
            self._changed.notify_all()
        return request.granted

    def start(self, request: SlotRequest) -> None:
        """Note that llama.cpp has begun to work on a request, so its slot is occupied."""
        with self._changed:
            if not request.started:
                request.started = True
                self._changed.notify_all()

    def empty(self, request: SlotRequest) -> None:
        """Erase a request's slot, once llama.cpp has ended it; one that llama.cpp has chosen is unknown."""
        if request.number is not None:
            self._erase(request.number)
            with self._changed:
                slot = self._slots[request.number]
                slot.salt, slot.size = None, 0

    def release(self, request: SlotRequest) -> None:
        """Return a slot and its tokens of the context, or end waiting for them."""
        with self._changed:
            freed = request.share if request.granted else 0
            if request in self._queue:  # those behind would wait for ever
                self._queue.remove(request)
            if request.free and request.waiting:
                self._free_active -= 1
                self._disown()
            elif request.number is not None:
                slot = self._slots[request.number]
                slot.holder = None
                if not request.started:  # then it holds the prompt of the request before
                    slot.salt = None
            if self._erasing is request:
                self._erasing = None
            if request.waiting and (request.free or self._free_active):
                self._left_anywhere += freed
                freed = 0 if self._free_active else self._end_free()
            request.waiting = request.granted = False
            self._free_tokens += freed
            self._changed.notify_all()

    def _end_free(self) -> int:
        """Return how many tokens are free again, because their slots are erased before they are used."""
        freed, self._left_anywhere = self._left_anywhere, 0
        for slot in self._slots:
            slot.size = max(slot.size, freed)
        return freed

    def _begin_free(self, request: SlotRequest) -> None:
        request.free = True
        self._free_active += 1

    def _lend(self, request: SlotRequest) -> bool:
        if request.free:
            # One that reuses a slot's prompt must occupy the slot before llama.cpp may put another prompt there.
            if self._erasing or any(
                slot.holder is not None and not slot.holder.started for slot in self._slots
            ):
                return False
            self._disown()
            request.stale = [
                number for number, slot in enumerate(self._slots) if slot.holder is None and slot.size
            ]
            for number in request.stale:
                self._slots[number].size = 0
            self._erasing = request if request.stale else None
            return True
        if self._free_active:
            self._begin_free(request)
            return self._lend(request)
        unused = [number for number, slot in enumerate(self._slots) if slot.holder is None]
        if not unused:
            return False
        # The slot that was idle longest has the prompt that is least likely to be continued.
        number = min(unused, key=lambda number: self._slots[number].last_use)
        if request.salt is not None:
            same_salt = [number for number in unused if self._slots[number].salt == request.salt]
            best = max(
                same_salt,
                key=lambda number: _common(self._slots[number].tokens, request.tokens),
                default=number,
            )
            if _common(self._slots[best].tokens, request.tokens) >= WORTHWHILE * len(request.tokens):
                number = best
        slot = self._slots[number]
        request.number = number
        # The slot would hold more than this request has been granted of the context.
        if slot.size > request.share:
            request.stale, slot.salt = [number], None
        request.reuses = request.salt is not None and slot.salt == request.salt
        slot.salt, slot.tokens, slot.size, slot.last_use, slot.holder = (
            request.salt,
            request.tokens,
            request.share,
            next(self._uses),
            request,
        )
        return True

    def _disown(self) -> None:
        for slot in self._slots:
            slot.salt = None


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two prompts have in common at their beginning."""
    pairs = zip(first, second, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
