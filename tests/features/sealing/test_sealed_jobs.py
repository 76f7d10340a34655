"""What the coordinator does for sealed jobs, of which it sees only ciphertext."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from nacl.signing import SigningKey

from agent.core.values.quantities import format_time
from aitbc.dsse import sign_envelope
from aitbc.sealing import EncryptionKey, ReplyKey, RequestSealer, SealedInput, read_answer
from aitbc.sealing.keys import PAYLOAD_TYPE
from aitbc.sealing.suite import key_id
from aitbc.statement import Sealing
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.jobs import job
from support.server import Served

DAY = 86_400
MODEL = "tiny.en"
RESULTS = {"sealed": {"ciphertext": "AAAA"}, "units": 1, "processing_time": 0.5}


def publish(miner: ScriptedMiner, *, days: float = 30, signer: SigningKey | None = None, origin: str | None = None) -> EncryptionKey:  # fmt: skip
    """Send a heartbeat with one key."""
    now, public = time.time(), ReplyKey().public
    key = EncryptionKey(
        miner.miner_id,
        key_id(public),
        public,
        format_time(now - DAY),
        format_time(now + days * DAY),
        origin or miner.registration["origin"],
    )
    envelope = sign_envelope(PAYLOAD_TYPE, key.to_payload(), signer or miner.key)
    published = [{"envelope": envelope, "attestation": None}]
    answer = miner.http.post("/heartbeat", json={"capabilities": capabilities(encryption_keys=published)})
    answer.raise_for_status()
    return key


@pytest.fixture
def key(miner: ScriptedMiner) -> EncryptionKey:
    return publish(miner)


def body(client: httpx.Client, key: EncryptionKey, *, file: bytes | None = b"ciphertext", **changes: Any) -> dict[str, Any]:  # fmt: skip
    """Return a sealed job of the transcription service, whose file has been stored."""
    files = []
    if file is not None:
        stored = client.post("/v1/artifacts?name=talk.wav", content=file).json()
        files = [SealedInput("audio_url", stored["artifact_id"], 10, "audio/wav", "talk.wav")]
    sealer = RequestSealer(key, ReplyKey(), service="whisper_transcription", model=MODEL)
    sealed = sealer.seal({"audio_url": "artifact:..."}, files)
    return {"type": "whisper-transcription", "miner_id": key.miner_id, "sealed": sealed, **changes}


def faults(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 422, answer.text
    fields: dict[str, str] = answer.json()["error"]["details"]["fields"]
    return fields


def test_a_miners_key_is_published_only_as_it_signed_it(client: httpx.Client, miner: ScriptedMiner) -> None:
    path = f"/v1/miners/{miner.miner_id}/encryption-key"
    assert client.get(path).status_code == 404
    for wrong in ({"signer": SigningKey.generate()}, {"origin": "another.log"}, {"days": -0.1}):
        publish(miner, **wrong)
        assert client.get(path).status_code == 404
    key = publish(miner)
    answer = client.get(path)
    assert read_answer(answer.json(), miner.miner_id, time.time()) == key
    assert client.get(path, headers={"Authorization": ""}).status_code == 401
    assert client.get("/v1/miners/miner_" + "a" * 26 + "/encryption-key").status_code == 404


def test_a_sealed_job_runs_and_its_receipt_is_about_its_request(
    client: httpx.Client, miner: ScriptedMiner, key: EncryptionKey
) -> None:
    """The miner gets the ciphertext and nothing else, and the coordinator's answers name neither file nor parameters."""
    request = body(client, key)
    created = client.post("/v1/jobs", json=request)
    assert created.status_code == 201, created.text
    job_id = created.json()["job_id"]
    shown = job(client, job_id)
    assert (shown["name"], shown["parameters"]) == ("whisper-transcription", {})
    assert shown["sealed"] == {
        name: request["sealed"][name]
        for name in ("version", "key_id", "request_id", "reply_key", "model", "adapters")
    }
    assert client.get(f"/v1/jobs/{job_id}/explain").status_code == 200
    (lease,) = miner.poll()
    spec = lease["spec"]
    assert (spec["parameters"], list(spec["files"]), spec["model"]) == ({}, ["0"], MODEL)
    assert spec["sealed"]["ciphertext"] == request["sealed"]["ciphertext"]
    digests = {"request": "1" * 64, "results": "2" * 64}
    good = Sealing(key_id=key.key_id, request_id=request["sealed"]["request_id"], **digests)
    other = Sealing(key_id=key.key_id, request_id="0" * 32, **digests)
    for wrong in (None, other):
        refused = miner.complete(lease, RESULTS, sealed=wrong)
        assert refused.json()["error"]["code"] == "RECEIPT_INVALID", refused.text
        assert "sealed" in refused.json()["error"]["details"]["fields"]
    assert miner.complete(lease, RESULTS, sealed=good).status_code == 200
    receipt = client.get(f"/v1/receipts/{job_id}").json()
    assert client.post("/v1/receipts/verify", json={"receipt": receipt}).json()["valid"]
    again = client.post(f"/v1/jobs/{job_id}/rerun", json={})
    assert (again.status_code, "is sealed" in again.text) == (409, True)


