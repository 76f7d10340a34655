"""A scripted miner that uses the protocol over HTTP and runs nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx
from nacl.signing import SigningKey

from agent import __version__
from aitbc.canonical import b64encode, canonical_json, sha256_hex
from aitbc.dsse import sign_detached, sign_envelope
from aitbc.keys import miner_id, registration_payload
from aitbc.outputs import output_files
from aitbc.statement import PAYLOAD_TYPE, REGISTRATION_TYPE, RESULT_NAME, NamedDigest, Statement, job_price
from runners.registry import installed

GPU = {
    "uuid": "GPU-1",
    "index": 0,
    "name": "Test GPU",
    "memory_total": 24 * 2**30,
    "memory_free": 24 * 2**30,
    "compute_capability": "8.9",
    "driver": "570.1",
}


def capabilities(**changes: Any) -> dict[str, Any]:
    """Capabilities of a powerful miner that offers every service."""
    services = {
        service_id: {
            "runner": "scripted",
            "version": "1",
            "models": ["tiny.en", "base"],
            "loaded": [],
            "downloadable": False,
            "unit_price": "0.001",
            "features": {},
            "concurrency": 1,
            "unavailable_models": [],
            "score": None,
        }
        for service_id in installed()
    }
    return {
        "services": services,
        "unavailable": {},
        "cpu_cores": 64,
        "memory": 2**38,
        "disk_free": 2**40,
        "gpus": [GPU],
        "slots": 4,
        **changes,
    }


@dataclass
class ScriptedMiner:
    """One miner's key; `register` opens a session."""

    url: str
    key: SigningKey = field(default_factory=SigningKey.generate)
    http: httpx.Client = field(init=False)
    registration: dict[str, Any] = field(default_factory=dict)
    leases: list[dict[str, Any]] = field(default_factory=list)
    prepared: dict[str, tuple[bytes, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=f"{self.url}/v1/miners", timeout=120)

    @property
    def miner_id(self) -> str:
        return miner_id(bytes(self.key.verify_key))

    def registration_body(self, **changes: Any) -> dict[str, Any]:
        challenge = self.http.post("/challenge", json={}).json()
        public_key = bytes(self.key.verify_key)
        payload = registration_payload(challenge["nonce"], challenge["origin"], public_key)
        return {
            "nonce": challenge["nonce"],
            "public_key": b64encode(public_key),
            "signature": sign_detached(REGISTRATION_TYPE, payload, self.key),
            "name": "scripted",
            "agent_version": __version__,
            "enrolment_token": None,
            "capabilities": capabilities(),
            "holding": [],
            **changes,
        }

    def register(self, **changes: Any) -> httpx.Response:
        answer = self.http.post("/register", json=self.registration_body(**changes))
        if answer.is_success:
            self.registration = answer.json()
            self.http.headers["Authorization"] = f"Bearer {self.registration['session_token']}"
        return answer

    def poll(
        self, slots: int = 1, wait: float = 10, batch_capacity: Sequence[dict[str, Any]] = ()
    ) -> list[dict[str, Any]]:
        answer = self.http.post(
            "/poll", json={"slots": slots, "wait": wait, "batch_capacity": list(batch_capacity)}
        )
        answer.raise_for_status()
        leases = answer.json()["leases"] if answer.status_code == 200 else []
        self.leases += leases
        return leases

    def job(self, lease: dict[str, Any], call: str, **body: Any) -> httpx.Response:
        return self.http.post(f"/jobs/{lease['job_id']}/{call}", json={"fence": lease["fence"], **body})

    def upload(
        self,
        data: bytes,
        media_type: str = "application/octet-stream",
        lease: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Store an output for a lease, by default the newest; before the first lease, when a result contains it."""
        if lease is None and not self.leases:
            artifact_id = f"sha256:{hashlib.sha256(data).hexdigest()}"
            self.prepared[artifact_id] = (data, media_type)
            return {"artifact_id": artifact_id, "size": len(data), "media_type": media_type}
        answer = self.store(data, media_type, lease)
        answer.raise_for_status()
        return answer.json()

    def store(
        self,
        data: bytes | Iterator[bytes],
        media_type: str = "application/octet-stream",
        lease: dict[str, Any] | None = None,
    ) -> httpx.Response:
        lease = lease or self.leases[-1]
        return self.http.post(
            f"{self.url}/v1/artifacts",
            params={"job_id": lease["job_id"], "fence": lease["fence"]},
            content=data,
            headers={"Content-Type": media_type},
        )

    def statement(self, lease: dict[str, Any], results: dict[str, Any], **changes: Any) -> Statement:
        units = Decimal(str(results["units"]))
        unit_price = Decimal(lease["unit_price"])
        definition = installed()[lease["service"]].definition
        model = lease["spec"]["model"]
        values = {
            "subject": (
                NamedDigest(RESULT_NAME, sha256_hex(canonical_json(results))),
                *(NamedDigest(file.name, file.sha256) for file in output_files(results)),
            ),
            "job_id": lease["job_id"],
            "miner_id": self.miner_id,
            "fence": lease["fence"],
            "origin": self.registration["origin"],
            "spec_digest": lease["spec_digest"],
            "inputs": tuple(
                NamedDigest(name, _input_digest(reference))
                for name, reference in sorted(lease["spec"]["files"].items())
            ),
            "service": lease["service"],
            "runner_name": "scripted",
            "runner_version": "1",
            "model": NamedDigest(model, "0" * 64) if model else None,
            "device_kind": "cuda",
            "device_name": "Test GPU",
            "device_uuid": "GPU-1",
            "started_at": lease["assigned_at"],
            "finished_at": lease["assigned_at"],
            "units": units,
            "unit": definition.unit_on("cuda"),
            "unit_price": unit_price,
            "price": job_price(units, unit_price, Decimal(lease["max_cost"])),
        }
        return Statement(**{**values, **changes})

    def result_body(self, lease: dict[str, Any], results: dict[str, Any], **changes: Any) -> dict[str, Any]:
        statement = self.statement(lease, results, **changes)
        files = [
            {
                "artifact_id": file.artifact_id,
                "name": file.name,
                "media_type": file.media_type,
                "size": file.size,
            }
            for file in output_files(results)
        ]
        envelope = sign_envelope(PAYLOAD_TYPE, statement.to_payload(), self.key)
        return {"fence": lease["fence"], "envelope": envelope, "results": results, "artifacts": files}

    def complete(self, lease: dict[str, Any], results: dict[str, Any], **changes: Any) -> httpx.Response:
        for file in output_files(results):
            if file.artifact_id in self.prepared:
                self.upload(*self.prepared.pop(file.artifact_id), lease)
        return self.http.post(
            f"/jobs/{lease['job_id']}/result", json=self.result_body(lease, results, **changes)
        )


def _input_digest(reference: Any) -> str:
    prefix = "artifact:sha256:"
    if isinstance(reference, str) and reference.startswith(prefix):
        return reference.removeprefix(prefix)
    return hashlib.sha256(str(reference).encode()).hexdigest()
