"""The runs of this miner: how many leases it accepts, how each ends, and when it accepts none.

Paused devices have no free capacity. When a pause leaves no capacity for a run that has no device yet, its lease is
handed back. A run on a paused device continues, unless the owner needs the device at once.
"""

from __future__ import annotations

import asyncio
import operator
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any, Final

import structlog

from agent.core.matching import Batch, FreeCapacity
from agent.fault_points import reach
from agent.miner.executor.circuit_breaker import FaultGuard
from agent.miner.executor.contract import Working
from agent.miner.link.refusals import Unreachable
from agent.miner.pausing.pauses import Pauses
from agent.miner.runs.idleness import PAUSED, Moment, Use
from agent.miner.runs.lease import Lease
from agent.miner.runs.malformed import MalformedLeases
from agent.miner.runs.run import JobRun, RunDependencies
from agent.protocol.answers import LeaseAnswer, Registered
from agent.protocol.reading import MalformedMessage
from runners.awake import boot_seconds
from runners.errors import FailureCode

_CANCEL_SECONDS: Final = 20.0
"""How long a cancelled run may take to end before its lease is handed back nevertheless."""
_CANCEL_GRACE_SECONDS: Final = 5.0
"""How long a cancelled run may take to clean up, in addition to `miner.cancel_seconds`."""
_RELEASE_SECONDS: Final = 5.0
MAX_FINISHED: Final = 20
"""How many of the latest runs the status shows."""
_USES: Final = {
    "downloading": Use.FETCHING,
    "fetching": Use.FETCHING,
    "waiting": Use.WAITING,
    "loading": Use.LOADING,
    "running": Use.WORKING,
}

_log = structlog.get_logger(__name__)