def test_a_job_in_clear_gets_no_sealed_receipt(client: httpx.Client, miner: ScriptedMiner) -> None:
    client.post(
        "/v1/services/whisper/transcribe", json={"audio_url": "https://example.com/a.mp3", "model": "base"}
    )
    (lease,) = miner.poll()
    sealing = Sealing(key_id="0" * 32, request_id="1" * 32, request="2" * 64, results="3" * 64)
    assert "sealed" in miner.complete(lease, {"text": "a", "units": 1}, sealed=sealing).text


def test_requests_that_no_miner_could_open_are_refused_with_the_reason(
    client: httpx.Client, miner: ScriptedMiner, key: EncryptionKey
) -> None:
    good = body(client, key)

    def refused(**changes: Any) -> dict[str, str]:
        values = {**good, **changes}
        return faults(client.post("/v1/jobs", json={name: value for name, value in values.items() if value is not None}))  # fmt: skip

    def sealed(**changes: Any) -> dict[str, Any]:
        return {"sealed": {**good["sealed"], **changes}}

    assert "no other can read it" in refused(miner_id=None)["sealed"]
    assert refused(parameters={"audio_url": "x"}) == {
        "parameters": "remove it: the input of a sealed job is in `sealed` only"
    }
    assert "fetch the key again" in refused(**sealed(key_id="0" * 32))["sealed.key_id"]
    assert "no model 'unknown'" in refused(**sealed(model="unknown"))["sealed.model"]
    assert "no adapter" in refused(**sealed(adapters=["x"]))["sealed.adapters"]
    assert "artifacts only" in refused(**sealed(files=["https://example.com/a.wav"]))["sealed.files.0"]
    assert "there is no artifact" in refused(**sealed(files=["artifact:sha256:" + "0" * 64]))["0"]
    assert "sealed.capsule" in refused(**sealed(capsule="AAAA"))
    assert "sealed.version" in refused(**sealed(version=2))
    assert refused(type="video-transcoding")["sealed.model"] == "video_transcoding has no models; use null"
    publish(miner)  # the miner has a new key, and the old one is no longer usable
    assert "fetch the key again" in refused()["sealed.key_id"]
    for path in ("/v1/chat/completions", "/v1/services/llm/inference"):
        answer = client.post(path, json={"model": "tiny.en", "sealed": good["sealed"]})
        assert (answer.status_code, "sealed" in answer.text) == (422, True)


def test_an_offer_determines_whose_key_it_is(
    client: httpx.Client, miner: ScriptedMiner, key: EncryptionKey, served: Served
) -> None:
    other = ScriptedMiner(served.url)
    other.register().raise_for_status()
    offers = client.get("/v1/marketplace/offers?job_type=whisper-transcription").json()["offers"]
    by_miner = {offer["miner_id"]: offer["offer_id"] for offer in offers}
    request = body(client, key, miner_id=None)
    del request["miner_id"]
    wrong = client.post("/v1/jobs", json={**request, "offer_id": by_miner[other.miner_id]})
    assert "sealed.key_id" in faults(wrong)
    created = client.post("/v1/jobs", json={**request, "offer_id": by_miner[miner.miner_id]})
    assert created.status_code == 201, created.text
    assert other.poll(wait=0) == []
    (lease,) = miner.poll()
    failed = miner.job(lease, "fail", kind="fail", code="SEALED_KEY_EXPIRED", message="expired", units="0")
    assert failed.json()["status"] == "failed"
    ended = job(client, lease["job_id"])
    assert (ended["cost"], ended["error"]["code"]) == ("0", "SEALED_KEY_EXPIRED")
    assert client.get("/v1/wallet").json()["held"] == "0"


def test_a_sealed_job_whose_offers_miner_stays_away_fails_and_costs_nothing(
    client: httpx.Client, miner: ScriptedMiner, key: EncryptionKey, served: Served
) -> None:
    """A job in clear returns to the open market then; nobody else could read this one."""
    from agent.coordinator.features.offers import acceptance  # noqa: PLC0415

    offers = client.get("/v1/marketplace/offers?job_type=whisper-transcription").json()["offers"]
    request = body(client, key)
    del request["miner_id"]
    created = client.post("/v1/jobs", json={**request, "offer_id": offers[0]["offer_id"]}).json()

    async def later(context: Any) -> None:
        from dataclasses import replace  # noqa: PLC0415

        moved = replace(context, clock=lambda: time.time() + DAY)
        await acceptance.tidy(moved)

    served.do(later)
    ended = job(client, created["job_id"])
    assert (ended["status"], ended["error"]["code"], ended["cost"]) == ("failed", "SEALED_MINER_AWAY", "0")
