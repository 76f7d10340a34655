"""Sealed jobs, and the keys to which clients seal them."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.sealing import requests, routes
from agent.coordinator.hooks import Hooks

FEATURE: Final = Feature(
    name="sealing",
    routers=(routes.router,),
    hooks=Hooks(
        check_request=requests.check_request,
        admit_job=requests.admit_job,
        results_accepted=requests.results_accepted,
        describe_jobs=requests.describe_jobs,
    ),
)
