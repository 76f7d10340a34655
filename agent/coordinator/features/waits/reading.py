"""What decides when a waiting job runs, as the database and the connected miners show it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from agent.coordinator import hooks
from agent.coordinator.dispatch.fleet import known_miners
from agent.coordinator.features.waits.words import FailedRun, JobSituation
from agent.coordinator.hooks import View
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.jobs import feasibility
from agent.coordinator.store import counts, jobs, queue
from agent.coordinator.store.jobs import JobRecord
from agent.core.feasibility import KnownMiner, elsewhere, runnable_on
from agent.core.jobs import Outcome
from agent.core.matching import Waiting, fits, in_turn


def situation_of(connection: Connection, context: Context, record: JobRecord) -> tuple[Waiting, JobSituation]:
    """Return a waiting job and everything that decides when it runs."""
    now = context.clock()
    job = queue.waiting_job(record)
    failures = [
        FailedRun(run["miner_id"], run["failure_code"] or "", run["failure_message"] or "")
        for run in jobs.runs_of(connection, record.job_id)
        if run["outcome"] == Outcome.RETRIED
    ]
    miners = [
        with_load(miner, context, job.service, job.model)
        for miner in known_miners(connection, context.settings, now)
    ]
    failed_on = frozenset(failed.miner_id for failed in failures)
    # Like the dispatcher: miners where the job has failed are avoided only while there are others.
    if failed_on and elsewhere(job, miners, failed_on, now):
        job = replace(job, avoided=failed_on)
    running = counts.running(connection, [record.account_id])
    restraints = hooks.restraints(connection, context.settings, now)
    limits = {account_id: limit.jobs for account_id, limit in restraints.accounts.items()}
    basis = JobSituation.of(feasibility.situation(context, job.service, job.model, tuple(miners)))
    # Only jobs that compete for the same miners come first; others wait for something else.
    ready = [miner for miner in miners if runnable_on(job, miner, basis)]
    situation = replace(
        basis,
        missing_files=json.loads(record.missing_files or "[]"),
        failures=failures,
        of_features=tuple(hooks.describe_jobs(connection, (record,), View.REASONS)[record.job_id].values()),
        running=running.get(record.account_id, 0),
        limit=limits.get(record.account_id),
        ahead=None if not ready else _ahead(connection, job, ready, limits, now),
    )
    return job, situation


def _ahead(
    connection: Connection,
    job: Waiting,
    ready: Sequence[KnownMiner],
    limits: Mapping[str, int],
    now: float,
) -> list[Waiting]:
    """Return the jobs that come first at the miners that can run this one."""
    candidates = [miner.candidate for miner in ready]
    waiting = {waiting_job.job_id: waiting_job for waiting_job in queue.waiting(connection, candidates)} | {
        job.job_id: job
    }
    load = Counter(
        counts.running(connection, sorted({waiting_job.account_id for waiting_job in waiting.values()}))
    )
    ahead = []
    for waiting_job in in_turn(waiting.values(), load, now, limits):
        if waiting_job.job_id == job.job_id:
            break
        # Each job that comes first counts as running for the fairness between accounts, as it will when its turn comes.
        if any(fits(waiting_job, candidate, now) for candidate in candidates):
            load[waiting_job.account_id] += 1
            ahead.append(waiting_job)
    return ahead


def with_load(miner: KnownMiner, context: Context, service: str, model: str | None) -> KnownMiner:
    """Return the miner with whether it has free capacity for jobs of a service and model."""
    port = context.dispatcher.connected(miner.miner_id)
    free = port is not None and port.free.accepts(service, model)
    # Load is known only to the connection, since the database is not written for each change of it.
    return replace(miner, busy=not free)
