"""The signed manifest of a release: its files with their digests, the packages that it needs, and the database that it works on.

It travels in the wheel `aitbc-release`, so that every package index and every mirror that has a release also has its manifest. Its
signatures are those of DSSE envelopes, as a receipt's, with a payload type of its own. A release is not trusted because of its origin,
but because a key of `release_keys.toml`, or of the owner's settings, has signed it.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from nacl.signing import SigningKey
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from aitbc.canonical import b64decode, b64encode, canonical_json, parse_json
from aitbc.dsse import PUBLIC_KEY_SIZE, sign_detached, verify_detached
from aitbc.errors import FormatError

PAYLOAD_TYPE: Final = "application/vnd.aitbc.release+json"
DISTRIBUTION: Final = "aitbc-release"
"""The distribution whose wheel contains the manifest."""
MEMBER: Final = "aitbc_release/manifest.json"
"""The signed manifest in that wheel."""
FORMAT: Final = 1
MAX_BYTES: Final = 16 * 1024 * 1024
"""A manifest's size is about that of its lock file, some hundred kilobytes."""
KEYS: Final = Path(__file__).with_name("release_keys.toml")
_AGAIN: Final = "Get the release's files again."


class ReleaseError(Exception):
    """A release that must not be installed. The message says why and what to do."""


class UnknownFormat(ReleaseError):
    """The file is no manifest, or one of a format that this version cannot read."""


class UnknownKey(ReleaseError):
    """None of the signatures is by a trusted key."""


class BadSignature(ReleaseError):
    """A trusted key's signature does not belong to this manifest."""


class FileDiffers(ReleaseError):
    """A file is not the one that the manifest names."""


class Channel(StrEnum):
    """Who gets a release: everybody, or those who also want versions to be tried."""

    STABLE = "stable"
    BETA = "beta"


def _canonical_version(text: str) -> str:
    try:
        canonical = str(Version(text))
    except InvalidVersion as error:
        raise ValueError("is no version by PEP 440") from error
    if canonical != text:
        raise ValueError(f"is not the canonical form, {canonical}")
    return text


def _specifier(text: str) -> str:
    try:
        SpecifierSet(text)
    except InvalidSpecifier as error:
        raise ValueError("is no version specifier by PEP 440") from error
    return text


Sha256 = Annotated[str, StringConstraints(pattern=r"\A[0-9a-f]{64}\z")]
# No directory, and nothing that a shell or a URL treats in a special way.
FileName = Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._+~-]{0,199}\z")]
Revision = Annotated[str, StringConstraints(pattern=r"\A[0-9]{4}\z")]


class _Read(BaseModel):
    # A later version of the format may have more fields.
    model_config = ConfigDict(
        frozen=True, extra="ignore", strict=True, validate_by_name=True, validate_by_alias=True
    )


class ReleaseFile(_Read):
    """A file of a release. `size` is in bytes, and `sha256` is lower-case hex."""

    name: FileName
    sha256: Sha256
    size: Annotated[int, Field(ge=0)]


class Manifest(_Read):
    """What a release consists of.

    `python` is the specifier of the Python versions that it runs on. `schema_revision` (in JSON: `schema`) is the database's revision
    that its migrations end at, and `reads_schema` the oldest revision whose code can run on a database of that revision.
    `requirements` is a universal lock file with the hashes of all packages of others that the agent needs.
    """

    format: Literal[1] = FORMAT
    version: Annotated[str, AfterValidator(_canonical_version)]
    channel: Annotated[Channel, Field(strict=False)]
    released_at: Annotated[AwareDatetime, Field(strict=False)]
    python: Annotated[str, AfterValidator(_specifier)]
    schema_revision: Annotated[Revision, Field(alias="schema")]
    reads_schema: Revision
    files: Annotated[tuple[ReleaseFile, ...], Field(strict=False)]
    requirements: str

    def to_payload(self) -> bytes:
        """Return the canonical JSON (RFC 8785) that is signed."""
        return canonical_json(self.model_dump(by_alias=True, mode="json"))

    def file(self, name: str) -> ReleaseFile:
        """Return the file of this name. Raises `FileDiffers` if the release has none."""
        for file in self.files:
            if file.name == name:
                return file
        raise FileDiffers(
            f"{name} is not a file of release {self.version}. Do not install it; get the release's files again."
        )

    def check_file(self, path: Path) -> None:
        """Check that a file on disk is the one of its name in this release. Raises `FileDiffers`, and `OSError` if it cannot be read."""
        expected = self.file(path.name)
        advice = f"Delete {path} and download it again; if it still differs, the index or mirror serves another file."
        size = path.stat().st_size
        if size != expected.size:
            raise FileDiffers(
                f"{path.name} has {size} bytes, but the file of release {self.version} has {expected.size}. {advice}"
            )
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != expected.sha256:
            raise FileDiffers(
                f"{path.name} has the SHA-256 {digest}, but the file of release {self.version} has "
                f"{expected.sha256}. {advice}"
            )


