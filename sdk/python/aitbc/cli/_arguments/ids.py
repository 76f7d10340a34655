"""Ids that the commands' arguments name, looked up at the coordinator if they are not complete."""

from __future__ import annotations

from contextlib import suppress

from aitbc._client import AITBCClient
from aitbc.answers.jobs import Job
from aitbc.answers.market import Offer
from aitbc.cli._arguments.lookup import NamedCandidate, find
from aitbc.errors import APIError, Forbidden, JobNotCompleted, VerificationError
from aitbc.figures.amounts import with_currency

PAGE = 500
_JOBS_WITH_FILES = 50
"""How many of the newest jobs are searched for an output file."""


def find_job(client: AITBCClient, named: str) -> str:
    """Return the id of a job. Raises `NoSuchName` and `AmbiguousName`."""
    return find(
        "job", named, lambda: [_job(job) for job in client.jobs.list(limit=PAGE).jobs], "aitbc jobs list"
    )


def _job(job: Job) -> NamedCandidate:
    return NamedCandidate(job.job_id, str(job.get("name") or ""), job.status)


def find_miner(client: AITBCClient, named: str) -> str:
    """Return the id of a miner of the market. Raises `NoSuchName` and `AmbiguousName`."""

    def miners() -> list[NamedCandidate]:
        # One page is enough: who has more miners than that uses ids.
        listed = client.marketplace.miners(limit=PAGE).miners
        return [
            NamedCandidate(miner.miner_id, miner.name, "online" if miner.online else "offline")
            for miner in listed
        ]

    return find("miner", named, miners, "aitbc miners")


def find_offer(client: AITBCClient, named: str) -> str:
    """Return the id of an offer: by its id, or by its miner's name together with its type (`rig-1/llm_inference`).

    A miner's name alone is enough if it has only one offer. Raises `NoSuchName` and `AmbiguousName`.
    """

    def candidates() -> list[NamedCandidate]:
        names = {miner.miner_id: miner.name for miner in client.marketplace.miners(limit=PAGE).miners}
        # A miner has one offer for each service, so its name alone may name several.
        _, slash, job_type = named.partition("/")
        if slash:
            matching_offers = [
                offer for offer in offers(client) if offer.job_type == job_type.replace("-", "_")
            ]
            return [
                NamedCandidate(offer.offer_id, f"{names.get(offer.miner_id, '')}/{job_type}")
                for offer in matching_offers
            ]
        return [
            NamedCandidate(
                offer.offer_id,
                names.get(offer.miner_id, ""),
                f"{offer.job_type} for {with_currency(offer.price)} per unit",
            )
            for offer in offers(client)
        ]

    return find("offer", named, candidates, "aitbc offers list")


def offers(client: AITBCClient) -> list[Offer]:
    """Return the available offers and the caller's own, newest first."""
    offers_by_id = {offer.offer_id: offer for offer in client.marketplace.offers(limit=PAGE).offers}
    with suppress(Forbidden):  # a client has no offers of its own
        offers_by_id |= {
            offer.offer_id: offer for offer in client.marketplace.offers(limit=PAGE, mine=True).offers
        }
    return sorted(offers_by_id.values(), key=lambda offer: offer.created_at or "", reverse=True)


def find_artifact(client: AITBCClient, named: str) -> str:
    """Return the id of a file of the account, by its id, a part of it, or its name. Raises `NoSuchName` and `AmbiguousName`."""
    return find("file", named.removeprefix("artifact:"), lambda: _artifacts(client), "aitbc artifacts ls")


def _artifacts(client: AITBCClient) -> list[NamedCandidate]:
    """Return the newest files of the account."""
    with suppress(APIError):
        listed = client.artifacts.list(limit=PAGE).artifacts
        return [NamedCandidate(file.artifact_id, file.name or "", file.created_at or "") for file in listed]
    # An older coordinator does not list files, but the outputs of its newest jobs have their names in the results.
    artifacts: dict[str, NamedCandidate] = {}
    for job in client.jobs.list(status="completed", limit=_JOBS_WITH_FILES).jobs:
        # Deleted meanwhile, or sealed with another key.
        with suppress(JobNotCompleted, APIError, VerificationError):
            for file in client.jobs.get_results(job.job_id, wait=False).output_files():
                artifacts.setdefault(
                    file.artifact_id, NamedCandidate(file.artifact_id, file.name, job.job_id)
                )
    return list(artifacts.values())
