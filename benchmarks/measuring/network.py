"""A simulated network over the coordinator's own matching, states of jobs and ledger: see `benchmarks/simulate.py`."""

from __future__ import annotations

import argparse
import heapq
import math
import random
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from agent.core.assignment import match
from agent.core.jobs import Claim, Complete, Expire, Finished, Job, JobState, apply
from agent.core.market.ledger import available, hold, settle
from agent.core.matching import Candidate, CandidateService, Waiting
from agent.core.ranked_miners import RankedMiners

WINDOW = 512
LEASE_SECONDS = 60.0
MAX_COST = 10**6
ROUND_SECONDS = 0.25
"""Time between rounds. The dispatcher's rounds follow each other as fast as they end, so a wait of up to this long is the simulation's."""
DAY_SECONDS = 86_400.0
BURST_SHARE = 0.1
BURST = 300


@dataclass(frozen=True)
class Kind:
    """A service: its share of the jobs, the median seconds and spread of its runs, the seconds to load and download a model."""

    share: float
    seconds: float
    spread: float
    models: int
    load: float
    download: float


SERVICES = {
    "llm_inference": Kind(0.6, 4.0, 0.8, 20, 6.0, 60.0),
    "image_generation": Kind(0.2, 12.0, 0.6, 10, 8.0, 60.0),
    "whisper_transcription": Kind(0.12, 20.0, 1.0, 4, 3.0, 30.0),
    "video_transcoding": Kind(0.08, 45.0, 1.0, 0, 0.0, 0.0),
}


@dataclass
class Miner:
    """A miner; `running` are its jobs with the fence of their leases, `loaded` the models in memory by service."""

    miner_id: str
    slots: int
    prices: dict[str, Decimal]
    models: dict[str, frozenset[str]]
    downloadable: bool
    online: bool = True
    since: float = 0.0
    online_seconds: float = 0.0
    running: dict[str, tuple[int, float]] = field(default_factory=dict)
    loaded: dict[str, deque[str]] = field(default_factory=dict)
    seen: Candidate | None = None

    def candidate(self) -> Candidate:
        """Return the miner as the matching sees it. What changes it sets `seen` to None."""
        if self.seen is None:
            self.seen = self._candidate()
        return self.seen

    def _candidate(self) -> Candidate:
        services = {
            name: CandidateService(
                price, self.models[name], frozenset(self.loaded.get(name, ())), downloadable=self.downloadable
            )
            for name, price in self.prices.items()
        }
        return Candidate(self.miner_id, 1, self.slots - len(self.running), services, Decimal(16), 2**36, 1)