@dataclass(eq=False)
class Workload:
    """Accepts leases while there is free capacity, from `open` to `end`. `slots`, `max_outbox` and `max_downloads` are limits.

    A run whose model is being downloaded occupies no slot, up to `max_downloads` of them; afterwards it waits for one, before
    new leases.
    Call `pauses_changed` when the devices that `pauses` pauses have changed. `on_services_changed` is called when a service begins
    or ends a pause.
    """

    parts: RunDependencies
    pauses: Pauses
    _: KW_ONLY
    slots: int
    max_outbox: int
    max_downloads: int

    def __post_init__(self) -> None:
        self._changed = asyncio.Event()
        self._admitting: list[JobRun] = []
        self._finished: deque[dict[str, Any]] = deque(maxlen=MAX_FINISHED)
        self._faults = FaultGuard()
        self._malformed = MalformedLeases(self.parts.outbox, self.parts.background)
        self._runs: dict[tuple[str, int], tuple[JobRun, asyncio.Task[None]]] = {}
        self._open = False
        self._connected = False
        self._ending = False
        self.completed = 0
        self.machine_faults = 0
        self.on_services_changed: Callable[[], object] = lambda: None

    def __len__(self) -> int:
        return len(self._runs)

    def session_began(self, registered: Registered) -> None:
        """Drop the runs whose leases did not survive the earlier session."""
        valid = {(item.job_id, item.fence) for item in registered.keep}
        for job_id, fence in self._runs.keys() - valid:
            self.drop(job_id, fence)

    def open(self) -> None:
        """Start accepting leases."""
        self._open = True
        self.update()

    def update(self) -> None:
        """Announce the free capacity to the coordinator."""
        free = self._capacity(self._occupying()) if self._accepts() else FreeCapacity(0, {}, {})
        batch_capacity = [
            {"service": service, "model": model, "free": count}
            for (service, model), count in free.batch_capacity.items()
        ]
        self.parts.link.set_slots(free.slots, batch_capacity)
        # Wakes all that wait, then replaces the event, so that none of them misses the next change.
        self._changed.set()
        self._changed = asyncio.Event()

    def free_slots(self) -> int:
        """Return how many more jobs can start, besides those that join a batch."""
        return self._capacity(self._occupying()).slots if self._accepts() else 0

    def _accepts(self) -> bool:
        """Whether leases are accepted."""
        full = len(self.parts.outbox) >= self.max_outbox
        return self._open and not full and self.pause_reason() is None

    def _capacity(self, runs: Sequence[JobRun]) -> FreeCapacity:
        """Return the free capacity, after those of these runs that have no device yet."""
        working = self.parts.executor.working()
        batches = [run.batch for run in runs]
        return self._beside(working, self._free(working), self.pauses.now.devices, batches)

    def _beside(
        self, working: Sequence[Working], slots: int, paused: Collection[str], batches: Sequence[Batch]
    ) -> FreeCapacity:
        """Return the free capacity: `slots` and running batches, less the runs of `batches` that have no device yet."""
        on_device, batch_capacity = Counter[Batch](), Counter[Batch]()
        for child in working:
            # Runs that have a device are part of what the executor reports, and must not be counted twice.
            on_device[child.service, child.model] += child.runs
            # A job may join a batch on a GPU that is not paused only; the paused one finishes what it has.
            if not set(child.devices) & set(paused):
                batch_capacity[child.service, child.model] += child.capacity - child.runs
        concurrency = {service: offer.concurrency for service, offer in self.parts.services.items()}
        free = FreeCapacity(slots, batch_capacity, concurrency)
        for batch in (Counter(batches) - on_device).elements():
            free.reserve(*batch)
        return free

    def _free(self, working: Sequence[Working]) -> int:
        """Return the free slots of devices that are not paused."""
        now = self.pauses.now
        if now.miner is not None:
            return 0
        # Every paused GPU takes its share of the slots away, even if the owner allows more jobs than there are GPUs.
        slots = min(self.slots, self._per_card * (max(1, self.pauses.cards) - len(now.gpus)))
        device_counts = [len(child.devices) for child in working]
        used_there = sum(len(set(child.devices) - now.devices) for child in working)
        free = self.parts.executor.free()
        return max(
            0,
            min(slots - used_there, self.slots - sum(device_counts), self.slots if free is None else free),
        )

    @property
    def _per_card(self) -> int:
        return -(-self.slots // max(1, self.pauses.cards))

    def _occupying(self) -> list[JobRun]:
        """Return the runs that occupy capacity: all but the first few whose model is being downloaded."""
        runs = [run for run, _ in self._runs.values()]
        # Only so many, or leases for models that are not here would pile up without limit.
        downloading = [run for run in runs if run.stage == "downloading"][: self.max_downloads]
        return [run for run in runs if run not in downloading]

    def downloading(self) -> None:
        """See `RunAdmission`."""
        self.update()

    async def admit(self, run: JobRun) -> None:
        """See `RunAdmission`. The runs whose models have arrived get slots in that order, and before new leases."""
        # The order of this list is the order of admission, so a run with a small model cannot overtake for ever.
        self._admitting.append(run)
        try:
            run.stage = "waiting"
            self.update()
            while not self._has_capacity_for(run):
                await self._changed.wait()
        finally:
            self._admitting.remove(run)
            self.update()

    def _has_capacity_for(self, run: JobRun) -> bool:
        """Return whether there is capacity for one more run, after those that have it and those that have waited longer."""
        later = self._admitting[self._admitting.index(run) :]
        earlier = [other_run for other_run in self._occupying() if other_run not in later]
        return self._capacity(earlier).reserve(*run.batch)

    def pause_reason(self) -> str | None:
        """Return why no leases are accepted despite free slots, for the owner; None if they are accepted."""
        return self.pauses.reason()

    def paused_services(self) -> dict[str, str]:
        """Return the services that accept no leases because of the machine, and the reasons."""
        paused = self._faults.paused(time.monotonic())
        return {service: paused[service] for service in self.parts.services if service in paused}

    def moment(self) -> Moment:
        """Return the current use of the slots."""
        working = self.parts.executor.working()
        occupying = self._occupying()
        batches = [run.batch for run in occupying]
        # Pauses are left out here: a paused slot is idle for a reason of its own, which is reported beside this.
        free = self._beside(working, max(0, self.slots - len(working)), (), batches)
        return Moment(
            slots=self.slots,
            free=free.slots,
            stages=[_USES[run.stage] for run in occupying],
            barrier=self._barrier(),
            paused=[pause.cause for pause in self.pauses.now.gpus.values()],
            per_card=self._per_card,
        )

    def _barrier(self) -> Use | None:
        """Return why no leases are accepted at all, None if they are."""
        if not self._open:
            return Use.STOPPING if self._ending else Use.STARTING
        if self.pauses.now.miner is not None:
            return PAUSED[self.pauses.now.miner.cause]
        if self.parts.link.connection == "offline":
            return Use.OFFLINE if self._connected else Use.STARTING
        # Before the first answer a miner is starting, and only afterwards can it be offline.
        self._connected = True
        if len(self.parts.outbox) >= self.max_outbox:
            return Use.OUTBOX
        services = self.parts.services
        return Use.COOLING_DOWN if services and len(self.paused_services()) == len(services) else None

    def pauses_changed(self) -> None:
        """Hand back the leases of runs that have no device yet and for which no capacity is left."""
        free = self._capacity(())
        occupying = (
            self._occupying() if self.pauses.now.miner is None else [run for run, _ in self._runs.values()]
        )

        def has_no_capacity(run: JobRun) -> bool:
            return not run.devices and run in occupying and not free.reserve(*run.batch)

        self._hand_back(has_no_capacity)
        self.update()

    def hand_back(self, device: str | None) -> int:
        """End the runs on a device, or all, and hand their leases back. Return how many."""
        return self._hand_back(lambda run: device is None or device in run.devices)

    def needed_changed(self, before: Mapping[str, str], now: Mapping[str, str]) -> None:
        """Give devices back that other programs use since `before`, each with what its owner wants for the jobs that run there."""
        for run, _ in self._runs.values():
            if not any(now.get(device) == "checkpoint" for device in run.devices):
                # The other program has ended before there was a checkpoint.
                run.on_checkpoint = None
        for device in now.keys() - before.keys():
            if now[device] == "hand_back":
                self.hand_back(device)
            elif now[device] == "checkpoint":
                for run, _ in self._runs.values():
                    if device in run.devices:
                        run.on_checkpoint = partial(self._hand_back, partial(operator.is_, run))

    def _hand_back(self, chosen_run: Callable[[JobRun], bool]) -> int:
        chosen = [
            (key, task) for key, (run, task) in self._runs.items() if run.can_be_cancelled and chosen_run(run)
        ]
        for key, task in chosen:
            # Set before the cancellation, since the task may end as soon as it is cancelled.
            self._runs[key][0].outcome = "handed back"
            task.cancel()
            self.parts.background.spawn(self._release_ended(key, task), f"release-{key[0]}")
        return len(chosen)

    async def _release_ended(self, key: tuple[str, int], task: asyncio.Task[None]) -> None:
        await asyncio.wait([task], timeout=_CANCEL_SECONDS)
        await self._release(key, "paused")

    def accept(self, values: Mapping[str, Any]) -> None:
        """Start to run a lease as the coordinator sends it. Without a free slot it is handed back; one that is not understood fails."""
        try:
            self._accept(Lease.read(values))
        except MalformedMessage as error:
            self._malformed.refuse(values, str(error))
        self.update()

    def _accept(self, lease: Lease) -> None:
        if lease.key in self._runs or lease.key in self.parts.outbox:
            return  # sent twice
        reach("miner.lease_received")
        paused = lease.service in self.paused_services()
        if (
            not self._open
            or paused
            or not self._capacity(self._occupying()).reserve(lease.service, lease.spec.model)
        ):
            # e.g. one that was on its way when a pause began
            reason = "no free slot" if self.pauses.now.miner is None else "paused"
            self.parts.background.spawn(self._release(lease.key, reason), f"release-{lease.job_id}")
            return
        run = JobRun(lease, self.parts, self)
        task = asyncio.create_task(run.run(), name=f"run-{lease.job_id}")
        self._runs[lease.key] = (run, task)
        task.add_done_callback(lambda task: self._ended(run, task))
        _log.info(
            "lease_accepted",
            job_id=lease.job_id,
            fence=lease.fence,
            service=lease.service,
            trace_id=lease.trace_id,
        )

    def drop(self, job_id: str, fence: int) -> None:
        """End the run of a cancelled or lost lease. Each heartbeat reports it again until the run has ended.

        A run that is being cancelled may wait for the others in its process; a second cancellation would interrupt its cleaning up.
        """
        run, task = self._runs.get((job_id, fence), (None, None))
        if run is not None and task is not None and run.can_be_cancelled and not task.cancelling():
            task.cancel()

    def drop_all(self) -> None:
        """End all runs, whose leases are void."""
        for job_id, fence in list(self._runs):
            self.drop(job_id, fence)

    def answered(self, leases: Sequence[LeaseAnswer]) -> None:
        """Drop the runs whose leases a heartbeat's answer reports as cancelled or lost."""
        for lease in leases:
            if lease.status in {"cancelled", "lost"}:
                self.drop(lease.job_id, lease.fence)

    def holding(self) -> list[dict[str, Any]]:
        """Return the leases of running and of finished runs, for a registration.

        With running ones, a coordinator that has forgotten the session's token costs no work.
        """
        running = [{"job_id": job_id, "fence": fence} for job_id, fence in self._runs]
        return [*running, *self.parts.outbox.holding()]

    def states(self) -> list[dict[str, Any]]:
        """Return the leases and their progress, for a heartbeat.

        The leases of finished runs are included: they must not expire until their files are delivered.
        """
        running = [
            {
                "job_id": job_id,
                "fence": fence,
                "progress": run.progress,
                "counter": run.counter,
                "units": f"{run.units:f}",
            }
            for (job_id, fence), (run, _) in self._runs.items()
        ]
        return [*running, *({**lease, "progress": 100.0} for lease in self.parts.outbox.holding())]

    async def finish(self) -> None:
        """Accept no more leases, and wait until the running jobs have ended, however long they take."""
        self._open = False
        self.update()
        await self.drained()

    async def drained(self) -> None:
        """Wait until no job runs, however long that takes."""
        while self._runs:
            await asyncio.wait([task for _, task in self._runs.values()])

    async def end(self, *, drain_seconds: float, cancel_seconds: float, hurry: asyncio.Event) -> None:
        """Accept no more leases, wait for running jobs unless `hurry` is set, and hand back unfinished leases."""
        self._open, self._ending = False, True
        self.update()
        running = dict(self._runs)
        await _wait({task for _, task in running.values()}, drain_seconds, hurry)
        unfinished = [key for key, (run, task) in running.items() if not task.done() and run.can_be_cancelled]
        for key in unfinished:
            running[key][1].cancel()
        await self._settle(cancel_seconds + _CANCEL_GRACE_SECONDS)
        await asyncio.gather(*(self._release(key, "shutdown") for key in unfinished))

    async def close(self) -> None:
        """Cancel all runs."""
        self._open = False
        for _, task in self._runs.values():
            task.cancel()
        await self._settle(_CANCEL_GRACE_SECONDS)

    async def _settle(self, limit: float) -> None:
        tasks = [task for _, task in self._runs.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=limit)

    async def _release(self, key: tuple[str, int], reason: str) -> None:
        job_id, fence = key
        _log.info("lease_released", job_id=job_id, fence=fence, reason=reason)
        body = {"fence": fence, "reason": reason}
        try:
            await self.parts.link.call("release", job_id, body, limit=_RELEASE_SECONDS)
        except Unreachable as error:
            _log.warning("lease_not_released", job_id=job_id, fence=fence, error=str(error))

    def _ended(self, run: JobRun, task: asyncio.Task[None]) -> None:
        self._runs.pop(run.lease.key, None)
        self.parts.energy.ended(run.ended())
        self.completed += run.outcome == "completed"
        self.machine_faults += run.machine_fault
        self._finished.append({**self._describe(run), "outcome": run.outcome, "ended_at": time.time()})
        if task.cancelled():
            pass
        elif (error := task.exception()) is not None:
            _log.error("run_failed", job_id=run.lease.job_id, fence=run.lease.fence, exc_info=error)
        else:
            self._judge(run)
        self.update()

    def _judge(self, run: JobRun) -> None:
        """Pause the service of a run if the machine is not fit for it, and count a request that the service does not understand."""
        service, now = run.lease.service, time.monotonic()
        if run.outcome == FailureCode.LEASE_MALFORMED:
            self._malformed.note(run.lease.job_id, f"the parameters of {service}")
        if run.unsupported is not None:
            self._faults.withdraw(service, run.unsupported, now)
        elif not run.machine_fault:
            self._faults.success(service)
            return
        elif not self._faults.fault(service, run.lease.job_id, now):
            return
        seconds, cause = self._faults.seconds_left(service, now), self.paused_services().get(service)
        _log.warning("service_paused", service=service, seconds=seconds, cause=cause)
        asyncio.get_running_loop().call_later(seconds, self.on_services_changed)
        self.on_services_changed()

    def status(self) -> list[dict[str, Any]]:
        """Return the running jobs, for the daemon's status."""
        return [self._describe(run) for run, _ in self._runs.values()]

    def finished(self) -> list[dict[str, Any]]:
        """Return the latest ended runs, the newest last. `outcome` is "completed", "handed back", "dropped" or an error code."""
        return list(self._finished)

    def malformed(self) -> dict[str, Any] | None:
        """Return the leases that this miner did not understand, for the daemon's status; None without any."""
        return self._malformed.status()

    def _describe(self, run: JobRun) -> dict[str, Any]:
        return {
            "job_id": run.lease.job_id,
            "fence": run.lease.fence,
            "service": run.lease.service,
            "model": run.lease.spec.model,
            "stage": run.stage,
            "device": ",".join(run.devices) or None,
            "progress": run.progress,
            "seconds": round(boot_seconds() - run.lease.received_at, 1),
            "seconds_left": round(run.lease.seconds_left(), 1),
        }


async def _wait(tasks: Collection[asyncio.Task[None]], limit: float, hurry: asyncio.Event) -> None:
    """Wait until all tasks have ended, for at most `limit` seconds or until `hurry` is set."""
    if not tasks:
        return
    hurried = asyncio.create_task(hurry.wait(), name="drain-hurry")
    all_ended = asyncio.create_task(asyncio.wait(tasks), name="drain-wait")
    try:
        await asyncio.wait([hurried, all_ended], timeout=limit, return_when=asyncio.FIRST_COMPLETED)
    finally:
        hurried.cancel()
        all_ended.cancel()