class _Signature(_Read):
    keyid: str
    sig: str


class _Envelope(_Read):
    payload_type: Annotated[str, Field(alias="payloadType")]
    payload: str
    signatures: Annotated[tuple[_Signature, ...], Field(strict=False, max_length=100)]


def key_id(public_key: bytes) -> str:
    """Return the id of a public key (32 bytes): the first 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def trusted_keys(additional: Iterable[str] = (), file: Path = KEYS) -> dict[str, bytes]:
    """Return the public keys that may sign releases, by their ids: the shipped ones and additional ones in base64.

    Raises `FormatError` for one that is no Ed25519 public key.
    """
    shipped = tomllib.loads(file.read_text(encoding="utf-8"))["public_keys"]
    keys = [read_public_key(text) for text in (*shipped, *additional)]
    return {key_id(key): key for key in keys}


def read_public_key(text: str) -> bytes:
    """Return a public key (32 bytes) from its base64. Raises `FormatError`."""
    key = b64decode(text)
    if len(key) != PUBLIC_KEY_SIZE:
        raise FormatError(f"{text} is no Ed25519 public key: these are {PUBLIC_KEY_SIZE} bytes in base64.")
    return key


def sign_manifest(manifest: Manifest, *keys: SigningKey) -> bytes:
    """Return the manifest in an envelope with a signature by each key, as canonical JSON."""
    payload = manifest.to_payload()
    signatures = [
        {"keyid": key_id(bytes(key.verify_key)), "sig": sign_detached(PAYLOAD_TYPE, payload, key)}
        for key in keys
    ]
    return canonical_json(
        {"payloadType": PAYLOAD_TYPE, "payload": b64encode(payload), "signatures": signatures}
    )


def open_manifest(envelope: bytes, keys: Mapping[str, bytes]) -> Manifest:
    """Return the manifest in an envelope that at least one of the trusted `keys` (by their ids) signed.

    Raises `UnknownFormat`, `UnknownKey` or `BadSignature`.
    """
    parsed = _envelope(envelope)
    if parsed.payload_type != PAYLOAD_TYPE:
        raise UnknownFormat(f"This is no release manifest, but {parsed.payload_type}. {_AGAIN}")
    try:
        payload = b64decode(parsed.payload)
    except FormatError as error:
        raise UnknownFormat(f"The release manifest cannot be read: {error} {_AGAIN}") from error
    trusted = [signature for signature in parsed.signatures if signature.keyid in keys]
    if not trusted:
        signers = ", ".join(
            re.sub(r"[^0-9a-f]", "?", signature.keyid[:16]) for signature in parsed.signatures
        )
        raise UnknownKey(
            f"The release is signed by {f'the key {signers}' if signers else 'no key'}, which this agent does not trust. If you "
            "trust its publisher, add the publisher's public key to updates.public_keys; otherwise do not install it."
        )
    if not any(verify_detached(PAYLOAD_TYPE, payload, item.sig, keys[item.keyid]) for item in trusted):
        raise BadSignature(
            "The release manifest's signature is wrong: it was changed after its publisher had signed it. Do not install it; "
            "get it again, and if that does not help, inform its publisher."
        )
    return _manifest(payload)


def read_release_wheel(wheel: Path) -> bytes:
    """Return the signed manifest, NOT verified, from a wheel of `aitbc-release`. Raises `UnknownFormat`."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as member:
            envelope = member.read(MAX_BYTES + 1)
    except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, RuntimeError) as error:
        raise UnknownFormat(
            f"{wheel.name} is no complete wheel of {DISTRIBUTION}. Delete it and download it again."
        ) from error
    if len(envelope) > MAX_BYTES:
        raise UnknownFormat(
            f"The manifest in {wheel.name} is larger than {MAX_BYTES} bytes. Do not install this release."
        )
    return envelope


def _manifest(payload: bytes) -> Manifest:
    value = _json(payload)
    release_format = value.get("format")
    if release_format != FORMAT:
        raise UnknownFormat(
            f"The release manifest has the format {release_format!r}, of which this version knows only {FORMAT}. Update "
            "once by the tool that installed this agent: `aitbc-agent update --check` names its command."
        )
    try:
        return Manifest.model_validate(value)
    except ValidationError as error:
        raise _unreadable(error) from error


def _envelope(text: bytes) -> _Envelope:
    try:
        return _Envelope.model_validate(_json(text))
    except ValidationError as error:
        raise _unreadable(error) from error


def _json(text: bytes) -> dict[str, Any]:
    try:
        value = parse_json(text)
    except FormatError as error:
        raise UnknownFormat(f"The release manifest cannot be read: {error} {_AGAIN}") from error
    if not isinstance(value, dict):
        raise UnknownFormat(f"The release manifest is no JSON object. {_AGAIN}")
    return value


def _unreadable(error: ValidationError) -> UnknownFormat:
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(map(str, first["loc"]))
    return UnknownFormat(f"The release manifest cannot be read ({field}: {first['msg']}). {_AGAIN}")
