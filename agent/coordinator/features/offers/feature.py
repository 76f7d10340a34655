"""Offers: prices at which miners run a limited number of jobs for a while, and the jobs that clients give to them."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature, Task
from agent.coordinator.features.offers import acceptance, offers, routes, standing, store
from agent.coordinator.hooks import Hooks

TIDY_SECONDS: Final = 1.0

FEATURE: Final = Feature(
    name="offers",
    routers=(routes.router,),
    tasks=(Task("offers", TIDY_SECONDS, acceptance.tidy),),
    begin=standing.refresh_all,
    hooks=Hooks(
        job_refused=offers.job_refused,
        admit_job=acceptance.admit_job,
        jobs_submitted=acceptance.jobs_submitted,
        jobs_changed=acceptance.jobs_changed,
        describe_jobs=offers.describe_jobs,
        filter_jobs=offers.filter_jobs,
        data_deleted=store.forget,
        miner_reported=standing.miner_reported,
    ),
)
