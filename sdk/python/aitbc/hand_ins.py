"""What a miner hands in for a payment, such as the invoice that a Lightning node will pay, signed by the miner's identity key.

An API key alone must not decide where money goes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from nacl.signing import SigningKey

from aitbc._verification.shape import MINER_ID, exact, text, utc_time
from aitbc.canonical import canonical_json, parse_json
from aitbc.dsse import open_envelope, sign_envelope
from aitbc.errors import FormatError, VerificationError
from aitbc.keys import miner_id

HAND_IN_TYPE = "application/vnd.aitbc.payout-hand-in+json"
MAX_TEXT = 4096

_PAYOUT_ID = re.compile(r"payout_[0-9A-Za-z_-]{1,64}")
_TEXT = re.compile(rf"[^\x00-\x1f\x7f\ud800-\udfff]{{1,{MAX_TEXT}}}")
_FIELDS = ("payout_id", "miner_id", "text", "created_at", "origin")


@dataclass(frozen=True, slots=True)
class PayoutHandIn:
    """A miner's statement that a payment is to be made with this `text`. `origin` is the log's. Raises `FormatError`."""

    payout_id: str
    miner_id: str
    text: str
    created_at: str
    origin: str

    def __post_init__(self) -> None:
        text(self.payout_id, "The payment's payout_id", _PAYOUT_ID)
        text(self.miner_id, "The payment's miner_id", MINER_ID)
        text(self.text, "The text that is handed in", _TEXT)
        utc_time(self.created_at, "The statement's created_at")
        text(self.origin, "The statement's origin")

    def sign(self, key: SigningKey) -> dict[str, Any]:
        """Return the DSSE envelope, signed with the miner's identity key."""
        payload = canonical_json({name: getattr(self, name) for name in _FIELDS})
        return sign_envelope(HAND_IN_TYPE, payload, key)


def open_hand_in(envelope: object, public_key: bytes) -> PayoutHandIn:
    """Return the statement in an envelope that `public_key` (32 bytes) signed for its own miner.

    Raises `FormatError` for a wrong shape, and `VerificationError` for a wrong signature or another miner's id.
    """
    payload = open_envelope(envelope, public_key, HAND_IN_TYPE)
    fields = exact(parse_json(payload), _FIELDS, "The statement")
    statement = PayoutHandIn(**{name: fields[name] for name in _FIELDS})
    if canonical_json(dict(fields)) != payload:
        raise FormatError("The statement is not in its canonical form.")
    if statement.miner_id != miner_id(public_key):
        raise VerificationError("The statement is another miner's.")
    return statement
