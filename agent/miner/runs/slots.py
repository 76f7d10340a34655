"""The leases that this miner works on: how many it takes, how each ends, and when it takes none.

Paused devices have no room. Work that has no device yet when there is no room for it any more is handed back, so that a
pause lets nothing begin; what runs on a device goes on there, unless its owner wants it back at once.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import structlog
from pydantic import ValidationError

from agent.core.machine.idleness import PAUSED, Moment, Use
from agent.core.matching import Batch, FreeCapacity
from agent.fault_points import reach
from agent.miner.executor.circuit_breaker import FaultGuard
from agent.miner.executor.local import Working
from agent.miner.link.errors import Unreachable
from agent.miner.link.registration import Registration
from agent.miner.pausing.pauses import Pauses
from agent.miner.runs.lease import Lease
from agent.miner.runs.run import Work, Workplace
from agent.miner.tasks import Background

_CANCEL_SECONDS: Final = 20.0
"""How long ended work may take before its lease is handed back all the same."""
_CANCEL_GRACE_SECONDS: Final = 5.0
"""Beyond `miner.cancel_seconds`: how long cancelled work may take to clean up."""
_RELEASE_SECONDS: Final = 5.0
REMEMBERED: Final = 20
"""How many of the latest jobs are shown."""
_USES: Final = {
    "fetching": Use.FETCHING,
    "waiting": Use.WAITING,
    "loading": Use.LOADING,
    "running": Use.WORKING,
}

_log = structlog.get_logger(__name__)


class Workload:
    """Takes leases while there are free slots. `slots` and `max_outbox` are limits; `open` begins, `end` ends it.

    `pauses` says which devices take none; `paused` must be called when that has changed.
    """

    def __init__(
        self, place: Workplace, background: Background, pauses: Pauses, *, slots: int, max_outbox: int
    ) -> None:
        self._place = place
        self._background = background
        self._pauses = pauses
        self._slots = slots
        self._max_outbox = max_outbox
        self._finished: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)
        self._faults = FaultGuard()
        self._work: dict[tuple[str, int], tuple[Work, asyncio.Task[None]]] = {}
        self._open = False
        self._connected = False
        self._ending = False

    def __len__(self) -> int:
        return len(self._work)

    def registered(self, registration: Registration) -> None:
        """A session began. Work on leases that did not survive the former session is dropped."""
        self._place = replace(self._place, origin=registration.origin)
        kept = {(item.job_id, item.fence) for item in registration.keep}
        for job_id, fence in self._work.keys() - kept:
            self.drop(job_id, fence)

    def open(self) -> None:
        """Take leases from now on."""
        self._open = True
        self.update()

    def update(self) -> None:
        """Tell the coordinator how much room there is."""
        free = self._capacity() if self._takes() else FreeCapacity(0, {}, {})
        batch_capacity = [
            {"service": service, "model": model, "free": count}
            for (service, model), count in free.batch_capacity.items()
        ]
        self._place.link.set_slots(free.slots, batch_capacity)

    def free_slots(self) -> int:
        """How many more jobs, beside those that join a batch, can begin."""
        return self._capacity().slots if self._takes() else 0

    def _takes(self) -> bool:
        """Whether any lease is taken."""
        full = len(self._place.outbox) >= self._max_outbox
        return self._open and not full and self.pause_reason() is None

    def _capacity(self) -> FreeCapacity:
        """The room that is left. Work that has no place on a device yet takes what it will take."""
        working = self._place.executor.working()
        return self._beside(working, self._free(working), self._pauses.now.devices, self._batches())

    def _beside(
        self, working: Sequence[Working], slots: int, paused: Collection[str], batches: Iterator[Batch]
    ) -> FreeCapacity:
        """`slots` and the batch_capacity beside what works, less what those of `batches` will take that are not at work yet."""
        placed, batch_capacity = Counter[Batch](), Counter[Batch]()
        for child in working:
            placed[child.service, child.model] += child.runs
            if child.device not in paused:
                batch_capacity[child.service, child.model] += child.capacity - child.runs
        concurrency = {service: offer.concurrency for service, offer in self._place.offers.items()}
        free = FreeCapacity(slots, batch_capacity, concurrency)
        for batch in (Counter(batches) - placed).elements():
            free.reserve(*batch)
        return free

    def _free(self, working: Sequence[Working]) -> int:
        """Slots of devices that are not paused, less those that are taken there."""
        now = self._pauses.now
        if now.miner is not None:
            return 0
        slots = min(self._slots, self._per_card * (max(1, self._pauses.cards) - len(now.gpus)))
        there = sum(child.device not in now.devices for child in working)
        return max(0, min(slots - there, self._slots - len(working)))

    @property
    def _per_card(self) -> int:
        return -(-self._slots // max(1, self._pauses.cards))

    def _batches(self) -> Iterator[Batch]:
        return ((work.lease.service, work.lease.spec.model) for work, _ in self._work.values())

    def pause_reason(self) -> str | None:
        """Why no leases are taken although there is room, in words for the owner; None if they are."""
        if (reason := self._pauses.reason()) is not None:
            return reason
        seconds = self._faults.seconds_left(time.monotonic())
        return f"Several jobs failed on this machine; it rests for {seconds:.0f} s." if seconds > 0 else None

    def moment(self) -> Moment:
        """What the slots do now."""
        working = self._place.executor.working()
        free = self._beside(working, max(0, self._slots - len(working)), (), self._batches())
        return Moment(
            slots=self._slots,
            free=free.slots,
            stages=[_USES[work.stage] for work, _ in self._work.values()],
            barrier=self._barrier(),
            paused=[pause.cause for pause in self._pauses.now.gpus.values()],
            per_card=self._per_card,
        )

    def _barrier(self) -> Use | None:
        """Why nothing is taken at all."""
        if not self._open:
            return Use.STOPPING if self._ending else Use.STARTING
        if self._pauses.now.miner is not None:
            return PAUSED[self._pauses.now.miner.cause]
        if self._place.link.connection == "offline":
            return Use.OFFLINE if self._connected else Use.STARTING
        self._connected = True
        if len(self._place.outbox) >= self._max_outbox:
            return Use.OUTBOX
        return Use.COOLING_DOWN if self._faults.seconds_left(time.monotonic()) > 0 else None

    def paused(self) -> None:
        """Other devices are paused than before: hand back what has none yet and finds no room any more."""
        working = self._place.executor.working()
        free = self._beside(working, self._free(working), self._pauses.now.devices, iter(()))

        def has_no_place(work: Work) -> bool:
            return work.device is None and not free.reserve(work.lease.service, work.lease.spec.model)

        self._hand_back(has_no_place)
        self.update()

    def hand_back(self, device: str | None) -> int:
        """End the work on a device, or all, and hand the leases back. Returns how many."""
        return self._hand_back(lambda work: device is None or work.device == device)

    def _hand_back(self, unwanted: Callable[[Work], bool]) -> int:
        chosen = [
            (key, task)
            for key, (work, task) in self._work.items()
            if work.can_be_cancelled and unwanted(work)
        ]
        for key, task in chosen:
            self._work[key][0].outcome = "handed back"
            task.cancel()
            self._background.spawn(self._release_ended(key, task), f"release-{key[0]}")
        return len(chosen)

    async def _release_ended(self, key: tuple[str, int], task: asyncio.Task[None]) -> None:
        await asyncio.wait([task], timeout=_CANCEL_SECONDS)
        await self._release(key, "paused")

    def take(self, message: Mapping[str, Any]) -> None:
        """Begin to work on a lease. One that came although no slot is free is handed back."""
        try:
            self._take(Lease.model_validate(message), message)
        except ValidationError as error:
            _log.error("lease_malformed", faults=error.error_count())
        self.update()

    def _take(self, lease: Lease, message: Mapping[str, Any]) -> None:
        if lease.key in self._work or lease.key in self._place.outbox:
            return  # sent twice
        reach("miner.lease_received")
        if not self._open or not self._capacity().reserve(lease.service, lease.spec.model):
            # e.g. one that was on its way when a pause began
            reason = "no free slot" if self._pauses.now.miner is None else "paused"
            self._background.spawn(self._release(lease.key, reason), f"release-{lease.job_id}")
            return
        work = Work(lease, message, self._place)
        task = asyncio.create_task(work.run(), name=f"work-{lease.job_id}")
        self._work[lease.key] = (work, task)
        task.add_done_callback(lambda task: self._ended(work, task))
        _log.info(
            "lease_taken",
            job_id=lease.job_id,
            fence=lease.fence,
            service=lease.service,
            trace_id=lease.trace_id,
        )

    def drop(self, job_id: str, fence: int) -> None:
        """The lease is cancelled or lost: end its work and forget it."""
        work, task = self._work.get((job_id, fence), (None, None))
        if work is not None and task is not None and work.can_be_cancelled:
            task.cancel()

    def drop_all(self) -> None:
        """All leases are void: end their work and forget them."""
        for job_id, fence in list(self._work):
            self.drop(job_id, fence)

    def answered(self, leases: Sequence[Mapping[str, Any]]) -> None:
        """What the coordinator answered to a heartbeat about each lease."""
        for lease in leases:
            if lease.get("status") in {"cancelled", "lost"}:
                self.drop(lease["job_id"], lease["fence"])

    def holding(self) -> list[dict[str, Any]]:
        """The leases of running and of finished work, as a registration names them.

        Running work is held too, so that a coordinator that forgot the session's token costs no work.
        """
        running = [{"job_id": job_id, "fence": fence} for job_id, fence in self._work]
        return [*running, *self._place.outbox.holding()]

    def states(self) -> list[dict[str, Any]]:
        """The leases and their progress, as a heartbeat names them.

        Finished work is among them: its lease must live until its files have been delivered.
        """
        running = [
            {
                "job_id": job_id,
                "fence": fence,
                "progress": work.progress,
                "counter": work.counter,
                "units": f"{work.units:f}",
            }
            for (job_id, fence), (work, _) in self._work.items()
        ]
        return [*running, *({**lease, "progress": 100.0} for lease in self._place.outbox.holding())]

    async def finish(self) -> None:
        """Take no more leases, and wait until those that there are have ended, however long their jobs take."""
        self._open = False
        self.update()
        while self._work:
            await asyncio.wait([task for _, task in self._work.values()])

    async def end(self, *, drain_seconds: float, cancel_seconds: float, hurry: asyncio.Event) -> None:
        """Take no more leases; give running work its time, unless there is a hurry; hand back what is not done."""
        self._open, self._ending = False, True
        self.update()
        running = dict(self._work)
        await _wait({task for _, task in running.values()}, drain_seconds, hurry)
        unfinished = [
            key for key, (work, task) in running.items() if not task.done() and work.can_be_cancelled
        ]
        for key in unfinished:
            running[key][1].cancel()
        await self._settle(cancel_seconds + _CANCEL_GRACE_SECONDS)
        await asyncio.gather(*(self._release(key, "shutdown") for key in unfinished))

    async def close(self) -> None:
        """Drop whatever still runs."""
        self._open = False
        for _, task in self._work.values():
            task.cancel()
        await self._settle(_CANCEL_GRACE_SECONDS)

    async def _settle(self, limit: float) -> None:
        tasks = [task for _, task in self._work.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=limit)

    async def _release(self, key: tuple[str, int], reason: str) -> None:
        job_id, fence = key
        _log.info("lease_released", job_id=job_id, fence=fence, reason=reason)
        body = {"fence": fence, "reason": reason}
        try:
            await self._place.link.call("release", job_id, body, limit=_RELEASE_SECONDS)
        except Unreachable as error:
            _log.warning("lease_not_released", job_id=job_id, fence=fence, error=str(error))

    def _ended(self, work: Work, task: asyncio.Task[None]) -> None:
        self._work.pop(work.lease.key, None)
        self._finished.append({**self._describe(work), "outcome": work.outcome, "ended_at": time.time()})
        if task.cancelled():
            pass
        elif (error := task.exception()) is not None:
            _log.error("work_failed", job_id=work.lease.job_id, fence=work.lease.fence, exc_info=error)
        elif not work.machine_fault:
            self._faults.success()
        elif self._faults.fault(time.monotonic()):
            seconds = self._faults.seconds_left(time.monotonic())
            _log.warning("miner_paused", seconds=seconds, cause="machine faults")
            asyncio.get_running_loop().call_later(seconds, self.update)
        self.update()

    def status(self) -> list[dict[str, Any]]:
        """The work under way, for `aitbc-agent status`."""
        return [self._describe(work) for work, _ in self._work.values()]

    def finished(self) -> list[dict[str, Any]]:
        """The latest work that has ended, the newest last; `outcome` is "completed", "handed back", "dropped" or an error's code."""
        return list(self._finished)

    def _describe(self, work: Work) -> dict[str, Any]:
        return {
            "job_id": work.lease.job_id,
            "fence": work.lease.fence,
            "service": work.lease.service,
            "model": work.lease.spec.model,
            "stage": work.stage,
            "device": work.device,
            "progress": work.progress,
            "seconds": round(time.monotonic() - work.lease.received_at, 1),
            "seconds_left": round(work.lease.seconds_left(), 1),
        }


async def _wait(tasks: Collection[asyncio.Task[None]], limit: float, hurry: asyncio.Event) -> None:
    """Wait until all tasks have ended, for at most `limit` seconds or until there is a hurry."""
    if not tasks:
        return
    hurried = asyncio.create_task(hurry.wait(), name="drain-hurry")
    all_ended = asyncio.create_task(asyncio.wait(tasks), name="drain-wait")
    try:
        await asyncio.wait([hurried, all_ended], timeout=limit, return_when=asyncio.FIRST_COMPLETED)
    finally:
        hurried.cancel()
        all_ended.cancel()
