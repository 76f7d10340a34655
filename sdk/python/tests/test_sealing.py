"""Sealed jobs open with the right keys and in no other case: the published vectors, and every part changed, moved and repeated."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.bindings._rust import openssl
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl.signing import SigningKey

from aitbc.canonical import b64decode, b64encode
from aitbc.dsse import sign_envelope
from aitbc.errors import VerificationError
from aitbc.keys import miner_id
from aitbc.sealing import (
    AnswerOpener,
    JobOfRequest,
    ReplyKey,
    open_file,
    open_request,
    read_answer,
    seal_file,
    sealed_size,
)
from aitbc.sealing.keys import PAYLOAD_TYPE
from aitbc.sealing.memory import SealedRequest, SealingMemory
from aitbc.sealing.suite import HPKE, decrypt, derive, hpke_seal, unpadded

VECTORS = Path(__file__).parents[3] / "tests" / "vectors"
SEALED = json.loads((VECTORS / "sealed.json").read_text())
RFC = json.loads((VECTORS / "rfc9180.json").read_text())
NOW = 1_796_000_000.0
"""Between the creation and the expiry of the vectors' key."""


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def refused(call, *arguments: Any, **named: Any) -> bool:
    try:
        call(*arguments, **named)
    except VerificationError:
        return True
    return False


def test_the_suite_opens_the_published_vector_of_rfc_9180() -> None:
    """Base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-128-GCM: the vector of appendix A.1.1."""
    (vector,) = (
        item
        for item in RFC
        if (item["mode"], item["kem_id"], item["kdf_id"], item["aead_id"]) == (0, 0x20, 1, 1)
    )
    private = X25519PrivateKey.from_private_bytes(bytes.fromhex(vector["skRm"]))
    assert private.public_key().public_bytes_raw().hex() == vector["pkRm"]
    assert len(vector["encryptions"]) > 2
    for number, item in enumerate(vector["encryptions"]):
        aad, ciphertext, plaintext = (bytes.fromhex(item[name]) for name in ("aad", "ct", "pt"))
        nonce = bytes.fromhex(item["nonce"])
        assert AESGCM(bytes.fromhex(vector["key"])).decrypt(nonce, ciphertext, aad) == plaintext
        if number == 0:  # of a context, the single-shot form is the first message
            opened = openssl.hpke._decrypt_with_aad(
                HPKE,
                bytes.fromhex(vector["enc"]) + ciphertext,
                private,
                bytes.fromhex(vector["info"]),
                aad,
            )
            assert opened == plaintext


def test_the_miners_key_is_accepted_only_as_it_signed_it() -> None:
    answer, private = SEALED["miner"]["answer"], b64decode(SEALED["miner"]["private_key"])
    key = read_answer(answer, answer["miner_id"], NOW)
    assert X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw() == key.public_key
    other = "miner_" + "a" * 26
    payload = flipped(b64decode(answer["envelope"]["payload"]), 40)
    changed = {**answer, "envelope": {**answer["envelope"], "payload": b64encode(payload)}}
    foreign = {**answer, "identity_key": b64encode(bytes(32))}
    assert refused(read_answer, answer, other, NOW)
    assert refused(read_answer, changed, answer["miner_id"], NOW)
    assert refused(read_answer, foreign, answer["miner_id"], NOW)
    assert refused(read_answer, answer, answer["miner_id"], NOW + 86400 * 60)  # expired
    identity = SigningKey(bytes(32))  # a miner that signs the key of another one
    public = bytes(identity.verify_key)
    envelope = sign_envelope(PAYLOAD_TYPE, key.to_payload(), identity)
    stolen = {**answer, "identity_key": b64encode(public), "envelope": envelope}
    assert refused(read_answer, stolen, miner_id(public), NOW)


def test_the_request_opens_with_its_key_job_and_bytes_only() -> None:
    private = X25519PrivateKey.from_private_bytes(b64decode(SEALED["miner"]["private_key"]))
    request, miner = SEALED["request"], SEALED["miner"]["answer"]["miner_id"]
    body, service = request["sealed"], request["service"]
    secret = open_request(private, body, miner_id=miner, service=service)
    assert secret.hex() == request["secret"]
    plaintext = decrypt(derive(secret, "request"), b64decode(body["ciphertext"]))
    assert (plaintext.decode(), len(plaintext) % 256) == (request["plaintext"], 0)
    assert unpadded(plaintext)["parameters"]["language"] == "en"

    assert refused(open_request, private, body, miner_id="miner_" + "a" * 26, service=service)
    assert refused(open_request, private, body, miner_id=miner, service="llm_inference")
    for name, value in (
        ("model", "base"),
        ("adapters", ["x"]),
        ("request_id", "0" * 32),
        ("key_id", "0" * 32),
        ("reply_key", b64encode(bytes(32))),
    ):
        assert refused(open_request, private, {**body, name: value}, miner_id=miner, service=service), name
    assert refused(
        open_request, X25519PrivateKey.generate(), body, miner_id=miner, service=service
    )  # another miner
    capsule = b64decode(body["capsule"])
    for position in range(0, len(capsule), 13):
        changed = {**body, "capsule": b64encode(flipped(capsule, position))}
        assert refused(open_request, private, changed, miner_id=miner, service=service)
    for position in range(0, 528, 97):
        assert refused(decrypt, derive(secret, "request"), flipped(b64decode(body["ciphertext"]), position))


