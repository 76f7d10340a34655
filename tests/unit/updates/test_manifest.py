"""The manifest of a release: signed, carried in a wheel, verified, and compared with files."""

from __future__ import annotations

import hashlib
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from nacl.signing import SigningKey

from agent.updates.manifest import (
    MEMBER,
    PAYLOAD_TYPE,
    BadSignature,
    Channel,
    FileDiffers,
    Manifest,
    ReleaseFile,
    UnknownFormat,
    UnknownKey,
    key_id,
    open_manifest,
    read_release_wheel,
    sign_manifest,
    trusted_keys,
)
from aitbc.canonical import b64decode, b64encode
from aitbc.dsse import sign_detached
from aitbc.errors import FormatError

KEY, OTHER = SigningKey(b"k" * 32), SigningKey(b"o" * 32)
CONTENT = b"a wheel"
WHEEL = "aitbc_agent-0.3.1-py3-none-any.whl"


def keys(*signers: SigningKey) -> dict[str, bytes]:
    return {key_id(bytes(key.verify_key)): bytes(key.verify_key) for key in signers}


def manifest(**changes: Any) -> Manifest:
    values = {
        "version": "0.3.1",
        "channel": Channel.STABLE,
        "released_at": datetime(2026, 12, 1, 9, 30, tzinfo=UTC),
        "python": ">=3.11",
        "schema": "0041",
        "reads_schema": "0034",
        "files": (ReleaseFile(name=WHEEL, sha256=hashlib.sha256(CONTENT).hexdigest(), size=len(CONTENT)),),
        "requirements": "anyio==4.12.0 --hash=sha256:00\n",
    }
    return Manifest.model_validate(values | changes)


def signed(payload: bytes, kind: str = PAYLOAD_TYPE) -> bytes:
    """Return an envelope of any payload, signed by the trusted key."""
    (identifier,) = keys(KEY)
    signature = {"keyid": identifier, "sig": sign_detached(kind, payload, KEY)}
    return json.dumps(
        {"payloadType": kind, "payload": b64encode(payload), "signatures": [signature]}
    ).encode()


def test_a_signed_manifest_comes_back_as_it_was(tmp_path: Path) -> None:
    wheel = tmp_path / "aitbc_release-0.3.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(MEMBER, sign_manifest(manifest(), KEY))
    envelope = read_release_wheel(wheel)
    assert open_manifest(envelope, keys(KEY)) == manifest()
    payload = b64decode(json.loads(envelope)["payload"])
    assert payload == rfc8785.dumps(json.loads(payload))
    assert json.loads(payload)["released_at"] == "2026-12-01T09:30:00Z"


def test_one_trusted_signature_of_several_is_enough() -> None:
    """A publisher who changes keys signs with both for a time."""
    envelope = sign_manifest(manifest(), OTHER, KEY)
    assert open_manifest(envelope, keys(KEY)) == open_manifest(envelope, keys(OTHER)) == manifest()


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(UnknownKey, match=rf"{key_id(bytes(KEY.verify_key))}.*updates\.public_keys"):
        open_manifest(sign_manifest(manifest(), KEY), keys(OTHER))
    with pytest.raises(UnknownKey, match="signed by no key"):
        open_manifest(sign_manifest(manifest()), keys(OTHER))


def test_a_changed_manifest_is_refused() -> None:
    envelope = json.loads(sign_manifest(manifest(), KEY))
    envelope["payload"] = b64encode(manifest(version="0.3.2").to_payload())
    with pytest.raises(BadSignature, match="signature is wrong"):
        open_manifest(json.dumps(envelope).encode(), keys(KEY))


def test_a_signature_for_another_purpose_is_refused() -> None:
    """A key that also signs receipts cannot be made to sign a release by them."""
    envelope = json.loads(signed(manifest().to_payload(), "application/vnd.in-toto+json"))
    with pytest.raises(UnknownFormat, match="no release manifest"):
        open_manifest(json.dumps(envelope).encode(), keys(KEY))
    envelope["payloadType"] = PAYLOAD_TYPE
    with pytest.raises(BadSignature):
        open_manifest(json.dumps(envelope).encode(), keys(KEY))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2, of which this version knows only 1"),
        ({"version": "0.3.01"}, r"version: .*0\.3\.1"),
        ({"version": "newest"}, "version: .*PEP 440"),
        ({"python": "3.11"}, "python: .*specifier"),
        ({"channel": "nightly"}, "channel: "),
        ({"released_at": "2026-12-01T09:30:00"}, "released_at: .*timezone"),
        ({"schema": None}, "schema: "),
        ({"files": [{"name": "../a.whl", "sha256": "0" * 64, "size": 1}]}, r"files\.0\.name: "),
        ({"files": [{"name": "a.whl", "sha256": "0" * 64, "size": -1}]}, r"files\.0\.size: "),
    ],
)
def test_what_is_signed_but_malformed_is_refused(changes: dict[str, Any], message: str) -> None:
    payload = json.dumps(json.loads(manifest().to_payload()) | changes).encode()
    with pytest.raises(UnknownFormat, match=message):
        open_manifest(signed(payload), keys(KEY))


@pytest.mark.parametrize("text", [b"", b"[]", b"\xff", b"{}", b'{"payloadType": "a", "payloadType": "b"}'])
def test_other_files_are_refused(text: bytes) -> None:
    with pytest.raises(UnknownFormat, match="again"):
        open_manifest(text, keys(KEY))


def test_fields_of_a_later_version_are_ignored() -> None:
    payload = json.dumps(json.loads(manifest().to_payload()) | {"notes": "faster"}).encode()
    assert open_manifest(signed(payload), keys(KEY)) == manifest()


def test_a_file_that_differs_is_found(tmp_path: Path) -> None:
    file = tmp_path / WHEEL
    file.write_bytes(CONTENT)
    manifest().check_file(file)
    file.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(FileDiffers, match="SHA-256"):
        manifest().check_file(file)
    file.write_bytes(CONTENT[:-1])
    with pytest.raises(FileDiffers, match="6 bytes"):
        manifest().check_file(file)
    other = file.rename(tmp_path / "other.whl")
    with pytest.raises(FileDiffers, match="not a file of release"):
        manifest().check_file(other)


def test_half_a_wheel_and_another_one_are_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "aitbc_release-0.3.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("other", "")
    with pytest.raises(UnknownFormat, match="no complete wheel"):
        read_release_wheel(wheel)
    wheel.write_bytes(wheel.read_bytes()[:-30])
    with pytest.raises(UnknownFormat, match="no complete wheel"):
        read_release_wheel(wheel)


def test_the_trusted_keys_are_the_shipped_ones_and_the_owners(tmp_path: Path) -> None:
    shipped = tmp_path / "release_keys.toml"
    shipped.write_text(f'public_keys = ["{b64encode(bytes(KEY.verify_key))}"]')
    assert trusted_keys([b64encode(bytes(OTHER.verify_key))], shipped) == keys(KEY, OTHER)
    assert isinstance(trusted_keys(), dict)
    with pytest.raises(FormatError, match="32 bytes"):
        trusted_keys(["AAAA"], shipped)
