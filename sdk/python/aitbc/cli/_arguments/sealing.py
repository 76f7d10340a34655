"""The miner to which a command seals its jobs, and jobs that were sealed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aitbc._client import AITBCClient
from aitbc.cli._arguments.ids import PAGE, offers
from aitbc.cli._arguments.lookup import NoSuchName
from aitbc.errors import NotFound, VerificationError
from aitbc.figures import sale_units

PYTHON_MODEL: Final = "ai_inference"


@dataclass(frozen=True, slots=True)
class SealingTarget:
    """The miner, and what to say about it."""

    miner_id: str
    notice: str


def find_target(
    client: AITBCClient,
    service: str,
    *,
    model: Any = None,
    miner_id: str | None = None,
    offer_id: str | None = None,
) -> SealingTarget:
    """Return the miner that was named, that of the offer, or else the cheapest available one that has the model and a key.

    Raises `NoSuchName` if there is none, `NotFound` if the named one accepts no sealed jobs, `VerificationError` for a key that must not
    be used.
    """
    if offer_id is not None:
        miner_id = next((offer.miner_id for offer in offers(client) if offer.offer_id == offer_id), None)
    if miner_id is not None:
        # Only to fail here, before anything is read or uploaded, if the miner accepts no sealed jobs.
        client.miners.encryption_key(miner_id)
        return SealingTarget(miner_id, _notice(client, miner_id, f"Sealed to {miner_id}."))
    miners = client.marketplace.miners(service=service, limit=PAGE).miners
    offered = [
        (float(service_offer.price), miner.name, miner.miner_id, service_offer)
        for miner in miners
        for service_offer in miner.services
        if miner.available
        and service_offer.service_id == service
        and (model is None or model in service_offer.models)
    ]
    # By price, then by name, so that the same command names the same miner as long as the market does not change.
    for _, name, candidate, service_offer in sorted(offered, key=lambda item: item[:3]):
        try:
            client.miners.encryption_key(candidate)
        except NotFound:
            continue
        sold = sale_units.sale_units_of(service_offer.sale_units, service_offer.unit)
        price = sale_units.price(service_offer.price, sold)
        chosen = f"Sealed to {name} ({candidate}), the cheapest miner with a key: {price}."
        return SealingTarget(candidate, _notice(client, candidate, chosen))
    needed = service if model is None else f"{service} with the model {model}"
    raise NoSuchName(
        f"No available miner accepts sealed jobs for {needed}. `aitbc miners` lists the miners; name one with --miner."
    )


def _notice(client: AITBCClient, miner_id: str, chosen: str) -> str:
    if client.miners.is_attested(miner_id):
        return (
            f"{chosen} Its key has an attestation; verify that of the receipt with `aitbc receipts verify`."
        )
    return f"{chosen} The coordinator cannot read the job. The owner of that machine can, since it has no attestation."


def require_sealed(client: AITBCClient, job_id: str, state: Mapping[str, Any]) -> None:
    """Raise `VerificationError` if the coordinator describes a job that this client sealed as another one."""
    request = client.jobs.sealed_request(job_id)
    if request is None:
        return
    sealed = state.get("sealed") or {}
    if sealed.get("request_id") != request.request_id or state.get("miner_id") not in {
        None,
        request.miner_id,
    }:
        raise VerificationError(
            f"The coordinator describes job {job_id} otherwise than it was sealed: to {request.miner_id}, "
            f"as the request {request.request_id}. Do not trust it."
        )
