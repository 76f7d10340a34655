"""Which of llama.cpp's slots a request gets, so that no client's request is faster because of another client's.

A slot retains the last prompt that it has computed, and llama.cpp by itself gives a request to the slot whose prompt begins most like it. Here
each slot has an owner, the salt of its last request, and only requests with the same salt continue from its prompt.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

WORTHWHILE = 0.1
"""The share of a prompt that a slot must have in common with it; with less, the slot that was unused for longest is taken."""


@dataclass(slots=True, eq=False)
class SlotRequest:
    """A request for a slot. A `free` one lets llama.cpp choose slots, and reuses nothing."""

    tokens: Sequence[int]
    salt: str | None
    free: bool
    number: int | None = None
    reuses: bool = False
    waiting: bool = False
    started: bool = False

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the request to llama.cpp, once the slot is lent."""
        chosen = {} if self.number is None else {"id_slot": self.number}
        return {"cache_prompt": self.reuses, **chosen}


@dataclass(slots=True)
class _Slot:
    salt: str | None = None
    tokens: Sequence[int] = ()
    used: int = 0
    holder: SlotRequest | None = field(default=None, repr=False)


class Slots:
    """The slots of one server. Safe to use from several threads.

    A request for several answers occupies slots that llama.cpp chooses, at a time that it does not report. So while one is active, no
    request reuses anything, and before and after it no slot has an owner.
    """

    def __init__(self, count: int) -> None:
        self._slots = [_Slot() for _ in range(count)]
        self._changed = threading.Condition()
        self._uses = itertools.count(1)
        self._free_active = 0

    def request(self, tokens: Sequence[int], salt: str | None, *, answers: int = 1) -> SlotRequest:
        """Return a request for a slot for a prompt. Without a salt, it reuses nothing and leaves nothing to reuse."""
        return SlotRequest(tokens, salt, free=answers > 1)

    def acquire(self, request: SlotRequest, seconds: float) -> bool:
        """Wait up to `seconds` for a slot. Returns whether it is lent; if not, call again, or `release`."""
        with self._changed:
            if not request.waiting:
                request.waiting = True
                if request.free or self._free_active:
                    self._begin_free(request)
            return self._changed.wait_for(lambda: self._lend(request), seconds)

    def start(self, request: SlotRequest) -> None:
        """Note that llama.cpp has begun to work on a request, so its slot is occupied."""
        with self._changed:
            if not request.started:
                request.started = True
                self._changed.notify_all()

    def release(self, request: SlotRequest) -> None:
        """Return a slot, or end waiting for one."""
        with self._changed:
            if request.free and request.waiting:
                self._free_active -= 1
                self._disown()
            elif request.number is not None:
                slot = self._slots[request.number]
                slot.holder = None
                if not request.started:  # then it holds the prompt of the request before
                    slot.salt = None
            request.waiting = False
            self._changed.notify_all()

    def _begin_free(self, request: SlotRequest) -> None:
        request.free = True
        self._free_active += 1

    def _lend(self, request: SlotRequest) -> bool:
        if request.free:
            # One that reuses a slot's prompt must occupy the slot before llama.cpp may put another prompt there.
            if any(slot.holder is not None and not slot.holder.started for slot in self._slots):
                return False
            self._disown()
            return True
        if self._free_active:
            self._begin_free(request)
            return self._lend(request)
        unused = [number for number, slot in enumerate(self._slots) if slot.holder is None]
        if not unused:
            return False
        number = min(unused, key=lambda number: self._slots[number].used)
        if request.salt is not None:
            own = [number for number in unused if self._slots[number].salt == request.salt]
            best = max(
                own, key=lambda number: _common(self._slots[number].tokens, request.tokens), default=number
            )
            if _common(self._slots[best].tokens, request.tokens) >= WORTHWHILE * len(request.tokens):
                number = best
        slot = self._slots[number]
        request.number = number
        request.reuses = request.salt is not None and slot.salt == request.salt
        slot.salt, slot.tokens, slot.used, slot.holder = (
            request.salt,
            request.tokens,
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
