"""What a machine attests about itself: plug-ins that make evidence on a miner and verify it offline at a client.

A package adds a type by an entry point of the group `aitbc.attestations`, whose name is the type and whose value is a class with the
methods of `Attestation`. This package ships the type `none` only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, Final, Protocol

from aitbc.canonical import b64encode, canonical_json
from aitbc.errors import ConfigurationError, VerificationError

GROUP: Final = "aitbc.attestations"
NONE: Final = "none"
NONCE_TYPE: Final = "https://aitbc.bubuit.net/attestation-nonce/v1"


class Attestation(Protocol):
    """A type of attestation. An instance is made without arguments."""

    def attest(self, nonce: bytes) -> Mapping[str, Any] | None:
        """Return evidence (JSON) about this machine that covers the nonce, None if the machine has nothing to attest. Blocking."""

    def verify(self, evidence: Mapping[str, Any], nonce: bytes) -> str:
        """Return in a sentence what the evidence proves, without a network. Raises `VerificationError`."""


class NoAttestation:
    """The type `none`: no evidence, so the machine's owner can read the memory of its runs."""

    def attest(self, nonce: bytes) -> None:  # noqa: ARG002 - see `Attestation`
        """Return None."""
        return

    def verify(self, evidence: Mapping[str, Any], nonce: bytes) -> str:  # noqa: ARG002 - as above
        """Raise `VerificationError`: there is no evidence of this type."""
        raise VerificationError("An attestation of the type none proves nothing.")


def nonce_of(identity_key: bytes, *, job_id: str | None, key_id: str | None) -> bytes:
    """Return the nonce of an attestation: it is bound to the miner's identity key, and to a job or an encryption key."""
    # Evidence that is bound to nothing could be copied from an honest machine.
    bound = {
        "type": NONCE_TYPE,
        "identity_key": b64encode(identity_key),
        "job_id": job_id,
        "key_id": key_id,
    }
    return hashlib.sha256(canonical_json(bound)).digest()


def load(name: str) -> Attestation:
    """Return the attestation of a type. Raises `ConfigurationError` if no installed package has it."""
    if name == NONE:
        return NoAttestation()
    # Looked up only when an attestation is there: scanning the installed packages takes a while.
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        names = ", ".join(sorted({NONE, *points}))
        raise ConfigurationError(
            f"There is no attestation {name!r}. Installed: {names}. Install the package that provides it."
        )
    attestation: Attestation = points[name].load()()
    return attestation


def make(name: str, attestation: Attestation, nonce: bytes) -> dict[str, Any] | None:
    """Return the field `attestation` of a statement or a key; None without evidence. Blocking."""
    evidence = attestation.attest(nonce)
    return None if evidence is None else {"type": name, "evidence": dict(evidence)}


def verify(attestation: Mapping[str, Any], nonce: bytes) -> str:
    """Return in a sentence what a field `attestation` proves. Raises `VerificationError`, also for a type that is not installed."""
    try:
        plug_in = load(str(attestation.get("type")))
    # For somebody who verifies, a missing plug-in means that nothing is proven.
    except ConfigurationError as error:
        raise VerificationError(f"The attestation cannot be verified: {error}") from error
    evidence = attestation.get("evidence")
    if not isinstance(evidence, Mapping):
        raise VerificationError("The attestation has no evidence.")
    return plug_in.verify(evidence, nonce)
