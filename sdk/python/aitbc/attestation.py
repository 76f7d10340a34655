"""The coordinator's attestations in a receipt: it assigned the job to this key with this fence, and it accepted the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from nacl.signing import SigningKey

from aitbc._shape import FENCE, HEX_SHA256, JOB_ID, MINER_ID, exact, text, utc_time
from aitbc.canonical import canonical_json
from aitbc.dsse import sign_detached, verify_detached
from aitbc.errors import FormatError, VerificationError
from aitbc.statement import ATTESTATION_TYPE

Kind = Literal["assignment", "completion"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""The attestations of a receipt, in order."""

_SIGNED_FIELDS = ("type", "timestamp", "statement_sha256", "job_id", "miner_id", "fence")


@dataclass(frozen=True, slots=True)
class Attestation:
    """One attestation whose signature was verified."""

    kind: str
    timestamp: str
    statement_sha256: str
    job_id: str
    miner_id: str
    fence: int


def attest(
    kind: Kind,
    *,
    timestamp: str,
    statement_sha256: str,
    job_id: str,
    miner_id: str,
    fence: int,
    signing_key: SigningKey,
) -> dict[str, Any]:
    """Sign an attestation with the log's key.

    `timestamp` is RFC 3339 UTC with `Z`, `statement_sha256` the lower-case hex digest of the statement's payload.
    """
    fields = {
        "type": kind,
        "timestamp": timestamp,
        "statement_sha256": statement_sha256,
        "job_id": job_id,
        "miner_id": miner_id,
        "fence": str(fence),
    }
    # What cannot be verified must not be signed: a receipt with it would be worthless, and its job is paid.
    _check(fields)
    return {**fields, "signature": sign_detached(ATTESTATION_TYPE, canonical_json(fields), signing_key)}


def verify_attestation(attestation: object, log_public_key: bytes) -> Attestation:
    """Check an attestation's shape and signature.

    Raises `FormatError` for a wrong shape, `VerificationError` when `log_public_key` (32 bytes) did not sign it.
    """
    # Exactly these fields, since any other one would be in the receipt without being signed.
    fields = dict(exact(attestation, (*_SIGNED_FIELDS, "signature"), "The attestation"))
    signature = text(fields.pop("signature"), "The attestation's signature")
    _check(fields)
    if not verify_detached(ATTESTATION_TYPE, canonical_json(fields), signature, log_public_key):
        raise VerificationError("The attestation's signature does not verify under the log's key.")
    return Attestation(
        kind=fields["type"],
        timestamp=fields["timestamp"],
        statement_sha256=fields["statement_sha256"],
        job_id=fields["job_id"],
        miner_id=fields["miner_id"],
        fence=int(fields["fence"]),
    )


def _check(fields: dict[str, Any]) -> None:
    if fields["type"] not in KINDS:
        raise FormatError(f"The attestation's type is not one of {', '.join(KINDS)}.")
    utc_time(fields["timestamp"], "The attestation's timestamp")
    text(fields["statement_sha256"], "The attestation's statement_sha256", HEX_SHA256)
    text(fields["job_id"], "The attestation's job_id", JOB_ID)
    text(fields["miner_id"], "The attestation's miner_id", MINER_ID)
    # Text in the signed bytes, since a fence may be larger than the integers that every JSON parser keeps exact.
    text(fields["fence"], "The attestation's fence", FENCE)
