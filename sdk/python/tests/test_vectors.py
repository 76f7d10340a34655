"""The vectors of independent packages are accepted, and refused after a change of any byte."""

from __future__ import annotations

import base64
import copy

import pytest
from nacl.signing import SigningKey

from aitbc.canonical import canonical_json, parse_json, sha256_hex
from aitbc.dsse import open_envelope, pae, sign_envelope, verify_detached
from aitbc.errors import FormatError, VerificationError
from aitbc.keys import format_vkey, key_id, parse_vkey
from aitbc.log import open_checkpoint, receipt_leaf, verify_proof

from .conftest import every_byte_changed


def refused(call, *arguments) -> bool:
    try:
        call(*arguments)
    except VerificationError:
        return True
    return False


def as_text(data: bytes) -> str:
    """Decode bytes; invalid UTF-8 becomes lone surrogates, which JSON text cannot contain."""
    return data.decode("utf-8", "surrogateescape")


def test_canonical_forms_agree(vectors) -> None:
    for vector in vectors["jcs"]:
        assert canonical_json(vector["value"]) == vector["canonical"].encode()
        assert canonical_json(parse_json(vector["canonical"])) == vector["canonical"].encode()


def test_envelope_is_accepted_and_reproduced(vectors) -> None:
    vector = vectors["dsse"]
    payload, key = vector["payload"].encode(), base64.b64decode(vector["miner_public_key"])
    assert sha256_hex(pae(vector["payload_type"], payload)) == vector["pae_sha256"]
    assert open_envelope(vector["envelope"], key, vector["payload_type"]) == payload
    seed = SigningKey(base64.b64decode(vector["miner_seed"]))
    assert sign_envelope(vector["payload_type"], payload, seed) == vector["envelope"]


def test_payload_and_key_changed_in_one_byte_are_refused(vectors) -> None:
    vector = vectors["dsse"]
    kind, sig = vector["payload_type"], vector["envelope"]["signatures"][0]["sig"]
    payload, key = vector["payload"].encode(), base64.b64decode(vector["miner_public_key"])
    assert verify_detached(kind, payload, sig, key)
    assert not any(verify_detached(kind, changed, sig, key) for changed in every_byte_changed(payload))
    assert not any(verify_detached(kind, payload, sig, changed) for changed in every_byte_changed(key))
    assert not any(
        verify_detached(as_text(changed), payload, sig, key)
        for changed in every_byte_changed(kind.encode())
        if changed.isascii()
    )


@pytest.mark.parametrize("field", ["payload", "payloadType", "sig", "keyid"])
def test_envelope_field_changed_in_one_byte_is_refused(vectors, field: str) -> None:
    vector = vectors["dsse"]
    key = base64.b64decode(vector["miner_public_key"])
    holder = vector["envelope"] if field in vector["envelope"] else vector["envelope"]["signatures"][0]
    changes = every_byte_changed(holder[field].encode()) or [b" ", b"0"]
    for changed in changes:
        envelope = copy.deepcopy(vector["envelope"])
        target = envelope if field in envelope else envelope["signatures"][0]
        target[field] = as_text(changed)
        assert refused(open_envelope, envelope, key, vector["payload_type"]), changed


def test_envelope_text_changed_in_one_byte_is_refused(vectors) -> None:
    vector = vectors["dsse"]
    key = base64.b64decode(vector["miner_public_key"])
    text = canonical_json(vector["envelope"])

    def read(data: bytes) -> bytes:
        return open_envelope(parse_json(data), key, vector["payload_type"])

    assert read(text) == vector["payload"].encode()
    assert [changed for changed in every_byte_changed(text) if not refused(read, changed)] == []


def test_envelope_with_two_signatures_is_refused(vectors) -> None:
    vector = vectors["dsse"]
    envelope = copy.deepcopy(vector["envelope"])
    envelope["signatures"] *= 2
    with pytest.raises(FormatError):
        open_envelope(envelope, base64.b64decode(vector["miner_public_key"]), vector["payload_type"])


def test_log_key_is_accepted_and_reproduced(vectors) -> None:
    log = vectors["log"]
    origin, key = parse_vkey(log["vkey"])
    assert origin == log["origin"]
    assert key == bytes(SigningKey(base64.b64decode(log["log_seed"])).verify_key)
    assert format_vkey(origin, key) == log["vkey"]


def test_log_key_changed_in_one_byte_is_refused(vectors) -> None:
    for changed in every_byte_changed(vectors["log"]["vkey"].encode()):
        assert refused(parse_vkey, as_text(changed)), changed


def test_checkpoint_is_accepted(vectors) -> None:
    log = vectors["log"]
    checkpoint = open_checkpoint(log["checkpoint"], log["vkey"])
    assert (checkpoint.origin, checkpoint.size) == (log["origin"], len(log["leaves_base64"]))
    assert base64.b64encode(checkpoint.root).decode() == log["root"]


def test_checkpoint_changed_in_one_byte_is_refused(vectors) -> None:
    log = vectors["log"]
    for changed in every_byte_changed(log["checkpoint"].encode()):
        assert refused(open_checkpoint, changed, log["vkey"]), changed


def test_checkpoint_of_another_log_signed_with_the_same_key_is_refused(vectors) -> None:
    """The signature line names the known key, but the text names another log."""
    log = vectors["log"]
    text = log["checkpoint"].partition("\n\n")[0].replace(log["origin"], "other.example") + "\n"
    key = SigningKey(base64.b64decode(log["log_seed"]))
    identifier = key_id(log["origin"], bytes(key.verify_key))
    signature = base64.b64encode(identifier + key.sign(text.encode()).signature).decode()
    with pytest.raises(VerificationError, match="another log"):
        open_checkpoint(f"{text}\n\u2014 {log['origin']} {signature}\n", log["vkey"])


def test_proof_is_accepted(vectors) -> None:
    log = vectors["log"]
    leaf = base64.b64decode(log["leaves_base64"][log["proven_leaf_index"]])
    assert leaf == receipt_leaf(vectors["dsse"]["envelope"])
    index, checkpoint = verify_proof(leaf, log["proof"], log["vkey"])
    assert (index, checkpoint.size) == (log["proven_leaf_index"], len(log["leaves_base64"]))


def test_proof_or_leaf_changed_in_one_byte_is_refused(vectors) -> None:
    log = vectors["log"]
    leaf = base64.b64decode(log["leaves_base64"][log["proven_leaf_index"]])
    for changed in every_byte_changed(log["proof"].encode()):
        assert refused(verify_proof, leaf, changed, log["vkey"]), changed
    for changed in every_byte_changed(leaf):
        assert refused(verify_proof, changed, log["proof"], log["vkey"]), changed


def test_another_leaf_of_the_same_log_is_refused(vectors) -> None:
    log = vectors["log"]
    for position, leaf in enumerate(log["leaves_base64"]):
        if position != log["proven_leaf_index"]:
            assert refused(verify_proof, base64.b64decode(leaf), log["proof"], log["vkey"])