@pytest.mark.parametrize("item", SEALED["files"], ids=lambda item: str(item["size"]))
def test_a_sealed_file_opens_whole_or_not_at_all(item: dict[str, Any]) -> None:
    """Changed bytes, a missing, moved or repeated chunk, and a cut at each border are detected."""
    key, size = bytes.fromhex(item["key"]), item["size"]
    plaintext = (bytes(range(251)) * (size // 251 + 1))[:size]
    sealed = b"".join(seal_file(key, io.BytesIO(plaintext)))
    assert len(sealed) == item["sealed_size"] == sealed_size(size)
    opens = lambda data: b"".join(open_file(key, io.BytesIO(data)))  # noqa: E731
    assert opens(sealed) == plaintext
    chunk = 65_536 + 16
    chunks = [sealed[start : start + chunk] for start in range(0, len(sealed), chunk)]
    broken = [flipped(sealed, position) for position in {0, len(sealed) // 2, len(sealed) - 1}]
    broken += [b"".join(chunks[:count]) for count in range(len(chunks))]  # cut between chunks
    broken += [sealed[:-1], sealed + bytes(16)]
    if len(chunks) > 1:
        broken += [b"".join([chunks[1], chunks[0], *chunks[2:]]), b"".join([chunks[0], *chunks])]
    assert [number for number, data in enumerate(broken) if not refused(opens, data)] == []
    assert refused(lambda: b"".join(open_file(bytes(16), io.BytesIO(sealed))))


def opener(**changes: str) -> AnswerOpener:
    answer = SEALED["answer"]
    job = {name: answer[name] for name in ("job_id", "miner_id", "request_id")} | changes
    return AnswerOpener(ReplyKey(b64decode(SEALED["reply_key"]["private_key"])), JobOfRequest(**job))


def test_the_answer_opens_for_its_client_and_job_only() -> None:
    answer = SEALED["answer"]
    results = answer["results"]
    opened = opener().results(results)
    assert (opened.results["text"], opened.digest) == ("Hello", answer["salted"]["results"])
    key = opener().file_key(results, 0)
    output = b"".join(open_file(key, io.BytesIO(b64decode(answer["output"]["sealed"]))))
    assert len(output) == opened.files[0]["size"]
    assert opener().log(json.dumps(answer["log"]["sealed"]))["entries"][0]["text"] == "one line"

    moved = ({"job_id": "job_another"}, {"miner_id": "miner_" + "a" * 26}, {"request_id": "0" * 32})
    for change in moved:
        assert refused(opener(**change).results, results)
        assert refused(opener(**change).event, answer["events"][0]["sealed"])
        assert refused(opener(**change).log, json.dumps(answer["log"]["sealed"]))
    foreign = AnswerOpener(ReplyKey(), JobOfRequest("job_sealed0vector", answer["miner_id"], answer["request_id"]))  # fmt: skip
    assert refused(foreign.results, results)
    for name, value in (("fence", "5"), ("spec_digest", "0" * 64), ("version", 2)):
        assert refused(opener().results, {**results, "sealed": {**results["sealed"], name: value}})
    for name in ("capsule", "ciphertext"):
        data = b64decode(results["sealed"][name])
        for position in range(0, len(data), 31):
            changed = {**results["sealed"], name: b64encode(flipped(data, position))}
            assert refused(opener().results, {**results, "sealed": changed})
    assert refused(opener().results, {"text": "in clear"})


@pytest.mark.parametrize("item", SEALED["foreign"], ids=lambda item: str(item["why"]))
def test_an_answer_to_another_request_opens_as_the_coordinator_describes_it_only(
    item: dict[str, Any],
) -> None:
    assert opener(**item["described"]).results(item["results"]).results == {"text": "Forged"}
    assert refused(opener().results, item["results"])


def test_the_memory_has_files_that_both_sdks_read(tmp_path: Path) -> None:
    memory = SEALED["memory"]
    request = SealedRequest(**memory["record"])
    for name in memory["names"]:
        SealingMemory(tmp_path).add(name, request)
        assert json.loads((tmp_path / f"{name}.json").read_text()) == memory["record"]
        assert SealingMemory(tmp_path).get(name) == request


def test_nobody_without_the_requests_secret_can_make_an_answer() -> None:
    """The client's public key is known to the coordinator, which could otherwise answer in the miner's name."""
    answer = SEALED["answer"]
    forged_secret = bytes(32)
    sealed = answer["results"]["sealed"]
    capsule = hpke_seal(b64decode(SEALED["reply_key"]["public_key"]), answer["info"].encode(), forged_secret)
    # The forger knows the answer's secret, not the request's.
    key = derive(forged_secret, "results", salt=bytes(32))
    ciphertext = AESGCM(key).encrypt(bytes(12), b'{"results": {"text": "forged"}}', None)
    forged = {**sealed, "capsule": b64encode(capsule), "ciphertext": b64encode(ciphertext)}
    with pytest.raises(VerificationError, match="does not open"):
        opener().results({**answer["results"], "sealed": forged})


def test_events_open_once_and_in_order() -> None:
    first, second = (item["sealed"] for item in SEALED["answer"]["events"])
    following = opener()
    assert following.event(first) == ("segment", SEALED["answer"]["events"][0]["data"])
    assert following.event(first) is None  # repeated
    assert following.event(second) == ("segment", SEALED["answer"]["events"][1]["data"])
    assert refused(following.event, {**second, "n": 2})  # renumbered
    late = opener()
    late.event(second)
    assert late.event(first) is None  # reordered
    late.restart()
    assert late.event(first) is not None
    assert refused(late.event, {**first, "ciphertext": second["ciphertext"]})