class Queue:
    """The waiting jobs, by account in the order of submission. All have priority 0."""

    def __init__(self) -> None:
        self.by_account: dict[str, deque[Waiting]] = {}
        self.count = 0

    def add(self, job: Waiting, *, first: bool = False) -> None:
        """Add a job; a job that is retried is the first again."""
        jobs = self.by_account.setdefault(job.account_id, deque())
        jobs.appendleft(job) if first else jobs.append(job)
        self.count += 1

    def window(self) -> list[Waiting]:
        """Return the jobs that a round of matching sees."""
        if self.count < WINDOW:
            return [job for jobs in self.by_account.values() for job in jobs]
        share = max(1, WINDOW // len(self.by_account))
        found = {
            job.job_id: job
            for jobs in self.by_account.values()
            for job, _ in zip(jobs, range(share), strict=False)
        }
        oldest = heapq.merge(*self.by_account.values(), key=lambda job: job.submitted_at)
        found.update((job.job_id, job) for job, _ in zip(oldest, range(WINDOW), strict=False))
        return list(found.values())

    def remove(self, job_ids: set[str]) -> None:
        """Remove claimed jobs."""
        for account, jobs in list(self.by_account.items()):
            left = deque(job for job in jobs if job.job_id not in job_ids)
            self.count -= len(jobs) - len(left)
            if left:
                self.by_account[account] = left
            else:
                del self.by_account[account]


@dataclass
class Outcome:
    """What is measured."""

    waits: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    models: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    seconds: float = 0.0
    claims: int = 0
    expired: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    busy_seconds: float = 0.0
    marks: list[tuple[float, float]] = field(default_factory=list)


class Network:
    """The simulated network."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.random = random.Random(options.seed)  # noqa: S311 - a simulation repeats itself
        self.now = 0.0
        self.events: list[tuple[float, int, str, Any]] = []
        self.number = 0
        self.miners = {miner.miner_id: miner for miner in self._miners()}
        self.queue = Queue()
        self.jobs: dict[str, tuple[Job, Waiting]] = {}
        self.running: Counter[str] = Counter()
        self.balances: Counter[str] = Counter(
            {available(self._account(n)): 10**15 for n in range(options.accounts)}
        )
        self.issued = sum(self.balances.values())
        self.outcome = Outcome()
        mean = sum(kind.share * kind.seconds * math.exp(kind.spread**2 / 2) for kind in SERVICES.values())
        self.slots = sum(miner.slots for miner in self.miners.values())
        self.rate = options.load * self.slots * 0.87 / mean  # the share of time that miners are here
        self.submitted = 0
        self.free: dict[str, Miner] = dict(self.miners)
        self.candidates = RankedMiners()

    def _account(self, number: int) -> str:
        return f"account_{number}"

    def _miners(self) -> Iterator[Miner]:
        for number in range(self.options.miners):
            offered = self.random.sample(sorted(SERVICES), self.random.randint(1, len(SERVICES)))
            yield Miner(
                f"miner_{number:06}",
                self.random.choice((1, 1, 2, 4)),
                {name: Decimal(self.random.randrange(1, 9)) / 10_000 for name in offered},
                {name: self._models(name) for name in offered},
                downloadable=self.random.random() < 0.5,
            )

    def _models(self, service: str) -> frozenset[str]:
        count = SERVICES[service].models
        return frozenset(
            f"{service}/{n}" for n in range(count) if self.random.random() < 1.2 / (1 + n) ** 0.5
        )

    def at(self, moment: float, what: str, about: Any = None) -> None:
        """Add an event."""
        self.number += 1
        heapq.heappush(self.events, (moment, self.number, what, about))

    def run(self) -> Outcome:
        """Simulate until all jobs have ended."""
        self.at(0.0, "submit")
        self.at(ROUND_SECONDS, "round")
        for miner in self.miners.values():
            self.at(self.random.expovariate(1 / 7200), "leave", miner)
        handlers = {
            "submit": self.submit, "round": self.round, "leave": self.leave, "return": self.come_back, "done": self.done,
            "expire": self.expire,
        }  # fmt: skip
        while self.jobs or self.submitted < self.options.jobs:
            self.now, _, what, about = heapq.heappop(self.events)
            handlers[what](about)
        return self.outcome

    def submit(self, _: None) -> None:
        """Submit a job, or a burst of account 0's."""
        burst = self.random.random() < BURST_SHARE / BURST
        for _number in range(BURST if burst else 1):
            self._submit(0 if burst else int(self.options.accounts * self.random.random() ** 2))
        wave = 1 + 0.4 * math.sin(2 * math.pi * self.now / DAY_SECONDS)
        if self.submitted < self.options.jobs:
            self.at(self.now + self.random.expovariate(self.rate * wave / (1 + BURST_SHARE)), "submit")

    def _submit(self, account: int) -> None:
        service = self.random.choices(list(SERVICES), [kind.share for kind in SERVICES.values()])[0]
        kind = SERVICES[service]
        model = f"{service}/{int(kind.models * self.random.random() ** 3)}" if kind.models else None
        job_id = f"job_{self.submitted:09}"
        self.submitted += 1
        if self.submitted in (self.options.jobs // 4, self.options.jobs):
            self.outcome.marks.append((self._busy(), self._online()))
        waiting = Waiting(job_id, self._account(account), service, model, 0, self.now, budget=Decimal("0.01"))
        self.jobs[job_id] = (Job(job_id, JobState.SUBMITTED, 3600, 5), waiting)
        self._post(hold(waiting.account_id, MAX_COST, self.balances[available(waiting.account_id)]))
        self.queue.add(waiting)

    def _busy(self) -> float:
        """Return the slot seconds of runs so far, with the parts of present runs."""
        return self.outcome.busy_seconds + sum(
            self.now - begun for miner in self.miners.values() for _, begun in miner.running.values()
        )

    def _online(self) -> float:
        """Return the slot seconds for which miners were online so far."""
        return sum(
            (miner.online_seconds + (self.now - miner.since) * miner.online) * miner.slots
            for miner in self.miners.values()
        )

    def _post(self, entry: Any) -> None:
        for posting in entry:
            self.balances[posting.account] += posting.amount

    def round(self, _: None) -> None:
        """Match the waiting jobs with the free miners, and start the runs."""
        self.at(self.now + ROUND_SECONDS, "round")
        while self.queue.count and self.free:
            window = self.queue.window()
            free = [miner.candidate() for miner in self.free.values()]
            begun = time.thread_time()
            self.candidates.update(free)
            pairs = match(window, self.candidates, self.running, self.now)
            self.outcome.seconds += time.thread_time() - begun
            self.outcome.rounds += 1
            self.queue.remove({job_id for job_id, _ in pairs})
            for job_id, candidate in pairs:
                self._start(job_id, self.miners[candidate.miner_id])
            if len(window) == len(pairs) or not pairs or len(window) < WINDOW:
                break

    def _start(self, job_id: str, miner: Miner) -> None:
        job, waiting = self.jobs[job_id]
        job, _ = apply(job, Claim(miner.miner_id, 1, self.now, LEASE_SECONDS))
        self.jobs[job_id] = (job, waiting)
        self.running[waiting.account_id] += 1
        self.outcome.claims += 1
        if job.attempts == 1:
            self.outcome.waits[waiting.account_id].append(self.now - waiting.submitted_at)
        kind = SERVICES[waiting.service]
        seconds = kind.seconds * self.random.lognormvariate(0, kind.spread) + self._preparation(
            miner, waiting, kind
        )
        miner.running[job_id] = (job.fence, self.now)
        miner.seen = None
        if len(miner.running) == miner.slots:
            self.free.pop(miner.miner_id)
        self.at(self.now + seconds, "done", (job_id, job.fence, miner))

    def _preparation(self, miner: Miner, waiting: Waiting, kind: Kind) -> float:
        """Return the seconds until the model is loaded, which then replaces the one that was used least recently."""
        if waiting.model is None:
            return 0.0
        loaded = miner.loaded.setdefault(waiting.service, deque(maxlen=miner.slots))
        if waiting.model in loaded:
            loaded.remove(waiting.model)
            loaded.append(waiting.model)
            self.outcome.models["loaded"] += 1
            return 0.0
        loaded.append(waiting.model)
        if waiting.model in miner.models[waiting.service]:
            self.outcome.models["on disk"] += 1
            return kind.load
        miner.models[waiting.service] |= {waiting.model}
        self.outcome.models["downloaded"] += 1
        return kind.load + kind.download

    def done(self, about: tuple[str, int, Miner]) -> None:
        """Complete a run and pay for it, unless its miner has left since."""
        job_id, fence, miner = about
        held, begun = miner.running.get(job_id, (0, 0.0))
        if held != fence:
            return
        del miner.running[job_id]
        miner.seen = None
        self.free[miner.miner_id] = miner
        job, waiting = self.jobs.pop(job_id)
        job, effects = apply(job, Complete(miner.miner_id, fence, self.now))
        self.outcome.busy_seconds += self.now - begun
        self._end(job, waiting, effects, paid=MAX_COST // 2)

    def _end(self, job: Job, waiting: Waiting, effects: Any, *, paid: int) -> None:
        """Settle a job that has ended."""
        self.running[waiting.account_id] -= 1
        assert any(isinstance(effect, Finished) for effect in effects)
        assert job.state in (JobState.COMPLETED, JobState.FAILED)
        self.outcome.ended[job.state.value] += 1
        self._post(settle(waiting.account_id, "miner" if paid else None, MAX_COST, paid, 50_000).entry)

    def leave(self, miner: Miner) -> None:
        """Take a miner offline. Its leases expire."""
        miner.online = False
        miner.online_seconds += self.now - miner.since
        self.free.pop(miner.miner_id, None)
        for job_id, (_, begun) in miner.running.items():
            self.outcome.busy_seconds += self.now - begun
            self.at(self.now + LEASE_SECONDS, "expire", job_id)
        miner.running, miner.loaded = {}, {}
        miner.seen = None
        self.at(self.now + self.random.expovariate(1 / 1080), "return", miner)

    def come_back(self, miner: Miner) -> None:
        """Bring a miner back."""
        miner.online, miner.since = True, self.now
        self.free[miner.miner_id] = miner
        self.at(self.now + self.random.expovariate(1 / 7200), "leave", miner)

    def expire(self, job_id: str) -> None:
        """Let a lost lease expire: the job waits again, or has failed after its last attempt."""
        job, waiting = self.jobs[job_id]
        job, effects = apply(job, Expire(self.now, "The miner left."))
        self.outcome.expired += 1
        if job.state is JobState.SUBMITTED:
            self.running[waiting.account_id] -= 1
            self.jobs[job_id] = (job, waiting)
            self.queue.add(waiting, first=True)
        else:
            del self.jobs[job_id]
            self._end(job, waiting, effects, paid=0)
